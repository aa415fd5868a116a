"""`sinudae separate` with one song or many, from files, folders or a pipe, by a model or none."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import mistake
from helpers import environment
from songs_on_disk import RATE, ffmpeg, noise

from asteroid_sinudae.cli import main
from asteroid_sinudae.songs.audio import FORMATS

ENDS = ("vocals.wav", "accompaniment.wav")


def read(path):
    return soundfile.read(path, dtype="float32")[0]


def write_songs(*names):
    for number, name in enumerate(names, 1):
        Path(name).parent.mkdir(exist_ok=True)
        soundfile.write(name, noise(number * 1000), RATE)


# Which argument is the model


def test_song_without_a_model(separator, capsys):
    assert main(["separate", "song.wav", "-o", "out"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [f"out/song_{end}" for end in ENDS]
    names = "separator_vocals and separator_vocals_stft"
    assert printed.err == f"sinudae: note: {names} separate, as no model is named\n"
    both = ["separator_vocals", "separator_vocals_stft"]
    assert main(["separate", *both, "song.wav", "-o", "both"]) == 0
    assert main(["separate", both[0], "song.wav", "-o", "one"]) == 0
    assert main(["separate", "named.pth", "song.wav", "-o", "by_file"]) == 0
    assert capsys.readouterr().err == ""
    for end in ENDS:
        first, one = read(f"out/song_{end}"), read(f"one/song_{end}")
        assert first.any() and not np.allclose(first, one)
        assert np.array_equal(read(f"both/song_{end}"), first)
        assert np.array_equal(read(f"by_file/song_{end}"), one)


def test_current_folder_is_the_default(separator, capsys):
    assert main(["separate", "song.wav"]) == 0
    assert capsys.readouterr().out.split() == [f"song_{end}" for end in ENDS]


@pytest.mark.parametrize("name", ["best", "best.model", "best.wav"])
def test_model_file_of_any_name(separator, capsys, name):
    os.rename("named.pth", name)
    assert main(["separate", name, "song.wav", "-o", "out"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["best", "best.pt"])
def test_song_of_any_name(separator, capsys, name):
    """But not with a model's suffix."""
    os.rename("song.wav", name)
    assert main(["separate", "vocals.wav", name, "-o", "out"]) == 0
    capsys.readouterr()
    status = main(["separate", name, "vocals.wav", "-o", "new"])
    if name == "best":
        assert status == 0
    else:
        assert mistake(capsys, status).startswith("best.pt is damaged")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["separator_vocals"], "separator_vocals is a model, expected a song after it"),
        (["named.pth"], "named.pth is a model, expected a song after it"),
        (
            ["seperator_vocals", "song.wav"],
            "'seperator_vocals' is neither a file nor the name of a model, expected one of pair, "
            "separator_vocals, separator_vocals_stft, ",
        ),
        (["missing.pth", "song.wav"], "missing.pth not found: expected a file written by torch.s"),
    ],
)
def test_model_that_is_missing_or_alone(separator, capsys, arguments, message):
    assert mistake(capsys, main(["separate", *arguments, "-o", "out"])).startswith(message)


# Sources and formats


@pytest.mark.parametrize("option", ["--sources", "--stems"])
def test_wanted_sources(separator, capsys, option):
    assert main(["separate", "song.wav", "-o", "all"]) == 0
    assert main(["separate", "song.wav", "-o", "one", option, "accompaniment"]) == 0
    assert os.listdir("one") == ["song_accompaniment.wav"]
    one, all_of_them = (read(f"{folder}/song_accompaniment.wav") for folder in ("one", "all"))
    assert np.array_equal(one, all_of_them)


