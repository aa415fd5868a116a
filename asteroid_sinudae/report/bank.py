"""The decoder's bank of kernels as learned, beside the one that training started from."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ..models.sinudae import SinuDAE
from ..utils.checks import check

LEAST_CHANGE = -140.0  # dB, the rounding of single precision


class Bank(NamedTuple):
    """Kernels of a `mod_cos` decoder, and their start.

    Attributes:
        sample_rate (float): In Hz.
        carriers (:class:`numpy.ndarray`): In Hz, shape `(C,)`.
        durations (:class:`numpy.ndarray`): Of the modulators, in ms, see
            :func:`effective_lengths`, shape `(C,)`.
        start_carriers (:class:`numpy.ndarray`): As `carriers`, in the start's own order.
        start_durations (:class:`numpy.ndarray`): As `durations`, in the same order.
        changes (:class:`numpy.ndarray`, optional): Of the kernels, in dB, see
            :func:`kernel_changes`, shape `(C,)`; None where the start has random phases, which are
            not kept.
    """

    sample_rate: float
    carriers: np.ndarray
    durations: np.ndarray
    start_carriers: np.ndarray
    start_durations: np.ndarray
    changes: np.ndarray | None

    @property
    def is_start(self) -> bool:
        """Whether nothing has been learned."""
        return np.array_equal(self.carriers, self.start_carriers) and np.array_equal(
            self.durations, self.start_durations
        )

    def n_moved(self, hertz: float = 1.0) -> int:
        """How many carriers are further than `hertz` from the start's of the same rank."""
        moves = np.sort(self.carriers) - np.sort(self.start_carriers)
        return int((np.abs(moves) > hertz).sum())


@torch.no_grad()
def learned_bank(model: SinuDAE) -> Bank:
    """Carriers, window lengths and changes of a model's kernels.

    Args:
        model (SinuDAE): With a `mod_cos` decoder of `C` channels.

    Returns:
        Bank

    Raises:
        ValueError: if the decoder is another.
    """
    arguments = model.get_model_args()
    check(arguments["decoder"] == "mod_cos", "decoder", arguments["decoder"], "mod_cos")
    banks = [each.decoder.filterbank for each in (model, start_model(model))]
    carriers, start_carriers = (bank.carrier_frequencies().cpu().double().numpy() for bank in banks)
    durations, start_durations = (
        1000 * effective_lengths(bank.modulator[:, 0].cpu().double().numpy()) / model.sample_rate
        for bank in banks
    )
    changes = None
    if arguments["init"] == "multires":
        changes = kernel_changes(*(bank.filters()[:, 0].cpu().numpy() for bank in banks))
    return Bank(model.sample_rate, carriers, durations, start_carriers, start_durations, changes)


def start_model(model: SinuDAE) -> SinuDAE:
    """A model of the same arguments as it starts, its random values others than `model` had."""
    with torch.random.fork_rng(devices=[]):
        return SinuDAE(**model.get_model_args())


def effective_lengths(modulators: np.ndarray) -> np.ndarray:
    r"""Lengths of the rectangles that are as concentrated as modulators.

    .. math:: \Big(\sum_t b[t]^2\Big)^2 \Big/ \sum_t b[t]^4

    This is the whole length of a constant, and two thirds of that of a sine window.

    Args:
        modulators (:class:`numpy.ndarray`): :math:`b`, shape `(C, L)`.

    Returns:
        :class:`numpy.ndarray` of shape `(C,)`, in samples, 0 where a modulator is.

    Examples
        >>> sine = np.sin(np.pi * (np.arange(600) + 0.5) / 600)
        >>> effective_lengths(np.stack([sine, np.ones(600)])).round(6).tolist()
        [400.0, 600.0]
    """
    energy = np.square(modulators)
    squared = np.square(energy).sum(axis=-1)
    return energy.sum(axis=-1) ** 2 / np.where(squared > 0, squared, 1)


def kernel_changes(learned: np.ndarray, start: np.ndarray) -> np.ndarray:
    r"""How far kernels are from those that they started as.

    .. math:: 20 \log_{10} \frac{\|w_c - w_{s(c)}\|_2}{\|w_{s(c)}\|_2}

    Channels are sorted by their carriers after each update, and phases of one carrier change places
    easily. So :math:`s` pairs the kernels one to one, with the largest sum of their normalised
    correlations.

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
    correlations = learned @ (start / sizes[:, None]).T
    learned_sizes = np.linalg.norm(learned, axis=-1, keepdims=True)
    correlations /= np.where(learned_sizes > 0, learned_sizes, 1)
    _, paired = linear_sum_assignment(correlations, maximize=True)
    distances = np.linalg.norm(learned - start[paired], axis=-1) / sizes[paired]
    return 20 * np.log10(np.maximum(distances, 10 ** (LEAST_CHANGE / 20), dtype=np.float64))
