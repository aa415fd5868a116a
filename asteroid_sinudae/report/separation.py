"""A figure of what separators reach, and how sure that is."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..data.tracks import SOURCES
from ..evaluation.tables import of_figure
from ..utils.checks import check
from .colours import BLUE
from .plots import STYLE, NotebookFigure

ROW = 0.36  # inches


def plot_separation(
    medians: pd.DataFrame, intervals: pd.DataFrame, rows: Sequence[str] | None = None
) -> Figure:
    """Plot the median SI-SDR (dB) of both sources with its 95% interval, one row an estimator.

    Args:
        medians (:class:`pandas.DataFrame`): Columns `si_sdr_<source>`, one row an estimator, by the
            names in tables.
        intervals (:class:`pandas.DataFrame`): The result of :func:`.median_intervals`.
        rows (sequence of str, optional): Names of those to show, from the top; all if None.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if there is no row, or one has no median.
    """
    names = list(medians.index if rows is None else rows)
    check(len(names) > 0, "rows", names, "at least one")
    for name in names:
        check(name in medians.index, "rows", name, f"one of {', '.join(medians.index)}")
    with matplotlib.rc_context(STYLE):
        figure = NotebookFigure(figsize=(7.5, 1.0 + ROW * len(names)), layout="constrained")
        panels = figure.subplots(1, len(SOURCES), sharey=True)
        for axes, source in zip(panels, SOURCES, strict=True):
            column = f"si_sdr_{source}"
            ends = of_figure(intervals, column, pd.Index(names))
            places = range(len(names))
            axes.hlines(places, ends["low"], ends["high"], color=BLUE, linewidth=2)
            axes.plot(medians.loc[names, column], places, "o", color=BLUE, markersize=5)
            for place, value in zip(places, medians.loc[names, column], strict=True):
                axes.annotate(
                    f"{value:.2f}", (value, place), (0, 5), textcoords="offset points", ha="center"
                )
            axes.set_title(source)
            axes.set_xlabel("SI-SDR (dB)")
            axes.set_ylim(len(names) - 0.5, -0.75)  # the first row on top
            axes.margins(x=0.08)
        panels[0].set_yticks(range(len(names)), names)
        return figure
