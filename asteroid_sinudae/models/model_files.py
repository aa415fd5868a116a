"""Model files of any of Asteroid's classes, ours among them: loading, and what they say."""

import hashlib
import json
import reprlib
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import asteroid.models
import torch
from asteroid.models.base_models import BaseModel
from torch import nn

from ..filterbanks.multires import frame_bounds
from ..utils.checks import check, check_rate, plain
from ..utils.files import load_safely
from .base_model import KEYS, fit_package, infinite_weights, load_package
from .registry import resolve
from .sinudae import SinuDAE


class LoadedModel(NamedTuple):
    """A model and what its file says about it.

    Attributes:
        model (BaseModel): The model, of any of Asteroid's classes, ours among them.
        infos (dict): Infos of its file; ``infos["sources"]`` names what a separator separates.
    """

    model: BaseModel
    infos: dict


def load_model(path: str | Path) -> LoadedModel:
    """Load a model from its file or by its name, in evaluation mode, on the CPU.

    Args:
        path (str or Path): File by :func:`torch.save`, loaded without running code from it; or,
            where there is no such file, a name among :func:`.pretrained.available`.

    Returns:
        LoadedModel, a tuple of the model, and the `infos` in its file.

    Raises:
        FileNotFoundError: if what looks like a path, by a suffix or a separator, is no file.
        ValueError: if there is no model of that name; if the file is refused (see
            :func:`.load_safely`), is no serialized model or one of an unknown class, has no sample
            rate, does not fit its class, or has weights that are not finite.
    """
    source = resolve(path)
    if isinstance(source, dict):
        return LoadedModel(SinuDAE(**source).eval(), {})
    model_class, package = _read(source)
    model = load_package(model_class, package, f"{path} cannot be loaded", copy=False)
    return LoadedModel(model.eval(), package.get("infos", {}))


def describe_file(path: str | Path) -> dict:
    """Describe the model of a file, see :func:`describe`, without making it ready to compute.

    Args:
        path (str or Path): A file or a name, see :func:`load_model`.

    Returns:
        dict

    Raises:
        FileNotFoundError, ValueError: as :func:`load_model`, but not for weights that are not
            finite: these are among the facts.
    """
    source = resolve(path)
    if isinstance(source, dict):
        return describe(SinuDAE(**source), {})
    model_class, package = _read(source)
    model = fit_package(model_class, package, f"{path} cannot be loaded")
    return describe(model, package.get("infos", {}))


def _read(path: str | Path) -> tuple[type[BaseModel], dict]:
    """Class and package of a model's file, of which all but the class is still to be checked."""
    package = load_safely(path)
    missing = set(KEYS) - package.keys()
    if missing:
        raise ValueError(
            f"{path} is no serialized model of Asteroid: {', '.join(sorted(missing))} missing"
        )
    model_class = find_class(package["model_name"], path)
    args = package["model_args"]
    try:
        check_rate(plain(args["sample_rate"]))
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"{path} has no sample rate, expected one in its model_args: asteroid-register-sr "
            "puts it there"
        ) from error
    return model_class, package


def find_class(name: object, path: str | Path) -> type[BaseModel]:
    """Return the class of a model by its name in a file, which an error names as `path`."""
    if name == SinuDAE.__name__:  # without the rest of Asteroid, which takes time
        return SinuDAE
    try:
        model_class = asteroid.models.get(name)
    except ValueError:
        model_class = None
    # Asteroid looks among all names of the module, functions included.
    if not isinstance(model_class, type) or not issubclass(model_class, BaseModel):
        raise ValueError(
            f"{path} holds a model {reprlib.repr(name)}, expected a class of Asteroid's or "
            "asteroid_sinudae's"
        )
    return model_class


def describe_task(model_name: str, infos: dict) -> str:
    """Say what a model does.

    Args:
        model_name (str): Name of its class.
        infos (dict): Infos of its file; `infos["sources"]` may list names.

    Examples
        >>> describe_task("SinuDAE", {})
        'encodes and decodes'
        >>> describe_task("STFTConvTasNet", {"sources": ["vocals", "accompaniment"]})
        'separates vocals and accompaniment'
    """
    if model_name == SinuDAE.__name__:
        return "encodes and decodes"
    names = infos.get("sources")
    if not (are_names(names) and names):
        return "separates sources without names"
    return f"separates {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def are_names(value: object) -> TypeGuard[list[str] | tuple[str, ...]]:
    """Tell whether `infos["sources"]` of a file is a list of names."""
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def source_names(model: BaseModel, infos: dict, n_sources: int) -> list[str]:
    """Names of what a model separates, for file names.

    Args:
        model (BaseModel): The model.
        infos (dict): Infos of its file; `infos["sources"]` may list the names.
        n_sources (int): Number of sources that the model gives.

    Returns:
        list of str: those names; or `source1` and so on; or `reconstruction` for a
        :class:`.SinuDAE`, which separates nothing.

    Raises:
        ValueError: if the names in the file are not `n_sources` different names of files.
    """
    if isinstance(model, SinuDAE):
        return ["reconstruction"]
    if "sources" not in infos:
        return [f"source{number}" for number in range(1, n_sources + 1)]
    names = infos["sources"]
    is_list = are_names(names) and len(names) == len(set(names)) == n_sources
    if not is_list or any("/" in name for name in names):
        raise ValueError(
            f"the model's file names its sources {names!r}, expected {n_sources} different names"
        )
    return list(names)


