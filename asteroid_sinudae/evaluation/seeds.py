"""Separators that were trained several times, compared on the same segments."""

from collections.abc import Mapping, Sequence

import pandas as pd

from .bootstrap import Difference, mean_difference, median_intervals
from .tables import DIFFERENCE, DIFFERENCE_COLUMNS, metric_title, of_figure, texts

SEGMENT = ["track", "start"]  # what tells segments apart


def compare_seeds(trainings: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Compare the rows of an evaluation that was repeated for models of several seeds.

    Medians say what a representation reaches; the mean of differences on the same segments, each
    the mean of its seeds, has the narrower interval.

    Args:
        trainings (sequence of :class:`pandas.DataFrame`): For each seed the metrics of all
            segments, as :func:`.evaluate_separation` returns them, of the same rows
            (`representation`) on the same segments.
        columns (sequence of str): Figures to compare.

    Returns:
        :class:`pandas.DataFrame` with a row for each representation, in the first one's order, and
        for each figure three columns of text: the medians of all seeds; the difference to the first
        row of the medians over the segments of all seeds, with its 95% interval
        (:func:`.median_intervals`); and that of :func:`.mean_difference`.

    Raises:
        ValueError: if there is no training or no row, rows or segments differ between them, or
            there are fewer than two songs.
    """
    by_row = _by_row(trainings, list(columns))
    first, *others = by_row
    pooled = {
        row: pd.concat(seeds).droplevel("start").rename_axis("track")
        for row, seeds in by_row.items()
    }
    intervals = median_intervals(pooled, first)
    means = {row: pd.concat(seeds).groupby(level=SEGMENT).mean() for row, seeds in by_row.items()}
    table = pd.DataFrame(index=pd.Index(by_row, name=""))
    for column in columns:
        title = metric_title(column)
        table[title] = [
            ", ".join(f"{seed[column].median():.2f}" for seed in seeds) for seeds in by_row.values()
        ]
        own = of_figure(intervals, column, table.index)
        table[f"{title}, minus the first"] = texts(DIFFERENCE, own[DIFFERENCE_COLUMNS])
        found = [mean_difference(means[row][column], means[first][column]) for row in others]
        differences = pd.DataFrame(found, pd.Index(others, name=""), Difference._fields)
        own = differences.reindex(table.index)
        table[f"{title}, mean of differences"] = texts(DIFFERENCE, own)
    return table


def _by_row(
    trainings: Sequence[pd.DataFrame], columns: list[str]
) -> Mapping[str, list[pd.DataFrame]]:
    """For each row, the figures of each training, indexed by segments in one order."""
    if not trainings:
        raise ValueError("expected the segments of at least one training, got none")
    found = [
        {
            str(row): own.set_index(SEGMENT)[columns].sort_index()
            for row, own in training.groupby("representation", sort=False)
        }
        for training in trainings
    ]
    rows = list(found[0])
    if not rows:
        raise ValueError("expected the segments of at least one separator, got none")
    for number, training in enumerate(found[1:], 2):
        if different := sorted(set(rows) ^ set(training)):
            raise ValueError(f"trainings 1 and {number} must have the same rows, not {different}")
        segments = found[0][rows[0]].index
        if any(not own.index.equals(segments) for own in training.values()):
            raise ValueError(f"trainings 1 and {number} must have the same segments")
    return {row: [training[row] for training in found] for row in rows}
