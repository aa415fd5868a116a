"""Models that come with the package, by name: trained ones as files, untrained ones as arguments.

Nothing here needs a network. :meth:`.SinuDAE.from_pretrained` takes every name.
"""

import torch

from ..utils.checks import check
from ..utils.files import load_safely
from . import registry
from .registry import FOLDER, MAX_BYTES, STRUCTURES, card_path, model_path, resolve
from .sinudae import SinuDAE

__all__ = [
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

ORACLE_MASKS = ("si_sdr_bm_0.5", "si_sdr_bm_1", "si_sdr_rm")  # in the evaluation of a model


def available() -> dict[str, str]:
    """Names of the models that come with the package, and a line about each.

    Returns:
        dict: trained models first, then untrained structures.
    """
    return {name: _summary(card(name)) for name in [*registry.files(), *registry.STRUCTURES]}


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
    """Summarise a model that comes with the package: its use, its figures and its licence.

    Args:
        name (str): Among :func:`available`.

    Returns:
        dict of lines: ``sizes``, ``does``, ``figures`` and ``licence``.

    Raises:
        ValueError: if there is no such model.
    """
    lines = {"sizes": _summary(card(name)), "does": "encodes and decodes"}
    if name in registry.STRUCTURES:
        figures, licence = "those of its table in docs/results.md", "MIT, as the code"
    else:
        infos = load_safely(model_path(registry.FOLDER, name))["infos"]
        figures, licence = _figures(infos["evaluation"]), infos["licence"]
    return {**lines, "figures": figures, "licence": licence}


def _figures(evaluation: dict) -> str:
    """Medians of a model's evaluation, and of the STFT's in the same run, in words."""
    medians = dict(evaluation["medians"])
    stft = medians.pop("STFT")
    ours = next(iter(medians.values()))
    masks = [f"{ours[key]:.1f} (STFT {stft[key]:.1f})" for key in ORACLE_MASKS]
    return (
        f"SI-SDR in dB, medians over {evaluation['segments']} segments of "
        f"{evaluation['test_tracks']} songs: reconstruction {ours['si_sdr']:.1f}; under oracle "
        f"masks, binary at 0.5, at 1 and ratio, {', '.join(masks)}"
    )


def describe_sizes(arguments: dict) -> str:
    """Sizes of a :class:`.SinuDAE` in words, from its arguments.

    Examples
        >>> sizes = describe_sizes(dict(n_filters=80, kernel_size=64, stride=16))
        >>> sizes.split(", ")[-2:]
        ['5.00 coefficients a sample', '0.04 million parameters']
    """
    with torch.device("meta"):  # sizes only
        model = SinuDAE(**arguments)
    sizes = model.get_model_args()
    coefficients = sizes["n_filters"] / sizes["stride"]
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return (
        f"{sizes['n_filters']} channels, kernels of {sizes['kernel_size']} samples, hop "
        f"{sizes['stride']}, {sizes['sample_rate']:g} Hz, {coefficients:.2f} coefficients a "
        f"sample, {millions:.2f} million parameters"
    )


def _summary(text: str) -> str:
    """The first line of a card below its heading."""
    return text.partition("\n\n")[2].partition("\n\n")[0].strip()
