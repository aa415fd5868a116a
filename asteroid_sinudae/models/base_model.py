"""Models whose files hold tensors and plain values only; a file that does not fit is named."""

import contextlib
import itertools
import math
import reprlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from asteroid.models.base_models import BaseModel
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from ..utils.checks import FLOATS, check, check_dense, check_rate, plain
from ..utils.dtypes import ChecksConversion
from ..utils.files import load_safely
from .registry import resolve

RATES = (1.0, 1e7)  # Hz, of models in files
MAX_SIZE = 10**7  # of an argument that more numbers than a file holds may follow from
MAX_COMPUTED = 4096  # samples, of a transform that need not be in a file: 134 MB with its inverse
SPARE = 100  # parameters of layers that a constructor replaces
KEYS = ("model_name", "model_args", "state_dict")


class SafeModel(ChecksConversion, BaseModel):
    """Asteroid's :class:`BaseModel` with model files that cannot run code.

    A subclass keeps all arguments that re-instantiate it in `_model_args`. All its numbers are
    parameters or buffers.
    """

    sample_rate: float
    _model_args: dict[str, Any]

    def get_model_args(self) -> dict[str, Any]:
        """Arguments needed to re-instantiate the model."""
        return dict(self._model_args)

    def serialize(self) -> dict[str, Any]:
        """Serialize model and output dictionary.

        Returns:
            dict, with keys `model_name`, `model_args`, `state_dict` and `infos`. It holds tensors
            and plain values only, so that a file by :func:`torch.save` loads with ``weights_only``.
        """
        package = super().serialize()
        versions = package["infos"]["software_versions"]
        # torch.__version__ is an object that a safe load refuses.
        package["infos"]["software_versions"] = {k: str(v) for k, v in versions.items()}
        return package

    @classmethod
    def from_pretrained(cls, pretrained: dict[str, Any] | str | Path) -> Self:
        """Load a model from the result of :meth:`serialize`.

        Args:
            pretrained (dict, str or Path): the dictionary, or a file with it by
                :func:`torch.save`; or, if there is no such file, the name of a model that comes
                with the package, see :func:`.pretrained.available`.

        Returns:
            An instance of the class.

        Raises:
            FileNotFoundError: if the text looks like a path (it has a suffix or a slash) and there
                is no such file.
            ValueError: if there is no model of that name; if the file is refused (see
                :func:`.load_safely`), or the package is of another model or incomplete, or its
                weights do not fit its arguments or are not finite.
        """
        if isinstance(pretrained, dict):
            source, package = "the package", pretrained
        else:
            found = resolve(pretrained)
            if isinstance(found, dict):
                raise ValueError(f"{pretrained!r} is a model 'SinuDAE', expected {cls.__name__!r}")
            source, package = str(pretrained), load_safely(found)
        missing = set(KEYS) - package.keys()
        if missing:
            raise ValueError(
                f"{source} is no serialized model: {', '.join(sorted(missing))} missing, "
                f"found {_shortened(', '.join(sorted(map(str, package))))}"
            )
        if package["model_name"] != cls.__name__:
            raise ValueError(
                f"{source} holds a model {reprlib.repr(package['model_name'])}, expected "
                f"{cls.__name__!r}"
            )
        failure = f"{source} does not fit {cls.__name__}"
        return load_package(cls, package, failure, copy=package is pretrained)


def load_package(
    model_class: type[BaseModel], package: dict, failure: str, copy: bool = True
) -> BaseModel:
    """Make the model of a package, and check that its weights are finite.

    Args:
        model_class (type): Class of the model.
        package (dict): The package, with :data:`KEYS`.
        failure (str): Beginning of an error's message.
        copy (bool): Whether the model must not share memory with the package.

    Returns:
        BaseModel

    Raises:
        ValueError: if arguments or weights do not fit, or a weight is not finite.
    """
    model = fit_package(model_class, package, failure, copy)
    infinite = infinite_weights(model)
    if infinite:
        name, found = infinite.popitem()
        raise ValueError(f"{failure}: {name} must be finite, got {found}")
    if issubclass(model_class, SafeModel):
        return model
    with _failing_with(failure):  # others may have tensors of which Module does not know
        real = model_class(**package["model_args"])
        real.load_state_dict(model.state_dict())
        return real


