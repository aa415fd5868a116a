"""Medians of evaluations, tables of them, and a sentence that sums them up."""

import math
from collections.abc import Hashable, Mapping

import pandas as pd

WIDTH = 100  # columns of a table in a terminal
MANY = 6  # representations that a sentence does not name one by one
LEGEND = (
    "SI-SDR of vocals in dB. Of the mixture, with a mask that knows the sources: BM t, the binary\n"
    "mask with threshold t; RM, the ratio mask."
)
MIXTURE = "unprocessed mixture"
RM_COLUMN = "si_sdr_rm"


def bm_column(threshold: float) -> str:
    """Return the name of the column of SI-SDR after binary masking with a threshold."""
    return f"si_sdr_bm_{threshold:g}"


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """Take the median of every metric over segments.

    Args:
        results (:class:`pandas.DataFrame`): Results of :func:`.evaluate`, from one or more runs.

    Returns:
        :class:`pandas.DataFrame` indexed by `representation`, in order of appearance.
    """
    return results.groupby("representation", sort=False)[metric_columns(results)].median()


def metric_columns(results: pd.DataFrame) -> list[str]:
    """Return the columns of :func:`evaluate` that hold metrics."""
    others = ("track", "start", "representation")
    return [str(column) for column in results if column not in others]


def metric_title(column: str) -> str:
    """Return the name of a metric in tables, which is the paper's where the paper has one.

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


def short_title(column: Hashable) -> str:
    """Return the name of a metric in a terminal, where `LEGEND` explains it.

    Examples
        >>> [short_title(column) for column in ("si_sdr", "si_sdr_bm_0.5", "si_sdr_rm")]
        ['SI-SDR', 'BM 0.5', 'RM']
    """
    name = str(column)
    if name.startswith("si_sdr_bm_"):
        return f"BM {name.removeprefix('si_sdr_bm_')}"
    return {"si_sdr": "SI-SDR", RM_COLUMN: "RM", "additivity_error": "additivity"}.get(name, name)


def markdown_table(summary: pd.DataFrame) -> str:
    """Write medians as a Markdown table with the paper's column names.

    Args:
        summary (:class:`pandas.DataFrame`): The result of :func:`medians`.

    Returns:
        str
    """
    return _markdown(summary.rename(columns=metric_title))


def terminal_table(table: pd.DataFrame, width: int = WIDTH) -> str:
    """Write a table for a terminal, where names of rows are shortened as far as its width asks for.

    Args:
        table (:class:`pandas.DataFrame`): Columns by their titles, indexed by the names of rows.
        width (int): The widest that a line may be.

    Returns:
        str
    """
    text = _markdown(table)
    excess = len(text.splitlines()[0]) - width
    if excess <= 0:
        return text
    names = [str(name) for name in table.index]
    shorter = _shorten(names, max(map(len, names)) - excess)
    return _markdown(table.set_axis(pd.Index(shorter, name=table.index.name)))


def _markdown(table: pd.DataFrame) -> str:
    table = table.astype(object)
    return table.where(table.notna(), None).to_markdown(floatfmt=".2f", missingval="–")


def _shorten(names: list[str], length: int) -> list[str]:
    """Leave out the middle of long names, or another part if only that keeps them apart."""
    for n_last in sorted(range(length), key=lambda n: abs(2 * n - length)):
        n_first = length - 1 - n_last
        shorter = [
            each if len(each) <= length else f"{each[:n_first]}…{each[len(each) - n_last :]}"
            for each in names
        ]
        if len(set(shorter)) == len(set(names)):
            return shorter
    return names


def in_words(subject: str, stft: str, figures: Mapping[str, float]) -> str:
    """Say in one sentence what came out of a binary mask that knows the sources.

    Differences are those of the figures as they are written, with one decimal.

    Args:
        subject (str): Name of the representation that the sentence is about.
        stft (str): Name of the STFT that it is compared with.
        figures (dict): Median SI-SDR (dB) after the binary mask with threshold 0.5, by name, of
            both and of others; NaN where there is none.

    Returns:
        str: The sentence; empty if `subject` or `stft` has no figure.

    Examples
        >>> in_words("DAE", "STFT", {"DAE": 9.71, "STFT": 8.27, "x": -4.5}).partition("vocals ")[2]
        'come out at 9.7 dB (DAE), 1.4 dB above the STFT (8.3 dB); for comparison: −4.5 dB (x).'
    """
    known = {name: round(value, 1) for name, value in figures.items() if math.isfinite(value)}
    if subject not in known or stft not in known:
        return ""
    gain = round(known[subject] - known[stft], 1)
    than = f"{_decibels(abs(gain))} {'above' if gain > 0 else 'below'}" if gain else "level with"
    sentence = (
        "With a binary mask that knows the sources (threshold 0.5), vocals come out at "
        f"{_decibels(known[subject])} ({subject}), {than} the {stft} ({_decibels(known[stft])})"
    )
    others = [name for name in known if name not in (subject, stft)]
    if len(others) > MANY:
        lowest, highest = min(others, key=known.__getitem__), max(others, key=known.__getitem__)
        ends = [f"{_decibels(known[name])} ({name})" for name in (lowest, highest)]
        return f"{sentence}; the other {len(others)} from {' to '.join(ends)}."
    listed = ", ".join(f"{_decibels(known[name])} ({name})" for name in others)
    return f"{sentence}; for comparison: {listed}." if others else f"{sentence}."


def _decibels(value: float) -> str:
    return f"{value + 0.0:.1f} dB".replace("-", "−")  # the sum is never -0.0
