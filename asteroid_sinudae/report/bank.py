"""Comparison of a decoder's learned kernels with those that training started from."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ..models.sinudae import SinuDAE
from ..utils.checks import check

LEAST_CHANGE = -140.0  # dB, the rounding of single precision


class Bank(NamedTuple):
    """Kernels of a `mod_cos` decoder, learned and at the start of training.

    Attributes:
        sample_rate (float): Sample rate in Hz.
        carriers (:class:`numpy.ndarray`): Carrier frequencies in Hz, shape `(C,)`.
        durations (:class:`numpy.ndarray`): Effective lengths of the modulators in ms, see
            :func:`effective_lengths`, shape `(C,)`.
        start_carriers (:class:`numpy.ndarray`): Carriers at the start, in their own order.
        start_durations (:class:`numpy.ndarray`): Effective lengths at the start, in the same order.
        changes (:class:`numpy.ndarray`, optional): Changes of the kernels in dB, see
            :func:`kernel_changes`, shape `(C,)`; None if the start had random phases, which are not
            kept.
    """

    sample_rate: float
    carriers: np.ndarray
    durations: np.ndarray
    start_carriers: np.ndarray
    start_durations: np.ndarray
    changes: np.ndarray | None

    @property
    def is_start(self) -> bool:
        """True if no kernel has changed since the start of training."""
        return np.array_equal(self.carriers, self.start_carriers) and np.array_equal(
            self.durations, self.start_durations
        )

    def n_moved(self, hertz: float = 1.0) -> int:
        """Count the carriers more than `hertz` away from the start's carrier of the same rank."""
        moves = np.sort(self.carriers) - np.sort(self.start_carriers)
        return int((np.abs(moves) > hertz).sum())


@torch.no_grad()
def learned_bank(model: SinuDAE) -> Bank:
    """Compute carriers, window lengths and changes of a model's kernels.

    Args:
        model (SinuDAE): A model with a `mod_cos` decoder of `C` channels.

    Returns:
        Bank

    Raises:
        ValueError: if the model has another decoder.
    """
    arguments = model.get_model_args()
    check(arguments["decoder"] == "mod_cos", "decoder", arguments["decoder"], "mod_cos")
    banks = [each.decoder.filterbank for each in (model, start_model(model))]
    carriers, start_carriers = (bank.carrier_frequencies().cpu().double().numpy() for bank in banks)
    durations, start_durations = (
        1000 * effective_lengths(bank.modulators()[:, 0].cpu().double().numpy()) / model.sample_rate
        for bank in banks
    )
    changes = None
    if arguments["init"] == "multires":
        changes = kernel_changes(*(bank.filters()[:, 0].cpu().numpy() for bank in banks))
    return Bank(model.sample_rate, carriers, durations, start_carriers, start_durations, changes)


def start_model(model: SinuDAE) -> SinuDAE:
    """Make a model of the same arguments as it starts, though with other random values."""
    with torch.random.fork_rng(devices=[]):
        return SinuDAE(**model.get_model_args())


def effective_lengths(modulators: np.ndarray) -> np.ndarray:
    r"""Compute the lengths of rectangles with the same concentration of energy as modulators.

    .. math:: \Big(\sum_t b[t]^2\Big)^2 \Big/ \sum_t b[t]^4

    For a constant this is the whole length, for a sine window two thirds of it.

    Args:
        modulators (:class:`numpy.ndarray`): :math:`b`, shape `(C, L)`.

    Returns:
        :class:`numpy.ndarray` of shape `(C,)`, in samples; 0 for a modulator that is zero.

    Examples
        >>> sine = np.sin(np.pi * (np.arange(600) + 0.5) / 600)
        >>> effective_lengths(np.stack([sine, np.ones(600)])).round(6).tolist()
        [400.0, 600.0]
    """
    energy = np.square(modulators)
    squared = np.square(energy).sum(axis=-1)
    return energy.sum(axis=-1) ** 2 / np.where(squared > 0, squared, 1)


def kernel_changes(learned: np.ndarray, start: np.ndarray) -> np.ndarray:
    r"""Compute the distance of each kernel from the one that it started as, relative to that.

    .. math:: 20 \log_{10} \frac{\|w_c - w_{s(c)}\|_2}{\|w_{s(c)}\|_2}

    Channels are sorted by their carriers after each update, and kernels of nearly the same carrier
    easily change places. So :math:`s` pairs learned kernels and start kernels one to one, such that
    the sum of their normalised correlations is largest.

    Args:
        learned (:class:`numpy.ndarray`): :math:`w`, shape `(C, L)`.
        start (:class:`numpy.ndarray`): :math:`w_s`, of the same shape, none of them zero.

    Returns:
        :class:`numpy.ndarray` of shape `(C,)`, in dB, at least -140, the rounding of single
        precision.

    Examples
        >>> kernel_changes(np.array([[0.0, 2.2], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
        array([ -20., -140.])
    """
    sizes = np.linalg.norm(start, axis=-1)
    correlations = learned @ (start / sizes[:, None]).T  # (C learned, C start)
    learned_sizes = np.linalg.norm(learned, axis=-1, keepdims=True)
    correlations /= np.where(learned_sizes > 0, learned_sizes, 1)
    _, paired = linear_sum_assignment(correlations, maximize=True)
    distances = np.linalg.norm(learned - start[paired], axis=-1) / sizes[paired]
    return 20 * np.log10(np.maximum(distances, 10 ** (LEAST_CHANGE / 20), dtype=np.float64))
