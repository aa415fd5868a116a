r"""A start of the pair from structure: windowed cosines of several resolutions, each in its band.

A band of four phases is a short-time Fourier transform, a band of two is a modified discrete cosine
transform (MDCT) [1]; each kernel is there with its negative, so that after the ReLU nothing of the
signal is lost: :math:`\mathrm{ReLU}(p) - \mathrm{ReLU}(-p) = p`. All kernels are
:math:`\cos(2\pi f_c^2 t + \phi_c) \odot b_c`, those of an ordinary :class:`.ModCosFB`.

References
    [1] : "Analysis/Synthesis Filter Bank Design Based on Time Domain Aliasing Cancellation". IEEE
    Transactions on Acoustics, Speech, and Signal Processing, 1986. John Princen, Alan Bradley.
"""

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..utils.checks import check
from .conv_smooth_fb import ConvSmoothFB
from .mod_cos_fb import ModCosFB

FADE_HZ = 500.0


class Band(NamedTuple):
    """A range of frequencies with one window.

    Attributes:
        window (int): Length of the window in samples, even.
        upper (float): Upper edge in Hz.
        phases (int): 4, or 2 with a window of two hops.
        fade (float): Width in Hz of the cross-fade with the next band, centred on the edge.
    """

    window: int
    upper: float
    phases: int
    fade: float = FADE_HZ


class Carriers(NamedTuple):
    """Kernels as :math:`\\cos(2\\pi f t + \\theta) \\, g \\, w`, time counted from their centre.

    Attributes:
        frequency (:class:`torch.Tensor`): :math:`f` in cycles per sample, shape `(n_filters,)`.
        phase (:class:`torch.Tensor`): :math:`\\theta` in radians, shape `(n_filters,)`.
        gain (:class:`torch.Tensor`): :math:`g`, shape `(n_filters,)`.
        window (:class:`torch.Tensor`): length of :math:`w` in samples, shape `(n_filters,)`.
    """

    frequency: torch.Tensor
    phase: torch.Tensor
    gain: torch.Tensor
    window: torch.Tensor


def parse_bands(text: str) -> list[Band]:
    """Bands written as `WINDOWxPHASES:UPPER[:FADE]`, separated by spaces, from low to high.

    Raises:
        ValueError: naming the band that is written otherwise.

    Examples
        >>> parse_bands("2048x4:1400 512x2:22050")[0]
        Band(window=2048, upper=1400.0, phases=4, fade=500.0)
    """
    bands = []
    for word in text.split():
        number = r"\d+(?:\.\d+)?"
        match = re.fullmatch(rf"(\d+)x(\d+):({number})(?::({number}))?", word)
        check(match is not None, "band", word, "WINDOWxPHASES:UPPER[:FADE], as 2048x4:1400:500")
        window, phases, upper, fade = match.groups()
        bands.append(Band(int(window), float(upper), int(phases), float(fade or FADE_HZ)))
    check(len(bands) > 0, "bands", text, "at least one")
    return bands


def format_bands(bands: Sequence[Band]) -> str:
    """Text for :func:`parse_bands`.

    Examples
        >>> format_bands([Band(2048, 1400.0, 4), Band(512, 22050.0, 2)])
        '2048x4:1400:500 512x2:22050:500'
    """
    return " ".join(f"{b.window}x{b.phases}:{b.upper:.10g}:{b.fade:.10g}" for b in bands)


def as_bands(
    bands: str | Sequence[Band], n_filters: int, kernel_size: int, stride: int, sample_rate: float
) -> list[Band]:
    """Bands from what users give: text, a sequence, or nothing, for those of :func:`layout_bands`.

    Raises:
        ValueError: see :func:`parse_bands` and :func:`layout_bands`.
    """
    if not bands:
        return layout_bands(n_filters, kernel_size, stride, sample_rate)
    expected = "text, or a sequence of Band"
    try:
        bands = parse_bands(bands) if isinstance(bands, str) else [Band(*band) for band in bands]
        numbers = [number for band in bands for number in band]
        is_finite = all(0 <= number < math.inf for number in numbers)
    except TypeError as error:
        raise ValueError(f"bands must be {expected}, got {bands!r}") from error
    check(is_finite, "bands", bands, f"{expected}, of finite numbers")
    return bands


