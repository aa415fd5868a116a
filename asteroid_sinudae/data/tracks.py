"""Prepared tracks of MUSDB18 and the manifest that lists them, checked where they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import soundfile
from pydantic import AfterValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict  # before Python 3.12, pydantic refuses that of typing

from ..utils.checks import check
from ..utils.files import write_json
from ..utils.schema import validated_json

SAMPLE_RATE = 44100  # Hz
FULL_SCALE = 2**15  # of 16-bit samples
MAX_SECONDS = 3600  # length of a track
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
MAX_JSON = 2**24  # bytes of a manifest; the one of MUSDB18 has 100,000
WAV_HEADER = 44  # bytes before the samples, as libsndfile writes 16-bit mono
MANIFEST = "manifest.json"
Subset = Literal["train", "test"]
SourceName = Literal["vocals", "accompaniment"]
FileName = Literal["vocals", "accompaniment", "vocals_side", "accompaniment_side"]
FORMAT: Literal[2] = 2  # version of manifests: the first had no checksums and no such key
SUBSETS: tuple[Subset, ...] = ("train", "test")
SOURCES: tuple[SourceName, ...] = ("vocals", "accompaniment")
SIDES: tuple[FileName, ...] = ("vocals_side", "accompaniment_side")
AGAIN = "prepare the data again (stage 1)"

FORBID = with_config(ConfigDict(extra="forbid"))  # unknown keys are errors
Count = Annotated[int, Field(ge=0)]


def _folder_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"name must be that of a folder, got {name!r}")
    return name


@FORBID
@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file as it was written."""

    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, content: bytes) -> FileRecord:
        return cls(len(content), hashlib.sha256(content).hexdigest())

    @classmethod
    def read(cls, path: Path) -> FileRecord:
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _all_or_no_sides(files: dict) -> dict:
    if set(files) not in (set(SOURCES), {*SOURCES, *SIDES}):
        raise ValueError(f"files must be of both sources, with or without sides, got {[*files]}")
    return files


Files = Annotated[dict[FileName, FileRecord], AfterValidator(_all_or_no_sides)]


@FORBID
@dataclass(frozen=True)
class TrackRecord:
    """Entry of a track in a manifest; the track's folder is ``<subset>/<name>``."""

    name: Annotated[str, AfterValidator(_folder_name)]
    subset: Subset
    n_samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    n_clipped: Count
    files: Files


@dataclass(frozen=True)
class Track:
    """A prepared multi-track: mono 16-bit WAV files at 44.1 kHz, of equal length.

    There is one file for each of the :data:`SOURCES`, the mean of its channels, and, if they were
    asked for, one for each of the :data:`SIDES`, half of the left channel minus the right.

    Args:
        name (str): Name of the track, as in the source.
        subset (str): ``"train"`` or ``"test"``.
        n_samples (int): Length of each file, in samples.
        n_clipped (int): Number of samples, in all files together, that exceeded 16-bit full scale.
        folder (Path): Folder that holds the files.
        files (dict, optional): :class:`FileRecord` of each file, by its name. It is None until a
            manifest with the track is saved, which reads the files of the :data:`SOURCES`.
    """

    name: str
    subset: Subset
    n_samples: int
    n_clipped: int
    folder: Path
    files: Files | None = field(default=None, hash=False)

    def path(self, name: FileName) -> Path:
        return self.folder / f"{name}.wav"

    @property
    def vocals(self) -> Path:
        return self.path("vocals")

    @property
    def accompaniment(self) -> Path:
        return self.path("accompaniment")

    @property
    def has_sides(self) -> bool:
        return self.files is not None and self.files.keys() >= set(SIDES)

    @property
    def names(self) -> tuple[FileName, ...]:
        """Names of its files."""
        return (*SOURCES, *SIDES) if self.has_sides else SOURCES

    @classmethod
    def of(cls, record: TrackRecord, folder: Path) -> Track:
        """Makes the track of a record whose files are in `folder`."""
        return cls(folder=folder, **vars(record))

    @property
    def record(self) -> TrackRecord:
        """Entry of this track in a manifest. Reads the files if `files` is None."""
        files = self.files or {name: FileRecord.read(self.path(name)) for name in SOURCES}
        return TrackRecord(self.name, self.subset, self.n_samples, self.n_clipped, files)

    def fault(self, name: FileName, checksum: bool = False) -> str:
        """Returns what is wrong with a file, or an empty text if it is sound.

        Args:
            name (str): Among its `names`.
            checksum (bool): Whether to read the whole file, instead of its size and header only.
        """
        path, recorded = self.path(name), self.record.files[name]
        if not path.is_file():
            return f"{path} not found"
        size = path.stat().st_size
        if not size == recorded.size == WAV_HEADER + 2 * self.n_samples:
            whole = f"{recorded.size} for {self.n_samples} samples"
            return f"{path} is damaged, it has {size} bytes, expected {whole}"
        try:
            with open_prepared(path, self.n_samples):
                pass
        except ValueError as error:
            return str(error)
        if checksum and FileRecord.read(path) != recorded:
            return f"{path} is damaged, it has another checksum (SHA-256) than when it was written"
        return ""


