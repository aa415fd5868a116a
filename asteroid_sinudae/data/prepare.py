"""Preparation of MUSDB18: every track decoded once, into mono vocals and accompaniment.

:mod:`asteroid_sinudae.data.segments` reads the prepared files. Nothing is deleted or replaced that
this module did not write: a track's folder holds a record, ``track.json``, which is written before
the audio that it describes. If a folder has files but no record, they are left alone and reported.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import soundfile
import stempeg
from pydantic import Field
from typing_extensions import TypedDict

from ..utils.checks import check
from ..utils.errors import one_line, printable
from ..utils.files import atomic_path, write_json
from ..utils.locks import locked
from ..utils.processes import die_with_parent
from ..utils.progress import progress
from ..utils.schema import validated_json
from .musdb18 import STEM_ENDING, SourceTrack, list_tracks, read_sources, unusable_names
from .tracks import (
    FORBID,
    FORMAT,
    MANIFEST,
    MAX_SAMPLES,
    SAMPLE_RATE,
    SIDES,
    SOURCES,
    SUBSETS,
    Count,
    FileName,
    FileRecord,
    Manifest,
    Skipped,
    Source,
    Track,
    TrackRecord,
    open_prepared,
    read_bytes,
)

logger = logging.getLogger(__name__)

RECORD = "track.json"
LOCK = ".sinudae-prepare.lock"
# Errors that come from the name of a track's folder, so that other tracks can still be prepared.
NAME_ERRORS = {
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "EINVAL", "EILSEQ", "EEXIST", "ENOTDIR", "EISDIR")
}


@FORBID
class _Origin(TypedDict):
    """Origin of the prepared tracks."""

    kind: Literal["stems", "wav", "stempeg"]
    path: str


@FORBID
@dataclass(frozen=True)
class _Record:
    """The content of ``track.json``.

    Attributes:
        track (TrackRecord): The entry of the track in the manifest.
        origin (dict): Where the track was read from.
        state (dict): Size and time of modification of the files that were read.
    """

    format: Literal[2]
    track: TrackRecord
    origin: _Origin
    state: dict[str, tuple[int, int]]


@FORBID
@dataclass(frozen=True)
class _FormerRecord:
    """The content of ``track.json`` as earlier versions wrote it."""

    n_samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    n_clipped: Count
    source: _Origin

    @property
    def origin(self) -> _Origin:
        return self.source


class _Outcome(NamedTuple):
    """Result of preparing a track.

    Attributes:
        track (SourceTrack): The track.
        skipped (str): The reason why it could not be prepared; empty if it was.
        again (str): The reason why it was prepared again; empty if it was not.
        rates (set): Sample rates in Hz that were resampled from.
    """

    track: SourceTrack
    skipped: str = ""
    again: str = ""
    rates: frozenset[int] = frozenset()


def _read_record(folder: Path) -> _Record | _FormerRecord | None:
    """Returns the record of a track's folder, or None. Raises ValueError if it is damaged."""
    path = folder / RECORD
    if path.is_symlink() or not path.is_file():
        return None
    text = read_bytes(path)
    if "format" not in validated_json(dict[str, Any], text, str(path)):
        return validated_json(_FormerRecord, text, str(path))
    return validated_json(_Record, text, str(path))


def _records(data_dir: Path) -> dict[Path, _Record | _FormerRecord]:
    """Returns the readable records of a prepared folder, by the folders of their tracks."""
    records: dict[Path, _Record | _FormerRecord] = {}
    for path in (path for subset in SUBSETS for path in data_dir.glob(f"{subset}/*/{RECORD}")):
        with suppress(ValueError, OSError):
            if record := _read_record(path.parent):
                records[path.parent] = record
    return records


def _check_origin(data_dir: Path, records: dict, origin: _Origin) -> None:
    for record in records.values():
        if record.origin != origin:
            raise ValueError(
                f"{data_dir} was prepared from {record.origin['kind']} {record.origin['path']}, "
                f"not from {origin['kind']} {origin['path']}: remove {data_dir} or choose another "
                "data_dir"
            )


def _why_again(
    track: SourceTrack, folder: Path, record: _Record, state: dict, checksum: bool = False
) -> str:
    """Returns why a prepared track has to be prepared again; empty if it need not."""
    if f"{record.track.subset}/{record.track.name}" != track.key:
        return f"{folder} holds {record.track.subset}/{record.track.name}"
    if record.state != state:
        return f"{track.path} has changed"
    prepared = Track.of(record.track, folder)
    return next(filter(None, (prepared.fault(name, checksum) for name in prepared.names)), "")


