"""Experiments: their declaration, their jobs, runs that fail or are killed, and their table."""

import csv
import importlib
import json
import math
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from mutations import mutated_bytes, mutated_json

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import Manifest, Track
from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.filterbanks.bands import as_bands, n_kernels
from asteroid_sinudae.runs import conf as configurations
from asteroid_sinudae.runs import declaration, processes, results
from asteroid_sinudae.runs import jobs as jobs_module
from asteroid_sinudae.utils import locks

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "musdb18"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(RECIPE))
    tables, scripts = (importlib.import_module(name) for name in ("tables", "utils.scripts"))

BASE = configurations.read_yaml(scripts.BASE_CONF)
SHIPPED = RECIPE / "local" / "experiments.yml"
SMALL = {
    "table": {
        "title": "A small table",
        "base": {"n_filters": 8, "tv_weight": 0.0, "sort": False},
        "rows": {
            "plain": {
                "label": "conv/conv",
                "set": {"decoder": "conv"},
                "paper": {"si_sdr": 31.25, "parameters_m": 6.476},
            },
            "squared": {"label": "conv/mod-cos, squared", "paper": {"si_sdr": 32.62}},
        },
        "stft": {"stft_plain": {"label": "STFT/iSTFT", "paper": {"si_sdr_bm": 8.8}}},
    }
}
CONF = {
    "filterbank": {"kernel_size": 256, "stride": 64},
    "data": {"segment": 4000, "segment_hop": 2000},
    "optim": {"lr": 1.0e-3},
    "training": {"batch_size": 4, "max_steps": 7, "num_workers": 0},
    "baseline": {"stft_n_fft": 256, "stft_stride": 64},
}
SOURCE = {"kind": "wav", "path": "music"}
TITLES = ["SI-SDR", "SI-SDR-BM 0.5", "SI-SDR-BM 1", "SI-SDR-RM"]


