"""Measures of evaluations: SI-SDR, additivity and silence, as functions of tensors."""

import torch
from asteroid.losses.sdr import SingleSrcNegSDR

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
