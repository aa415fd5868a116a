"""Segments of prepared tracks, for training and for evaluation.

Training has segments of one second that overlap by half (Section 3 of Mimilakis, Drossos and
Schuller, "Unsupervised Interpretable Representation Learning for Singing Voice Separation", EUSIPCO
2020); :mod:`.sampler` has the order in which it sees them.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchaudio.functional import resample

from ..metrics import is_silent
from ..utils.checks import check
from ..utils.intervals import MAX_SEMITONES, interval
from ..utils.progress import progress
from .tracks import (
    AGAIN,
    FULL_SCALE,
    MAX_SAMPLES,
    SIDES,
    SOURCES,
    FileName,
    SourceName,
    Track,
    open_prepared,
)

MAX_GAIN = 60.0  # dB, of remixed segments
MAX_DRAWS = 20  # places of vocals, before silence is taken
SHARE_OF_SILENT = 0.1  # of the places without vocals that are drawn
SHARE_OF_MATCHED = 0.1  # of remixed segments


def segment_starts(n_samples: int, segment: int, hop: int) -> range:
    """Returns the first samples of the segments that cover a track.

    The last segment may reach over the end of the track.

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


def _read_all(
    tracks: Sequence[Track], names: Sequence[FileName], device: str
) -> dict[Path, torch.Tensor]:
    """Reads the files of these names; returns their 16-bit integers, by path."""
    needed = 2 * len(names) * sum(track.n_samples for track in tracks)  # bytes
    if device == "cuda":
        check(torch.cuda.is_available(), "keep_on", device, "cpu on this machine")
        limit = torch.cuda.mem_get_info()[0]  # free bytes
    else:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > limit:
        raise ValueError(
            f"keep_on={device} needs {needed / 1e9:.1f} GB, expected at most {limit / 1e9:.1f}"
        )
    files = [(track.path(name), track.n_samples) for track in tracks for name in names]
    return {
        path: torch.from_numpy(_read(path, n_samples, 0, n_samples, "int16")).to(device)
        for path, n_samples in progress(files, "Reading", unit="file")
    }


def _read(path: Path, n_samples: int, start: int, length: int, dtype: str) -> np.ndarray:
    """Reads `length` samples of a prepared file of `n_samples`, or as many as there are."""
    try:
        with open_prepared(path, n_samples) as file:
            file.seek(start)
            audio = file.read(min(length, n_samples - start), dtype=dtype)
            if len(audio) < min(length, n_samples - start):
                raise ValueError(f"{path} broke off while it was read")
    except ValueError as error:
        raise ValueError(f"{error}: {AGAIN}") from error
    return audio


