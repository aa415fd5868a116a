"""MUSDB18 as it is distributed: the tracks that a folder holds, and their sources, mono or stereo.

Every reader takes a bounded amount of memory, whatever a file claims: at most :data:`MAX_SECONDS`
of a track are kept, and WAV files are read, and mixed down to mono, piece by piece.
"""

from __future__ import annotations

import http.client
import math
import os
import shutil
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple, cast

import musdb
import numpy as np
import soundfile
import stempeg
import torch

from ..songs.audio import MAX_FRAMES, rate_ratio, resampled
from ..songs.containers import Part, find_data, has_successor
from ..utils.errors import printable
from ..utils.locks import locked
from .tracks import (
    FULL_SCALE,
    MAX_SECONDS,
    SAMPLE_RATE,
    SIDES,
    SOURCES,
    SUBSETS,
    FileName,
    Manifest,
    SourceName,
    Subset,
)

MIN_SAMPLES = 2048  # one kernel of the encoder
STEM_ENDING = ".stem.mp4"
AUDIO_ENDINGS = (".wav", ".flac")
STEMS = ("mixture", "drums", "bass", "other", "vocals")  # the order of the streams in a stem file
ACCOMPANIMENT = ("drums", "bass", "other")
MAX_RESIDUAL = 1e-3  # of the mixture's energy, where the mixture stands in for missing stems
MAX_CANCELLED = 1e-4  # of the channels' energy: if their mean has less, one is the other inverted
# Decoders give whole AAC frames (1024 samples) and drop or keep the encoder's priming frame, so
# that a sound stream may differ from its header by up to two frames. Exported stems differ by less.
LENGTH_TOLERANCE = 2 * 1024
RATES = (8000, 192000)  # Hz, lowest and highest that are resampled
MAX_CHANNELS = 8
PIECE = 2**20  # samples, over all channels, that are read at a time
SIZE = {"train": 100, "test": 50}  # songs of MUSDB18
SAMPLE_SIZE = {"train": 94, "test": 50}  # songs of musdb's 7-second sample
SAMPLE_SECONDS = 8  # the longest of them is shorter
DOWNLOAD = ".sinudae-download"  # folder of an unfinished download ...
OURS = "made by sinudae"  # ... and a file in it that tells that this module made the folder


# From pieces of shape (samples, channels), their label and their rate to a signal at 44.1 kHz.
Mix = Callable[[Iterable[np.ndarray], str, int], np.ndarray]


@dataclass(frozen=True)
class SourceTrack:
    """A track of MUSDB18; `path` is a stem file, or a folder of WAV or FLAC files."""

    key: str  # subset/name
    path: Path
    thirds: tuple[int, int] = (0, 3)  # the part of the track to take; by default, all of it
    with_sides: bool = False  # whether side signals are read as well

    @property
    def subset(self) -> Subset:
        return cast(Subset, self.key.split("/")[0])

    @property
    def name(self) -> str:
        return self.key.split("/")[1]

    def files(self) -> dict[str, Path]:
        """Returns the files to read: the stem file, or one file for each stem.

        Raises:
            ValueError: If there are two files of a stem.
        """
        return _stem_files(self.path) if self.path.is_dir() else {"stems": self.path}

    def state(self) -> dict[str, tuple[int, int]]:
        """Returns the size and time of modification (ns) of each file to read, by its name."""
        found = {path.name: path.stat() for path in self.files().values()}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


class Sources(NamedTuple):
    """A track's sources.

    Attributes:
        audio (dict): 16-bit samples of each file that a prepared track has, at 44.1 kHz.
        n_clipped (int): Samples that exceeded full scale.
        rates (set): Sample rates in Hz that were resampled from.
    """

    audio: dict[FileName, np.ndarray]
    n_clipped: int
    rates: set[int]