def write_yaml(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def small(tmp_path):
    """The small experiment, in a file."""
    return write_yaml(tmp_path / "experiments.yml", SMALL)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Prepared tracks: tones as vocals, noise as accompaniment."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    tracks = []
    for number, (subset, name) in enumerate([("train", "A"), ("train", "B"), ("test", "C")]):
        track = Track(name, subset, 30_000, 0, root / subset / name)
        track.folder.mkdir(parents=True)
        tone = 0.3 * np.sin(2 * np.pi * (200 + 100 * number) * np.arange(30_000) / 44100)
        soundfile.write(track.vocals, tone, 44100, subtype="PCM_16")
        noise = 0.05 * rng.standard_normal(30_000)
        soundfile.write(track.accompaniment, noise, 44100, subtype="PCM_16")
        tracks.append(track)
    manifest = Manifest(44100, {**SOURCE, "tracks": []}, tuple(tracks), (), {}, "today")
    manifest.save(root)
    return root


COSTS = {"coefficients_per_sample": 3.125, "mask_decisions_per_second": 137812.5}
TRAINED = {  # systems of eval.py, with what comes in between
    "conv DAE": COSTS,
    "a_model": dict.fromkeys(COSTS, 1.0),
    "STFT": {name: 2 * value for name, value in COSTS.items()},
}
BASELINE = {"STFT": TRAINED["STFT"]}


def segments_of(seed, n_segments=5, systems=TRAINED):
    """Made-up metrics; only those of the auto-encoder depend on the run."""
    frames = []
    for name in (*systems, "unprocessed mixture"):
        number = seed if name == "conv DAE" else 1000 + len(name)
        values = np.random.default_rng(number).normal(10, 5, (n_segments, 5))
        frame = pd.DataFrame(values, columns=[*results.METRICS, "additivity_error"])
        frame.insert(0, "system", name)
        frame.insert(0, "start", 44100 * np.arange(n_segments))
        frame.insert(0, "track", "C")
        frames.append(frame)
    return pd.concat(frames)


def write_result(folder, conf, seed=0, steps=7, n_segments=5, systems=TRAINED, **changes):
    """What eval.py writes; `changes` replace parts of final_metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    segments_of(seed, n_segments, systems).to_csv(folder / "segments.csv", index=False)
    metrics = {
        "medians": {name: {"si_sdr": 10.0} for name in systems},
        "finished": "today",
        "systems": systems,
        "training": {"steps": steps, "epochs": 1, "seconds": 60.0 * (1 + seed)},
        "parameters": 6_476_800,
        "segments": n_segments,
        "test_tracks": 1,
        "source": SOURCE,
        "conf": conf,
        "device": "a CPU",
        "commit": "abc",
        "versions": {"torch": "2.13.0", "musdb": None},
        **changes,
    }
    (folder / "final_metrics.json").write_text(json.dumps(metrics))


def write_baseline(folder, conf, **changes):
    """What eval.py --stft writes."""
    training = dict.fromkeys(("steps", "epochs", "seconds"))
    changes = {"training": training, "parameters": 0, **changes}
    write_result(folder, conf, systems=BASELINE, **changes)


def jobs_of(path, tmp_path, seeds=(0,), **values):
    """The experiment, its baselines, and the runs of its rows."""
    conf = declaration.override(BASE, values)
    experiment = declaration.load_table(path, "table", conf)
    rows = declaration.parse_rows(None, experiment)
    jobs = declaration.make_jobs(experiment, conf, rows, seeds, tmp_path / "exp")
    n_baselines = len(experiment.stft)
    return experiment, jobs[:n_baselines], jobs[n_baselines:]


def parsed(options):
    """The configuration that options of train.py stand for."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(sys, "argv", ["train.py", *options])
        return scripts.parse_args_with_conf(scripts.Parser(""))[1]


class Runner:
    """Stands for the scripts: records their calls, and writes what eval.py would write."""

    def __init__(self, fails=()):
        self.calls, self.words, self.confs, self.fails = [], [], {}, fails

    def __call__(self, script, arguments, lock):
        folder = Path(arguments[1])
        call = (script.name, folder.name)
        self.calls.append(call)
        self.words.append([script.name, *arguments])
        if call in self.fails:
            raise self.fails[call]
        if script.name == "train.py":
            self.confs[folder] = parsed(arguments[4:])
        elif arguments[4:] == ["--stft"]:
            assert not (folder / "final_metrics.json").exists()
            write_baseline(folder, configurations.read_conf(folder / "conf.yml", BASE))
        else:
            assert not (folder / "final_metrics.json").exists() and len(arguments) == 4
            conf = self.confs[folder]
            write_result(folder, conf, conf["training"]["seed"], conf["training"]["max_steps"])


@pytest.fixture
def run_tables(tmp_path, small, data_dir, monkeypatch):
    """Run tables.py in this process, its scripts replaced."""

    def run(*arguments, runner=None, experiment="table", **options):
        options = {"experiments": small, "data_dir": data_dir, "max_steps": 7, **options}
        argv = ["tables.py", "--experiment", experiment, "--exp_root", tmp_path / "exp", *arguments]
        argv += [word for name, value in options.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
        monkeypatch.setattr(jobs_module, "run_script", runner or Runner())
        scripts.run(tables.main)

    return run


def table_of(tmp_path):
    return pd.read_csv(tmp_path / "exp" / "table" / "table.csv")


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


# The shipped experiments


@pytest.mark.parametrize("name, n_rows", [("table1", 7), ("table2", 6)])
def test_shipped_rows_have_the_papers_parameters(name, n_rows):
    experiment = declaration.load_table(SHIPPED, name, BASE)
    jobs = declaration.make_jobs(experiment, BASE, list(experiment.rows), [0], Path())
    assert len(jobs) == n_rows and len(experiment.stft) == (name == "table2")
    for job in jobs:
        with torch.device("meta"):
            model = SinuDAE(**job.conf["filterbank"])
        thousands = sum(parameter.numel() for parameter in model.parameters()) // 1000
        assert thousands / 1000 == experiment.rows[job.row].paper["parameters_m"], job


def test_shipped_experiments_are_the_papers():
    table1 = declaration.load_table(SHIPPED, "table1", BASE)
    jobs = declaration.make_jobs(table1, BASE, list(table1.rows), [0], Path())
    for job in jobs:
        assert job.conf["objective"]["tv_weight"] == 0 and not job.conf["objective"]["sort"]
        assert job.conf["training"]["early_stop"] and job.conf["training"]["epochs"] == 10
        assert job.conf["optim"] == {"lr": 1e-4, "lr_relative": False, "lr_decay": False}
    parts = [tuple(job.conf["filterbank"][key] for key in ("encoder", "decoder")) for job in jobs]
    assert parts == [
        *[("conv_smooth", "cos")] * 2,
        ("conv_smooth", "conv"),
        ("conv_smooth", "conv_tanh"),
        *[("conv_smooth", "mod_cos")] * 2,
        ("sinc_smooth", "mod_cos"),
    ]
    exponents = {job.row: job.conf["filterbank"]["exponent"] for job in jobs}
    assert [row for row, exponent in exponents.items() if exponent == 1] == [
        "conv_cos_linear",
        "conv_modcos_linear",
    ]
    si_sdr = [row.paper["si_sdr"] for row in table1.rows.values()]
    assert si_sdr == [20.83, 22.34, 31.25, 30.5, 28.72, 32.62, 26.82]

    table2 = declaration.load_table(SHIPPED, "table2", BASE)
    jobs = declaration.make_jobs(table2, BASE, list(table2.rows), [0], Path())
    assert [
        (job.conf["filterbank"]["n_filters"], job.conf["objective"]["tv_on"]) for job in jobs
    ] == [(c, on) for c in (400, 800, 1600) for on in ("vocals", "mixture")]
    assert all(job.conf["objective"]["sort"] for job in jobs)
    assert all(job.conf["objective"]["tv_weight"] == 0.5 for job in jobs)
    assert not any(job.conf["training"]["early_stop"] for job in jobs)
    masked = [row.paper["si_sdr_bm"] for row in table2.all_rows().values()]
    assert masked == [3.66, 5.93, 4.39, 6.28, 4.68, 6.68, 8.8]


def test_shipped_rows_of_table3_keep_their_budgets():
    table3 = declaration.load_table(SHIPPED, "table3", BASE)
    jobs = declaration.make_jobs(table3, BASE, list(table3.all_rows()), [0], Path())
    numbers = {"s256": 800 / 256, "s512": 3.15, "half": 2.7, "whole": 5.34}
    for job in jobs:
        if job.is_baseline:
            sizes = job.conf["baseline"]
            assert (sizes["stft_n_fft"] + 2) / sizes["stft_stride"] < 5.34
            assert job.row == f"stft_{sizes['stft_n_fft']}_{sizes['stft_stride']}"
            continue
        (limit,) = (numbers[name] for name in numbers if job.row.startswith(name))
        bank = job.conf["filterbank"]
        assert bank["n_filters"] / bank["stride"] <= limit
        assert bank["smooth_groups"] in (1, bank["n_filters"])
        if bank["init"] == "multires":
            sizes = {
                key: bank[key] for key in ("n_filters", "kernel_size", "stride", "sample_rate")
            }
            bands = as_bands(bank["bands"], **sizes)
            assert n_kernels(bands, bank["sample_rate"]) == bank["n_filters"], job
    starts = [row for row in table3.rows if row.endswith("_start")]
    assert len(starts) == 4
    for row in starts:
        trained = table3.rows[row.replace("_start", "_tv")].set
        assert table3.rows[row].set == {**trained, "max_steps": 0}
    needs = ("additivity_weight", "mask_weight")
    for job in jobs[len(table3.stft) :]:
        is_needed = any(job.conf["objective"][key] > 0 for key in needs)
        assert job.conf["data"]["matched"] == is_needed


# Bad input, all of it before anything runs


def changed(*path, value):
    """The small experiments with one value at `path` replaced, or removed where it is None."""
    if not path:
        return value
    content = json.loads(json.dumps(SMALL))
    target = content
    for key in path[:-1]:
        target = target[key]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return content


ROW = ["table", "rows", "plain"]
STFT = ["table", "stft", "stft_plain"]
BAD_NAME = "name of a row must be made of a-z, 0-9 and _, and not begin with stft_, got "


@pytest.mark.parametrize(
    "path, value, message",
    [
        ([], None, "its content must be a valid dictionary, got None"),
        ([], [1], r"its content must be a valid dictionary, got \[1\]"),
        (["table"], [], r"table must be a valid dictionary, got \[\]"),
        (["table", "colour"], 1, "unknown key table.colour"),
        (["table", "title"], None, "table.title is missing"),
        (["table", "title"], 1, "table.title must be a valid string, got 1"),
        (["table", "base", "n_filtres"], 8, "unknown key table.base.n_filtres"),
        (["table", "base", "seed"], 8, "unknown key table.base.seed"),
        (
            ["table", "base", "n_filters"],
            "8",
            "table.base.n_filters must be a valid integer, got '8'",
        ),
        (
            ["table", "base", "n_filters"],
            True,
            "table.base.n_filters must be a valid integer, got T",
        ),
        (["table", "base", "lr"], True, "table.base.lr must be a valid number, got True"),
        (["table", "base", "lr"], math.inf, "table.base.lr must be a finite number, got inf"),
        (["table", "base", "sort"], "no", "table.base.sort must be a valid boolean, got 'no'"),
        (["table", "base"], [1], r"table.base must be a valid dictionary, got \[1\]"),
        (["table", "rows"], [1], r"table.rows must be a valid dictionary, got \[1\]"),
        (["table", "rows"], {}, "table.rows must be .* at least 1 item.*, got {}"),
        (["table", "rows", "A row"], {}, f"{BAD_NAME}'A row'"),
        (["table", "rows", "stft_b"], {}, f"{BAD_NAME}'stft_b'"),
        (["table", "rows", 1], {}, "table.rows.1.*must be a valid string, got 1"),
        (ROW, 3, "table.rows.plain must be a valid dictionary, got 3"),
        ([*ROW, "lable"], "", "unknown key table.rows.plain.lable"),
        ([*ROW, "label"], None, "table.rows.plain.label is missing"),
        ([*ROW, "set", "decodr"], "", "unknown key table.rows.plain.set.decodr"),
        ([*ROW, "set", "stft_n_fft"], 64, "unknown key table.rows.plain.set.stft_n_fft"),
        ([*ROW, "paper", "sdr"], 1, "unknown key table.rows.plain.paper.sdr"),
        (
            [*ROW, "paper", "si_sdr"],
            "x",
            "table.rows.plain.paper.si_sdr must be a valid number, got",
        ),
        (["table", "stft"], {}, "table.stft must be .* at least 1 item.*, got {}"),
        (["table", "stft"], 3, "table.stft must be a valid dictionary, got 3"),
        (
            ["table", "stft", "plain"],
            {},
            "name of a row must be .*, and begin with stft_, got 'plain'",
        ),
        ([*STFT, "set"], {"n_filters": 8}, "unknown key table.stft.stft_plain.set.n_filters"),
        ([*STFT, "set"], {"pretrained": "a"}, "unknown key table.stft.stft_plain.set.pretrained"),
        (
            [*STFT, "set"],
            {"stft_n_fft": 2.5},
            "table.stft.stft_plain.set.stft_n_fft must be a valid integer, got 2.5",
        ),
        ([*STFT, "label"], None, "table.stft.stft_plain.label is missing"),
        (["other"], {}, "other.title is missing"),
        (["table", "report_row"], 1, "table.report_row must be a valid string, got 1"),
        *[
            (
                ["table", "report_row"],
                row,
                "table.report_row must be one of the table's rows that are trained, got",
            )
            for row in ("curved", "stft_plain")
        ],
    ],
)
def test_experiments_that_make_no_sense(tmp_path, run_tables, path, value, message):
    file = write_yaml(tmp_path / "bad.yml", changed(*path, value=value))
    runner = Runner()
    with pytest.raises(SystemExit, match=f"^tables.py: {file}: {message}[^\n]*$"):
        run_tables(experiments=file, runner=runner)
    assert runner.calls == [] and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ([], dict(experiment="tabel"), "experiment must be one of 'table', got 'tabel'"),
        ([], dict(experiments="none.yml"), "none.yml not found: expected a YAML configuration"),
        ([], dict(data_dir="none"), "none/manifest.json not found: prepare the data first"),
        (
            ["--rows", "plain", "curved"],
            {},
            "row must be one of 'plain', 'squared', 'stft_plain', got 'curved'",
        ),
        (["--rows", "plain", "plain"], {}, "row must be given once, got 'plain'"),
        (["--seeds", "0", "x"], {}, "seed must be an integer, 0 or more, got 'x'"),
        (["--seeds", "4294967296"], {}, "seed must be at most 4294967295, got 4294967296"),
        (["--seeds=-1"], {}, "seed must be an integer, 0 or more, got '-1'"),
        (["--seeds", "1", "01"], {}, "seed must be given once, got 1"),
        (["--shard", "3/2"], {}, "shard must be i/n with i from 1 to n, got '3/2'"),
        (["--shard", "0/2"], {}, "shard must be i/n with i from 1 to n, got '0/2'"),
        (["--shard", "1"], {}, "shard must be i/n with i from 1 to n, got '1'"),
        (["--shard", "x"], {}, "shard must be i/n with i from 1 to n, got 'x'"),
        (["--decoder", "cos"], {}, "decoder cannot be given: rows of table set it"),
        (["--seed", "0"], {}, "seed cannot be given: --seeds gives it"),
        (
            ["--num_nodes", "2"],
            {},
            "num_nodes must be 1: over several nodes, start train.py on each",
        ),
    ],
)
def test_options_that_make_no_sense(tmp_path, run_tables, arguments, options, message):
    runner = Runner()
    with pytest.raises(SystemExit, match=f"^tables.py: {message}[^\n]*$"):
        run_tables(*arguments, runner=runner, **options)
    assert runner.calls == [] and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "conf, message",
    [
        ({"filterbank": {"decoder": "cos"}}, "decoder cannot be given: rows of table set it"),
        ({"optim": {"lr": "fast"}}, ".*conf.yml: optim.lr must be a valid number, got 'fast'"),
    ],
)
def test_configuration_that_does_not_go_with_the_experiment(tmp_path, run_tables, conf, message):
    with pytest.raises(SystemExit, match=f"^tables.py: {message}[^\n]*$"):
        run_tables(conf=write_yaml(tmp_path / "conf.yml", conf))


