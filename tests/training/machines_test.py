"""What a training must not depend on: where a checkpoint was written, how workers are started."""

import multiprocessing
import sys
from unittest import mock

import pytest
import torch
from trainings import write_tracks

from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.runs import limits
from asteroid_sinudae.runs.training import make_loader
from asteroid_sinudae.training.checkpoints import AtomicCheckpointIO

CONF = {
    "data": {"segment": 500, "keep_on": "cpu", "tracks_per_set": 4},
    "training": {"batch_size": 4, "num_workers": 1, "seed": 0, "epochs": 1, "max_steps": -1},
}


def test_a_checkpoint_of_a_gpu_is_loaded_without_one(tmp_path):
    path = tmp_path / "last.ckpt"
    with mock.patch("torch.serialization.location_tag", lambda storage: "cuda:0"):
        torch.save({"weight": torch.ones(3)}, path)
    weight = AtomicCheckpointIO().load_checkpoint(path, weights_only=None)["weight"]
    assert weight.device.type == "cpu" and torch.equal(weight, torch.ones(3))


@pytest.mark.skipif(sys.platform != "linux", reason="where workers look after their parent")
def test_workers_read_segments_where_a_fork_is_not_the_default(tmp_path):
    dataset = TrainSegments(write_tracks(tmp_path), 500, 250, keep_on="cpu")
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)  # as from Python 3.14 on
    try:
        vocals, accompaniment = next(iter(make_loader(dataset, CONF)))
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert vocals.shape == accompaniment.shape == (4, 1, 500)


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    training = {**CONF["training"], "num_nodes": 1}
    monkeypatch.setattr(limits, "device_memory", lambda: 2 * 10**9)
    limits.check_limits({**CONF, "training": {**training, "devices": 1}})
    with pytest.raises(ValueError, match="^devices must be at most 1, got 2$"):
        limits.check_limits({**CONF, "training": {**training, "devices": 2}})