class _Places(Sequence):
    """Starts of segments, track after track, as pairs of a track's label and a first sample.

    They are computed when asked for, because a short hop makes billions of them.
    """

    def __init__(self, labels: Sequence[Any], starts: Sequence[range]) -> None:
        self.labels, self.starts = labels, starts
        self.ends = list(accumulate(map(len, starts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(len(self))[i]]
        i = range(len(self))[i]
        track = bisect_right(self.ends, i)
        starts = self.starts[track]
        return self.labels[track], starts[i - self.ends[track] + len(starts)]


class _Segments(Dataset):
    """The segments of prepared tracks, track after track, read one at a time."""

    def __init__(
        self,
        tracks: Sequence[Track],
        segment: int = 44100,
        hop: int = 22050,
        keep_on: str | None = None,
        names: Sequence[FileName] = SOURCES,
    ) -> None:
        check(len(tracks) > 0, "tracks", tracks, "at least one track")
        check(segment <= MAX_SAMPLES, "segment", segment, f"at most {MAX_SAMPLES} (an hour)")
        self.segment, self.names = segment, names
        self.starts = [segment_starts(track.n_samples, segment, hop) for track in tracks]
        self.counts = [len(starts) for starts in self.starts]
        self.index = _Places(tracks, self.starts)
        self.kept = {} if keep_on is None else _read_all(tracks, names, keep_on)

    def __len__(self) -> int:
        return len(self.index)

    def _read(
        self, path: Path, n_samples: int, start: int, length: int | None = None
    ) -> torch.Tensor:
        """Reads a segment of shape (1, length), with zeros after the end of the track."""
        length = length or self.segment
        if path in self.kept:
            audio = self.kept[path][start : start + length].float() / FULL_SCALE
        else:
            audio = torch.from_numpy(_read(path, n_samples, start, length, "float32"))
        return F.pad(audio, [0, length - len(audio)])[None]  # (1, length)


class _Place(NamedTuple):
    """What becomes a remixed segment: `length` samples, played `up / down` times as fast."""

    track: Track
    start: int
    length: int
    up: int
    down: int


class TrainSegments(_Segments):
    """Overlapping segments, vocals and accompaniment chosen independently (paper, Sec. 3).

    An index is a pair ``(i, j)``, as :class:`.SetShuffleSampler` draws them, and gives segment
    ``i`` of the vocals and segment ``j`` of the accompaniment, two float32 tensors of shape
    ``(1, segment)``, padded with zeros at the end of a track. The length is the number of
    segments of one source.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment, in samples.
        hop (int): Distance between the starts of two segments, in samples.
        keep_on (str, optional): ``"cpu"`` or ``"cuda"``, the device that keeps all audio in
            memory, at two bytes a sample, and gives the segments; None (the default) to read each
            segment from disk.

    Raises:
        ValueError: If there is no track, a length is below 1, `segment` is over an hour, `hop`
            exceeds `segment`, or the audio does not fit on the device. Reading an item raises it if
            a file was changed since it was prepared.
    """

    def __getitem__(self, pair: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        (first, i), (second, j) = (self.index[position] for position in pair)
        vocals = self._read(first.vocals, first.n_samples, i)
        return vocals, self._read(second.accompaniment, second.n_samples, j)


class RemixedSegments(_Segments):
    """Vocals of one place and accompaniment of another, at random levels, drawn without end.

    Item ``n`` of seed ``s`` is always the same, so that a continued training hears what an
    uninterrupted one hears. Songs are drawn by their length, and places in them evenly. Levels are
    evenly distributed in dB, and signs are drawn too. Where a drawn place has no vocals, another is
    drawn in nine of ten cases. In one item of ten the accompaniment is that of the vocals' place,
    because real mixtures are in tune.

    Each source is the mean of its channels or, with `pan`, a mix of them: the mean plus half of
    their difference, weighed by a number from `-pan` to `pan` that is drawn evenly. At 1 and -1
    that is the left and the right channel.

    With `semitones`, each source is played faster or slower by an :func:`.interval` that is drawn
    evenly, from that many semitones down to as many up; its pitch, its tempo and its formants move
    together, and it stays in tune. Sources of the same place move by the same interval.

    The length is the number of items that have as many samples as the tracks.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment, in samples.
        gain_range (pair of float): Lowest and highest level, in dB.
        seed (int): Non-negative seed.
        keep_on (str, optional): See :class:`TrainSegments`.
        pan (float): From 0 to 1, see above; more than 0 needs the tracks' side signals.
        semitones (int): From 0 to 4, see above.

    Raises:
        ValueError: If there is no track, `segment` is below 1 or over an hour, `gain_range` is no
            range, `pan` or `semitones` is out of its range, a track has no side signals for `pan`,
            or the audio does not fit on the device. Reading an item raises it if a file was changed
            since it was prepared.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        segment: int,
        gain_range: tuple[float, float] = (-10.0, 4.0),
        seed: int = 0,
        keep_on: str | None = None,
        pan: float = 0.0,
        semitones: int = 0,
    ) -> None:
        check(0 <= pan <= 1, "pan", pan, "0 to 1")
        known = range(MAX_SEMITONES + 1)
        check(semitones in known, "semitones", semitones, f"an integer, 0 to {known[-1]}")
        without = [track.name for track in tracks if not track.has_sides]
        if pan and without:
            raise ValueError(
                f"{pan=} needs side signals, {without[0]!r} has none: {AGAIN}, with "
                "--stereo true in run.sh"
            )
        names = (*SOURCES, *SIDES) if pan else SOURCES
        super().__init__(tracks, segment, segment, keep_on, names)
        low, high = gain_range
        is_range = -MAX_GAIN <= low <= high <= MAX_GAIN
        check(is_range, "gain_range", gain_range, f"two of -{MAX_GAIN:g} to {MAX_GAIN:g} (dB)")
        check(seed >= 0, "seed", seed, "0 or more")
        self.tracks, self.gain_range, self.seed = tracks, gain_range, seed
        self.pan, self.semitones = pan, semitones
        lengths = np.array([track.n_samples for track in tracks], dtype=np.float64)
        self.shares = lengths / lengths.sum()

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([self.seed, number])
        for _ in range(MAX_DRAWS):
            place = self._place(rng)
            vocals = self._at(place, "vocals", rng)
            if not is_silent(vocals[None]) or rng.random() < SHARE_OF_SILENT:
                break
        is_matched = rng.random() < SHARE_OF_MATCHED
        other = place if is_matched else self._place(rng)
        accompaniment = self._at(other, "accompaniment", rng)
        return vocals * self._factor(rng), accompaniment * self._factor(rng)

    def _place(self, rng: np.random.Generator) -> _Place:
        """Draws a track, a speed, and the first sample of what becomes a segment."""
        track = self.tracks[rng.choice(len(self.tracks), p=self.shares)]
        up, down = 1, 1
        if self.semitones:
            up, down = interval(int(rng.integers(-self.semitones, self.semitones + 1)))
        length = -(-self.segment * up // down)
        start = int(rng.integers(max(track.n_samples - length, 0) + 1))
        return _Place(track, start, length, up, down)

    def _at(self, place: _Place, source: SourceName, rng: np.random.Generator) -> torch.Tensor:
        track, start, length, up, down = place
        audio = self._read(track.path(source), track.n_samples, start, length)
        if self.pan:
            side = track.path(SIDES[SOURCES.index(source)])
            factor = float(rng.uniform(-self.pan, self.pan))
            audio = audio + factor * self._read(side, track.n_samples, start, length)
        return resample(audio, up, down)[:, : self.segment]  # which leaves equal rates as they are

    def _factor(self, rng: np.random.Generator) -> float:
        """Draws a gain and a sign."""
        return float(10 ** (rng.uniform(*self.gain_range) / 20) * rng.choice([-1, 1]))


class TestSegments(_Segments):
    """Adjacent segments, with vocals and accompaniment of the same place in the song.

    Item ``i`` is ``(vocals, accompaniment)``, two float32 tensors of shape ``(1, segment)``, the
    last of a track padded with zeros; ``locations[i]`` is its track's name and first sample.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment, in samples.

    Raises:
        ValueError: If there is no track, or `segment` is below 1 or over an hour. Reading an item
            raises it if a file was changed since it was prepared.
    """

    __test__ = False  # tells pytest that this is not a class of tests

    def __init__(self, tracks: Sequence[Track], segment: int = 44100) -> None:
        super().__init__(tracks, segment, hop=segment)
        self.locations = _Places([track.name for track in tracks], self.starts)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        track, start = self.index[i]
        vocals = self._read(track.vocals, track.n_samples, start)
        return vocals, self._read(track.accompaniment, track.n_samples, start)
