"""The script that makes a model of a run one that comes with the package."""

import hashlib
import json
import os
import re
import runpy
import sys

import pytest
import torch
import yaml
from helpers import RECIPE

from asteroid_sinudae import SinuDAE, pretrained
from asteroid_sinudae.metrics import noise_si_sdr
from asteroid_sinudae.models import registry
from asteroid_sinudae.utils.files import load_safely
from asteroid_sinudae.utils.provenance import provenance

MEDIANS = {
    "mod-cos DAE": {"si_sdr": 41.234, "si_sdr_bm_0.5": 7.625, "si_sdr_bm_1": 8.0},
    "STFT": {"si_sdr": 131.5, "si_sdr_bm_0.5": 13.136, "si_sdr_bm_1": 13.824},
    "unprocessed mixture": {"si_sdr_bm_0.5": -2.3, "si_sdr_bm_1": -2.3},
}
DATA = "12 excerpts of music, 6 minutes"


@pytest.fixture
def exp_dir(tmp_path):
    """Folder of a run as train.py and eval.py leave it."""
    folder = tmp_path / "exp"
    folder.mkdir()
    conf = yaml.safe_load((RECIPE / "local" / "conf.yml").read_text())
    conf["baseline"]["pretrained"] = str(tmp_path / "other.pth")
    training = {"steps": 1750, "epochs": 3, "seconds": 71.25}
    made_with = provenance("cpu")
    torch.manual_seed(0)
    package = SinuDAE(n_filters=20, kernel_size=128, stride=32, sample_rate=16000.0).serialize()
    package["infos"]["training"] = {"conf": conf, **training, **made_with}
    torch.save(package, folder / "best_model.pth")
    metrics = {
        "medians": MEDIANS,
        "training": training,
        "test_tracks": 5,
        "segments": 93,
        "source": {"kind": "wav", "path": str(tmp_path / "MUSDB18")},
        "conf": conf,
        **made_with,
    }
    (folder / "final_metrics.json").write_text(json.dumps(metrics))
    return folder


def publish(exp_dir, name="small", data=DATA):
    """Run the script in this process; SystemExit has its one line."""
    argv = [str(RECIPE / "publish.py"), "--exp_dir", str(exp_dir), "--name", name, "--data", data]
    argv += ["--output", str(exp_dir.parent / "models")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        patch.syspath_prepend(str(RECIPE))
        runpy.run_path(argv[0], run_name="__main__")


def refused(exp_dir, message, **options):
    with pytest.raises(SystemExit, match=f"^publish.py: {message}[^\n]*$"):
        publish(exp_dir, **options)
    assert not (exp_dir.parent / "models").exists()


def change(exp_dir, **changes):
    """Other values in final_metrics.json."""
    path = exp_dir / "final_metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_model_and_card(exp_dir, capsys, monkeypatch):
    publish(exp_dir)
    folder = exp_dir.parent / "models"
    assert capsys.readouterr().out.split() == [
        str(folder / f"small.{end}") for end in ("pth", "md")
    ]
    assert sorted(os.listdir(folder)) == ["small.md", "small.pth"]

    monkeypatch.setattr(registry, "FOLDER", folder)
    line = (
        "20 channels, kernels of 128 samples, hop 32, 16000 Hz, 0.62 coefficients a sample, "
        f"0.01 million parameters; 1,750 updates on {DATA}"
    )
    assert pretrained.available()["small"] == f"encodes and decodes: {line}"
    half, whole = (
        SinuDAE.from_pretrained(source) for source in ("small", exp_dir / "best_model.pth")
    )
    assert half.get_model_args() == whole.get_model_args()
    infos = load_safely(folder / "small.pth")["infos"]
    quality = infos["half_precision"]
    assert quality["rounding"] == noise_si_sdr(half, reference=whole) > 65
    assert 0 < quality["cost"] < 0.01  # 65 dB below the output add little to errors at 41 dB
    assert quality["noise_si_sdr"] == noise_si_sdr(half)
    assert infos["evaluation"]["medians"] == MEDIANS and infos["training"]["steps"] == 1750

    card = pretrained.card("small")
    assert card.startswith(f"# small\n\n{line}\n\n- **Licence**: non-commercial research only")
    facts = dict(re.findall(r"^- \*\*(.*?)\*\*: (.*)$", card, re.MULTILINE))
    assert facts["Data"] == DATA and facts["Parameters"] == "7,160"
    assert facts["Training"].startswith("1,750 updates, 71 s on ")
    assert infos["training"]["finished"] in facts["Training"]
    assert f"torch {provenance('cpu')['versions']['torch']}" in facts["Trained with"]
    assert facts["Evaluation"].startswith("medians over 93 segments of 5 test tracks")
    sha256 = hashlib.sha256((folder / "small.pth").read_bytes()).hexdigest()
    assert facts["SHA-256"] == sha256
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in card.splitlines()
        if "|" in line
    ]
    assert rows[0][:2] == ["", "SI-SDR (dB)"]
    assert rows[2] == ["mod-cos DAE", "41.23", "7.62", "8.00"]
    assert rows[4] == ["unprocessed mixture", "–", "-2.30", "-2.30"]
    (conf,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    expected = yaml.safe_load((RECIPE / "local" / "conf.yml").read_text())
    del expected["baseline"]
    assert yaml.safe_load(conf) == expected


def test_no_path_is_published(exp_dir):
    publish(exp_dir)
    for path in (exp_dir.parent / "models").iterdir():
        content = path.read_bytes()
        assert str(exp_dir.parent).encode() not in content and b"MUSDB18" not in content


def test_system_that_was_evaluated_by_its_path(exp_dir):
    change(exp_dir, medians={**MEDIANS, "/models/other.pth": MEDIANS["STFT"]})
    refused(exp_dir, "name of an evaluated model must be one without a path, got '/models/other")


def test_published_again(exp_dir, monkeypatch):
    publish(exp_dir)
    publish(exp_dir, data="noise")
    folder = exp_dir.parent / "models"
    monkeypatch.setattr(registry, "FOLDER", folder)
    assert pretrained.available()["small"].endswith(" updates on noise")
    assert sorted(os.listdir(folder)) == ["small.md", "small.pth"]


@pytest.mark.parametrize("suffix", ["md", "pth"])
def test_what_was_not_published_is_not_replaced(exp_dir, suffix):
    path = exp_dir.parent / "models" / f"small.{suffix}"
    path.parent.mkdir()
    if suffix == "md":
        path.write_text("precious")
    else:
        torch.save(SinuDAE(n_filters=20, kernel_size=128, stride=32).serialize(), path)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=f"{path} is in the way: expected "):
        publish(exp_dir)
    assert os.listdir(path.parent) == [path.name] and path.read_bytes() == before