def _has_sides(record: _Record | _FormerRecord | None) -> bool:
    return isinstance(record, _Record) and not record.track.files.keys().isdisjoint(SIDES)


def _is_newer(track: Track) -> bool:
    """Tells whether audio is newer than its record, so that checksums have to be compared."""
    recorded = (track.folder / RECORD).stat().st_mtime_ns
    return any(track.path(name).stat().st_mtime_ns > recorded for name in track.names)


def _finished_track(track: SourceTrack, folder: Path, record: Any) -> Track | None:
    """Returns a track that needs no work, as far as can be told without reading its audio."""
    try:
        is_whole = isinstance(record, _Record) and (_has_sides(record) or not track.with_sides)
        if is_whole and not _why_again(track, folder, record, track.state()):
            prepared = Track.of(record.track, folder)
            return None if _is_newer(prepared) else prepared
    except (ValueError, OSError):
        pass  # the preparation of this track reports the error
    return None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Makes an OSError (disk full, no permission) name the folder that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(error.errno, f"cannot write prepared data in {folder}: {reason}") from error


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()  # Python writes it later, and raises a clear OSError if the disk is full
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == content


def _check_ours(
    folder: Path, audio: Mapping[FileName, bytes], record: _Record | _FormerRecord | None
) -> None:
    """Raises a ValueError if a file would be replaced that this module did not write.

    What no record names, for instance because it was damaged, must equal the new files. A record
    that cannot be read is replaced if it stands beside both sources.
    """
    recorded: Iterable[str] = ()
    if record is not None:
        recorded = record.track.files if isinstance(record, _Record) else SOURCES
    foreign = []
    for name, content in audio.items():
        path = folder / f"{name}.wav"
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected a file or nothing: move it away")
        if name not in recorded and os.path.lexists(path) and not _holds(path, content):
            foreign.append(path.name)
    if record is None and os.path.lexists(folder / RECORD):
        if not all(_holds(folder / f"{name}.wav", audio[name]) for name in SOURCES):
            foreign.insert(0, RECORD)
    if foreign:
        raise ValueError(
            f"{folder} holds {', '.join(foreign)} without a {RECORD} of prepare's that names it: "
            "move that away or choose another data_dir"
        )


def _write_track(folder: Path, audio: Mapping[FileName, bytes], record: _Record) -> None:
    """Writes a track's record, and those of its files that are not there yet.

    If the disk is full, nothing is written. If the process is killed in between, a file is missing
    afterwards, which the next preparation notices.
    """
    new = {name: each for name, each in audio.items() if not _holds(folder / f"{name}.wav", each)}
    with ExitStack() as stack:  # the files take their places in reverse order, the record first
        for name, content in new.items():
            stack.enter_context(atomic_path(folder / f"{name}.wav")).write_bytes(content)
        temporary = stack.enter_context(atomic_path(folder / RECORD))
        temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
        for name in new:
            (folder / f"{name}.wav").unlink(missing_ok=True)


def _kept(
    track: SourceTrack, folder: Path, record: _Record | _FormerRecord, origin: _Origin, state: dict
) -> tuple[_Record | None, str]:
    """Returns the record of a prepared track if its audio is sound, or else the fault."""
    try:
        if isinstance(record, _Record):
            again = _why_again(track, folder, record, state, checksum=True)
            return (None if again else record), again
        for name in SOURCES:
            with open_prepared(folder / f"{name}.wav", record.n_samples):
                pass
        files: dict[FileName, FileRecord] = {
            name: FileRecord.read(folder / f"{name}.wav") for name in SOURCES
        }
    except (ValueError, OSError) as error:
        return None, one_line(error)
    described = TrackRecord(track.name, track.subset, record.n_samples, record.n_clipped, files)
    return _Record(FORMAT, described, origin, state), ""


