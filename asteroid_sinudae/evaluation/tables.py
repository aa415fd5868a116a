"""Medians of evaluations, tables of them, and a sentence that sums them up."""

import math
from collections.abc import Mapping

import pandas as pd

from ..data.tracks import SOURCES
from .bootstrap import COLUMNS, median_intervals

MIXTURE = "unprocessed mixture"
INFORMED = "informed mask"  # in the names of rows of masks that know the sources
RM_COLUMN = "si_sdr_rm"
AT_CARRIER = "kernels_at_carrier"
INTERVAL = "{:.2f} to {:.2f}"
DIFFERENCE = "{:+.2f} ({:+.2f} to {:+.2f})"
DIFFERENCE_COLUMNS = list(COLUMNS[2:])
WIDTH = 100  # characters of a table on the terminal
MANY = 6  # representations that a sentence does not name one by one
SHORT = {  # on the terminal, in this order
    "si_sdr": "rec.",
    "si_sdr_bm_0.5": "BM 0.5",
    "si_sdr_bm_1": "BM 1",
    RM_COLUMN: "RM",
    "additivity_error": "add.",
    AT_CARRIER: "f_c%",
    "sparsity": "spar.",
    "variation": "var.",
}
LEGEND = (
    "SI-SDR in dB of the reconstruction (rec.) and under masks (BM t, RM); add.: additivity error;"
    "\nf_c%: kernels that peak at their carrier; spar., var.: sparsity and variation per second of"
    "\nA of the voice"
)


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
        >>> metric_title("si_sdri_vocals")
        'SI-SDRi vocals (dB)'
    """
    if column.startswith("si_sdr_bm_"):
        return f"SI-SDR-BM (dB), threshold {column.removeprefix('si_sdr_bm_')}"
    titles = {
        "si_sdr": "SI-SDR (dB)",
        RM_COLUMN: "SI-SDR, ratio mask (dB)",
        "additivity_error": "additivity error",
        AT_CARRIER: "kernels at carrier (%)",
        "sparsity": "sparsity of A (voice)",
        "variation": "variation of A (voice, 1/s)",
        **{f"si_sdr_{source}": f"SI-SDR {source} (dB)" for source in SOURCES},
        **{f"si_sdri_{source}": f"SI-SDRi {source} (dB)" for source in SOURCES},
    }
    return titles.get(column, column)


def markdown_table(summary: pd.DataFrame) -> str:
    """Write medians as a Markdown table with the paper's column names.

    Args:
        summary (:class:`pandas.DataFrame`): The result of :func:`medians`.

    Returns:
        str
    """
    table = summary.rename(columns=metric_title).astype(object)
    return table.where(table.notna(), None).to_markdown(floatfmt=".2f", missingval="–")


def with_readability(
    summary: pd.DataFrame, readability: Mapping[str, Mapping[str, float]] | None
) -> pd.DataFrame:
    """Add the share of kernels at their carrier, in percent, to medians, where it is known.

    Args:
        summary (:class:`pandas.DataFrame`): The result of :func:`medians`.
        readability (mapping): Results of :func:`.readability` by representation; empty or None for
            evaluations of earlier versions, which do not have it.

    Returns:
        :class:`pandas.DataFrame` with a column more, or as it was if nothing is known.
    """
    shares = {name: facts.get(AT_CARRIER) for name, facts in (readability or {}).items()}
    column = [shares.get(str(name)) for name in summary.index]
    if all(share is None for share in column):
        return summary
    return summary.assign(**{AT_CARRIER: 100 * pd.Series(column, summary.index, dtype=float)})


def mask_intervals(results: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compute 95% intervals of the medians under masks, and differences to one representation.

    Args:
        results (:class:`pandas.DataFrame`): Results of :func:`.evaluate` of one run.
        reference (str): Name of the representation that others are compared with.

    Returns:
        :class:`pandas.DataFrame`: see :func:`.median_intervals`, whose rows are representations.

    Raises:
        ValueError: as :func:`.median_intervals`.
    """
    columns = [column for column in metric_columns(results) if _is_of_mask(column)]
    rows = {
        str(name): own.set_index(own["track"].astype(str))[columns]
        for name, own in results.groupby("representation", sort=False)
    }
    return median_intervals(rows, reference)


def _is_of_mask(column: str) -> bool:
    return column.startswith("si_sdr_bm_") or column == RM_COLUMN


