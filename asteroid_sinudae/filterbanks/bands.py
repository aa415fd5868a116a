"""Bands of the multi-resolution initialisation: their notation, layout and checks.

A band is a range of frequencies whose kernels have windows of one length: long windows resolve the
harmonics at low frequencies, short ones the onsets at high frequencies.
"""

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..utils.checks import check

FADE_HZ = 500.0  # width of the cross-fade between two bands
# The search of layout_bands: how far edges may be from the estimate, and by how much the last edge
# and the cross-fades may be reduced.
EDGES_AROUND_HZ = 30
LAST_EDGE_FACTORS = np.arange(1, 0.84, -0.01)
FADE_FACTORS = np.arange(1, 0.5, -0.05)


class Band(NamedTuple):
    """A range of frequencies with one window.

    Attributes:
        window (int): Length of the window in samples, even.
        upper (float): Upper edge in Hz.
        phases (int): Number of kernels at each frequency, which differ in phase: 4, or 2 with a
            window of two hops.
        fade (float): Width in Hz of the cross-fade with the next band, centred on the edge.
    """

    window: int
    upper: float
    phases: int
    fade: float = FADE_HZ


def parse_bands(text: str) -> list[Band]:
    """Parse bands written as `WINDOWxPHASES:UPPER[:FADE]`, separated by spaces, from low to high.

    Raises:
        ValueError: naming the first band that is not written in this way.

    Examples
        >>> parse_bands("2048x4:1400 512x2:22050")[0]
        Band(window=2048, upper=1400.0, phases=4, fade=500.0)
    """
    bands = []
    for word in text.split():
        number = r"\d+(?:\.\d+)?"
        match = re.fullmatch(rf"(\d+)x(\d+):({number})(?::({number}))?", word)
        if match is None:
            expected = "WINDOWxPHASES:UPPER[:FADE], as 2048x4:1400:500"
            raise ValueError(f"band must be {expected}, got {word!r}")
        window, phases, upper, fade = match.groups()
        bands.append(Band(int(window), float(upper), int(phases), float(fade or FADE_HZ)))
    check(len(bands) > 0, "bands", text, "at least one")
    return bands


def format_bands(bands: Sequence[Band]) -> str:
    """Write bands as the text that :func:`parse_bands` reads.

    Examples
        >>> format_bands([Band(2048, 1400.0, 4), Band(512, 22050.0, 2)])
        '2048x4:1400:500 512x2:22050:500'
    """
    return " ".join(
        f"{band.window}x{band.phases}:{_as_text(band.upper)}:{_as_text(band.fade)}"
        for band in bands
    )


def _as_text(number: float) -> str:
    """Ten digits, or as many as it takes to read the same number again."""
    text = f"{number:.10g}"
    return text if float(text) == number else repr(float(number))


def as_bands(
    bands: str | Sequence[Band], n_filters: int, kernel_size: int, stride: int, sample_rate: float
) -> list[Band]:
    """Convert a user's argument to bands: text, a sequence, or nothing for :func:`layout_bands`.

    Raises:
        ValueError: see :func:`parse_bands` and :func:`layout_bands`.
    """
    if not bands:
        return layout_bands(n_filters, kernel_size, stride, sample_rate)
    expected = "text, or a sequence of Band"
    try:
        found = parse_bands(bands) if isinstance(bands, str) else [Band(*band) for band in bands]
        numbers = [number for band in found for number in band]
        is_finite = all(0 <= number < math.inf for number in numbers)
    except TypeError as error:
        raise ValueError(f"bands must be {expected}, got {bands!r}") from error
    check(is_finite, "bands", found, f"{expected}, of finite numbers")
    return found


def layout_bands(n_filters: int, kernel_size: int, stride: int, sample_rate: float) -> list[Band]:
    """Choose bands with `n_filters` kernels: long windows at low frequencies, short at high ones.

    The windows are halved from band to band, from the longest one that fits into the kernels down
    to two hops, and the upper edge of each band is an octave above that of the band before. These
    bands have four phases. Above the last edge there is a band of two phases, an MDCT, which takes
    two numbers a sample. More kernels move all edges up, because four phases and long windows take
    more kernels for each Hz.

    The search has one main unknown, the first edge: the number of kernels grows with it, so
    bisection finds about where it lies. But kernels come and go by twos and fours, and may skip the
    number that is asked for. So the edges around it are tried, first with the full cross-fades and
    the last edge in its place, then with a lower last edge and narrower cross-fades.

    Args:
        n_filters (int): Number of kernels, even, from `2 * stride` to twice the longest window.
        kernel_size (int): Length of the kernels in samples, even.
        stride (int): Hop in samples.
        sample_rate (float): Sample rate in Hz.

    Returns:
        list of Band, from low to high frequencies

    Raises:
        ValueError: if the search finds no such bands.

    Examples
        >>> format_bands(layout_bands(800, 2048, 256, 44100.0))
        '2048x4:685:342.5 1024x4:1370:500 512x4:2740:500 512x2:22050:500'
    """
    check(kernel_size >= 2 * stride, "kernel_size", kernel_size, f"at least 2 * {stride=}")
    windows = [2 * stride]
    while 2 * windows[0] <= kernel_size:
        windows.insert(0, 2 * windows[0])

    def octaves(edge: float, fade: float, last: float = 1.0) -> list[Band]:
        """Bands an octave apart, the first one up to `edge` Hz; `last` scales the last edge."""
        bands: list[Band] = []
        for number, window in enumerate(windows):
            upper = float(edge * 2**number * (last if window == 2 * stride else 1))
            if upper + fade / 2 > sample_rate / 2:
                return [*bands, Band(window, sample_rate / 2, 4)]
            width = min(fade, upper * fade / FADE_HZ / 2)  # at most half of the edge's frequency
            bands.append(Band(window, upper, 4, width))
        return [*bands, Band(2 * stride, sample_rate / 2, 2)]

    fewest, most = 2 * stride, 2 * windows[0]
    is_possible = fewest <= n_filters <= most and n_filters % 2 == 0
    expected = f"even, and {fewest} (2 * stride) to {most} for {kernel_size=}"
    check(is_possible, "n_filters", n_filters, expected)
    if n_filters == fewest:
        return [Band(2 * stride, sample_rate / 2, 2)]
    highest = math.ceil(sample_rate / 2)
    nearest = 1 + bisect_left(
        range(1, highest),
        n_filters,
        key=lambda edge: n_kernels(octaves(edge, FADE_HZ), sample_rate),
    )  # Hz, the first edge with enough kernels
    around = range(max(1, nearest - EDGES_AROUND_HZ), nearest + EDGES_AROUND_HZ)
    for last, fade in itertools.product(LAST_EDGE_FACTORS, FADE_FACTORS):
        for edge in around:
            bands = octaves(edge, round(fade * FADE_HZ), last)
            if n_kernels(bands, sample_rate) == n_filters:
                return bands
    raise ValueError(
        f"n_filters must be a number of kernels that bands lay out, got {n_filters}: try one a "
        "little larger or smaller, or give bands"
    )


