"""The recipe from the command line: every stage, runs that are killed, and users' mistakes."""

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from helpers import RECIPE, call, environment, forked, printed_tables

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.oracle import evaluate as evaluate_representations
from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.models import registry
from asteroid_sinudae.utils import files

CONF = {
    "filterbank": {"n_filters": 8, "kernel_size": 256, "stride": 64},
    "data": {"segment": 4000, "segment_hop": 2000},
    "optim": {"lr": 1.0e-3, "lr_decay": False},
    "training": {"batch_size": 4, "max_steps": 7, "num_workers": 0},
    "baseline": {"stft_n_fft": 256, "stft_stride": 64},
}


@pytest.fixture(scope="module")
def musdb18(tmp_path_factory):
    """A WAV tree: tones as vocals, noise as accompaniment."""
    root = tmp_path_factory.mktemp("musdb18")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("train/A - 1", "train/B - 2", "test/C - 3")):
        folder = root / name
        folder.mkdir(parents=True)
        time_axis = np.arange(30_000) / 44100
        vocals = 0.3 * np.sin(2 * np.pi * (200 + 100 * number) * time_axis)
        other = 0.05 * rng.standard_normal(30_000)
        for stem, samples in (("vocals", vocals), ("other", other), ("mixture", vocals + other)):
            soundfile.write(folder / f"{stem}.wav", samples, 44100, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    path = tmp_path_factory.mktemp("conf") / "conf.yml"
    path.write_text(yaml.safe_dump(CONF))
    return path


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, musdb18):
    path = tmp_path_factory.mktemp("data") / "prepared"
    call("local/prepare.py", data_dir=path, musdb18_dir=musdb18, num_workers=1)
    return path


