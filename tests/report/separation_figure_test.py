"""The figure of what separators reach."""

import numpy as np
import pandas as pd
import pytest

from asteroid_sinudae import report
from asteroid_sinudae.evaluation.bootstrap import median_intervals

NAMES = ["ours", "theirs", "mixture"]


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    songs = np.repeat([f"song {k}" for k in range(6)], 4)
    return {
        name: pd.DataFrame(
            {
                f"si_sdr_{source}": level + rng.normal(size=24)
                for source in ("vocals", "accompaniment")
            },
            songs,
        )
        for level, name in zip((4, 3, -5), NAMES, strict=True)
    }


def medians_of(results):
    return pd.DataFrame({name: rows.median() for name, rows in results.items()}).T


def test_dots_and_lines_are_medians_and_their_intervals(results):
    medians, intervals = medians_of(results), median_intervals(results)
    figure = report.plot_separation(medians, intervals, ["theirs", "ours"])
    assert [axes.get_title() for axes in figure.axes] == ["vocals", "accompaniment"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["theirs", "ours"]
    for axes in figure.axes:
        column = f"si_sdr_{axes.get_title()}"
        (dots,) = axes.lines
        np.testing.assert_allclose(dots.get_xdata(), medians.loc[["theirs", "ours"], column])
        ends = [segment[:, 0] for segment in axes.collections[0].get_segments()]
        expected = [intervals.loc[(name, column), ["low", "high"]] for name in ("theirs", "ours")]
        np.testing.assert_allclose(ends, np.array(expected, float))
        written = [text.get_text() for text in axes.texts]
        assert written == [f"{medians.loc[name, column]:.2f}" for name in ("theirs", "ours")]
    assert len(report.plot_separation(medians, intervals).axes[0].get_yticks()) == 3


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "rows must be at least one, got"),
        (["x"], "rows must be one of ours, theirs, mixture, g"),
    ],
)
def test_rows_that_make_no_sense(results, rows, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        report.plot_separation(medians_of(results), median_intervals(results), rows)