# Jobs


def test_jobs_are_a_run_of_every_row_before_the_next_run(tmp_path, small):
    _, (baseline,), jobs = jobs_of(small, tmp_path, seeds=(3, 1), lr=0.5, stft_stride=512)
    assert [str(job) for job in jobs] == [
        "plain seed 3",
        "squared seed 3",
        "plain seed 1",
        "squared seed 1",
    ]
    assert jobs[0].run.folder == tmp_path / "exp" / "table" / "plain_seed3"
    expected = declaration.override(
        BASE,
        dict(lr=0.5, n_filters=8, tv_weight=0.0, sort=False, decoder="conv", seed=3),
    )
    expected["baseline"]["stft_stride"] = 512
    assert jobs[0].conf == expected and jobs[1].conf["filterbank"]["decoder"] == "mod_cos"
    assert (
        str(baseline) == "stft_plain" and baseline.run.folder == tmp_path / "exp/table/stft_plain"
    )
    assert baseline.conf == {  # what its figures depend on
        "data": {"segment": 44100},
        "baseline": {"stft_n_fft": 2048, "stft_stride": 512, "stft_window": "hamming"},
    }


def test_a_job_is_trained_from_a_file(tmp_path, small, data_dir, monkeypatch):
    bands = "64x4:22050"
    _, _, jobs = jobs_of(small, tmp_path, lr=1e-7, max_steps=7, precision="32", bands=bands)
    runner, run = Runner(), jobs[0].run
    run.folder.mkdir(parents=True)
    run.conf_file.write_text("of what is there already")
    monkeypatch.setattr(jobs_module, "run_script", runner)
    source = results.describe_source(SOURCE)
    assert jobs_module.run_jobs(jobs[:1], RECIPE, data_dir, source) == {}
    where = ["--exp_dir", str(run.folder), "--data_dir", str(data_dir)]
    assert runner.words[0] == ["train.py", *where, "--conf", str(run.job_file)]
    assert runner.confs[run.folder] == jobs[0].conf
    assert run.conf_file.read_text() == "of what is there already"


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_shards_share_the_jobs(tmp_path, run_tables, parts):
    shares = []
    for part in range(1, parts + 1):
        runner = Runner()
        run_tables("--shard", f"{part}/{parts}", runner=runner)
        shares.append([folder for script, folder in runner.calls if script == "eval.py"])
    order = [f"{row}_seed{seed}" for seed in (0, 1, 2) for row in ("plain", "squared")]
    order.insert(0, "stft_plain")
    assert shares == [order[part::parts] for part in range(parts)]
    assert list(table_of(tmp_path)["Runs"]) == [3, 3, 1]


