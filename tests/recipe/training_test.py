"""The recipe's trainings from the command line: who works where, what continues, what starts."""

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import RECIPE, call, environment
from prepared import write_data, write_track
from torch.utils.data import get_worker_info
from trainings import SMALL, assert_same_bits, write_tracks

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.sampler import SetShuffleSampler
from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.models import registry
from asteroid_sinudae.runs import training
from asteroid_sinudae.runs.conf import write_conf
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.training.checkpoints import MAY_CHANGE, check_resumable
from asteroid_sinudae.training.precision import Choice
from asteroid_sinudae.utils.files import load_safely
from asteroid_sinudae.utils.locks import locked

CONF = {
    "filterbank": SMALL,
    "data": {"segment": 500, "segment_hop": 250},
    "optim": {"lr": 1.0e-3},
    "training": {"batch_size": 4, "epochs": 2, "num_workers": 0},  # of 3 batches each
    "baseline": {"stft_n_fft": 64, "stft_stride": 16},
}
MASKER = dict(n_bands=3, n_repeats=1, bn_chan=6, hid_size=4)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    samples = 0.1 * np.random.default_rng(1).standard_normal(2000)
    return write_data(root, [*write_tracks(root), write_track(root, "f", samples, samples, "test")])


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    path = tmp_path_factory.mktemp("conf") / "conf.yml"
    path.write_text(yaml.safe_dump(CONF))
    return path


@pytest.fixture
def options(data_dir, conf, tmp_path):
    return dict(data_dir=data_dir, conf=conf, exp_dir=tmp_path / "exp")


def package_of(exp_dir):
    return load_safely(exp_dir / "best_model.pth")


def last_of(exp_dir):
    return load_safely(exp_dir / "checkpoints" / "last.ckpt")


# One process in a folder


@pytest.mark.parametrize("script", ["train.py", "train_separator.py", "eval.py", "eval_museval.py"])
def test_a_folder_that_another_process_works_in(tmp_path, data_dir, script):
    arguments = dict(exp_dir=tmp_path / "exp", data_dir=data_dir)
    if script == "train_separator.py":
        arguments["pair_dir"] = tmp_path / "pair"
    with locked(tmp_path / "exp" / ".run"):
        line = f"^{script}: .*/.run is held by process {os.getpid()} on .* since [^\n]*$"
        with pytest.raises(SystemExit, match=line):
            call(script, **arguments)
        assert os.listdir(tmp_path / "exp") == [".run"]


def test_the_lock_of_a_table_is_another_one_and_none_is_left(options):
    with locked(options["exp_dir"] / ".lock"):
        call("train.py", **options)
        call("eval.py", exp_dir=options["exp_dir"], data_dir=options["data_dir"])
    assert ".run" not in os.listdir(options["exp_dir"])
    with pytest.raises(SystemExit, match="conf.yml not found"):
        call("eval.py", exp_dir=options["exp_dir"] / "none", data_dir=options["data_dir"])
    assert not (options["exp_dir"] / "none").exists()


def start(**given):
    argv = [sys.executable, str(RECIPE / "train.py")]
    argv += [f"--{name}={value}" for name, value in given.items()]
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return subprocess.Popen(argv, env=environment(), text=True, **pipes)


def test_of_two_trainings_the_second_ends_and_the_lock_dies_with_the_first(options):
    options = {**options, "epochs": 100_000, "num_workers": 1}
    first = start(**options)
    while not (options["exp_dir"] / "checkpoints" / "last.ckpt").exists():
        assert first.poll() is None
        time.sleep(0.05)
    with pytest.raises(SystemExit, match=f"^train.py: .*is held by process {first.pid} on [^\n]*$"):
        call("train.py", **{**options, "seed": 1})
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # The folder is free, and what the first has done is there.
    with pytest.raises(SystemExit, match=r"last.ckpt has \d+ updates, more than the 3 that epochs"):
        call("train.py", **{**options, "epochs": 1, "num_workers": 0})


