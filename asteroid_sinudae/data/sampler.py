"""The order in which training sees segments.

A representation sees them as in Section 3 of the paper: inside sets of four multi-tracks, the
segments of the vocals and those of the accompaniment are shuffled independently. A separator sees
mixtures that are drawn without end.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ..utils.checks import check
from .segments import RemixedSegments, TrainSegments

MAX_SEGMENTS = 2**24  # segments of an epoch; their order takes 16 bytes of memory each


class _BatchSampler(Sampler):
    """Batches of an order that starts anywhere, divided among processes.

    Args:
        n_items (int): Items of an epoch.
        batch_size (int): Items in a batch, over all processes together.
        rank (int): This process, which gets the `rank`-th contiguous share of each batch.
        world_size (int): Number of processes.
    """

    def __init__(self, n_items: int, batch_size: int, rank: int, world_size: int) -> None:
        check(batch_size >= 1, "batch_size", batch_size, "1 or more")
        self.n_items = n_items
        self.batch_size = batch_size
        self.set_shard(rank, world_size)
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Returns the number of batches in a full epoch, wherever the current one starts."""
        return -(-self.n_items // self.batch_size)

    def set_shard(self, rank: int, world_size: int) -> None:
        """Selects the share of the `rank`-th of `world_size` processes."""
        check(world_size >= 1, "world_size", world_size, "1 or more")
        check(0 <= rank < world_size, "rank", rank, f"0 to {world_size - 1}")
        divides = self.batch_size % world_size == 0
        check(divides, "batch_size", self.batch_size, f"a multiple of {world_size=}")
        self.rank = rank
        self.world_size = world_size

    def set_epoch(self, epoch: int) -> None:
        """Goes to the first batch of `epoch`, unless that is the current epoch already."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def set_step(self, global_step: int) -> None:
        """Goes to the batch that follows `global_step` batches of an uninterrupted run."""
        self.epoch, self.first_batch = divmod(global_step, len(self))


class SetShuffleSampler(_BatchSampler):
    """Batches of (vocals, accompaniment) segment pairs, shuffled inside sets of tracks.

    "During training we sample a set of four multi-tracks from which we use the vocals and the
    accompaniment sources. Each multi-track is partitioned into overlapping segments [...] We then
    randomly shuffle the segments for each source" (paper, Sec. 3). An epoch shuffles the tracks,
    groups them, and pairs two independent permutations of each set's segments, so that every
    segment of each source appears once. Matched pairs, of one permutation, are real music instead.
    Batches run across the borders of sets; the last one of an epoch may be smaller. The order
    depends on `seed`, `matched` and the epoch only.

    Args:
        dataset (TrainSegments): The segments to draw from.
        batch_size (int): Pairs in a batch, over all processes together.
        tracks_per_set (int): Tracks whose segments are shuffled together.
        seed (int): Non-negative seed of the order.
        rank (int): This process, which gets the `rank`-th contiguous share of each batch.
        world_size (int): Number of processes. The last batch of an epoch is filled up to a
            multiple of it from the start of the epoch.
        matched (bool): Whether vocals and accompaniment of a pair are from the same place in a
            song.

    Raises:
        ValueError: If an argument is out of range, `batch_size` does not divide by `world_size`,
            or an epoch has more than :data:`MAX_SEGMENTS` segments.
    """

    def __init__(
        self,
        dataset: TrainSegments,
        batch_size: int,
        tracks_per_set: int = 4,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        matched: bool = False,
    ) -> None:
        check(tracks_per_set >= 1, "tracks_per_set", tracks_per_set, "1 or more")
        check(seed >= 0, "seed", seed, "0 or more")
        n_segments = sum(dataset.counts)
        if n_segments > MAX_SEGMENTS:
            raise ValueError(
                f"an epoch has {n_segments} segments, expected at most {MAX_SEGMENTS}: choose a "
                "longer hop of segments"
            )
        super().__init__(n_segments, batch_size, rank, world_size)
        self.counts = dataset.counts
        self.tracks_per_set = tracks_per_set
        self.seed = seed
        self.matched = matched

    def _epoch_pairs(self) -> np.ndarray:
        """Draws the epoch's (vocals, accompaniment) segments, of shape (pairs, 2)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        segments = np.split(np.arange(sum(self.counts)), np.cumsum(self.counts)[:-1])
        tracks = rng.permutation(len(segments))
        pairs = []
        for first in range(0, len(tracks), self.tracks_per_set):
            chosen = tracks[first : first + self.tracks_per_set]
            together = np.concatenate([segments[track] for track in chosen])
            vocals = rng.permutation(together)
            accompaniment = vocals if self.matched else rng.permutation(together)
            pairs.append(np.stack([vocals, accompaniment], axis=1))
        return np.concatenate(pairs)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        pairs = self._epoch_pairs()
        n_padded = -(-len(pairs) // self.world_size) * self.world_size
        pairs = pairs[np.arange(n_padded) % len(pairs)]
        for first in range(self.first_batch * self.batch_size, n_padded, self.batch_size):
            batch = pairs[first : first + self.batch_size]
            share = np.split(batch, self.world_size)[self.rank]  # (batch / world_size, 2)
            yield [(i, j) for i, j in share.tolist()]


class DrawSampler(_BatchSampler):
    """Batches of the numbers 0, 1, 2 and so on, without end, for :class:`.RemixedSegments`.

    Args:
        dataset (RemixedSegments): What the numbers are items of; an epoch has as many as its
            length, in whole batches.
        batch_size (int): Items in a batch, over all processes together.
        rank (int): This process, which gets the `rank`-th contiguous share of each batch.
        world_size (int): Number of processes.

    Raises:
        ValueError: If an argument is out of range, or `batch_size` does not divide by `world_size`.
    """

    def __init__(
        self, dataset: RemixedSegments, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(len(dataset), batch_size, rank, world_size)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world_size
        for batch in range(self.first_batch, len(self)):
            first = (self.epoch * len(self) + batch) * self.batch_size + self.rank * share
            yield list(range(first, first + share))