def start_training(exp_dir, **options):
    """In a process of its own that sees no GPU: a machine with one cannot train on two."""
    argv = [sys.executable, str(RECIPE / "train.py"), "--exp_dir", str(exp_dir)]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    variables = environment(CUDA_VISIBLE_DEVICES="")
    return subprocess.Popen(
        argv, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def model_of(exp_dir):
    return files.load_safely(exp_dir / "best_model.pth")


def test_all_stages_then_again(tmp_path, musdb18, conf):
    recipe = tmp_path / "recipe"
    shutil.copytree(RECIPE, recipe, ignore=shutil.ignore_patterns("exp", "data", "__pycache__"))

    def run(*options):
        command = [recipe / "run.sh", "--python_path", sys.executable, "--tag", "test"]
        command += ["--musdb18_dir", musdb18, "--conf", conf, "--train_args", "--seed 3", *options]
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stdout + done.stderr  # no bars where there is no terminal
    exp_dir = recipe / "exp" / "train_sinudae_test"
    written = {path.name for path in exp_dir.iterdir()}
    assert written == {
        "best_model.pth",
        "checkpoints",
        "conf.yml",
        "final_metrics.json",
        "logs",
        "report",
        "segments.csv",
        "table.md",
    }
    assert yaml.safe_load((exp_dir / "conf.yml").read_text())["training"]["seed"] == 3
    assert os.listdir(exp_dir / "checkpoints") == ["last.ckpt"]
    package = model_of(exp_dir)
    assert package["infos"]["training"]["steps"] == 7
    assert SinuDAE.from_pretrained(exp_dir / "best_model.pth").get_model_args()["n_filters"] == 8

    segments = pd.read_csv(exp_dir / "segments.csv")
    names = ["mod-cos DAE", "STFT", "unprocessed mixture"]
    assert list(segments["representation"].unique()) == names
    counts = segments["representation"].value_counts()
    assert (counts == 8).all()  # 30000 samples in segments of 4000
    metrics = json.loads((exp_dir / "final_metrics.json").read_text())
    for name in names:
        rows = segments[segments["representation"] == name]
        for column, median in metrics["medians"][name].items():
            assert median == pytest.approx(rows[column].median(), abs=1e-9)
    assert "si_sdr" not in metrics["medians"]["unprocessed mixture"]
    assert metrics["medians"]["STFT"]["si_sdr"] > 100
    assert metrics["conf"]["training"]["seed"] == 3 and metrics["segments"] == 8
    assert {"versions", "commit", "device", "finished"} <= metrics.keys()
    *table, _, note, _, sentence = (exp_dir / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == names
    printed = done.stdout.splitlines()
    names[0] += ", 7 updates"
    (rows,) = (table for table in printed_tables(done.stdout) if "rec." in table[0])  # once
    assert [row[0] for row in rows] == ["representation", *names]
    assert note.removeprefix("- ") in printed
    assert "vocals come out at " in sentence and "(mod-cos DAE, 7 updates)" in sentence
    last = printed.index(sentence)
    assert printed[last + 1] == "Stage 5: page"

    again = run("--stage", "2", "--stop_stage", "2")
    assert again.returncode == 0, again.stderr
    before, after = package["state_dict"], model_of(exp_dir)["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_killed_training_ends_where_an_uninterrupted_one_ends(tmp_path, data_dir, conf):
    options = dict(data_dir=data_dir, conf=conf, max_steps=60, epochs=1000, lr_decay=True)
    call("train.py", exp_dir=tmp_path / "whole", **options)
    interrupted = dict(options, exp_dir=tmp_path / "cut", checkpoint_minutes=1e-4)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    steps = []
    for _ in range(2):
        seen = last.stat().st_mtime_ns if last.exists() else 0
        process = forked(partial(call, "train.py", **interrupted))
        while process.is_alive() and (not last.exists() or last.stat().st_mtime_ns == seen):
            time.sleep(0.005)
        process.kill()
        process.join()
        steps.append(files.load_safely(last)["global_step"])
    assert 0 < steps[0] < steps[1] < 60 and not (tmp_path / "cut" / "best_model.pth").exists()
    call("train.py", **interrupted)
    whole, cut = model_of(tmp_path / "whole"), model_of(tmp_path / "cut")
    assert whole["infos"]["training"]["steps"] == cut["infos"]["training"]["steps"] == 60
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][name]), name


def test_untrained_model_is_the_start_of_a_training(tmp_path, data_dir, conf):
    options = dict(data_dir=data_dir, conf=conf, seed=5, lr_decay=True)
    call("train.py", exp_dir=tmp_path / "start", max_steps=0, **options)
    package = model_of(tmp_path / "start")
    training = package["infos"]["training"]
    assert (training["steps"], training["epochs"], training["seconds"]) == (0, 0, 0)
    torch.manual_seed(5)
    for name, value in SinuDAE(**package["model_args"]).state_dict().items():
        assert torch.equal(package["state_dict"][name], value), name  # mel carriers are in order
    assert sorted(os.listdir(tmp_path / "start")) == ["best_model.pth", "conf.yml"]
    call("train.py", exp_dir=tmp_path / "trained", max_steps=1, **options)
    with pytest.raises(SystemExit, match="last.ckpt is of a training: choose another folder for"):
        call("train.py", exp_dir=tmp_path / "trained", max_steps=0, **options)


def test_training_by_all_objectives_with_relative_step_sizes(tmp_path, data_dir, conf):
    weights = dict(sinkhorn_weight=0.1, additivity_weight=1, mask_weight=0.5)
    options = dict(data_dir=data_dir, conf=conf, lr=0.004, lr_relative=True, matched=True)
    call("train.py", exp_dir=tmp_path, **options, **weights, max_steps=10)
    (path,) = tmp_path.glob("logs/csv/version_*/metrics.csv")
    last = pd.read_csv(path).dropna(subset="loss").iloc[-1]
    terms = {"neg_snr": 1.0, "tv": 0.5, "sinkhorn": 0.1, "additivity": 1.0, "mask": 0.5}
    expected = sum(weight * last[name] for name, weight in terms.items())
    assert last["loss"] == pytest.approx(expected, rel=1e-5)
    package = model_of(tmp_path)
    torch.manual_seed(0)
    start = SinuDAE(**package["model_args"]).state_dict()
    for name, value in package["state_dict"].items():
        size = 1.0 if name.endswith("phase") else start[name].square().mean().sqrt()
        assert 0 < (value - start[name]).abs().max() / size < 0.06, name  # 10 steps of 0.004


def losses_of(exp_dir):
    (path,) = exp_dir.glob("logs/csv/version_*/metrics.csv")
    return pd.read_csv(path).groupby("step").first()


def test_two_processes_train_as_one_with_the_same_global_batch(tmp_path, data_dir, conf):
    # 28 segments: every batch of 4 is full, also the last of an epoch.
    options = dict(data_dir=data_dir, conf=conf, max_steps=40, epochs=1000, checkpoint_minutes=1e-3)
    trainings = [
        start_training(tmp_path / name, devices=devices, **options)
        for name, devices in (("one", 1), ("two", 2))
    ]
    assert [training.wait() for training in trainings] == [0, 0]
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert list(one.index) == list(two.index) and one["loss"].count() >= 3
    learned = one["neg_snr_epoch"].dropna()
    assert len(learned) == 6 and learned.iloc[0] - learned.iloc[-1] > 1  # dB
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    parameters = [model_of(tmp_path / name)["state_dict"] for name in ("one", "two")]
    for name, value in parameters[0].items():
        torch.testing.assert_close(value, parameters[1][name], rtol=0, atol=1e-4)


def test_training_from_memory_is_training_from_disk(tmp_path, data_dir, conf):
    for keep_on in ("", "cpu"):
        options = dict(exp_dir=tmp_path / f"on {keep_on}", data_dir=data_dir, conf=conf)
        call("train.py", max_steps=3, keep_on=keep_on, **options)
    disk, memory = (model_of(tmp_path / name)["state_dict"] for name in ("on ", "on cpu"))
    assert all(torch.equal(value, memory[name]) for name, value in disk.items())


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(devices=0), "devices and num_nodes must be at least 1, got devices=0, num_nodes=1"),
        (dict(devices=3), "batch_size=4 must divide by the 3 processes of devices and num_nodes"),
        (dict(n_filters=0), "n_filters must be an integer of at least 1, got 0"),
        (dict(stride=300), "stride must be at most kernel_size=256, got 300"),
        (dict(kernel_size=5000), "segment=4000 is shorter than a kernel, expected at least"),
        (dict(sample_rate=16000), "sample_rate=16000 differs from that of the prepared data"),
        (dict(decoder="conv"), r"sort needs a decoder with carrier frequencies \(mod_cos or cos\)"),
        (dict(precision="64"), "precision must be one of '32', 'bf16', 'auto', got '64'"),
        (dict(max_steps=-2), "epochs must be at least 1 and max_steps -1 or more, got epochs=10"),
        (dict(epochs=0), "epochs must be at least 1 and max_steps -1 or more, got epochs=0"),
        (dict(tv_weight=-1), r"tv_weight must be positive and finite, or 0, got -1\.0"),
        (dict(mask_weight=1), r"mask_weight=1\.0 needs the accompaniment of the same place as"),
        (dict(additivity_weight=1), r"additivity_weight=1\.0 needs the accompaniment of the same"),
        (dict(sinkhorn_weight=1, sinkhorn_p=3), "sinkhorn_p must be one of 1, 2, got 3"),
        (dict(lr=-1.0, lr_relative=True), "lr must be 0 or more and finite, got -1.0"),
        (dict(lr=1e30), "loss must be finite, got nan after 1 updates: choose a lower lr"),
        (dict(lr=-1.0), "Invalid learning rate: -1.0"),
        (dict(keep_on="disk"), "keep_on must be '', cpu or cuda, got 'disk'"),
        (dict(keep_on="cuda", num_workers=2), "keep_on=cuda needs num_workers=0, as only one"),
        (dict(keep_on="cuda", num_workers=0, devices=2), "keep_on=cuda needs devices=1, got 2: "),
        (dict(batch_size=0), "batch_size must be 1 or more, got 0"),
        (dict(segment_hop=5000), "hop must be 1 to 4000 .segment., got 5000"),
        (dict(data_dir="nowhere"), "nowhere/manifest.json not found: prepare the data first"),
        (dict(conf="none.yml"), "none.yml not found: expected a YAML configuration"),
    ],
)
def test_training_options_that_make_no_sense(tmp_path, data_dir, conf, options, message):
    options = {"data_dir": data_dir, "conf": conf, **options}
    with pytest.raises(SystemExit, match=f"^train.py: {message}[^\n]*$"):
        call("train.py", exp_dir=tmp_path / "exp", **options)
    assert not (tmp_path / "exp" / "best_model.pth").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("filterbank:\n  n_filtres: 8\n", "unknown key filterbank.n_filtres"),
        ("n_filters: 8\n", "unknown key n_filters"),
        ("objective: {sort: 'no'}\n", "objective.sort must be a valid boolean, got 'no'"),
        ("optim: {lr: true}\n", "optim.lr must be a valid number, got True"),
        ("a: [", "is not YAML: "),
    ],
)
def test_configurations_that_make_no_sense(tmp_path, data_dir, text, message):
    path = tmp_path / "conf.yml"
    path.write_text(text)
    with pytest.raises(SystemExit, match=f"^train.py: {path}:? {message}[^\n]*$"):
        call("train.py", exp_dir=tmp_path / "exp", data_dir=data_dir, conf=path)


