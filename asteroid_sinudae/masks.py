"""Masks over representations, and separation informed by the true sources."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch

from .models.representation import Representation
from .utils.checks import check, check_choice

# From the magnitudes of vocals and accompaniment to a mask of their shape.
Mask: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def binary_mask(
    vocals: torch.Tensor, accompaniment: torch.Tensor, threshold: float = 0.5
) -> torch.Tensor:
    r"""Make a binary mask that is 1 where :math:`|v| > threshold \cdot |a|`, and 0 elsewhere.

    It is 0 where both magnitudes are 0.

    Args:
        vocals (:class:`torch.Tensor`): magnitudes of the vocals, shape `(..., freq, frames)`.
        accompaniment (:class:`torch.Tensor`): magnitudes of the accompaniment, of the same shape.
        threshold (float): 0.5 in the authors' public code; 1 keeps the louder source.

    Returns:
        :class:`torch.Tensor` of the same shape and dtype.

    Raises:
        ValueError: if `threshold` is negative or not finite.

    Examples
        >>> binary_mask(torch.tensor([0.0, 0.6, 0.4]), torch.tensor([0.0, 1.0, 1.0]))
        tensor([0., 1., 0.])
    """
    check_threshold(threshold)
    return (vocals > threshold * accompaniment).to(vocals.dtype)


def ratio_mask(vocals: torch.Tensor, accompaniment: torch.Tensor) -> torch.Tensor:
    r"""Make the ratio mask :math:`|v| / (|v| + |a|)`; it is zero where both are zero.

    Args:
        vocals (:class:`torch.Tensor`): magnitudes of the vocals, shape `(..., freq, frames)`.
        accompaniment (:class:`torch.Tensor`): magnitudes of the accompaniment, of the same shape.

    Returns:
        :class:`torch.Tensor` of the same shape and dtype.

    Examples
        >>> ratio_mask(torch.tensor([0.0, 3.0, 1.0]), torch.tensor([0.0, 1.0, 0.0]))
        tensor([0.0000, 0.7500, 1.0000])
    """
    # The sum of two huge magnitudes may overflow; their ratio does not.
    return torch.where(vocals == 0, vocals, 1 / (1 + accompaniment / vocals))


def energy_ratio_mask(
    vocals: torch.Tensor, accompaniment: torch.Tensor, threshold: float = 0.5
) -> torch.Tensor:
    r"""Make a binary mask that is 1 where :math:`|v|^2 / (|v|^2 + |a|^2) > \theta`, else 0.

    It is 0 where both magnitudes are 0. It is computed as :func:`binary_mask` with the threshold
    :math:`\sqrt{\theta / (1 - \theta)}`, which is the same without squares that overflow or vanish.
    :math:`\theta = 0.5` is the threshold 1 there.

    Args:
        vocals (:class:`torch.Tensor`): magnitudes of the vocals, shape `(..., freq, frames)`.
        accompaniment (:class:`torch.Tensor`): magnitudes of the accompaniment, of the same shape.
        threshold (float): :math:`\theta`, the part of the energy that the vocals must exceed.

    Returns:
        :class:`torch.Tensor` of the same shape and dtype.

    Raises:
        ValueError: if `threshold` is not from 0 to below 1.

    Examples
        >>> energy_ratio_mask(torch.tensor([0.0, 0.6, 1.1]), torch.tensor([0.0, 1.0, 1.0]))
        tensor([0., 0., 1.])
    """
    check_energy_threshold(threshold)
    return binary_mask(vocals, accompaniment, math.sqrt(threshold / (1 - threshold)))


def check_threshold(threshold: float) -> None:
    """Raise a ValueError if a threshold of :func:`binary_mask` is negative or not finite."""
    is_valid = math.isfinite(threshold) and threshold >= 0
    check(is_valid, "threshold", threshold, "finite and not negative")


def check_energy_threshold(threshold: float) -> None:
    """Raise a ValueError if a threshold of :func:`energy_ratio_mask` is not from 0 to below 1."""
    check(0 <= threshold < 1, "threshold", threshold, "at least 0 and below 1")


class MaskRule(NamedTuple):
    """A rule by which a mask is made.

    Attributes:
        mask (callable): Function of the magnitudes of vocals and accompaniment, and of a threshold
            with a default value if the rule has one.
        check_threshold (callable or None): Function that raises a ValueError for a threshold that
            is out of its range; None if the rule has no threshold.
    """

    mask: Callable[..., torch.Tensor]
    check_threshold: Callable[[float], None] | None


RULES = {
    "binary": MaskRule(binary_mask, check_threshold),
    "ratio": MaskRule(ratio_mask, None),
    "energy_ratio": MaskRule(energy_ratio_mask, check_energy_threshold),
}


def check_rule(rule: str, threshold: float | None = None) -> None:
    """Raise a ValueError if there is no such rule, or if it cannot have this threshold."""
    check_choice("rule", rule, RULES)
    if threshold is None:
        return
    check_of_rule = RULES[rule].check_threshold
    if check_of_rule is None:
        raise ValueError(f"the {rule} mask has no threshold, got threshold={threshold!r}")
    check_of_rule(threshold)


def make_mask(
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    threshold: float | None = None,
    rule: str = "binary",
) -> torch.Tensor:
    """Make the mask of the vocals by one of the :data:`RULES`.

    Args:
        vocals (:class:`torch.Tensor`): magnitudes of the vocals, shape `(..., freq, frames)`.
        accompaniment (:class:`torch.Tensor`): magnitudes of the accompaniment, of the same shape.
        threshold (float, optional): Threshold of the rule. If None (default), it is 0.5 for
            ``'binary'``, see :func:`binary_mask`, and for ``'energy_ratio'``, see
            :func:`energy_ratio_mask`. The rule ``'ratio'``, see :func:`ratio_mask`, has none.
        rule (str): Among [``'binary'``, ``'ratio'``, ``'energy_ratio'``].

    Returns:
        :class:`torch.Tensor` of the same shape and dtype, from 0 to 1.

    Raises:
        ValueError: if there is no such rule, or `threshold` is out of its range, or given for a
            rule that has none.
    """
    check_rule(rule, threshold)
    options = {} if threshold is None else {"threshold": threshold}
    return RULES[rule].mask(vocals, accompaniment, **options)


class EncodedSources(NamedTuple):
    """A mixture and its true sources as one representation has them.

    Attributes:
        mixture (:class:`torch.Tensor`): shape `(batch, freq, frames)`.
        vocals (:class:`torch.Tensor`): of the same shape.
        accompaniment (:class:`torch.Tensor`): of the same shape.
    """

    mixture: torch.Tensor
    vocals: torch.Tensor
    accompaniment: torch.Tensor


def encode_sources(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
) -> EncodedSources:
    """Encode a mixture and its sources in one batch, so that the encoder's kernels are built once.

    Args:
        representation (Representation): The representation, on the device of the signals.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        vocals (:class:`torch.Tensor`): of the same shape.
        accompaniment (:class:`torch.Tensor`): of the same shape.

    Returns:
        EncodedSources

    Raises:
        ValueError: if the shapes differ, or have no dimension for a batch, or if a signal is of
            another precision than the representation.
    """
    signals = mixture, vocals, accompaniment
    if not mixture.shape == vocals.shape == accompaniment.shape:
        raise ValueError(
            f"expected one shape for all signals, got mixture {tuple(mixture.shape)}, "
            f"vocals {tuple(vocals.shape)}, accompaniment {tuple(accompaniment.shape)}"
        )
    check(mixture.ndim > 1, "shape of the signals", tuple(mixture.shape), "(batch, 1, time)")
    if len({signal.dtype for signal in signals}) > 1:
        for signal in signals:  # the encoder refuses another precision, which joining would hide
            representation.encode(signal)
    rep = representation.encode(torch.cat(signals))  # (3 * batch, freq, frames)
    return EncodedSources(*rep.chunk(len(signals)))  # (batch, freq, frames) each


def decode_masked(
    representation: Representation,
    encoded: EncodedSources,
    masks: Iterable[Mask],
    length: int,
    unmasked: Sequence[torch.Tensor] = (),
) -> tuple[torch.Tensor, ...]:
    """Decode a mixture under masks that know its sources: the one path that all masks take.

    All estimates are decoded in one batch, so that the decoder's kernels are built once.

    Args:
        representation (Representation): The representation that encoded the signals.
        encoded (EncodedSources): The result of :func:`encode_sources`.
        masks (iterable of callable): Functions from the magnitudes of vocals and accompaniment to a
            mask of their shape, as :func:`make_mask`.
        length (int): Number of samples of the encoded signals.
        unmasked (sequence of :class:`torch.Tensor`): Representations to be decoded with them as
            they are, of the shape of the mixture's.

    Returns:
        tuple of :class:`torch.Tensor` of shape `(batch, 1, length)`: one for each of `unmasked`,
        then one for each mask.
    """
    vocals = representation.magnitude(encoded.vocals)
    accompaniment = representation.magnitude(encoded.accompaniment)
    signals = [*unmasked, *(encoded.mixture * mask(vocals, accompaniment) for mask in masks)]
    # Unlike the size of a batch, their number is the same for all inputs of a trace.
    wavs = representation.decode(torch.cat(signals), length)  # (signals * batch, 1, length)
    return wavs.chunk(len(signals))  # (batch, 1, length) each


def informed_separation(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor | None = None,
    threshold: float | None = None,
    rule: str = "binary",
) -> torch.Tensor:
    """Estimate the vocals by a mask that knows the true sources (Section 3).

    Args:
        representation (Representation): e.g. :class:`.SinuDAE` or :class:`.STFT`.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        vocals (:class:`torch.Tensor`): the true vocals, of the same shape.
        accompaniment (:class:`torch.Tensor`, optional): the true accompaniment, of the same
            shape. If None (default), mixture minus vocals.
        threshold (float, optional): Threshold of :func:`make_mask`, 0.5 for the default rule.
        rule (str): Rule of :func:`make_mask`.

    Returns:
        :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: if the shapes differ, there is no such rule, or `threshold` is out of its range,
            or given for a rule that has none.
    """
    check_rule(rule, threshold)
    if accompaniment is None:
        accompaniment = mixture - vocals
    encoded = encode_sources(representation, mixture, vocals, accompaniment)
    mask = partial(make_mask, threshold=threshold, rule=rule)
    (estimate,) = decode_masked(representation, encoded, [mask], mixture.shape[-1])
    return estimate


def estimate_both(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    threshold: float | None,
    rule: str = "binary",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate both sources: the accompaniment by the complement of the vocals' mask.

    Args:
        representation (Representation): The representation, on the device of the signals.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        vocals (:class:`torch.Tensor`): the true vocals, of the same shape.
        accompaniment (:class:`torch.Tensor`): the true accompaniment, of the same shape.
        threshold (float or None): Threshold of :func:`make_mask`.
        rule (str): Rule of :func:`make_mask`.

    Returns:
        tuple of the estimates, :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: as :func:`informed_separation`.
    """
    check_rule(rule, threshold)
    encoded = encode_sources(representation, mixture, vocals, accompaniment)
    mask: Mask = partial(make_mask, threshold=threshold, rule=rule)

    def complement(vocals: torch.Tensor, accompaniment: torch.Tensor) -> torch.Tensor:
        return 1 - mask(vocals, accompaniment)

    masks = [mask, complement]
    of_vocals, rest = decode_masked(representation, encoded, masks, mixture.shape[-1])
    return of_vocals, rest
