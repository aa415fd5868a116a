"""How sure medians over segments and their differences are: a paired bootstrap over songs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

LEVEL = 0.95
N_RESAMPLES = 4999
SEED = 0
BATCH = 500  # resamples at a time
COLUMNS = ("low", "high", "difference", "difference_low", "difference_high")


class Difference(NamedTuple):
    """A mean difference and its 95% interval.

    Attributes:
        mean (float): Mean over songs of the mean difference on their segments.
        low, high (float): Ends of the interval.
    """

    mean: float
    low: float
    high: float


class _Figure(NamedTuple):
    """Values of one row and column in ascending order, and the number of the song of each."""

    values: np.ndarray
    songs: np.ndarray


def median_intervals(
    rows: Mapping[str, pd.DataFrame],
    reference: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> pd.DataFrame:
    """Compute 95% intervals of medians over segments, and of their differences to a reference row.

    Segments of one song are not independent, so songs are drawn with replacement, each with all its
    segments (of all runs). The statistic is the table's: the median over the segments of the songs
    that were drawn. The same songs are drawn for all rows, so that what makes a song hard for every
    row cancels in the differences. The ends are percentiles of the resampled statistic
    (:func:`scipy.stats.bootstrap`); they need not be equally far from the median.

    Args:
        rows (mapping): For each row a table with a column for each figure and a line for each
            segment, indexed by its song.
        reference (str, optional): Name of the row that others are compared with; None for none.
        n_resamples (int): Number of times that songs are drawn.
        seed (int): Seed of the draws.

    Returns:
        :class:`pandas.DataFrame` with an index of row and figure, and the columns `low` and `high`,
        the ends of the median's interval; `difference`, the row's median minus the reference's, and
        `difference_low` and `difference_high`, the ends of its interval. The last three are NaN in
        the reference row, and without one.

    Raises:
        ValueError: if there are fewer than two songs, rows differ in their songs, or a value is not
            finite.

    Examples
        >>> songs = [f"song {number}" for number in range(10)]
        >>> rows = {name: pd.DataFrame({"si_sdr": np.arange(10.0) + gain}, songs)
        ...         for name, gain in (("STFT", 0), ("ours", 2))}
        >>> median_intervals(rows, "STFT").loc[("ours", "si_sdr")].tolist()
        [4.0, 9.0, 2.0, 2.0, 2.0]
    """
    songs = _common_songs(rows)
    figures = {
        (row, str(column)): _sorted_figure(table[column], songs)
        for row, table in rows.items()
        for column in table
    }
    against = _reference_of(list(figures), reference)

    def statistic(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        counts = _counts(drawn, len(songs))
        medians = np.stack([_median(figure, counts) for figure in figures.values()])
        return np.concatenate([medians, medians - medians[against]])  # (2 * figures, resamples)

    numbers = np.arange(len(songs))
    ends = _ends(numbers, statistic, seed, n_resamples, batch=BATCH, vectorized=True)
    (low, low_difference), (high, high_difference) = (np.split(each, 2) for each in ends)
    medians = np.array([np.median(figure.values) for figure in figures.values()])
    found = np.stack(
        [low, high, medians - medians[against], low_difference, high_difference], axis=1
    )
    found[against == np.arange(len(figures)), 2:] = np.nan
    index = pd.MultiIndex.from_tuples(figures, names=["row", "figure"])
    return pd.DataFrame(found, index=index, columns=list(COLUMNS))


def mean_difference(values: pd.Series, reference: pd.Series) -> Difference:
    """Compute the mean over songs of the mean difference on their segments.

    Args:
        values (:class:`pandas.Series`): A figure of each segment, indexed by song and start.
        reference (:class:`pandas.Series`): Those that are subtracted, of the same segments.

    Returns:
        Difference: with a 95% interval of a bootstrap over songs.

    Raises:
        ValueError: if there are fewer than two songs.

    Examples
        >>> segments = pd.MultiIndex.from_product([["a", "b"], [0, 1]], names=["track", "start"])
        >>> zero = pd.Series(0.0, segments)
        >>> mean_difference(pd.Series([1.0, 3.0, 2.0, 2.0], segments), zero)
        Difference(mean=2.0, low=2.0, high=2.0)
    """
    songs = (values - reference).groupby(level="track", sort=False).mean().to_numpy()
    low, high = _ends(songs, np.mean, SEED)
    return Difference(float(songs.mean()), float(low), float(high))


def _ends(
    songs: np.ndarray,
    statistic: Callable[..., Any],
    seed: int,
    n_resamples: int = N_RESAMPLES,
    **options: Any,
) -> tuple[Any, Any]:
    """Compute the ends of a statistic's 95% interval, by drawing songs with replacement."""
    from scipy.stats import bootstrap  # here, since it takes half a second, and few need it

    if len(songs) < 2:
        raise ValueError(f"a bootstrap needs at least 2 songs, got {len(songs)}")
    interval = bootstrap(
        (songs,),
        statistic,
        n_resamples=n_resamples,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(seed),
        **options,
    ).confidence_interval
    return interval.low, interval.high


def _common_songs(rows: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the songs, which must be the same in all rows."""
    of_rows = {row: sorted(set(map(str, table.index))) for row, table in rows.items()}
    first, songs = next(iter(of_rows.items()), ("", []))
    for row, others in of_rows.items():
        if others != songs:
            song = sorted(set(songs) ^ set(others))[0]
            raise ValueError(
                f"rows must have the same songs, got {song!r} in one of {first}, {row}"
            )
    return songs


def _sorted_figure(column: pd.Series, songs: list[str]) -> _Figure:
    values = column.to_numpy(float)
    if not np.isfinite(values).all():
        raise ValueError(f"{column.name} must be finite for a bootstrap, got NaN or infinity")
    order = np.argsort(values, kind="stable")
    return _Figure(values[order], np.searchsorted(songs, column.index.astype(str))[order])


def _reference_of(figures: list[tuple[str, str]], reference: str | None) -> np.ndarray:
    """Return, for each figure, the number of the same one in the reference row, or its own."""
    numbers = {key: number for number, key in enumerate(figures)}
    return np.array(
        [numbers.get((reference or row, column), numbers[row, column]) for row, column in figures]
    )


def _counts(drawn: np.ndarray, n_songs: int) -> np.ndarray:
    """Count how often each song was drawn: `(..., songs)` of numbers -> `(resamples, n_songs)`."""
    drawn = np.atleast_2d(drawn)
    offsets = n_songs * np.arange(len(drawn))[:, None]
    counts = np.bincount((drawn + offsets).ravel(), minlength=n_songs * len(drawn))
    return counts.reshape(len(drawn), n_songs).astype(np.int32)


def _median(figure: _Figure, counts: np.ndarray) -> np.ndarray:
    """Compute the median of each resample, in which a value stands as often as its song."""
    until = counts[:, figure.songs].cumsum(axis=1)  # (resamples, values): values up to each
    total = until[:, -1:]
    lower = (until <= (total - 1) // 2).sum(axis=1)
    upper = (until <= total // 2).sum(axis=1)
    return (figure.values[lower] + figure.values[upper]) / 2
