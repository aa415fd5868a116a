"""Estimates of both sources, by a mask that knows them or by a separator that does not."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from asteroid.models.base_models import BaseEncoderMaskerDecoder
from torch import nn

from ..data.tracks import SAMPLE_RATE, SOURCES
from ..masks import estimate_both
from ..models.mean_separator import MeanSeparator
from ..models.representation import Representation, reach, whole_hops
from ..songs.streams import map_blocks, overlap_add
from ..utils.checks import check_positive_int

BLOCK = 30 * SAMPLE_RATE  # samples encoded at a time: 33 MB a signal with 1600 channels at hop 256
Separator = BaseEncoderMaskerDecoder | MeanSeparator  # hears the mixture only
Model = Representation | Separator  # masks on a representation know the true sources
# From vocals and accompaniment, each (batch, 1, time), to estimates of both by name.
Estimator = Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


@torch.no_grad()
def masked_estimates(
    representation: Representation,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    threshold: float = 0.5,
    block: int = BLOCK,
) -> dict[str, torch.Tensor]:
    """Separate a mixture by a mask that knows its sources, and by the complementary mask.

    The vocals are those of :func:`.informed_separation`.

    Long signals are computed block by block, which does not affect the result.

    Args:
        representation (Representation): The representation, on the device of the signals.
        vocals (:class:`torch.Tensor`): the true vocals, shape `(batch, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape; the mixture is their sum.
        threshold (float): Threshold of :func:`.binary_mask`.
        block (int): Samples that are computed at a time, rounded up to whole hops.

    Returns:
        dict of the :data:`SOURCES`, :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: if `threshold` is negative or not finite, or `block` is below 1.
    """
    check_positive_int("block", block)

    def estimate(sources: torch.Tensor) -> torch.Tensor:
        vocals, accompaniment = sources  # (2, batch, 1, time)
        mixture = sources.sum(0)
        return torch.stack(estimate_both(representation, mixture, vocals, accompaniment, threshold))

    sources = torch.stack([vocals, accompaniment])
    block = whole_hops(representation, block)
    pieces = map_blocks([sources], estimate, block, margin=reach(representation))
    return dict(zip(SOURCES, torch.cat(list(pieces), dim=-1), strict=True))


@torch.no_grad()
def separated_estimates(
    separator: Callable[[torch.Tensor], torch.Tensor],
    mixture: torch.Tensor,
    chunk: int = 10 * SAMPLE_RATE,
    overlap: int = SAMPLE_RATE,
) -> dict[str, torch.Tensor]:
    """Separate a mixture by a separator, in chunks that fade into each other.

    Args:
        separator (callable): Separator of the :data:`SOURCES`, on the mixture's device; a function
            from shape `(batch, time)` to `(batch, sources, time)`.
        mixture (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        chunk (int): Samples at a time, see :func:`.overlap_add`.
        overlap (int): Samples that two chunks share.

    Returns:
        dict of the :data:`SOURCES`, :class:`torch.Tensor` of shape `(batch, 1, time)`.

    Raises:
        ValueError: if `chunk` is below 1, or `overlap` is negative or over half of it.
    """
    chunks = list(overlap_add([mixture[:, 0]], separator, chunk, overlap))
    estimates = torch.cat(chunks, dim=-1)  # (batch, sources, time)
    return dict(zip(SOURCES, estimates.split(1, dim=1), strict=True))  # (batch, 1, time) each


def separator_estimator(separator: nn.Module) -> Estimator:
    """Make an estimator that hears the mixture only, and separates it.

    Args:
        separator (:class:`torch.nn.Module`): Separator of the :data:`SOURCES`.
    """

    def estimate(vocals, accompaniment):
        estimates = separator(vocals + accompaniment)  # (batch, sources, time)
        return dict(zip(SOURCES, estimates.split(1, dim=1), strict=True))

    return estimate


def mixture_estimator(vocals: torch.Tensor, accompaniment: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the mixture as the estimate of both sources: what a separation improves on."""
    return dict.fromkeys(SOURCES, vocals + accompaniment)


def check_finite(what: str, *tensors: torch.Tensor) -> None:
    """Raise a ValueError, ``<what> must be finite``, if a value is NaN or infinite."""
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise ValueError(f"{what} must be finite, got NaN or infinity: are the weights finite?")


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Begin the message of a ValueError with the name of what is evaluated."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
