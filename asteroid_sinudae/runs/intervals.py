"""Columns of a table that tell how sure its figures and their differences are."""

from collections.abc import Sequence

import pandas as pd

from ..evaluation.bootstrap import COLUMNS, LEVEL, N_RESAMPLES, SEED, median_intervals
from ..evaluation.tables import DIFFERENCE, INTERVAL, of_figure, terminal_text, texts
from .declaration import Job, Table
from .results import METRICS, Result, by_line

MASKS = {column: title for column, title in METRICS.items() if column != "si_sdr"}
ADDED = {column: column.replace("_", " ") for column in COLUMNS}  # after each mask, in titles


def add_intervals(
    figures: pd.DataFrame, table: Table, jobs: Sequence[Job], results: Sequence[Result | None]
) -> tuple[pd.DataFrame, str]:
    """Add 95% intervals of the figures under masks, and differences to the reference row.

    Args:
        figures (:class:`pandas.DataFrame`): The result of :func:`.make_table`.
        table (Table): The table as it is declared.
        jobs (sequence of Job): All runs of all rows.
        results (sequence of Result or None): Result of each job; None if it is not done.

    Returns:
        tuple of the table, with five columns more after each mask's, see
        :func:`.median_intervals`, and a sentence that says what they are, or why there are none;
        it is empty if nothing is done.
    """
    lines = by_line(table, jobs, results)
    samples = {
        name: pd.concat([run.segments[list(MASKS)] for run in runs])
        for name, runs in lines.items()
        if runs
    }
    if not samples:
        return figures, ""
    try:
        intervals = median_intervals(samples, table.reference)
    except ValueError as error:
        return figures, f"No intervals: {error}."
    added = figures.copy()
    for column, title in MASKS.items():
        of_mask = of_figure(intervals, column, pd.Index(list(lines)))
        place = list(added).index(f"{title} IQR (dB)") + 1
        for name, words in reversed(ADDED.items()):
            added.insert(place, f"{title} {words} (dB)", of_mask[name].to_numpy())
    n_songs = len(set().union(*(sample.index for sample in samples.values())))
    note = (
        f"{LEVEL:.0%} intervals: percentiles of {N_RESAMPLES} medians of {n_songs} songs drawn "
        f"with replacement (seed {SEED}), each with all its segments."
    )
    if table.reference is None:
        of_differences = [f"{t} {w} (dB)" for t in MASKS.values() for w in list(ADDED.values())[2:]]
        return added.drop(columns=of_differences), note
    label = table.all_rows()[table.reference].label
    return added, f"{note} Differences, of the same songs in both rows, are to: {label}."


def for_reading(figures: pd.DataFrame) -> pd.DataFrame:
    """Write each interval in one column: `9.97 to 10.83`, and `+1.80 (+1.52 to +2.10)`."""
    table = figures.copy()
    for title in MASKS.values():
        low, high, middle, *ends = (f"{title} {words} (dB)" for words in ADDED.values())
        if low in figures:
            table[low] = texts(INTERVAL, figures[[low, high]])
            table = table.rename(columns={low: f"{title} 95% (dB)"}).drop(columns=high)
        if middle in figures:
            table[middle] = texts(DIFFERENCE, figures[[middle, *ends]])
            table = table.drop(columns=ends)
    return table


def for_terminal(figures: pd.DataFrame) -> str:
    """Write the table in plain text of at most :data:`.WIDTH` characters, as two blocks.

    The second one has the differences to the reference row. `±` is half the length of an interval,
    whose ends the files have.
    """
    first, second = (figures[["Setup"]].copy() for _ in range(2))
    first["SI-SDR"] = figures["SI-SDR (dB)"]
    for title in MASKS.values():
        short = title.removeprefix("SI-SDR-")
        for block, words in ((first, ""), (second, "difference ")):
            middle, low, high = (f"{title} {words}{end}(dB)" for end in ("", "low ", "high "))
            if middle in figures:
                half = (figures[high] - figures[low]) / 2 if low in figures else None
                style = "+.2f" if words else ".2f"
                block[f"{short} {words}".strip()] = _with_half(figures[middle], half, style)
    first["f_c%"], first["Runs"] = figures["Kernels at carrier (%)"], figures["Runs"]
    blocks = [block for block in (first, second) if block.shape[1] > 1]
    return "\n\n".join(map(terminal_text, blocks))


def _with_half(values: pd.Series, half: pd.Series | None, style: str) -> pd.Series:
    if half is None:
        return texts(f"{{:{style}}}", values.to_frame())
    return texts(f"{{:{style}}}±{{:.2f}}", pd.concat([values, half], axis=1))