def _prepare_track(track: SourceTrack, data_dir: Path, origin: _Origin) -> _Outcome:
    """Prepares one track, or keeps what is there."""
    folder = data_dir / track.key
    try:
        found, again = _read_record(folder), ""
        has_sides = _has_sides(found)
    except (ValueError, OSError) as error:
        found, again = None, one_line(error)
        has_sides = any(os.path.lexists(folder / f"{name}.wav") for name in SIDES)
    track = replace(track, with_sides=track.with_sides or has_sides)  # what is there stays
    try:
        state = track.state()  # taken before the files are read, so that later changes show
        if found is not None:
            kept, again = _kept(track, folder, found, origin, state)
            if kept is not None and (_has_sides(kept) or not track.with_sides):
                with _writing(data_dir):  # even if unchanged, to make it newer than the audio
                    write_json(folder / RECORD, asdict(kept))
                return _Outcome(track)
        sources = read_sources(track)
        audio = {name: _wav(samples) for name, samples in sources.audio.items()}
        _check_ours(folder, audio, found)
    except (ValueError, OSError) as error:
        return _Outcome(track, skipped=one_line(error))
    files = {name: FileRecord.of(content) for name, content in audio.items()}
    n_samples = len(sources.audio["vocals"])
    described = TrackRecord(track.name, track.subset, n_samples, sources.n_clipped, files)
    try:
        with _writing(data_dir):
            _write_track(folder, audio, _Record(FORMAT, described, origin, state))
    except OSError as error:
        if error.errno not in NAME_ERRORS:
            raise
        return _Outcome(track, skipped=one_line(error))
    return _Outcome(track, again=again, rates=frozenset(sources.rates))


def _start_worker(parent: int) -> None:
    die_with_parent(parent)
    # Ctrl-C is handled by the parent: workers finish their current tracks, the rest is dropped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepare_all(
    tracks: list[SourceTrack], data_dir: Path, origin: _Origin, n_workers: int
) -> Generator[_Outcome, None, None]:
    """Yields the result of `_prepare_track` for each track, in order."""
    prepare = partial(_prepare_track, data_dir=data_dir, origin=origin)
    if n_workers == 1:
        yield from map(prepare, tracks)
        return
    context = get_context("spawn")  # a fork would copy the locks of PyTorch's threads
    pool = ProcessPoolExecutor(
        n_workers, context, initializer=_start_worker, initargs=(os.getpid(),)
    )
    try:
        yield from pool.map(prepare, tracks)
    except (BrokenProcessPool, MemoryError) as error:
        raise OSError(
            "a process that decodes was killed, as the system does when memory runs out: run it "
            f"again to continue, with fewer of them (num_workers, {n_workers} now)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _find_source(
    data_dir: Path, musdb18_dir: str | Path | None
) -> tuple[_Origin, list[SourceTrack]]:
    """Returns the origin of the data and its tracks."""
    if musdb18_dir is None:
        path = Path(stempeg.example_stem_path())
        parts = {"train": (0, 2), "test": (2, 3)}
        name = path.name.removesuffix(STEM_ENDING)
        tracks = [SourceTrack(f"{subset}/{name}", path, part) for subset, part in parts.items()]
        return {"kind": "stempeg", "path": path.name}, tracks
    root = Path(os.path.realpath(Path(musdb18_dir).expanduser()))
    kind, tracks = list_tracks(root)
    _check_apart(root, tracks, data_dir)
    return {"kind": kind, "path": printable(root)}, tracks


def _check_apart(root: Path, tracks: list[SourceTrack], data_dir: Path) -> None:
    """Raises a ValueError if the source and the target overlap in any folder.

    Folders are compared by device and inode, which stay the same through links, mounts and file
    systems that ignore case.
    """
    sources = [root, *(root / subset for subset in SUBSETS), *(track.path for track in tracks)]
    subsets = [data_dir / subset for subset in SUBSETS]
    targets = [data_dir, *subsets, *(data_dir / track.key for track in tracks)]

    @cache
    def identity(path: Path) -> tuple[int, int] | None:
        try:
            stat = path.stat()
        except OSError:  # not there yet
            return None
        return stat.st_dev, stat.st_ino

    for inner, outer in ((targets, sources), (sources, targets)):
        known = {identity(path): path for path in outer} | {None: None}
        for path in inner:
            real = Path(os.path.realpath(path))
            for parent in (real, *real.parents):
                if other := known.get(identity(parent)):
                    raise ValueError(
                        f"data_dir={str(data_dir)!r} and musdb18_dir={str(root)!r} overlap, {path} "
                        f"is {other} or in it: expected another folder than musdb18_dir, apart "
                        "from it"
                    )


def _check_links(data_dir: Path, tracks: list[SourceTrack]) -> None:
    """Raises a ValueError if a file would be written through a link."""
    subsets = [data_dir / subset for subset in SUBSETS]
    for path in (data_dir / LOCK, *subsets, *(data_dir / track.key for track in tracks)):
        if path.is_symlink():
            raise ValueError(f"{path} is a link, through which nothing is written: remove it")