# Checkpoints and weights that are wrong


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda c: c.update(optimizer_states=[]),
            r"optimizer_states must be a list of 1, got \[\]",
        ),
        (lambda c: c.pop("lr_schedulers"), "lr_schedulers is missing"),
        (lambda c: c.update(loops={}), "loops.fit_loop is missing"),
        (
            lambda c: c["state_dict"]["model.decoder.filterbank.phase"].fill_(torch.nan),
            "state_dict.model.decoder.filterbank.phase must be a finite .* with NaN or infinity",
        ),
    ],
)
def test_a_checkpoint_that_is_wrong_replaces_no_model(options, change, message):
    call("train.py", **options)
    model, last = (
        options["exp_dir"] / "best_model.pth",
        options["exp_dir"] / "checkpoints/last.ckpt",
    )
    content = load_safely(last)
    change(content)
    torch.save(content, last)
    before = model.read_bytes()
    for epochs in (2, 4):
        with pytest.raises(SystemExit, match=f"^train.py: {last}: {message}[^\n]*$"):
            call("train.py", **options, epochs=epochs)
    assert model.read_bytes() == before


def test_weights_that_are_not_finite_become_no_model(options, tmp_path):
    package = SinuDAE(**SMALL).serialize()
    package["state_dict"]["decoder.filterbank.phase"][0] = torch.inf
    torch.save(package, tmp_path / "inf.pth")
    with pytest.raises(SystemExit, match="^train.py: [^\n]*must be finite[^\n]*$"):
        call("train.py", **options, max_steps=0, init_from=tmp_path / "inf.pth")
    assert not (options["exp_dir"] / "best_model.pth").exists()


# Processes that read segments


def test_a_worker_that_the_system_kills(options, monkeypatch):
    def killed(self, pair, read=TrainSegments.__getitem__):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, pair)

    monkeypatch.setattr(TrainSegments, "__getitem__", killed)
    line = (
        "one of the num_workers=2 processes that read segments was killed, .*: run it again to "
        "continue, with a lower num_workers"
    )
    with pytest.raises(SystemExit, match=f"^train.py: {line}$"):
        call("train.py", **options, num_workers=2)


def test_a_worker_that_cannot_read(options, monkeypatch):
    def unreadable(self, pair):
        raise soundfile.LibsndfileError(1, "vocals.wav: ")

    monkeypatch.setattr(TrainSegments, "__getitem__", unreadable)
    with pytest.raises(SystemExit, match="^train.py: cannot read the training data: .*vocals.wav"):
        call("train.py", **options, num_workers=1)


# Longer trainings


@pytest.mark.parametrize(
    "before, after, lengths, rate",
    [
        (dict(epochs=2), dict(epochs=4), (6, 12), 0.5),
        (dict(epochs=9, max_steps=4), dict(epochs=9, max_steps=7), (4, 7), 3 / 7),
        (dict(epochs=1), dict(epochs=9, max_steps=5), (3, 5), 2 / 5),
    ],
)
def test_a_finished_training_goes_on_over_a_longer_decay(
    options, capsys, before, after, lengths, rate
):
    call("train.py", **options, **before)
    (group,) = last_of(options["exp_dir"])["optimizer_states"][0]["param_groups"]
    assert group["lr"] == 0 and group["initial_lr"] == 1e-3
    finished = package_of(options["exp_dir"])["state_dict"]
    capsys.readouterr()
    call("train.py", **options, **after)
    line = (
        f"The decay of the learning rate is stretched from {lengths[0]} to {lengths[1]} updates: "
        f"after {lengths[0]} it goes on at {rate:.3g} times its start"
    )
    assert line in capsys.readouterr().out.splitlines()
    package = package_of(options["exp_dir"])
    training = package["infos"]["training"]
    assert training["steps"] == lengths[1]
    assert training["conf"]["run"]["decay_steps"] == lengths[1]
    # At the rate of zero that the first training had reached, nothing would have been learned.
    name = "encoder.filterbank._filters"
    assert not torch.equal(package["state_dict"][name], finished[name])
    (group,) = last_of(options["exp_dir"])["optimizer_states"][0]["param_groups"]
    assert group["lr"] == 0
    message = f"has {lengths[1]} updates, more than the 2 that epochs and max_steps ask for"
    with pytest.raises(SystemExit, match=message):
        call("train.py", **options, **{**before, "max_steps": 2})
    with pytest.raises(SystemExit, match="was trained with seed=0, asked for 1"):
        call("train.py", **options, **after, seed=1)


def test_updates_of_the_decay():
    loader = range(7)

    def steps(epochs, max_steps, lr_decay=True):
        lengths = {"epochs": epochs, "max_steps": max_steps}
        return training.decay_steps({"training": lengths, "optim": {"lr_decay": lr_decay}}, loader)

    assert [steps(3, -1), steps(3, 5), steps(3, 21), steps(3, 100)] == [21, 5, 21, 21]
    assert steps(3, 5, lr_decay=False) is None