def list_tracks(root: Path) -> tuple[Literal["stems", "wav"], list[SourceTrack]]:
    """Finds the kind of a MUSDB18 folder and its tracks.

    Args:
        root (Path): Folder that holds `train` and `test`.

    Returns:
        ``"stems"`` or ``"wav"`` (one folder for each track), and the tracks, sorted by name.

    Raises:
        FileNotFoundError: If there is no track.
        OSError: If a folder cannot be read.
        ValueError: If there is no train track, or stem files and folders are mixed.
    """
    # musdb.DB probes every mixture while it lists them and raises at the first broken one; a
    # plain listing leaves each file to the reader that reports it.
    stems, folders = [], []
    for path in (path for subset in SUBSETS for path in _listed(root / subset)):
        key = f"{path.parent.name}/{path.name}"
        if path.name.lower().endswith(STEM_ENDING):
            stems.append(SourceTrack(key[: -len(STEM_ENDING)], path))
        elif path.is_dir():
            folders.append(SourceTrack(key, path))
    has_audio = any(_is_stem(path) for track in folders for path in _listed(track.path))
    if stems and has_audio:
        raise ValueError(f"{root} holds both stem files and WAV folders: expected one of them")
    if not stems and not has_audio:
        raise FileNotFoundError(
            f"no tracks found under {root}: expected {{train,test}}/*.stem.mp4 or "
            "{train,test}/<track>/vocals.wav (or .flac)"
        )
    tracks = stems or folders
    if not any(track.subset == "train" for track in tracks):
        raise ValueError(f"no train tracks under {root}: expected some in {root / 'train'}")
    return ("stems" if stems else "wav"), tracks


def _listed(folder: Path) -> list[Path]:
    """Returns the sorted visible content of a folder; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_stem(path: Path) -> bool:
    return path.stem.lower() in STEMS and path.suffix.lower() in AUDIO_ENDINGS and path.is_file()


def _stem_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a track's stems, whose names may be in upper or lower case."""
    files: dict[str, Path] = {}
    for path in filter(_is_stem, _listed(folder)):
        stem = path.stem.lower()
        if stem in files:
            raise ValueError(f"{folder} holds {files[stem].name} and {path.name}: expected one")
        files[stem] = path
    return files


def describe_split(manifest: Manifest) -> str:
    """Say how many songs of each subset are prepared, and how many the official split has.

    The split is that of musdb's 7-second sample if no song is as long as :data:`SAMPLE_SECONDS`,
    else that of MUSDB18. Of stempeg's excerpt only the numbers that are there are told.

    Args:
        manifest (Manifest): Manifest of the prepared data.

    Returns:
        str: e.g. ``93 train and 50 test tracks prepared, of 94 and 50 in musdb's 7-second sample: 1
        train track missing``
    """
    there: dict[str, int] = {subset: len(manifest.subset(subset)) for subset in SUBSETS}
    text = f"{there['train']} train and {there['test']} test tracks prepared"
    if manifest.source["kind"] == "stempeg":
        return text
    is_short = all(t.n_samples < SAMPLE_SECONDS * SAMPLE_RATE for t in manifest.tracks)
    name, size = ("musdb's 7-second sample", SAMPLE_SIZE) if is_short else ("MUSDB18", SIZE)
    text += f", of {size['train']} and {size['test']} in {name}"
    missing = [
        f"{n} {subset} track{'s' if n > 1 else ''}"
        for subset in SUBSETS
        if (n := size[subset] - there[subset]) > 0
    ]
    return f"{text}: {' and '.join(missing)} missing" if missing else text


def unusable_names(tracks: Iterable[SourceTrack]) -> dict[str, str]:
    """Returns, by key, the reasons why tracks cannot be prepared under their names.

    Names have to be UTF-8, because manifests are. Two names have to differ in more than upper and
    lower case or the Unicode form of accents, because some file systems ignore these.
    """
    reasons: dict[str, str] = {}
    folded: dict[str, str] = {}
    for track in tracks:
        path = printable(track.path)
        first = folded.setdefault(unicodedata.normalize("NFC", track.key).casefold(), track.key)
        if first != track.key:
            reasons[track.key] = f"{path}: its name is that of {first} but for case or accents"
        elif printable(track.key) != track.key:
            reasons[track.key] = f"{path}: its name is not UTF-8, rename it"
    return reasons


