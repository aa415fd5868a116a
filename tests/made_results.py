"""A small table, its configuration, and made-up results of its runs."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import RECIPE

from asteroid_sinudae.runs import conf as configurations
from asteroid_sinudae.runs import declaration, results

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(RECIPE))
    tables, scripts = (importlib.import_module(name) for name in ("tables", "utils.scripts"))

BASE = configurations.read_yaml(scripts.BASE_CONF)
SHIPPED = RECIPE / "local" / "tables.yml"
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


def changed(*path, value):
    """The small tables with one value at `path` replaced, or removed where it is None."""
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


def write_yaml(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


COSTS = {"coefficients_per_sample": 3.125, "mask_decisions_per_second": 137812.5}
TRAINED = {  # representations of eval.py, with what comes in between
    "conv DAE": COSTS,
    "a_model": dict.fromkeys(COSTS, 1.0),
    "STFT": {name: 2 * value for name, value in COSTS.items()},
}
BASELINE = {"STFT": TRAINED["STFT"]}


def segments_of(seed, n_segments=5, representations=TRAINED):
    """Made-up metrics; only those of the auto-encoder depend on the run."""
    frames = []
    for name in (*representations, "unprocessed mixture"):
        number = seed if name == "conv DAE" else 1000 + len(name)
        values = np.random.default_rng(number).normal(10, 5, (n_segments, 5))
        frame = pd.DataFrame(values, columns=[*results.METRICS, "additivity_error"])
        frame.insert(0, "representation", name)
        frame.insert(0, "start", 44100 * np.arange(n_segments))
        frame.insert(0, "track", "C")
        frames.append(frame)
    return pd.concat(frames)


def write_result(folder, conf, seed=0, steps=7, n_segments=5, representations=TRAINED, **changes):
    """What eval.py writes; `changes` replace parts of final_metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    segments_of(seed, n_segments, representations).to_csv(folder / "segments.csv", index=False)
    metrics = {
        "medians": {name: {"si_sdr": 10.0} for name in representations},
        "finished": "today",
        "costs": representations,
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
    write_result(folder, conf, representations=BASELINE, **changes)


def jobs_of(path, tmp_path, seeds=(0,), **values):
    """The table, its baselines, and the runs of its rows."""
    conf = declaration.override(BASE, values)
    table = declaration.load_table(path, "table", conf)
    rows = declaration.parse_rows(None, table)
    jobs = declaration.make_jobs(table, conf, rows, seeds, tmp_path / "exp")
    n_baselines = len(table.stft)
    return table, jobs[:n_baselines], jobs[n_baselines:]


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


def table_of(tmp_path):
    return pd.read_csv(tmp_path / "exp" / "table" / "table.csv")