# What counts as done


def test_a_result_is_done_with_its_own_configuration_only(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path, max_steps=7)
    source = results.describe_source(SOURCE)
    assert results.read_result(job, source) is None
    write_result(job.run.folder, declaration.override(job.conf, {"num_workers": 5, "devices": 4}))
    result = results.read_result(job, source)
    assert (result.steps, result.seconds, result.parameters) == (7, 60.0, 6_476_800)
    assert result.costs == COSTS
    expected = segments_of(0).query("system == 'conv DAE'")["si_sdr_rm"]
    np.testing.assert_allclose(result.segments["si_sdr_rm"], expected)
    for longer in ({"epochs": 11}, {"max_steps": 8}, {"max_steps": -1}):
        _, _, (job, _) = jobs_of(small, tmp_path, **{"max_steps": 7, **longer})
        assert results.read_result(job, source) is None


@pytest.mark.parametrize(
    "asked, steps, message",
    [
        ({"lr": 0.5}, 7, "lr=0.0001 there, 0.5 asked for; choose another --exp_root or delete it"),
        ({"stft_n_fft": 4096}, 7, "stft_n_fft=2048 there, 4096 asked for; "),
        ({"epochs": 9}, 7, "epochs=10 there, 9 asked for; "),
        ({"max_steps": 6}, 7, "7 updates there, 6 asked for; "),
        ({"kernel_size": 1024}, 7, "kernel_size=2048 there, 1024 asked for; "),
    ],
)
def test_a_result_of_another_configuration_is_refused(tmp_path, small, asked, steps, message):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf, steps=steps)
    _, _, (job, _) = jobs_of(small, tmp_path, **asked)
    with pytest.raises(
        ValueError, match=f"^{job.run.folder} belongs to another config.*: {message}"
    ):
        results.read_result(job, results.describe_source(SOURCE))


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"stft_stride": 512}, "stft_stride=384 there, 512 asked for; choose another --exp_root"),
        ({"segment": 22050}, "segment=44100 there, 22050 asked for; choose another --exp_root"),
    ],
)
def test_result_of_a_baseline_depends_on_little(tmp_path, small, asked, message):
    _, (job,), _ = jobs_of(small, tmp_path)
    source = results.describe_source(SOURCE)
    write_baseline(job.run.folder, job.conf)
    _, (same,), _ = jobs_of(small, tmp_path, lr=0.5, n_filters=3, max_steps=2, epochs=1)
    result = results.read_result(same, source)
    assert result.steps is None and result.costs == TRAINED["STFT"] and len(result.segments) == 5
    _, (job,), _ = jobs_of(small, tmp_path, **asked)
    with pytest.raises(
        ValueError, match=f"^{job.run.folder} belongs to another config.*: {message}"
    ):
        results.read_result(job, source)


