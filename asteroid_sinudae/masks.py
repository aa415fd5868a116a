"""Masks over representations, and separation informed by the true sources."""

import math

import torch

from ._checks import check
from .representations import Representation


def binary_mask(
    vocals: torch.Tensor, accompaniment: torch.Tensor, threshold: float = 0.5
) -> torch.Tensor:
    r"""One where :math:`|v| > threshold \cdot |a|`, zero elsewhere, also where both are zero.

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


def check_threshold(threshold: float) -> None:
    """Raise a ValueError if a threshold of :func:`binary_mask` is negative or not finite."""
    is_valid = math.isfinite(threshold) and threshold >= 0
    check(is_valid, "threshold", threshold, "finite and not negative")


def decode_masked(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    threshold: float,
    length: int,
) -> torch.Tensor:
    """Waveform of an encoded mixture under the binary mask of the encoded sources.

    Args:
        representation (Representation): That encoded the signals.
        mixture (:class:`torch.Tensor`): encoded, shape `(batch, freq, frames)`.
        vocals (:class:`torch.Tensor`): encoded, of the same shape.
        accompaniment (:class:`torch.Tensor`): encoded, of the same shape.
        threshold (float): see :func:`binary_mask`.
        length (int): Number of samples of the encoded signals.

    Returns:
        :class:`torch.Tensor` of shape `(batch, 1, length)`.

    Raises:
        ValueError: if `threshold` is negative or not finite.
    """
    magnitudes = representation.magnitude(vocals), representation.magnitude(accompaniment)
    return representation.decode(mixture * binary_mask(*magnitudes, threshold), length)


def informed_separation(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor | None = None,
    threshold: float = 0.5,
) -> torch.Tensor:
    """Vocals estimated by a binary mask that knows the true sources (Section 3).

    Args:
        representation (Representation): e.g. :class:`.SinuDAE` or :class:`.STFT`.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        vocals (:class:`torch.Tensor`): the true vocals, of the same shape.
        accompaniment (:class:`torch.Tensor`, optional): the true accompaniment, of the same
            shape. If None (default), mixture minus vocals.
        threshold (float): see :func:`binary_mask`.

    Returns:
        :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: if the shapes differ, or `threshold` is negative or not finite.
    """
    if accompaniment is None:
        accompaniment = mixture - vocals
    if not mixture.shape == vocals.shape == accompaniment.shape:
        raise ValueError(
            f"expected one shape for all signals, got mixture {tuple(mixture.shape)}, "
            f"vocals {tuple(vocals.shape)}, accompaniment {tuple(accompaniment.shape)}"
        )
    encoded = [representation.encode(signal) for signal in (mixture, vocals, accompaniment)]
    return decode_masked(representation, *encoded, threshold, mixture.shape[-1])


def estimate_both(
    representation: Representation,
    mixture: torch.Tensor,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vocals of :func:`informed_separation`, and accompaniment under the complementary mask.

    Args:
        representation (Representation): On the device of the signals.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        vocals (:class:`torch.Tensor`): the true vocals, of the same shape.
        accompaniment (:class:`torch.Tensor`): the true accompaniment, of the same shape.
        threshold (float): see :func:`binary_mask`.

    Returns:
        tuple of the estimates, :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: if `threshold` is negative or not finite.
    """
    length = mixture.shape[-1]
    encoded = representation.encode(mixture)
    magnitudes = [
        representation.magnitude(representation.encode(source))
        for source in (vocals, accompaniment)
    ]
    mask = binary_mask(*magnitudes, threshold)
    return (
        representation.decode(encoded * mask, length),
        representation.decode(encoded * (1 - mask), length),
    )