def test_folder_of_another_training_is_left_alone(tmp_path, data_dir, conf):
    options = dict(exp_dir=tmp_path / "exp", data_dir=data_dir, conf=conf)
    call("train.py", **options)
    call("train.py", **{**options, "conf": tmp_path / "exp" / "conf.yml"})
    before = {path: path.read_bytes() for path in (tmp_path / "exp").glob("*.*")}
    message = "last.ckpt was trained with n_filters=8, asked for 9: continue with the same value"
    with pytest.raises(SystemExit, match=f"^train.py: .*{message}"):
        call("train.py", n_filters=9, **options)
    with pytest.raises(SystemExit, match="lr_decay=False, asked for True"):
        call("train.py", lr_decay=True, **options)
    torch.save({"state_dict": Payload()}, tmp_path / "exp" / "checkpoints" / "last.ckpt")
    with pytest.raises(SystemExit, match="^train.py: .*last.ckpt is refused: it is damaged, or"):
        call("train.py", **options)
    assert before == {path: path.read_bytes() for path in (tmp_path / "exp").glob("*.*")}


class Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_folder_that_cannot_be_written(tmp_path, data_dir, conf):
    (tmp_path / "file").touch()
    exp_dir = tmp_path / "file" / "exp"
    with pytest.raises(SystemExit, match=f"^train.py: cannot write {exp_dir}: [^\n]*$"):
        call("train.py", exp_dir=exp_dir, data_dir=data_dir, conf=conf)