def test_the_model_that_a_training_began_with_is_named_without_its_folder(exp_dir):
    package = torch.load(exp_dir / "best_model.pth")
    package["infos"]["training"]["conf"]["training"]["init_from"] = "/some/where/best_model.pth"
    torch.save(package, exp_dir / "best_model.pth")
    publish(exp_dir)
    models = exp_dir.parent / "models"
    infos = load_safely(models / "small.pth")["infos"]
    assert infos["training"]["conf"]["training"]["init_from"] == "best_model.pth"
    assert "/some/where" not in (models / "small.md").read_text()


def test_run_that_is_not_done(exp_dir):
    path = exp_dir / "final_metrics.json"
    content = path.read_text()
    path.unlink()
    refused(exp_dir, f"{path} not found: evaluate the run first")
    path.write_text(content)
    change(exp_dir, training={"steps": 1750, "epochs": 3, "seconds": 71.5})
    refused(exp_dir, f"{path} is of another training than {exp_dir}/best_model.pth: evaluate again")
    path.write_text("{}")
    refused(exp_dir, f"{path}: medians is missing: evaluate again")
    (exp_dir / "best_model.pth").unlink()
    refused(exp_dir, f"{exp_dir}/best_model.pth not found: train the run first")
    refused(exp_dir / "none", f"{exp_dir}/none/best_model.pth not found: train")


def test_models_that_cannot_be_published(exp_dir, monkeypatch):
    path = exp_dir / "best_model.pth"
    package = load_safely(path)
    untrained = {**package["infos"]["training"], "steps": 0}
    for infos in {}, {"training": untrained}:
        torch.save({**package, "infos": infos}, path)
        refused(exp_dir, f"{path} is untrained, expected a model that the recipe has trained$")
    torch.save({**package, "model_name": "STFTConvTasNet"}, path)
    refused(exp_dir, f"{path} holds a model 'STFTConvTasNet', expected 'SinuDAE'")
    package["state_dict"]["decoder.filterbank.modulator"][0, 0, 0] = 1e5
    torch.save(package, path)
    refused(exp_dir, "largest number of decoder.filterbank.modulator must be up to 65504, got 1000")


def test_model_that_is_too_large(exp_dir, monkeypatch):
    monkeypatch.setattr(pretrained, "MAX_BYTES", 14_000)
    refused(exp_dir, r"size of the model in bytes must be at most 14000, got 14400$")


def test_numbers_that_float16_spoils(exp_dir):
    """Below 6e-5 a number has fewer digits; the more the better the model is."""
    path = exp_dir / "best_model.pth"
    package = load_safely(path)
    package["state_dict"]["decoder.filterbank.modulator"] *= 1e-2  # to 7e-5, tapering to zero
    window = torch.hann_window(128, periodic=False)
    package["state_dict"]["decoder.filterbank.modulator"] *= window
    torch.save(package, path)
    change(exp_dir, medians={"mod-cos DAE": {"si_sdr": 59.0}})
    message = r"what half precision takes from the output in dB must be at most 0.5 of 59.0"
    refused(exp_dir, message)
    change(exp_dir, medians={"mod-cos DAE": {"si_sdr": 20.0}})
    publish(exp_dir)


@pytest.mark.parametrize(
    "name", ["", "a b", "A", "a.pth", "../a", next(iter(pretrained.STRUCTURES))]
)
def test_names_that_make_no_sense(exp_dir, name):
    refused(exp_dir, f"name must be made of a-z, 0-9 and _, and not .*, got '{name}'", name=name)


@pytest.mark.parametrize("data", ["", " ", "two\nlines", "/music", "songs of ~/music"])
def test_data_that_makes_no_sense(exp_dir, data):
    said = re.escape(repr(data))
    refused(exp_dir, f"data must be one line of text without a path, got {said}", data=data)
