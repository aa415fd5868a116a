"""`-o` with a template of paths, for songs that are separated or masked."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import mistake
from songs_on_disk import RATE

from asteroid_sinudae.cli import main
from asteroid_sinudae.songs import apply

SOURCES = ("vocals", "accompaniment")


def two_songs():
    """`song.wav`, and a shorter `b/song.flac` of the same name."""
    Path("b").mkdir()
    soundfile.write("b/song.flac", np.zeros((100, 2)), RATE)
    return ["song.wav", "b/song.flac"]


def test_folders_for_songs(separator, capsys):
    shutil.copy("song.wav", "other.wav")
    assert main(["separate", "song.wav", "other.wav", "-o", "new/{song}/{source}"]) == 0
    paths = [f"new/{song}/{source}.wav" for song in ("song", "other") for source in SOURCES]
    printed = capsys.readouterr()
    assert printed.out.split() == paths
    assert main(["separate", "song.wav", "-o", "out"]) == 0
    for path in paths:
        expected = soundfile.read(f"out/song_{Path(path).stem}.wav")[0]
        assert np.array_equal(soundfile.read(path)[0], expected)


def test_mask_with_a_template(separator, capsys):
    arguments = ["mask", "song.wav", "vocals.wav", "--stft", "--format", "flac"]
    assert main([*arguments, "-o", "{source} of {song}.flac"]) == 0
    names = [f"{source} of song.flac" for source in SOURCES]
    assert capsys.readouterr().out.splitlines() == names
    message = mistake(capsys, main([*arguments, "-o", "{song}.flac"]))
    assert message.startswith(
        "vocals and accompaniment of song.wav would both be written to song.f"
    )


def test_one_source_needs_no_field(separator, capsys):
    for model, options in ("pair", []), ("named.pth", ["--sources", "vocals"]):
        assert main(["separate", model, "song.wav", "-o", f"{{song}}.{model}.wav", *options]) == 0
        assert soundfile.info(f"song.{model}.wav").frames == 2 * RATE


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["-o", "out/{song}"],
            "vocals and accompaniment of song.wav would both be written to out/song.wav, expected "
            "{source} in the template, or one source",
        ),
        (
            ["-o", "out/{song}", "--sources", "vocals"],
            "song.wav and b/song.flac would both be written to out/song.wav, expected songs of "
            "different names",
        ),
        (
            ["-o", "out/{source}"],
            "song.wav and b/song.flac would both be written to out/vocals.wav, expected {song} in "
            "the template",
        ),
        (
            ["-o", "out/{song}/{source}.wav", "--format", "flac"],
            "output must be a template that ends in .flac, or has no suffix, got "
            "'out/{song}/{source}.wav'",
        ),
        (["-o", "out/{song}/"], "output must be a template of files, not of folders, got 'out/{so"),
        (
            ["-o", "a{b}"],
            "output must be a folder, or a template with {song} and {source}, in which other "
            "braces are doubled ({{ and }}), got 'a{b}'",
        ),
    ],
)
def test_templates_that_make_no_sense(separator, capsys, monkeypatch, arguments, message):
    songs, before = two_songs(), sorted(os.listdir())
    monkeypatch.setattr(apply, "_separate_channel", None)
    status = main(["separate", "named.pth", *songs, *arguments])
    assert mistake(capsys, status).startswith(message)
    assert sorted(os.listdir()) == before


def test_songs_of_one_name_by_a_model_without_names(separator, capsys, monkeypatch):
    songs = two_songs()
    monkeypatch.setattr(apply, "_separate_channel", None)
    message = mistake(capsys, main(["separate", "asteroid.pth", *songs, "-o", "{song}/{source}"]))
    assert message.startswith("song.wav and b/song.flac would both be written to song/source1.wav")


def test_braces_that_are_doubled(separator, capsys):
    assert main(["separate", "song.wav", "-o", "a{{b}}", "--sources", "vocals"]) == 0
    assert capsys.readouterr().out == "a{b}/song_vocals.wav\n"
    Path("{source}.wav").write_bytes(Path("song.wav").read_bytes())
    assert main(["separate", "pair", "{source}.wav", "-o", "x{{{song}}}"]) == 0
    assert capsys.readouterr().out == "x{{source}}.wav\n"


def test_names_of_any_bytes(separator, capsys):
    name = os.fsdecode(b"caf\xe9")
    os.rename("song.wav", f"{name}.wav")
    assert main(["separate", "pair", f"{name}.wav", "-o", f"{name}/{{song}}/{{source}}"]) == 0
    assert os.listdir(os.fsencode(f"{name}/{name}")) == [b"reconstruction.wav"]
    capsys.readouterr()
    mistake(capsys, main(["separate", "pair", f"{name}.wav", "-o", f"{name}{{"]))


def test_files_that_exist(separator, capsys):
    arguments = ["separate", "song.wav", "-o", "{song}_{source}.wav", "--sources", "vocals"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(arguments) == 1
    assert "song_vocals.wav exists already, expected" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert main([*arguments[:3], "{song}", "--sources", "vocals", "--force"]) == 1
    assert "song.wav is also to be read" in capsys.readouterr().err
