"""Informed separation of test segments: metrics per segment, medians, tables."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.segments import TestSegments, Track
from ..losses import additivity_error, is_silent, si_sdr
from ..masks import make_mask
from ..models.sinudae import Representation

MIXTURE = "unprocessed mixture"
RM_COLUMN = "si_sdr_rm"


class Segments(NamedTuple):
    """A batch of audible test segments.

    Attributes:
        vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape.
        locations (list): for each segment its track's name and its first sample in it.
    """

    vocals: torch.Tensor
    accompaniment: torch.Tensor
    locations: list[tuple[str, int]]


def audible_segments(
    segments: TestSegments, batch_size: int = 8, device: torch.device | str = "cpu"
) -> Iterator[Segments]:
    """Batches of the segments whose vocals are not silent, see :func:`.is_silent`, with progress.

    Args:
        segments (TestSegments): Non-overlapping segments of test tracks.
        batch_size (int): Segments read at a time; a batch holds the audible ones of them.
        device (:class:`torch.device` or str): Where to put them.
    """
    first = 0
    batches = DataLoader(segments, batch_size=batch_size)
    for vocals, accompaniment in tqdm(batches, "Evaluating", unit="batch"):
        locations = segments.locations[first : first + len(vocals)]
        first += len(vocals)
        audible = ~is_silent(vocals)
        if audible.any():
            yield Segments(
                vocals[audible].to(device),
                accompaniment[audible].to(device),
                [where for where, keep in zip(locations, audible.tolist(), strict=True) if keep],
            )


@torch.no_grad()
def segment_metrics(
    representation: Representation,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    thresholds: Sequence[float],
) -> dict[str, list[float]]:
    """SI-SDR of a representation's reconstruction, and of its masked mixture (Section 3).

    Args:
        representation (Representation): Under test.
        vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape; the mixture is their sum.
        thresholds (sequence of float): of :func:`.binary_mask`.

    Returns:
        dict: `si_sdr` (dB), for each of :func:`mask_columns` its SI-SDR (dB), and
        `additivity_error`, see :func:`.additivity_error`; a value a segment.

    Raises:
        ValueError: if the representation or what it decodes is not finite.
    """
    signals = torch.cat([vocals + accompaniment, vocals, accompaniment])
    # All in one batch: kernels that are functions of parameters are computed once.
    encoded = representation.encode(signals).chunk(3)
    magnitudes = [representation.magnitude(rep) for rep in encoded]
    check_finite("representation", *magnitudes)  # of a NaN, a binary mask would make a zero
    masks = mask_columns(thresholds)
    masked = [encoded[0] * make_mask(*magnitudes[1:], **mask) for mask in masks.values()]
    decoded = representation.decode(torch.cat([encoded[1], *masked]), vocals.shape[-1])
    check_finite("estimates", decoded)
    metrics = {
        column: si_sdr(estimate, vocals).tolist()
        for column, estimate in zip(["si_sdr", *masks], decoded.split(len(vocals)), strict=True)
    }
    return {**metrics, "additivity_error": additivity_error(*magnitudes).tolist()}


def check_finite(what: str, *tensors: torch.Tensor) -> None:
    """Raise a ValueError, ``<what> must be finite``, if a value is NaN or infinite."""
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise ValueError(f"{what} must be finite, got NaN or infinity: are the weights finite?")


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Begin the message of a ValueError with the name of what is evaluated."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def bm_column(threshold: float) -> str:
    """Name of the column of SI-SDR after binary masking with a threshold."""
    return f"si_sdr_bm_{threshold:g}"


def mask_columns(thresholds: Sequence[float]) -> dict[str, dict]:
    """Arguments of :func:`.make_mask` by the columns of SI-SDR after masking.

    Args:
        thresholds (sequence of float): of :func:`.binary_mask`, a column each.

    Examples
        >>> mask_columns([1.0])
        {'si_sdr_bm_1': {'rule': 'binary', 'threshold': 1.0}, 'si_sdr_rm': {'rule': 'ratio'}}
    """
    binary = {bm_column(value): {"rule": "binary", "threshold": value} for value in thresholds}
    return {**binary, RM_COLUMN: {"rule": "ratio"}}


def evaluate(
    systems: dict[str, Representation],
    tracks: Sequence[Track],
    segment: int = 44100,
    thresholds: Sequence[float] = (0.5, 1.0),
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> tuple[pd.DataFrame, int]:
    """All systems, and the unprocessed mixture, on the same audible test segments.

    The mixture has no reconstruction, and its SI-SDR stands in every masking column.

    Args:
        systems (dict): Representations by the name they have in tables.
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment in samples.
        thresholds (sequence of float): of :func:`.binary_mask`.
        batch_size (int): Segments at a time.
        device (:class:`torch.device` or str): Where the systems are.

    Returns:
        tuple of a :class:`pandas.DataFrame`, one row a segment and system with columns `track`,
        `start` (samples), `system` and what :func:`segment_metrics` returns, and the number of
        silent segments that were left out.

    Raises:
        ValueError: if there are no tracks, or all segments are silent; or naming the system whose
            representation or estimates are not finite.
    """
    if not tracks:
        raise ValueError("no test tracks to evaluate, expected at least one")
    segments = TestSegments(tracks, segment)
    frames = []
    for batch in audible_segments(segments, batch_size, device):
        where = {
            "track": [track for track, _ in batch.locations],
            "start": [start for _, start in batch.locations],
        }
        for name, system in systems.items():
            with named(name):
                metrics = segment_metrics(system, batch.vocals, batch.accompaniment, thresholds)
            frames.append(pd.DataFrame({**where, "system": name, **metrics}))
        mixture = si_sdr(batch.vocals + batch.accompaniment, batch.vocals).tolist()
        columns = dict.fromkeys(mask_columns(thresholds), mixture)
        frames.append(pd.DataFrame({**where, "system": MIXTURE, **columns}))
    if not frames:
        raise ValueError(f"all {len(segments)} test segments are silent, nothing to evaluate")
    results = pd.concat(frames, ignore_index=True)
    n_audible = len(results) // (len(systems) + 1)
    return results, len(segments) - n_audible


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """Median of every metric over segments, one row a system in order of appearance.

    Args:
        results (:class:`pandas.DataFrame`): From :func:`evaluate`, of one or more runs.

    Returns:
        :class:`pandas.DataFrame` indexed by system.
    """
    return results.groupby("system", sort=False)[metric_columns(results)].median()


def metric_columns(results: pd.DataFrame) -> list[str]:
    """Columns of :func:`evaluate` that hold metrics."""
    return [column for column in results if column not in ("track", "start", "system")]


@torch.no_grad()
def costs(representation: Representation, device: torch.device | str = "cpu") -> dict[str, float]:
    """What a representation spends on music.

    Args:
        representation (Representation): Of any kind.
        device (:class:`torch.device` or str): Where it is.

    Returns:
        dict: `coefficients_per_sample`, real numbers of the representation a sample of audio, and
        `mask_decisions_per_second`, values of a mask over it a second.

    Examples
        >>> from asteroid_sinudae import STFT
        >>> costs(STFT(n_fft=2048, stride=384, sample_rate=44100))["mask_decisions_per_second"]
        117714.84375
    """
    stride = representation.encoder.stride
    rep = representation.encode(torch.zeros(1, 1, stride, device=device))
    numbers = 2 if rep.is_complex() else 1
    return {
        "coefficients_per_sample": numbers * rep.shape[1] / stride,
        "mask_decisions_per_second": rep.shape[1] * representation.sample_rate / stride,
    }


def metric_title(column: str) -> str:
    """Name of a metric in tables, the paper's where the paper has one.

    Examples
        >>> metric_title("si_sdr_bm_0.5")
        'SI-SDR-BM (dB), threshold 0.5'
    """
    if column.startswith("si_sdr_bm_"):
        return f"SI-SDR-BM (dB), threshold {column.removeprefix('si_sdr_bm_')}"
    titles = {
        "si_sdr": "SI-SDR (dB)",
        RM_COLUMN: "SI-SDR, ratio mask (dB)",
        "additivity_error": "additivity error",
    }
    return titles.get(column, column)


def markdown_table(summary: pd.DataFrame) -> str:
    """Medians as a Markdown table with the paper's column names.

    Args:
        summary (:class:`pandas.DataFrame`): From :func:`medians`.

    Returns:
        str
    """
    table = summary.rename(columns=metric_title).astype(object)
    return table.where(table.notna(), None).to_markdown(floatfmt=".2f", missingval="–")
