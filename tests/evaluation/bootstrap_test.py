"""Intervals of medians: songs are drawn, all rows get the same ones, and the level is kept."""

import numpy as np
import pandas as pd
import pytest

from asteroid_sinudae.evaluation import bootstrap
from asteroid_sinudae.evaluation.bootstrap import median_intervals


def made_rows(rng, n_songs=30, gain=0.5, noise=0.3, per_song=(3, 8)):
    """Two rows on the same segments: songs differ far more than the rows do."""
    sizes = rng.integers(*per_song, n_songs)
    songs = np.repeat([f"song {number}" for number in range(n_songs)], sizes)
    levels = np.repeat(rng.normal(8, 4, n_songs), sizes) + rng.normal(0, 1, len(songs))
    ours = levels + gain + rng.normal(0, noise, len(songs))
    return {
        "STFT": pd.DataFrame({"si_sdr": levels}, songs),
        "ours": pd.DataFrame({"si_sdr": ours}, songs),
    }


def test_the_statistic_is_the_median_over_all_segments_of_the_drawn_songs():
    rng = np.random.default_rng(0)
    table = made_rows(rng, n_songs=7)["ours"]
    songs = sorted(set(table.index))
    drawn = rng.integers(0, 7, (20, 7))
    figure = bootstrap._sorted_figure(table["si_sdr"], songs)
    found = bootstrap._median(figure, bootstrap._counts(drawn, 7))
    expected = [
        np.median(np.concatenate([table.loc[[songs[number]], "si_sdr"] for number in numbers]))
        for numbers in drawn
    ]
    assert len({len(table.loc[[song]]) for song in songs}) > 1  # of odd and even numbers
    np.testing.assert_array_equal(found, expected)


def test_intervals_are_those_of_a_plain_loop():
    rows = made_rows(np.random.default_rng(1))
    found = median_intervals(rows, "STFT")
    rng, of_song = np.random.default_rng(99), {}
    for name, table in rows.items():
        of_song[name] = [group.to_numpy() for _, group in table["si_sdr"].groupby(level=0)]
    medians = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        medians.append([np.median(np.concatenate([v[i] for i in drawn])) for v in of_song.values()])
    stft, ours = np.array(medians).T
    for row, values in (("STFT", stft), ("ours", ours)):
        ends = found.loc[(row, "si_sdr"), ["low", "high"]]
        np.testing.assert_allclose(ends, np.percentile(values, [2.5, 97.5]), atol=0.25)
    _, _, difference, *ends = found.loc[("ours", "si_sdr")]
    assert difference == rows["ours"]["si_sdr"].median() - rows["STFT"]["si_sdr"].median()
    np.testing.assert_allclose(ends, np.percentile(ours - stft, [2.5, 97.5]), atol=0.1)
    # Of other songs for each row the difference would have the width of both together.
    low, high = np.percentile(ours - rng.permutation(stft), [2.5, 97.5])
    assert ends[1] - ends[0] < 0.5 * (high - low)


def test_segments_of_a_song_count_as_dependent():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=20), 50)
    tables = (
        pd.DataFrame({"x": values}, np.repeat(np.arange(20), 50).astype(str)),
        pd.DataFrame({"x": values}, np.arange(1000).astype(str)),  # as if all were songs
    )
    (low, high), (lower, higher) = (
        median_intervals({"a": table}).loc[("a", "x"), ["low", "high"]] for table in tables
    )
    assert high - low > 3 * (higher - lower)


def test_intervals_hold_the_true_median_as_often_as_they_say():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(300):
        songs = np.repeat([str(number) for number in range(25)], 4)
        values = np.repeat(rng.normal(size=25), 4) + rng.normal(0, 0.5, 100)
        found = median_intervals({"a": pd.DataFrame({"x": values}, songs)}, n_resamples=399)
        low, high = found.loc[("a", "x"), ["low", "high"]]
        hits += low <= 0 <= high
    assert 0.90 < hits / 300 < 0.99


def test_the_same_draws_every_time_and_in_batches(monkeypatch):
    rows = made_rows(np.random.default_rng(4))
    first = median_intervals(rows, "STFT", n_resamples=299)
    monkeypatch.setattr(bootstrap, "BATCH", 299)
    pd.testing.assert_frame_equal(first, median_intervals(rows, "STFT", n_resamples=299))
    others = median_intervals(rows, "STFT", n_resamples=299, seed=1)
    assert (first["low"] != others["low"]).all()


def test_without_a_reference_there_are_no_differences():
    rows = made_rows(np.random.default_rng(5))
    columns = ["difference", "difference_low", "difference_high"]
    for reference in (None, "not done yet"):
        found = median_intervals(rows, reference, n_resamples=99)
        assert found[columns].isna().all(axis=None) and found["low"].notna().all()
    found = median_intervals(rows, "STFT", n_resamples=99)
    assert found.loc["STFT", columns].isna().all(axis=None)
    assert found.loc["ours", columns].notna().all(axis=None)


def test_what_no_bootstrap_can_be_made_of():
    rows = made_rows(np.random.default_rng(6))
    one = {name: table.loc[["song 3"]] for name, table in rows.items()}
    with pytest.raises(ValueError, match="^a bootstrap needs at least 2 songs, got 1$"):
        median_intervals(one, "STFT")
    fewer = {**rows, "ours": rows["ours"].drop("song 7")}
    with pytest.raises(ValueError, match="the same songs, got 'song 7' in one of STFT, ours$"):
        median_intervals(fewer, "STFT")
    rows["ours"].iloc[3] = np.inf
    with pytest.raises(ValueError, match="^si_sdr must be finite for a bootstrap, got NaN or inf"):
        median_intervals(rows, "STFT")
