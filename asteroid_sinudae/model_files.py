"""Model files of any of Asteroid's classes, ours among them: loading, and what they say."""

import json
import math
from pathlib import Path

import asteroid.models
from asteroid.models import BaseModel

from .files import load_safely
from .representations import SinuDAE


def load_model(path: str | Path) -> tuple[BaseModel, dict]:
    """A model in evaluation mode, on the CPU, from a file of what it serializes to.

    Args:
        path (str or Path): File by :func:`torch.save`, loaded without running code from it.

    Returns:
        tuple of the model, and the `infos` in its file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is refused (see :func:`.load_safely`), is no serialized model or
            one of an unknown class, has no sample rate, or does not fit its class.
    """
    package = load_safely(path)
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
    return facts