def layout_bands(n_filters: int, kernel_size: int, stride: int, sample_rate: float) -> list[Band]:
    """Bands for a number of kernels: long windows where voices have their harmonics.

    From low to high frequencies the windows are halved, from the longest that fits into the kernels
    to two hops. Each has four phases, and its upper edge is an octave above that of the one before;
    from the last edge on there is the MDCT, at two numbers a sample. The edges lie as high as
    `n_filters` allows.

    Args:
        n_filters (int): Number of kernels, even, from `2 * stride` to twice the longest window.
        kernel_size (int): Length of the kernels in samples, even.
        stride (int): Hop in samples.
        sample_rate (float): In Hz.

    Returns:
        list of Band, of exactly `n_filters` kernels

    Raises:
        ValueError: if there are no such bands.

    Examples
        >>> format_bands(layout_bands(800, 2048, 256, 44100.0))
        '2048x4:685:342.5 1024x4:1370:500 512x4:2740:500 512x2:22050:500'
    """
    check(kernel_size >= 2 * stride, "kernel_size", kernel_size, f"at least 2 * {stride=}")
    windows = [2 * stride]
    while 2 * windows[0] <= kernel_size:
        windows.insert(0, 2 * windows[0])

    def octaves(edge: float, fade: float, last: float = 1.0) -> list[Band]:
        bands = []
        for number, window in enumerate(windows):
            upper = float(edge * 2**number * (last if window == 2 * stride else 1))
            if upper + fade / 2 > sample_rate / 2:
                return [*bands, Band(window, sample_rate / 2, 4)]
            width = min(fade, upper * fade / FADE_HZ / 2)
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
    )
    # Kernels come and go by twos and fours: look around for the number that is asked for.
    for last, fade in itertools.product(np.arange(1, 0.84, -0.01), np.arange(1, 0.5, -0.05)):
        for edge in range(max(1, nearest - 30), nearest + 30):
            bands = octaves(edge, round(fade * FADE_HZ), last)
            if n_kernels(bands, sample_rate) == n_filters:
                return bands
    raise ValueError(
        f"n_filters must be a number of kernels that bands lay out, got {n_filters}: try one a "
        "little larger or smaller, or give bands"
    )


