"""Model files of any of Asteroid's classes, ours among them: loading, and what they say."""

import json
import math
from pathlib import Path

import asteroid.models
import torch
from asteroid.models import BaseModel

from ._checks import check
from .files import load_safely
from .losses import si_sdr
from .multires import frame_bounds
from .pretrained import resolve
from .representations import SinuDAE


def load_model(path: str | Path) -> tuple[BaseModel, dict]:
    """A model in evaluation mode, on the CPU, from a file of what it serializes to, or by name.

    Args:
        path (str or Path): File by :func:`torch.save`, loaded without running code from it; or,
            where there is no such file, a name among :func:`.pretrained.available`.

    Returns:
        tuple of the model, and the `infos` in its file.

    Raises:
        FileNotFoundError: if what looks like a path, by a suffix or a separator, is no file.
        ValueError: if there is no model of that name; if the file is refused (see
            :func:`.load_safely`), is no serialized model or one of an unknown class, has no sample
            rate, or does not fit its class.
    """
    source = resolve(path)
    if isinstance(source, dict):
        return SinuDAE(**source).eval(), {}
    package = load_safely(source)
    missing = {"model_name", "model_args", "state_dict"} - package.keys()
    if missing:
        raise ValueError(
            f"{path} is no serialized model of Asteroid: {', '.join(sorted(missing))} missing"
        )
    model_class = _find_class(package["model_name"], path)
    args = package["model_args"]
    if not isinstance(args, dict) or not _is_rate(args.get("sample_rate")):
        raise ValueError(
            f"{path} has no sample rate, expected one in its model_args: asteroid-register-sr "
            "puts it there"
        )
    infos = package.get("infos")
    try:
        model = model_class.from_pretrained(package)
    except Exception as error:  # arguments and weights that do not fit fail in many ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ValueError(f"{path} cannot be loaded: {reason}") from error
    return model.eval(), infos if isinstance(infos, dict) else {}


def _find_class(name: object, path: str | Path) -> type[BaseModel]:
    try:
        model_class = asteroid.models.get(name)
    except ValueError:
        model_class = None
    # Asteroid looks among all names of the module, functions included.
    if not isinstance(model_class, type) or not issubclass(model_class, BaseModel):
        raise ValueError(
            f"{path} holds a model {name!r}, expected a class of Asteroid's or asteroid_sinudae's"
        )
    return model_class


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def source_names(model: BaseModel, infos: dict, n_sources: int) -> list[str]:
    """Names of what a model separates, for file names.

    Args:
        model (BaseModel): The model.
        infos (dict): Of its file; `infos["sources"]` may list the names.
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
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not is_list or len(set(names)) != n_sources or any("/" in name for name in names):
        raise ValueError(
            f"the model's file names its sources {names!r}, expected {n_sources} different names"
        )
    return list(names)


def describe(model: BaseModel, infos: dict) -> dict:
    """What there is to know of a model, as plain values.

    Args:
        model (BaseModel): The model.
        infos (dict): Of its file.

    Returns:
        dict: its class, number of parameters, sample rate in Hz, sizes and carriers of its
        filterbanks where it has them, arguments, and `infos`.
    """
    facts = {
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sample rate (Hz)": model.sample_rate,
        **_describe_filterbanks(model),
        "arguments": model.get_model_args(),
        "infos": infos,
    }
    return json.loads(json.dumps(facts, default=str))


def _describe_filterbanks(model: BaseModel) -> dict:
    facts = {}
    filterbank = getattr(getattr(model, "encoder", None), "filterbank", None)
    if filterbank is not None:
        facts["channels"] = filterbank.n_feats_out
        facts["kernel (samples)"] = filterbank.kernel_size
        facts["hop (samples)"] = filterbank.stride
        facts["coefficients a sample"] = filterbank.n_feats_out / filterbank.stride
    filterbank = getattr(getattr(model, "decoder", None), "filterbank", None)
    if hasattr(filterbank, "carrier_frequencies"):
        carriers = filterbank.carrier_frequencies()
        facts["carriers (Hz)"] = [carriers.min().item(), carriers.max().item()]
    if isinstance(model, SinuDAE) and model.get_model_args()["init"] == "multires":
        facts["frame bounds"] = pair_bounds(model)
    return facts


def pair_bounds(model: SinuDAE) -> list[float]:
    """Least and largest gain of a pair that was started from bands, see :func:`.frame_bounds`."""
    encoder, decoder = model.encoder.filterbank, model.decoder.filterbank
    return list(frame_bounds(encoder.filters(), decoder.filters(), model.encoder.stride))


def in_half_precision(package: dict) -> dict:
    """What a :class:`.SinuDAE` serializes to, half as large; it loads as before, to float32.

    Numbers of which a channel has one stay as they are, frequencies and phases above all: a
    rounded frequency is another carrier.

    Args:
        package (dict): From :meth:`.SinuDAE.serialize`; is not changed.

    Returns:
        dict of the same keys.

    Raises:
        ValueError: naming the first tensor with numbers that float16 cannot hold.
    """
    state = {}
    for name, value in package["state_dict"].items():
        is_large = value.numel() > value.shape[0]
        state[name] = value.half() if is_large else value
        largest = value.abs().max().item()
        limit = torch.finfo(torch.float16).max
        check(
            state[name].isfinite().all(), f"largest number of {name}", largest, f"up to {limit:g}"
        )
    return {**package, "state_dict": state}


@torch.no_grad()
def noise_si_sdr(model: SinuDAE, reference: SinuDAE | None = None) -> float:
    """How well a model reconstructs a second of white noise of -20 dB, always the same.

    Args:
        model (SinuDAE): On the CPU.
        reference (SinuDAE, optional): Whose reconstruction is the target, instead of the noise.

    Returns:
        float: SI-SDR in dB, Eq. (6).
    """
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 1, round(model.sample_rate), generator=generator)
    target = noise if reference is None else reference(noise)
    return si_sdr(model(noise), target).item()