def read_sources(track: SourceTrack) -> Sources:
    """Reads a track's vocals and accompaniment (paper, Sec. 3), as 16-bit mono at 44.1 kHz.

    Each source is the mean of its channels, and the accompaniment is the sum of its stems. Stems of
    other rates are resampled. Their lengths may differ by :data:`LENGTH_TOLERANCE` samples, and all
    are cut to the shortest. A track `with_sides` has their side signals as well.

    Raises:
        ValueError: If the track cannot be used. The message is one line that names the file.
        OSError: If a file cannot be read.
    """
    path = track.path
    audio, rates = _read_both(track, _mid_and_side if track.with_sides else _mono)
    first, last = (len(audio["vocals"]) * third // 3 for third in track.thirds)
    if last - first < MIN_SAMPLES:
        raise ValueError(f"{path} has {last - first} samples, expected {MIN_SAMPLES} or more")
    signals: dict[FileName, np.ndarray] = {name: audio[name] for name in SOURCES}
    if track.with_sides:
        signals = {name: audio[name][:, 0] for name in SOURCES}
        signals |= {side: audio[name][:, 1] for name, side in zip(SOURCES, SIDES, strict=True)}
    sources: dict[FileName, np.ndarray] = {}
    n_clipped = 0
    for name, signal in signals.items():
        sources[name], clipped = _quantise(signal[first:last], f"{path}: {name}")
        n_clipped += clipped
        if name in SOURCES and not sources[name].any():
            raise ValueError(f"{path}: silent {name}, expected a sample other than zero")
    return Sources(sources, n_clipped, rates - {SAMPLE_RATE})


def read_stereo(track: SourceTrack) -> dict[SourceName, np.ndarray]:
    """Reads a track's vocals and accompaniment in two channels, at 44.1 kHz.

    The accompaniment is the sum of its stems; see :func:`read_sources` for what is the same.

    Returns:
        dict of float32 arrays of shape `(samples, 2)`, which may exceed full scale.

    Raises:
        ValueError: If the track cannot be used, or has more than two channels. The message is one
            line that names the file.
        OSError: If a file cannot be read.
    """
    return _read_both(track, _two_channels)[0]


def _read_both(track: SourceTrack, mix: Mix) -> tuple[dict[SourceName, np.ndarray], set[int]]:
    """Reads both sources and the rates of their files."""
    is_folder = track.path.is_dir()
    stems, rates = _read_folder(track, mix) if is_folder else _read_stem_file(track.path, mix)
    with np.errstate(over="ignore", invalid="ignore"):  # whoever reads checks that they are finite
        accompaniment = _accompaniment(stems, track.path)
    return {"vocals": stems["vocals"], "accompaniment": accompaniment}, rates


@contextmanager
def _reading(label: str, expected: str) -> Iterator[None]:
    """Turns the exceptions of libraries at a damaged file into a ValueError that names it."""
    try:
        yield
    except (RuntimeError, LookupError, TypeError, ValueError, Warning, OverflowError) as error:
        reason = getattr(error, "error_string", error)  # of libsndfile, without a path
        raise ValueError(f"{label} cannot be read, expected {expected}: {reason}") from error
    except stempeg.read.ffmpeg.Error as error:
        last = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last else error
        raise ValueError(f"{label} cannot be read, expected {expected}: {reason}") from error


def _check_format(label: str, rate: int, channels: int, seconds: float) -> None:
    """Checks the claims of a header before that much audio is read."""
    low, high = RATES
    if not low <= rate <= high:
        raise ValueError(f"{label} has a sample rate of {rate} Hz, expected {low} to {high} Hz")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"{label} has {channels} channels, expected 1 to {MAX_CHANNELS}")
    if not seconds <= MAX_SECONDS:
        raise ValueError(f"{label} lasts {seconds:.0f} s, expected at most {MAX_SECONDS} s a track")


