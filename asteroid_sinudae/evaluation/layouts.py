"""Search for the bands of the multi-resolution initialisation, on training songs.

An untrained pair is judged in seconds, by what oracle masks take out of mixtures on it. The search
is a hill climb: each candidate is a random change of one of the best layouts so far. A candidate is
a function of the seed and of the results before it, so that an interrupted search continues as if
it had not been interrupted.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.segments import TestSegments
from ..data.tracks import Track
from ..filterbanks.bands import (
    Band,
    band_supports,
    check_bands,
    format_bands,
    n_kernels,
    parse_bands,
)
from ..metrics import is_silent
from ..models.sinudae import SinuDAE
from ..utils.checks import check
from .oracle import segment_metrics

HOPS = (2, 3, 4, 6, 8, 12, 16, 24, 32)  # lengths of windows
N_PARENTS = 4  # of the best layouts, one of which is changed
MAX_BANDS = 6
MAX_TRIES = 1000  # of changes that make no new layout within the budget
THRESHOLDS = (0.5, 1.0)


class Budget(NamedTuple):
    """What a layout may cost.

    Attributes:
        coefficients (float): Coefficients per sample at most.
        strides (tuple of int): Hops in samples to choose from.
        max_window (int): Longest window in samples.
        parameters (int, optional): Parameters of compact kernels, of encoder and decoder, at most.
    """

    coefficients: float
    strides: tuple[int, ...]
    max_window: int
    parameters: int | None = None


class Layout(NamedTuple):
    """Bands and the hop that they are made for.

    Attributes:
        stride (int): Hop in samples.
        bands (str): see :func:`.parse_bands`.
    """

    stride: int
    bands: str

    def arguments(self, sample_rate: float) -> dict:
        """Return the arguments of the :class:`.SinuDAE` of this layout.

        Args:
            sample_rate (float): In Hz.

        Returns:
            dict
        """
        bands = parse_bands(self.bands)
        n_filters = n_kernels(bands, sample_rate)
        return dict(
            n_filters=n_filters,
            kernel_size=max(band.window for band in bands),
            stride=self.stride,
            sample_rate=sample_rate,
            smooth_groups=n_filters,
            init="multires",
            bands=self.bands,
            compact=True,
        )


def choose_segments(
    tracks: Sequence[Track], segment: int, per_track: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw audible segments of tracks, the same number of each if it has so many.

    Args:
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment in samples.
        per_track (int): Segments of each track at most.
        seed (int): Seed of the choice.

    Returns:
        tuple of vocals and accompaniment, each :class:`torch.Tensor` of shape `(segments, 1, time)`

    Raises:
        ValueError: if there are no tracks, or none has an audible segment.
    """
    check(len(tracks) > 0, "number of train songs", len(tracks), "at least 1")
    rng = np.random.default_rng(seed)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for track in tracks:
        segments = TestSegments([track], segment)
        audible = [
            pair
            for pair in (segments[i] for i in rng.permutation(len(segments)))
            if not is_silent(pair[0][None]).any()
        ]
        found += audible[:per_track]
    check(len(found) > 0, "number of audible segments", len(found), "at least 1")
    vocals, accompaniment = zip(*found, strict=True)
    return torch.stack(vocals), torch.stack(accompaniment)


@torch.no_grad()
def judge(
    layout: Layout,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    sample_rate: float,
    batch_size: int = 8,
) -> dict[str, float]:
    """Compute medians of the SI-SDR under oracle masks on an untrained pair.

    Args:
        layout (Layout): The layout.
        vocals (:class:`torch.Tensor`): shape `(segments, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape.
        sample_rate (float): In Hz.
        batch_size (int): Segments at a time; does not affect the result.

    Returns:
        dict: medians in dB by the columns of :func:`.segment_metrics`, and `score`, the mean of
        those under binary masks.
    """
    model = SinuDAE(**layout.arguments(sample_rate)).eval()
    parts = [
        segment_metrics(model, *pair, THRESHOLDS)
        for pair in zip(vocals.split(batch_size), accompaniment.split(batch_size), strict=True)
    ]
    columns = [key for key in parts[0] if key.startswith("si_sdr")]
    medians = {
        key: float(np.median([value for part in parts for value in part[key]])) for key in columns
    }
    return {**medians, "score": float(np.mean([medians[key] for key in columns if "_bm_" in key]))}


def next_layout(
    results: Sequence[tuple[Layout, float]], budget: Budget, sample_rate: float, seed: int
) -> Layout:
    """Return the candidate that follows these results.

    Args:
        results (sequence of pairs): Layouts and their scores so far.
        budget (Budget): What a layout may cost.
        sample_rate (float): In Hz.
        seed (int): Seed of the search.

    Returns:
        Layout: none of `results`.

    Raises:
        ValueError: if no layout fits the budget.
    """
    check(budget.coefficients >= 2, "coefficients", budget.coefficients, "at least 2, an MDCT's")
    rng = np.random.default_rng([seed, len(results)])
    known = {layout for layout, _ in results}
    best = sorted(results, key=lambda result: -result[1])[:N_PARENTS]
    for _ in range(MAX_TRIES):
        candidate: Layout | None
        if len(results) < N_PARENTS:
            candidate = _random_layout(rng, budget, sample_rate)
        else:
            parent = best[rng.integers(len(best))][0]
            candidate = _changed(parent, rng, budget, sample_rate)
        fitted = candidate and fit(candidate, budget, sample_rate)
        if fitted and fitted not in known:
            return fitted
    raise ValueError(f"no layout of bands was found for {budget}")


