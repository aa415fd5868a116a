"""`--device`: one short line about a device that there is not."""

from pathlib import Path

import pytest
import soundfile
import torch
from command_line import mistake
from songs_on_disk import RATE, noise

from asteroid_sinudae.cli import main
from asteroid_sinudae.songs.files import on_device

COMMANDS = {
    "separate": ["named.pth", "song.wav", "-o", "out"],
    "mask": ["song.wav", "vocals.wav", "--stft", "-o", "out"],
    "encode": ["dae.pth", "song.wav", "-o", "out/a.npz"],
    "decode": ["dae.pth", "a.npz", "-o", "out/a.wav"],
}
NONE_HERE = [
    pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="is here")),
    pytest.param(
        "mps", marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="is here")
    ),
    *("cuda:99", "xla", "meta", "abacus", "", "cpu:x", "privateuseone"),
]


@pytest.mark.parametrize("device", NONE_HERE)
@pytest.mark.parametrize("command", COMMANDS)
def test_device_that_there_is_not(songs_folder, capsys, command, device):
    if command == "decode":
        assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz", "--quiet"]) == 0
    message = mistake(capsys, main([command, *COMMANDS[command], "--device", device]))
    assert message.startswith(f"device {device!r} cannot be used: ") and len(message) < 300
    assert message.endswith(f"; expected {expected()}") and not Path("out").exists()


def expected():
    gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return " or ".join(["cpu", *(name for name, is_here in gpus.items() if is_here)])


def test_reason_is_one_sentence(monkeypatch):
    """As PyTorch has it where there is no driver, and where there is no memory."""
    for message, reason in {
        "Found no NVIDIA driver on your system. Please check that you": "Found no NVIDIA driver on "
        "your system",
        "CUDA error: out of memory\nCUDA kernel errors might be": "CUDA error: out of memory",
        "": "RuntimeError",
    }.items():

        def refuse(*sizes, device, message=message):
            raise RuntimeError(message)

        monkeypatch.setattr(torch, "zeros", refuse)
        with pytest.raises(ValueError) as caught:
            on_device(torch.nn.Identity(), "cuda")
        assert str(caught.value) == f"device 'cuda' cannot be used: {reason}; expected {expected()}"


@pytest.mark.parametrize("device", NONE_HERE[:2])
def test_device_that_asteroid_infer_has_not(songs_folder, capsys, device):
    soundfile.write("mono.wav", noise(RATE, 1), RATE)
    status = main(["asteroid-infer", "named.pth", "--files", "mono.wav", "-d", device])
    message = mistake(capsys, status)
    assert message.startswith("asteroid-infer fails: ") and len(message) < 300
    assert any(name in message.lower() for name in (device, "nvidia"))  # PyTorch for CUDA says so
