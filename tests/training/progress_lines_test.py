"""Lines about a training, where there is no terminal for Lightning's bar."""

import os
import pty
import re
import sys

import pytest
from helpers import RECIPE
from pytorch_lightning.callbacks import ProgressBar
from trainings import fit, make_system, write_tracks

from asteroid_sinudae.runs.conf import read_yaml
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.training import make_trainer
from asteroid_sinudae.training.checkpoints import StopAfter
from asteroid_sinudae.training.progress import ProgressLines
from asteroid_sinudae.utils import progress

LINE = r"Training: epoch (\d+), update (\d+)/(\d+), loss -?[\d.]+, [\d.]+ updates per second"


@pytest.fixture
def trainer_of(tmp_path):
    """The trainer that train.py makes."""
    conf = read_yaml(RECIPE / "local" / "conf.yml")

    def make(max_steps):
        conf["training"]["max_steps"] = max_steps
        return make_trainer(conf, Run(tmp_path), [], None, "32")

    return make


def lines_of(callback, tmp_path, capsys, **options):
    capsys.readouterr()
    callbacks = [callback, StopAfter(callback.max_steps)] if callback.max_steps >= 0 else [callback]
    fit(make_system(write_tracks(tmp_path / "data")), tmp_path / "logs", callbacks, **options)
    err = capsys.readouterr().err
    assert "\r" not in err
    found = [re.fullmatch(LINE, line) for line in err.splitlines() if "Training" in line]
    return [tuple(map(int, match.groups())) for match in found]


def test_every_update_has_a_line_if_it_is_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 1e-9)
    lines = lines_of(ProgressLines(), tmp_path, capsys, max_epochs=2)
    assert lines[:6] == [(0, 1, 6), (0, 2, 6), (0, 3, 6), (1, 4, 6), (1, 5, 6), (1, 6, 6)]


def test_the_total_is_of_updates_where_they_are_limited(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 1e-9)
    lines = lines_of(ProgressLines(max_steps=2), tmp_path, capsys, max_epochs=2)
    assert [line[1:] for line in lines[:2]] == [(1, 2), (2, 2)]


def test_a_training_of_a_moment_says_nothing(tmp_path, capsys):
    assert lines_of(ProgressLines(), tmp_path, capsys, max_epochs=1) == []


def kinds_of(trainer):
    """Whether a trainer has a bar, and the updates of its lines."""
    lines = [each.max_steps for each in trainer.callbacks if isinstance(each, ProgressLines)]
    return any(isinstance(each, ProgressBar) for each in trainer.callbacks), lines


def test_lines_in_a_log_and_a_bar_in_a_terminal(trainer_of, monkeypatch):
    assert kinds_of(trainer_of(7)) == (False, [7])
    main, side = pty.openpty()
    with os.fdopen(side, "w") as stream, os.fdopen(main):
        monkeypatch.setattr(sys, "stdout", stream)
        assert kinds_of(trainer_of(7)) == (True, [])
