"""The command `sinudae separate`: what it writes and says, and one line for each mistake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command_line import PAIR_NOTE, SIZES, change, mistake
from helpers import environment
from hostile_packages import RunsCode
from songs_on_disk import RATE, noise

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.cli import main
from asteroid_sinudae.models.model_files import LoadedModel
from asteroid_sinudae.songs import apply as songs

# isort: split

from asteroid.models import ConvTasNet


def test_reconstruction_by_the_pair(songs_folder, capsys):
    assert main(["separate", "dae.pth", "song.wav", "-o", "out/new", "--chunk", "0.3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"sinudae: note: song.wav{PAIR_NOTE}\n"
    assert printed.out == "out/new/song_reconstruction.wav\n"
    estimate, rate = soundfile.read("out/new/song_reconstruction.wav", dtype="float32")
    dae = SinuDAE.from_pretrained("dae.pth")
    with torch.no_grad():
        expected = dae(torch.from_numpy(noise(2 * RATE).T.copy())[:, None])[:, 0].T
    assert rate == RATE and soundfile.info("out/new/song_reconstruction.wav").subtype == "FLOAT"
    np.testing.assert_allclose(estimate, expected, atol=1e-6)


@pytest.mark.parametrize(
    "model, names",
    [("named", ["vocals", "accompaniment"]), ("asteroid", ["source1", "source2"])],
)
def test_sources_of_a_model(songs_folder, capsys, model, names):
    """In files at the song's rate, with its channels and its length."""
    soundfile.write("a.b.flac", noise(22_051), 11025)
    arguments = ["separate", f"{model}.pth", "a.b.flac", "-o", "out", "--chunk", "0.4"]
    assert main([*arguments, "--overlap", "0.1"]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "sinudae: note: a.b.flac is at 11025 Hz, resampled to the model's 8000 Hz\n"
    )
    paths = [f"out/a.b_{name}.wav" for name in names]
    assert printed.out.split() == paths
    first, second = (soundfile.read(path) for path in paths)
    assert first[1] == second[1] == 11025
    assert first[0].shape == second[0].shape == (22_051, 2)
    assert first[0].any() and not np.allclose(first[0], second[0])


def test_one_sample(songs_folder, capsys):
    soundfile.write("one.wav", noise(1), RATE)
    assert main(["separate", "dae.pth", "one.wav", "-o", "out"]) == 0
    assert soundfile.info("out/one_reconstruction.wav").frames == 1
    capsys.readouterr()
    message = mistake(capsys, main(["separate", "asteroid.pth", "one.wav", "-o", "out"]))
    assert message.startswith("ConvTasNet, given 1 samples, fails: ")


def test_existing_estimates_need_force(songs_folder, capsys):
    Path("out").mkdir()
    Path("out/song_accompaniment.wav").write_text("mine")
    Path("out/other.wav").write_text("mine")
    arguments = ["separate", "named.pth", "song.wav", "-o", "out"]
    message = mistake(capsys, main(arguments))
    assert message == ("out/song_accompaniment.wav exists already, expected a new file, or --force")
    assert Path("out/song_accompaniment.wav").read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert soundfile.info("out/song_accompaniment.wav").frames == 2 * RATE
    assert sorted(os.listdir("out")) == ["other.wav", "song_accompaniment.wav", "song_vocals.wav"]


def test_song_is_never_replaced(songs_folder, capsys):
    Path("out").mkdir()
    os.symlink(songs_folder / "song.wav", "out/song_reconstruction.wav")
    before = Path("song.wav").read_bytes()
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out", "--force"]))
    assert message == (
        "out/song_reconstruction.wav is also to be read, expected another file to write"
    )
    assert Path("song.wav").read_bytes() == before


def test_folder_that_is_a_file(songs_folder, capsys):
    Path("out").touch()
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out"]))
    assert message == "out is a file, expected a folder to write into"
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out/new"]))
    assert message.startswith("cannot write out/new/song_reconstruction.wav: ")


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros((0, 2)), "bad.wav has no samples, expected at least one"),
        (
            np.where(np.arange(2 * RATE) < 6000, 0, np.nan)[:, None].repeat(2, axis=1),
            "bad.wav has a NaN or infinite sample at 0.75 s, expected finite ones",
        ),
        (None, "bad.wav not found: expected an audio file"),
    ],
)
def test_song_that_cannot_be_used(songs_folder, capsys, command, samples, message):
    if samples is not None:
        soundfile.write("bad.wav", samples, RATE, subtype="FLOAT")
    arguments = {
        "separate": ["named.pth", "bad.wav", "-o", "out", "--chunk", "0.2"],
        "encode": ["dae.pth", "bad.wav", "-o", "out/bad.npz", "--chunk", "0.2"],
        "mask": ["song.wav", "bad.wav", "dae.pth", "-o", "out", "--chunk", "0.2"],
    }[command]
    assert mistake(capsys, main([command, *arguments])) == message
    assert not Path("out").exists() or os.listdir("out") == []


def test_song_that_is_no_audio(songs_folder, capsys):
    Path("notes.txt").write_text("no audio")
    message = mistake(capsys, main(["separate", "dae.pth", "notes.txt", "-o", "out"]))
    assert message.startswith("notes.txt cannot be read as audio, ffmpeg says: ")


