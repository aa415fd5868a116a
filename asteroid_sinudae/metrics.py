"""Measures of evaluations, as functions of tensors: separation, readability and silence."""

import torch
from asteroid.losses.sdr import SingleSrcNegSDR

from .filterbanks.kernels import peak_frequencies
from .models.sinudae import SinuDAE

SILENCE_DB = -10.0
EPS = 1e-16  # -160 dB
SILENCE_NORM = 1e-8  # norm of signals whose squares vanish in single precision

# Asteroid's loss without mean removal is the negative of Eq. (6).
_neg_si_sdr = SingleSrcNegSDR("sisdr", zero_mean=False, reduction="none")
# The class fixes EPS at 1e-8, which would limit the measured SI-SDR to 80 dB, and to less for quiet
# signals.
_neg_si_sdr.EPS = EPS


def si_sdr(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the scale-invariant signal-to-distortion ratio in dB, Eq. (6).

    The mean of the signals is not removed.

    Args:
        estimate (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        target (:class:`torch.Tensor`): of the same shape.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`, in double precision. A silent estimate has
        -160 dB.
    """
    return -_neg_si_sdr(*relative(estimate.double().flatten(1), target.double().flatten(1)))


def relative(estimate: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide both `(batch, time)` signals by the target's norm, which makes floors relative."""
    norm = target.norm(dim=-1, keepdim=True).clamp_min(SILENCE_NORM)
    return estimate / norm, target / norm


def additivity_error(
    mixture: torch.Tensor, vocals: torch.Tensor, accompaniment: torch.Tensor
) -> torch.Tensor:
    r"""Compute the additivity error :math:`\|A_m - A_v - A_b\|_1 / \|A_m\|_1` of magnitudes.

    It is zero if the representation of a sum is the sum of the representations; then a mask can
    separate exactly.

    Args:
        mixture (:class:`torch.Tensor`): magnitudes, shape `(batch, freq, frames)`.
        vocals (:class:`torch.Tensor`): magnitudes, of the same shape.
        accompaniment (:class:`torch.Tensor`): magnitudes, of the same shape.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`; NaN where the mixture is zero.

    Examples
        >>> additivity_error(*torch.tensor([4.0, 2.0, 1.0]).view(3, 1, 1, 1))
        tensor([0.2500])
    """
    error = (mixture - vocals - accompaniment).abs().sum(dim=(-2, -1))  # (batch,)
    return error / mixture.abs().sum(dim=(-2, -1))


def hoyer_sparsity(magnitudes: torch.Tensor) -> torch.Tensor:
    r"""Compute Hoyer's sparsity of magnitudes [1], from 0, all equal, to 1, all but one zero.

    .. math:: \frac{\sqrt{n} - \|A\|_1 / \|A\|_2}{\sqrt{n} - 1}, \quad n = CT

    It does not depend on the level. Repeating every magnitude changes it by less than
    :math:`1 / (\sqrt{n} - 1)`, so that representations of other sizes can be compared. It is one of
    the measures that [2] compares.

    Args:
        magnitudes (:class:`torch.Tensor`): shape `(batch, freq, frames)`.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`; NaN where all magnitudes are zero.

    References
        [1] : "Non-negative Matrix Factorization with Sparseness Constraints". JMLR 2004.
        Patrik O. Hoyer.
        [2] : "Comparing Measures of Sparsity". IEEE Transactions on Information Theory 2009.
        Niall Hurley, Scott Rickard.

    Examples
        >>> hoyer_sparsity(torch.tensor([[[0.0, 5.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]))
        tensor([1., 0.])
    """
    flat = magnitudes.flatten(1)  # (batch, freq * frames)
    root = flat.shape[1] ** 0.5
    return (root - flat.norm(p=1, dim=1) / flat.norm(dim=1)) / (root - 1)


def variation(magnitudes: torch.Tensor, frame_rate: float) -> torch.Tensor:
    r"""Compute the total variation over time, relative to the magnitudes, per second.

    .. math:: r\, \frac{\sum_{t=1}^{T-1} \|A[:,t] - A[:,t-1]\|_1}{\sum_{t=0}^{T-1} \|A[:,t]\|_1}

    The numerator is the second sum of Eq. (1), that over frames, with its L1 norm. Divided by the
    sum of the magnitudes it does not depend on the level, and times the frames per second,
    :math:`r`, smooth envelopes have the same value at any hop. It is at most :math:`2r`, where no
    channel sounds in two frames that follow each other.

    Args:
        magnitudes (:class:`torch.Tensor`): shape `(batch, freq, frames)`.
        frame_rate (float): :math:`r`, the frames per second.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`, in 1/s; NaN where all magnitudes are zero.

    Examples
        >>> variation(torch.tensor([[[1.0, 3.0], [1.0, 0.0]]]), frame_rate=100)  # (2 + 1) / 5
        tensor([60.])
    """
    steps = magnitudes.diff(dim=-1).abs().sum(dim=(-2, -1))  # (batch,)
    return frame_rate * steps / magnitudes.abs().sum(dim=(-2, -1))


def kernels_at_carrier(kernels: torch.Tensor, carriers: torch.Tensor, sample_rate: float) -> float:
    r"""Compute the share of kernels whose magnitude response peaks where their carrier says.

    Such a channel can be read: it stands for the frequency that it is labelled with. A kernel
    counts if :math:`|\arg\max_f |W_c(f)| - f_c| \le N / L`, one bin of its DFT, with :math:`N` the
    sample rate. The spectrum of a modulated cosine is that of its modulator moved to the carrier,
    so a modulator that is not slow moves the peak away. A kernel that is zero does not count.

    Args:
        kernels (:class:`torch.Tensor`): the decoder's kernels, shape `(C, L)`.
        carriers (:class:`torch.Tensor`): :math:`f_c` in Hz, shape `(C,)`.
        sample_rate (float): :math:`N` in Hz.

    Returns:
        float: from 0 to 1.

    Examples
        >>> kernels = torch.cos(2 * torch.pi * 10 * torch.arange(100.0) / 100).repeat(2, 1)
        >>> kernels_at_carrier(kernels, torch.tensor([10.5, 12.0]), sample_rate=100.0)
        0.5
    """
    distances = (peak_frequencies(kernels, sample_rate) - carriers.double()).abs()
    is_near = (distances <= sample_rate / kernels.shape[-1]) & (kernels != 0).any(dim=-1)
    return is_near.double().mean().item()


def is_silent(wav: torch.Tensor) -> torch.Tensor:
    r"""Tell whether :math:`10 \log_{10} \|x\|_2 < -10`, as in the authors' public code.

    Args:
        wav (:class:`torch.Tensor`): shape `(batch, 1, time)`.

    Returns:
        :class:`torch.Tensor` of bool, shape `(batch,)`.
    """
    return 10 * torch.log10(wav.flatten(1).norm(dim=-1)) < SILENCE_DB


@torch.no_grad()
def noise_si_sdr(model: SinuDAE, reference: SinuDAE | None = None) -> float:
    """Compute the SI-SDR of a model's reconstruction of one second of white noise at -20 dB.

    The noise is the same in every call.

    Args:
        model (SinuDAE): The model, on the CPU.
        reference (SinuDAE, optional): A model whose reconstruction is the target, instead of the
            noise itself.

    Returns:
        float: SI-SDR in dB, Eq. (6).
    """
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 1, round(model.sample_rate), generator=generator)
    target = noise if reference is None else reference(noise)
    return si_sdr(model(noise), target).item()
