"""train_separator.py and eval_separator.py: both stages, continued ones, and mistakes."""

import itertools
import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from helpers import RECIPE, call, printed_tables
from small_separators import MASKER, NAMES, PAIR, SIZES, STFT_NAME, make_both, make_pair
from trainings import assert_same_bits

from asteroid_sinudae import SinuDAE, SinuDAEConvTasNet
from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.models.baselines import STFTConvTasNet
from asteroid_sinudae.training.separator_system import SeparatorSystem
from asteroid_sinudae.utils.files import load_safely, save_atomically


@pytest.fixture
def pair_dir(tmp_path):
    """A run's folder as far as it matters: the trained pair and its configuration."""
    folder = tmp_path / "pair"
    save_pair(folder, make_pair())
    conf = {
        "filterbank": {"decoder": "mod_cos", "kernel_size": 64},
        "baseline": {f"stft_{key}": value for key, value in SIZES.items()},
    }
    (folder / "conf.yml").write_text(yaml.safe_dump(conf))
    return folder


def save_pair(folder, pair):
    save_atomically(pair.serialize(), folder / "best_model.pth")


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "conf_small.yml"
    content = {
        "front_end": {"front_ends": " ".join(NAMES)},
        "masker": MASKER,
        "data": {"segment": 500, "valid_tracks": 0, "valid_segment": 500},
        "optim": {"lr_decay": False},
        "training": {"batch_size": 4, "epochs": 9, "max_steps": 4, "num_workers": 0},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def options(tmp_path, pair_dir, data_dir):
    return dict(exp_dir=tmp_path / "separators", pair_dir=pair_dir, data_dir=data_dir)


def package_of(options, name):
    return load_safely(options["exp_dir"] / name / "best_model.pth")


def test_both_stages(options, conf, capsys, monkeypatch):
    heard = []
    original = SeparatorSystem.training_step

    def training_step(self, batch, batch_nb):
        heard.append((type(self.model).__name__, [source.clone() for source in batch]))
        return original(self, batch, batch_nb)

    monkeypatch.setattr(SeparatorSystem, "training_step", training_step)
    call("train_separator.py", conf=conf, **options)
    batches = {
        cls.__name__: [batch for name, batch in heard if name == cls.__name__]
        for cls in (SinuDAEConvTasNet, STFTConvTasNet)
    }
    assert [len(seen) for seen in batches.values()] == [4, 4]
    for one, other in zip(*batches.values(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    pair = load_safely(options["pair_dir"] / "best_model.pth")["state_dict"]
    packages = {name: package_of(options, name) for name in NAMES}
    kept = packages["pair"]["state_dict"]
    assert all(torch.equal(kept[key], value) for key, value in pair.items())
    for package in packages.values():
        assert package["infos"]["sources"] == ["vocals", "accompaniment"]
        assert package["infos"]["training"]["steps"] == 4

    capsys.readouterr()
    call(
        "eval_separator.py",
        "--museval",
        "--semitones",
        "1,-2",
        "0",
        n_tracks=1,
        duration=1,
        n_workers=1,
        **options,
    )
    printed = capsys.readouterr().out
    exp_dir = options["exp_dir"]
    segments = pd.read_csv(exp_dir / "segments.csv")
    metrics = json.loads((exp_dir / "final_metrics.json").read_text())
    masks = [
        f"{name}, informed mask {t}" for name in ("mod-cos DAE", "STFT 64-24") for t in ("0.5", "1")
    ]
    separators = ["mod-cos DAE, separator", "STFT 64-24, separator", "mean of the separators"]
    heard = {separators[0]: "1, -2", separators[2]: "1, -2 and 0"}
    transposed = [f"{name}, at {at} semitones" for name, at in heard.items()]
    names = [*separators, *transposed, *masks, MIXTURE]
    assert list(segments["representation"].unique()) == list(metrics["medians"]) == names
    for name in names:
        rows = segments[segments["representation"] == name]
        assert len(rows) == metrics["segments"]
        for column, median in metrics["medians"][name].items():
            assert median == pytest.approx(rows[column].median(), abs=1e-9)
            by_track = metrics["medians_by_track"]["g"][name][column]
            assert by_track == pytest.approx(rows[rows["track"] == "g"][column].median(), abs=1e-9)
    found = [segments[segments["representation"] == name] for name in (*separators, *transposed)]
    scores = torch.tensor(np.stack([rows["si_sdr_vocals"] for rows in found]))
    assert all((a != b).all() for a, b in itertools.combinations(scores, 2))
    assert metrics["separators"][STFT_NAME]["steps"] == 4
    assert metrics["conf"]["masker"] == MASKER
    table = (exp_dir / "table.md").read_text()
    assert "SI-SDRi accompaniment (dB)" in table
    rows, scored = printed_tables(printed)
    assert "SI-SDRi acc." in rows[0] and "SDR (dB)" in scored[0]
    assert [row[0] for row in rows[1:]] == names
    assert max(len(line) for line in printed.splitlines() if line.startswith("--")) <= 100
    scores = json.loads((exp_dir / "museval.json").read_text())
    informed = ["mod-cos DAE, informed mask", "STFT 64-24, informed mask"]
    assert list(scores["medians"]) == [*separators, *transposed, *informed]
    assert scores["test_tracks"] == 1 and scores["failed"] == {}

    def rows_at(*semitones):
        call("eval_separator.py", "--semitones", *semitones, **options)
        medians = json.loads((exp_dir / "final_metrics.json").read_text())["medians"]
        return [name for name in medians if "semitones" in name]

    assert rows_at("0", "0") == []
    heard = {separators[1]: "-2", separators[2]: "0 and -2"}
    assert rows_at("0", " -2") == [f"{name}, at {at} semitones" for name, at in heard.items()]
    with pytest.raises(SystemExit, match="or one for each of the 2, got .*0.*, .*0.*, .*0"):
        rows_at("0", "0", "0")


def test_continued_training_ends_where_a_whole_one_ends(tmp_path, options, conf):
    whole = {**options, "exp_dir": tmp_path / "whole"}
    call("train_separator.py", conf=conf, **{**whole, "max_steps": 7})
    call("train_separator.py", conf=conf, **options)
    call("train_separator.py", conf=conf, **{**options, "max_steps": 7})
    for name in NAMES:
        assert_same_bits(
            package_of(options, name)["state_dict"], package_of(whole, name)["state_dict"]
        )
    with pytest.raises(SystemExit, match="last.ckpt was trained with n_blocks=2, asked for 3"):
        call("train_separator.py", conf=conf, n_blocks=3, **options)
    save_pair(options["pair_dir"], SinuDAE(**PAIR))
    with pytest.raises(SystemExit, match="^train_separator.py: .*last.ckpt was trained with pair="):
        call("train_separator.py", conf=conf, **options)
    with pytest.raises(SystemExit, match="best_model.pth was trained beside another pair than"):
        call("eval_separator.py", **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_average_of_the_weights(options, conf, name):
    call("train_separator.py", conf=conf, front_ends=name, ema_decay=0.5, **options)
    folder = options["exp_dir"] / name
    state = load_safely(folder / "checkpoints" / "last.ckpt")["state_dict"]
    averaged = [v for key, v in state.items() if key.startswith("averaged.module.")]
    found = [v for key, v in package_of(options, name)["state_dict"].items() if "masker." in key]
    last = [value for key, value in state.items() if key.startswith("model.masker.")]
    assert len(averaged) == len(found) and all(map(torch.equal, averaged, found))
    assert not all(map(torch.equal, averaged, last))


def test_both_train_in_bf16(options, conf):
    call("train_separator.py", conf=conf, precision="bf16", **options)
    for name in NAMES:
        package = package_of(options, name)
        assert package["infos"]["training"]["conf"]["training"]["precision"] == "bf16"
        assert all(value.dtype == torch.float32 for value in package["state_dict"].values())


def test_a_pair_is_trained_along_by_a_fraction_of_its_size(options, conf):
    call("train_separator.py", conf=conf, front_ends="pair", pair_lr=1e-3, **options)
    before = load_safely(options["pair_dir"] / "best_model.pth")["state_dict"]
    package = package_of(options, "pair")
    for key, value in before.items():
        moved = (package["state_dict"][key] - value).abs()
        if value.is_floating_point():
            assert 0 < moved.max() and moved.square().mean() ** 0.5 < 4.1e-3 * value.abs().max()
    assert package["model_args"]["freeze"] is False
    loaded = SinuDAEConvTasNet.from_pretrained(options["exp_dir"] / "pair" / "best_model.pth")
    assert_same_bits(loaded.state_dict(), package["state_dict"])


def test_separators_that_cannot_be_compared(options, conf):
    with pytest.raises(
        SystemExit, match="^eval_separator.py: .* has no separators: train them first"
    ):
        call("eval_separator.py", **options)
    call("train_separator.py", conf=conf, **options)
    path = options["exp_dir"] / STFT_NAME / "best_model.pth"
    package = load_safely(path)
    package["infos"]["training"]["steps"] = 3
    torch.save(package, path)
    with pytest.raises(
        SystemExit, match="were not trained alike, pair for 4 updates and stft_64_24 for 3: train"
    ):
        call("eval_separator.py", **options)
    with pytest.raises(SystemExit, match="^eval_separator.py: n_tracks must be 1 or more, got 0"):
        call("eval_separator.py", n_tracks=0, **options)


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(n_blocks=0), "n_blocks must be an integer of at least 1, got 0"),
        (dict(norm_type="BN"), "norm_type must be one of 'gLN', 'fgLN', 'cLN', 'cgLN', 'bN', got"),
        (dict(norm_type="_LayerNorm"), "norm_type must be one of 'gLN', .* got '_LayerNorm'"),
        (
            dict(segment=63),
            "segment=63 is shorter than a kernel, expected at least 64",
        ),
        (dict(pair_lr=-1.0), "pair_lr must be 0 or more, got -1.0"),
        (dict(clip_norm=0.0), "clip_norm must be positive, got 0.0"),
        (dict(snr_max=-1.0), r"snr_max must be positive \(dB\), got -1.0"),
        (dict(pan=0.5), "pan=0.5 needs side signals, '.*' has none: prepare the data again "),
        (dict(semitones=5), "semitones must be an integer, 0 to 4, got 5"),
        (dict(epochs=0), "epochs must be at least 1 and max_steps -1 or more, got epochs=0"),
        (dict(lr=1e30), "loss must be finite, got nan after . updates: choose a lower lr"),
        (dict(data_dir="nowhere"), "nowhere/manifest.json not found: prepare the data first"),
        (dict(pair_dir="nowhere"), "nowhere/best_model.pth not found: train the pair .* .stage 2."),
    ],
)
def test_options_that_make_no_sense(options, conf, given, message):
    with pytest.raises(SystemExit, match=f"^train_separator.py: {message}[^\n]*$"):
        call("train_separator.py", **{**options, "conf": conf, **given})
    assert not list(options["exp_dir"].rglob("best_model.pth"))


def test_configurations_that_make_no_sense(tmp_path, options):
    path = tmp_path / "conf.yml"
    for text in ("masker:\n  n_blokcs: 8\n", "filterbank:\n  n_filters: 8\n"):
        path.write_text(text)
        with pytest.raises(SystemExit, match="^train_separator.py: .*unknown key "):
            call("train_separator.py", conf=path, **options)


def test_pairs_that_make_no_sense(options, conf):
    path = options["pair_dir"] / "best_model.pth"
    save_pair(options["pair_dir"], SinuDAE(**PAIR, sample_rate=16000))
    for script, given in (("train_separator.py", {"conf": conf}), ("eval_separator.py", {})):
        message = f"^{script}: {path} is for 16000 Hz, the data has 44100 Hz"
        with pytest.raises(SystemExit, match=message):
            call(script, **given, **options)
    save_atomically(make_both()[STFT_NAME].serialize(), path)
    with pytest.raises(SystemExit, match="holds a model 'STFTConvTasNet', expected 'SinuDAE'"):
        call("train_separator.py", conf=conf, **options)


def test_demo_configuration_has_known_keys():
    base, demo = (
        yaml.safe_load((RECIPE / "local" / name).read_text())
        for name in ("conf_separator.yml", "conf_separator_demo.yml")
    )
    for group, values in demo.items():
        assert values.items() - base[group].items() and values.keys() <= base[group].keys()


def run_stages(tmp_path, *arguments):
    """Command lines that run.sh gives its interpreter."""
    fake = tmp_path / "python"
    log = tmp_path / "log"
    fake.write_text(f'#!/bin/sh\necho "$*" >>{log}\n')
    fake.chmod(0o755)
    command = [RECIPE / "run.sh", "--python_path", fake, "--tag", "t", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done, log.read_text().splitlines() if log.exists() else []


def test_stages_6_and_7_run_when_asked_for(tmp_path):
    _, lines = run_stages(tmp_path)
    assert lines and not any("separator" in line for line in lines)
    (tmp_path / "log").unlink()
    arguments = ["--stage", "6", "--stop_stage", "7", "--data_dir", "d", "--museval", "true"]
    done, lines = run_stages(tmp_path, *arguments, "--separator_args", "--n_blocks 6 --lr 1.0")
    assert done.returncode == 0
    folders = "--exp_dir exp/train_separator_t --pair_dir exp/train_sinudae_t --data_dir d"
    assert lines == [
        f"train_separator.py --conf local/conf_separator.yml {folders} --n_blocks 6 --lr 1.0",
        f"eval_separator.py {folders} --museval",
    ]
    done, _ = run_stages(tmp_path, *arguments, "--table", "table1")
    assert done.returncode == 2 and "stages 6 and 7 need a --tag" in done.stderr


def test_separators_that_were_trained_apart_are_evaluated_together(options, conf):
    call("train_separator.py", conf=conf, front_ends="pair", **options)
    call("train_separator.py", conf=conf, front_ends=STFT_NAME, **options)
    call("eval_separator.py", **options)
    segments = pd.read_csv(options["exp_dir"] / "segments.csv")
    assert {"mod-cos DAE, separator", "STFT 64-24, separator"} < set(segments["representation"])