# What a run's seed reaches, and what a checkpoint's options may change


def test_the_seed_reaches_start_order_and_noise(options, monkeypatch, tmp_path):
    system = importlib.import_module("asteroid_sinudae.training.dae_system")
    orders, noise = {}, {}

    def step_generator(seed, *rest, make=system.step_generator):
        generator = make(seed, *rest)
        noise.setdefault(seed, make(seed, *rest).get_state())
        return generator

    def epoch_pairs(self, draw=SetShuffleSampler._epoch_pairs):
        orders.setdefault(self.seed, draw(self))
        return draw(self)

    monkeypatch.setattr(system, "step_generator", step_generator)
    monkeypatch.setattr(SetShuffleSampler, "_epoch_pairs", epoch_pairs)
    starts = []
    for seed in (3, 5):
        call("train.py", **{**options, "exp_dir": tmp_path / f"{seed}"}, seed=seed, max_steps=1)
        call("train.py", **{**options, "exp_dir": tmp_path / f"{seed}s"}, seed=seed, max_steps=0)
        starts.append(package_of(tmp_path / f"{seed}s")["state_dict"])
    assert list(orders) == list(noise) == [3, 5]
    assert not np.array_equal(orders[3], orders[5]) and not torch.equal(noise[3], noise[5])
    weights = "encoder.filterbank._filters"
    assert not torch.equal(starts[0][weights], starts[1][weights])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_is_that_of_the_training(options):
    call("train.py", **options, max_steps=1)
    training = package_of(options["exp_dir"])["infos"]["training"]
    assert training["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("name", ["conf.yml", "conf_separator.yml"])
def test_every_other_key_keeps_its_value_where_a_run_is_continued(name):
    conf = yaml.safe_load((RECIPE / "local" / name).read_text())
    conf["run"] = {"train_segments": 3, "train_tracks": 2, "decay_steps": 7, "pair": "digest"}
    for group, values in conf.items():
        for key, value in values.items():
            others = {**conf, group: {**values, key: f"{value}1" if value is not True else False}}
            if key in MAY_CHANGE:
                check_resumable({"training_config": conf}, others, Path("last.ckpt"))
            else:
                with pytest.raises(ValueError, match=f"was trained with {key}="):
                    check_resumable({"training_config": conf}, others, Path("last.ckpt"))


def test_checkpoints_from_before_the_keys_of_the_shipped_configuration_are_continued():
    now = yaml.safe_load((RECIPE / "local" / "conf.yml").read_text())
    later = ("compact", "eps", "white_noise", "bandwidth_weight", "init_from")
    before = {
        group: {key: value for key, value in values.items() if key not in later}
        for group, values in now.items()
    }
    check_resumable({"training_config": before}, now, Path("last.ckpt"))


def test_checkpoints_from_before_a_key_are_continued():
    before, now = {"training": {"seed": 0}}, {"training": {"seed": 0, "init_from": ""}}
    check_resumable({"training_config": before}, now, Path("last.ckpt"))
    now["training"]["init_from"] = "model.pth"
    with pytest.raises(ValueError, match="was trained with init_from='', asked for 'model.pth'"):
        check_resumable({"training_config": before}, now, Path("last.ckpt"))


def test_other_data_of_the_same_length_does_not_continue_a_run():
    before, now = ({"run": {"train_data": digest}} for digest in "ab")
    with pytest.raises(ValueError, match="was trained with train_data='a', asked for 'b'"):
        check_resumable({"training_config": before}, now, Path("last.ckpt"))
    check_resumable({"training_config": {"run": {}}}, now, Path("last.ckpt"))  # from before it


def test_what_is_trained_on_is_told_by_its_checksums(options):
    manifest = Manifest.load(options["data_dir"])
    tracks = manifest.subset("train")
    digest = training.data_digest(tracks)
    assert digest == training.data_digest(Manifest.load(options["data_dir"]).subset("train"))
    file = replace(tracks[0].files["vocals"], sha256=64 * "0")
    changed = replace(tracks[0], files={**tracks[0].files, "vocals": file})
    assert training.data_digest((changed, *tracks[1:])) != digest
    call("train.py", **options)
    facts = package_of(options["exp_dir"])["infos"]["training"]["conf"]["run"]
    assert facts["train_data"] == digest


@pytest.mark.parametrize("script", ["eval.py", "eval_museval.py"])
def test_a_continuation_that_was_cut_off_is_not_evaluated(options, script):
    """Its configuration is written at its start, its model at its end."""
    call("train.py", **options)
    run = Run(options["exp_dir"])
    conf = yaml.safe_load(run.conf_file.read_text())
    write_conf({**conf, "training": {**conf["training"], "epochs": 3}}, run.conf_file)
    line = "best_model.pth was trained with epochs=2, .*conf.yml asks for 3: finish the training"
    with pytest.raises(SystemExit, match=f"^{script}: .*{line}"):
        call(script, exp_dir=run.folder, data_dir=options["data_dir"])
    assert not run.metrics_file.exists() and not run.museval_file.exists()
    if script == "eval.py":
        call("train.py", **options, epochs=3)
        call(script, exp_dir=run.folder, data_dir=options["data_dir"])


# From an existing model


def test_a_training_from_the_weights_of_a_model(options, tmp_path, capsys):
    source, bare = tmp_path / "source.pth", tmp_path / "bare.yml"
    torch.manual_seed(7)
    model = SinuDAE(**{**SMALL, "n_filters": 6})
    torch.save(model.serialize(), source)
    bare.write_text(yaml.safe_dump({**CONF, "filterbank": {"kernel_size": 64}}))
    options = {**options, "conf": bare, "init_from": source}
    call("train.py", **{**options, "exp_dir": tmp_path / "start"}, max_steps=0)
    assert_same_bits(package_of(tmp_path / "start")["state_dict"], model.state_dict())

    call("train.py", **options)
    written = yaml.safe_load((options["exp_dir"] / "conf.yml").read_text())
    assert written["training"]["init_from"] == str(source)
    assert written["filterbank"] == model.get_model_args()
    package = package_of(options["exp_dir"])
    facts = package["infos"]["training"]["conf"]
    assert (
        facts["training"]["init_from"] == str(source) and len(facts["run"]["initial_model"]) == 64
    )
    moved = (
        package["state_dict"]["encoder.filterbank._filters"] - model.encoder.filterbank.filters()
    )
    assert 0 < moved.abs().max() < 7e-3  # six updates of a rate of 1e-3 at most

    call("train.py", **options, epochs=3)
    assert package_of(options["exp_dir"])["infos"]["training"]["steps"] == 9
    line = f"n_filters must be that of init_from={source}, 6, or left out, got 8"
    with pytest.raises(SystemExit, match=f"^train.py: {line}$"):
        call("train.py", **options, n_filters=8)
    torch.save(SinuDAE(**{**SMALL, "n_filters": 6}).serialize(), source)
    with pytest.raises(SystemExit, match="last.ckpt was trained with initial_model='"):
        call("train.py", **options, epochs=4)


def test_a_training_from_a_model_of_the_package(options, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "STRUCTURES", {"start": dict(SMALL)})
    call("train.py", **options, init_from="start", max_steps=1)
    assert package_of(options["exp_dir"])["model_args"]["n_filters"] == 8
    for name, message in (("none", "'none' is neither a file nor"), ("no/a.pth", "not found")):
        with pytest.raises(SystemExit, match=f"^train.py: .*{message}"):
            call("train.py", **{**options, "exp_dir": tmp_path / "other"}, init_from=name)


def test_nothing_is_left_out_of_the_configuration_that_a_table_asks_for(options, tmp_path):
    source, run = tmp_path / "source.pth", Run(options["exp_dir"])
    torch.save(SinuDAE(**{**SMALL, "n_filters": 6}).serialize(), source)
    conf = yaml.safe_load((RECIPE / "local" / "conf.yml").read_text())
    for group, values in CONF.items():
        conf[group].update(values)
    conf["filterbank"]["n_filters"] = 800  # the default, which a row may ask for
    conf["training"]["init_from"] = str(source)
    write_conf(conf, run.job_file)
    line = f"^train.py: n_filters must be that of init_from={source}, 6, or left out, got 800$"
    with pytest.raises(SystemExit, match=line):
        call("train.py", **{**options, "conf": run.job_file})
    assert not run.conf_file.exists()
    conf["filterbank"]["n_filters"] = 6
    write_conf(conf, run.job_file)
    call("train.py", **{**options, "conf": run.job_file})
    assert (
        run.read_conf(conf)["filterbank"]
        == conf["filterbank"]
        == package_of(run.folder)["model_args"]
    )


def test_separators_from_the_maskers_of_others(options, tmp_path):
    call("train.py", **options)
    path = tmp_path / "separators.yml"
    shared = {
        "front_end": {"front_ends": "pair stft_64_16 free_8_64_16"},
        "data": {"segment": 500, "valid_tracks": 0, "valid_segment": 500},
        "training": CONF["training"],
    }
    path.write_text(yaml.safe_dump({"masker": MASKER, **shared}))
    options = dict(
        data_dir=options["data_dir"], conf=path, pair_dir=options["exp_dir"], max_steps=2
    )
    call("train_separator.py", **options, exp_dir=tmp_path / "first")
    # The masker's sizes are those of the first; the number of bands is only known by the file.
    path.write_text(yaml.safe_dump({"masker": {"n_bands": 3}, **shared}))
    options["init_from"] = tmp_path / "first"
    call("train_separator.py", **{**options, "max_steps": 0}, exp_dir=tmp_path / "second")
    for name in ("pair", "stft_64_16", "free_8_64_16"):
        mine, theirs = (package_of(tmp_path / folder / name) for folder in ("second", "first"))
        assert_same_bits(mine["state_dict"], theirs["state_dict"])
        facts = mine["infos"]["training"]["conf"]
        assert facts["training"]["init_from"] == str(tmp_path / "first")
        assert facts["masker"]["bn_chan"] == 6 and len(facts["run"]["initial_model"]) == 64
    call("train_separator.py", **options, exp_dir=tmp_path / "third")
    with pytest.raises(SystemExit, match="^train_separator.py: bn_chan must be that of init_from="):
        call("train_separator.py", **options, exp_dir=tmp_path / "fourth", bn_chan=7)


# The precision that is chosen by time


def test_the_precision_is_chosen_once_a_run(options, tmp_path, monkeypatch, capsys):
    choice = Choice("bf16", {"32": 0.32, "bf16": 0.14})
    asked = []
    monkeypatch.setattr(training, "time_precisions", lambda *args: asked.append(args) or choice)
    call("train.py", **options, precision="auto", max_steps=2)
    assert str(choice) in capsys.readouterr().out.splitlines()
    ((system, batch, device),) = asked
    assert [each.shape for each in batch] == [(4, 1, 500)] * 2
    assert str(device) == ("cuda:0" if torch.cuda.is_available() else "cpu")
    call("train.py", **options, precision="auto", max_steps=4)
    assert len(asked) == 1
    package = package_of(options["exp_dir"])
    assert package["infos"]["training"]["conf"]["run"]["precision"] == choice._asdict()
    written = yaml.safe_load((options["exp_dir"] / "conf.yml").read_text())
    assert written["training"]["precision"] == "auto"

    for name in ("bf16", "32"):
        other = {**options, "exp_dir": tmp_path / name, "precision": name}
        call("train.py", **other, max_steps=2)
        call("train.py", **other, max_steps=4)
    assert_same_bits(package["state_dict"], package_of(tmp_path / "bf16")["state_dict"])
    exact = package_of(tmp_path / "32")["state_dict"]
    assert any(not torch.equal(value, exact[name]) for name, value in package["state_dict"].items())

    content = last_of(options["exp_dir"])
    content["training_config"]["run"]["precision"]["precision"] = "64"
    torch.save(content, options["exp_dir"] / "checkpoints" / "last.ckpt")
    with pytest.raises(
        SystemExit, match="training_config.run.precision: precision must be '32' or"
    ):
        call("train.py", **options, precision="auto", max_steps=4)


def test_processes_that_train_together_agree_on_the_precision(monkeypatch):
    class System:
        config = {"run": {}}

    conf = {"training": {"precision": "auto", "devices": 2, "num_nodes": 1}}
    found = {"precision": "bf16", "seconds": {"32": 2.0, "bf16": 1.0}}
    timed = []
    monkeypatch.setattr(training, "_time_precisions", lambda *args: timed.append(args) or found)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(training.PRECISION, "")
    assert training._precision(System(), conf, {}, None) == "bf16"  # the first, which starts others
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert training._precision(System(), conf, {}, None) == "bf16" and len(timed) == 1
    monkeypatch.delenv(training.PRECISION)
    with pytest.raises(ValueError, match="precision must be 32 or bf16 where another program st"):
        training._precision(System(), conf, {}, None)
    conf["training"]["num_nodes"] = 2
    with pytest.raises(ValueError, match="precision must be 32 or bf16 on several nodes, got 'aut"):
        training._precision(System(), conf, {}, None)
