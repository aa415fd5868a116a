"""Separators of several seeds, compared on the same segments."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import call

from asteroid_sinudae.evaluation.bootstrap import mean_difference, median_intervals
from asteroid_sinudae.evaluation.seeds import compare_seeds

COLUMNS = ["si_sdr_vocals", "si_sdr_accompaniment"]
SONGS = [f"song {number}" for number in range(8)]
MEDIANS, OF_MEDIANS, OF_MEANS = (
    f"SI-SDR vocals (dB){end}" for end in ("", ", minus the first", ", mean of differences")
)


def training(seed, gains, n_starts=3):
    """Segments on which songs differ by much, seeds and rows by little."""
    rng = np.random.default_rng(seed)
    where = pd.MultiIndex.from_product([SONGS, range(n_starts)], names=["track", "start"])
    hard = np.random.default_rng(99).normal(0, 5, len(where))
    frames = []
    for name, gain in gains.items():
        values = {column: hard + gain + rng.normal(0, 0.1, len(where)) for column in COLUMNS}
        frames.append(pd.DataFrame(values, where).reset_index().assign(representation=name))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def trainings():
    return [training(seed, {"pair": 0.0, "STFT": 0.5}) for seed in range(3)]


def test_medians_and_differences(trainings):
    table = compare_seeds(trainings, COLUMNS)
    assert list(table.index) == ["pair", "STFT"] and len(table.columns) == 6
    own = [part[part["representation"] == "STFT"] for part in trainings]
    medians = [f"{part['si_sdr_vocals'].median():.2f}" for part in own]
    assert table.loc["STFT", MEDIANS] == ", ".join(medians)
    assert table.loc["pair", OF_MEDIANS] is None and table.loc["pair", OF_MEANS] is None
    pooled = pd.concat(trainings).set_index("track")
    rows = {name: part[COLUMNS] for name, part in pooled.groupby("representation", sort=False)}
    expected = median_intervals(rows, "pair").loc[("STFT", "si_sdr_vocals")]
    expected = expected[["difference", "difference_low", "difference_high"]].tolist()
    assert numbers_in(table.loc["STFT", OF_MEDIANS]) == pytest.approx(expected, abs=0.006)
    mean, low, high = numbers_in(table.loc["STFT", OF_MEANS])
    assert 0.45 < low < mean < high < 0.55


def numbers_in(text):
    return [float(number) for number in re.findall(r"[+-][\d.]+", text)]


def test_the_mean_counts_each_song_once():
    """However many segments it has."""
    where = [("a", 0), ("b", 0), ("b", 1), ("b", 2)]
    segments = pd.MultiIndex.from_tuples(where, names=["track", "start"])
    values = pd.Series([1.0, 3.0, 3.0, 3.0], segments)
    found = mean_difference(values, pd.Series(0.0, segments))
    assert found == (2.0, 1.0, 3.0)


def test_order_of_rows_and_segments_does_not_matter(trainings):
    shuffled = [trainings[0], trainings[1][::-1], trainings[2].sample(frac=1, random_state=0)]
    pd.testing.assert_frame_equal(
        compare_seeds(shuffled, COLUMNS), compare_seeds(trainings, COLUMNS)
    )


@pytest.mark.parametrize(
    "second, message",
    [
        (training(1, {"pair": 0.0}), r"trainings 1 and 2 must have the same rows, not \['STFT'\]"),
        (
            training(1, {"pair": 0.0, "STFT": 0.0}, n_starts=2),
            "trainings 1 and 2 must have the same segments",
        ),
    ],
)
def test_trainings_that_do_not_go_together(trainings, second, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        compare_seeds([trainings[0], second], COLUMNS)


def test_too_little_to_compare(trainings):
    with pytest.raises(ValueError, match="at least one training, got none"):
        compare_seeds([], COLUMNS)
    with pytest.raises(ValueError, match="at least one separator, got none"):
        compare_seeds([part[:0] for part in trainings], COLUMNS)
    one_song = [part[part["track"] == SONGS[0]] for part in trainings]
    with pytest.raises(ValueError, match="a bootstrap needs at least 2 songs, got 1"):
        compare_seeds(one_song, COLUMNS)


def test_script(trainings, tmp_path, capsys):
    """It leaves out what no training changes."""
    for number, part in enumerate(trainings):
        informed = part[part["representation"] == "pair"]
        others = [
            informed.assign(representation=name)
            for name in ("unprocessed mixture", "pair, informed mask 0.5")
        ]
        folder = tmp_path / f"seed{number}"
        folder.mkdir()
        pd.concat([part, *others]).to_csv(folder / "segments.csv", index=False)
    folders = [str(tmp_path / f"seed{number}") for number in range(3)]
    call("compare_separators.py", *folders, output=tmp_path / "table.md")
    printed, written = capsys.readouterr().out, (tmp_path / "table.md").read_text()
    table = compare_seeds(trainings, COLUMNS)
    for text in written, printed:
        assert "mixture" not in text and "informed" not in text
        assert table.loc["STFT", MEDIANS] in text and table.loc["STFT", OF_MEANS] in text
    assert max(map(len, printed.splitlines()[:-2])) <= 100
    (tmp_path / "seed1" / "segments.csv").unlink()
    with pytest.raises(SystemExit, match="^compare_separators.py: .*segments.csv not found"):
        call("compare_separators.py", *folders, output=tmp_path / "table.md")