def test_full_disk_keeps_the_last_checkpoint(tmp_path, data_dir, conf, monkeypatch):
    options = dict(exp_dir=tmp_path / "exp", data_dir=data_dir, conf=conf)
    call("train.py", **options)
    last = tmp_path / "exp" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def full(obj, path):
        Path(path).write_bytes(b"a part")
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(files.torch, "save", full)
    with pytest.raises(SystemExit, match=f"^train.py: cannot write {last}: .*is the disk full?"):
        call("train.py", **{**options, "max_steps": 20})
    assert last.read_bytes() == before and os.listdir(last.parent) == ["last.ckpt"]


@pytest.fixture
def named_models(tmp_path, monkeypatch):
    """`trained` and `start` are the only models that come with the package."""
    torch.manual_seed(0)
    sizes = dict(n_filters=6, kernel_size=128, stride=32)
    torch.save(SinuDAE(**sizes).serialize(), tmp_path / "trained.pth")
    slow = dict(sizes, sample_rate=16000)
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    monkeypatch.setattr(registry, "STRUCTURES", {"start": sizes, "slow": slow})


def test_evaluation_beside_models_by_name(tmp_path, data_dir, conf, named_models):
    exp_dir = tmp_path / "exp"
    call("train.py", exp_dir=exp_dir, data_dir=data_dir, conf=conf)
    settings = yaml.safe_load((exp_dir / "conf.yml").read_text())

    def evaluate(names):
        settings["baseline"]["pretrained"] = names
        (exp_dir / "conf.yml").write_text(yaml.safe_dump(settings))
        call("eval.py", exp_dir=exp_dir, data_dir=data_dir)

    evaluate("trained start")
    names = ["mod-cos DAE", "trained", "start", "STFT"]
    metrics = json.loads((exp_dir / "final_metrics.json").read_text())
    assert list(metrics["costs"]) == names
    assert list(metrics["medians"]) == [*names, MIXTURE]
    segments = pd.read_csv(exp_dir / "segments.csv").groupby("representation")
    model = SinuDAE.from_pretrained("trained")
    expected, _ = evaluate_representations(
        {"it": model}, Manifest.load(data_dir).subset("test"), 4000
    )
    expected = expected[expected["representation"] == "it"]
    for column in ("si_sdr", "si_sdr_bm_1", "si_sdr_rm"):
        found = segments.get_group("trained")[column]
        np.testing.assert_allclose(found, expected[column], atol=1e-3)
    own = SinuDAE.from_pretrained(exp_dir / "best_model.pth")
    assert metrics["parameters"] == sum(parameter.numel() for parameter in own.parameters())
    call("compare.py", exp_dir, output=tmp_path / "table.md")
    assert all(name in (tmp_path / "table.md").read_text() for name in names)

    with pytest.raises(SystemExit, match="^eval.py: 'none' is neither a file nor the name of a mo"):
        evaluate("trained none")
    with pytest.raises(SystemExit, match="^eval.py: pretrained must be another name than those be"):
        evaluate("trained trained")
    with pytest.raises(SystemExit, match="^eval.py: slow is for 16000 Hz, the data has 44100 Hz"):
        evaluate("slow")