def fit_package(
    model_class: type[BaseModel], package: dict, failure: str, copy: bool = False
) -> BaseModel:
    """Make a model on the tensors of its package, after comparing them with its arguments.

    No memory is allocated for the sizes that the arguments declare. The model of another class than
    :class:`SafeModel` may lack numbers that are no parameters, and should only be looked at.

    Args:
        model_class, package, failure: see :func:`load_package`.
        copy (bool): Whether tensors that need no conversion are copied.

    Returns:
        BaseModel

    Raises:
        ValueError: if the constructor refuses the arguments, or the weights do not fit them or are
            no dense tensors of floating-point numbers.
    """
    with _failing_with(failure):
        for part in "model_args", "state_dict":
            _check_dictionary(part, package[part])
            for key in package[part]:
                check(isinstance(key, str), f"keys of {part}", key, "text")
        _check_dictionary("infos", package.get("infos", {}))
        args: dict[str, Any] = {name: plain(value) for name, value in package["model_args"].items()}
        state = dict(package["state_dict"])
        for name, value in state.items():
            check_dense(name, value)
        check(args.get("pretrained") is None, "pretrained", args.get("pretrained"), "no argument")
        rate = args.get("sample_rate", RATES[0])
        check_rate(rate)
        check(RATES[0] <= rate <= RATES[1], "sample_rate", rate, "1 to 1e7 (Hz)")
        n_numbers = sum(value.numel() for value in state.values())
        if not issubclass(model_class, SafeModel):
            _check_sizes(args, n_numbers)
        if not issubclass(model_class, SafeModel) or "n_fft" in args:
            _check_transform(
                args, n_numbers, MAX_COMPUTED if issubclass(model_class, SafeModel) else 0
            )
        with torch.device("meta"), _Undrawn(), _at_most(2 * len(state) + SPARE):
            model = model_class(**args)
        model.load_state_dict(_converted(state, model.state_dict(), copy), assign=True)
        return model


@contextlib.contextmanager
def _failing_with(failure: str) -> Iterator[None]:
    """Arguments and weights that do not fit fail in many ways: one ValueError for all."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of Asteroid's and PyTorch's layers
            yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise ValueError(f"{failure}: {_shortened(reason)}") from error


def _shortened(text: str, length: int = 500) -> str:
    return text if len(text) <= length else f"{text[:length]} ..."


def _check_dictionary(name: str, value: object) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a dictionary, got {reprlib.repr(value)}")


def _check_sizes(args: dict, n_numbers: int) -> None:
    """Some of Asteroid's filterbanks are computed by NumPy before there is a weight to compare."""
    limit = max(MAX_SIZE, 16 * n_numbers)
    for name, value in args.items():
        if isinstance(value, int):
            check(value <= limit, name, value, f"at most {limit}, for {n_numbers} numbers")
    if "mpgt" in str(args.get("fb_name", "")).lower():
        sizes: list[Any] = [args.get(name) for name in ("n_filters", "kernel_size")]
        if all(isinstance(size, int) for size in sizes):
            is_held = math.prod(sizes) <= limit
            check(is_held, "n_filters and kernel_size", sizes, f"those of {n_numbers} numbers")


def _check_transform(args: dict, n_numbers: int, limit: int) -> None:
    """Check the length of an STFT, which Asteroid computes from a matrix of that size.

    Args:
        args (dict): Arguments of the model.
        n_numbers (int): Numbers in its file.
        limit (int): Length up to which the file need not hold the kernels.
    """
    lengths = [args.get(name) for name in ("n_fft", "stft_n_filters")]
    if "stft" in str(args.get("fb_name", "stft")).lower():
        lengths.append(args.get("n_filters"))
    for length in lengths:
        if isinstance(length, int):
            # Windows may be padded with zeros.
            is_held = length <= limit or length**2 <= 16 * n_numbers
            check(is_held, "the transform's length", length, f"that of {n_numbers} numbers")


@contextlib.contextmanager
def _at_most(n_parameters: int) -> Iterator[None]:
    """Raise a ValueError in the constructor of a model that makes more parameters."""
    counted, thread = itertools.count(1), threading.get_ident()

    def count(module, name, parameter):
        if threading.get_ident() == thread and next(counted) > n_parameters:
            raise ValueError(f"its arguments ask for more than {n_parameters} weights")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


class _Undrawn(TorchFunctionMode):
    """Makes tensors that :func:`torch.randn` would fill, which imports SymPy on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def _converted(state: dict, expected: dict, copy: bool) -> dict:
    """Tensors of the types that a model expects, each with memory of its own."""
    converted, storages = {}, set()
    for name, value in state.items():
        dtype = expected.get(name, value).dtype
        check_dense(name, value, FLOATS if dtype.is_floating_point else (dtype,))
        storage = value.untyped_storage()
        is_shared = storage.nbytes() > value.nbytes or storage.data_ptr() in storages
        storages.add(storage.data_ptr())
        value = value.detach().to(torch.get_default_device(), dtype, copy=copy or is_shared)
        converted[name] = value.contiguous()
    return converted


def infinite_weights(model: BaseModel) -> dict[str, str]:
    """Names of the weights that are not all finite, and how many numbers of each are not."""
    return {
        name: f"{int((~value.isfinite()).sum())} NaN or infinite of {value.numel()} values"
        for name, value in model.state_dict().items()
        if value.is_floating_point()
        and value.numel()
        and not torch.stack(value.aminmax()).isfinite().all()
    }
