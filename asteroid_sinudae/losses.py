"""Objectives of the denoising auto-encoder: Eq. (1), Eq. (4) and the metric of Eq. (6)."""

import torch
from asteroid.losses.sdr import SingleSrcNegSDR

from ._checks import check_choice

TV_NORMS = ("l1", "l2")
SNR_PER = ("signal", "batch")

# Asteroid's losses, without mean removal: Eq. (4), and the negative of Eq. (6).
_neg_snr = SingleSrcNegSDR("snr", zero_mean=False, reduction="mean")
_neg_si_sdr = SingleSrcNegSDR("sisdr", zero_mean=False, reduction="none")
# The class fixes EPS at 1e-8: the exact reconstruction of a quiet second would read 60 dB.
_neg_si_sdr.EPS = 1e-16


def total_variation(rep: torch.Tensor, norm: str = "l1") -> torch.Tensor:
    r"""Total variation over channels and frames, Eq. (1), mean over the batch.

    .. math:: \frac{1}{CT}\Big(\sum_{c=1}^{C-1} \|A[c] - A[c-1]\|
              + \sum_{t=1}^{T-1} \|A[:,t] - A[:,t-1]\|\Big)

    Args:
        rep (:class:`torch.Tensor`): shape `(batch, n_filters, frames)`.
        norm (str): ``'l1'`` as in the paper, or ``'l2'`` as in the authors' public code: the
            Euclidean norm of all differences of a batch, over frames divided by the number of
            frames, over channels by the number of channels.

    Returns:
        :class:`torch.Tensor`, scalar.

    Raises:
        ValueError: if `norm` is another.

    Examples
        >>> total_variation(torch.tensor([[[1.0, 2.0], [4.0, 8.0]]]))  # (3 + 6 + 1 + 4) / 4
        tensor(3.5000)
    """
    check_choice("norm", norm, TV_NORMS)
    over_channels = rep.diff(dim=-2)
    over_frames = rep.diff(dim=-1)
    if norm == "l1":
        return (over_channels.abs().sum() + over_frames.abs().sum()) / rep.numel()
    return over_channels.norm() / rep.shape[-2] + over_frames.norm() / rep.shape[-1]


def neg_snr(estimate: torch.Tensor, target: torch.Tensor, per: str = "signal") -> torch.Tensor:
    r"""Negative signal-to-noise ratio in dB, Eq. (4): :math:`-10 \log_{10}
    (\|x\|_2^2 / \|x - \hat x\|_2^2)`.

    Args:
        estimate (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        target (:class:`torch.Tensor`): of the same shape. A silent one counts +80 dB and has no
            gradient.
        per (str): ``'signal'`` as in the paper, the mean over the batch of each signal's ratio, or
            ``'batch'`` as in the authors' public code, the ratio of the batch's energies.

    Returns:
        :class:`torch.Tensor`, scalar.

    Raises:
        ValueError: if `per` is another.
    """
    check_choice("per", per, SNR_PER)
    n_signals = target.shape[0] if per == "signal" else 1
    return _neg_snr(estimate.reshape(n_signals, -1), target.reshape(n_signals, -1))


def si_sdr(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, Eq. (6), without mean removal.

    Args:
        estimate (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        target (:class:`torch.Tensor`): of the same shape.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`, in double precision. A silent estimate has
        -160 dB.
    """
    return -_neg_si_sdr(estimate.double().flatten(1), target.double().flatten(1))
