"""Tables: what runs, what fails or is killed, and what is in them at the end."""

import csv
import json
import os
import random
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import RECIPE, environment, printed_tables
from made_results import (
    BASE,
    CONF,
    COSTS,
    SHIPPED,
    SOURCE,
    TITLES,
    Runner,
    changed,
    jobs_of,
    segments_of,
    table_of,
    write_baseline,
    write_result,
    write_yaml,
)

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.runs import conf as configurations
from asteroid_sinudae.runs import declaration, intervals, results
from asteroid_sinudae.runs import jobs as jobs_module
from asteroid_sinudae.utils import locks


def test_options_hold_for_all_rows_and_are_written_down(tmp_path, run_tables):
    runner = Runner()
    run_tables("--seeds", "0", runner=runner, n_filters=16, lr=0.01)
    confs = list(runner.confs.values())
    assert [conf["filterbank"]["n_filters"] for conf in confs] == [16, 16]  # 8 in the base
    assert [conf["optim"]["lr"] for conf in confs] == [0.01, 0.01]
    assert [conf["objective"]["sort"] for conf in confs] == [False, False]
    assert list(table_of(tmp_path)["C"])[:2] == [16, 16]
    text = (tmp_path / "exp" / "table" / "table.md").read_text()
    assert "Given for all rows that set nothing else: n_filters=16, lr=0.01, max_steps=7." in text


# The table


def test_cells_are_medians_over_segments_and_runs(tmp_path, small):
    declared, baselines, jobs = jobs_of(small, tmp_path, seeds=(0, 1))
    for job in jobs[:3]:  # both runs of the first row, one of the second
        write_result(
            job.run.folder, job.conf, job.seed, n_segments=5 + job.seed, steps=7 + job.seed
        )
    write_baseline(baselines[0].run.folder, baselines[0].conf, n_segments=6)
    jobs = [*baselines, *jobs]
    read = [results.read_result(job, results.describe_source(SOURCE)) for job in jobs]
    table = results.make_table(declared, jobs, read)
    assert list(table["Setup"]) == ["conv/conv", "conv/mod-cos, squared", "STFT/iSTFT"]
    assert list(table["C"]) == [8, 8, 1025]

    runs = [segments_of(0, 5), segments_of(1, 6)]
    both = pd.concat([run[run["representation"] == "conv DAE"] for run in runs])
    one = runs[0][runs[0]["representation"] == "conv DAE"]
    stft = runs[1][runs[1]["representation"] == "STFT"]
    assert list(results.METRICS.values()) == TITLES
    for row, segments in ((0, both), (1, one), (2, stft)):
        for column, title in results.METRICS.items():
            assert table[f"{title} (dB)"][row] == pytest.approx(np.median(segments[column]))
            lower, upper = np.percentile(segments[column], [25, 75])
            assert table[f"{title} IQR (dB)"][row] == pytest.approx(upper - lower)
        error = np.median(segments["additivity_error"])
        assert table["Additivity error"][row] == pytest.approx(error)
    first = table.loc[0]
    assert (first["Runs"], first["Updates"], first["Training time (min)"]) == (2, 7.5, 1.5)
    assert first["Parameters (M)"] == 6.4768 and first["Parameters in paper (M)"] == 6.476
    assert list(table["Coefficients per sample"]) == [3.125, 3.125, 6.25]
    assert list(table["Mask decisions per second"]) == [137812.5, 137812.5, 275625.0]
    assert table["SI-SDR-BM in paper (dB)"][2] == 8.8 and list(table["Runs"]) == [2, 1, 1]
    training = ["Parameters (M)", "Training time (min)", "Updates", "SI-SDR in paper (dB)"]
    assert table.loc[2, training].isna().all()

    text = results.to_markdown(declared, table, jobs, read, {"lr": 0.001, "max_steps": 7})
    assert text.startswith("# A small table\n\n| Setup ")
    cells = [cell.strip() for cell in text.splitlines()[4].split("|")]
    assert cells[1:4] == ["conv/conv", "8", f"{first['SI-SDR (dB)']:.2f}"]
    assert cells[-6:] == ["6.4768", "6.476", "1.5", "8", "2", ""]
    assert "Given for all rows that set nothing else: lr=0.001, max_steps=7." in text
    assert "Incomplete: 1 of 5 runs missing, squared seed 1." in text
    assert "Seeds: 0, 1. Test segments: 6, 5 of 1 tracks; wav of music." in text
    assert "Evaluated on a CPU; commit abc; torch 2.13.0." in text
    assert "lets a mask that knows the sources see the phase." in text
    assert "The energy-ratio mask, v² / (v² + a²) > 1/2, is that of t = 1." in text


