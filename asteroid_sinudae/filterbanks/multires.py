r"""Multi-resolution initialisation: the pair starts as windowed cosines that already reconstruct.

Frequencies are divided into bands, and each band has a window length of its own. A band of four
phases (0, 90, 180 and 270 degrees) is a short-time Fourier transform, a band of two phases is a
modified discrete cosine transform (MDCT) [1]. Every kernel comes with its negative, because the
encoder's ReLU would lose the negative half of each output :math:`p` otherwise:
:math:`\mathrm{ReLU}(p) - \mathrm{ReLU}(-p) = p`. All kernels have the form
:math:`\cos(2\pi f_c^2 t + \phi_c) \odot b_c`, so that they are those of an ordinary
:class:`.ModCosFB`, and training goes on from there.

References
    [1] : "Analysis/Synthesis Filter Bank Design Based on Time Domain Aliasing Cancellation". IEEE
    Transactions on Acoustics, Speech, and Signal Processing, 1986. John Princen, Alan Bradley.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..utils.checks import check
from .bands import (
    Band,
    band_bins,
    band_supports,
    check_bands,
    check_kernels,
    layout_bands,
    parse_bands,
)
from .conv_smooth_fb import ConvSmoothFB
from .mod_cos_fb import ModCosFB

__all__ = [
    "Band",
    "Carriers",
    "frame_bounds",
    "layout_bands",
    "modulators",
    "multires_carriers",
    "parse_bands",
    "phase_groups",
    "start_multires",
]


class Carriers(NamedTuple):
    """Kernels :math:`\\cos(2\\pi f t + \\theta) \\, g \\, w`, with time counted from their centre.

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


def _fade_in(hertz: torch.Tensor, border: Band) -> torch.Tensor:
    """Rise from 0 to 1 around a band's upper edge, as a raised cosine."""
    position = ((hertz - border.upper) / border.fade).clamp(-0.5, 0.5)
    return 0.5 + 0.5 * torch.sin(math.pi * position)


