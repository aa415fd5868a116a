"""Models that come with the package, by name: trained ones as files, untrained ones as arguments.

Trained ones are pairs, or separators; the untrained ones are pairs. Nothing here needs a network.
:meth:`.SinuDAE.from_pretrained` takes the name of every pair, :func:`.load_model` every name.
"""

import torch

from ..utils.checks import check
from ..utils.files import load_safely
from . import registry
from .model_files import describe_task, find_class
from .registry import (
    DEFAULT_SEPARATORS,
    FOLDER,
    MAX_BYTES,
    STRUCTURES,
    card_path,
    model_path,
    resolve,
)
from .sinudae import SinuDAE

__all__ = [
    "DEFAULT_SEPARATORS",
    "FOLDER",
    "MAX_BYTES",
    "STRUCTURES",
    "available",
    "card",
    "card_path",
    "describe_sizes",
    "facts",
    "model_path",
    "resolve",
]

NOT_TOLD = "its file does not tell"
ORACLE_MASKS = ("si_sdr_bm_0.5", "si_sdr_bm_1", "si_sdr_rm")  # in the evaluation of a model


def available() -> dict[str, str]:
    """Names of the models that come with the package, and a line about what each does.

    Returns:
        dict: trained models first, then untrained structures. :func:`facts` has more of each.
    """
    return {name: f"{_task(_package(name))}: {_summary(card(name))}" for name in registry.names()}


def card(name: str) -> str:
    """Read the card of a model that comes with the package.

    Args:
        name (str): Among :func:`available`.

    Returns:
        str: Markdown. Of a trained model its data, licence, training and figures; of an untrained
        structure its sizes and arguments.

    Raises:
        ValueError: if there is no such model.
    """
    check(isinstance(name, str), "name", name, "text")
    if name in registry.STRUCTURES:
        arguments = registry.STRUCTURES[name]
        in_words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"# {name}\n\n{describe_sizes(arguments)}; untrained\n\n`SinuDAE({in_words})`\n"
    if name not in registry.files():
        expected = registry.one_of_the_names()
        raise ValueError(f"{name!r} is no model of this package, expected {expected}")
    return card_path(registry.FOLDER, name).read_text(encoding="utf-8")


def facts(name: str) -> dict[str, str]:
    """Summarise a model that comes with the package: what it does, its figures and its licence.

    Args:
        name (str): Among :func:`available`.

    Returns:
        dict of lines: ``sizes``, ``does``, ``figures`` and ``licence``.

    Raises:
        ValueError: if there is no such model.
    """
    sizes, package = _summary(card(name)), _package(name)
    lines = {"sizes": sizes, "does": _task(package)}
    if package is None:
        figures, licence = "those of its table in docs/results.md", "MIT, as the code"
    else:
        infos = package["infos"]
        figures, licence = _figures(infos), infos.get("licence", NOT_TOLD)
    return {**lines, "figures": figures, "licence": licence}


def _package(name: str) -> dict | None:
    """Content of a trained model's file, None for an untrained one."""
    if name in registry.STRUCTURES:
        return None
    return load_safely(model_path(registry.FOLDER, name))


def _task(package: dict | None) -> str:
    if package is None:
        return describe_task(SinuDAE.__name__, {})
    return describe_task(package["model_name"], package["infos"])


def _figures(infos: dict) -> str:
    """Medians of a model's evaluation, and of what it is compared with, in words."""
    evaluation = infos.get("evaluation")
    if evaluation is None:
        return NOT_TOLD
    medians = dict(evaluation["medians"])
    stft = medians.pop("STFT", {})
    # Files of pairs do not tell which row is theirs: it is the first.
    ours = medians[evaluation.get("evaluated") or next(iter(medians))]
    if "si_sdr" in ours:
        masks = [f"{ours[key]:.1f} (STFT {stft[key]:.1f})" for key in ORACLE_MASKS]
        found = (
            f"reconstruction {ours['si_sdr']:.1f}; under oracle masks, binary at 0.5, at 1 and "
            f"ratio, {', '.join(masks)}"
        )
    else:
        found = ", ".join(
            f"{source} {ours[f'si_sdr_{source}']:.1f} "
            f"({ours[f'si_sdri_{source}']:+.1f} from the mixture)"
            for source in infos["sources"]
        )
    return (
        f"SI-SDR in dB, medians over {evaluation['segments']} segments of "
        f"{evaluation['test_tracks']} songs: {found}"
    )


def describe_sizes(arguments: dict, model_name: str = SinuDAE.__name__) -> str:
    """Sizes of a :class:`.SinuDAE` or a separator in words.

    Args:
        arguments (dict): Its arguments.
        model_name (str): Name of its class.

    Returns:
        str

    Examples
        >>> sizes = describe_sizes(dict(n_filters=80, kernel_size=64, stride=16))
        >>> sizes.split(", ")[-2:]
        ['5.00 coefficients a sample', '0.04 million parameters']
    """
    with torch.device("meta"):  # sizes only
        model = find_class(model_name, "the package")(**arguments)
    bank = model.encoder.filterbank
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return (
        f"{bank.n_feats_out} channels, kernels of {bank.kernel_size} samples, hop {bank.stride}, "
        f"{model.sample_rate:g} Hz, {bank.n_feats_out / bank.stride:.2f} coefficients a sample, "
        f"{millions:.2f} million parameters"
    )


def _summary(text: str) -> str:
    """The first line of a card below its heading."""
    return text.partition("\n\n")[2].partition("\n\n")[0].strip()