@contextmanager
def open_prepared(path: Path, n_samples: int) -> Iterator[soundfile.SoundFile]:
    """Opens a prepared file for reading.

    Raises:
        ValueError: If the file is not mono, 16-bit and at 44.1 kHz, or has another length than
            `n_samples`.
    """
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be UTF-8
            layout = "{} channel(s) of {} at {} Hz, {} samples"
            found = layout.format(file.channels, file.subtype, file.samplerate, file.frames)
            expected = layout.format(1, "PCM_16", SAMPLE_RATE, n_samples)
            if found != expected:
                raise ValueError(f"{path} is damaged, it has {found}, expected {expected}")
            yield file
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be read as WAV ({error.error_string})") from error


@FORBID
class Source(TypedDict):
    """Origin of a prepared folder: a folder of MUSDB18, or stempeg's excerpt."""

    kind: Literal["stems", "wav", "stempeg"]
    path: str
    tracks: list[str]


@FORBID
class Skipped(TypedDict):
    """A track that could not be prepared."""

    name: str
    subset: Subset
    reason: str


@FORBID
@dataclass(frozen=True)
class _ManifestRecord:
    """The content of ``manifest.json``."""

    format: Literal[2]
    sample_rate: Literal[44100]
    source: Source
    tracks: list[TrackRecord]
    skipped: list[Skipped]
    versions: dict[str, str]
    created: str


@dataclass(frozen=True)
class Manifest:
    """Content of a prepared data folder, as recorded in its ``manifest.json``.

    Args:
        sample_rate (int): Sample rate in Hz.
        source (dict): Origin of the tracks: ``kind`` (``"stems"``, ``"wav"`` or
            ``"stempeg"``), ``path`` and ``tracks`` (a list of ``subset/name``).
        tracks (tuple[Track, ...]): The prepared tracks.
        skipped (tuple[dict, ...]): ``name``, ``subset`` and ``reason`` of each track that was left
            out.
        versions (dict): Versions of the packages that read the source.
        created (str): Date and time (UTC, ISO 8601).
    """

    sample_rate: int
    source: Source
    tracks: tuple[Track, ...]
    skipped: tuple[Skipped, ...]
    versions: dict[str, str]
    created: str

    @classmethod
    def read(cls, data_dir: str | Path) -> Manifest:
        """Reads the manifest of a prepared folder, but none of the files that it lists.

        Args:
            data_dir (str or Path): The folder given to :func:`prepare_musdb18`.

        Raises:
            FileNotFoundError: If there is no manifest.
            ValueError: If the manifest is damaged, or of another version of this package.
        """
        path = Path(data_dir) / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found: prepare the data first (stage 1)")
        text = read_bytes(path)
        if validated_json(dict[str, Any], text, str(path)).get("format", 1) == 1:
            raise ValueError(f"{path} is of a former version: {AGAIN}, what is there is kept")
        record = validated_json(_ManifestRecord, text, str(path))
        folders = [f"{track.subset}/{track.name}" for track in record.tracks]
        check(len(folders) == len(set(folders)), f"{path}: tracks", folders, "each listed once")
        tracks = zip(record.tracks, folders, strict=True)
        return cls(
            sample_rate=record.sample_rate,
            source=record.source,
            tracks=tuple(Track.of(track, path.parent / folder) for track, folder in tracks),
            skipped=tuple(record.skipped),
            versions=record.versions,
            created=record.created,
        )

    @classmethod
    def load(cls, data_dir: str | Path) -> Manifest:
        """Reads the manifest of a prepared folder and the sizes and headers of the listed files.

        Args:
            data_dir (str or Path): The folder given to :func:`prepare_musdb18`.

        Raises:
            FileNotFoundError: If there is no manifest, or a track that it lists lacks a file.
            ValueError: If the manifest is damaged, or of another version of this package, or a
                file has another size, format or length than when it was prepared.
        """
        manifest = cls.read(data_dir)
        for track in manifest.tracks:
            for name in track.names:
                if fault := track.fault(name):
                    exists = track.path(name).is_file()
                    kind = ValueError if exists else FileNotFoundError
                    raise kind(f"{fault}, listed in {Path(data_dir) / MANIFEST}: {AGAIN}")
        return manifest

    def save(self, data_dir: str | Path) -> None:
        """Writes ``manifest.json``, whole or not at all.

        It holds no absolute paths, so the folder can be moved.

        Raises:
            OSError: If it cannot be written, or a file of a track without `files` cannot be read.
        """
        tracks = [track.record for track in self.tracks]
        content = asdict(_ManifestRecord(FORMAT, **{**vars(self), "tracks": tracks}))
        write_json(Path(data_dir) / MANIFEST, content)

    def subset(self, name: str) -> tuple[Track, ...]:
        """Returns the tracks of ``"train"`` or ``"test"``."""
        check(name in SUBSETS, "subset", name, " or ".join(SUBSETS))
        return tuple(track for track in self.tracks if track.subset == name)


def read_bytes(path: Path) -> bytes:
    """Reads a small file. Raises ValueError if it has more than :data:`MAX_JSON` bytes."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise ValueError(f"{path} has {size} bytes, expected JSON of at most {MAX_JSON}")
    return path.read_bytes()
