"""eval_museval.py: what it writes and prints, interruption, and options that make no sense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from bsseval_tracks import CONF, SIZES, contents
from helpers import RECIPE, call, environment, printed_tables
from prepared import write_data

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import SOURCES
from asteroid_sinudae.evaluation import bsseval_runs
from asteroid_sinudae.evaluation.bsseval import METRICS


@pytest.mark.slow
def test_ctrl_c_ends_the_script_in_one_line_and_it_continues(run):
    run["n_workers"] = 2
    process = start("eval_museval.py", **run)
    folder = run["exp_dir"] / "museval"
    while process.poll() is None and not list(folder.rglob("*.json")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(timeout=30) == 130
    lines = process.stderr.read().replace("\r", "\n").splitlines()
    lines = [line for line in lines if line and not line.startswith("museval: ")]
    assert lines == ["eval_museval.py: interrupted; run it again to continue"]
    done = contents(folder)
    assert 0 < len(done) < 4 and all(json.loads(text) for text, _ in done.values())
    process = start("eval_museval.py", **run)
    assert process.wait(timeout=100) == 0
    assert contents(folder).items() > done.items() and len(contents(folder)) == 4


def start(script, **options):
    """Run a script in a process group of its own."""
    argv = [sys.executable, str(RECIPE / script)]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(argv, env=environment(), start_new_session=True, **pipes)


@pytest.fixture
def run(tmp_path, representations, tracks):
    """Options of the script for a run's folder and its data."""
    data_dir = write_data(tracks[0].folder.parents[1], tracks)
    exp_dir = tmp_path / "exp"
    exp_dir.mkdir()
    (exp_dir / "conf.yml").write_text(yaml.safe_dump(CONF))
    torch.save(representations["DAE"].serialize(), exp_dir / "best_model.pth")
    return dict(exp_dir=exp_dir, data_dir=data_dir, n_workers=1)


def test_script_writes_scores_and_prints_the_table(run, capsys):
    call("eval_museval.py", n_tracks=1, duration=2.5, threshold=1, **run)
    folder = run["exp_dir"] / "museval"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    assert names == {"mod-cos DAE/test/A.b - c.json", "STFT/test/A.b - c.json"}
    result = json.loads((run["exp_dir"] / "museval.json").read_text())
    assert result["test_tracks"] == 1 and result["threshold"] == 1 and result["duration"] == 2.5
    assert result["silent_frames"]["A.b - c"]["vocals"] == 1
    assert result["conf"] == CONF and result["device"] and result["failed"] == {}
    (rows,) = printed_tables(capsys.readouterr().out)
    assert rows[0] == ["representation", "source", *(f"{metric} (dB)" for metric in METRICS)]
    for (name, source), row in zip(
        [(name, source) for name in ("mod-cos DAE", "STFT") for source in SOURCES],
        rows[1:],
        strict=True,
    ):
        values = result["medians"][name][source]
        assert row == [name, source, *(f"{values[metric]:.2f}" for metric in METRICS)]


def test_script_reports_a_track_that_fails(run, monkeypatch):
    score = bsseval_runs.score_track

    def failing(model, track, **options):
        if track.name == "D - e":
            raise OSError("the disk is on fire")
        return score(model, track, **options)

    monkeypatch.setattr(bsseval_runs, "score_track", failing)
    with pytest.raises(SystemExit, match="failed: mod-cos DAE, D - e; STFT, D - e; the medians"):
        call("eval_museval.py", **{**run, "duration": 2, "n_workers": 1})
    result = json.loads((run["exp_dir"] / "museval.json").read_text())
    assert list(result["failed"]) == ["mod-cos DAE, D - e", "STFT, D - e"]
    assert result["test_tracks"] == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(n_tracks=0), "n_tracks must be 1 or more, got 0"),
        (dict(duration=-1), "duration must be finite and at least 1 s, or None, got -1.0"),
        (dict(threshold=-0.5), "threshold must be finite and not negative, got -0.5"),
        (dict(n_workers=0), "n_workers must be 1 or more, or None, got 0"),
        (dict(data_dir="nowhere"), "nowhere/manifest.json not found: prepare the data first"),
        (dict(exp_dir="nowhere"), "nowhere/conf.yml not found: expected a YAML configuration"),
    ],
)
def test_script_options_that_make_no_sense(run, options, message):
    with pytest.raises(SystemExit, match=f"^eval_museval.py: {message}[^\n]*$"):
        call("eval_museval.py", **{**run, **options})
    assert not (run["exp_dir"] / "museval.json").exists()


def test_script_with_a_model_that_does_not_fit_the_data(run):
    slow = SinuDAE(**SIZES, sample_rate=16000)
    torch.save(slow.serialize(), Path(run["exp_dir"]) / "best_model.pth")
    with pytest.raises(SystemExit, match="^eval_museval.py: .*best_model.pth is for 16000 Hz, the"):
        call("eval_museval.py", **run)
    (run["exp_dir"] / "best_model.pth").unlink()
    with pytest.raises(SystemExit, match="^eval_museval.py: .*best_model.pth not found"):
        call("eval_museval.py", **run)