def test_table_of_nothing(tmp_path, small):
    declared, baselines, jobs = jobs_of(small, tmp_path)
    jobs = [*baselines, *jobs]
    table = results.make_table(declared, jobs, [None] * 3)
    assert table[[f"{title} (dB)" for title in TITLES]].isna().all(axis=None)
    assert list(table["Runs"]) == [0, 0, 0]
    text = results.to_markdown(declared, table, jobs, [None] * 3, {})
    line = next(line for line in text.splitlines() if line.startswith("| STFT"))
    assert set(line.split("|")[3].split()) == {"–"} and "nan" not in text.lower()
    assert "Given" not in text
    missing = "stft_plain, plain seed 0, squared seed 0"
    assert f"Incomplete: 3 of 3 runs missing, {missing}." in text


def test_papers_columns_are_those_that_it_has(tmp_path):
    path = write_yaml(tmp_path / "tables.yml", changed("table", "stft", value=None))
    declared, baselines, jobs = jobs_of(path, tmp_path)
    table = results.make_table(declared, jobs, [None, None])
    assert "SI-SDR-BM in paper (dB)" not in table and "SI-SDR in paper (dB)" in table
    assert list(table["Setup"]) == ["conv/conv", "conv/mod-cos, squared"] and baselines == []


def test_models_beside_are_rows_between(tmp_path, small):
    declared, baselines, jobs = jobs_of(small, tmp_path, pretrained="a_model")
    for job in jobs:
        write_result(job.run.folder, job.conf)
    write_baseline(baselines[0].run.folder, baselines[0].conf)
    jobs = [*baselines, *jobs]
    read = [results.read_result(job, results.describe_source(SOURCE)) for job in jobs]
    table = results.make_table(declared, jobs, read)
    assert list(table["Setup"])[2:] == ["a_model", "STFT/iSTFT"] and len(table) == 4
    expected = segments_of(0).query("representation == 'a_model'")
    assert table["SI-SDR-BM 1 (dB)"][2] == pytest.approx(expected["si_sdr_bm_1"].median())
    assert table["Coefficients per sample"][2] == 1.0 and table["Runs"][2] == 1
    assert table.loc[2, ["C", "Updates", "Parameters (M)"]].isna().all()
    without = results.make_table(declared, jobs, [read[0], None, None])
    assert list(without["Setup"])[2:] == ["STFT/iSTFT"]


@pytest.mark.parametrize(
    "medians, report_row, sentence",
    [
        ([9.7, 3.0, 8.3], "plain", "9.7 dB (conv/conv, 7 updates), 1.4 dB above"),
        ([9.7, 3.0, 8.3], "squared", "3.0 dB (conv/mod-cos, squared, 7 updates), 5.3 dB below"),
        ([np.nan, 8.3, 8.3], "plain", "8.3 dB (conv/mod-cos, squared, 7 updates), level with"),
    ],
)
def test_the_sentence_is_about_the_row_of_the_page(tmp_path, medians, report_row, sentence):
    path = write_yaml(tmp_path / "tables.yml", changed("table", "report_row", value=report_row))
    declared, _, jobs = jobs_of(path, tmp_path)
    table = pd.DataFrame(
        {
            "Setup": ["conv/conv", "conv/mod-cos, squared", "STFT/iSTFT"],
            "SI-SDR-BM 0.5 (dB)": medians,
            "Updates": [7.0, 7.0, np.nan],
        }
    )
    said = results.to_sentence(declared, table)
    assert f" come out at {sentence} the STFT/iSTFT (8.3 dB)" in said
    others = {name for name in ("conv/conv", "conv/mod-cos, squared") if name not in sentence}
    known = {name for name, value in zip(table["Setup"], medians, strict=True) if value == value}
    assert all(f"dB ({name}, 7 updates)" in said for name in others & known)
    table["SI-SDR-BM 0.5 (dB)"] = [9.7, 3.0, np.nan]
    assert results.to_sentence(declared, table) == ""