def test_the_evaluated_model_is_named(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    source = results.describe_source(SOURCE)
    backwards = dict(reversed(TRAINED.items()))
    write_result(job.run.folder, job.conf, systems=backwards, evaluated="conv DAE")
    result = results.read_result(job, source)
    assert result.costs == COSTS
    expected = segments_of(0).query("system == 'conv DAE'")["si_sdr"]
    np.testing.assert_allclose(result.segments["si_sdr"], expected)
    medians = {name: {"si_sdr": 10.0} for name in (*TRAINED, MIXTURE)}
    for name, where in (("other", "medians"), (MIXTURE, "systems")):
        write_result(job.run.folder, job.conf, medians=medians, evaluated=name)
        with pytest.raises(ValueError, match=f"{where} has no '{name}', as evaluated"):
            results.read_result(job, source)


def test_a_result_on_other_data_is_refused(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf, source={"kind": "stems", "path": "elsewhere"})
    message = "data is stems of elsewhere there, wav of music asked for; choose another"
    with pytest.raises(ValueError, match=message):
        results.read_result(job, results.describe_source(SOURCE))


@pytest.mark.parametrize(
    "name, damage, message",
    [
        (
            "final_metrics.json",
            lambda text: text[:100],
            "final_metrics.json is corrupted, expected",
        ),
        ("final_metrics.json", lambda text: "[]", "its content must be an object, got "),
        ("final_metrics.json", lambda text: text.replace('"systems"', '"s"'), "systems is missing"),
        ("final_metrics.json", lambda text: text.replace('"conf"', '"c"'), "conf is missing"),
        (
            "final_metrics.json",
            lambda text: text.replace('"seconds"', '"s"'),
            "training.seconds is missing",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"seconds": 60.0', '"seconds": null'),
            "is of a training, of which training tells nothing",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"si_sdr": 10.0', '"si_sdr": NaN'),
            "medians.conv DAE.si_sdr must be a finite number, got nan",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"epochs": 10', '"epochs": "10"'),
            "conf: training.epochs must be a valid integer, got '10'",
        ),
        ("segments.csv", lambda text: text[: len(text) // 2], "segments.csv has [0-4] segments of"),
        (
            "segments.csv",
            lambda text: text.replace("additivity", "a"),
            "additivity_error is missing",
        ),
        (
            "segments.csv",
            lambda text: text.replace("C,0,conv DAE,", "C,0,conv DAE,x"),
            "segments.csv: si_sdr must be numbers, got 'x",
        ),
        (
            "segments.csv",
            lambda text: text.replace("C,0,conv DAE,", "C,0,conv DAE,,", 1),
            "segments.csv is no table",
        ),
        (
            "segments.csv",
            lambda text: re.sub("(C,0,conv DAE),[^,]*", r"\1,", text),
            "segments.csv: si_sdr of conv DAE is not finite everywhere",
        ),
        (
            "segments.csv",
            lambda text: re.sub("(C,0,conv DAE),[^,]*", r"\1,inf", text),
            "segments.csv: si_sdr of conv DAE is not finite everywhere",
        ),
        ("segments.csv", lambda text: text.replace("si_sdr_rm", "rm"), "si_sdr_rm is missing"),
        ("segments.csv", lambda text: "", "segments.csv is no table .CSV.: No columns"),
        ("segments.csv", lambda text: "\udcff", "segments.csv is no table .CSV.: .*utf-8"),
        ("segments.csv", None, "segments.csv not found: expected a table"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path, small, name, damage, message):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf)
    path = job.run.folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()), "utf-8", "surrogateescape")
    expected = (
        f"^{job.run.folder} holds a damaged result, delete final_metrics.json in it .*{message}"
    )
    with pytest.raises(ValueError, match=expected):
        results.read_result(job, results.describe_source(SOURCE))


def test_damaged_results_are_read_or_refused(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf)
    refused, source = 0, results.describe_source(SOURCE)
    paths = [job.run.folder / name for name in ("final_metrics.json", "segments.csv")]
    metrics, segments = (path.read_bytes() for path in paths)
    damaged = [(paths[0], text) for text in mutated_json(json.loads(metrics), 300)]
    damaged += [(paths[1], text) for text in mutated_bytes(segments, 150)]
    for path, text in damaged:
        paths[0].write_bytes(metrics)
        paths[1].write_bytes(segments)
        path.write_bytes(text)
        try:
            result = results.read_result(job, source)
            assert np.isfinite(result.segments.to_numpy()).all()
        except ValueError as error:
            assert str(error).startswith(f"{job.run.folder} ")
            refused += 1
    assert 200 < refused < 450


# The table


def test_cells_are_medians_over_segments_and_runs(tmp_path, small):
    experiment, baselines, jobs = jobs_of(small, tmp_path, seeds=(0, 1))
    for job in jobs[:3]:  # both runs of the first row, one of the second
        write_result(
            job.run.folder, job.conf, job.seed, n_segments=5 + job.seed, steps=7 + job.seed
        )
    write_baseline(baselines[0].run.folder, baselines[0].conf, n_segments=6)
    jobs = [*baselines, *jobs]
    read = [results.read_result(job, results.describe_source(SOURCE)) for job in jobs]
    table = results.make_table(experiment, jobs, read)
    assert list(table["Setup"]) == ["conv/conv", "conv/mod-cos, squared", "STFT/iSTFT"]
    assert list(table["C"]) == [8, 8, 1025]

    runs = [segments_of(0, 5), segments_of(1, 6)]
    both = pd.concat([run[run["system"] == "conv DAE"] for run in runs])
    one = runs[0][runs[0]["system"] == "conv DAE"]
    stft = runs[1][runs[1]["system"] == "STFT"]
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

    text = results.to_markdown(experiment, table, jobs, read, {"lr": 0.001, "max_steps": 7})
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
    experiment, baselines, jobs = jobs_of(small, tmp_path)
    jobs = [*baselines, *jobs]
    table = results.make_table(experiment, jobs, [None] * 3)
    assert table[[f"{title} (dB)" for title in TITLES]].isna().all(axis=None)
    assert list(table["Runs"]) == [0, 0, 0]
    text = results.to_markdown(experiment, table, jobs, [None] * 3, {})
    line = next(line for line in text.splitlines() if line.startswith("| STFT"))
    assert set(line.split("|")[3].split()) == {"–"} and "nan" not in text.lower()
    assert "Given" not in text
    missing = "stft_plain, plain seed 0, squared seed 0"
    assert f"Incomplete: 3 of 3 runs missing, {missing}." in text


def test_papers_columns_are_those_that_it_has(tmp_path):
    path = write_yaml(tmp_path / "experiments.yml", changed("table", "stft", value=None))
    experiment, baselines, jobs = jobs_of(path, tmp_path)
    table = results.make_table(experiment, jobs, [None, None])
    assert "SI-SDR-BM in paper (dB)" not in table and "SI-SDR in paper (dB)" in table
    assert list(table["Setup"]) == ["conv/conv", "conv/mod-cos, squared"] and baselines == []


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
    assert (tmp_path / "exp" / "table" / "table.md").read_text() in out
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
    run_tables("--seeds", "0", runner=runner, experiments=path, max_steps=7)
    steps = {folder.name: conf["training"]["max_steps"] for folder, conf in runner.confs.items()}
    assert steps == {"plain_seed0": 7, "squared_seed0": 7, "start_seed0": 0}
    assert list(table_of(tmp_path)["Updates"][:3]) == [7, 7, 0]
    longer = Runner()
    run_tables("--seeds", "0", runner=longer, experiments=path, max_steps=9)
    assert {folder.name for folder in longer.confs} == {"plain_seed0", "squared_seed0"}
    assert list(table_of(tmp_path)["Updates"][:3]) == [9, 9, 0]
    start["set"]["max_steps"] = 3  # tells the row apart
    write_yaml(path, changed("table", "rows", "start", value=start))
    with pytest.raises(
        SystemExit, match="^tables.py: max_steps cannot be given: rows of table set"
    ):
        run_tables(experiments=path)


def test_table_csv_has_unrounded_numbers(tmp_path, run_tables):
    run_tables("--seeds", "0")
    with (tmp_path / "exp" / "table" / "table.csv").open(newline="") as file:
        header, first, *_ = list(csv.reader(file))
    assert header[:4] == ["Setup", "C", "SI-SDR (dB)", "SI-SDR IQR (dB)"]
    median = segments_of(0).query("system == 'conv DAE'")["si_sdr"].median()
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


# Processes and locks


@pytest.fixture
def run_python(tmp_path):
    """Run lines of Python as a script."""

    def run(code, *arguments):
        script = tmp_path / "script.py"
        script.write_text(code)
        with locks.locked(tmp_path / ".lock") as lock:
            processes.run_script(script, arguments, lock)

    return run


def test_output_of_a_script_passes_through(tmp_path, run_python, capfd):
    code = "import sys; print('out'); sys.stderr.write('50 %\\r100 %\\n'); open(sys.argv[1], 'w')"
    run_python(code, str(tmp_path / "made"))
    assert (tmp_path / "made").exists() and capfd.readouterr().out == "out\n"


@pytest.mark.parametrize(
    "code, message",
    [
        ("import sys; sys.exit('50 %\\r100 %\\nscript.py: no data\\n\\n')", "^script.py: no data$"),
        ("print('x' * 10**5); raise ValueError('é')", "^ValueError: é$"),
        ("raise SystemExit(3)", "^script.py ended with status 3$"),
        ("import os; os.kill(os.getpid(), 9)", "^script.py was killed by SIGKILL$"),
        ("import sys; sys.stderr.write('x' * 10**6 + '\\nend'); sys.exit(1)", "^end$"),
    ],
)
def test_failed_script_says_why_in_its_last_line(run_python, code, message):
    with pytest.raises(ValueError, match=message):
        run_python(code)


WAITS = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def start_waiting(tmp_path):
    """A process that runs a script that waits: the process, and the script's number."""
    script, started = tmp_path / "script.py", tmp_path / "started"
    script.write_text(WAITS)
    code = (
        "import sys; from pathlib import Path\n"
        "from asteroid_sinudae.runs.processes import run_script\n"
        "from asteroid_sinudae.utils.locks import locked\n"
        "with locked(Path(sys.argv[1])) as lock: run_script(Path(sys.argv[2]), sys.argv[3:], lock)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / ".lock", script, started],
        cwd=RECIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not (started.exists() and started.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(started.read_text())


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not processes._dying_with_parent(), reason="needs setpriv of util-linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_script_dies_with_the_process_that_runs_it(tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as in a shell's background")
    process, pid = start_waiting(tmp_path)
    assert is_alive(pid)
    process.send_signal(number)
    process.wait(20)
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(pid)
    with locks.locked(tmp_path / ".lock", seconds=5.0):
        pass


def test_script_left_over_holds_its_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no setpriv
    process, pid = start_waiting(tmp_path)
    process.kill()
    process.wait()
    try:
        assert is_alive(pid)
        with pytest.raises(BlockingIOError, match=".lock is held by process"):
            with locks.locked(tmp_path / ".lock", seconds=0.0):
                pass
    finally:
        os.kill(pid, signal.SIGKILL)
    with locks.locked(tmp_path / ".lock", seconds=5.0):  # waits for its end
        pass


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
    path = write_yaml(tmp_path / "experiments.yml", content)
    options = dict(experiments=path, max_steps=7)
    run_tables("--seeds", "0", "--conf", conf, runner=in_this_process, **options)
    table = table_of(tmp_path)
    ours = [title for title in table if title != "Setup" and "paper" not in title]
    assert np.isfinite(table.loc[:2, ours].to_numpy(float)).all()
    stft = table.loc[3:, ours].dropna(axis=1)
    assert (stft["SI-SDR (dB)"] > 100).all() and list(stft["C"]) == [129, 65]
    assert list(stft["Coefficients per sample"]) == [258 / 64, 130 / 64] and stft.shape[1] == 13
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
        command = [sys.executable, RECIPE / "tables.py", "--experiment", "table", "--conf", conf]
        command += ["--experiments", small, "--data_dir", data_dir, "--seeds", "0", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command += ["--exp_root", tmp_path / name]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

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


# run.sh


@pytest.fixture
def run_sh(tmp_path):
    """Calls of Python that run.sh makes, by the name of the script."""
    stub = tmp_path / "python"
    stub.write_text('#!/usr/bin/env bash\nIFS="|"; echo "CALL $*"\n')
    stub.chmod(0o755)

    def run(*options):
        command = [RECIPE / "run.sh", "--python_path", stub, "--data_dir", "data", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line[5:].split("|") for line in done.stdout.splitlines() if line[:5] == "CALL "]
        return done, {words[0]: words[1:] for words in lines}

    return run


def test_run_sh_runs_an_experiment(run_sh):
    done, calls = run_sh("--experiment", "table2")
    assert done.returncode == 0, done.stderr
    assert list(calls) == ["local/get_data.py", "local/prepare.py", "tables.py", "report.py"]
    common = ["--experiment", "table2", "--conf", "local/conf.yml", "--data_dir", "data"]
    assert calls["tables.py"] == common
    assert calls["report.py"][:4] == ["--exp_dir", "exp/table2/c800_am_seed0", "--data_dir", "data"]

    options = ["--rows", "c400_av c400_am", "--seeds", "1 2", "--max_steps", "5", "--stage", "2"]
    done, calls = run_sh("--experiment", "table2", "--train_args", "--lr 1.0e-3", *options)
    words = "--rows c400_av c400_am --seeds 1 2 --lr 1.0e-3 --max_steps 5".split()
    assert calls["tables.py"] == [*common, *words]
    assert calls["report.py"][1] == "exp/table2/c400_av_seed1"

    assert run_sh("--experiment", "table3")[1]["report.py"][1] == "exp/table3/s256_tv_seed0"
    rows = ["--rows", "stft_4096_768 s512_tv s512_start"]
    assert run_sh("--experiment", "table3", *rows)[1]["report.py"][1] == "exp/table3/s512_tv_seed0"
    done, calls = run_sh("--experiment", "table3", "--rows", "stft_4096_768", "--museval", "true")
    assert done.returncode == 0 and list(calls)[2:] == ["tables.py"]
    assert done.stderr == "run.sh: note: without a --report_row there is no museval and no page\n"

    assert run_sh("--experiment", "table1")[1]["report.py"][1].endswith(
        "/conv_modcos_squared_seed0"
    )
    one = ["--stage", "5", "--report_row", "c400_am", "--rows", "c400_av"]
    calls = run_sh("--experiment", "table2", *one)[1]
    assert calls["report.py"][1] == "exp/table2/c400_am_seed0" and list(calls) == ["report.py"]
    assert calls["report.py"][4] == "--tables"
    done, calls = run_sh("--experiment", "no_table")  # which tables.py refuses
    assert calls["tables.py"][1] == "no_table" and "report.py" not in calls

    done, calls = run_sh("--experiment", "table1", "--shard", "2/3", "--stage", "2")
    assert calls["tables.py"][-2:] == ["--shard", "2/3"] and list(calls) == ["tables.py"]


def test_run_sh_runs_one_training(run_sh):
    done, calls = run_sh("--max_steps", "5", "--museval", "true", "--n_tracks", "2")
    assert done.returncode == 0, done.stderr
    assert [script for script in calls if "/" not in script] == [
        "train.py",
        "eval.py",
        "eval_museval.py",
        "compare.py",
        "report.py",
    ]
    where = ["--exp_dir", "exp/train_sinudae_paper", "--data_dir", "data"]
    assert calls["train.py"] == ["--conf", "local/conf.yml", *where, "--max_steps", "5"]
    assert calls["eval_museval.py"] == [*where, "--n_tracks", "2"]
    assert calls["report.py"] == where
    assert "eval_museval.py" not in run_sh()[1]


@pytest.mark.parametrize("option", ["--rows", "--seeds", "--shard", "--report_row"])
def test_run_sh_refuses_options_of_an_experiment_without_one(run_sh, option):
    done, calls = run_sh(option, "1/1" if option == "--shard" else "1")
    assert done.returncode == 2 and calls == {}
    assert done.stderr == (
        "run.sh: --rows, --seeds, --shard and --report_row need an --experiment\n"
    )
