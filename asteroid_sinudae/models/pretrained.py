"""Models that come with the package, by name: trained ones as files, untrained ones as arguments.

Nothing here needs a network. :meth:`.SinuDAE.from_pretrained` takes every name.
"""

import os
from pathlib import Path

import torch

from ..utils.checks import check
from ..utils.files import load_safely

FOLDER = Path(__file__).parents[1] / "pretrained_models"
ORACLE_MASKS = ("si_sdr_bm_0.5", "si_sdr_bm_1", "si_sdr_rm")  # in the evaluation of a model
MAX_BYTES = 16_000_000  # of a model's file

# Arguments of :class:`.SinuDAE` whose start is a model already.
STRUCTURES = {
    name: dict(
        n_filters=n_filters,
        kernel_size=kernel_size,
        stride=stride,
        sample_rate=44100.0,
        smooth_groups=n_filters,
        init="multires",
    )
    for name, n_filters, kernel_size, stride in (
        ("multires_c800_s256", 800, 2048, 256),  # the paper's size
        ("multires_c1608_s512", 1608, 2048, 512),
        ("multires_c2764_s1024", 2764, 4096, 1024),  # half of what the paper's STFT spends
        ("multires_c2732_s512", 2732, 8192, 512),  # as much
    )
}


def available() -> dict[str, str]:
    """Names of the models that come with the package, and a line about each.

    Returns:
        dict: trained models first, then untrained structures.
    """
    return {name: _summary(card(name)) for name in [*_files(), *STRUCTURES]}


def card(name: str) -> str:
    """What there is to know of a model that comes with the package.

    Args:
        name (str): Among :func:`available`.

    Returns:
        str: Markdown. Of a trained model its data, licence, training and figures; of an untrained
        structure its sizes and arguments.

    Raises:
        ValueError: if there is no such model.
    """
    check(isinstance(name, str), "name", name, "text")
    if name in STRUCTURES:
        arguments = STRUCTURES[name]
        in_words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"# {name}\n\n{describe_sizes(arguments)}; untrained\n\n`SinuDAE({in_words})`\n"
    if name not in _files():
        raise ValueError(f"{name!r} is no model of this package, expected {_one_of_the_names()}")
    return card_path(FOLDER, name).read_text(encoding="utf-8")


def facts(name: str) -> dict[str, str]:
    """What a model that comes with the package is for, how good it is, and who may use it.

    Args:
        name (str): Among :func:`available`.

    Returns:
        dict of lines: ``sizes``, ``does``, ``figures`` and ``licence``.

    Raises:
        ValueError: if there is no such model.
    """
    lines = {"sizes": _summary(card(name)), "does": "encodes and decodes"}
    if name in STRUCTURES:
        figures, licence = "those of its table in docs/results.md", "MIT, as the code"
    else:
        infos = load_safely(model_path(FOLDER, name))["infos"]
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


def resolve(model: str | Path) -> str | Path | dict:
    """Where a model is to be taken from; a file that exists goes before a name.

    Args:
        model (str or Path): A file, or a name among :func:`available`.

    Returns:
        str or Path of a file, which is not there if `model` only looks like one, by a suffix or a
        separator; or dict, the arguments of an untrained :class:`.SinuDAE`.

    Raises:
        ValueError: if `model` is neither a file nor a name.
    """
    check(isinstance(model, str | os.PathLike), "model", model, "the name of a model, or its file")
    path, name, files = Path(model), str(model), _files()
    if path.is_file():
        return model
    if name in files:
        return files[name]
    if name in STRUCTURES:
        return dict(STRUCTURES[name])
    if path.suffix or path.name != name:
        return model
    raise ValueError(
        f"{name!r} is neither a file nor the name of a model, expected {_one_of_the_names()}"
    )


def describe_sizes(arguments: dict) -> str:
    """Sizes of a :class:`.SinuDAE` in words, from its arguments.

    Examples
        >>> sizes = describe_sizes(dict(n_filters=80, kernel_size=64, stride=16))
        >>> sizes.split(", ")[-2:]
        ['5.00 coefficients a sample', '0.04 million parameters']
    """
    from .sinudae import SinuDAE  # which imports this module

    with torch.device("meta"):  # sizes only; the start is of the same
        model = SinuDAE(**{**arguments, "init": "paper", "bands": ""})
    sizes = model.get_model_args()
    coefficients = sizes["n_filters"] / sizes["stride"]
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return (
        f"{sizes['n_filters']} channels, kernels of {sizes['kernel_size']} samples, hop "
        f"{sizes['stride']}, {sizes['sample_rate']:g} Hz, {coefficients:.2f} coefficients a "
        f"sample, {millions:.2f} million parameters"
    )


def model_path(folder: Path, name: str) -> Path:
    """File of a trained model among those in `folder`."""
    return folder / f"{name}.pth"


def card_path(folder: Path, name: str) -> Path:
    """File of its card."""
    return folder / f"{name}.md"


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.pth"))}


def _summary(text: str) -> str:
    """The first line of a card below its heading."""
    return text.partition("\n\n")[2].partition("\n\n")[0].strip()


def _one_of_the_names() -> str:
    return f"one of {', '.join([*_files(), *STRUCTURES])}"