def prepare_musdb18(
    data_dir: str | Path,
    musdb18_dir: str | Path | None = None,
    strict: bool = False,
    n_workers: int | None = None,
    with_sides: bool = False,
) -> Manifest:
    """Prepares MUSDB18: mono vocals and accompaniment of every track (paper, Sec. 3).

    Each track becomes ``data_dir/<subset>/<name>/{vocals,accompaniment}.wav`` (the mean of the
    channels, 16-bit PCM, 44.1 kHz; the accompaniment is drums + bass + other), with a record beside
    them, and ``data_dir/manifest.json`` lists them. Tracks that are prepared already are kept: an
    interrupted run is continued, new tracks of the source are added, and tracks that were skipped
    earlier are tried again. A track is prepared again if one of its files is missing or damaged, or
    if its source has changed in size or time of modification. The checksum of a file is compared
    only if the file is newer than its record; :func:`check_prepared` compares all checksums.

    Args:
        data_dir (str or Path): Folder to write, apart from `musdb18_dir`. Other files in it are
            left alone.
        musdb18_dir (str, Path or None): MUSDB18, as stem files (``{train,test}/*.stem.mp4``) or
            as the tree of MUSDB18-HQ
            (``{train,test}/<track>/{mixture,vocals,drums,bass,other}.wav``, or ``.flac``, in any
            case, where the mixture may stand in for missing accompaniment stems). The stems of a
            track may differ by 2048 samples in length, and sample rates of 8 to 192 kHz are
            resampled; a track may last an hour. If ``None``, the 6-second excerpt that comes with
            stempeg is used: its first two thirds as train, the rest as test.
        strict (bool): Whether to raise at the first unusable track. Otherwise such tracks are
            reported, skipped and listed in the manifest.
        n_workers (int or None): Number of processes that decode; by default, the number of CPUs.
            With 1, this process decodes.
        with_sides (bool): Whether to write ``{vocals,accompaniment}_side.wav`` as well, half of the
            left channel minus the right, from which with the mean any mix of the two channels can
            be made. Tracks that were prepared without them get them, and those that have them
            keep them. A track with more than two channels has none, and cannot be used.

    Returns:
        The manifest of `data_dir`.

    Raises:
        FileNotFoundError: If there is no track in `musdb18_dir`.
        BlockingIOError: If another process prepares `data_dir`.
        ValueError: If `data_dir` was prepared from another source, overlaps it, or holds a
            manifest of another kind, no train track is usable, or with `strict` a track is not.
        OSError: If `data_dir` cannot be written, ffmpeg is missing, or a process was killed.
    """
    check(n_workers is None or n_workers >= 1, "n_workers", n_workers, "1 or more, or None")
    data_dir = Path(data_dir).expanduser()
    origin, tracks = _find_source(data_dir, musdb18_dir)
    tracks = [replace(track, with_sides=with_sides) for track in tracks]
    if origin["kind"] != "wav" and not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise OSError("ffmpeg not found: expected ffmpeg and ffprobe on PATH to read stem files")
    _check_links(data_dir, tracks)
    if manifest := _finished(data_dir, origin, tracks):
        return manifest
    with ExitStack() as stack:
        with _writing(data_dir):
            data_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(data_dir / LOCK))
        # Another process may have prepared the data while this one waited for the lock.
        finished = _finished(data_dir, origin, tracks)
        return finished or _prepare(data_dir, origin, tracks, strict, n_workers)


def _source_of(origin: _Origin, tracks: list[SourceTrack]) -> Source:
    return {**origin, "tracks": [printable(track.key) for track in tracks]}


def _finished_tracks(data_dir: Path, tracks: list[SourceTrack], records: dict) -> list[Track]:
    """Returns the tracks that need no work and that a manifest, if there is one, agrees with."""
    try:
        listed = {track.folder: track for track in Manifest.read(data_dir).tracks}
    except (ValueError, OSError):
        listed = {}
    folders = [data_dir / track.key for track in tracks]
    found = (_finished_track(t, f, records.get(f)) for t, f in zip(tracks, folders, strict=True))
    return [track for track in found if track and listed.get(track.folder, track) == track]


def _finished(data_dir: Path, origin: _Origin, tracks: list[SourceTrack]) -> Manifest | None:
    """Returns the manifest of a folder in which nothing is left to do, or None."""
    records = _records(data_dir)
    _check_origin(data_dir, records, origin)
    finished = _finished_tracks(data_dir, tracks, records)
    if len(finished) < len(tracks) or not (data_dir / MANIFEST).is_file():
        return None
    try:
        manifest = Manifest.load(data_dir)
    except ValueError:  # it is written again
        return None
    is_that = manifest.source == _source_of(origin, tracks) and manifest.tracks == tuple(finished)
    return manifest if is_that else None


