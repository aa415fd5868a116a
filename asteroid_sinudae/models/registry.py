"""Names of the models that come with the package, and the file or the arguments of each."""

import os
from pathlib import Path

from ..utils.checks import check

FOLDER = Path(__file__).parents[1] / "pretrained_models"
MAX_BYTES = 16_000_000  # size of a model's file
# What separates where no model is named: the mean of their estimates, which err in different ways.
DEFAULT_SEPARATORS = ("separator_vocals", "separator_vocals_stft")
# Arguments of :class:`.SinuDAE` that make a useful model without any training. Bands that are given
# are the best that recipes/musdb18/search_layouts.py has found on the train songs so far.
STRUCTURES = {
    name: dict(
        n_filters=n_filters,
        kernel_size=kernel_size,
        stride=stride,
        sample_rate=44100.0,
        smooth_groups=n_filters,
        init="multires",
        bands=bands,
        compact=True,
    )
    for name, n_filters, kernel_size, stride, bands in (
        # the paper's size
        ("multires_c800_s256", 800, 2048, 256, "2048x4:962:79 1024x4:2592:148 512x2:22050:261"),
        ("multires_c1608_s512", 1608, 2048, 512, ""),
        # less than half of what the paper's STFT spends
        (
            "multires_c1972_s768",
            1972,
            4608,
            768,
            "4608x4:388:20 3072x4:802:88 2304x4:1915:235 1536x2:22050:282",
        ),
        # four fifths of it
        (
            "multires_c1676_s384",
            1676,
            6144,
            384,
            "6144x4:601:60 2304x4:2404:464 1152x4:4798:263 768x2:22050:256",
        ),
        ("multires_c2764_s1024", 2764, 4096, 1024, ""),  # half of it
        ("multires_c2732_s512", 2732, 8192, 512, ""),  # as much
    )
}


def resolve(model: str | Path) -> str | Path | dict:
    """Find the source of a model: a file if it exists, or else a name.

    Args:
        model (str or Path): A file, or a name among :func:`available`.

    Returns:
        str or Path of a file, of a :class:`.SinuDAE` or of a separator, which is not there if
        `model` only looks like one, by a suffix or a slash; or dict, the arguments of an untrained
        :class:`.SinuDAE`.

    Raises:
        ValueError: if `model` is neither a file nor a name.
    """
    check(isinstance(model, str | os.PathLike), "model", model, "the name of a model, or its file")
    path, name, known = Path(model), str(model), files()
    if path.is_file():
        return model
    if name in known:
        return known[name]
    if name in STRUCTURES:
        return dict(STRUCTURES[name])
    if path.suffix or path.name != name:
        return model
    raise ValueError(
        f"{name!r} is neither a file nor the name of a model, expected {one_of_the_names()}"
    )


def model_path(folder: Path, name: str) -> Path:
    """File of a trained model among those in `folder`."""
    return folder / f"{name}.pth"


def card_path(folder: Path, name: str) -> Path:
    """File of its card."""
    return folder / f"{name}.md"


def files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.pth"))}


def names() -> list[str]:
    return [*files(), *STRUCTURES]


def one_of_the_names() -> str:
    return f"one of {', '.join(names())}"
