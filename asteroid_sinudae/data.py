"""Prepared tracks of MUSDB18, their segments, and the order in which training sees them.

This follows Section 3 of Mimilakis, Drossos and Schuller, "Unsupervised Interpretable
Representation Learning for Singing Voice Separation", EUSIPCO 2020: segments of one second that
overlap by half, and sets of four multi-tracks inside which the segments of the vocals and those of
the accompaniment are shuffled independently.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from ._checks import check
from .files import atomic_path

SAMPLE_RATE = 44100  # Hz
FULL_SCALE = 2**15  # of 16-bit samples
MANIFEST = "manifest.json"
SUBSETS = ("train", "test")


@dataclass(frozen=True)
class Track:
    """A prepared multi-track: two mono 16-bit WAV files at 44.1 kHz, of equal length.

    Args:
        name (str): Name of the track, as in the source.
        subset (str): ``"train"`` or ``"test"``.
        n_samples (int): Length of each of the two files, in samples.
        n_clipped (int): Samples of the two files together that exceeded 16-bit full scale.
        folder (Path): Folder that holds the two files.
    """

    name: str
    subset: str
    n_samples: int
    n_clipped: int
    folder: Path

    @property
    def vocals(self) -> Path:
        return self.folder / "vocals.wav"

    @property
    def accompaniment(self) -> Path:
        return self.folder / "accompaniment.wav"

    def missing_files(self) -> list[Path]:
        return [path for path in (self.vocals, self.accompaniment) if not path.is_file()]


@dataclass(frozen=True)
class Manifest:
    """What a prepared data folder holds, as recorded in its ``manifest.json``.

    Args:
        sample_rate (int): In Hz.
        source (dict): What they were prepared from: ``kind`` (``"stems"``, ``"wav"`` or
            ``"stempeg"``), ``path`` and ``tracks`` (a list of ``subset/name``).
        tracks (tuple[Track, ...]): The prepared tracks.
        skipped (tuple[dict, ...]): ``name``, ``subset`` and ``reason`` of each track left out.
        versions (dict): Versions of the packages that read the source.
        created (str): Date and time (UTC, ISO 8601).
    """

    sample_rate: int
    source: dict
    tracks: tuple[Track, ...]
    skipped: tuple[dict, ...]
    versions: dict
    created: str

    @classmethod
    def load(cls, data_dir: str | Path) -> Manifest:
        """Reads the manifest of a prepared folder.

        Args:
            data_dir (str or Path): The folder given to :func:`prepare_musdb18`.

        Raises:
            FileNotFoundError: If there is no manifest, or a track that it lists lacks a file.
            ValueError: If the manifest cannot be parsed.
        """
        path = Path(data_dir) / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found: prepare the data first (stage 1)")
        content = read_json(path)
        try:
            tracks = [{**t, "folder": path.parent / t["folder"]} for t in content.pop("tracks")]
            skipped = tuple(content.pop("skipped"))
            manifest = cls(tracks=tuple(Track(**t) for t in tracks), skipped=skipped, **content)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a manifest of prepared tracks: {error!r}") from error
        for file in (file for track in manifest.tracks for file in track.missing_files()):
            raise FileNotFoundError(f"{file} not found but listed in {path}: prepare it again")
        return manifest

    def save(self, data_dir: str | Path) -> None:
        """Writes ``manifest.json`` at once; its paths are relative, so the folder can be moved."""
        tracks = [{**vars(t), "folder": f"{t.subset}/{t.name}"} for t in self.tracks]
        content = json.dumps({**vars(self), "tracks": tracks}, indent=2)
        with atomic_path(Path(data_dir) / MANIFEST) as temporary:
            temporary.write_text(content, encoding="utf-8")

    def subset(self, name: str) -> tuple[Track, ...]:
        """Returns the tracks of ``"train"`` or ``"test"``."""
        check(name in SUBSETS, "subset", name, " or ".join(SUBSETS))
        return tuple(track for track in self.tracks if track.subset == name)


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is corrupted, expected JSON ({error}): remove it") from error


def segment_starts(n_samples: int, segment: int, hop: int) -> range:
    """First samples of the segments that cover a track; the last may reach over its end.

    Args:
        n_samples (int): Length of the track, in samples.
        segment (int): Length of a segment, in samples.
        hop (int): Distance between the starts of two segments, in samples, at most `segment`.

    Raises:
        ValueError: If a length is below 1 or `hop` exceeds `segment`.
    """
    check(n_samples >= 1, "n_samples", n_samples, "1 or more")
    check(segment >= 1, "segment", segment, "1 or more")
    check(1 <= hop <= segment, "hop", hop, f"1 to {segment} (segment)")
    return range(0, max(n_samples - segment, 0) + hop, hop)


def _read_all(tracks: Sequence[Track], device: str) -> dict[Path, torch.Tensor]:
    """Reads all files as 16-bit integers, by their paths."""
    needed = 2 * 2 * sum(track.n_samples for track in tracks)  # bytes
    if device == "cuda":
        check(torch.cuda.is_available(), "keep_on", device, "cpu on this machine")
        limit = torch.cuda.mem_get_info()[0]  # what is free
    else:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > limit:
        raise ValueError(
            f"keep_on={device} needs {needed / 1e9:.1f} GB, expected at most {limit / 1e9:.1f}"
        )
    paths = [path for track in tracks for path in (track.vocals, track.accompaniment)]
    audio = (soundfile.read(path, dtype="int16")[0] for path in tqdm(paths, desc="Reading"))
    return {p: torch.from_numpy(a).to(device) for p, a in zip(paths, audio, strict=True)}


class _Segments(Dataset):
    """The segments of prepared tracks, track after track, read one at a time."""

    def __init__(
        self,
        tracks: Sequence[Track],
        segment: int = 44100,
        hop: int = 22050,
        keep_on: str | None = None,
    ) -> None:
        check(len(tracks) > 0, "tracks", tracks, "at least one track")
        self.segment = segment
        starts = [segment_starts(track.n_samples, segment, hop) for track in tracks]
        self.counts = [len(track_starts) for track_starts in starts]
        self.index = [(track, s) for track, its in zip(tracks, starts, strict=True) for s in its]
        self.kept = {} if keep_on is None else _read_all(tracks, keep_on)

    def __len__(self) -> int:
        return len(self.index)

    def _read(self, path: Path, start: int) -> torch.Tensor:
        """Reads a segment as (1, segment), with zeros after the end of the file."""
        if path in self.kept:
            audio = self.kept[path][start : start + self.segment].float() / FULL_SCALE
            return F.pad(audio, [0, self.segment - len(audio)])[None]
        audio, _ = soundfile.read(
            path, frames=self.segment, start=start, dtype="float32", fill_value=0.0
        )
        return torch.from_numpy(audio)[None]


class TrainSegments(_Segments):
    """Overlapping segments, vocals and accompaniment chosen independently (paper, Sec. 3).

    An index is a pair ``(i, j)``, as :class:`SetShuffleSampler` draws them, and gives segment
    ``i`` of the vocals and segment ``j`` of the accompaniment, two float32 tensors of shape
    ``(1, segment)``, padded with zeros at the end of a track. The length is the number of
    segments of one source.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment, in samples.
        hop (int): Distance between the starts of two segments, in samples.
        keep_on (str, optional): Device that holds all audio, two bytes a sample, ``"cpu"`` or
            ``"cuda"``, where segments then are; None (the default) to read each from disk.

    Raises:
        ValueError: If there is no track, a length is below 1, `hop` exceeds `segment`, or the
            audio does not fit on the device.
    """

    def __getitem__(self, pair: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        (vocals, i), (accompaniment, j) = (self.index[position] for position in pair)
        return self._read(vocals.vocals, i), self._read(accompaniment.accompaniment, j)


class TestSegments(_Segments):
    """Segments side by side, with vocals and accompaniment of the same place.

    Item ``i`` is ``(vocals, accompaniment)``, two float32 tensors of shape ``(1, segment)``, the
    last of a track padded with zeros; ``locations[i]`` is its track's name and first sample.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment, in samples.

    Raises:
        ValueError: If there is no track or `segment` is below 1.
    """

    __test__ = False  # the name is not that of a pytest class

    def __init__(self, tracks: Sequence[Track], segment: int = 44100) -> None:
        super().__init__(tracks, segment, hop=segment)
        self.locations = [(track.name, start) for track, start in self.index]

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        track, start = self.index[i]
        return self._read(track.vocals, start), self._read(track.accompaniment, start)


class SetShuffleSampler(Sampler):
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
        batch_size (int): Pairs in a global batch, over all processes.
        tracks_per_set (int): Tracks whose segments are shuffled together.
        seed (int): Non-negative seed of the order.
        rank (int): This process, which gets the `rank`-th contiguous share of each batch.
        world_size (int): Number of processes. The last batch of an epoch is filled up to a
            multiple of it from the start of the epoch.
        matched (bool): Whether vocals and accompaniment of a pair are from the same place.

    Raises:
        ValueError: If an argument is out of range or `batch_size` does not divide by
            `world_size`.
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
        check(batch_size >= 1, "batch_size", batch_size, "1 or more")
        check(tracks_per_set >= 1, "tracks_per_set", tracks_per_set, "1 or more")
        check(seed >= 0, "seed", seed, "0 or more")
        self.counts = dataset.counts
        self.batch_size = batch_size
        self.tracks_per_set = tracks_per_set
        self.seed = seed
        self.matched = matched
        self.set_shard(rank, world_size)
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a full epoch, wherever the current one starts."""
        return -(-sum(self.counts) // self.batch_size)

    def set_shard(self, rank: int, world_size: int) -> None:
        """Serves the `rank`-th of `world_size` processes."""
        check(world_size >= 1, "world_size", world_size, "1 or more")
        check(0 <= rank < world_size, "rank", rank, f"0 to {world_size - 1}")
        divides = self.batch_size % world_size == 0
        check(divides, "batch_size", self.batch_size, f"a multiple of {world_size=}")
        self.rank = rank
        self.world_size = world_size

    def set_epoch(self, epoch: int) -> None:
        """Goes to the first batch of `epoch`; stays where it is if that is the current epoch."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def set_step(self, global_step: int) -> None:
        """Goes to the batch that an uninterrupted run takes after `global_step` batches."""
        self.epoch, self.first_batch = divmod(global_step, len(self))

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
            share = np.split(batch, self.world_size)[self.rank]
            yield [(i, j) for i, j in share.tolist()]
