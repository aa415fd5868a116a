"""BSSEval v4 of many tracks, in parallel processes, kept in files.

Each model and track has a JSON file in museval's own format and layout, so that an interrupted run
continues and museval's tools read it.
"""

import hashlib
import logging
import math
import os
import pickle
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import pandas as pd
import torch
from museval import EvalStore, MethodStore, json2df
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from ..data.musdb18 import SourceTrack
from ..data.tracks import SAMPLE_RATE, SOURCES, SourceName, Track
from ..masks import check_threshold
from ..models.model_files import model_digest
from ..utils.checks import check
from ..utils.files import atomic_path
from ..utils.progress import progress
from ..utils.schema import validated_json
from .bsseval import FRAME, NotScorable, score_track
from .estimates import Model

logger = logging.getLogger(__name__)


class Scores(NamedTuple):
    """Scores of several representations or separators on the same tracks.

    Attributes:
        store (museval.MethodStore): frame by frame, in dB; NaN where a source is silent.
        silent_frames (dict): for each scored track, in how many frames (`"frames"` in all) the
            true `"vocals"`, `"accompaniment"` and `"either"` of them are silent.
        left_out (dict): for each track that cannot be scored the reason.
        failed (dict): for each `"model, track"` that failed the reason; the track is not in
            `store` for any model.
    """

    store: MethodStore
    silent_frames: dict[str, dict[str, int]]
    left_out: dict[str, str]
    failed: dict[str, str]


class _Metrics(TypedDict):
    """The :data:`METRICS` of a frame, in dB."""

    SDR: float
    SIR: float
    SAR: float
    ISR: float


class _SilentFrames(TypedDict):
    """Numbers of frames of a track in which a source is silent."""

    vocals: int
    accompaniment: int
    either: int
    frames: int


class _Frame(TypedDict):
    """A frame in a file of museval's; a metric without a value is NaN."""

    time: float
    duration: float
    metrics: _Metrics


class _Target(TypedDict):
    """A source in a file of museval's."""

    name: SourceName
    frames: Annotated[list[_Frame], Field(min_length=1)]


class _Record(TypedDict):
    """A track's scores in museval's format, with what :func:`evaluate_tracks` adds."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    targets: Annotated[list[_Target], Field(min_length=len(SOURCES), max_length=len(SOURCES))]
    settings: dict[str, Any]
    silent_frames: _SilentFrames


class _Job(NamedTuple):
    """One track for one model, and the file that its scores go to."""

    name: str  # of the model, in tables
    track: Track | SourceTrack
    path: Path
    settings: dict


def audio_digest(track: Track | SourceTrack) -> str:
    """Return the SHA-256 of a track's files."""
    if isinstance(track, SourceTrack):
        files = list(track.files().values())
    else:
        files = [track.vocals, track.accompaniment]
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def evaluate_tracks(
    models: dict[str, Model],
    tracks: Sequence[Track | SourceTrack],
    output_dir: str | Path,
    threshold: float = 0.5,
    duration: float | None = None,
    n_workers: int | None = None,
) -> Scores:
    """Score models on tracks by BSSEval v4, in parallel processes, with progress.

    Each model and track has a file `output_dir/<name>/<subset>/<track>.json`, as museval writes
    it, that appears whole or not at all. It also holds the settings that it was computed with.
    Files that are there are not computed again, so that an interrupted run continues. A track that
    fails is reported, and tried again by the next run.

    Args:
        models (dict): Representations or separators as for :func:`.score_track`, by their names in
            tables.
        tracks (sequence of Track or SourceTrack): Prepared tracks, which are mono, or tracks of
            MUSDB18 in stereo, of different names.
        output_dir (str or Path): Folder of the files.
        threshold (float): Threshold of :func:`.binary_mask`.
        duration (float, optional): Seconds from the start of each track; all of it if None.
        n_workers (int, optional): Processes, each on one core; by default one a core. With 1,
            tracks are computed in this process. A process takes 3.4 GB for a track of four minutes,
            most of it in museval.

    Returns:
        Scores

    Raises:
        ValueError: if an argument is out of its range, `output_dir` has scores of other settings, a
            worker is killed, or no track can be scored.
        OSError: if a track cannot be read or `output_dir` cannot be written.
    """
    check_threshold(threshold)
    check(n_workers is None or n_workers >= 1, "n_workers", n_workers, "1 or more, or None")
    is_valid = duration is None or (math.isfinite(duration) and duration >= FRAME)
    check(is_valid, "duration", duration, f"finite and at least {FRAME:g} s, or None")
    if not tracks:
        raise ValueError("no test tracks to evaluate, expected at least one")
    jobs = _list_jobs(models, tracks, Path(output_dir), threshold, duration)
    missing = [job for job in jobs if not _is_done(job)]
    n_workers = max(1, min(n_workers or os.cpu_count() or 1, len(missing)))
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    with closing(_work_all(missing, models, n_workers)) as outcomes:
        n_done = len(jobs) - len(missing)
        for job, error in progress(outcomes, "museval", len(jobs), initial=n_done, unit="track"):
            if isinstance(error, NotScorable):
                left_out[job.track.name] = str(error)
            elif error is not None:
                failed[f"{job.name}, {job.track.name}"] = str(error)
    for name, reason in left_out.items():
        logger.warning("%s left out: %s", name, reason)
    for name, reason in failed.items():
        logger.warning("%s failed: %s", name, reason)
    scores = _collect(jobs, left_out, failed)
    _report_frames(scores)
    return scores


