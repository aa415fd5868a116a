"""`sinudae separate -o -`: one source of one song on standard output, and nothing else."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import PAIR_NOTE, mistake
from helpers import environment
from songs_on_disk import RATE, full_disk, noise

from asteroid_sinudae.cli import main
from asteroid_sinudae.songs import apply

VOCALS = ["separate", "named.pth", "song.wav", "--sources", "vocals"]


@pytest.fixture
def spool(songs_folder, monkeypatch):
    """The folder of temporary files, which every test leaves empty. Its name has braces."""
    folder = songs_folder / "{spool}"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def opened(data):
    """Samples, length and format of a file's bytes; a WAV of floats also tells the time of day."""
    file = io.BytesIO(data)
    samples, _ = soundfile.read(file)
    file.seek(0)
    info = soundfile.info(file)
    return samples.tolist(), len(data), info.format, info.subtype


@pytest.mark.parametrize("format", ["float", "wav16", "wav24", "flac"])
def test_file_and_pipe_are_the_same(spool, capsysbinary, format):
    options = ["--format", format]
    assert main([*VOCALS, "-o", "out", *options]) == 0
    (path,) = Path("out").iterdir()
    capsysbinary.readouterr()
    assert main([*VOCALS, "-o", "-", *options]) == 0
    printed = capsysbinary.readouterr()
    assert opened(printed.out) == opened(path.read_bytes()) and printed.err == b""
    assert len(opened(printed.out)[0]) == 2 * RATE
    assert not Path("-").exists()


def test_model_of_one_source(spool, capsysbinary):
    assert main(["separate", "dae.pth", "song.wav", "-o", "-"]) == 0
    printed = capsysbinary.readouterr()
    assert printed.err.decode() == f"sinudae: note: song.wav{PAIR_NOTE}\n"
    assert soundfile.read(io.BytesIO(printed.out))[0].any()


def test_from_standard_input(spool, capsysbinary, monkeypatch):
    assert main([*VOCALS, "-o", "-"]) == 0
    expected = capsysbinary.readouterr().out
    data = Path("song.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["separate", "named.pth", "-", "--sources", "vocals", "-o", "-"]) == 0
    assert opened(capsysbinary.readouterr().out) == opened(expected)


def test_clipped_samples_are_told(spool, capsysbinary):
    soundfile.write("song.wav", 50 * noise(2 * RATE), RATE, subtype="FLOAT")
    assert main(["separate", "dae.pth", "song.wav", "-o", "-", "--format", "wav16"]) == 0
    printed = capsysbinary.readouterr()
    assert b" samples beyond full scale, which are clipped\n" in printed.err
    assert np.abs(soundfile.read(io.BytesIO(printed.out))[0]).max() == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["named.pth", "song.wav"],
            "standard output takes one source, expected --sources with one of vocals, accomp",
        ),
        (
            ["named.pth", "song.wav", "--sources", "accompaniment,vocals"],
            "standard output takes one source, expected --sources with one of accompaniment, vo",
        ),
        (
            ["asteroid.pth", "song.wav", "--sources", "source1,source2"],
            "standard output takes one source, expected --sources with one of source1, source2",
        ),
        (["dae.pth", "song.wav", "vocals.wav"], "standard output takes one song, got 2"),
        (["dae.pth", "."], "standard output takes one song, got 2"),
        (
            ["dae.pth", "song.wav", "--sources", "vocals"],
            "a SinuDAE encodes and decodes, it does not separate: expected a separator for",
        ),
        (["dae.pth", "missing.wav"], "missing.wav not found: expected an audio file"),
    ],
)
def test_what_does_not_fit_standard_output(spool, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(apply, "_separate_channel", None)
    assert mistake(capsys, main(["separate", *arguments, "-o", "-"])).startswith(message)


def test_model_that_does_not_name_its_sources(spool, capsysbinary):
    """How many they are is known after the first chunk."""
    arguments = ["separate", "asteroid.pth", "song.wav", "-o", "-"]
    assert main([*arguments, "--sources", "source2"]) == 0
    capsysbinary.readouterr()
    assert main(arguments) == 1
    printed = capsysbinary.readouterr()
    assert printed.out == b"" and b"source1 and source2 of song.wav would both be " in printed.err


def test_mask_writes_two_sources(spool, capsys):
    message = mistake(capsys, main(["mask", "song.wav", "vocals.wav", "--stft", "-o", "-"]))
    assert message == (
        "standard output takes one source, expected a folder or a template for vocals and "
        "accompaniment"
    )


@pytest.mark.parametrize("is_closed", [False, True])
def test_terminal(spool, capsys, monkeypatch, is_closed):
    with monkeypatch.context() as patch:
        if is_closed:
            patch.setattr(sys, "stdout", None)
        else:
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        status = main([*VOCALS, "-o", "-"])
    message = mistake(capsys, status)
    assert message == "standard output is a terminal or closed, expected a pipe or a file"


def test_full_disk(spool, capsys):
    """Of the temporary file; nothing comes out."""
    with full_disk(8000):
        status = main([*VOCALS, "-o", "-"])
    assert mistake(capsys, status).startswith("cannot write ")


@pytest.mark.parametrize("output", [pytest.param("/dev/full", marks=pytest.mark.slow), "pipe"])
def test_output_that_is_not_read(spool, output):
    """A reader that has ended, as `head` has, and a disk that is full."""
    reader, writer = os.pipe()
    os.close(reader)
    out = writer if output == "pipe" else os.open(output, os.O_WRONLY)
    command = [sys.executable, "-m", "asteroid_sinudae", *VOCALS, "-o", "-"]
    variables = environment(TMPDIR=str(spool))
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=variables)
    os.close(writer)
    _, *lines = done.stderr.decode().splitlines()  # after that about PyTorch
    if output == "pipe":
        assert (done.returncode, lines) == (141, [])
    else:
        assert (done.returncode, lines) == (1, ["sinudae: No space left on device"])


def test_folder_that_is_called_so(spool, capsys):
    shutil.copy("song.wav", "other.wav")
    assert main(["separate", "dae.pth", "other.wav", "-o", "./-"]) == 0
    assert capsys.readouterr().out == "-/other_reconstruction.wav\n"
