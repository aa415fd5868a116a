"""Commands on songs that are damaged, oddly named or endless, and on a full disk."""

import io
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile
import torch
from command_line import PAIR_NOTE, mistake
from helpers import forked, is_running, kill_while_writing, wait_for
from mutations import mutated_bytes
from songs_on_disk import RATE, ffmpeg, full_disk, halve, noise

from asteroid_sinudae.cli import main
from asteroid_sinudae.utils.files import load_safely


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
def test_song_that_breaks_off(songs_folder, capsys, command):
    """It is a warning, or with --strict refused."""
    halve("song.wav")
    arguments = {
        "separate": ["named.pth", "song.wav", "-o", "out"],
        "encode": ["dae.pth", "song.wav", "-o", "out/a.npz"],
        "mask": ["song.wav", "song.wav", "dae.pth", "-o", "out"],
    }[command]
    message = "song.wav breaks off after 0.999 s of the 2.000 s of its header"
    assert (
        mistake(capsys, main([command, *arguments, "--strict"]))
        == f"{message}: refused by --strict"
    )
    assert not Path("out").exists()
    assert main([command, *arguments]) == 0
    printed = capsys.readouterr()
    assert set(printed.err.splitlines()) == {f"sinudae: warning: {message}"}
    if command != "encode":
        assert soundfile.info(printed.out.split()[0]).frames == pytest.approx(RATE, abs=50)


def test_several_streams_and_vocals_that_differ(songs_folder, capsys):
    ffmpeg("-i", "song.wav", "-i", "vocals.wav", "-map", "0", "-map", "1", "-c:a", "flac", "s.mka")
    ffmpeg("-i", "vocals.wav", "-c:a", "aac", "vocals.m4a")
    assert main(["mask", "s.mka", "vocals.m4a", "dae.pth", "-o", "out"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert notes[0] == "sinudae: note: s.mka has 2 audio streams, of which the first is read"
    assert notes[1].startswith("sinudae: note: vocals.m4a is ") and notes[1].endswith(
        " samples longer than s.mka, cut at the end"
    )
    assert soundfile.info("out/s_vocals.wav").frames == 2 * RATE
    soundfile.write("short.wav", noise(4 * RATE - 9), 2 * RATE)
    assert main(["mask", "song.wav", "short.wav", "dae.pth", "-o", "out"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "sinudae: note: short.wav is at 16000 Hz, resampled to the 8000 Hz of song.wav",
        "sinudae: note: short.wav is 4 samples shorter than song.wav, zeros are added",
    ]


@pytest.mark.parametrize(
    "value, said",
    [
        (float("nan"), ("dae.pth ", " must be finite, got 1536 NaN or infinite of 1536 values")),
        (float("inf"), ("dae.pth ", " must be finite, got 1536 NaN or infinite of 1536 values")),
        (
            1e30,
            (
                "SinuDAE gives NaN or infinite values at 0 s of ",
                ", which is finite: the model's weights are at fault",
            ),
        ),
    ],
)
def test_model_whose_weights_are_at_fault(songs_folder, capsys, value, said):
    """No command writes what is not finite."""
    assert main(["encode", "dae.pth", "song.wav", "-o", "good.npz"]) == 0
    capsys.readouterr()
    package = load_safely("dae.pth")
    for weights in package["state_dict"].values():
        weights.fill_(value)
    torch.save(package, "dae.pth")
    for command, *arguments in [
        ("separate", "dae.pth", "song.wav", "-o", "out"),
        ("encode", "dae.pth", "song.wav", "-o", "out/a.npz"),
        ("mask", "song.wav", "vocals.wav", "dae.pth", "-o", "out"),
        *([] if value == 1e30 else [("decode", "dae.pth", "good.npz", "-o", "out/a.wav")]),
    ]:
        message = mistake(capsys, main([command, *arguments]))
        assert message.startswith(said[0]) and message.endswith(said[1])
        assert not Path("out").exists() or os.listdir("out") == []


# Names


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "☃" * 3, "a" * 229])
def test_names_of_any_bytes_and_length(songs_folder, capsys, name):
    os.rename("song.wav", f"{name}.wav")
    folder = Path(os.fsdecode(b"out\xff"))
    assert main(["separate", "dae.pth", f"{name}.wav", "-o", str(folder)]) == 0
    assert main(["encode", "dae.pth", f"{name}.wav", "-o", str(folder / f"{name}.npz")]) == 0
    assert main(["mask", f"{name}.wav", "vocals.wav", "dae.pth", "-o", str(folder)]) == 0
    decoded = folder / ("b" * (251 - 10) + name[-1] + ".wav")
    assert main(["decode", "dae.pth", str(folder / f"{name}.npz"), "-o", str(decoded)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sinudae: note: ") and line.endswith(f".wav{PAIR_NOTE}")
    ends = ["_accompaniment.wav", "_reconstruction.wav", "_vocals.wav", ".npz"]
    assert set(os.listdir(folder)) == {f"{name}{end}" for end in ends} | {decoded.name}


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_names_that_the_terminal_cannot_show(songs_folder, monkeypatch, encoding):
    name = f"☃{os.fsdecode(bytes([255]))}.wav"
    os.rename("song.wav", name)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["separate", "dae.pth", name, "-o", "out"]) == 0
    out.flush(), err.flush()
    assert out.buffer.getvalue().endswith(b"tion.wav\n")
    assert err.buffer.getvalue().decode(encoding).endswith(f"{PAIR_NOTE}\n")
    assert main(["separate", "dae.pth", name, "-o", "out"]) == 1


@pytest.mark.parametrize(
    "make_path", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)], ids=["d", "p", "l"]
)
def test_paths_that_are_no_files(songs_folder, capsys, make_path):
    """As song, as encoded file; a link in a circle also as output."""
    make_path("bad.wav")
    mistake(capsys, main(["separate", "dae.pth", "bad.wav", "-o", "out"]))
    mistake(capsys, main(["mask", "song.wav", "bad.wav", "dae.pth", "-o", "out"]))
    mistake(capsys, main(["decode", "dae.pth", "bad.wav", "-o", "out.wav"]))
    if os.path.islink("bad.wav"):
        mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "bad.wav"]))