def _list_jobs(
    models: dict[str, Model],
    tracks: Sequence[Track | SourceTrack],
    output_dir: Path,
    threshold: float,
    duration: float | None,
) -> list[_Job]:
    names = [track.name for track in tracks]
    for name in (*models, *names):  # they name files
        is_plain = name == Path(name).name and name not in ("", "..")
        check(is_plain, "name", name, "that of a file, not a path")
    check(len(set(names)) == len(names), "tracks", names, "of different names")
    for name, model in models.items():
        is_rate = model.sample_rate == SAMPLE_RATE
        check(is_rate, f"sample_rate of {name}", model.sample_rate, f"{SAMPLE_RATE} Hz")
    digests = {name: model_digest(model) for name, model in models.items()}
    jobs = []
    for track in tracks:
        audio = audio_digest(track)
        for name in models:
            path = output_dir / name / track.subset / f"{track.name}.json"
            settings = dict(
                model=digests[name], audio=audio, threshold=threshold, duration=duration
            )
            jobs.append(_Job(name, track, path, settings))
    return jobs


def _read_record(path: Path) -> _Record:
    """Read a track's scores; raises a ValueError that names the file and what is wrong in it."""
    try:
        record = validated_json(_Record, path.read_bytes(), str(path))
        names = [target["name"] for target in record["targets"]]
        check(sorted(names) == sorted(SOURCES), f"{path}: targets", names, f"{SOURCES}")
        n_frames = record["silent_frames"]["frames"]
        for name, target in zip(names, record["targets"], strict=True):
            n_scored = len(target["frames"])
            check(n_scored == n_frames, f"{path}: frames of {name}", n_scored, f"{n_frames}")
    except ValueError as error:
        raise ValueError(f"{error}: remove it") from error
    return record


def _is_done(job: _Job) -> bool:
    """Tell whether a job's file is there; raises a ValueError if it has other settings."""
    if not job.path.exists():
        return False
    known = _read_record(job.path)["settings"]
    others = [key for key, value in job.settings.items() if known.get(key, ...) != value]
    if others:
        raise ValueError(
            f"{job.path.parents[1]} has scores of another {', '.join(others)} "
            f"({job.path.name}): remove it, or choose another folder"
        )
    return True


