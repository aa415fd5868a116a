"""Preparation of MUSDB18: every track decoded once, into mono vocals and accompaniment.

The sources are stem files, the WAV tree of MUSDB18-HQ, musdb's 7-second sample, or the excerpt
that comes with stempeg. What is written is read by :mod:`asteroid_sinudae.data`.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import os
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import musdb
import numpy as np
import soundfile
import stempeg
from tqdm import tqdm

from ._checks import check
from .data import FULL_SCALE, MANIFEST, SAMPLE_RATE, SUBSETS, Manifest, Track, read_json

logger = logging.getLogger(__name__)

MIN_SAMPLES = 2048  # one kernel of the encoder
STEM_ENDING = ".stem.mp4"
STEMS = ("mixture", "drums", "bass", "other", "vocals")  # the order of the streams in a stem file
ACCOMPANIMENT = ("drums", "bass", "other")
MAX_RESIDUAL = 1e-3  # of the mixture's energy, where the mixture stands in for missing stems
# Decoders give whole AAC frames (1024 samples) and drop or keep the encoder's priming frame, so
# that a sound stream may differ from its header by up to two frames.
STREAM_TOLERANCE = 2 * 1024


@dataclass(frozen=True)
class SourceTrack:
    """A track as found: `path` is a stem file or a folder of WAV files."""

    key: str  # subset/name
    path: Path
    thirds: tuple[int, int] = (0, 3)  # the part of the track to take: all of it


def list_tracks(root: Path) -> tuple[str, list[SourceTrack]]:
    """Finds the kind of a MUSDB18 folder and its tracks.

    Args:
        root (Path): Folder that holds `train` and `test`.

    Returns:
        ``"stems"`` or ``"wav"``, and the tracks in the order of their names.

    Raises:
        FileNotFoundError: If there is no track.
        ValueError: If there is no train track, or stem files and WAV folders are mixed.
    """
    # musdb.DB probes every mixture while it lists them and raises at the first broken one; a
    # plain listing leaves each file to the reader that reports it.
    stems, folders = [], []
    for path in (path for subset in SUBSETS for path in sorted((root / subset).glob("[!.]*"))):
        key = f"{path.parent.name}/{path.name}"
        if path.name.endswith(STEM_ENDING):
            stems.append(SourceTrack(key.removesuffix(STEM_ENDING), path))
        elif path.is_dir():
            folders.append(SourceTrack(key, path))
    has_wavs = any(any(track.path.glob("*.wav")) for track in folders)
    if stems and has_wavs:
        raise ValueError(f"{root} holds both stem files and WAV folders: expected one of them")
    if not stems and not has_wavs:
        raise FileNotFoundError(
            f"no tracks found under {root}: expected {{train,test}}/*.stem.mp4 or "
            "{train,test}/<track>/vocals.wav"
        )
    tracks = stems or folders
    if not any(track.key.startswith("train/") for track in tracks):
        raise ValueError(f"no train tracks under {root}: expected some in {root / 'train'}")
    return ("stems" if stems else "wav"), tracks


def _check_rate(label: str, rate: int) -> None:
    if rate != SAMPLE_RATE:
        raise ValueError(f"{label} has a sample rate of {rate} Hz, expected {SAMPLE_RATE} Hz")


def _check_lengths(lengths: dict[str, int], tolerance: int) -> None:
    longest = max(lengths, key=lengths.__getitem__)
    for label, n_samples in lengths.items():
        if n_samples < lengths[longest] - tolerance:
            raise ValueError(
                f"{label} has {n_samples} samples where {longest} has {lengths[longest]}: "
                "truncated or incomplete"
            )


def _downmix(audio: np.ndarray, label: str) -> np.ndarray:
    """(samples, channels) -> (samples,), the mean of the channels."""
    if not np.isfinite(audio).all():
        raise ValueError(f"{label} has NaN or infinite samples, expected finite ones")
    return audio.mean(axis=1)


def _read_wav_folder(folder: Path) -> dict[str, np.ndarray]:
    if not (folder / "vocals.wav").is_file():
        raise ValueError(f"{folder}: missing stem(s) vocals.wav")
    stems = {}
    for path in (folder / f"{stem}.wav" for stem in STEMS):
        if not path.is_file():
            continue
        try:
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} cannot be read, expected a WAV file: {error}") from error
        _check_rate(str(path), rate)
        stems[path.stem] = _downmix(audio, str(path))
    # libsndfile gives what is left of a truncated file without an error
    _check_lengths({f"{folder / stem}.wav": len(x) for stem, x in stems.items()}, tolerance=0)
    return stems


def _read_stem_file(path: Path) -> dict[str, np.ndarray]:
    """Reads all but the mixture, stream by stream: all at once, stempeg fails where lengths differ
    and holds every stream in stereo."""
    labels = {stem: f"{path} ({stem})" for stem in STEMS}
    stems = {}
    try:
        info = stempeg.Info(str(path))
        if info.nb_audio_streams != len(STEMS):
            expected = f"expected {len(STEMS)}: {', '.join(STEMS)}"
            raise ValueError(f"{path} has {info.nb_audio_streams} audio stream(s), {expected}")
        for position, stem in enumerate(STEMS):
            _check_rate(labels[stem], info.sample_rate(position))
        for position, stem in enumerate(STEMS[1:], start=1):
            stream = info.audio_stream_idx()[position]  # a stem file also has a cover picture
            audio, _ = stempeg.read_stems(
                str(path), stem_id=stream, info=info, always_3d=True, dtype=np.float32
            )
            stems[stem] = _downmix(audio[0], labels[stem])
    except (stempeg.read.ffmpeg.Error, RuntimeError, Warning) as error:
        raise ValueError(f"{path} cannot be read, expected a stem file: {error}") from error
    # stempeg ignores ffmpeg's exit status; a stream that breaks off is shorter than its header
    seconds = max(float(stream.get("duration", 0)) for stream in info.audio_streams)
    lengths = {labels[stem]: len(x) for stem, x in stems.items()}
    _check_lengths({**lengths, "its header": round(seconds * SAMPLE_RATE)}, STREAM_TOLERANCE)
    n_samples = min(lengths.values())
    return {stem: x[:n_samples] for stem, x in stems.items()}


def _accompaniment(stems: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Sums the accompaniment stems, or completes them by the mixture where some are missing."""
    given = [stem for stem in ACCOMPANIMENT if stem in stems]
    missing = ", ".join(f"{stem}.wav" for stem in ACCOMPANIMENT if stem not in stems)
    if missing and "mixture" not in stems:
        raise ValueError(f"{path}: missing stem(s) {missing}, and there is no mixture.wav")
    if not given:
        return stems["mixture"] - stems["vocals"]
    accompaniment = sum(stems[stem] for stem in given)
    if missing:
        mixture = stems["mixture"]
        residual = mixture - stems["vocals"] - accompaniment
        if np.vdot(residual, residual) > MAX_RESIDUAL * np.vdot(mixture, mixture):
            raise ValueError(
                f"{path}: missing stem(s) {missing}, and the mixture is not the sum of the others"
            )
    return accompaniment