def n_kernels(bands: Sequence[Band], sample_rate: float) -> int:
    """Count the kernels that :func:`.multires_carriers` gives for bands that it accepts.

    Examples
        >>> n_kernels(parse_bands("2048x4:1400:500 512x2:22050"), 44100.0)
        792
    """
    return sum(number for _, number in band_supports(bands, sample_rate))


def band_supports(bands: Sequence[Band], sample_rate: float) -> list[tuple[int, int]]:
    """Count the kernels of each window: the `supports` of their filterbanks.

    Returns:
        list of pairs, see :func:`.check_supports`

    Examples
        >>> band_supports(parse_bands("2048x4:1400 512x2:22050"), 44100.0)
        [(2048, 306), (512, 486)]
    """
    numbers: dict[int, int] = {}
    for index, band in enumerate(bands):
        bins = band_bins(bands, index, sample_rate)
        # At 0 Hz and half the sample rate there is one phase and its negative, instead of four.
        n_single = (0 in bins) + (band.window // 2 in bins) if band.phases == 4 else 0
        number = band.phases * len(bins) - 2 * n_single
        numbers[band.window] = numbers.get(band.window, 0) + number
    return sorted(((w, n) for w, n in numbers.items() if n), reverse=True)


def band_bins(bands: Sequence[Band], number: int, sample_rate: float) -> range:
    """Indices of the frequencies at which a band is not zero, with its cross-fades."""
    band = bands[number]
    spacing = sample_rate / band.window
    offset = 0.5 if band.phases == 2 else 0.0
    first, stop = 0, band.window // 2 + (band.phases == 4)
    if number > 0:
        below = bands[number - 1]
        first = math.floor((below.upper - below.fade / 2) / spacing - offset) + 1
    if number < len(bands) - 1:
        stop = math.ceil((band.upper + band.fade / 2) / spacing - offset)
    return range(first, stop)


def check_bands(bands: Sequence[Band], kernel_size: int, stride: int, sample_rate: float) -> None:
    """Raise a ValueError unless kernels of this length and hop can start from these bands."""
    check(kernel_size % 2 == 0, "kernel_size", kernel_size, "even with bands")
    *borders, last = bands
    for band in bands:
        name = f"window of band {format_bands([band])}"
        check(
            band.phases in (2, 4), f"phases of band {format_bands([band])}", band.phases, "2 or 4"
        )
        check(band.window <= kernel_size, name, band.window, f"at most {kernel_size=}")
        # The squares of a sine window, shifted by a half, a third, a quarter ... of its length, add
        # up to a constant.
        is_frame = band.window >= 2 * stride and band.window % stride == 0
        check(is_frame and band.window % 2 == 0, name, band.window, f"even, 2 or more {stride=}")
        is_mdct = band.window == 2 * stride
        check(band.phases == 4 or is_mdct, name, band.window, f"2 * {stride=} with 2 phases")
    occupied = 0.0  # Hz, up to where the cross-fades below reach
    for band in borders:
        name = f"band {format_bands([band])}"
        check(band.fade > 0, f"cross-fade of {name}", band.fade, "more than 0 Hz")
        is_free = band.upper - band.fade / 2 >= occupied
        expected = f"at least {occupied + band.fade / 2:g} Hz, or cross-fades overlap"
        check(is_free, f"upper edge of {name}", band.upper, expected)
        occupied = band.upper + band.fade / 2
    nyquist = sample_rate / 2
    is_free = occupied <= nyquist
    check(is_free, "upper edge of a cross-fade", occupied, f"at most {nyquist:g} Hz")
    check(last.upper == nyquist, "upper edge of the last band", last.upper, f"{nyquist:g} Hz")


def check_kernels(
    bands: Sequence[Band], n_filters: int, kernel_size: int, stride: int, sample_rate: float
) -> None:
    """Raise a ValueError unless `n_filters` kernels of these sizes can start from these bands."""
    check_bands(bands, kernel_size, stride, sample_rate)
    number = n_kernels(bands, sample_rate)
    check(n_filters == number, "n_filters", n_filters, f"{number}, the kernels of the bands")
