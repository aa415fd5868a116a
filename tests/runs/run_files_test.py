"""Files of a run's folder that are damaged, of another shape, or not there."""

import json
import math

import pandas as pd
import pytest
import torch
from mutations import mutated_bytes, mutated_json, mutated_values

from asteroid_sinudae.report.run_results import (
    medians_table,
    provenance_facts,
    read_losses,
    read_table,
)
from asteroid_sinudae.runs.folder import Run

METRICS = {
    "medians": {"mod-cos DAE": {"si_sdr": 30.5, "si_sdr_rm": 8.0}, "mixture": {"si_sdr_rm": -2.0}},
    "segments": 93,
    "test_tracks": 5,
    "conf": {"data": {"segment": 44100}},
    "versions": {"torch": "2.13.0", "musdb": None},
    "device": "a CPU",
    "finished": "today",
    "training": {"steps": 7, "epochs": 1, "seconds": 60.0},
    "more": [1],
}
TRAINING = {
    "conf": {"optim": {"lr": 1e-4}, "run": {"decay_steps": None}},
    "steps": 7,
    "epochs": 1,
    "seconds": 60.0,
    "versions": {"torch": "2.13.0"},
    "device": "a CPU",
    "finished": "today",
}
LOG = "step,epoch,neg_snr,neg_snr_epoch,tv\n0,0,1.5,,0.25\n10,0,0.5,1.0,\n"


def test_metrics_are_read_whole(tmp_path):
    (tmp_path / "final_metrics.json").write_text(json.dumps(METRICS))
    assert Run(tmp_path).read_metrics() == {**METRICS, "evaluated": "mod-cos DAE"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"medians": None}, "medians must be an object, got None"),
        ({"medians": {}}, "medians must be .*at least 1 item"),
        ({"medians": {"a": {"si_sdr": None}}}, "medians.a.si_sdr must be a valid number, got None"),
        (
            {"medians": {"a": {"si_sdr": math.nan}}},
            "medians.a.si_sdr must be a finite number, got nan",
        ),
        (
            {"medians": {"a": {"si_sdr": -math.inf}}},
            "medians.a.si_sdr must be a finite number, got -i",
        ),
        ({"segments": 0}, "segments must be greater than or equal to 1, got 0"),
        ({"segments": 2.5}, "segments must be a valid integer, got 2.5"),
        ({"test_tracks": True}, "test_tracks must be a valid integer, got True"),
        ({"conf": []}, r"conf must be an object, got \[\]"),
        ({"versions": {"torch": 2}}, "versions.torch must be a valid string, got 2"),
        ({"training": {"steps": 1}}, "training.epochs is missing"),
    ],
)
def test_metrics_of_another_shape(tmp_path, change, message):
    path = tmp_path / "final_metrics.json"
    path.write_text(json.dumps({**METRICS, **change}))
    with pytest.raises(ValueError, match=f"^{path}: {message}.*: evaluate again .stage 3, or 7.$"):
        Run(tmp_path).read_metrics()


@pytest.mark.parametrize("seed", range(2))
def test_damaged_metrics_are_read_or_refused(seed, tmp_path):
    path, refused = tmp_path / "final_metrics.json", 0
    for text in [*mutated_json(METRICS, 150, seed), b"", b"\xff", b"[" * 10**5]:
        path.write_bytes(text)
        try:
            metrics = Run(tmp_path).read_metrics()
            medians_table(metrics), provenance_facts(metrics)
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert 90 < refused < 150


@pytest.mark.parametrize("place", ["folder", "loop", "none"])
def test_places_without_metrics(tmp_path, place):
    (tmp_path / "folder" / "final_metrics.json").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileNotFoundError, match="final_metrics.json not found: evaluate the run"):
        Run(tmp_path / place).read_metrics()


@pytest.mark.parametrize("seed", range(3))
def test_what_a_model_tells_of_its_training(seed, tmp_path):
    path, refused = tmp_path / "best_model.pth", 0
    for infos in ({}, {"training": TRAINING}, {"training": TRAINING, "sources": ["a"]}):
        torch.save({"infos": infos}, path)
        assert Run(tmp_path).read_training() == infos.get("training", {})
    for infos in mutated_values({"training": TRAINING}, 100, seed):
        torch.save({"infos": infos}, path)
        try:
            training = Run(tmp_path).read_training()
            assert not training or math.isfinite(training["seconds"]) and training["steps"] >= 0
        except ValueError as error:
            assert str(error).startswith(f"{path}: infos: ")
            refused += 1
    assert 50 < refused < 100


def write_log(tmp_path, text, version="version_0"):
    folder = tmp_path / "logs" / "csv" / version
    folder.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "metrics.csv").write_bytes(data)
    return folder / "metrics.csv"


@pytest.mark.parametrize(
    "text, message",
    [
        ("epoch,neg_snr\n0,1\n", ": column step is missing"),
        ("step,neg_snr\n0,low\n", ": neg_snr must be numbers, got 'low'"),
        ("step,neg_snr\n0.5,1\n", ": step must be numbers of updates, got 0.5"),
        ("step,neg_snr\n-1,1\n", ": step must be numbers of updates, got -1.0"),
        ("step,neg_snr\ninf,1\n", ": step must be numbers of updates, got inf"),
        ("step,neg_snr\n1e30,1\n", ": step must be numbers of updates, got 1e.30"),
        ("step,neg_snr\n0,1,2\n", " is no table .CSV.: its rows are longer than its header"),
        ("step,neg_snr\n0,1\n0,1,2\n", " is no table .CSV.: .*Expected 2 fields in line 3"),
        (b"step,neg_snr\n0,\xff\n", " is no table .CSV.: .*utf-8"),
        (b"\x00\x01", ": column step is missing"),
    ],
)
def test_logs_of_another_shape(tmp_path, text, message):
    path = write_log(tmp_path, text)
    with pytest.raises(ValueError, match=f"^{path}{message}"):
        read_losses(tmp_path)


def test_logs_that_are_empty_or_not_there(tmp_path):
    assert read_losses(tmp_path).empty
    write_log(tmp_path, "")
    write_log(tmp_path, LOG.splitlines()[0] + "\n", "version_1")
    assert read_losses(tmp_path).empty
    (tmp_path / "logs" / "csv" / "version_2" / "metrics.csv").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match="version_2/metrics.csv not found: expected a table"
    ):
        read_losses(tmp_path)


def test_folder_that_is_no_start_of_a_training(tmp_path):
    write_log(tmp_path, LOG, "version_one")
    with pytest.raises(
        ValueError, match="version_one is no folder of a log, expected version_<num"
    ):
        read_losses(tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_logs_are_read_or_refused(seed, tmp_path):
    refused = 0
    for text in mutated_bytes(LOG.encode(), 120, seed):
        write_log(tmp_path, text)
        try:
            assert isinstance(read_losses(tmp_path), pd.DataFrame)
        except (ValueError, OSError):
            refused += 1
    assert 30 < refused < 110  # which of them, pandas decides


@pytest.mark.parametrize("text", [b"", b"a,b\n1\n", b"a\xff,b\n", b"a," + b"x" * 200_000 + b"\n"])
def test_tables_of_another_shape(tmp_path, text):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ValueError, match="t.csv is no table"):
        read_table(tmp_path / "t.csv")