def _quantise(audio: np.ndarray) -> tuple[np.ndarray, int]:
    """Rounds to 16 bit; also returns how many samples exceeded full scale."""
    steps = np.rint(audio * FULL_SCALE)
    clipped = np.clip(steps, -FULL_SCALE, FULL_SCALE - 1)
    return clipped.astype(np.int16), int(np.count_nonzero(clipped != steps))


def _read_sources(track: SourceTrack) -> tuple[dict[str, np.ndarray], int]:
    """Reads a track's vocals and accompaniment as 16-bit mono, and the number of clipped samples.

    Raises ValueError or OSError, in one line that names the file, if the track cannot be used.
    """
    path = track.path
    stems = _read_wav_folder(path) if path.is_dir() else _read_stem_file(path)
    audio = {"vocals": stems["vocals"], "accompaniment": _accompaniment(stems, path)}
    first, last = (len(stems["vocals"]) * third // 3 for third in track.thirds)
    if last - first < MIN_SAMPLES:
        raise ValueError(f"{path} has {last - first} samples, expected {MIN_SAMPLES} or more")
    sources, n_clipped = {}, 0
    for name, samples in audio.items():
        sources[name], clipped = _quantise(samples[first:last])
        n_clipped += clipped
        if not sources[name].any():
            raise ValueError(f"{path}: silent {name}, expected a sample other than zero")
    return sources, n_clipped


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Makes an OSError (full disk, no permission) name the folder that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(error.errno, f"cannot write prepared data in {folder}: {reason}") from error


def _write_wav(path: Path, samples: np.ndarray) -> None:
    buffer = io.BytesIO()  # written by Python, a full disk is an OSError that says so
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    path.write_bytes(buffer.getbuffer())


def _prepare_track(
    track: SourceTrack, data_dir: Path, origin: dict
) -> tuple[SourceTrack, str | None]:
    """Prepares one track; returns it with the reason if it has to be skipped."""
    try:
        sources, n_clipped = _read_sources(track)
    except (ValueError, OSError) as error:
        return track, " ".join(str(error).split())
    folder = data_dir / track.key
    part = folder.with_name(f".{folder.name}.part")
    record = {"n_samples": len(sources["vocals"]), "n_clipped": n_clipped, "source": origin}
    try:
        with _writing(data_dir):
            part.mkdir(parents=True)
            for name, samples in sources.items():
                _write_wav(part / f"{name}.wav", samples)
            (part / "track.json").write_text(json.dumps(record), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)  # one that has lost a file
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return track, None


def _prepare_all(
    tracks: list[SourceTrack], data_dir: Path, origin: dict, n_workers: int
) -> Iterator[tuple[SourceTrack, str | None]]:
    """Yields what `_prepare_track` returns for each track, in order."""
    prepare = partial(_prepare_track, data_dir=data_dir, origin=origin)
    if n_workers == 1:
        yield from map(prepare, tracks)
        return
    context = get_context("spawn")  # a fork would copy the locks of PyTorch's threads
    # Ctrl-C is for the parent: the workers end the tracks that they are at, the others are dropped
    ignore = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    pool = ProcessPoolExecutor(n_workers, context, **ignore)
    try:
        yield from pool.map(prepare, tracks)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared_tracks(data_dir: Path, origin: dict) -> dict[str, Track]:
    """Lists the complete tracks of `data_dir` by subset/name."""
    tracks = {}
    for path in data_dir.glob("*/*/track.json"):
        record = read_json(path)
        source = record.pop("source")
        if source != origin:
            raise ValueError(
                f"{data_dir} was prepared from {source['kind']} {source['path']}, not from "
                f"{origin['kind']} {origin['path']}: remove {data_dir} or choose another data_dir"
            )
        folder = path.parent
        track = Track(folder.name, folder.parent.name, folder=folder, **record)
        if not track.missing_files():
            tracks[f"{track.subset}/{track.name}"] = track
    return tracks


def download_sample(root: Path) -> None:
    """Downloads MUSDB18's 7-second sample through musdb, unless `root` has tracks already.

    Args:
        root (Path): Folder that will hold `train` and `test`.

    Raises:
        OSError: If `root` cannot be written, or the download fails.
    """
    if (root / "train").is_dir():
        return
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as part:
        try:
            musdb.DB(root=part, download=True, subsets=[])  # [] lists, and so probes, no track
        except (OSError, http.client.HTTPException, zipfile.BadZipFile) as error:
            raise OSError(
                f"the sample of MUSDB18 cannot be downloaded to {root} ({error}): check the "
                "network, or give musdb18_dir a folder that holds MUSDB18"
            ) from error
        for subset in reversed(SUBSETS):  # train, which marks a finished download, last
            os.replace(Path(part) / subset, root / subset)


def _find_source(data_dir: Path, musdb18_dir: str | Path | None) -> tuple[dict, list[SourceTrack]]:
    """Returns the kind and path of the source, and its tracks."""
    if musdb18_dir is None:
        path = Path(stempeg.example_stem_path())
        parts = {"train": (0, 2), "test": (2, 3)}
        name = path.name.removesuffix(STEM_ENDING)
        tracks = [SourceTrack(f"{subset}/{name}", path, part) for subset, part in parts.items()]
        return {"kind": "stempeg", "path": path.name}, tracks
    target = data_dir.resolve()
    root = Path(musdb18_dir).expanduser().resolve()
    if root == target:
        raise ValueError(f"data_dir={str(data_dir)!r}: expected another folder than musdb18_dir")
    kind, tracks = list_tracks(root)
    return {"kind": kind, "path": str(root)}, tracks


def prepare_musdb18(
    data_dir: str | Path,
    musdb18_dir: str | Path | None = None,
    strict: bool = False,
    n_workers: int | None = None,
) -> Manifest:
    """Writes MUSDB18 as mono vocals and accompaniment, once (paper, Sec. 3).

    Each track becomes ``data_dir/<subset>/<name>/{vocals,accompaniment}.wav`` (the mean of the
    channels, 16-bit PCM, 44.1 kHz; the accompaniment is drums + bass + other), and
    ``data_dir/manifest.json`` lists them. What is prepared already is kept: a finished folder is
    returned as it is, an interrupted run or a source that has gained tracks is continued, and
    tracks that were skipped earlier are tried again.

    Args:
        data_dir (str or Path): Folder to write.
        musdb18_dir (str, Path or None): MUSDB18, as stem files (``{train,test}/*.stem.mp4``) or
            as the WAV tree of MUSDB18-HQ
            (``{train,test}/<track>/{mixture,vocals,drums,bass,other}.wav``, in which the mixture
            may stand in for missing accompaniment stems). ``None``: the 6-second excerpt that
            comes with stempeg, its first two thirds as train, the rest as test.
        strict (bool): Raise at the first unusable track. Otherwise it is reported, skipped and
            listed in the manifest.
        n_workers (int or None): Processes that decode, the number of CPUs by default; 1 decodes
            without another process.

    Returns:
        The manifest of `data_dir`.

    Raises:
        FileNotFoundError: If there is no track in `musdb18_dir`.
        ValueError: If `data_dir` was prepared from another source, no train track is usable, or
            with `strict` a track is not.
        OSError: If `data_dir` cannot be written, or ffmpeg is missing.
    """
    check(n_workers is None or n_workers >= 1, "n_workers", n_workers, "1 or more, or None")
    data_dir = Path(data_dir).expanduser()
    origin, tracks = _find_source(data_dir, musdb18_dir)
    if origin["kind"] != "wav" and not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise OSError("ffmpeg not found: expected ffmpeg and ffprobe on PATH to read stem files")
    source = {**origin, "tracks": [track.key for track in tracks]}

    with _writing(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        for part in data_dir.glob("*/.*.part"):  # left by a run that was killed
            shutil.rmtree(part)
    prepared = _prepared_tracks(data_dir, origin)
    missing = [track for track in tracks if track.key not in prepared]
    if not missing and (data_dir / MANIFEST).is_file():
        manifest = Manifest.load(data_dir)
        if manifest.source == source:
            return manifest

    skipped = []
    n_workers = max(1, min(n_workers or os.cpu_count() or 1, len(missing)))
    with closing(_prepare_all(missing, data_dir, origin, n_workers)) as results:
        bar = tqdm(results, "Preparing MUSDB18", total=len(missing), unit="track")
        for track, reason in bar:
            if reason and strict:
                raise ValueError(reason)
            if reason:
                logger.warning("skipped: %s", reason)
                subset, name = track.key.split("/")
                skipped.append({"name": name, "subset": subset, "reason": reason})
    if skipped:
        logger.warning("%d of %d tracks skipped", len(skipped), len(tracks))

    prepared = _prepared_tracks(data_dir, origin)
    manifest = Manifest(
        sample_rate=SAMPLE_RATE,
        source=source,
        tracks=tuple(prepared[track.key] for track in tracks if track.key in prepared),
        skipped=tuple(skipped),
        versions={name: version(name) for name in ("musdb", "stempeg", "soundfile")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if not manifest.subset("train"):
        raise ValueError(f"no usable train track in {origin['path']}: {skipped[0]['reason']}")
    n_clipped = sum(track.n_clipped for track in manifest.tracks)
    if n_clipped:
        logger.warning("%d samples exceeded 16-bit full scale and were clipped", n_clipped)
    with _writing(data_dir):
        manifest.save(data_dir)
    return manifest