def with_intervals(summary: pd.DataFrame, intervals: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Add intervals and differences to medians, as text in two columns after each mask's.

    Args:
        summary (:class:`pandas.DataFrame`): The result of :func:`medians`.
        intervals (:class:`pandas.DataFrame`): The result of :func:`mask_intervals`.
        reference (str): Name of the reference, for the titles.
    """
    columns = {}
    for column, values in summary.items():
        title = metric_title(str(column))
        columns[title] = values
        if _is_of_mask(str(column)):
            own = of_figure(intervals, str(column), summary.index)
            columns[f"{title}, 95%"] = texts(INTERVAL, own[["low", "high"]])
            columns[f"{title}, minus {reference}"] = texts(DIFFERENCE, own[DIFFERENCE_COLUMNS])
    return pd.DataFrame(columns)


def texts(pattern: str, numbers: pd.DataFrame) -> pd.Series:
    """Write the numbers of each row by a pattern, None where one is missing."""
    found = [
        None if any(map(pd.isna, row)) else pattern.format(*row)
        for row in numbers.itertuples(index=False)
    ]
    return pd.Series(found, numbers.index, dtype=object)  # of text alone, None would become NaN


def terminal_table(
    summary: pd.DataFrame, intervals: pd.DataFrame | None = None, reference: str = ""
) -> str:
    """Write medians as a table that fits into :data:`WIDTH` characters, with its legend.

    Args:
        summary (:class:`pandas.DataFrame`): Medians, of which the columns in :data:`SHORT` are
            shown; its index has the names of the rows, which are folded where they are long.
        intervals (:class:`pandas.DataFrame`, optional): The result of :func:`mask_intervals`. It
            makes a second block, of the differences to the reference.
        reference (str): Name of the reference.

    Returns:
        str
    """
    short = [column for column in SHORT if column in summary]
    table = summary[short].rename(columns=SHORT).astype(object)
    if intervals is None:
        return f"{_folded(table)}\n\n{LEGEND}"
    differences = pd.DataFrame(index=summary.index)
    for column in filter(_is_of_mask, short):
        own = of_figure(intervals, column, summary.index)
        half = (own["high"] - own["low"]) / 2
        table[SHORT[column]] = texts("{:.2f}±{:.2f}", pd.concat([summary[column], half], axis=1))
        differences[SHORT[column]] = texts(DIFFERENCE, own[DIFFERENCE_COLUMNS])
    return (
        f"{_folded(table)}\n\n{LEGEND}; ± half a 95% interval over songs\n\n"
        f"Minus {reference} on the same songs, in dB\n\n{_folded(differences)}"
    )


def of_figure(intervals: pd.DataFrame, column: str, rows: pd.Index) -> pd.DataFrame:
    """Select the intervals of one figure, in the order of these rows."""
    is_it = intervals.index.get_level_values("figure") == column
    return intervals[is_it].droplevel("figure").reindex(rows)


def _folded(table: pd.DataFrame) -> str:
    return terminal_text(table.rename_axis("representation").reset_index(), fold=20)


def terminal_text(table: pd.DataFrame, fold: int = 26) -> str:
    """Write a table in plain text, its first column folded to so many characters."""
    table = table.astype(object)
    return table.where(table.notna(), None).to_markdown(
        index=False,
        tablefmt="simple",
        floatfmt=".2f",
        missingval="–",
        maxcolwidths=[fold, *[None] * (table.shape[1] - 1)],
    )


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
    than = f"{decibels(abs(gain))} {'above' if gain > 0 else 'below'}" if gain else "level with"
    sentence = (
        "With a binary mask that knows the sources (threshold 0.5), vocals come out at "
        f"{decibels(known[subject])} ({subject}), {than} the {stft} ({decibels(known[stft])})"
    )
    others = [name for name in known if name not in (subject, stft)]
    if len(others) > MANY:
        lowest, highest = min(others, key=known.__getitem__), max(others, key=known.__getitem__)
        ends = [f"{decibels(known[name])} ({name})" for name in (lowest, highest)]
        return f"{sentence}; the other {len(others)} from {' to '.join(ends)}."
    listed = ", ".join(f"{decibels(known[name])} ({name})" for name in others)
    return f"{sentence}; for comparison: {listed}." if others else f"{sentence}."


def decibels(value: float, decimals: int = 1) -> str:
    """Format a level for people, with a typographic minus sign.

    Examples
        >>> decibels(-2.345), decibels(-0.04)
        ('−2.3 dB', '0.0 dB')
    """
    rounded = round(value, decimals) + 0.0  # the sum is never -0.0
    return f"{rounded:.{decimals}f} dB".replace("-", "−")
