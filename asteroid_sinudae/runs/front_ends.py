"""The front-ends that separators are compared on, by their names in a configuration, and maskers.

A front-end is `pair`, the pair of a run; `stft_<n_fft>_<stride>`; or
`free_<n_filters>_<kernel_size>_<stride>`, a free filterbank that is learned with the masker.
"""

import re
from typing import Any

from torch import nn

from ..data.tracks import SOURCES
from ..models.baselines import FreeBandSplitRNN, STFTBandSplitRNN, STFTConvTasNet
from ..models.separators import SinuDAEBandSplitRNN, SinuDAEConvTasNet
from ..models.sinudae import SinuDAE
from ..utils.checks import check, check_choice, check_positive_int

PAIR = "pair"
EXPECTED = "pair, stft_<n_fft>_<stride> or free_<n_filters>_<kernel_size>_<stride>"
SIZES = {"stft": ("n_fft", "stride"), "free": ("n_filters", "kernel_size", "stride")}
WINDOW = "hamming"  # of the STFT, the paper's
NORMS = ("gLN", "fgLN", "cLN", "cgLN", "bN")  # of Asteroid, for signals of any length
# Keys of a configuration that are arguments of each masker.
MASKERS = {
    "band_split": ("n_bands", "bn_chan", "hid_size", "n_repeats", "rnn_type"),
    "conv_tasnet": (
        "n_blocks",
        "n_repeats",
        "bn_chan",
        "hid_chan",
        "skip_chan",
        "conv_kernel_size",
    ),
}
OF_ALL_MASKERS = ("norm_type", "mask_act")
CLASSES: dict[tuple[str, str], type] = {
    ("band_split", PAIR): SinuDAEBandSplitRNN,
    ("band_split", "stft"): STFTBandSplitRNN,
    ("band_split", "free"): FreeBandSplitRNN,
    ("conv_tasnet", PAIR): SinuDAEConvTasNet,
    ("conv_tasnet", "stft"): STFTConvTasNet,
}


def front_ends(names: str) -> list[str]:
    """Split the names of front-ends at commas or spaces, and check them.

    Raises:
        ValueError: naming the one that is unknown or there twice, or if there is none.

    Examples
        >>> front_ends("pair,stft_2048_512")
        ['pair', 'stft_2048_512']
    """
    found = names.replace(",", " ").split()
    check(len(found) > 0, "front_ends", names, f"at least one of {EXPECTED}")
    for number, name in enumerate(found):
        check(name not in found[:number], "front_ends", name, "each name once")
        _parse(name)
    return found


def _parse(name: str) -> tuple[str, dict[str, int]]:
    """Return the kind of a front-end, and its sizes by the names of arguments."""
    kind, *numbers = name.split("_")
    if name == PAIR:
        return PAIR, {}
    is_known = kind in SIZES and len(numbers) == len(SIZES[kind])
    is_known = is_known and all(re.fullmatch("[1-9][0-9]{0,5}", number) for number in numbers)
    check(is_known, "front_ends", name, EXPECTED)
    return kind, dict(zip(SIZES[kind], map(int, numbers), strict=True))


def is_front_end(name: str) -> bool:
    """Tell whether this is the name of a front-end.

    Examples
        >>> is_front_end("stft_2048_512"), is_front_end("logs")
        (True, False)
    """
    try:
        _parse(name)
    except ValueError:
        return False
    return True


def title(name: str, of_pair: str) -> str:
    """Return the name of a front-end in tables and files, where the pair has the name `of_pair`.

    Examples
        >>> title("stft_2048_512", "mod-cos DAE")
        'STFT 2048-512'
    """
    kind, sizes = _parse(name)
    if kind == PAIR:
        return of_pair
    words = {"stft": "STFT", "free": "free"}[kind]
    return f"{words} {'-'.join(map(str, sizes.values()))}"


def kernel_size(name: str, pair: SinuDAE) -> int:
    """Return the length of a front-end's kernels in samples."""
    kind, sizes = _parse(name)
    if kind == PAIR:
        return pair.encoder.filterbank.kernel_size
    return sizes["n_fft" if kind == "stft" else "kernel_size"]


def stft_arguments(name: str) -> dict[str, Any] | None:
    """Return the arguments of :class:`.STFT` of a front-end; None for another."""
    kind, sizes = _parse(name)
    return {**sizes, "window": WINDOW} if kind == "stft" else None


def separator_class(name: str, masker: str) -> type:
    """Return the class of the separators on a front-end with a masker of :data:`MASKERS`.

    Raises:
        ValueError: if there is no such masker, or none on this front-end.
    """
    check_choice("masker", masker, tuple(MASKERS))
    kind, _ = _parse(name)
    if (masker, kind) not in CLASSES:
        raise ValueError(f"masker={masker} is not for front_ends={name}, expected band_split")
    return CLASSES[masker, kind]


def make_separator(name: str, pair: SinuDAE, masker: dict, freeze: bool = True) -> nn.Module:
    """Make a separator of the :data:`SOURCES` on a front-end.

    Args:
        name (str): Name of the front-end.
        pair (SinuDAE): The trained pair, of which a separator on it holds a copy.
        masker (dict): The masker's name, `masker`, and arguments of all :data:`MASKERS`, of which
            its own are taken.
        freeze (bool): Whether that copy stays as it is.

    Returns:
        :class:`torch.nn.Module`

    Raises:
        ValueError: naming an argument that is out of its range.
    """
    cls, (kind, sizes) = separator_class(name, masker["masker"]), _parse(name)
    arguments = {key: masker[key] for key in (*MASKERS[masker["masker"]], *OF_ALL_MASKERS)}
    check_choice("norm_type", masker["norm_type"], NORMS)
    if masker["masker"] != "band_split":
        check(not masker["tie_phases"], "tie_phases", True, "false, unless masker is band_split")
    for key, value in arguments.items():
        if isinstance(value, int) and key != "skip_chan":
            check_positive_int(key, value)
    if masker["masker"] == "conv_tasnet":
        taps, skip = masker["conv_kernel_size"], masker["skip_chan"]
        check(taps % 2 == 1, "conv_kernel_size", taps, "odd, to keep frames in place")
        check(skip >= 0, "skip_chan", skip, "0 or more")
    n_src = len(SOURCES)
    if kind == PAIR:
        tied = {"tie_phases": True} if masker["tie_phases"] else {}
        return cls(n_src, pretrained=pair, freeze=freeze, **tied, **arguments)
    window = {"window": WINDOW} if kind == "stft" else {}
    return cls(n_src, sample_rate=pair.sample_rate, **sizes, **window, **arguments)
