"""`--quiet`: warnings and errors are told, and nothing else."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from command_line import mistake
from helpers import environment
from songs_on_disk import RATE, halve, noise

from asteroid_sinudae.cli import main
from asteroid_sinudae.utils import progress

COMMANDS = {
    "separate": ["separate", "song.wav", "-o", "out"],
    "pair": ["separate", "pair", "song.wav", "vocals.wav", "-o", "out"],
    "mask": ["mask", "song.wav", "vocals.wav", "pair", "-o", "out"],
    "encode": ["encode", "pair", "song.wav", "-o", "out/a.npz"],
    "decode": ["decode", "pair", "a.npz", "-o", "out/a.wav"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_notes_no_progress_and_no_paths(separator, capsys, monkeypatch, command):
    """Without it there are some of each: the song is at another rate."""
    soundfile.write("song.wav", noise(2 * RATE), 2 * RATE)
    assert main(["encode", "pair", "song.wav", "-o", "a.npz"]) == 0
    soundfile.write("vocals.wav", noise(RATE), RATE)
    capsys.readouterr()
    monkeypatch.setattr(progress, "SECONDS", 0)
    assert main(COMMANDS[command]) == 0
    loud = capsys.readouterr()
    assert sorted(loud.out.splitlines()) == [f"out/{name}" for name in sorted(os.listdir("out"))]
    assert "100%" in loud.err and ("note: " in loud.err or command == "decode")
    before = {path: path.read_bytes()[100:] for path in Path("out").iterdir()}
    assert main([*COMMANDS[command], "--quiet", "--force"]) == 0
    assert capsys.readouterr() == ("", "")
    if command != "encode":  # whose archive tells the time
        assert {path: path.read_bytes()[100:] for path in Path("out").iterdir()} == before


def test_warnings_and_errors_remain(separator, capsys):
    halve("song.wav")
    arguments = ["separate", "named.pth", "song.wav", "--quiet", "-o", "out"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("sinudae: warning: song.wav breaks off ")
    assert printed.err.count("\n") == 1
    message = mistake(capsys, main([*arguments, "--strict", "--force"]))
    assert message.endswith(": refused by --strict")
    Path("bad.wav").write_bytes(b"noise")
    assert main(["separate", "named.pth", "bad.wav", "vocals.wav", "-o", "new", "--quiet"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("sinudae: bad.wav cannot be read as audio")
    assert last == "sinudae: 1 of 2 songs failed, 1 separated"
    assert main(["separate", "pair", "vocals.wav", "-o", "new"]) == 0
    assert "note: " in capsys.readouterr().err  # quiet no more


def test_standard_output(separator, capsysbinary):
    assert main(["separate", "pair", "song.wav", "-o", "-", "--quiet"]) == 0
    printed = capsysbinary.readouterr()
    assert printed.err == b"" and soundfile.info(io.BytesIO(printed.out)).frames == 2 * RATE


def test_nothing_is_said_of_loading(separator):
    command = [sys.executable, "-m", "asteroid_sinudae", "separate", "dae.pth", "song.wav"]
    run = subprocess.run([*command, "--quiet"], env=environment(), capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert Path("song_reconstruction.wav").exists()