@pytest.mark.parametrize("name", configurations.read_yaml(SHIPPED))
def test_tables_fit_a_terminal(tmp_path, name):
    declared = declaration.load_table(SHIPPED, name, BASE)
    jobs = declaration.make_jobs(declared, BASE, list(declared.all_rows()), [0], tmp_path)
    for job in jobs:
        if job.is_baseline:
            write_baseline(job.run.folder, job.conf)
        else:
            models = {
                "conv DAE": COSTS,
                **dict.fromkeys(job.conf["baseline"]["pretrained"].split(), COSTS),
            }
            steps = job.conf["training"]["max_steps"] % 59_000  # -1 is of no limit
            write_result(job.run.folder, job.conf, steps=steps, representations=models)
    read = [results.read_result(job, results.describe_source(SOURCE)) for job in jobs]
    figures = results.make_table(declared, jobs, read)
    assert figures["Setup"].is_unique and len(figures) >= len(jobs)
    text = intervals.for_terminal(figures)
    assert max(map(len, text.splitlines())) <= 100
    (table,) = printed_tables(text)
    assert [row[0] for row in table[1:]] == list(figures["Setup"])


# Running


def test_what_is_done_is_not_done_again(tmp_path, run_tables, capsys):
    first = Runner()
    run_tables("--rows", "squared", "--seeds", "0", runner=first)
    assert first.calls == [("train.py", "squared_seed0"), ("eval.py", "squared_seed0")]
    assert list(table_of(tmp_path)["Runs"][:2]) == [0, 1]
    assert "Incomplete: 2 of 3 runs missing, stft_plain, plain seed 0." in capsys.readouterr().out
    second = Runner()
    run_tables("--seeds", "0", "1", runner=second)
    assert "squared_seed0" not in [folder for _, folder in second.calls]
    out = capsys.readouterr().out
    assert "[1/5] stft_plain: evaluating\n[2/5] plain seed 0: training\n" in out
    assert "[2/5] plain seed 0: training\n[2/5] plain seed 0: evaluating\n" in out
    assert "[3/5] squared seed 0: done before\n" in out and "Incomplete" not in out
    assert out.endswith(f"{(tmp_path / 'exp/table/table.md').read_text().splitlines()[-1][2:]}\n")
    assert "conv/mod-cos, squared, 7 updates" in out.splitlines()[-1]
    printed = out[out.index("# A small table") :].splitlines()
    assert max(map(len, printed[:-3])) <= 100  # then paths, and the sentence
    md = (tmp_path / "exp" / "table" / "table.md").read_text()
    shown = "  ".join(printed[2:-1]).split()
    median = next(line for line in md.splitlines() if line.startswith("| conv/conv")).split("|")[3]
    assert "conv/conv" in shown and median.strip() in shown
    assert "- No intervals: a bootstrap needs at least 2 songs, got 1." in printed
    assert "\n- No intervals: a bootstrap needs at least 2 songs, got 1.\n" in md
    third = Runner()
    run_tables("--seeds", "0", max_steps=9, runner=third)
    assert len(third.calls) == 4 and list(table_of(tmp_path)["Updates"][:2]) == [9, 9]
    assert "[1/3] stft_plain: done before\n" in capsys.readouterr().out


def test_baseline_is_a_job_of_its_own(tmp_path, run_tables, capsys):
    runner = Runner()
    run_tables("--rows", "stft_plain", runner=runner)  # once, whatever the seeds
    assert runner.calls == [("eval.py", "stft_plain")]
    path = tmp_path / "exp" / "table" / "stft_plain" / "conf.yml"
    conf = configurations.read_conf(path, BASE)
    assert list(conf) == ["data", "baseline"]
    table = table_of(tmp_path)
    assert list(table["Runs"]) == [0, 0, 1] and np.isfinite(table["SI-SDR-RM (dB)"][2])
    assert "Incomplete: 6 of 7 runs missing, plain seed 0, " in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        run_tables("--rows", "stft_plain", stft_n_fft=4096)
    message = "stft_plain belongs to another configuration: stft_n_fft=2048 there, 4096 asked for"
    assert message in ended.value.code and "1 of 1 jobs failed:\n  stft_plain: " in ended.value.code


def test_untrained_rows_stay_so(tmp_path, run_tables):
    start = {"label": "untrained", "set": {"max_steps": 0}}
    path = write_yaml(tmp_path / "start.yml", changed("table", "rows", "start", value=start))
    runner = Runner()
    run_tables("--seeds", "0", runner=runner, tables=path, max_steps=7)
    steps = {folder.name: conf["training"]["max_steps"] for folder, conf in runner.confs.items()}
    assert steps == {"plain_seed0": 7, "squared_seed0": 7, "start_seed0": 0}
    assert list(table_of(tmp_path)["Updates"][:3]) == [7, 7, 0]
    longer = Runner()
    run_tables("--seeds", "0", runner=longer, tables=path, max_steps=9)
    assert {folder.name for folder in longer.confs} == {"plain_seed0", "squared_seed0"}
    assert list(table_of(tmp_path)["Updates"][:3]) == [9, 9, 0]
    start["set"]["max_steps"] = 3  # tells the row apart
    write_yaml(path, changed("table", "rows", "start", value=start))
    with pytest.raises(
        SystemExit, match="^tables.py: max_steps cannot be given: rows of table set"
    ):
        run_tables(tables=path)


