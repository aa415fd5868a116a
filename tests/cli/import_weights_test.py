"""The command `sinudae import-weights`, and one line for each mistake."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import import_weights, mistake, save_encoder
from helpers import environment

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.cli import commands, main
from asteroid_sinudae.models.authors_weights import from_state_dicts
from asteroid_sinudae.utils.files import load_safely


def test_import_weights(weights, capsys):
    assert import_weights("--sample_rate", "16000", "--smooth_dilation", "2") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out == (
        "model.pth: C=12, L=64, stride 16, carriers 160.0 to 4000.0 Hz, 2,280 parameters\n"
    )
    model = SinuDAE.from_pretrained("model.pth")
    expected = from_state_dicts(
        load_safely("encoder.pytorch"),
        load_safely("decoder.pytorch"),
        stride=16,
        sample_rate=16000.0,
        smooth_dilation=2,
    )
    assert model.get_model_args() == expected.get_model_args()
    wav = torch.randn(1, 1, 1001)
    with torch.no_grad():
        assert torch.equal(model(wav), expected(wav))


def test_file_says_where_it_comes_from(weights, capsys):
    (weights / "theirs").mkdir()
    for side in "encoder", "decoder":
        os.rename(f"{side}.pytorch", f"theirs/{side}.pytorch")
    sources = [str(weights / "theirs" / f"{side}.pytorch") for side in ("encoder", "decoder")]
    assert main(["import-weights", *sources, "new/model.pth", "--stride", "16"]) == 0
    assert load_safely("new/model.pth")["infos"]["imported_from"] == {
        side: {
            "file": f"{side}.pytorch",
            "sha256": hashlib.sha256(Path(f"theirs/{side}.pytorch").read_bytes()).hexdigest(),
        }
        for side in ("encoder", "decoder")
    }
    assert str(weights).encode() not in Path("new/model.pth").read_bytes()


def test_existing_output_needs_force(weights, capsys):
    Path("model.pth").write_text("mine")
    message = mistake(capsys, import_weights())
    assert message == "model.pth exists already, expected a new file, or --force"
    assert Path("model.pth").read_text() == "mine"
    assert import_weights("--force") == 0
    assert SinuDAE.from_pretrained("model.pth").get_model_args()["n_filters"] == 12


def test_inputs_are_never_replaced(weights, capsys):
    before = Path("decoder.pytorch").read_bytes()
    message = mistake(capsys, import_weights("--force", out=str(weights / "decoder.pytorch")))
    assert message.endswith("decoder.pytorch is also to be read, expected another file to write")
    assert Path("decoder.pytorch").read_bytes() == before


def test_missing_input(weights, capsys):
    os.unlink("decoder.pytorch")
    message = mistake(capsys, import_weights())
    assert message == "decoder.pytorch not found: expected a file written by torch.save"
    assert sorted(os.listdir()) == ["encoder.pytorch"]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("write", [torch.save, lambda _, path: Path(path).write_bytes(b"noise")])
def test_refused_input(weights, capsys, write):
    write({"conv_a1.weight": RunsCode()}, "encoder.pytorch")
    message = mistake(capsys, import_weights())
    assert message.startswith("encoder.pytorch is ")
    assert sorted(os.listdir()) == ["decoder.pytorch", "encoder.pytorch"]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"conv_a1": torch.zeros(12, 64)},
            "encoder's conv_a1.weight must be of shape (C, 1, L), got (12, 64)",
        ),
        (
            {"conv_a1": torch.zeros(12, 1, 32)},
            "decoder's norm_factor must be of shape (12, 1, 32), got (12, 1, 64)",
        ),
        (
            {"conv_a2": torch.zeros(12, 12, 4)},
            "encoder's conv_a2.weight must be of shape (12, 12, odd L'), got (12, 12, 4)",
        ),
        (
            {"conv_a2": 1.0},
            "encoder's conv_a2.weight must be a tensor of floating-point numbers, got "
            "<class 'float'>",
        ),
        (
            {"conv_a3": torch.zeros(1)},
            "encoder must have the keys conv_a1.weight, conv_a2.weight and no other: missing none, "
            "unknown conv_a3.weight",
        ),
    ],
)
def test_input_that_does_not_fit(weights, capsys, changes, message):
    save_encoder(**changes)
    assert mistake(capsys, import_weights()) == message
    assert not Path("model.pth").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--stride", "0"), "stride must be an integer of at least 1, got 0"),
        (("--stride", "100"), "stride must be at most kernel_size=64, got 100"),
        (("--sample_rate", "0"), "sample_rate must be positive and finite (Hz), got 0.0"),
        (("--smooth_dilation", "0"), "smooth_dilation must be an integer of at least 1, got 0"),
    ],
)
def test_option_that_makes_no_sense(weights, capsys, options, message):
    assert mistake(capsys, import_weights(*options)) == message


def test_output_that_cannot_be_written(weights, capsys):
    Path("file").touch()
    message = mistake(capsys, import_weights(out="file/model.pth"))
    assert message.startswith("cannot write file/model.pth: ")


def test_interruption(weights, capsys, monkeypatch):
    def interrupted(obj, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "save_atomically", interrupted)
    assert import_weights() == 130
    assert capsys.readouterr().err == "sinudae: interrupted\n"
    assert sorted(os.listdir()) == ["decoder.pytorch", "encoder.pytorch"]


def test_as_a_module(weights):
    """Everything but the last step runs, in a process of its own, without another word."""
    Path("file").touch()
    command = [sys.executable, "-m", "asteroid_sinudae", "import-weights"]
    command += ["encoder.pytorch", "decoder.pytorch", "file/model.pth", "--stride", "16"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sinudae: cannot write file/model.pth: ")
    assert done.stderr.count("\n") == 1
