"""Test segments, batch by batch, without the silent ones."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from ..data.segments import TestSegments
from ..metrics import is_silent
from ..utils.progress import progress


class Segments(NamedTuple):
    """A batch of audible test segments.

    Attributes:
        vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape.
        locations (list): for each segment its track's name and its first sample in it.
    """

    vocals: torch.Tensor
    accompaniment: torch.Tensor
    locations: list[tuple[str, int]]


def audible_segments(
    segments: TestSegments, batch_size: int = 8, device: torch.device | str = "cpu"
) -> Iterator[Segments]:
    """Iterate over batches of the segments whose vocals are not silent, with progress.

    A segment is silent by :func:`.is_silent`.

    Args:
        segments (TestSegments): Non-overlapping segments of test tracks.
        batch_size (int): Segments read at a time; a batch holds the audible ones of them.
        device (:class:`torch.device` or str): Where to put them.
    """
    first = 0
    batches = DataLoader(segments, batch_size=batch_size)
    for vocals, accompaniment in progress(batches, "Evaluating", unit="batch"):
        locations = segments.locations[first : first + len(vocals)]
        first += len(vocals)
        audible = ~is_silent(vocals)
        if audible.any():
            yield Segments(
                vocals[audible].to(device),
                accompaniment[audible].to(device),
                [where for where, keep in zip(locations, audible.tolist(), strict=True) if keep],
            )
