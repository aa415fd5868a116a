"""Kernels as pure functions of their parameters, and the parameters' start values.

Frequencies are in cycles per sample, so that ``f * sample_rate`` is in Hz, and phases in radians.
"""

import math

import torch

from ..utils.autocast import no_autocast
from ..utils.dtypes import check_frequencies

LOWEST_CARRIER_HZ = 30.0
ANGLE_BLOCK = 64  # samples between two cosines that are computed exactly, see cos_kernels
OVERSAMPLING = 8  # bins of the DFT that tells where a kernel peaks, per bin of sample rate / L


def cos_kernels(
    frequency: torch.Tensor, phase: torch.Tensor, kernel_size: int, exponent: int, start: int = 0
) -> torch.Tensor:
    r"""Cosines :math:`\cos(2\pi f_c^p t + \phi_c)` at `kernel_size` samples :math:`t`.

    This is Eq. (3) of [1] without the modulation; there, the ``exponent`` :math:`p` is 2.

    Args:
        frequency (:class:`torch.Tensor`): :math:`f_c`, shape `(n_filters, 1, 1)`. Its `exponent`-th
            power is the carrier frequency in cycles per sample.
        phase (:class:`torch.Tensor`): :math:`\phi_c` in radians, shape `(n_filters, 1, 1)`.
        kernel_size (int): Length in samples.
        exponent (int): 1 or 2.
        start (int): The first of the samples :math:`t`.

    Returns:
        :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`.

    Raises:
        ValueError: if `frequency` is of half precision.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.

    Examples
        >>> quarter = torch.full((1, 1, 1), 0.5)  # 0.5 ** 2 cycles per sample
        >>> cos_kernels(quarter, torch.zeros(1, 1, 1), 4, exponent=2).flatten().round().int()
        tensor([ 1,  0, -1,  0], dtype=torch.int32)
    """
    check_frequencies(frequency.dtype)
    # At t = 2047 an angle in single precision is off by 1e-4 radians. So angles are computed in
    # double precision where the device has it, and only their cosines are rounded.
    precise = torch.float32 if frequency.device.type == "mps" else torch.float64
    angles = 2 * math.pi * frequency.to(precise) ** exponent
    if frequency.device.type == "cuda":
        return _all_cosines(angles, phase, kernel_size, start)
    # Time is split into blocks: t = start of the block + step inside it. By the addition theorem,
    # cos(a + b) = cos a cos b - sin a sin b, so that a kernel of L samples takes L / 64 + 64
    # cosines and sines instead of L, and as few numbers are kept for the gradients.
    n_blocks = (kernel_size + ANGLE_BLOCK - 1) // ANGLE_BLOCK  # ONNX rounds quotients to zero
    time = torch.arange(ANGLE_BLOCK, dtype=precise, device=frequency.device)
    blocks = torch.arange(n_blocks, dtype=precise, device=frequency.device) * ANGLE_BLOCK
    first = angles * (blocks + start) + phase.to(precise)  # (filters, 1, blocks)
    first = first.transpose(1, 2)  # (filters, blocks, 1)
    step = angles * time  # (filters, 1, ANGLE_BLOCK)
    starts = torch.cat([first.cos(), -first.sin()], dim=2).to(frequency.dtype)  # (.., blocks, 2)
    steps = torch.cat([step.cos(), step.sin()], dim=1).to(frequency.dtype)  # (.., 2, ANGLE_BLOCK)
    with no_autocast(frequency.device.type):
        kernels = torch.bmm(starts, steps).flatten(1)  # (filters, blocks * ANGLE_BLOCK)
    return kernels[:, None, :kernel_size]


def _all_cosines(
    angles: torch.Tensor, phase: torch.Tensor, kernel_size: int, start: int
) -> torch.Tensor:
    r"""Compute :func:`cos_kernels` by a cosine a sample.

    The addition theorem saves cosines, but takes 29 operations more with those of the gradients,
    and on a GPU each operation takes time to start.

    Args:
        angles (:class:`torch.Tensor`): :math:`2\pi f_c^p`, shape `(n_filters, 1, 1)`, in double
            precision.
        phase (:class:`torch.Tensor`): see :func:`cos_kernels`.
        kernel_size (int): see :func:`cos_kernels`.
        start (int): see :func:`cos_kernels`.
    """
    time = torch.arange(start, start + kernel_size, dtype=angles.dtype, device=angles.device)
    return (angles * time + phase).cos().to(phase.dtype)  # (filters, 1, kernel_size)


