"""The script that makes a separator one that comes with the package."""

import json
import runpy
import sys

import pytest
import torch
import yaml
from helpers import RECIPE
from small_separators import NAMES, STFT_NAME, make_both

from asteroid_sinudae import load_model, pretrained
from asteroid_sinudae.models import registry
from asteroid_sinudae.utils.files import load_safely
from asteroid_sinudae.utils.provenance import provenance

COLUMNS = ("si_sdr_vocals", "si_sdri_vocals", "si_sdr_accompaniment", "si_sdri_accompaniment")
ROWS = {
    "mod-cos DAE, separator": (4.5, 9.25, 10.5, 5.5),
    "STFT 64-24, separator": (4.25, 9.0, 10.25, 5.25),
    "mod-cos DAE, informed mask 0.5": (10.0, 14.75, 15.0, 10.0),
    "unprocessed mixture": (-4.75, 0.0, 5.0, 0.0),
}
MEDIANS = {name: dict(zip(COLUMNS, row, strict=True)) for name, row in ROWS.items()}
TRAINING = {"steps": 900, "epochs": 2, "seconds": 71.25}
MODELS = {"pair": "SinuDAEConvTasNet", STFT_NAME: "STFTConvTasNet"}


@pytest.fixture
def exp_dir(tmp_path):
    """Folder of separators as train_separator.py and eval_separator.py leave it."""
    conf = yaml.safe_load((RECIPE / "local" / "conf_separator.yml").read_text())
    made_with = provenance("cpu")
    torch.manual_seed(0)
    for name, separator in make_both().items():
        package = separator.serialize()
        package["infos"]["sources"] = ["vocals", "accompaniment"]
        package["infos"]["training"] = {"conf": conf, **TRAINING, **made_with}
        folder = tmp_path / "exp" / name
        folder.mkdir(parents=True)
        torch.save(package, folder / "best_model.pth")
    metrics = {
        "evaluated": "mod-cos DAE, separator",
        "medians": MEDIANS,
        "separators": {name: {**TRAINING, "learned_parameters": 9} for name in NAMES},
        "test_tracks": 50,
        "segments": 150,
        "conf": conf,
        **made_with,
    }
    (tmp_path / "exp" / "final_metrics.json").write_text(json.dumps(metrics))
    return tmp_path / "exp"


def publish(exp_dir, front_end, name="small"):
    argv = [str(RECIPE / "publish.py"), "--exp_dir", str(exp_dir), "--front_end", front_end]
    argv += ["--name", name, "--data", "noise", "--output", str(exp_dir.parent / "models")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        patch.syspath_prepend(str(RECIPE))
        runpy.run_path(argv[0], run_name="__main__")


@pytest.mark.parametrize("front_end", NAMES)
def test_separator_and_card(exp_dir, front_end, monkeypatch):
    publish(exp_dir, front_end)
    folder = exp_dir.parent / "models"
    monkeypatch.setattr(registry, "FOLDER", folder)
    figures = dict(zip(NAMES, list(MEDIANS.values())[:2], strict=True))[front_end]
    facts = pretrained.facts("small")
    assert facts["does"] == "separates vocals and accompaniment"
    assert facts["figures"] == (
        "SI-SDR in dB, medians over 150 segments of 50 songs: "
        f"vocals {figures['si_sdr_vocals']:.1f} ({figures['si_sdri_vocals']:+.1f} from the mixture)"
        f", accompaniment {figures['si_sdr_accompaniment']:.1f} "
        f"({figures['si_sdri_accompaniment']:+.1f} from the mixture)"
    )
    loaded = load_model("small")
    assert type(loaded.model).__name__ == MODELS[front_end]
    assert loaded.infos["sources"] == ["vocals", "accompaniment"]
    whole = load_model(exp_dir / front_end / "best_model.pth").model
    wav = 0.1 * torch.randn(1, 1, 4410)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(wav), whole(wav), atol=1e-4, rtol=1e-2)
    assert "noise_si_sdr" not in loaded.infos["half_precision"]
    card = (folder / "small.md").read_text()
    assert "- **Reach**: " in card and "which takes 0.00 dB from the separation" in card
    assert "| mod-cos DAE, informed mask 0.5 |" in card
    assert str(exp_dir.parent) not in card


@pytest.mark.parametrize(
    "front_end, message",
    [
        ("free_8_64_16", "best_model.pth not found: train the run first .stages 2 and 6."),
        ("stft", "front_ends must be pair, .* got 'stft'"),
        ("../pair", "front_ends must be pair, .* got '../pair'"),
    ],
)
def test_front_ends_that_make_no_sense(exp_dir, front_end, message):
    with pytest.raises(SystemExit, match=f"^publish.py: .*{message}[^\n]*$"):
        publish(exp_dir, front_end)
    assert not (exp_dir.parent / "models").exists()


def test_an_evaluation_of_another_training(exp_dir):
    path = exp_dir / "final_metrics.json"
    metrics = json.loads(path.read_text())
    metrics["separators"]["pair"]["steps"] = 901
    path.write_text(json.dumps(metrics))
    with pytest.raises(SystemExit, match="^publish.py: .* is of another training than .*: evaluat"):
        publish(exp_dir, "pair")
    publish(exp_dir, STFT_NAME)
    del metrics["medians"]["STFT 64-24, separator"]
    path.write_text(json.dumps(metrics))
    with pytest.raises(SystemExit, match="medians must be one of its rows, got 'STFT 64-24, sep"):
        publish(exp_dir, STFT_NAME)


def test_a_pair_is_no_separator(exp_dir):
    package = load_safely(exp_dir / "pair" / "best_model.pth")
    package["model_name"] = "SinuDAE"
    torch.save(package, exp_dir / "pair" / "best_model.pth")
    with pytest.raises(SystemExit, match="^publish.py: .* holds a model 'SinuDAE', expected "):
        publish(exp_dir, "pair")