# Processes


SLOW_FFMPEG = """#!{python}
import os, sys, time
open("pid", "w").write(str(os.getpid()))
os.write(1, b".snd" + b"".join(n.to_bytes(4, "big") for n in (24, 2**32 - 1, 6, 8000, 2)))
while True:
    os.write(1, bytes(8000))
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ffmpeg_ends_with_its_caller(songs_folder, monkeypatch, number):
    """In the decoding stage, here of a song without an end."""
    Path("bin").mkdir()
    Path("bin/ffmpeg").write_text(SLOW_FFMPEG.format(python=sys.executable))
    Path("bin/ffmpeg").chmod(0o755)
    Path("song.mp3").write_bytes(b"ID3")
    monkeypatch.setenv("PATH", str(Path("bin").resolve()))
    monkeypatch.setenv("TMPDIR", "/no")
    monkeypatch.setattr(tempfile, "tempdir", None)
    process = forked(main, ["separate", "dae.pth", "song.mp3", "-o", "out"], errors="errors")
    wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    pid = int(Path("pid").read_text())
    os.kill(process.pid, number)
    process.join(60)
    wait_for(lambda: not is_running(pid))
    if number != signal.SIGKILL:
        assert (process.exitcode, Path("errors").read_text()) == (130, "sinudae: interrupted\n")
    assert not Path("out").exists()


def test_leftovers_are_removed(songs_folder, capsys):
    """By the next call, which writes into the same folder."""
    kill_while_writing("out/song_reconstruction.wav")
    assert len(os.listdir("out")) == 1
    assert main(["separate", "dae.pth", "song.wav", "-o", "out"]) == 0
    assert os.listdir("out") == ["song_reconstruction.wav"]


@pytest.mark.parametrize("command", ["separate", "encode"])
def test_full_disk(songs_folder, capsys, command):
    with full_disk(8000):
        name = "out" if command == "separate" else "out/a.npz"
        status = main([command, "dae.pth", "song.wav", "-o", name])
    assert mistake(capsys, status).startswith("cannot write out/")
    assert os.listdir("out") == []


def test_damaged_songs_and_encoded_files(songs_folder, capsys):
    """Of each there is a result or one line."""
    soundfile.write("song.wav", noise(300), RATE)
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    for data in mutated_bytes(Path("song.wav").read_bytes(), 30):
        Path("bad.wav").write_bytes(data)
        assert_result_or_line(capsys, ["separate", "dae.pth", "bad.wav", "-o", "out", "--force"])
    for data in mutated_bytes(Path("a.npz").read_bytes(), 50):
        Path("bad.npz").write_bytes(data)
        assert_result_or_line(capsys, ["decode", "dae.pth", "bad.npz", "-o", "b.wav", "--force"])


def assert_result_or_line(capsys, arguments):
    capsys.readouterr()
    status = main(arguments)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors and "unexpected" not in errors
    told = ("sinudae: warning: ", "sinudae: note: ")
    lines = [line for line in errors.splitlines() if not line.startswith(told)]
    assert len(lines) == status <= 1