def _check_lengths(lengths: dict[str, int]) -> int:
    """Returns the shortest length; raises ValueError if others are much longer."""
    longest = max(lengths, key=lengths.__getitem__)
    for label, n_samples in lengths.items():
        if n_samples < lengths[longest] - LENGTH_TOLERANCE:
            raise ValueError(
                f"{label} has {n_samples} samples where {longest} has {lengths[longest]}: "
                "truncated or incomplete, expected lengths that differ by at most "
                f"{LENGTH_TOLERANCE}"
            )
    return min(lengths.values())


def _mono(pieces: Iterable[np.ndarray], label: str, rate: int) -> np.ndarray:
    """Mixes pieces of shape (samples, channels) down to mono at 44.1 kHz."""
    means, n_samples, energy, energy_of_mean = [np.zeros(0, dtype=np.float32)], 0, 0.0, 0.0
    for piece in pieces:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = piece.mean(axis=1)
        if not np.isfinite(mean).all():
            raise ValueError(f"{label} has NaN or infinite samples, expected finite ones")
        energy += np.square(piece, dtype=np.float64).mean(axis=1).sum()
        energy_of_mean += np.square(mean, dtype=np.float64).sum()
        n_samples += len(mean)
        _check_format(label, rate, 1, n_samples / rate)
        means.append(mean)
    if energy_of_mean < MAX_CANCELLED * energy:
        raise ValueError(
            f"{label}: the channels cancel, as one is the other inverted: their mean has "
            f"{energy_of_mean / energy:.1g} of their energy, expected {MAX_CANCELLED:g} or more"
        )
    return _at_sample_rate(np.concatenate(means), rate)


def _mid_and_side(pieces: Iterable[np.ndarray], label: str, rate: int) -> np.ndarray:
    """Mixes pieces down as :func:`_mono`; (samples, 2), beside it half of left minus right."""
    sides = [np.zeros(0, dtype=np.float32)]

    def seen() -> Iterator[np.ndarray]:
        for piece in pieces:
            if piece.shape[1] > 2:
                raise ValueError(f"{label} has {piece.shape[1]} channels, expected 1 or 2")
            with np.errstate(over="ignore", invalid="ignore"):  # _mono checks that it is finite
                sides.append((piece[:, 0] - piece[:, -1]) / 2)
            yield piece

    mid = _mono(seen(), label, rate)
    return np.stack([mid, _at_sample_rate(np.concatenate(sides), rate)], axis=1)


def _two_channels(pieces: Iterable[np.ndarray], label: str, rate: int) -> np.ndarray:
    """Joins pieces of shape (samples, channels) to (samples, 2) at 44.1 kHz."""
    kept, n_samples = [np.zeros((0, 2), dtype=np.float32)], 0
    for piece in pieces:
        if piece.shape[1] > 2:
            raise ValueError(f"{label} has {piece.shape[1]} channels, expected 1 or 2")
        if not np.isfinite(piece).all():
            raise ValueError(f"{label} has NaN or infinite samples, expected finite ones")
        n_samples += len(piece)
        _check_format(label, rate, 1, n_samples / rate)
        kept.append(np.broadcast_to(piece, (len(piece), 2)))  # one channel goes to both
    return _at_sample_rate(np.concatenate(kept), rate)