def _fourier(bins: torch.Tensor, window: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return phases and squared gains of a cosine and a sine at each bin; shapes `(bins, 2)`."""
    phase = torch.tensor([0.0, math.pi / 2], dtype=torch.float64).expand(len(bins), 2)
    # The squared windows of all frames add up to window / (2 * stride) at every sample.
    energy = torch.full((len(bins), 2), 4 * stride / window**2, dtype=torch.float64)
    # Time is counted from the centre, which lies between two samples. There, 0 Hz is a cosine, half
    # the sample rate is a sine, and both have half the energy of the others.
    energy[bins == 0] *= torch.tensor([0.5, 0.0])
    energy[2 * bins == window] *= torch.tensor([0.0, 0.5])
    return phase, energy


def _mdct(bins: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return phases and squared gains of the MDCT; shapes `(bins, 1)`."""
    phase = 1.5 * math.pi * (bins + 0.5)
    return phase[:, None], torch.full((len(bins), 1), 2 / stride, dtype=torch.float64)


def _band_carriers(bands: Sequence[Band], number: int, stride: int, sample_rate: float) -> Carriers:
    """Return the kernels of a band, each one followed by its negative."""
    band = bands[number]
    bins = torch.tensor(band_bins(bands, number, sample_rate), dtype=torch.float64)
    if band.phases == 4:
        frequency = bins / band.window
        phase, energy = _fourier(bins, band.window, stride)
    else:
        frequency = (bins + 0.5) / band.window
        phase, energy = _mdct(bins, stride)
    frequency = frequency[:, None].expand_as(phase)  # (bins, phases without negatives)
    if number > 0:
        energy = energy * _fade_in(frequency * sample_rate, bands[number - 1])
    if number < len(bands) - 1:
        energy = energy * (1 - _fade_in(frequency * sample_rate, band))
    kept = energy > 0
    phase = torch.stack([phase[kept], phase[kept] + math.pi], dim=1)  # (kept, 2): negatives
    phase = phase.flatten()  # (2 * kept,)
    window = torch.full_like(phase, band.window)
    # The squared gain is split: encoder and decoder have its square root each.
    gain = energy[kept].sqrt().repeat_interleave(2)
    return Carriers(frequency[kept].repeat_interleave(2), phase, gain, window)


def multires_carriers(
    bands: Sequence[Band], kernel_size: int, stride: int, sample_rate: float
) -> Carriers:
    """Lay out the kernels of all bands, in ascending order of frequency.

    Four phases are 0, 90, 180 and 270 degrees at multiples of `sample_rate / window`. Two phases
    are those of an MDCT with blocks of `stride` samples, and their negatives. The gains are chosen
    so that analysis, half-wave rectification and synthesis with the same kernels return the signal.

    Args:
        bands (sequence of Band): The bands, from low to high frequencies.
        kernel_size (int): Length of the kernels in samples, even.
        stride (int): Hop in samples.
        sample_rate (float): In Hz.

    Returns:
        Carriers

    Raises:
        ValueError: if the bands do not cover 0 Hz to half the sample rate, if a window is longer
            than the kernels or not two or more whole hops long, if a band of two phases has a
            window of other than two hops, or if cross-fades overlap.

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


class PhaseGroups(NamedTuple):
    """Kernels of one frequency and one window, which differ in phase.

    Attributes:
        of_row (:class:`torch.Tensor`): number of each kernel's group, shape `(n_filters,)`, in the
            order in which compact filterbanks hold their kernels.
        frequency (:class:`torch.Tensor`): of each group in Hz, ascending, shape `(groups,)`.
    """

    of_row: torch.Tensor
    frequency: torch.Tensor


def phase_groups(
    bands: Sequence[Band], kernel_size: int, stride: int, sample_rate: float
) -> PhaseGroups:
    """Find the kernels of :func:`multires_carriers` that have one frequency and one window.

    Args:
        bands, kernel_size, stride, sample_rate: see :func:`multires_carriers`, as are the errors.

    Returns:
        PhaseGroups

    Examples
        >>> phase_groups([Band(8, 50.0, 4)], 16, 4, 100.0).of_row.bincount()  # 0 to 50 Hz
        tensor([2, 4, 4, 4, 2])
    """
    with torch.device("cpu"):  # also while a model is made on the meta device
        carriers = multires_carriers(bands, kernel_size, stride, sample_rate)
        rows = carriers.window.argsort(descending=True, stable=True)
        keys = torch.stack([carriers.frequency, carriers.window])[:, rows]  # (2, n_filters)
        groups, of_row = keys.unique(dim=1, return_inverse=True)  # in the order of frequency
    return PhaseGroups(of_row, groups[0] * sample_rate)


def modulators(carriers: Carriers, kernel_size: int) -> torch.Tensor:
    """Modulator of each kernel: its gain times a centred sine window, and zero outside of it.

    Args:
        carriers (Carriers): The parameters of `n_filters` kernels.
        kernel_size (int): Length of the kernels in samples, or of the part around their centre
            that is asked for.

    Returns:
        :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`, in double precision.
    """
    window = carriers.window[:, None]  # (filters, 1)
    time = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - window) / 2
    inside = (time >= 0) & (time < window)  # (filters, kernel_size)
    sine = torch.sin(math.pi * (time + 0.5) / window)
    return (carriers.gain[:, None] * sine * inside)[:, None]


@torch.no_grad()
def start_multires(encoder: ConvSmoothFB, decoder: ModCosFB, bands: Sequence[Band]) -> None:
    """Set the parameters of a pair: equal kernels on both sides, and no smoothing.

    Args:
        encoder (ConvSmoothFB): The encoder's filterbank, with the same sizes as `decoder`.
        decoder (ModCosFB): The decoder's filterbank, with one filter for each kernel of the bands.
        bands (sequence of Band): The bands, see :func:`multires_carriers`.

    Raises:
        ValueError: as from :func:`multires_carriers`, and if the number of filters is another, or
            the windows of compact kernels are other ones.
    """
    kernel_size = decoder.kernel_size
    check_kernels(bands, decoder.n_filters, kernel_size, decoder.stride, decoder.sample_rate)
    for filterbank in (encoder, decoder):
        found, windows = filterbank.supports, tuple(band_supports(bands, decoder.sample_rate))
        check(
            found in (None, windows), "supports", found, f"{windows}, those of the bands, or None"
        )
    if decoder.frequency.is_meta:  # a model on the meta device has sizes, but no numbers
        return
    carriers = multires_carriers(bands, kernel_size, decoder.stride, decoder.sample_rate)
    if decoder.supports is not None:
        # Parameters are in groups, from the longest window to the shortest.
        rows = carriers.window.argsort(descending=True, stable=True)
        carriers = Carriers(*(part[rows] for part in carriers))
        for filterbank in (encoder, decoder):
            filterbank.get_buffer("channel_order").copy_(rows.argsort())
    decoder.frequency.copy_((carriers.frequency ** (1 / decoder.exponent)).view(-1, 1, 1))
    # The phase is moved from the centre to the first sample. The carrier is taken as it was rounded
    # to single precision, so that the phase at the centre stays exact.
    cycles = decoder.frequency.double() ** decoder.exponent * (kernel_size - 1) / 2
    phase = carriers.phase.view(-1, 1, 1) - 2 * math.pi * cycles
    decoder.phase.copy_(torch.remainder(phase + math.pi, 2 * math.pi) - math.pi)
    _fill(decoder.modulator, carriers)
    for ours, theirs in zip(encoder.kernels().groups, decoder.kernels().groups, strict=True):
        ours.copy_(theirs)
    encoder.smooth_weight.zero_()


def _fill(held: nn.Parameter | nn.ParameterList, carriers: Carriers) -> None:
    """Set the modulators of whole kernels, or of each group of compact ones."""
    groups = held if isinstance(held, nn.ParameterList) else [held]
    numbers = [len(group) for group in groups]
    parts = zip(*(part.split(numbers) for part in carriers), strict=True)
    for group, part in zip(groups, parts, strict=True):
        group.copy_(modulators(Carriers(*part), group.shape[-1]))


def frame_bounds(
    analysis: torch.Tensor, synthesis: torch.Tensor, stride: int
) -> tuple[float, float]:
    r"""Frame bounds of a pair: the smallest and the largest gain that a signal can get.

    Analysis followed by synthesis is a linear operator. (Kernels that come with their negatives
    make it linear despite the ReLU: the rectified pair does half of what the kernels do without
    it.) The operator commutes with shifts by one hop. So in the polyphase domain [1], where a
    signal is a sequence of vectors of `stride` samples, it is a `stride` by `stride` matrix at each
    frequency, and the singular values of these matrices are the gains. They are computed at the
    frequencies of signals that repeat after two kernels. If both bounds are 1, the pair returns
    every such signal; their ratio is the condition number.

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
        blocks = padded.reshape(-1, taps, stride)  # (filters, taps, stride)
        spectra = torch.fft.rfft(blocks, n=2 * taps, dim=1)  # (filters, taps + 1, stride)
        polyphase.append(spectra)
    gains = torch.stack(
        [
            torch.linalg.svdvals(0.5 * a.mH @ s)
            for a, s in zip(*(p.unbind(1) for p in polyphase), strict=True)
        ]
    )
    return gains.min().item(), gains.max().item()
