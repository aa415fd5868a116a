"""Intervals and differences in tables, in numbers, for reading and on the terminal."""

import json

import numpy as np
import pandas as pd
import pytest
from made_results import (
    BASE,
    SOURCE,
    changed,
    jobs_of,
    segments_of,
    write_baseline,
    write_result,
    write_yaml,
)

from asteroid_sinudae.evaluation.bootstrap import median_intervals
from asteroid_sinudae.runs import declaration, jobs, results
from asteroid_sinudae.runs.intervals import MASKS, add_intervals, for_reading, for_terminal

LONG = "S=1024, the STFT's cost, four phases up to Nyquist, untrained"


def of_songs(run, n_songs):
    """Spread the segments of a written result over songs."""
    segments = pd.read_csv(run.segments_file)
    segments["track"] = [f"song {number % n_songs}" for number in range(len(segments))]
    segments.to_csv(run.segments_file, index=False)


@pytest.fixture
def make(tmp_path):
    """A table of which all is done but its last row, with this many songs."""

    def make(n_songs, reference=None):
        content = changed("table", "rows", "squared", "label", value=LONG)
        if reference:
            content["table"]["reference"] = reference
        path = write_yaml(tmp_path / "tables.yml", content)
        table, baselines, trained = jobs_of(path, tmp_path, seeds=(0, 1))
        all_jobs = [*baselines, *trained]
        for job in all_jobs[:-1]:
            if job.is_baseline:
                write_baseline(job.run.folder, job.conf, n_segments=40)
            else:
                write_result(job.run.folder, job.conf, job.seed, n_segments=40)
            of_songs(job.run, n_songs)
        read = [results.read_result(job, results.describe_source(SOURCE)) for job in all_jobs]
        return table, all_jobs, read

    return make


def test_each_row_has_intervals_and_differences_to_the_stft(make):
    table, all_jobs, read = make(n_songs=5)
    before = results.make_table(table, all_jobs, read)
    found, note = add_intervals(before, table, all_jobs, read)
    pd.testing.assert_frame_equal(found[list(before)], before)
    assert "medians of 5 songs" in note and note.endswith("are to: STFT/iSTFT.")
    samples = {}
    for job, result in zip(all_jobs, read, strict=True):
        if result is not None:
            samples.setdefault(job.row, []).append(result.segments[list(MASKS)])
    samples = {row: pd.concat(runs) for row, runs in samples.items()}
    assert len(samples["plain"]) == 80  # both runs
    expected = median_intervals(samples, "stft_plain")
    for column, title in MASKS.items():
        for row, name in enumerate(table.all_rows()):
            numbers = found.loc[row, [f"{title} low (dB)", f"{title} high (dB)"]].astype(float)
            np.testing.assert_array_equal(numbers, expected.loc[(name, column), ["low", "high"]])
            assert numbers.iloc[0] <= found.loc[row, f"{title} (dB)"] <= numbers.iloc[1]
        medians = found[f"{title} (dB)"]
        differences = found[f"{title} difference (dB)"]
        assert differences[0] == medians[0] - medians[2] and np.isnan(differences[2])


def test_the_reference_may_be_declared(make, tmp_path):
    table, all_jobs, read = make(n_songs=4, reference="plain")
    found, note = add_intervals(results.make_table(table, all_jobs, read), table, all_jobs, read)
    assert note.endswith("are to: conv/conv.")
    missing = found["SI-SDR-RM difference (dB)"].isna()
    assert list(missing) == [True, False, False]
    path = write_yaml(tmp_path / "wrong.yml", changed("table", "reference", value="stft_other"))
    message = "wrong.yml: table.reference must be one of the table's rows, got 'stft_other'$"
    with pytest.raises(ValueError, match=message):
        declaration.load_table(path, "table", BASE)


def test_without_any_reference_there_are_own_intervals_only(tmp_path, make):
    table, all_jobs, read = make(n_songs=4)
    alone = declaration.Table(table.name, table.title, table.base, table.rows)
    assert alone.reference is None
    figures = results.make_table(alone, all_jobs[1:], read[1:])
    found, note = add_intervals(figures, alone, all_jobs[1:], read[1:])
    assert not any("difference" in title for title in found) and "Differences" not in note
    assert "SI-SDR-RM high (dB)" in found and "difference" not in for_terminal(found)