def test_table_csv_has_unrounded_numbers(tmp_path, run_tables):
    run_tables("--seeds", "0")
    with (tmp_path / "exp" / "table" / "table.csv").open(newline="") as file:
        header, first, *_ = list(csv.reader(file))
    assert header[:4] == ["Setup", "C", "SI-SDR (dB)", "SI-SDR IQR (dB)"]
    median = segments_of(0).query("representation == 'conv DAE'")["si_sdr"].median()
    assert first[:2] == ["conv/conv", "8"] and float(first[2]) == pytest.approx(median, rel=1e-12)


def test_others_run_on_after_one_fails(tmp_path, run_tables, capsys):
    fails = {
        ("train.py", "plain_seed0"): ValueError("train.py: no\nmemory"),
        ("eval.py", "squared_seed1"): OSError("eval.py: disk full"),
    }
    runner = Runner(fails)
    with pytest.raises(SystemExit) as ended:
        run_tables("--seeds", "0", "1", runner=runner)
    assert ended.value.code == (
        "tables.py: 2 of 5 jobs failed:\n"
        "  plain seed 0: train.py: no memory\n"
        "  squared seed 1: eval.py: disk full"
    )
    assert len(runner.calls) == 8 and list(table_of(tmp_path)["Runs"][:2]) == [1, 1]
    assert "[2/5] plain seed 0: failed\n[3/5] squared seed 0: training\n" in capsys.readouterr().out
    run_tables("--seeds", "0", "1")
    assert list(table_of(tmp_path)["Runs"][:2]) == [2, 2]


def test_folder_of_another_configuration_fails_alone(tmp_path, run_tables, caplog):
    run_tables("--rows", "plain", "--seeds", "0", lr=0.5)
    runner = Runner()
    with pytest.raises(SystemExit) as ended:
        run_tables("--seeds", "0", runner=runner)
    message = "plain_seed0 belongs to another configuration: lr=0.5 there, 0.0001 asked for; choose"
    assert message in ended.value.code and "1 of 3 jobs failed" in ended.value.code
    assert [folder for _, folder in runner.calls] == ["stft_plain", *["squared_seed0"] * 2]
    caplog.clear()
    run_tables("--rows", "squared", "--seeds", "0")
    assert f"not in the table, plain seed 0: {tmp_path}/exp/table/{message}" in caplog.text


def test_training_beyond_what_was_asked_for_is_not_a_result(run_tables):
    class Longer(Runner):  # as train.py does where a checkpoint has more updates
        def __call__(self, script, arguments, lock):
            super().__call__(script, arguments, lock)
            if script.name == "eval.py":
                write_result(Path(arguments[1]), self.confs[Path(arguments[1])], steps=60)

    with pytest.raises(SystemExit, match="plain seed 0: .*: 60 updates there, 7 asked for"):
        run_tables("--rows", "plain", "--seeds", "0", runner=Longer())


def test_job_of_another_process_is_left_out(tmp_path, run_tables, monkeypatch, capsys):
    monkeypatch.setattr(jobs_module, "locked", lambda path: locks.locked(path, seconds=0.0))
    folder = tmp_path / "exp" / "table"
    with locks.locked(folder / "plain_seed0" / ".lock"):
        with locks.locked(folder / "stft_plain" / ".lock"):
            run_tables("--seeds", "0")
    out = capsys.readouterr().out
    holder = rf"\S*\.lock is held by process {os.getpid()} on .*: wait for its end"
    assert re.search(rf"\[1/3\] stft_plain: left out, {holder}", out)
    assert re.search(rf"\[2/3\] plain seed 0: left out, {holder}", out)
    assert "Incomplete: 2 of 3 runs missing, stft_plain, plain seed 0." in out
    run_tables("--seeds", "0")
    assert list(table_of(tmp_path)["Runs"]) == [1, 1, 1]


def test_interrupted_run_ends_with_one_line(run_tables, capsys):
    runner = Runner({("eval.py", "plain_seed0"): KeyboardInterrupt()})
    with pytest.raises(SystemExit, match="^130$"):
        run_tables(runner=runner)
    assert capsys.readouterr().err == "tables.py: interrupted; run it again to continue\n"
    assert runner.calls[-1] == ("eval.py", "plain_seed0")


# End to end