def n_kernels(bands: Sequence[Band], sample_rate: float) -> int:
    """How many kernels :func:`multires_carriers` gives for bands that it accepts.

    Examples
        >>> n_kernels(parse_bands("2048x4:1400:500 512x2:22050"), 44100.0)
        792
    """
    total = 0
    for number, band in enumerate(bands):
        bins = _bins(bands, number, sample_rate)
        # 0 Hz and half the sample rate have one phase and its negative.
        n_single = (0 in bins) + (band.window // 2 in bins) if band.phases == 4 else 0
        total += band.phases * len(bins) - 2 * n_single
    return total


def _bins(bands: Sequence[Band], number: int, sample_rate: float) -> range:
    """Indices of a band's frequencies that its cross-fades leave any of."""
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
    """Raise a ValueError unless bands are a start of kernels of this length and hop."""
    check(kernel_size % 2 == 0, "kernel_size", kernel_size, "even with bands")
    *borders, last = bands
    for band in bands:
        name = f"window of band {format_bands([band])}"
        check(
            band.phases in (2, 4), f"phases of band {format_bands([band])}", band.phases, "2 or 4"
        )
        check(band.window <= kernel_size, name, band.window, f"at most {kernel_size=}")
        # Squares of a sine window add to one over hops of its half, third, fourth ...
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


def _fade_in(hertz: torch.Tensor, border: Band) -> torch.Tensor:
    """Raised cosine from 0 to 1 around a band's upper edge."""
    position = ((hertz - border.upper) / border.fade).clamp(-0.5, 0.5)
    return 0.5 + 0.5 * torch.sin(math.pi * position)


def _fourier(bins: torch.Tensor, window: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Phases, and squared gains, of a cosine and a sine at each bin; shapes `(bins, 2)`."""
    phase = torch.tensor([0.0, math.pi / 2], dtype=torch.float64).expand(len(bins), 2)
    # The squares of the window, shifted by hops, add up to window / (2 * stride).
    energy = torch.full((len(bins), 2), 4 * stride / window**2, dtype=torch.float64)
    # Time is counted from the centre, between two samples: 0 Hz is a cosine, half the sample rate a
    # sine, and both have half the energy of the others.
    energy[bins == 0] *= torch.tensor([0.5, 0.0])
    energy[2 * bins == window] *= torch.tensor([0.0, 0.5])
    return phase, energy


def _mdct(bins: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Phases, and squared gains, of the MDCT; shapes `(bins, 1)`."""
    phase = 1.5 * math.pi * (bins + 0.5)
    return phase[:, None], torch.full((len(bins), 1), 2 / stride, dtype=torch.float64)


def _band_carriers(bands: Sequence[Band], number: int, stride: int, sample_rate: float) -> Carriers:
    """Kernels of a band, each followed by its negative."""
    band = bands[number]
    bins = torch.tensor(_bins(bands, number, sample_rate), dtype=torch.float64)
    if band.phases == 4:
        frequency = bins / band.window
        phase, energy = _fourier(bins, band.window, stride)
    else:
        frequency = (bins + 0.5) / band.window
        phase, energy = _mdct(bins, stride)
    frequency = frequency[:, None].expand_as(phase)
    if number > 0:
        energy = energy * _fade_in(frequency * sample_rate, bands[number - 1])
    if number < len(bands) - 1:
        energy = energy * (1 - _fade_in(frequency * sample_rate, band))
    kept = energy > 0
    phase = torch.stack([phase[kept], phase[kept] + math.pi], dim=1).flatten()
    window = torch.full_like(phase, band.window)
    # Encoder and decoder have the square root each.
    gain = energy[kept].sqrt().repeat_interleave(2)
    return Carriers(frequency[kept].repeat_interleave(2), phase, gain, window)


def multires_carriers(
    bands: Sequence[Band], kernel_size: int, stride: int, sample_rate: float
) -> Carriers:
    """The kernels of all bands, in ascending order of frequency.

    Four phases are 0, 90, 180 and 270 degrees at multiples of `sample_rate / window`; two phases
    are those of the MDCT of block `stride` and their negatives. Gains are such that analysis and
    synthesis with the same kernels, half-wave rectified in between, return the signal.

    Args:
        bands (sequence of Band): From low to high frequencies.
        kernel_size (int): Length of the kernels in samples, even.
        stride (int): Hop in samples.
        sample_rate (float): In Hz.

    Returns:
        Carriers

    Raises:
        ValueError: if the bands do not cover 0 Hz to half the sample rate, a window is longer than
            the kernels or not two or more whole hops, two phases have another window than two
            hops, or cross-fades overlap.

    Examples
        >>> carriers = multires_carriers([Band(8, 50.0, 4)], 16, 4, 100.0)
        >>> (carriers.frequency * 100).tolist()[:6]
        [0.0, 0.0, 12.5, 12.5, 12.5, 12.5]
    """
    check_bands(bands, kernel_size, stride, sample_rate)
    parts = [_band_carriers(bands, number, stride, sample_rate) for number in range(len(bands))]
    carriers = Carriers(*(torch.cat(part) for part in zip(*parts, strict=True)))
    order = carriers.frequency.argsort(stable=True)
    return Carriers(*(part[order] for part in carriers))


def modulators(carriers: Carriers, kernel_size: int) -> torch.Tensor:
    """Gain times sine window of each kernel, centred, zero outside.

    Args:
        carriers (Carriers): Of `n_filters` kernels.
        kernel_size (int): Length of the kernels in samples.

    Returns:
        :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`, double.
    """
    window = carriers.window[:, None]
    time = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - window) / 2
    inside = (time >= 0) & (time < window)
    sine = torch.sin(math.pi * (time + 0.5) / window)
    return (carriers.gain[:, None] * sine * inside)[:, None]


@torch.no_grad()
def start_multires(encoder: ConvSmoothFB, decoder: ModCosFB, bands: Sequence[Band]) -> None:
    """Start a pair from bands, in place: equal kernels on both sides, and no smoothing.

    Args:
        encoder (ConvSmoothFB): Of the sizes of `decoder`.
        decoder (ModCosFB): With as many filters as the bands have kernels.
        bands (sequence of Band): See :func:`multires_carriers`.

    Raises:
        ValueError: see :func:`multires_carriers`; or if the number of filters is another.
    """
    kernel_size = decoder.kernel_size
    check_bands(bands, kernel_size, decoder.stride, decoder.sample_rate)
    number = n_kernels(bands, decoder.sample_rate)
    is_right = decoder.n_filters == number
    check(is_right, "n_filters", decoder.n_filters, f"{number}, the kernels of the bands")
    if decoder.frequency.is_meta:  # only sizes matter
        return
    carriers = multires_carriers(bands, kernel_size, decoder.stride, decoder.sample_rate)
    decoder.frequency.copy_((carriers.frequency ** (1 / decoder.exponent)).view(-1, 1, 1))
    # The phase at the first sample, of the carrier as it is in single precision.
    cycles = decoder.frequency.double() ** decoder.exponent * (kernel_size - 1) / 2
    phase = carriers.phase.view(-1, 1, 1) - 2 * math.pi * cycles
    decoder.phase.copy_(torch.remainder(phase + math.pi, 2 * math.pi) - math.pi)
    decoder.modulator.copy_(modulators(carriers, kernel_size))
    encoder.get_parameter("_filters").copy_(decoder.filters())
    encoder.smooth_weight.zero_()


def frame_bounds(
    analysis: torch.Tensor, synthesis: torch.Tensor, stride: int
) -> tuple[float, float]:
    r"""Smallest and largest gain of a pair of kernels that are there with their negatives.

    Half the sum over kernels of analysis and synthesis is what the half-wave rectified pair does to
    signals. It is invariant to shifts by a hop: in the polyphase domain [1] a matrix of `stride` by
    `stride` at each frequency, whose singular values are the gains; here at the frequencies of
    signals that repeat after two kernels. Both are 1 if the pair returns every such signal; their
    ratio is the condition number.

    Args:
        analysis (:class:`torch.Tensor`): the encoder's kernels, shape `(n_filters, 1,
            kernel_size)`.
        synthesis (:class:`torch.Tensor`): the decoder's, of the same shape.
        stride (int): Hop in samples.

    Returns:
        tuple of two floats

    References
        [1] : "Frame-theoretic analysis of oversampled filter banks". IEEE Transactions on Signal
        Processing, 1998. Helmut Boelcskei, Franz Hlawatsch, Hans Feichtinger.

    Examples
        >>> kernels = torch.eye(4)[:, None].repeat_interleave(2, 0)
        >>> kernels[1::2] *= -1
        >>> frame_bounds(kernels, kernels, stride=4)
        (1.0, 1.0)
    """
    kernel_size = analysis.shape[-1]
    taps = math.ceil(kernel_size / stride)
    polyphase = []
    for kernels in (analysis, synthesis):
        padded = torch.nn.functional.pad(kernels[:, 0].detach(), (0, taps * stride - kernel_size))
        blocks = padded.reshape(-1, taps, stride)
        polyphase.append(torch.fft.rfft(blocks, n=2 * taps, dim=1))
    gains = torch.stack(
        [
            torch.linalg.svdvals(0.5 * a.mH @ s)
            for a, s in zip(*(p.unbind(1) for p in polyphase), strict=True)
        ]
    )
    return gains.min().item(), gains.max().item()