@pytest.mark.parametrize("option", ["--sources", "--stems"])
@pytest.mark.parametrize(
    "model, sources, message",
    [
        (
            "pair",
            "vocals",
            "a SinuDAE encodes and decodes, it does not separate: expected a separator for "
            "sources=['vocals']",
        ),
        (
            "named.pth",
            "drums",
            "sources must be different names among vocals, accompaniment, got ['drums']",
        ),
        (
            "named.pth",
            "vocals,vocals",
            "sources must be different names among vocals, accompaniment, got ['vocals', 'vocals']",
        ),
        (
            "asteroid.pth",
            "vocals",
            "sources must be different names among source1, source2, got ['vocals']",
        ),
    ],
)
def test_sources_that_there_are_not(separator, capsys, model, sources, message, option):
    arguments = ["separate", model, "song.wav", "-o", "out", option, sources]
    assert mistake(capsys, main(arguments)) == message
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["separate", "mask"])
def test_format_that_is_unknown(separator, capsys, command):
    arguments = {"separate": ["song.wav"], "mask": ["song.wav", "vocals.wav", "--stft"]}[command]
    status = main([command, *arguments, "-o", "out", "--format", "mp3"])
    assert mistake(capsys, status) == (
        "format must be one of 'float', 'wav', 'wav16', 'wav24', 'flac', got 'mp3'"
    )
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["separate", "mask"])
@pytest.mark.parametrize(
    "name, subtype",
    [("float", "FLOAT"), ("wav", "FLOAT"), ("wav16", "PCM_16"), ("wav24", "PCM_24")],
)
def test_formats_of_wav(separator, capsys, command, name, subtype):
    arguments = {"separate": ["song.wav"], "mask": ["song.wav", "vocals.wav", "--stft"]}[command]
    assert main([command, *arguments, "-o", "out"]) == 0
    assert main([command, *arguments, "-o", "out", "--format", name, "--force"]) == 0
    paths = capsys.readouterr().out.split()
    assert paths == 2 * [f"out/song_{end}" for end in ENDS]
    assert {soundfile.info(path).subtype for path in paths} == {subtype}