@pytest.mark.parametrize(
    "options, message",
    [
        (("--chunk", "-1"), "chunk must be positive and finite (s), got -1.0"),
        (("--chunk", "1", "--overlap", "0.6"), "overlap must be between 0 and half of chunk=1.0 "),
        (("--chunk", "0.001"), "ConvTasNet, given 8 samples, fails: "),
        (("--device", "abacus"), "device 'abacus' cannot be used: "),
    ],
)
def test_option_of_separate_that_makes_no_sense(songs_folder, capsys, options, message):
    arguments = ["separate", "asteroid.pth", "song.wav", "-o", "out", *options]
    assert mistake(capsys, main(arguments)).startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(state_dict=None), "bad.pth is no serialized model of Asteroid: state_dict missing"),
        (
            dict(model_name="Demucs"),
            "bad.pth holds a model 'Demucs', expected a class of Asteroid's or asteroid_sinudae's",
        ),
        (dict(model_name="save_publishable"), "bad.pth holds a model 'save_publishable', expec"),
        (dict(model_name=["ConvTasNet"]), "bad.pth holds a model ['ConvTasNet'], expected"),
        (dict(model_args={"n_src": 2}), "bad.pth has no sample rate, expected one in its model_"),
        (dict(model_args=[]), "bad.pth has no sample rate"),
        (dict(model_args={"sample_rate": 8000, "n_sources": 2}), "bad.pth cannot be loaded: "),
        (dict(state_dict={}), "bad.pth cannot be loaded: "),
        (dict(infos={"sources": ["a/b", "c"]}), "the model's file names its sources ['a/b', 'c'],"),
        (dict(infos={"sources": ["vocals"]}), "the model's file names its sources ['vocals'], exp"),
        (dict(infos={"sources": 2}), "the model's file names its sources 2, expected 2 different"),
    ],
)
def test_model_file_that_cannot_be_used(songs_folder, capsys, changes, message):
    change("asteroid.pth", "bad.pth", **changes)
    status = main(["separate", "bad.pth", "song.wav", "-o", "out"])
    assert mistake(capsys, status).startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["separate", "encode", "decode", "mask", "info"])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"model_name": RunsCode()}, path),
        lambda path: torch.save({"conv.weight": torch.zeros(2)}, path),
        lambda path: Path(path).write_bytes(b"noise"),
        lambda path: None,
    ],
    ids=["pickle", "state dict", "noise", "none"],
)
def test_model_file_of_another_kind(songs_folder, capsys, command, write):
    write("bad.pth")
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    capsys.readouterr()
    arguments = {
        "separate": ["bad.pth", "song.wav", "-o", "out"],
        "encode": ["bad.pth", "song.wav", "-o", "out.npz"],
        "decode": ["bad.pth", "a.npz", "-o", "out.wav"],
        "mask": ["song.wav", "vocals.wav", "bad.pth", "-o", "out"],
        "info": ["bad.pth"],
    }[command]
    assert mistake(capsys, main([command, *arguments])).startswith("bad.pth ")
    assert not Path("ran").exists() and not any("out" in name for name in os.listdir())


def test_model_of_several_channels(songs_folder, capsys, monkeypatch):
    def load_model(path):
        model = ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES)
        model.in_channels = 2
        return LoadedModel(model, {})

    monkeypatch.setattr("asteroid_sinudae.songs.files.load_model", load_model)
    message = mistake(capsys, main(["separate", "asteroid.pth", "song.wav", "-o", "out"]))
    assert message == "in_channels of ConvTasNet must be 1: mono signals, got 2"


def test_interrupted_separation(songs_folder, capsys, monkeypatch):
    """In the third chunk."""
    separate, calls = songs._separate_channel, []

    def interrupted(*args):
        calls.append(sorted(os.listdir("out")) if Path("out").exists() else [])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return separate(*args)

    monkeypatch.setattr(songs, "_separate_channel", interrupted)
    assert main(["separate", "named.pth", "song.wav", "-o", "out", "--chunk", "0.3"]) == 130
    assert capsys.readouterr().err == "sinudae: interrupted\n"
    assert len(calls[-1]) == 2 and all(name.endswith(".part") for name in calls[-1])
    assert os.listdir("out") == []


@pytest.mark.slow
def test_interruption_from_outside(songs_folder):
    """Ctrl-C while the files are written leaves none."""
    soundfile.write("song.wav", noise(600 * RATE), RATE)
    command = [sys.executable, "-m", "asteroid_sinudae", "separate", "named.pth", "song.wav"]
    options = dict(stderr=subprocess.PIPE, text=True, env=environment())
    with subprocess.Popen([*command, "-o", "out", "--chunk", "0.5"], **options) as process:
        for _ in range(600):
            parts = list(Path().glob("out/.sinudae-*.part"))
            if sum(part.stat().st_size for part in parts) > 100_000 or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    said = "sinudae: loading PyTorch and the model\nsinudae: interrupted\n"
    assert (process.returncode, err) == (130, said)
    assert os.listdir("out") == []