def describe(model: BaseModel, infos: dict) -> dict:
    """Describe a model by plain values.

    Args:
        model (BaseModel): The model.
        infos (dict): Infos of its file.

    Returns:
        dict: its class, what it does, number of parameters, sample rate in Hz, sizes and carriers
        of its filterbanks where it has them, weights that are not finite if there are any,
        arguments, and `infos`.
    """
    infinite = infinite_weights(model)
    facts = {
        "class": type(model).__name__,
        "does": describe_task(type(model).__name__, infos),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sample rate (Hz)": model.sample_rate,
        **_describe_filterbanks(model, with_bounds=not infinite),
        **({"weights that are not finite": infinite} if infinite else {}),
        "arguments": model.get_model_args(),
        "infos": infos,
    }
    return _as_plain(facts)


def _as_plain(value: object) -> Any:
    """Convert to dictionaries with text as keys, lists and numbers, and all else to text."""
    if isinstance(value, dict):
        return {str(key): _as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_plain(item) for item in value]
    if isinstance(value, torch.Tensor) and value.numel() > 1:
        return f"tensor of shape {tuple(value.shape)}"
    is_plain = value is None or isinstance(value, bool | int | float)
    return value if is_plain else str(value)


def _describe_filterbanks(model: BaseModel, with_bounds: bool) -> dict:
    facts = {}
    filterbank = getattr(getattr(model, "encoder", None), "filterbank", None)
    if filterbank is not None:
        facts["channels"] = filterbank.n_feats_out
        facts["kernel (samples)"] = filterbank.kernel_size
        facts["hop (samples)"] = filterbank.stride
        facts["coefficients a sample"] = filterbank.n_feats_out / filterbank.stride
    filterbank = getattr(getattr(model, "decoder", None), "filterbank", None)
    if filterbank is not None and hasattr(filterbank, "carrier_frequencies"):
        carriers = filterbank.carrier_frequencies()
        facts["carriers (Hz)"] = [carriers.min().item(), carriers.max().item()]
    if with_bounds and isinstance(model, SinuDAE) and model.get_model_args()["init"] == "multires":
        facts["frame bounds"] = pair_bounds(model)
    return facts


def pair_bounds(model: SinuDAE) -> list[float]:
    """Frame bounds of a pair that was started from bands, see :func:`.frame_bounds`."""
    encoder, decoder = model.encoder.filterbank, model.decoder.filterbank
    return list(frame_bounds(encoder.filters(), decoder.filters(), model.encoder.stride))


def in_half_precision(package: dict) -> dict:
    """Halve the size of a serialized model; it still loads to float32.

    Parameters with one number per channel are not rounded. Frequencies are among them, because
    rounding changes the carrier.

    Args:
        package (dict): The result of :meth:`.SafeModel.serialize`, which is not changed.

    Returns:
        dict of the same keys.

    Raises:
        ValueError: naming the first tensor with numbers that float16 cannot hold.
    """
    state = {}
    for name, value in package["state_dict"].items():
        is_large = value.is_floating_point() and value.numel() > max(value.shape[:1], default=1)
        state[name] = value.half() if is_large else value
        largest = value.abs().max().item()
        limit = torch.finfo(torch.float16).max
        check(
            state[name].isfinite().all(), f"largest number of {name}", largest, f"up to {limit:g}"
        )
    return {**package, "state_dict": state}


def model_digest(system: nn.Module) -> str:
    """SHA-256 of what a system computes with: its arguments, parameters and buffers.

    Args:
        system (:class:`torch.nn.Module`): A model with Asteroid's `encoder` and `decoder`, and
            perhaps a `masker`.
    """
    names = ("encoder", "decoder", "masker")
    parts = [getattr(system, name) for name in names if hasattr(system, name)]
    arguments = [type(system).__name__, *(part.get_config() for part in parts)]
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
    for parameter in system.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    for buffer in system.buffers():
        # Windows and transforms are computed where they are used, and machines round differently;
        # the sum turns -0.0 into 0.0.
        rounded = buffer.double().round(decimals=5) + 0.0
        digest.update(rounded.cpu().numpy().tobytes())
    return digest.hexdigest()