def fit(layout: Layout, budget: Budget, sample_rate: float) -> Layout | None:
    """Scale the edges of a layout's bands so that it has as many kernels as its budget allows.

    Args:
        layout (Layout): The layout.
        budget (Budget): What it may cost.
        sample_rate (float): In Hz.

    Returns:
        Layout or None, if no scale makes a layout that is accepted within the budget.

    Examples
        >>> budget = Budget(3.125, (256,), 2048)
        >>> fit(Layout(256, "2048x4:700 512x2:22050"), budget, 44100.0).bands
        '2048x4:1447:500 512x2:22050:500'
    """
    most = int(budget.coefficients * layout.stride)
    bands = parse_bands(layout.bands)
    kernel_size = max(band.window for band in bands)
    # More kernels move the edges up, but not at every step: the largest scale is searched for.
    for scale in np.geomspace(50, 1 / 50, 2000):
        scaled = [
            band._replace(upper=float(round(band.upper * scale))) for band in bands[:-1]
        ] + bands[-1:]
        supports = band_supports(scaled, sample_rate)
        if sum(number for _, number in supports) > most:
            continue
        parameters = 2 * sum(window * number for window, number in supports)
        if budget.parameters is not None and parameters > budget.parameters:
            continue
        try:
            check_bands(scaled, kernel_size, layout.stride, sample_rate)
        except ValueError:
            continue
        return layout._replace(bands=format_bands(scaled))
    return None


def _windows(stride: int, budget: Budget) -> list[int]:
    return [hops * stride for hops in HOPS if hops * stride <= budget.max_window]


def _band(window: int, upper: float, stride: int, fade: float) -> Band:
    """Make a band with the fewest phases that its window allows, and whole numbers of Hz."""
    return Band(window, float(round(upper)), 2 if window == 2 * stride else 4, float(round(fade)))


def _random_layout(rng: np.random.Generator, budget: Budget, sample_rate: float) -> Layout:
    stride = int(rng.choice(budget.strides))
    number = int(rng.integers(2, 5))
    windows = sorted(rng.choice(_windows(stride, budget), number).tolist(), reverse=True)
    edges = [*np.sort(np.exp(rng.uniform(np.log(300), np.log(8000), number - 1))), sample_rate / 2]
    bands = [
        _band(window, edge, stride, min(500, edge / 2))
        for window, edge in zip(windows, edges, strict=True)
    ]
    return Layout(stride, format_bands(bands))


def _changed(
    layout: Layout, rng: np.random.Generator, budget: Budget, sample_rate: float
) -> Layout | None:
    """Change a layout once, twice or three times."""
    for _ in range(rng.integers(1, 4)):
        change = CHANGES[rng.integers(len(CHANGES))]
        bands = change(parse_bands(layout.bands), layout.stride, rng, budget)
        if not 1 <= len(bands) <= MAX_BANDS:
            return None
        layout = layout._replace(bands=format_bands(bands))
    if rng.random() < 0.1:
        stride = int(rng.choice(budget.strides))
        layout = Layout(stride, format_bands(_at_stride(parse_bands(layout.bands), stride, budget)))
    return layout


def _at_stride(bands: Sequence[Band], stride: int, budget: Budget) -> list[Band]:
    """Give each band the nearest window that the hop allows."""
    windows = np.array(_windows(stride, budget))
    nearest = [int(windows[np.abs(np.log(windows / band.window)).argmin()]) for band in bands]
    pairs = zip(nearest, bands, strict=True)
    return [_band(window, band.upper, stride, band.fade) for window, band in pairs]


def _move_edge(bands: list[Band], stride: int, rng: np.random.Generator, _: Budget) -> list[Band]:
    if len(bands) == 1:
        return bands
    number = rng.integers(len(bands) - 1)
    upper = bands[number].upper * np.exp(rng.normal(0, 0.2))
    bands[number] = bands[number]._replace(upper=float(round(upper)))
    return bands


def _change_fade(bands: list[Band], stride: int, rng: np.random.Generator, _: Budget) -> list[Band]:
    number = rng.integers(len(bands))
    fade = max(20.0, bands[number].fade * np.exp(rng.normal(0, 0.5)))
    bands[number] = bands[number]._replace(fade=float(round(fade)))
    return bands


def _change_window(
    bands: list[Band], stride: int, rng: np.random.Generator, budget: Budget
) -> list[Band]:
    number, windows = rng.integers(len(bands)), _windows(stride, budget)
    place = windows.index(bands[number].window) + int(rng.choice([-1, 1]))
    if 0 <= place < len(windows):
        band = bands[number]
        bands[number] = _band(windows[place], band.upper, stride, band.fade)
    return bands


def _split_band(
    bands: list[Band], stride: int, rng: np.random.Generator, budget: Budget
) -> list[Band]:
    number, windows = rng.integers(len(bands)), _windows(stride, budget)
    band = bands[number]
    lower = min(bands[number - 1].upper if number else 200.0, band.upper)
    edge = np.exp(rng.uniform(np.log(lower), np.log(band.upper)))
    window = windows[min(windows.index(band.window) + 1, len(windows) - 1)]
    below = _band(window, edge, stride, min(band.fade, (edge - lower) / 2, band.upper - edge))
    return [*bands[:number], below, *bands[number:]]


def _join_bands(bands: list[Band], stride: int, rng: np.random.Generator, _: Budget) -> list[Band]:
    number = rng.integers(len(bands))
    joined = [*bands[:number], *bands[number + 1 :]]
    if joined and number == len(bands) - 1:
        joined[-1] = joined[-1]._replace(upper=bands[-1].upper)
    return joined


Change = Callable[[list[Band], int, np.random.Generator, Budget], list[Band]]
CHANGES: tuple[Change, ...] = (_move_edge, _change_fade, _change_window, _split_band, _join_bands)
