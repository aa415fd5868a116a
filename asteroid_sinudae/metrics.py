"""What evaluations measure: SI-SDR, additivity and silence, as functions of tensors."""

import torch
from asteroid.losses.sdr import SingleSrcNegSDR

from .models.sinudae import SinuDAE

SILENCE_DB = -10.0
EPS = 1e-16  # -160 dB
SILENCE_NORM = 1e-8  # of signals whose square is nothing in single precision

# Asteroid's, without mean removal: the negative of Eq. (6).
_neg_si_sdr = SingleSrcNegSDR("sisdr", zero_mean=False, reduction="none")
# The class fixes EPS at 1e-8: a good reconstruction would read 80 dB at most, a quiet one less.
_neg_si_sdr.EPS = EPS


def si_sdr(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, Eq. (6), without mean removal.

    Args:
        estimate (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        target (:class:`torch.Tensor`): of the same shape.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`, in double precision. A silent estimate has
        -160 dB.
    """
    return -_neg_si_sdr(*relative(estimate.double().flatten(1), target.double().flatten(1)))


def relative(estimate: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both `(batch, time)` signals divided by the target's norm, which makes a floor relative."""
    norm = target.norm(dim=-1, keepdim=True).clamp_min(SILENCE_NORM)
    return estimate / norm, target / norm


def additivity_error(
    mixture: torch.Tensor, vocals: torch.Tensor, accompaniment: torch.Tensor
) -> torch.Tensor:
    r"""How far magnitudes are from adding up, :math:`\|A_m - A_v - A_b\|_1 / \|A_m\|_1`.

    Zero where a mask can be exact: the representation of a sum is the sum of representations.

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
    norm = {"dim": (-2, -1)}
    return (mixture - vocals - accompaniment).abs().sum(**norm) / mixture.abs().sum(**norm)


def is_silent(wav: torch.Tensor) -> torch.Tensor:
    r"""Whether :math:`10 \log_{10} \|x\|_2 < -10`, as in the authors' public code.

    Args:
        wav (:class:`torch.Tensor`): shape `(batch, 1, time)`.

    Returns:
        :class:`torch.Tensor` of bool, shape `(batch,)`.
    """
    return 10 * torch.log10(wav.flatten(1).norm(dim=-1)) < SILENCE_DB


@torch.no_grad()
def noise_si_sdr(model: SinuDAE, reference: SinuDAE | None = None) -> float:
    """How well a model reconstructs a second of white noise of -20 dB, always the same.

    Args:
        model (SinuDAE): On the CPU.
        reference (SinuDAE, optional): Whose reconstruction is the target, instead of the noise.

    Returns:
        float: SI-SDR in dB, Eq. (6).
    """
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 1, round(model.sample_rate), generator=generator)
    target = noise if reference is None else reference(noise)
    return si_sdr(model(noise), target).item()