def test_one_song_is_said_in_one_line(make):
    table, all_jobs, read = make(n_songs=1)
    before = results.make_table(table, all_jobs, read)
    found, note = add_intervals(before, table, all_jobs, read)
    assert note == "No intervals: a bootstrap needs at least 2 songs, got 1." and found is before
    nothing = [None] * len(read)
    before = results.make_table(table, all_jobs, nothing)
    assert add_intervals(before, table, all_jobs, nothing) == (before, "")


def test_for_reading_an_interval_is_one_column(make):
    table, all_jobs, read = make(n_songs=5)
    found, _ = add_intervals(results.make_table(table, all_jobs, read), table, all_jobs, read)
    shown = for_reading(found)
    assert shown.shape[1] == found.shape[1] - 9
    low, high = found.loc[0, ["SI-SDR-BM 1 low (dB)", "SI-SDR-BM 1 high (dB)"]]
    assert shown["SI-SDR-BM 1 95% (dB)"][0] == f"{low:.2f} to {high:.2f}"
    titles = ["difference", "difference low", "difference high"]
    middle, low, high = (found.loc[0, f"SI-SDR-RM {title} (dB)"] for title in titles)
    expected = f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"
    assert shown["SI-SDR-RM difference (dB)"][0] == expected
    text = results.to_markdown(table, shown, all_jobs, read, {})
    assert expected in text and "nan" not in text.lower() and "None" not in text


def test_the_terminal_gets_no_more_than_its_width(make, tmp_path, capsys):
    table, all_jobs, read = make(n_songs=5)
    found, _ = add_intervals(results.make_table(table, all_jobs, read), table, all_jobs, read)
    text = for_terminal(found)
    assert max(map(len, text.splitlines())) <= 100 and "nan" not in text and "None" not in text
    low, high, middle = (found.loc[0, f"SI-SDR-BM 0.5 {end}(dB)"] for end in ("low ", "high ", ""))
    assert f"{middle:.2f}±{(high - low) / 2:.2f}" in text
    assert all(word in text.split() for word in LONG.split())  # folded, not cut
    folder = tmp_path / "exp" / "table"
    jobs.write_table(table, all_jobs, results.describe_source(SOURCE), folder, {})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-3])) <= 100 and text in "\n".join(lines)
    csv = pd.read_csv(folder / "table.csv")
    np.testing.assert_array_equal(csv["SI-SDR-RM low (dB)"], found["SI-SDR-RM low (dB)"])
    assert "SI-SDR-RM 95% (dB)" in (folder / "table.md").read_text()


def test_readability_of_rows(tmp_path, small):
    """It is shown where it is known, and files of earlier versions do not have it."""
    table, _, (first, second) = jobs_of(small, tmp_path)
    for job in (first, second):
        write_result(job.run.folder, job.conf)
    source = results.describe_source(SOURCE)
    former = results.read_result(second, source)
    assert former.readability == {} and "sparsity" not in former.segments
    segments = pd.read_csv(first.run.segments_file)
    own = segments["representation"] == "conv DAE"
    segments.loc[own, "sparsity"], segments.loc[own, "variation"] = [0.1, 0.2, 0.3, 0.9, 0.9], 40
    segments.to_csv(first.run.segments_file, index=False)
    metrics = json.loads(first.run.metrics_file.read_text())
    facts = {"kernels_at_carrier": 0.75, "carriers_below_1_hz": 2}
    metrics["readability"] = {"conv DAE": facts, "STFT": {"kernels_at_carrier": 1.0}}
    first.run.metrics_file.write_text(json.dumps(metrics))
    both = [results.read_result(first, source), former]
    assert both[0].readability == facts
    figures = results.make_table(
        table, [first, second, *jobs_of(small, tmp_path)[1]], [*both, None]
    )
    titles = ["Kernels at carrier (%)", "Sparsity of A (voice)", "Variation of A (voice, 1/s)"]
    assert list(figures.loc[0, titles]) == [75, 0.3, 40]
    assert figures.loc[1:, titles].isna().all(axis=None)
    for value, message in ((1.5, "less than or equal to 1, got 1.5"), ("x", "a valid number, got")):
        metrics["readability"]["conv DAE"] = {"kernels_at_carrier": value}
        first.run.metrics_file.write_text(json.dumps(metrics))
        with pytest.raises(
            ValueError, match=f"readability.conv DAE.kernels_at_carrier .*{message}"
        ):
            results.read_result(first, source)
    assert segments_of(0).shape[1] == 8  # made without the new columns, as before
