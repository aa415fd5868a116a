"""Several files that were joined into one by `cat`: each of them is read."""

import os
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from songs_on_disk import ffmpeg, halve, joined, write

from asteroid_sinudae.songs.audio import open_audio

SUFFIXES = ["flac", "wav", "w64", "aiff", "caf", "au", "tta", "wma", "m4a"]
BY_LIBSNDFILE = ["flac", "wav", "w64", "aiff", "caf", "au"]
TAG = b"ID3\4\0\0\0\0\2\0" + bytes(2 * 128)
TAIL = b"LIST\x1a\0\0\0INFOISFT" + bytes(18)  # a chunk after the audio


def read(name):
    """The samples of a file, `(channels, time)`, and what is said about it."""
    messages = []
    with open_audio(name, messages.append) as file:
        samples = torch.cat(list(file.pieces()), dim=-1)
        assert samples.shape == (file.channels, file.length)
        return samples, messages


def make(name, length, *options, seed=0, rate=44100, channels=2):
    """A file of noise by ffmpeg; returns the noise, `(channels, time)`."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (length, channels))
    write("source.wav", samples, rate, subtype="PCM_16")
    ffmpeg("-i", "source.wav", *options, f"file:{name}")
    return torch.from_numpy(samples.T).float()  # (channels, time)


def piped(name):
    """Write a file anew by ffmpeg into a pipe, so that its header is not finished."""
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-i",
        name,
        "-f",
        Path(name).suffix[1:],
        "pipe:1",
    ]
    Path(name).write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def options_of(suffix):
    return {"rf64.wav": ["-rf64", "always"], "mp3.wav": ["-c:a", "libmp3lame"]}.get(suffix, [])


@pytest.mark.parametrize("n_parts", [2, 3])
@pytest.mark.parametrize("suffix", [*SUFFIXES, "rf64.wav", "mp3.wav"])
def test_all_parts_are_read(suffix, n_parts):
    """As they are read alone: what a lossy codec adds at the ends of a part stays between parts."""
    names = [f"{number}.{suffix}" for number in range(n_parts)]
    lengths = [44100, 30002, 20000][:n_parts]
    options = options_of(suffix)
    noises = [
        make(name, length, *options, seed=seed)
        for seed, (name, length) in enumerate(zip(names, lengths, strict=True))
    ]
    joined(f"all.{suffix}", *names)
    samples, messages = read(f"all.{suffix}")
    assert messages == []
    assert torch.equal(samples, torch.cat([read(name)[0] for name in names], dim=-1))
    if suffix in ("wma", "m4a", "mp3.wav"):
        assert abs(samples.shape[-1] - sum(lengths)) < 4096 * n_parts
    else:
        torch.testing.assert_close(samples, torch.cat(noises, dim=-1), rtol=0, atol=2**-15)


@pytest.mark.parametrize(
    "name, codec", [("a.wav", "pcm_u8"), ("a.w64", "pcm_u8"), ("a.aiff", "pcm_s8")]
)
def test_parts_of_an_odd_number_of_bytes(name, codec):
    """Between which containers have bytes that are no audio."""
    make(name, 1001, "-c:a", codec, channels=1)
    joined(f"all{Path(name).suffix}", name, name, name)
    samples, messages = read(f"all{Path(name).suffix}")
    assert messages == [] and torch.equal(samples, read(name)[0].repeat(1, 3))


@pytest.mark.parametrize("suffix", ["flac", "tta"])
@pytest.mark.parametrize("tags", [(TAG, TAG, TAG), (b"", TAG, b""), (TAG, b"", b"")])
def test_tags_before_parts(suffix, tags):
    noises = []
    for number, tag in enumerate(tags):
        noises.append(make(f"{number}.{suffix}", 10000, seed=number))
        Path(f"{number}.{suffix}").write_bytes(tag + Path(f"{number}.{suffix}").read_bytes())
    joined(f"all.{suffix}", *(f"{number}.{suffix}" for number in range(3)))
    samples, messages = read(f"all.{suffix}")
    assert messages == []
    torch.testing.assert_close(samples, torch.cat(noises, dim=-1), rtol=0, atol=2**-15)


@pytest.mark.parametrize("suffix", BY_LIBSNDFILE)
def test_parts_that_were_written_to_a_pipe(suffix):
    """Of which the header does not tell where they end."""
    names = [f"{number}.{suffix}" for number in range(3)]
    noises = [make(name, 30000, seed=seed) for seed, name in enumerate(names)]
    for name in names[:2]:
        piped(name)
    joined(f"all.{suffix}", *names)
    samples, messages = read(f"all.{suffix}")
    assert messages == []
    torch.testing.assert_close(samples, torch.cat(noises, dim=-1), rtol=0, atol=2**-15)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_part_of_another_rate(suffix):
    """It is resampled and gets the channels of the first, as in joined Ogg files."""
    make(f"a.{suffix}", 44100)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    write("tone.wav", tone, 22050)
    ffmpeg("-i", "tone.wav", f"b.{suffix}")
    joined(f"both.{suffix}", f"a.{suffix}", f"b.{suffix}")
    samples, messages = read(f"both.{suffix}")
    first, _ = read(f"a.{suffix}")
    n_first = first.shape[-1]
    assert messages == [] and torch.equal(samples[:, :n_first], first)
    rest = samples[:, n_first:]
    assert abs(rest.shape[-1] - 44100) < (8192 if suffix in ("wma", "m4a") else 50)
    assert torch.equal(rest[0], rest[1])
    middle = rest[0, 11025:33075]  # half a second
    assert torch.fft.rfft(middle * torch.hann_window(22050)).abs().argmax() == 220
    assert 0.3 < middle.max() < 0.52


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_part_of_another_rate_without_ffmpeg(suffix, monkeypatch):
    make(f"a.{suffix}", 44100)
    make(f"b.{suffix}", 22050, rate=22050, channels=1)
    joined(f"all.{suffix}", f"a.{suffix}", f"b.{suffix}", f"a.{suffix}")
    first, _ = read(f"a.{suffix}")
    monkeypatch.setenv("PATH", "")
    samples, (message,) = read(f"all.{suffix}")
    assert torch.equal(samples, torch.cat([first, first], dim=-1))
    assert message == (
        f"all.{suffix} is joined from 3 files: number 2 is not read, as it is at 22050 Hz with 1 "
        "channel(s), the first at 44100 Hz with 2, and ffmpeg, which converts it, is not installed"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_ffmpeg(suffix, monkeypatch):
    names = [f"{number}.{suffix}" for number in range(2)]
    noises = [make(name, 30000, seed=seed) for seed, name in enumerate(names)]
    joined(f"all.{suffix}", *names)
    monkeypatch.setenv("PATH", "")
    if suffix not in BY_LIBSNDFILE:
        with pytest.raises(FileNotFoundError, match="all.* is no audio that libsndfile reads"):
            read(f"all.{suffix}")
    else:
        samples, messages = read(f"all.{suffix}")
        assert messages == []
        torch.testing.assert_close(samples, torch.cat(noises, dim=-1), rtol=0, atol=2**-15)


@pytest.mark.parametrize("suffix", ["flac", "wav", "w64", "aiff", "caf", "au", "tta"])
def test_part_that_breaks_off(suffix):
    """What there is of it is read, the other parts are whole, and both its durations are told."""
    for seed, name in enumerate("abc"):
        make(f"{name}.{suffix}", 97020, seed=seed)  # 2.2 s
    whole = [read(f"{name}.{suffix}")[0] for name in "ac"]
    halve(f"b.{suffix}")
    joined(f"all.{suffix}", f"a.{suffix}", f"b.{suffix}", f"c.{suffix}")
    alone, _ = read(f"b.{suffix}")
    samples, (message,) = read(f"all.{suffix}")
    assert torch.equal(samples, torch.cat([whole[0], alone, whole[1]], dim=-1))
    assert 0.7 < alone.shape[-1] / 44100 < 1.2
    assert message.startswith(f"all.{suffix} is joined from 3 files: number 2 ")
    assert f"{alone.shape[-1] / 44100:.3f} s " in message and " of the 2.200 s of its h" in message


def test_parts_that_break_off_before_a_longer_one():
    """The audio that the first header tells of would end inside of the last part."""
    for name, length in [("a", 10000), ("b", 5000), ("c", 90000)]:
        make(f"{name}.wav", length)
    halve("a.wav")
    halve("b.wav")
    joined("all.wav", "a.wav", "b.wav", "c.wav")
    samples, (message,) = read("all.wav")
    alone = [read(f"{name}.wav")[0] for name in "abc"]
    assert torch.equal(samples, torch.cat(alone, dim=-1))
    assert "number 1 breaks off after 0.113 s of the 0.227 s of its header; number 2 b" in message


def test_part_that_cannot_be_read():
    """An MP4 file without its index, which stands at its end."""
    for seed, name in enumerate("abc"):
        make(f"{name}.m4a", 44100, seed=seed)
    halve("b.m4a")
    joined("all.m4a", "a.m4a", "b.m4a", "c.m4a")
    samples, (message,) = read("all.m4a")
    assert torch.equal(samples, torch.cat([read("a.m4a")[0], read("c.m4a")[0]], dim=-1))
    assert message.startswith("all.m4a is joined from 3 files: number 2 is not read, as all.m4a ")
    assert "moov atom not found" in message
    joined("all.m4a", "b.m4a", "b.m4a")
    with pytest.raises(ValueError, match="all.m4a cannot be read as audio, .* moov atom not found"):
        read("all.m4a")


# Bytes inside of audio


def wav_of_bytes(name, *contents):
    """A WAV of 16 bits and one channel, whose audio holds these bytes between a second of noise."""
    generator = np.random.default_rng(0)
    data = b"".join(generator.bytes(44100) + content for content in contents)
    data += generator.bytes(44100)
    samples = np.frombuffer(data + bytes(len(data) % 2), "<i2")
    write(name, samples, subtype="PCM_16")
    return torch.from_numpy(samples.astype(np.float32)[None] / 2**15)  # (1, time)


@pytest.mark.parametrize("n_files", [1, 2])
@pytest.mark.parametrize("tail", [b"", TAIL], ids=["", "tail"])
@pytest.mark.parametrize("content", ["beginning", "header", "file", "two files"])
def test_wav_whose_audio_holds_the_bytes_of_a_wav(content, tail, n_files):
    make("a.wav", 1000)
    inner = Path("a.wav").read_bytes()
    contents = {
        "beginning": [inner[:12], inner[:12] + bytes(1000), inner[:12] + b"abcd" + bytes(1000)],
        "header": [inner[:36], inner[: inner.index(b"data") + 8]],
        "file": [inner],
        "two files": [inner, inner + inner],
    }[content]
    samples = wav_of_bytes("outer.wav", *contents)
    data = Path("outer.wav").read_bytes() + tail
    Path("outer.wav").write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    joined("all.wav", *["outer.wav"] * n_files)
    found, messages = read("all.wav")
    assert messages == [] and torch.equal(found, torch.cat([samples] * n_files, dim=-1))


@pytest.mark.parametrize("suffix", ["w64", "aiff", "caf", "au", "rf64.wav"])
def test_audio_that_holds_the_bytes_of_a_file_of_its_kind(suffix):
    options = options_of(suffix)
    make(f"inner.{suffix}", 1000, *options)
    wav_of_bytes("source.wav", Path(f"inner.{suffix}").read_bytes())
    swapped = ["-c:a", "pcm_s16be"] if suffix in ("aiff", "caf", "au") else []
    if swapped:  # so that the audio holds the bytes in their order
        data = np.frombuffer(Path("source.wav").read_bytes()[44:], "<i2").byteswap()
        write("source.wav", data, subtype="PCM_16")
    ffmpeg("-i", "source.wav", *options, *swapped, f"outer.{suffix}")
    assert Path(f"inner.{suffix}").read_bytes() in Path(f"outer.{suffix}").read_bytes()
    joined(f"all.{suffix}", f"outer.{suffix}", f"outer.{suffix}")
    found, messages = read(f"all.{suffix}")
    expected, _ = read("source.wav")
    assert messages == [] and torch.equal(found, torch.cat([expected, expected], dim=-1))


@pytest.mark.parametrize("content", [b"fLaC\0\0\0\x22", b"ID3\4\0\0\0\0\2\0", b"fLaC" + TAG])
def test_flac_that_holds_the_beginning_of_another(content):
    """In its padding, where the rest is zeros, no stream's facts."""
    samples = make("a.flac", 44100)
    data = Path("a.flac").read_bytes()
    padding = data.index(bytes(4000)) + 8
    Path("a.flac").write_bytes(data[:padding] + content + data[padding + len(content) :])
    found, messages = read("a.flac")
    assert messages == []
    torch.testing.assert_close(found, samples, rtol=0, atol=2**-15)


