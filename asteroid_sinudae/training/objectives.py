"""Objectives of the auto-encoder, of which a training minimises a weighted sum."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, Protocol

import torch

from ..losses import (
    SINKHORN_NORMS,
    SNR_PER,
    TV_NORMS,
    modulator_bandwidth,
    neg_snr,
    sinkhorn_distance,
    total_variation,
)
from ..masks import EncodedSources, binary_mask, decode_masked
from ..metrics import additivity_error, is_silent
from ..models.sinudae import SinuDAE
from ..utils.checks import check, check_choice

REGULARISED = ("mixture", "vocals")
# Far below what one step of 16-bit audio gives, so that it changes ratios of rounding noise only.
TINY = 1e-8


class EncodedBatch(NamedTuple):
    """A batch of signals, by their names, and what they are encoded to.

    Attributes:
        model (SinuDAE): The model that encodes and decodes.
        signals (dict): :class:`torch.Tensor` of shape `(batch, 1, time)` by name: `vocals`, and
            `mixture` and `accompaniment` if an objective needs them.
        encoded (dict): :class:`torch.Tensor` of shape `(batch, n_filters, frames)` by the same
            names. The vocals are encoded with the noise that the auto-encoder removes.
    """

    model: SinuDAE
    signals: dict[str, torch.Tensor]
    encoded: dict[str, torch.Tensor]

    def representations(self, *names: str) -> list[torch.Tensor]:
        """Return encoded signals in single precision, even if autocast encoded them in half."""
        return [self.encoded[name].float() for name in names]


class Label(NamedTuple):
    """Names of an objective for people to read.

    Attributes:
        axis (str): The name on the axis of a plot.
        words (str): The name in a sentence.
    """

    axis: str
    words: str


class Objective(Protocol):
    """A term of the sum that is minimised.

    Attributes:
        name (str): The name under which it is logged; its weight is called `<name>_weight`.
        label (Label): Its name in plots and on pages.
        weight (float): Weight of the term in the sum, positive.
        needs (tuple of str): The encoded signals that it reads.
        needs_matched (bool): Whether its mixture has to be music: the accompaniment from the same
            place as the vocals.
        is_mean (bool): Whether it is the mean of its values for each signal of a batch, so that
            several devices can share a batch.
    """

    name: ClassVar[str]
    label: ClassVar[Label]
    needs_matched: ClassVar[bool]

    @property
    def weight(self) -> float: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def is_mean(self) -> bool: ...

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        """Return the scalar that is to be minimised."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    r"""Negative SNR of the decoded vocals, Eq. (4), see :func:`.neg_snr`.

    .. math:: -10 \log_{10} \frac{\|x_v\|_2^2}{\|x_v - D(A_v)\|_2^2}

    Args:
        weight (float): Weight of the term; 1 in the paper.
        per (str): ``'signal'``, or ``'batch'``, which is no mean over signals.

    Raises:
        ValueError: naming the argument that is out of its range.
    """

    name: ClassVar[str] = "neg_snr"
    label: ClassVar[Label] = Label(
        "Negative SNR, Eq. (4) (dB)", "the reconstruction's negative SNR, Eq. (4)"
    )
    needs: ClassVar[tuple[str, ...]] = ("vocals",)
    needs_matched: ClassVar[bool] = False
    weight: float = 1.0
    per: str = "signal"

    def __post_init__(self):
        _check_weight(self)
        check_choice("snr_per", self.per, SNR_PER)

    @property
    def is_mean(self) -> bool:
        return self.per == "signal"

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        target = batch.signals["vocals"]
        estimate = batch.model.decode(batch.encoded["vocals"], target.shape[-1])
        return neg_snr(estimate.float(), target, per=self.per)


@dataclass(frozen=True)
class TotalVariation:
    r"""Total variation of a representation, Eq. (1), see :func:`.total_variation`.

    .. math:: \frac{1}{CT}\Big(\sum_{c=1}^{C-1} \|A[c] - A[c-1]\|
              + \sum_{t=1}^{T-1} \|A[:,t] - A[:,t-1]\|\Big)

    Args:
        weight (float): :math:`\lambda` of Eq. (5); 0.5 in the paper.
        on (str): ``'mixture'`` (:math:`A_m`) or ``'vocals'`` (:math:`A_v`).
        norm (str): ``'l1'`` or ``'l2'``, which is no mean over signals.

    Raises:
        ValueError: naming the argument that is out of its range.
    """

    name: ClassVar[str] = "tv"
    label: ClassVar[Label] = Label("TV, Eq. (1)", "the representation's total variation, Eq. (1)")
    needs_matched: ClassVar[bool] = False
    weight: float
    on: str = "mixture"
    norm: str = "l1"

    def __post_init__(self):
        _check_weight(self)
        check_choice("tv_on", self.on, REGULARISED)
        check_choice("tv_norm", self.norm, TV_NORMS)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.on,)

    @property
    def is_mean(self) -> bool:
        return self.norm == "l1"

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        (representation,) = batch.representations(self.on)
        return total_variation(representation, norm=self.norm)


@dataclass(frozen=True)
class Sinkhorn:
    r"""Sinkhorn distance between the frames of a representation, see :func:`.sinkhorn_distance`.

    .. math:: \langle P, M \rangle, \quad P = \arg\min_P \langle P, M \rangle
              + \epsilon \sum_{t,t'} P[t,t'] \log P[t,t']

    :math:`M` holds the distances of any two frames, and the plan :math:`P` has uniform sums over
    rows and columns. The value is the mean over the signals of a batch; the authors' public code
    takes one plan for the mean of their :math:`M`.

    Args:
        weight (float): Weight of the term.
        on (str): ``'mixture'`` or ``'vocals'``.
        p (int): Norm of the distance of two frames, 1 or 2.
        entropy (float): :math:`\epsilon`.

    Raises:
        ValueError: naming the argument that is out of its range.
    """

    name: ClassVar[str] = "sinkhorn"
    label: ClassVar[Label] = Label(
        "Sinkhorn", "the Sinkhorn distance between the representation's frames"
    )
    needs_matched: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True
    weight: float
    on: str = "mixture"
    p: int = 1
    entropy: float = 0.5

    def __post_init__(self):
        _check_weight(self)
        check_choice("sinkhorn_on", self.on, REGULARISED)
        check_choice("sinkhorn_p", self.p, SINKHORN_NORMS)
        is_valid = 0 < self.entropy < math.inf
        check(is_valid, "sinkhorn_entropy", self.entropy, "positive and finite")

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.on,)

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        (rep,) = batch.representations(self.on)
        return sinkhorn_distance(rep, self.p, self.entropy).mean()


@dataclass(frozen=True)
class Additivity:
    r"""Additivity error of the representations, see :func:`.additivity_error`.

    .. math:: \|A_m - A_v - A_b\|_1 / \|A_m\|_1

    The mean over the signals of a batch, in which a silent mixture counts zero (see
    :func:`.is_silent`): beside it, the noise of the vocals would be the whole error.

    Args:
        weight (float): Weight of the term.

    Raises:
        ValueError: if `weight` is not positive and finite.
    """

    name: ClassVar[str] = "additivity"
    label: ClassVar[Label] = Label("Additivity error", "the representation's additivity error")
    needs: ClassVar[tuple[str, ...]] = ("mixture", "vocals", "accompaniment")
    needs_matched: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    weight: float

    def __post_init__(self):
        _check_weight(self)

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        silent = is_silent(batch.signals["mixture"])  # (batch,)
        # Numbers in the place of what may be 0 / 0. To leave it out would wait for a GPU.
        parts = [
            part.masked_fill(silent[:, None, None], 1.0)
            for part in batch.representations(*self.needs)
        ]
        return additivity_error(*parts).masked_fill(silent, 0.0).mean()


@dataclass(frozen=True)
class MaskAware:
    r"""Negative SNR, Eq. (4), of the vocals that a mask takes out of the mixture.

    .. math:: -10 \log_{10} \frac{\|x_v\|_2^2}{\|x_v - D(A_m \odot G)\|_2^2}, \quad
              G = \begin{cases} 1 & A_v > \theta A_b \\ 0 & \text{elsewhere} \end{cases}

    A binary mask :math:`G` has no gradient. So a straight-through mask is used: its values are
    binary, but its gradient is that of the ratio mask :math:`A_v / (A_v + A_b)`, see
    :func:`straight_through_mask`. The value is the mean over the signals of a batch; silent vocals
    have no gradient.

    Args:
        weight (float): Weight of the term.
        threshold (float): :math:`\theta`, see :func:`.binary_mask`.

    Raises:
        ValueError: naming the argument that is out of its range.
    """

    name: ClassVar[str] = "mask"
    label: ClassVar[Label] = Label("Masked, −SNR (dB)", "the masked voice's negative SNR")
    needs: ClassVar[tuple[str, ...]] = ("mixture", "vocals", "accompaniment")
    needs_matched: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    weight: float
    threshold: float = 1.0

    def __post_init__(self):
        _check_weight(self)
        is_valid = 0 <= self.threshold < math.inf
        check(is_valid, "mask_threshold", self.threshold, "finite and not negative")

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        encoded = EncodedSources(*batch.representations(*self.needs))
        mask = partial(straight_through_mask, threshold=self.threshold)
        target = batch.signals["vocals"]
        (estimate,) = decode_masked(batch.model, encoded, [mask], target.shape[-1])
        return neg_snr(estimate.float(), target)


@dataclass(frozen=True)
class Bandwidth:
    r"""Share of the modulators' energy beyond the lowest bins, see :func:`.modulator_bandwidth`.

    It holds kernels to the neighbourhood of their carriers, so that the carriers can be read as
    frequencies. The paper has no such term.

    Args:
        weight (float): Weight of the term.

    Raises:
        ValueError: if `weight` is not positive and finite. When it is computed, if the model's
            decoder has no modulators.
    """

    name: ClassVar[str] = "bandwidth"
    label: ClassVar[Label] = Label("Bandwidth", "the bandwidth of the modulators")
    needs: ClassVar[tuple[str, ...]] = ()
    needs_matched: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True
    weight: float

    def __post_init__(self):
        _check_weight(self)

    def __call__(self, batch: EncodedBatch) -> torch.Tensor:
        modulator = getattr(batch.model.decoder.filterbank, "modulator", None)
        if modulator is None:
            raise ValueError("bandwidth_weight needs a decoder with modulators, mod_cos")
        groups = [modulator] if isinstance(modulator, torch.Tensor) else list(modulator)
        n_filters = sum(len(group) for group in groups)
        shares = [len(group) / n_filters * modulator_bandwidth(group) for group in groups]
        return torch.stack(shares).sum()


# In the order in which they are logged and plotted.
OBJECTIVES = (Reconstruction, TotalVariation, Sinkhorn, Additivity, MaskAware, Bandwidth)


def straight_through_mask(
    vocals: torch.Tensor, accompaniment: torch.Tensor, threshold: float
) -> torch.Tensor:
    r"""Make a binary mask with the gradient of the ratio mask :math:`v / (v + a)`.

    The gradient of a binary mask is zero almost everywhere, and nothing could be learned from it.
    In a straight-through mask, only the values are binary: in the backward pass, the ratio mask
    stands in for it.

    Args:
        vocals (:class:`torch.Tensor`): :math:`v`, non-negative, shape `(..., freq, frames)`.
        accompaniment (:class:`torch.Tensor`): :math:`a`, of the same shape.
        threshold (float): Threshold of :func:`.binary_mask`.

    Returns:
        :class:`torch.Tensor` of the same shape, of zeros and ones.

    Raises:
        ValueError: if `threshold` is negative or not finite.
    """
    ratio = vocals / (vocals + accompaniment).clamp_min(TINY)
    # Values are exactly zero or one, which ratio + (binary - ratio) would not be after rounding.
    return binary_mask(vocals, accompaniment, threshold) + (ratio - ratio.detach())


def make_objectives(
    snr_per: str = "signal",
    tv_weight: float = 0.5,
    tv_on: str = "mixture",
    tv_norm: str = "l1",
    sinkhorn_weight: float = 0.0,
    sinkhorn_p: int = 1,
    sinkhorn_entropy: float = 0.5,
    additivity_weight: float = 0.0,
    mask_weight: float = 0.0,
    mask_threshold: float = 1.0,
    bandwidth_weight: float = 0.0,
) -> list[Objective]:
    """Make the reconstruction, and the other objectives whose weight is not zero.

    By default they are the paper's.

    Args:
        snr_per (str): ``per`` of :class:`Reconstruction`, whose weight is 1.
        tv_weight (float): Weight of :class:`TotalVariation`.
        tv_on (str): Its representation.
        tv_norm (str): Its norm.
        sinkhorn_weight (float): Weight of :class:`Sinkhorn`, on the mixture.
        sinkhorn_p (int): Its norm.
        sinkhorn_entropy (float): Its entropy.
        additivity_weight (float): Weight of :class:`Additivity`.
        mask_weight (float): Weight of :class:`MaskAware`.
        mask_threshold (float): Its threshold.
        bandwidth_weight (float): Weight of :class:`Bandwidth`.

    Raises:
        ValueError: naming the argument that is out of its range.
    """
    objectives: list[Objective] = [Reconstruction(per=snr_per)]
    if tv_weight != 0:
        objectives.append(TotalVariation(tv_weight, tv_on, tv_norm))
    if sinkhorn_weight != 0:
        objectives.append(Sinkhorn(sinkhorn_weight, p=sinkhorn_p, entropy=sinkhorn_entropy))
    if additivity_weight != 0:
        objectives.append(Additivity(additivity_weight))
    if mask_weight != 0:
        objectives.append(MaskAware(mask_weight, mask_threshold))
    if bandwidth_weight != 0:
        objectives.append(Bandwidth(bandwidth_weight))
    return objectives


def _check_weight(objective: Objective) -> None:
    is_valid = 0 < objective.weight < math.inf
    check(is_valid, f"{objective.name}_weight", objective.weight, "positive and finite, or 0")