def _at_sample_rate(audio: np.ndarray, rate: int) -> np.ndarray:
    """Resamples a signal of shape (samples, ...) to 44.1 kHz."""
    if rate == SAMPLE_RATE or not len(audio):
        return audio
    ratio = rate_ratio(rate, SAMPLE_RATE)
    signal = torch.from_numpy(np.ascontiguousarray(audio.T))  # (..., samples)
    blocks = resampled([signal], ratio, math.ceil(ratio * len(audio)))
    return torch.cat(list(blocks), dim=-1).numpy().T


def _read_audio_file(path: Path, mix: Mix) -> tuple[np.ndarray, int]:
    data = find_data(Part(path))
    if data is not None and (data.declared or 0) > data.available:  # libsndfile does not tell
        raise ValueError(
            f"{path} breaks off after {data.available} of {data.declared} bytes: truncated"
        )
    try:
        with _reading(str(path), "a WAV or FLAC file"):
            file = soundfile.SoundFile(os.fsencode(path))  # names need not be UTF-8
    except ValueError:
        _check_alone(path)  # libsndfile takes a second header in a WAV file for damage
        raise
    with file:
        rate, channels = file.samplerate, file.channels
        is_known = file.frames < MAX_FRAMES  # that of a stream is not
        _check_format(str(path), rate, channels, file.frames / rate if is_known else 0)
        _check_alone(path)  # last, because this reads all of the file
        audio = mix(_pieces(file, path), str(path), rate)
        if is_known and len(audio) < math.floor(rate_ratio(rate, SAMPLE_RATE) * file.frames):
            raise ValueError(f"{path} breaks off after {len(audio) / SAMPLE_RATE:.6g} s: truncated")
    return audio, rate


def _check_alone(path: Path) -> None:
    if has_successor(path):
        raise ValueError(f"{path} is followed by another file in it: expected one file")