def _work(job: _Job, models: dict[str, Model]) -> tuple[_Job, Exception | None]:
    """Write a job's file, or return why its track cannot be scored."""
    options = {key: job.settings[key] for key in ("threshold", "duration")}
    try:
        store = score_track(models[job.name], job.track, **options)
    except NotScorable as error:
        return job, error
    except Exception as error:  # one track must not end the others
        # Some exceptions do not survive the way from a worker process.
        return job, RuntimeError(" ".join(f"{type(error).__name__}: {error}".split()))
    store.scores["settings"] = job.settings
    with atomic_path(job.path) as temporary:
        store.save(temporary)
    return job, None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; processes that it starts hold it back as well."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_models: dict[str, Model] = {}  # of a worker process


def _start_worker(pickled_models: bytes) -> None:
    # Ctrl-C ends a worker at once and in silence, also one pressed before this.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    _models.update(pickle.loads(pickled_models))


def _work_in_worker(job: _Job) -> tuple[_Job, Exception | None]:
    return _work(job, _models)


def _work_all(
    jobs: list[_Job], models: dict[str, Model], n_workers: int
) -> Generator[tuple[_Job, Exception | None], None, None]:
    """Yield the result of `_work` for each job, in order."""
    if n_workers == 1:
        yield from (_work(job, models) for job in jobs)
        return
    # Pickled here, the weights go by value: torch would share them through /dev/shm, which is
    # small in containers. A fork would copy the locks of PyTorch's threads.
    arguments = (pickle.dumps(models),)
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _start_worker, arguments)
    try:
        with _interrupts_held():  # also by the workers, which start here
            outcomes = pool.map(_work_in_worker, jobs)
        yield from outcomes
    except BrokenProcessPool as error:
        raise ValueError(
            f"one of n_workers={n_workers} processes was killed, perhaps for want of memory: "
            "run it again to continue, with fewer"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(jobs: list[_Job], left_out: dict[str, str], failed: dict[str, str]) -> Scores:
    """Collect the scores of the tracks that every model has."""
    absent = {job.track.name for job in jobs if not job.path.exists()}
    scored = [job for job in jobs if job.track.name not in absent]
    if not scored:
        reason = next(iter({**failed, **left_out}.items()))
        raise ValueError(f"no track can be scored, {len(absent)} tried: {': '.join(reason)}")
    methods = {job.name: EvalStore() for job in scored}
    silent_frames: dict[str, dict[str, int]] = {}
    for job in scored:
        record = _read_record(job.path)
        methods[job.name].add_track(json2df(record, job.track.name))
        silent_frames[job.track.name] = cast(dict[str, int], record["silent_frames"])
    store = MethodStore()
    for name, method in methods.items():
        store.add_evalstore(method, name)
    return Scores(store, silent_frames, left_out, failed)


def _report_frames(scores: Scores) -> None:
    """Log a line for each track with frames that have no scores."""
    for track, counts in scores.silent_frames.items():
        where = [f"{name} silent in {counts[name]}" for name in SOURCES if counts[name]]
        if where:
            frames = f"{counts['frames']} frames ({FRAME:g} s each)"
            logger.warning("%s: %s of %s, left out of the medians", track, ", ".join(where), frames)
    for key, n_missing in _frames_without_scores(scores.store).items():
        name, track = cast(tuple[str, str], key)
        counts = scores.silent_frames[track]
        if n_missing > counts["either"]:
            logger.warning(
                "%s, %s: no scores in %d of %d frames, left out of the medians: the estimate is "
                "silent or exact in some",
                name,
                track,
                n_missing,
                counts["frames"],
            )


def _frames_without_scores(store: MethodStore) -> pd.Series:
    """Count the frames in which a metric is NaN, by method and track."""
    missing = (
        store.df["score"].isna().groupby([store.df[key] for key in ("method", "track", "time")])
    )
    return missing.any().groupby(["method", "track"]).sum()