def test_evaluation_of_the_stft_alone(tmp_path, data_dir):
    conf = {"data": {"segment": 4000}, "baseline": {**CONF["baseline"], "stft_window": "hann"}}
    (tmp_path / "conf.yml").write_text(yaml.safe_dump(conf))
    call("eval.py", "--stft", exp_dir=tmp_path, data_dir=data_dir)
    metrics = json.loads((tmp_path / "final_metrics.json").read_text())
    assert list(metrics["medians"]) == ["STFT", MIXTURE] and metrics["segments"] == 8
    assert metrics["medians"]["STFT"]["si_sdr"] > 100 and metrics["parameters"] == 0
    assert metrics["costs"]["STFT"]["coefficients_per_sample"] == 258 / 64
    assert set(metrics["training"].values()) == {None} and metrics["conf"] == conf
    conf["baseline"]["stft_stride"] = 257
    (tmp_path / "conf.yml").write_text(yaml.safe_dump(conf))
    with pytest.raises(SystemExit, match="^eval.py: stride must be 1 to n_fft=256, got 257"):
        call("eval.py", "--stft", exp_dir=tmp_path, data_dir=data_dir)


def test_evaluation_without_what_it_needs(tmp_path, data_dir, conf, musdb18):
    with pytest.raises(SystemExit, match="^eval.py: .*conf.yml not found"):
        call("eval.py", exp_dir=tmp_path, data_dir=data_dir)
    with pytest.raises(SystemExit, match="^compare.py: .*final_metrics.json not found: evaluate"):
        call("compare.py", tmp_path, output=tmp_path / "table.md")
    call("train.py", exp_dir=tmp_path, data_dir=data_dir, conf=conf)
    only_train = tmp_path / "only_train"
    shutil.copytree(musdb18 / "train", only_train / "train")
    call("local/prepare.py", data_dir=tmp_path / "data", musdb18_dir=only_train, num_workers=1)
    with pytest.raises(SystemExit, match="^eval.py: no test tracks to evaluate"):
        call("eval.py", exp_dir=tmp_path, data_dir=tmp_path / "data")
    slow = SinuDAE(n_filters=8, kernel_size=256, stride=64, sample_rate=16000)
    torch.save(slow.serialize(), tmp_path / "best_model.pth")
    with pytest.raises(SystemExit, match="^eval.py: .*best_model.pth is for 16000 Hz, the data"):
        call("eval.py", exp_dir=tmp_path, data_dir=data_dir)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_models_that_are_not_finite_have_no_results(tmp_path, data_dir, conf, value):
    call("train.py", exp_dir=tmp_path, data_dir=data_dir, conf=conf, max_steps=0)
    package = model_of(tmp_path)
    name = next(name for name in package["state_dict"] if name.endswith("weight"))
    package["state_dict"][name].flatten()[0] = value
    torch.save(package, tmp_path / "best_model.pth")
    with pytest.raises(SystemExit, match="^eval.py: .*(mod-cos DAE|best_model.pth).*finite"):
        call("eval.py", exp_dir=tmp_path, data_dir=data_dir)
    assert not (tmp_path / "final_metrics.json").exists()


@pytest.mark.parametrize(
    "infos", [None, [], {"training": []}, {"training": {"steps": "7"}}], ids=repr
)
def test_models_that_tell_of_their_training_in_another_shape(tmp_path, data_dir, conf, infos):
    call("train.py", exp_dir=tmp_path, data_dir=data_dir, conf=conf, max_steps=0)
    torch.save({**model_of(tmp_path), "infos": infos}, tmp_path / "best_model.pth")
    with pytest.raises(SystemExit, match="^eval.py: [^\n]*best_model.pth[^\n]*infos[^\n]*$"):
        call("eval.py", exp_dir=tmp_path, data_dir=data_dir)


def test_script_whose_output_is_not_read_did_not_succeed():
    code = "from utils import scripts; scripts.run(lambda: print('line'))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_data_that_is_not_there(tmp_path):
    message = f"no tracks found under {tmp_path}: expected "
    for script in ("local/get_data.py", "local/prepare.py"):
        options = {} if "get" in script else {"data_dir": tmp_path / "data"}
        with pytest.raises(SystemExit, match=f"^{Path(script).name}: {message}[^\n]*$"):
            call(script, musdb18_dir=tmp_path, **options)


def test_bad_tracks_are_counted_or_stop_a_strict_preparation(tmp_path, musdb18, caplog):
    tree = tmp_path / "musdb18"
    shutil.copytree(musdb18, tree)
    (tree / "train" / "A - 1" / "vocals.wav").unlink()
    options = dict(musdb18_dir=tree, num_workers=1)
    call("local/prepare.py", data_dir=tmp_path / "data", **options)
    assert "1 of 3 tracks skipped" in caplog.text
    with pytest.raises(SystemExit, match="^prepare.py: .*A - 1: missing stem.s. vocals.wav"):
        call("local/prepare.py", "--strict", data_dir=tmp_path / "strict", **options)