def _pieces(file: soundfile.SoundFile, path: Path) -> Iterator[np.ndarray]:
    while True:
        with _reading(str(path), "a WAV or FLAC file"):
            piece = file.read(PIECE // file.channels, dtype="float32", always_2d=True)
        if not len(piece):
            return
        yield piece


def _read_folder(track: SourceTrack, mix: Mix) -> tuple[dict[str, np.ndarray], set[int]]:
    files = track.files()
    if "vocals" not in files:
        raise ValueError(f"{track.path}: missing stem(s) vocals.wav (or .flac)")
    read = {stem: _read_audio_file(files[stem], mix) for stem in STEMS if stem in files}
    n_samples = _check_lengths({str(files[stem]): len(audio) for stem, (audio, _) in read.items()})
    stems = {stem: audio[:n_samples] for stem, (audio, _) in read.items()}
    return stems, {rate for _, rate in read.values()}


def _read_stem_file(path: Path, mix: Mix) -> tuple[dict[str, np.ndarray], set[int]]:
    """Reads the stems of a stem file, stream by stream, without the mixture.

    If stempeg reads all streams at once, it fails where their lengths differ, and holds every
    stream in stereo.
    """
    labels = {stem: f"{path} ({stem})" for stem in STEMS}
    with _reading(str(path), "a stem file"):
        info = stempeg.Info(str(path))
        streams = [
            (int(s["index"]), int(s["sample_rate"]), int(s["channels"]), float(s["duration"]))
            for s in info.audio_streams
        ]
    if len(streams) != len(STEMS):
        expected = f"expected {len(STEMS)}: {', '.join(STEMS)}"
        raise ValueError(f"{path} has {len(streams)} audio stream(s), {expected}")
    stems = {}
    for stem, (index, rate, channels, seconds) in zip(STEMS, streams, strict=True):
        _check_format(labels[stem], rate, channels, seconds)
        if stem == "mixture":
            continue
        with _reading(str(path), "a stem file"):
            audio, _ = stempeg.read_stems(
                str(path),
                stem_id=index,  # a stem file also has a cover picture
                info=info,
                always_3d=True,
                dtype=np.float32,
                sample_rate=rate,
                duration=MAX_SECONDS + 1,  # a bound, where a stream is longer than its header
            )
        pieces = (audio[0, i : i + PIECE] for i in range(0, audio.shape[1], PIECE))
        stems[stem] = mix(pieces, labels[stem], rate)
    # stempeg ignores ffmpeg's exit status; a stream that breaks off is shorter than its header
    header = round(max(seconds for *_, seconds in streams) * SAMPLE_RATE)
    lengths = {labels[stem]: len(audio) for stem, audio in stems.items()}
    n_samples = min(_check_lengths({**lengths, "its header": header}), *lengths.values())
    return {stem: x[:n_samples] for stem, x in stems.items()}, {rate for _, rate, *_ in streams}


def _accompaniment(stems: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Sums the accompaniment stems, or completes them by the mixture where some are missing."""
    given = [stem for stem in ACCOMPANIMENT if stem in stems]
    missing = ", ".join(f"{stem}.wav" for stem in ACCOMPANIMENT if stem not in stems)
    if missing and "mixture" not in stems:
        raise ValueError(f"{path}: missing stem(s) {missing}, and there is no mixture.wav")
    if not given:
        return stems["mixture"] - stems["vocals"]
    accompaniment = reduce(np.add, [stems[stem] for stem in given])
    if missing:
        mixture = stems["mixture"]
        residual = mixture - stems["vocals"] - accompaniment
        if np.vdot(residual, residual) > MAX_RESIDUAL * np.vdot(mixture, mixture):
            raise ValueError(
                f"{path}: missing stem(s) {missing}, and the mixture is not the sum of the others"
            )
    return accompaniment


def _quantise(audio: np.ndarray, label: str) -> tuple[np.ndarray, int]:
    """Rounds to 16 bit; also returns how many samples exceeded full scale."""
    if not np.isfinite(audio).all():
        raise ValueError(f"{label} has samples that are too large, expected them near full scale")
    with np.errstate(over="ignore"):  # samples beyond 32-bit floats are clipped as well
        steps = np.rint(audio * FULL_SCALE)
    clipped = np.clip(steps, -FULL_SCALE, FULL_SCALE - 1)
    return clipped.astype(np.int16), int(np.count_nonzero(clipped != steps))


def download_sample(root: Path) -> None:
    """Downloads MUSDB18's 7-second sample through musdb, unless `root` has tracks already.

    Args:
        root (Path): Folder that will hold `train` and `test`.

    Raises:
        ValueError: If `root` holds a `test` but no `train`, or another file is in the way.
        OSError: If `root` cannot be written, another process downloads to it, or the download
            fails.
    """
    if (root / "train").is_dir():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {root}: {error.strerror}") from error
    with locked(root / f"{DOWNLOAD}.lock"):
        if not (root / "train").is_dir():  # another process may have made it meanwhile
            _download(root)


def _download(root: Path) -> None:
    part = root / DOWNLOAD
    for path in (root / "train", root / "test"):
        if os.path.lexists(path):
            raise ValueError(f"{path} is there already, and the download would replace it: move it")
    _remove_download(part)
    part.mkdir()
    (part / OURS).touch()
    try:
        musdb.DB(root=part, download=True, subsets=[])  # [] lists, and so probes, no track
        for subset in reversed(SUBSETS):  # train, which marks a finished download, last
            os.replace(part / subset, root / subset)
    except (OSError, http.client.HTTPException, zipfile.BadZipFile) as error:
        raise OSError(
            f"the sample of MUSDB18 cannot be downloaded to {root} ({error}): check the "
            "network, or give musdb18_dir a folder that holds MUSDB18"
        ) from error
    finally:
        _remove_download(part)


def _remove_download(part: Path) -> None:
    """Removes the folder of a download; raises ValueError if it was not made by this module."""
    if not os.path.lexists(part):
        return
    if part.is_symlink() or not (part / OURS).is_file():
        raise ValueError(f"{part} was not made by a download, and is in its way: move it")
    shutil.rmtree(part)