def test_trained_untrained_and_baseline_rows_fill_the_table(tmp_path, run_tables):
    def in_this_process(script, arguments, lock):
        with pytest.MonkeyPatch.context() as context:
            context.setattr(sys, "argv", [str(script), *arguments])
            context.syspath_prepend(str(RECIPE))
            runpy.run_path(str(script), run_name="__main__")

    conf = {group: values for group, values in CONF.items() if group != "baseline"}
    conf = write_yaml(tmp_path / "conf.yml", conf)
    content = changed("table", "rows", "start", value={"label": "start", "set": {"max_steps": 0}})
    content["table"]["base"].update(CONF["baseline"])
    content["table"]["stft"]["stft_short"] = {"label": "short", "set": {"stft_n_fft": 128}}
    path = write_yaml(tmp_path / "tables.yml", content)
    options = dict(tables=path, max_steps=7)
    run_tables("--seeds", "0", "--conf", conf, runner=in_this_process, **options)
    table = table_of(tmp_path)
    ours = [title for title in table if title != "Setup" and "paper" not in title]
    figures = table.loc[:2, ours].to_numpy(float)
    assert np.isfinite(figures).sum() == figures.size - 1  # the conv decoder has no carriers
    at_carrier = table["Kernels at carrier (%)"]
    assert at_carrier.isna()[0] and list(at_carrier[3:]) == [100, 100]
    assert table["Sparsity of A (voice)"].between(0.01, 0.99).all()
    stft = table.loc[3:, ours].dropna(axis=1)
    assert (stft["SI-SDR (dB)"] > 100).all() and list(stft["C"]) == [129, 65]
    assert list(stft["Coefficients per sample"]) == [258 / 64, 130 / 64] and stft.shape[1] == 16
    assert list(table["Updates"][:3]) == [7, 7, 0] and list(table["Runs"]) == [1] * 5
    assert list(table["Parameters (M)"][:3]) == [
        sum(p.numel() for p in SinuDAE(n_filters=8, decoder=decoder, kernel_size=256).parameters())
        / 1e6
        for decoder in ("conv", "mod_cos", "mod_cos")
    ]
    folder = tmp_path / "exp" / "table"
    paths = [folder / name / "final_metrics.json" for name in ("plain_seed0", "stft_plain")]
    trained, baseline = (json.loads(path.read_text())["medians"] for path in paths)
    assert table["SI-SDR-BM 1 (dB)"][0] == pytest.approx(trained["conv DAE"]["si_sdr_bm_1"])
    assert table["SI-SDR-RM (dB)"][3] == pytest.approx(baseline["STFT"]["si_sdr_rm"])
    assert baseline["STFT"] == trained["STFT"] and list(baseline) == ["STFT", MIXTURE]
    start = SinuDAE.from_pretrained(folder / "start_seed0" / "best_model.pth")
    torch.manual_seed(0)
    expected = SinuDAE(**start.get_model_args()).state_dict()
    assert all(torch.equal(start.state_dict()[name], value) for name, value in expected.items())
    before = [path.stat().st_mtime_ns for path in paths]
    nothing = Runner()
    run_tables("--seeds", "0", "--conf", conf, runner=nothing, **options)
    assert nothing.calls == [] and [path.stat().st_mtime_ns for path in paths] == before


@pytest.mark.slow
def test_killed_at_random_ends_with_the_same_table(tmp_path, small, data_dir):
    conf = write_yaml(tmp_path / "conf.yml", CONF)
    options = ["--max_steps", "400", "--epochs", "1000", "--checkpoint_minutes", "0.001"]

    def start(name):
        command = [sys.executable, RECIPE / "tables.py", "--table", "table", "--conf", conf]
        command += ["--tables", small, "--data_dir", data_dir, "--seeds", "0", *options]
        command += ["--exp_root", tmp_path / name]
        return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    assert start("whole").wait() == 0
    seconds = time.monotonic() - begun
    rng = random.Random(0)
    names, killed = ["cut0"], 0
    while killed < 10:
        process = start(names[-1])
        try:
            assert process.wait(rng.uniform(0.2, 0.7) * seconds) == 0
            names.append(f"cut{len(names)}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert start(names[-1]).wait() == 0
    for name in names:
        for row in ("plain_seed0", "squared_seed0", "stft_plain"):
            paths = [tmp_path / n / "table" / row / "segments.csv" for n in ("whole", name)]
            assert paths[0].read_bytes() == paths[1].read_bytes()
        whole, cut = (
            pd.read_csv(tmp_path / n / "table" / "table.csv").drop(columns="Training time (min)")
            for n in ("whole", name)
        )
        pd.testing.assert_frame_equal(whole, cut, check_exact=True)