@pytest.mark.parametrize("command", ["separate", "mask"])
def test_help_names_every_format(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert set(FORMATS) <= set(re.findall(r"\w+", capsys.readouterr().out))


def test_flac(separator, capsys):
    for options in [], ["--format", "flac"]:
        assert main(["separate", "song.wav", "-o", "out", *options]) == 0
    wav, flac = (soundfile.read(f"out/song_vocals.{end}")[0] for end in ("wav", "flac"))
    assert soundfile.info("out/song_vocals.flac").subtype == "PCM_24"
    assert np.abs(wav).max() < 1
    np.testing.assert_allclose(flac, wav, atol=2.0**-23)


# Several songs


def test_several_songs_and_folders(separator, capsys):
    write_songs("a/one.wav", "a/two.flac", "a/three.WAV", "a/.hidden.wav")
    Path("a/deeper.txt").write_text("no audio")
    Path("a/folder.wav").mkdir()
    assert main(["separate", "song.wav", "a", "-o", "out"]) == 0
    printed = capsys.readouterr()
    songs = {"song": 2 * RATE, "one": 1000, "three": 3000, "two": 2000}
    assert printed.out.split() == [f"out/{song}_{end}" for song in songs for end in ENDS]
    for song, length in songs.items():
        assert soundfile.info(f"out/{song}_vocals.wav").frames == length


def test_folder_without_audio(separator, capsys):
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    message = mistake(capsys, main(["separate", "song.wav", "empty", "-o", "out"]))
    assert message.startswith("empty has no audio files, expected names that end in .wav, .flac, ")
    assert not Path("out").exists()


def test_bad_songs_among_good_ones(separator, capsys):
    write_songs("a.wav", "b.wav")
    Path("bad.xyz").write_bytes(b"what nothing reads")
    arguments = ["a.wav", "bad.xyz", "missing.wav", "b.wav"]
    assert main(["separate", *arguments, "-o", "out"]) == 1
    printed = capsys.readouterr()
    assert printed.out.split() == [f"out/{song}_{end}" for song in "ab" for end in ENDS]
    note, unread, missing, count = printed.err.splitlines()
    assert unread.startswith("sinudae: bad.xyz cannot be read as audio, ffmpeg says: ")
    assert missing == "sinudae: missing.wav not found: expected an audio file"
    assert count == "sinudae: 2 of 4 songs failed, 2 separated"


def test_two_songs_of_one_name(separator, capsys):
    write_songs("a/song.flac")
    message = mistake(capsys, main(["separate", "song.wav", "a/song.flac", "-o", "out"]))
    assert message == (
        "song.wav and a/song.flac would both be written to out/song_vocals.wav, expected songs of "
        "different names"
    )
    assert not Path("out").exists()


def test_another_song_is_never_replaced(separator, capsys):
    shutil.copy("song.wav", "song_vocals.wav")
    before = Path("song_vocals.wav").read_bytes()
    assert main(["separate", "song.wav", "song_vocals.wav", "--force"]) == 1
    assert "song_vocals.wav is also to be read" in capsys.readouterr().err
    assert Path("song_vocals.wav").read_bytes() == before


# Standard input


def feed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_song_on_standard_input(separator, capsys, monkeypatch):
    assert main(["separate", "song.wav", "-o", "out"]) == 0
    feed(monkeypatch, Path("song.wav").read_bytes())
    assert main(["separate", "-", "-o", "out"]) == 0
    for end in ENDS:
        assert np.array_equal(read(f"out/stdin_{end}"), read(f"out/song_{end}"))


def test_standard_input_from_ffmpeg(separator, capsys, monkeypatch):
    """Its header does not know the length."""
    ffmpeg("-i", "song.wav", "-f", "wav", "pipe.wav")
    data = bytearray(Path("pipe.wav").read_bytes())
    position = data.index(b"data") + 4
    data[position : position + 4] = b"\xff" * 4
    feed(monkeypatch, bytes(data))
    assert main(["separate", "-", "-o", "out", "--strict"]) == 0
    assert soundfile.info("out/stdin_vocals.wav").frames == 2 * RATE


def test_standard_input_that_ends_early(separator, capsys, monkeypatch):
    data = Path("song.wav").read_bytes()
    feed(monkeypatch, data[: len(data) // 2])
    assert main(["separate", "named.pth", "-", "-o", "out"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("sinudae: warning: ") and printed.err.count("\n") == 1
    assert printed.err.endswith("stdin breaks off after 0.999 s of the 2.000 s of its header\n")
    feed(monkeypatch, data[: len(data) // 2])
    message = mistake(capsys, main(["separate", "named.pth", "-", "-o", "new", "--strict"]))
    assert message.endswith("of its header: refused by --strict") and not Path("new").exists()
    feed(monkeypatch, b"")
    message = mistake(capsys, main(["separate", "named.pth", "-", "-o", "new"]))
    assert message == "standard input ended before its first byte, expected audio"


def test_standard_input_that_is_a_terminal(separator, capsys, monkeypatch):
    feed(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    message = mistake(capsys, main(["separate", "named.pth", "-", "-o", "new"]))
    assert message == "standard input is a terminal, expected audio"


def test_standard_input_before_a_song(separator, capsys, monkeypatch):
    """It is a song, and never a name that may be mistyped."""
    feed(monkeypatch, b"noise")
    status = main(["separate", "-", "song.wav", "-o", "out"])
    printed = capsys.readouterr()
    assert status == 1 and printed.out.split() == [f"out/song_{end}" for end in ENDS]
    assert printed.err.endswith("sinudae: 1 of 2 songs failed, 1 separated\n")


# Waiting


def test_first_line_comes_before_torch(separator):
    """Importing it takes seconds."""
    code = (
        "import sys; from asteroid_sinudae.cli import main\n"
        "write = sys.stderr.write\n"
        "sys.stderr.write = lambda text: (print('torch' in sys.modules, text), write(text))[1]\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "separate", "named.pth", "song.wav", "-o", "out"]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stderr == "sinudae: loading PyTorch and the model\n"
    assert run.stdout.startswith("False sinudae: loading PyTorch and the model\n")
