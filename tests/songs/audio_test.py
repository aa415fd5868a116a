"""Audio files piece by piece: every format, rate and mistake."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from mutations import mutated_bytes
from songs_on_disk import ffmpeg, halve, joined, noise, write

from asteroid_sinudae.songs import audio  # before torchaudio, which it makes importable
from asteroid_sinudae.songs.audio import (
    PIECE,
    open_audio,
    write_audio,
)


def read(path):
    """All pieces of a file together, `(channels, time)`, and the length that the file names."""
    with open_audio(path) as file:
        pieces = list(file.pieces())
        assert all(piece.shape[0] == file.channels for piece in pieces)
        return torch.cat(pieces, dim=-1), file.length


# Reading


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("channels, length", [(1, 1000), (2, PIECE + 1), (2, 2 * PIECE)])
def test_pieces_are_the_file(name, channels, length):
    write(name, noise(length, channels))
    samples, n_samples = read(name)
    expected, _ = soundfile.read(name, dtype="float32", always_2d=True)
    assert n_samples == samples.shape[-1] == length
    # Decoders of what was compressed with a loss need not agree in the last bits.
    atol = 0 if name in ("a.wav", "a.flac") else 1e-4
    np.testing.assert_allclose(samples, expected.T, rtol=0, atol=atol)


def test_pieces_twice():
    write("a.wav", noise(1000))
    with open_audio("a.wav") as file:
        first, second = (torch.cat(list(file.pieces()), dim=-1) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["a.m4a", "a b%d.webm"])
def test_what_only_ffmpeg_reads(name, monkeypatch):
    """A tone through a lossy codec, whose file has a name that ffmpeg might take for more."""
    time = np.arange(44100) / 44100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    write("tone.wav", np.stack([tone, tone], axis=1))
    code = os.spawnlp(
        os.P_WAIT,
        "ffmpeg",
        "ffmpeg",
        "-v",
        "error",
        "-i",
        "tone.wav",
        "-ar",
        "48000",
        f"file:{name}",
    )
    assert code == 0
    monkeypatch.setattr(tempfile, "tempdir", "missing")  # it needs no temporary file
    with open_audio(name) as file:
        assert (file.sample_rate, file.channels, file.path) == (48000, 2, Path(name))
        samples = torch.cat(list(file.pieces()), dim=-1).numpy()
    assert abs(file.length - 48000) < 4000
    spectrum = np.abs(np.fft.rfft(samples[0, 4800:43200] * np.hanning(38400)))
    assert abs(spectrum.argmax() * 48000 / 38400 - 440) < 2
    assert 0.45 < samples[:, 10000:30000].max() < 0.55


def test_ffmpeg_that_is_missing(monkeypatch):
    Path("a.m4a").write_bytes(b"no audio")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="a.m4a is no audio .* ffmpeg, .* not installed"):
        read("a.m4a")


@pytest.mark.parametrize("name", ["a.wav", "a.txt", "a.raw", "-a"])
def test_no_audio(name):
    """ffmpeg takes some texts for films."""
    Path(name).write_text("no audio\n" * 100)
    message = f"^{name} cannot be read as audio, ffmpeg says: .*([Ii]nvalid|matches no streams)"
    with pytest.raises(ValueError, match=message):
        read(name)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match="a.wav not found: expected an audio file"):
        read("a.wav")


def test_no_samples():
    write("a.wav", noise(0))
    with pytest.raises(ValueError, match="a.wav has no samples, expected at least one"):
        read("a.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(value):
    samples = noise(PIECE + 22050)
    samples[PIECE + 11025 :, 1] = value
    write("a.wav", samples, subtype="FLOAT")
    seconds = f"{(PIECE + 11025) / 44100:.6g}"
    with pytest.raises(ValueError, match=f"a.wav has a NaN or infinite sample at {seconds} s, exp"):
        read("a.wav")


# Lengths


def make(name, *options, seconds=1.0):
    """A file of noise by ffmpeg, of `seconds` at 44.1 kHz, stereo."""
    write("source.wav", noise(round(44100 * seconds)))
    ffmpeg("-i", "source.wav", *options, f"file:{name}")


def piped(name, *options):
    """The same, which ffmpeg cannot finish by going back to its header."""
    make("source", "-f", "wav")
    with open(name, "wb") as file:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", "source.wav", *options, "pipe:1"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        file.write(done.stdout)


def seconds_and_warnings(name):
    """How much of a file is read, to its end, and what is said about it."""
    messages = []
    with open_audio(name, messages.append) as file:
        n_samples = sum(piece.shape[-1] for piece in file.pieces())
        assert n_samples == file.length
        return n_samples / file.sample_rate, messages


VBR = ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0"]


@pytest.mark.parametrize(
    "name, options",
    [
        ("vbr.mp3", VBR),
        ("a.mp2", ["-c:a", "mp2"]),
        ("mp3.wav", ["-c:a", "libmp3lame"]),
        ("a.aac", ["-c:a", "aac"]),
        ("a.mka", ["-c:a", "libopus"]),
        ("a.aiff", []),
        ("a.w64", []),
        ("a.caf", []),
        ("a.au", []),
        ("rf64.wav", ["-rf64", "always"]),
    ],
)
def test_whole_files_are_read_to_their_end(name, options):
    make(name, *options)
    seconds, messages = seconds_and_warnings(name)
    assert messages == [] and 1 - 1e-9 < seconds < 1.1


@pytest.mark.parametrize(
    "name, options",
    [
        ("cbr.mp3", ["-c:a", "libmp3lame", "-b:a", "128k", "-f", "mp3"]),
        ("a.flac", ["-f", "flac"]),
        ("a.wav", ["-f", "wav"]),
        ("rf64.wav", ["-rf64", "always", "-f", "wav"]),
        ("a.aiff", ["-f", "aiff"]),
        ("a.w64", ["-f", "w64"]),
        ("a.caf", ["-f", "caf"]),
        ("a.au", ["-f", "au"]),
        ("a.mka", ["-c:a", "libvorbis", "-f", "matroska"]),
    ],
)
def test_files_written_to_a_pipe(name, options):
    """Their headers tell no length, or a wrong one."""
    piped(name, *options)
    seconds, messages = seconds_and_warnings(name)
    assert messages == [] and 1 - 1e-9 < seconds < 1.1


@pytest.mark.parametrize("size", [0, 2**32 - 1, 0x7FFFF000])
@pytest.mark.parametrize("total", [0, 36, 2**32 - 1])
def test_wav_that_was_never_finalised(size, total):
    samples = noise(1000)
    data = bytearray(write("a.wav", samples, subtype="PCM_16").read_bytes())
    start = data.index(b"data")
    data[start + 4 : start + 8] = size.to_bytes(4, "little")
    data[4:8] = total.to_bytes(4, "little")
    Path("a.wav").write_bytes(data)
    messages = []
    with open_audio("a.wav", messages.append) as file:
        found = torch.cat(list(file.pieces()), dim=-1)
    assert messages == [] and found.shape == (2, 1000)
    np.testing.assert_allclose(found.T, samples, atol=1e-4)


def test_empty_wav_with_a_trailing_chunk():
    """Whose size of all is right: what follows its audio, of which there is none, is no audio."""
    data = write("a.wav", noise(0), subtype="PCM_16").read_bytes()
    data += b"LIST" + (26).to_bytes(4, "little") + b"INFOISFT" + bytes(18)
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    Path("a.wav").write_bytes(data)
    with pytest.raises(ValueError, match="a.wav has no samples"):
        read("a.wav")


@pytest.mark.parametrize(
    "codec", ["mp3", "vorbis", "opus", "vorbis of one name", "vorbis of another rate"]
)
def test_joined_files(codec):
    """By `cat`."""
    name, options = {
        "mp3": ("a.mp3", VBR),
        "vorbis": ("a.ogg", ["-c:a", "libvorbis", "-serial_offset", "1"]),
        "opus": ("a.opus", ["-c:a", "libopus", "-serial_offset", "1"]),
        "vorbis of one name": ("a.ogg", ["-c:a", "libvorbis"]),
        "vorbis of another rate": ("a.ogg", ["-c:a", "libvorbis", "-serial_offset", "1"]),
    }[codec]
    make(name, *options)
    rest = [option for option in options if codec != "vorbis of another rate" or option != "1"]
    if codec == "vorbis of another rate":
        rest += ["2", "-ar", "22050", "-ac", "1"]
    elif "-serial_offset" in options:
        rest[-1] = "2"
    make(f"second{Path(name).suffix}", *rest)
    joined(f"both{Path(name).suffix}", name, f"second{Path(name).suffix}")
    seconds, messages = seconds_and_warnings(f"both{Path(name).suffix}")
    assert messages == [] and 2 - 1e-3 < seconds < 2.1


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.wav", []),
        ("a.aiff", []),
        ("a.w64", []),
        ("a.caf", []),
        ("a.au", []),
        ("rf64.wav", ["-rf64", "always"]),
        ("a.flac", []),
        ("a.mp3", ["-c:a", "libmp3lame", "-b:a", "128k"]),
        ("a.m4a", ["-c:a", "aac", "-movflags", "+faststart"]),
        ("a.mka", ["-c:a", "libopus"]),
        ("mp3.wav", ["-c:a", "libmp3lame"]),
    ],
)
def test_files_that_break_off(name, options):
    """What there is of them is read, and both durations are told."""
    make(name, *options, seconds=2)
    halve(name)
    seconds, (message,) = seconds_and_warnings(name)
    assert 0.7 < seconds < 1.1
    told = re.fullmatch(
        rf"{name} (?:breaks off after|is damaged:) ([\d.]+) s (?:decode )?of the ([\d.]+) s of its "
        r"header(?: \(ffmpeg says: .*\))?",
        message,
    )
    assert float(told[1]) == pytest.approx(seconds, abs=1e-3)
    assert float(told[2]) == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_ogg_that_breaks_off(codec):
    """Its headers tell no duration, but its last page does tell that it is the last."""
    make("a.ogg", "-c:a", codec, seconds=3)
    halve("a.ogg")
    seconds, (message,) = seconds_and_warnings("a.ogg")
    assert 0.5 < seconds < 2
    assert message == (
        f"a.ogg is damaged: {seconds:.3f} s of it decode, its header does not tell its duration "
        "(the page that ends its stream is missing)"
    )


def test_film_without_its_index():
    make("a.m4a", "-c:a", "aac")
    halve("a.m4a")
    with pytest.raises(ValueError, match="a.m4a cannot be read as audio, ffmpeg says: moov atom"):
        read("a.m4a")


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.m4a"])
def test_corrupt_files(name):
    """The rest of them is read."""
    make(name, seconds=2)
    data = bytearray(Path(name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).bytes(200)
    Path(name).write_bytes(data)
    seconds, (message,) = seconds_and_warnings(name)
    assert 0.5 < seconds < 2.1
    assert message.startswith(f"{name} is damaged: ") and "(ffmpeg says: " in message


def ape_tag():
    item = (5).to_bytes(4, "little") + bytes(4) + b"Title\0" + b"title"
    sizes = (2000).to_bytes(4, "little") + (len(item) + 32).to_bytes(4, "little")
    sizes += (1).to_bytes(4, "little")
    ends = [
        b"APETAGEX" + sizes + flags.to_bytes(4, "little") + bytes(8) for flags in (5 << 29, 1 << 31)
    ]
    return ends[0] + item + ends[1]


@pytest.mark.parametrize("name", ["a.mp3", "vbr.mp3", "a.mp2", "a.flac", "a.aac"])
@pytest.mark.parametrize(
    "tags", [b"TAG" + b"title".ljust(125, b"\0"), ape_tag()], ids=["v1", "APE"]
)
def test_tags_at_the_end_are_no_damage(name, tags):
    make(name, *(VBR if name == "vbr.mp3" else []))
    with open(name, "ab") as file:
        file.write(tags)
    seconds, messages = seconds_and_warnings(name)
    assert messages == [] and 1 - 1e-9 < seconds < 1.1


def test_several_streams():
    write("other.wav", noise(22050, 1))
    make("a.mka", "-i", "other.wav", "-map", "0", "-map", "1", "-c:a", "flac")
    with open_audio("a.mka") as file:
        assert (file.n_streams, file.channels, file.length) == (2, 2, 44100)


def test_film_that_is_longer_than_its_sound():
    ffmpeg("-f", "lavfi", "-i", "color=s=16x16:r=5:d=3", "-t", "3", "video.mkv")
    make("a.mkv", "-i", "video.mkv", "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-c:a", "flac")
    seconds, messages = seconds_and_warnings("a.mkv")
    assert (seconds, messages) == (1, [])


@pytest.mark.parametrize(
    "name, is_sure", [("a.wav", True), ("a.flac", True), ("a.ogg", True), ("a.mp3", False)]
)
def test_without_ffmpeg(name, is_sure, monkeypatch):
    """libsndfile reads what it can, and what may be missing is told."""
    make(name, seconds=3)
    monkeypatch.setenv("PATH", "")
    seconds, messages = seconds_and_warnings(name)
    assert seconds == pytest.approx(3, abs=0.01) and len(messages) == (not is_sure)
    halve(name)
    seconds, (message,) = seconds_and_warnings(name)
    assert 0.5 < seconds < 1.6 and message.startswith(f"{name} ")


def test_what_follows_the_audio_of_a_w64_is_not_played():
    samples = noise(44100)
    write("a.w64", samples, subtype="FLOAT", format="W64")
    with open("a.w64", "ab") as file:
        file.write(bytes(400))
    found, length = read("a.w64")
    assert length == 44100
    np.testing.assert_array_equal(found.T, samples)


def test_joined_files_without_ffmpeg(monkeypatch):
    make("a.ogg", "-serial_offset", "1")
    make("b.ogg", "-serial_offset", "2")
    joined("both.ogg", "a.ogg", "b.ogg")
    monkeypatch.setenv("PATH", "")
    _, (message,) = seconds_and_warnings("both.ogg")
    assert "libsndfile may read a part of it, and ffmpeg, which reads all, is missing" in message


def test_damage_is_a_warning_of_pythons_by_default():
    write("a.wav", noise(1000))
    halve("a.wav")
    with pytest.warns(UserWarning, match="a.wav breaks off after 0.011 s of the 0.023 s of its he"):
        read("a.wav")


def test_file_that_changes():
    write("a.flac", noise(4 * PIECE))
    with open_audio("a.flac") as file:
        write("a.flac", noise(PIECE))
        with pytest.raises(ValueError, match="a.flac was changed while it was read: it now ends"):
            list(file.pieces())


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"caf\xe9.wav"), os.fsdecode(b"caf\xe9.m4a"), "☃.mp3"]
)
def test_names_of_any_bytes(name):
    make("a" + Path(name).suffix)
    os.rename("a" + Path(name).suffix, name)
    seconds, messages = seconds_and_warnings(name)
    assert messages == [] and seconds == pytest.approx(1, abs=0.05)
    write_audio([Path(name).with_suffix(".out.wav")], [torch.zeros(1, 1, 10)], 44100, 10)
    assert os.path.exists(Path(name).with_suffix(".out.wav"))


@pytest.mark.parametrize(
    "make_path, message",
    [
        (os.mkdir, "a.wav is a folder, expected an audio file"),
        (os.mkfifo, "a.wav is a pipe or a device, expected an audio file"),
        (lambda path: os.symlink("/dev/zero", path), "a.wav is a pipe or a device, expected"),
        (lambda path: os.symlink(path, path), "a.wav is a link that leads to no file: expected"),
        (lambda path: os.symlink("none", path), "a.wav is a link that leads to no file: expected"),
    ],
)
def test_paths_that_are_no_files(make_path, message):
    make_path("a.wav")
    with pytest.raises((ValueError, OSError), match=message):
        read("a.wav")


def test_pieces_are_bounded_in_bytes():
    write("a.wav", noise(2**15, 512), subtype="PCM_16")
    with open_audio("a.wav") as file:
        assert max(piece.numel() * 4 for piece in file.pieces()) <= audio.MAX_PIECE


# Damaged files


@pytest.mark.parametrize(
    "name, n_files",
    [
        ("a.wav", 150),
        ("a.w64", 50),
        ("a.caf", 50),
        ("a.aiff", 50),
        ("a.flac", 12),
        ("a.ogg", 12),
        ("a.mp3", 12),
    ],
)
def test_damaged_files(name, n_files):
    """Each is read, or is a ValueError or OSError."""
    make(name, seconds=0.2)
    for number, data in enumerate(mutated_bytes(Path(name).read_bytes(), n_files)):
        path = Path(f"{number}_{name}")
        path.write_bytes(data)
        try:
            with open_audio(path, lambda message: None) as file:
                for piece in file.pieces():
                    assert piece.numel() <= audio.MAX_PIECE
        except (ValueError, OSError) as error:
            assert str(path) in str(error)
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_many_damaged_files(name):
    test_damaged_files(name, 60)
