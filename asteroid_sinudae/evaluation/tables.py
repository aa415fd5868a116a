"""Medians of evaluations, and tables of them."""

import pandas as pd

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


def markdown_table(summary: pd.DataFrame) -> str:
    """Write medians as a Markdown table with the paper's column names.

    Args:
        summary (:class:`pandas.DataFrame`): The result of :func:`medians`.

    Returns:
        str
    """
    table = summary.rename(columns=metric_title).astype(object)
    return table.where(table.notna(), None).to_markdown(floatfmt=".2f", missingval="–")
