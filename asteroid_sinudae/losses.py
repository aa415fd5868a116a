"""Losses of the trainings, as pure functions of tensors.

Equations (1) and (4) are those of the paper.
"""

import math
import os
import sys
from types import ModuleType

import torch
from asteroid.losses.sdr import SingleSrcNegSDR

from .metrics import EPS, relative
from .utils.checks import check, check_choice

TV_NORMS = ("l1", "l2")
SNR_PER = ("signal", "batch")
SINKHORN_NORMS = (1, 2)
TINIEST = 1e-30  # energy of a modulator's spectrum
SINKHORN_ITERATIONS = 100

# Asteroid's loss, without mean removal.
_neg_snr = SingleSrcNegSDR("snr", zero_mean=False, reduction="mean")
_neg_snr.EPS = EPS


def total_variation(rep: torch.Tensor, norm: str = "l1") -> torch.Tensor:
    r"""Compute the total variation over channels and frames, Eq. (1), mean over the batch.

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
    if norm == "l1":
        # The L1 norm is the sum of sign(d) * d over all differences d. With the signs held
        # constant, it is linear in the representation, and its gradient takes one pass.
        return (rep * _signs_of_differences(rep)).sum() / rep.numel()
    return sum(rep.diff(dim=dim).norm() / rep.shape[dim] for dim in (-2, -1))


@torch.no_grad()
def _signs_of_differences(rep: torch.Tensor) -> torch.Tensor:
    """Sum, for each coefficient, the signs of the differences that it enters."""
    total = torch.zeros_like(rep)
    if rep.device.type == "cpu":
        for each, sum_of_signs in zip(rep, total, strict=True):  # one signal stays in the cache
            _add_signs(each, sum_of_signs)
    else:  # where many short operations take longer than a few long ones
        _add_signs(rep, total)
    return total


def _add_signs(rep: torch.Tensor, total: torch.Tensor) -> None:
    """Add the signs of `(..., n_filters, frames)` to a sum of the same shape, in place."""
    for dim in (-2, -1):
        signs = rep.diff(dim=dim).sign_()
        total.narrow(dim, 1, signs.shape[dim]).add_(signs)
        total.narrow(dim, 0, signs.shape[dim]).sub_(signs)


def neg_snr(estimate: torch.Tensor, target: torch.Tensor, per: str = "signal") -> torch.Tensor:
    r"""Compute the negative signal-to-noise ratio in dB, Eq. (4).

    .. math:: -10 \log_{10} (\|x\|_2^2 / \|x - \hat x\|_2^2)

    Both signals are first divided by the target's norm, which does not change the ratio. Then
    :math:`10^{-16}` is added to the energy of the error and to the ratio, so that values lie
    between -160 and, for a silent target, +160 dB at any level. Single precision resolves errors
    down to about -140 dB of the target.

    Args:
        estimate (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        target (:class:`torch.Tensor`): of the same shape. A silent one counts +160 dB and has no
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
    # Both become (n_signals, time), where one signal may be the whole batch.
    return _neg_snr(*relative(estimate.reshape(n_signals, -1), target.reshape(n_signals, -1)))


def bounded_neg_snr(
    estimates: torch.Tensor, sources: torch.Tensor, snr_max: float = 30.0
) -> torch.Tensor:
    r"""Compute a negative SNR in dB whose energies are raised by a part of the mixture's.

    .. math:: -10 \log_{10} \frac{\|s\|_2^2 + \tau \|x\|_2^2}{\|s - \hat s\|_2^2 + \tau \|x\|_2^2},
              \quad \tau = 10^{-SNR_{max} / 10}, \quad x = \sum s

    The floor under the error is that of [1]; it gives estimates that are good already a small
    gradient. The same floor under the signal makes the ratio useful for a silent source, which
    songs often have for seconds: the best estimate is then silence, at 0 dB. The ratio without
    floors is constant for a silent source, so that nothing is learned from it.

    Args:
        estimates (:class:`torch.Tensor`): shape `(batch, n_src, time)`.
        sources (:class:`torch.Tensor`): of the same shape, in the same order; their sum is the
            mixture.
        snr_max (float): Largest SNR in dB that a song of one source can reach.

    Returns:
        :class:`torch.Tensor` of shape `(batch, n_src)`.

    References
        [1] : "What's All the Fuss About Free Universal Sound Separation Data?". ICASSP 2021.
        Scott Wisdom et al.

    Examples
        >>> sources = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])  # energies 25 and 0
        >>> bounded_neg_snr(sources, sources, snr_max=10)  # 10 log10(2.5 / 27.5), silence kept
        tensor([[-10.4139,   0.0000]])
    """
    floor = 10 ** (-snr_max / 10) * _energy(sources.sum(dim=1, keepdim=True)) + EPS
    return 10 * torch.log10((_energy(sources - estimates) + floor) / (_energy(sources) + floor))


def modulator_bandwidth(modulator: torch.Tensor, n_bins: int = 2) -> torch.Tensor:
    r"""Compute the share of modulators' energy that lies beyond the lowest bins of their spectrum.

    .. math:: \frac{1}{C} \sum_c \frac{\sum_{k > K} |B_c[k]|^2}{\sum_{k \ge 0} |B_c[k]|^2}

    :math:`B_c` is the discrete Fourier transform of modulator :math:`b_c` over its length. A kernel
    whose modulator has no energy beyond :math:`K` bins has none beyond :math:`K` bins from its
    carrier. Modulators of zeros count zero.

    Args:
        modulator (:class:`torch.Tensor`): shape `(..., kernel_size)`.
        n_bins (int): :math:`K`, in bins of sample rate / kernel size.

    Returns:
        :class:`torch.Tensor`, scalar, from 0 to 1.

    Examples
        >>> modulator_bandwidth(torch.ones(3, 1, 64))
        tensor(0.)
    """
    spectrum = torch.fft.rfft(modulator.float())  # (..., kernel_size // 2 + 1)
    energy = spectrum.real.square() + spectrum.imag.square()
    total = energy.sum(dim=-1)
    share = energy[..., n_bins + 1 :].sum(dim=-1) / total.clamp_min(TINIEST)
    return share.mean()


def _energy(signal: torch.Tensor) -> torch.Tensor:
    return signal.square().sum(dim=-1)


def sinkhorn_distance(rep: torch.Tensor, p: int = 1, entropy: float = 0.5) -> torch.Tensor:
    r"""Compute the cost of the entropic optimal transport between a representation's frames [1].

    Each channel is made a distribution over the frames, frames are compared by their
    :math:`p`-norm, and the plan :math:`P` moves a uniform distribution over the frames to itself:

    .. math:: A'[c,t] = \frac{A[c,t] + 1/C}{\sum_{t'} (A[c,t'] + 1/C)}, \quad
              M[t,t'] = \|A'[:,t] - A'[:,t']\|_p,

    .. math:: \langle P, M \rangle, \quad P = \arg\min_{P \ge 0}\ \langle P, M \rangle
              + \epsilon \sum_{t,t'} P[t,t'] \log P[t,t'], \quad
              P \mathbf{1} = P^T \mathbf{1} = \mathbf{1}/T.

    Without entropy the plan is diagonal and costs nothing; with much of it, it is uniform and the
    cost is the mean distance of two frames. At most 100 iterations are made, in the logarithmic
    domain, and the gradient is that of the iterations.

    Args:
        rep (:class:`torch.Tensor`): non-negative, shape `(batch, n_filters, frames)`.
        p (int): 1 or 2.
        entropy (float): :math:`\epsilon`, positive.

    Returns:
        :class:`torch.Tensor` of shape `(batch,)`.

    Raises:
        ValueError: if `p` or `entropy` is out of its range.

    References
        [1] : "Revisiting Representation Learning for Singing Voice Separation with Sinkhorn
        Distances". 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
        https://arxiv.org/abs/2007.02780
    """
    check_choice("p", p, SINKHORN_NORMS)
    check(0 < entropy < math.inf, "entropy", entropy, "positive and finite")
    ot = _import_pot()
    shifted = rep + 1 / rep.shape[-2]
    shares = shifted / shifted.sum(dim=-1, keepdim=True)
    frames = shares.transpose(-2, -1)  # (batch, frames, n_filters)
    # (batch, frames, frames); matrix products would lose the small distances of similar frames.
    costs = torch.cdist(frames, frames, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    plan = ot.solve_batch(costs, reg=entropy, max_iter=SINKHORN_ITERATIONS, grad="autodiff")
    return plan.value_linear


def _import_pot() -> ModuleType:
    """Import POT when it is needed, since it takes over a second, and few need it.

    It would start every framework that is installed before it uses PyTorch, and JAX and TensorFlow
    take most of a GPU's memory as they start. Those that this process has imported are left to it.
    """
    others = [name for name in ("cupy", "jax", "tensorflow") if name not in sys.modules]
    variables = [f"POT_BACKEND_DISABLE_{name.upper()}" for name in others]
    added = [name for name in variables if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        import ot
    finally:
        for name in added:
            del os.environ[name]
    return ot
