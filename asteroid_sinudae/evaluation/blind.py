"""Evaluation of separators, which hear the mixture only, segment by segment.

A separator is a masker between the encoder and the decoder of a representation, with Asteroid's
interface: waveforms of shape `(batch, 1, time)` in, `(batch, n_src, time)` out. Everything here is
the same for all of them.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from ..data.segments import TestSegments
from ..data.tracks import SOURCES, SourceName, Track
from ..metrics import is_silent, si_sdr
from .estimates import Estimator, check_finite, mixture_estimator, named
from .segments import Segments, audible_segments
from .tables import MIXTURE


@torch.no_grad()
def evaluate_separation(
    estimators: dict[str, Estimator],
    tracks: Sequence[Track],
    segment: int = 88200,
    batch_size: int = 4,
    device: torch.device | str = "cpu",
) -> tuple[pd.DataFrame, int]:
    """Compute SI-SDR of both sources, and its gain over the mixture, segment by segment.

    Args:
        estimators (dict): Estimators by their names in tables; the mixture is added.
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment in samples. Segments do not overlap.
        batch_size (int): Segments at a time.
        device (:class:`torch.device` or str): Where the estimators compute.

    Returns:
        tuple of a :class:`pandas.DataFrame`, one row a segment and estimator, and the number of
        segments that were left out because one of the sources is silent, see :func:`.is_silent`.
        The columns are `track`, `start` (samples), `representation` (the estimator's name in
        tables) and, for each of the :data:`SOURCES`, `si_sdr_<source>` and `si_sdri_<source>`
        (dB).

    Raises:
        ValueError: if there are no tracks, or no segment has both sources; or naming the
            estimator whose estimates are not finite.
    """
    if not tracks:
        raise ValueError("no test tracks to evaluate, expected at least one")
    segments = TestSegments(tracks, segment)
    estimators = {**estimators, MIXTURE: mixture_estimator}
    frames = []
    for batch in map(_with_accompaniment, audible_segments(segments, batch_size, device)):
        references = dict(zip(SOURCES, (batch.vocals, batch.accompaniment), strict=True))
        unprocessed = _si_sdrs(mixture_estimator(batch.vocals, batch.accompaniment), references)
        where = pd.DataFrame(batch.locations, columns=["track", "start"])
        for name, estimator in estimators.items():
            estimates = estimator(batch.vocals, batch.accompaniment)
            with named(name):
                check_finite("estimates", *estimates.values())
            found = _si_sdrs(estimates, references)
            metrics = {f"si_sdr_{source}": found[source].tolist() for source in SOURCES}
            for source in SOURCES:
                metrics[f"si_sdri_{source}"] = (found[source] - unprocessed[source]).tolist()
            frames.append(where.assign(representation=name, **metrics))
    results = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if results.empty:
        raise ValueError(f"none of {len(segments)} test segments has both sources")
    return results, len(segments) - len(results) // len(estimators)


def _with_accompaniment(batch: Segments) -> Segments:
    """Return the segments of a batch whose accompaniment is not silent."""
    keep = ~is_silent(batch.accompaniment)
    locations = [where for where, kept in zip(batch.locations, keep.tolist(), strict=True) if kept]
    return Segments(batch.vocals[keep], batch.accompaniment[keep], locations)


def _si_sdrs(
    estimates: Mapping[str, torch.Tensor], references: Mapping[SourceName, torch.Tensor]
) -> dict[SourceName, torch.Tensor]:
    return {source: si_sdr(estimates[source], references[source]) for source in SOURCES}