def mod_cos_kernels(
    frequency: torch.Tensor,
    phase: torch.Tensor,
    modulator: torch.Tensor,
    exponent: int,
    kernel_size: int,
) -> torch.Tensor:
    r"""Amplitude-modulated cosines :math:`\cos(2\pi f_c^p t + \phi_c) \odot b_c`, Eq. (3).

    Args:
        frequency (:class:`torch.Tensor`): see :func:`cos_kernels`.
        phase (:class:`torch.Tensor`): see :func:`cos_kernels`.
        modulator (:class:`torch.Tensor`): :math:`b_c`, shape `(n_filters, 1, window)`, of a window
            that is centred in the kernel.
        exponent (int): 1 or 2.
        kernel_size (int): Length :math:`L` of the kernel in samples.

    Returns:
        :class:`torch.Tensor` of shape `(n_filters, 1, window)`: the kernels inside the window.

    Raises:
        ValueError: if `frequency` is of half precision.
    """
    window = modulator.shape[-1]
    start = (kernel_size - window) // 2
    return cos_kernels(frequency, phase, window, exponent, start) * modulator


def sinc_kernels(low: torch.Tensor, band: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    r"""Windowed ideal band-pass kernels :math:`(2f_2\,\mathrm{sinc}(2f_2 n) - 2f_1\,
    \mathrm{sinc}(2f_1 n))\,w[n]`, the first stage of SincNet (Eq. (4) and (5) of [1]).

    :math:`f_1 = |low|` and :math:`f_2 = f_1 + |band|`, at most one half. Time :math:`n` is counted
    from the kernel's centre.

    Args:
        low (:class:`torch.Tensor`): lower edge in cycles per sample, shape `(n_filters, 1, 1)`.
        band (:class:`torch.Tensor`): bandwidth in cycles per sample, shape `(n_filters, 1, 1)`.
        window (:class:`torch.Tensor`): shape `(1, 1, kernel_size)`, shared by all kernels.

    Returns:
        :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`.

    Raises:
        ValueError: if `low` is of half precision.

    References
        [1] : "Speaker Recognition from raw waveform with SincNet". SLT 2018.
        Mirco Ravanelli, Yoshua Bengio.  https://arxiv.org/abs/1808.00158
    """
    check_frequencies(low.dtype)
    kernel_size = window.shape[-1]
    time = torch.arange(kernel_size, dtype=window.dtype, device=window.device)
    time = time - (kernel_size - 1) / 2
    f1 = low.abs()
    f2 = (f1 + band.abs()).clamp(max=0.5)
    ideal = 2 * f2 * _sinc(2 * f2 * time) - 2 * f1 * _sinc(2 * f1 * time)
    return ideal * window


def _sinc(x: torch.Tensor) -> torch.Tensor:
    if not torch.onnx.is_in_onnx_export():
        return torch.sinc(x)
    angle = math.pi * x  # ONNX has a sine, but no sinc
    return torch.where(x == 0, torch.ones_like(x), angle.sin() / angle)


def mel_frequencies(n: int, sample_rate: float) -> torch.Tensor:
    """Frequencies equally spaced in mel from 30 Hz to half the sample rate, in cycles per sample.

    The mel scale is ``2595 * log10(1 + Hz / 700)``.

    Args:
        n (int): Number of frequencies.
        sample_rate (float): Sample rate in Hz.

    Returns:
        :class:`torch.Tensor` of shape `(n,)`, ascending, the last one 0.5.
    """
    low = 2595 * math.log10(1 + LOWEST_CARRIER_HZ / 700)
    high = 2595 * math.log10(1 + sample_rate / 2 / 700)
    mel = torch.linspace(low, high, n, dtype=torch.float64, device="cpu")
    frequencies = (700 * (10 ** (mel / 2595) - 1) / sample_rate).float()
    return frequencies.to(torch.get_default_device())


def linear_frequencies(n: int, sample_rate: float) -> torch.Tensor:
    """Frequencies equally spaced in Hz from 30 Hz to half the sample rate, in cycles per sample.

    Args:
        n (int): Number of frequencies.
        sample_rate (float): Sample rate in Hz.

    Returns:
        :class:`torch.Tensor` of shape `(n,)`, ascending, the last one 0.5.
    """
    frequencies = torch.linspace(LOWEST_CARRIER_HZ / sample_rate, 0.5, n, device="cpu")
    return frequencies.to(torch.get_default_device())


FREQUENCY_INITS = {"mel": mel_frequencies, "linear": linear_frequencies}


def peak_frequencies(kernels: torch.Tensor, sample_rate: float) -> torch.Tensor:
    """Find where the magnitude response of each kernel is largest.

    Args:
        kernels (:class:`torch.Tensor`): shape `(C, L)`.
        sample_rate (float): Sample rate in Hz.

    Returns:
        :class:`torch.Tensor` of shape `(C,)`, in Hz, in double precision, to a sixteenth of
        `sample_rate / L`.
    """
    n_fft = OVERSAMPLING * kernels.shape[-1]
    peaks = [
        torch.fft.rfft(some.double(), n_fft).abs().argmax(dim=-1)
        for some in kernels.split(128)  # of 8192 samples, 67 MB
    ]
    return torch.cat(peaks) * (sample_rate / n_fft)