def _check_manifest(data_dir: Path, records: dict) -> None:
    """Reports a damaged manifest; raises a ValueError if this module did not write it."""
    if not os.path.lexists(data_dir / MANIFEST):
        return
    try:
        Manifest.read(data_dir)
    except (ValueError, OSError) as error:
        if not records:
            raise ValueError(
                f"{one_line(error)}; as there is no prepared track, it is left alone: move it away "
                "or choose another data_dir"
            ) from error
        logger.warning("%s is written again: %s", MANIFEST, one_line(error))


def _prepare(
    data_dir: Path,
    origin: _Origin,
    tracks: list[SourceTrack],
    strict: bool,
    n_workers: int | None,
) -> Manifest:
    """Prepares the tracks that are left to do, and writes the manifest."""
    records = _records(data_dir)
    _check_manifest(data_dir, records)
    finished = {f"{t.subset}/{t.name}" for t in _finished_tracks(data_dir, tracks, records)}
    skipped = unusable_names(tracks)
    for reason in skipped.values():
        _report_skipped(reason, strict)
    missing = [t for t in tracks if t.key not in finished and t.key not in skipped]
    n_workers = max(1, min(n_workers or os.cpu_count() or 1, len(missing)))
    rates = []
    with closing(_prepare_all(missing, data_dir, origin, n_workers)) as outcomes:
        for outcome in progress(outcomes, "Preparing MUSDB18", len(missing), unit="track"):
            if outcome.skipped:
                _report_skipped(outcome.skipped, strict)
                skipped[outcome.track.key] = outcome.skipped
            if outcome.again:
                logger.warning("prepared again: %s: %s", outcome.track.key, outcome.again)
            rates += [outcome.rates] if outcome.rates else []
    if rates:
        names = ", ".join(f"{rate} Hz" for rate in sorted(set().union(*rates)))
        logger.warning("%d tracks resampled from %s to %d Hz", len(rates), names, SAMPLE_RATE)
    if skipped:
        logger.warning("%d of %d tracks skipped", len(skipped), len(tracks))
    manifest = _make_manifest(data_dir, origin, tracks, skipped)
    if not manifest.subset("train"):
        reason = next(iter(skipped.values()))
        raise ValueError(f"no usable train track in {origin['path']}: {reason}")
    n_clipped = sum(track.n_clipped for track in manifest.tracks)
    if n_clipped:
        logger.warning("%d samples exceeded 16-bit full scale and were clipped", n_clipped)
    with _writing(data_dir):
        manifest.save(data_dir)
    return manifest


def _report_skipped(reason: str, strict: bool) -> None:
    if strict:
        raise ValueError(reason)
    logger.warning("skipped: %s", reason)


def _recorded_track(folder: Path) -> Track:
    record = _read_record(folder)
    if not isinstance(record, _Record):
        raise ValueError(f"{folder / RECORD} was removed or replaced while data were prepared")
    return Track.of(record.track, folder)


def _make_manifest(
    data_dir: Path, origin: _Origin, tracks: list[SourceTrack], skipped: dict[str, str]
) -> Manifest:
    kept = [data_dir / track.key for track in tracks if track.key not in skipped]
    left_out = [
        Skipped(name=printable(t.name), subset=t.subset, reason=printable(skipped[t.key]))
        for t in tracks
        if t.key in skipped
    ]
    return Manifest(
        sample_rate=SAMPLE_RATE,
        source=_source_of(origin, tracks),
        tracks=tuple(map(_recorded_track, kept)),
        skipped=tuple(left_out),
        versions={name: version(name) for name in ("musdb", "stempeg", "soundfile")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def check_prepared(data_dir: str | Path) -> list[str]:
    """Reads all files of a prepared folder and compares them with the manifest, by checksum.

    A damaged file gets a new time of modification, which makes :func:`prepare_musdb18` prepare its
    track again.

    Args:
        data_dir (str or Path): The folder given to :func:`prepare_musdb18`.

    Returns:
        A list with one line for each file that is missing or damaged, which tells the fault.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If the manifest is damaged, or of another version of this package.
    """
    tracks = Manifest.read(data_dir).tracks
    files = [(track, name) for track in tracks for name in track.names]
    with ThreadPoolExecutor() as pool:
        faults = pool.map(lambda file: file[0].fault(file[1], checksum=True), files)
        found = list(progress(faults, "Checking", len(files), unit="file"))
    for (track, name), fault in zip(files, found, strict=True):
        if fault:
            with suppress(OSError):  # not there, or not ours to write
                os.utime(track.path(name))
    return [fault for fault in found if fault]
