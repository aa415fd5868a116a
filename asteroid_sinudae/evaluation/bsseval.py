"""BSSEval v4 of a whole test track, through museval: SDR, SIR, SAR and ISR frame by frame.

Vocals and accompaniment are estimated together, by a binary mask that knows the true sources and
by its complement (Section 3), or by a separator that hears the mixture only, and scored together.
Channels are estimated each by itself, but that separators hear mid and side, as for whole songs.
They are scored together as museval does.
"""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import soundfile
import torch
from museval import MethodStore, TrackStore, eval_mus_track

from ..data.musdb18 import SourceTrack, read_stereo
from ..data.tracks import SAMPLE_RATE, SOURCES, SourceName, Track
from ..songs.streams import by_mid_and_side
from ..utils.checks import check
from .estimates import Model, Separator, masked_estimates, separated_estimates

METRICS = ("SDR", "SIR", "SAR", "ISR")
FRAME = 1.0  # s: museval's window and hop


class NotScorable(ValueError):
    """A track, or an estimate of it, for which BSSEval v4 defines no score."""


def score_track(
    model: Model,
    track: Track | SourceTrack,
    threshold: float = 0.5,
    duration: float | None = None,
) -> TrackStore:
    """Score a track's estimates by BSSEval v4, through :func:`museval.eval_mus_track`.

    Args:
        model (Representation or Separator): What makes the estimates, on the CPU.
        track (Track or SourceTrack): Prepared track, which is mono, or one of MUSDB18 in stereo.
        threshold (float): Threshold of :func:`.binary_mask`.
        duration (float, optional): Seconds from the start of the track; all of it if None.

    Returns:
        :class:`museval.TrackStore`, whose `scores` also have `silent_frames`, see
        :class:`Scores`.

    Raises:
        NotScorable: if the track is shorter than a frame, no frame has both sources, or an
            estimate is silent throughout.
        ValueError: if a file of the track has not the length that it should have, or an estimate
            is not finite.
        OSError, soundfile.LibsndfileError: if one cannot be read.
    """
    references = read_sources(track, duration)
    silent_frames = count_silent_frames(references)
    vocals, accompaniment = (
        torch.from_numpy(references[source].T)[:, None] for source in SOURCES
    )  # (channels, 1, time)
    if isinstance(model, Separator):
        separator = partial(by_mid_and_side, model) if len(vocals) == 2 else model
        estimates = separated_estimates(separator, vocals + accompaniment)
    else:
        estimates = masked_estimates(model, vocals, accompaniment, threshold)
    for source, estimate in estimates.items():
        if not estimate.isfinite().all():
            raise ValueError(f"the estimate of the {source} is not finite")
        if not estimate.any():
            raise NotScorable(f"the estimate of the {source} is silent throughout")
    musdb_track = SimpleNamespace(  # what museval reads of a track of musdb
        name=track.name,
        rate=SAMPLE_RATE,
        targets={name: SimpleNamespace(audio=audio) for name, audio in references.items()},
    )
    arrays = {source: estimate[:, 0].T.numpy() for source, estimate in estimates.items()}
    store = eval_mus_track(musdb_track, arrays, win=FRAME, hop=FRAME)
    store.scores["silent_frames"] = silent_frames
    return store


def read_sources(
    track: Track | SourceTrack, duration: float | None = None
) -> dict[SourceName, np.ndarray]:
    """Read the true sources of a track, as float32 of shape `(samples, channels)`.

    Args:
        track (Track or SourceTrack): Prepared track, of one channel, or one of MUSDB18, of two.
        duration (float, optional): Seconds from the start of the track; all of it if None.

    Raises:
        ValueError: if a file has not the length that it should have, or cannot be used.
        OSError: if a file cannot be read.
    """
    if isinstance(track, SourceTrack):
        audio = read_stereo(track)
    else:
        audio = {source: _read_prepared(getattr(track, source), track) for source in SOURCES}
    n_samples = None if duration is None else round(duration * SAMPLE_RATE)
    return {source: samples[:n_samples] for source, samples in audio.items()}


def _read_prepared(path: Path, track: Track) -> np.ndarray:
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    check(
        len(samples) == track.n_samples,
        f"length of {path}",
        len(samples),
        f"{track.n_samples} samples",
    )
    return samples


def count_silent_frames(references: dict[SourceName, np.ndarray]) -> dict[str, int]:
    """Count museval's frames, and those in which a source is zero throughout.

    Args:
        references (dict): For each source its samples, of shape `(samples, channels)`.

    Returns:
        dict: the number for each source, for `"either"` of them, and that of all `"frames"`.

    Raises:
        NotScorable: if there is no whole frame, or none in which both sources sound.
    """
    size = int(FRAME * SAMPLE_RATE)
    length = len(next(iter(references.values())))
    n_frames = length // size
    if n_frames == 0:
        raise NotScorable(f"{length / SAMPLE_RATE:.3f} s, shorter than a frame of {FRAME:g} s")
    silent: dict[str, np.ndarray] = {
        source: np.all(audio[: n_frames * size].reshape(n_frames, -1) == 0, axis=1)  # (frames,)
        for source, audio in references.items()
    }
    for source, frames in silent.items():
        if frames.all():
            raise NotScorable(f"{source} silent throughout")
    silent["either"] = silent["vocals"] | silent["accompaniment"]
    if silent["either"].all():
        raise NotScorable(f"no frame of {FRAME:g} s in which both sources sound")
    return {**{name: int(frames.sum()) for name, frames in silent.items()}, "frames": n_frames}


def summary(store: MethodStore) -> pd.DataFrame:
    """Take the median over tracks of the median over frames, as museval aggregates.

    Args:
        store (museval.MethodStore): Frame by frame, see :class:`Scores`.

    Returns:
        :class:`pandas.DataFrame` of the :data:`METRICS` in dB, indexed by `representation`, in
        order of appearance, and `source`.
    """
    table = store.agg_frames_tracks_scores().unstack("metric")[list(METRICS)]
    rows = pd.MultiIndex.from_product([store.df["method"].unique(), SOURCES])
    return table.reindex(rows.set_names(["representation", "source"])).rename_axis(columns=None)