# Files as such


@pytest.mark.parametrize("stem", ["a,,:start,5 %d é", os.fsdecode(b"caf\xe9"), "-i"])
@pytest.mark.parametrize("suffix", ["wav", "tta"])
def test_names_of_any_bytes(stem, suffix):
    samples = make(f"part.{suffix}", 10000)
    joined(f"{stem}.{suffix}", f"part.{suffix}", f"part.{suffix}")
    found, messages = read(f"{stem}.{suffix}")
    assert messages == []
    torch.testing.assert_close(found, torch.cat([samples] * 2, dim=-1), rtol=0, atol=2**-15)


def test_more_parts_than_files_may_be_open():
    samples = make("a.wav", 100)
    joined("all.wav", *["a.wav"] * 400)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        found, messages = read("all.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert messages == []
    torch.testing.assert_close(found, samples.repeat(1, 400), rtol=0, atol=2**-15)


def test_beginnings_across_pieces_of_the_search():
    """The file is searched in pieces of 1 MiB."""
    for n_bytes in range(2**20 - 46, 2**20 + 4, 2):
        header = 44
        first = np.zeros((n_bytes - header) // 2, np.int16)
        write("a.wav", first, subtype="PCM_16")
        assert Path("a.wav").stat().st_size == n_bytes
        write("b.wav", np.ones(10, np.int16), subtype="PCM_16")
        joined("both.wav", "a.wav", "b.wav")
        samples, messages = read("both.wav")
        assert messages == [] and samples.shape == (1, len(first) + 10)
