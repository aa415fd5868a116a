"""A run's folder: names of files, and what their readers take, add and refuse."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import OF_STFT, pair_name, stft_sizes

MEDIANS = {"STFT": {"si_sdr": 131.5}, "mod-cos DAE": {"si_sdr": 41.25}}
METRICS = {
    "medians": MEDIANS,
    "segments": 5,
    "test_tracks": 1,
    "conf": {"data": {"segment": 4000}},
    "versions": {"torch": "2.13.0"},
    "device": "a CPU",
    "finished": "today",
    "something_else": [1],
}
TRAINING = {
    "conf": {"training": {"seed": 3}},
    **{"steps": 7, "epochs": 1, "seconds": 2.5, "versions": {}, "device": "a CPU"},
    "finished": "today",
}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_each_file_has_one_name():
    run = Run(Path("exp"))
    files = {name for name in dir(Run) if name.endswith(("_file", "_folder"))}
    assert {name: str(getattr(run, name).relative_to("exp")) for name in files} == {
        "conf_file": "conf.yml",
        "job_file": "job.yml",
        "checkpoint_file": "checkpoints/last.ckpt",
        "logs_folder": "logs",
        "model_file": "best_model.pth",
        "segments_file": "segments.csv",
        "metrics_file": "final_metrics.json",
        "museval_folder": "museval",
        "museval_file": "museval.json",
        "stereo_museval_folder": "museval_stereo",
        "stereo_museval_file": "museval_stereo.json",
        "table_file": "table.md",
        "report_folder": "report",
    }


def test_the_evaluated_model_has_a_key(run):
    for name in MEDIANS:
        run.metrics_file.write_text(json.dumps({"evaluated": name, **METRICS}))
        assert run.read_metrics() == {"evaluated": name, **METRICS}
    run.metrics_file.write_text(json.dumps(METRICS))  # as it was written before
    assert run.read_metrics() == {"evaluated": "STFT", **METRICS}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"evaluated": "conv DAE"}, "medians has no 'conv DAE', as evaluated"),
        ({"evaluated": ""}, "medians has no '', as evaluated"),
        ({"evaluated": 0}, "evaluated must be a valid string, got 0"),
        ({"evaluated": None}, "evaluated must be a valid string, got None"),
        ({"medians": {}}, "medians must be .* at least 1 item.*, got {}"),
        ({"medians": {"STFT": {"si_sdr": None}}}, "medians.STFT.si_sdr must be a valid number, go"),
        ({"segments": 0}, "segments must be greater than or equal to 1, got 0"),
        ({"training": {"steps": 1}}, "training.epochs is missing"),
    ],
)
def test_metrics_that_are_refused(run, changes, message):
    run.metrics_file.write_text(json.dumps({**METRICS, **changes}))
    with pytest.raises(ValueError, match=f"^{run.metrics_file}: {message}.*: evaluate again"):
        run.read_metrics()


def test_how_the_model_was_trained(run):
    package = SinuDAE(n_filters=6, kernel_size=64, stride=16).serialize()
    torch.save(package, run.model_file)
    assert run.read_training() == {}
    package["infos"]["training"] = TRAINING
    torch.save(package, run.model_file)
    assert run.read_training() == TRAINING
    package["infos"]["training"] = {**TRAINING, "steps": -1}
    torch.save(package, run.model_file)
    message = f"^{run.model_file}: infos: training.steps must be greater than or equal to 0, got -1"
    with pytest.raises(ValueError, match=message):
        run.read_training()


def test_configuration_and_segments(run):
    defaults = {"baseline": {"stft_n_fft": 2048, "stft_stride": 384, "stft_window": "hamming"}}
    run.conf_file.write_text("baseline: {stft_n_fft: 64, stft_stride: 16, stft_window: hann}")
    conf = run.read_conf(defaults, OF_STFT)
    assert stft_sizes(conf) == {"n_fft": 64, "stride": 16, "window": "hann"}
    assert pair_name({"filterbank": {"decoder": "conv_tanh"}}) == "conv-tanh DAE"
    pd.DataFrame({"representation": ["STFT"], "si_sdr": [1.5]}).to_csv(
        run.segments_file, index=False
    )
    assert run.read_segments("si_sdr")["si_sdr"].tolist() == [1.5]
    with pytest.raises(ValueError, match=f"^{run.segments_file}: column si_sdr_rm is missing$"):
        run.read_segments("si_sdr_rm")


def test_segments_of_earlier_versions(run):
    old = pd.DataFrame({"track": ["a"], "system": ["STFT"], "si_sdr": [1.5]})
    old.to_csv(run.segments_file, index=False)
    new = old.rename(columns={"system": "representation"})
    pd.testing.assert_frame_equal(run.read_segments("si_sdr"), new)
    new.assign(system="x").to_csv(run.segments_file, index=False)
    assert run.read_segments()["representation"].tolist() == ["STFT"]
    old.drop(columns="system").to_csv(run.segments_file, index=False)
    with pytest.raises(ValueError, match="segments.csv: column representation is missing$"):
        run.read_segments()


@pytest.mark.parametrize(
    "read, name",
    [
        (lambda run: run.read_conf({}), "conf_file"),
        (lambda run: run.read_training(), "model_file"),
        (lambda run: run.read_metrics(), "metrics_file"),
        (lambda run: run.read_segments(), "segments_file"),
    ],
)
def test_what_is_not_there(run, read, name):
    with pytest.raises(FileNotFoundError, match=f"^{getattr(run, name)} not found: "):
        read(run)
