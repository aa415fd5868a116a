"""Audio files that are written piece by piece, that change rates, and that go together."""

import os
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from songs_on_disk import full_disk, noise, write

from asteroid_sinudae.songs import audio  # before torchaudio, which it makes importable
from asteroid_sinudae.songs.audio import (
    PIECE,
    RESAMPLING,
    like,
    open_audio,
    rate_ratio,
    resampled,
    write_audio,
)

# isort: split

from torchaudio.transforms import Resample

# Writing


def stream(samples):
    """Of `(time, channels)` and its double as two sources."""
    tensor = torch.from_numpy(samples.T.copy())
    return torch.stack([tensor, 2 * tensor], dim=1).split(300, dim=-1)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_written_files(channels):
    samples = noise(1000, channels) * 10  # beyond full scale
    write_audio([Path("new/a.wav"), Path("b.wav")], stream(samples), 48000, 1000)
    for path, factor in (("new/a.wav", 1), ("b.wav", 2)):
        written, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == 48000 and np.array_equal(written, factor * samples)
        assert soundfile.info(path).subtype == "FLOAT"
    assert sorted(os.listdir()) == ["b.wav", "new"] and os.listdir("new") == ["a.wav"]


def test_large_files(monkeypatch):
    samples = noise(1000)
    monkeypatch.setattr(audio, "MAX_WAV", 4 * 2 * 1000 - 1)
    paths = [Path("a.wav"), Path("b.wav")]
    write_audio(paths, stream(samples), 44100, 1000)
    assert soundfile.info("a.wav").format == "RF64"
    assert np.array_equal(soundfile.read("a.wav", dtype="float32")[0], samples)
    monkeypatch.setattr(audio, "MAX_WAV", 4 * 2 * 1000)
    write_audio(paths, stream(samples), 44100, 1000)
    assert soundfile.info("a.wav").format == "WAV"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("a.wav has a NaN")])
def test_error_in_the_stream_leaves_files_alone(error):
    Path("b.wav").write_text("mine")

    def broken():
        yield from list(stream(noise(1000)))[:2]
        assert len(os.listdir()) == 3  # b.wav and two temporary files
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        write_audio([Path("a.wav"), Path("b.wav")], broken(), 44100, 1000)
    assert os.listdir() == ["b.wav"] and Path("b.wav").read_text() == "mine"


def test_full_disk():
    with full_disk(4000):
        with pytest.raises(OSError, match="^cannot write a.wav, b.wav: .*is the disk full"):
            write_audio([Path("a.wav"), Path("b.wav")], stream(noise(1000)), 44100, 1000)
    assert os.listdir() == []


def test_folder_that_cannot_be_written():
    Path("file").touch()
    with pytest.raises(OSError, match="cannot write file/a.wav: "):
        write_audio([Path("file/a.wav")], stream(noise(10)), 44100, 10)


# Resampling

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000)


def test_common_rates_are_exact():
    for old, new in product(RATES, RATES):
        assert rate_ratio(old, new) == Fraction(new, old)


@pytest.mark.parametrize("old, new", [(48001, 44100), (44100, 44056), (1021, 44100), (7919, 96001)])
def test_other_rates_are_close(old, new):
    ratio = rate_ratio(old, new)
    assert min(ratio.numerator, ratio.denominator) <= audio.MAX_PERIOD
    assert abs(ratio * old / new - 1) < 1.1e-3
    assert rate_ratio(new, old) == 1 / ratio


@pytest.mark.parametrize("rate", [1, 800, 10_000_000])
def test_rates_too_far_apart(rate):
    message = f"audio at {rate:g} Hz cannot be resampled to 44100 Hz: expected .* 50 times"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        rate_ratio(rate, 44100)


@pytest.mark.parametrize(
    "old, new",
    # 88.2 to 44.1 kHz: a period is 2 samples, and the filter is many times as long.
    [(44100, 48000), (48000, 44100), (44100, 8000), (8000, 44100), (88200, 44100), (44100, 88200)],
)
@pytest.mark.parametrize("length", [1, 1000, 2 * PIECE + 777])
def test_blocks_are_resampled_like_the_whole(old, new, length):
    wav = torch.from_numpy(noise(length).T.copy())
    ratio = rate_ratio(old, new)
    n_samples = -(-length * new // old)
    pieces = list(resampled(wav.split(50_000, dim=-1), ratio, n_samples))
    # Whole periods: of other lengths, torchaudio's is computed in single precision.
    whole = torch.nn.functional.pad(wav, [0, -length % ratio.denominator])
    resample = Resample(old, new, **RESAMPLING, dtype=torch.float64).float()
    expected = resample(whole)[..., :n_samples]
    result = torch.cat(pieces, dim=-1)
    assert result.shape == (2, n_samples)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_there_and_back():
    """A tone below 95% of the lower rate's half comes back, its ends apart, to -120 dB."""
    time = torch.arange(100_000, dtype=torch.float64) / 48000
    wav = torch.sin(2 * torch.pi * 15_000 * time).float()[None, None]
    ratio = rate_ratio(48000, 44100)
    there = resampled([wav], ratio, 91_875)
    back = torch.cat(list(resampled(there, 1 / ratio, 100_000)), dim=-1)
    assert back.shape == wav.shape
    error = (back - wav)[..., 500:-500].abs().max()
    assert error < 1e-6


def test_silence_and_the_same_rate():
    assert not torch.cat(list(resampled([torch.zeros(2, 999)], Fraction(3, 2), 1499)), -1).any()
    wav = torch.ones(2, 10)
    assert torch.equal(torch.cat(list(resampled([wav], Fraction(1), 10)), -1), wav)


# Two files together


def test_files_that_go_together():
    """Of lengths that differ by what codecs add, and of another rate."""
    first = noise(10_000)
    write("a.wav", first, subtype="FLOAT")
    for name, samples, rate in [
        ("same", first, 44100),
        ("long", np.pad(first, [(0, 2048), (0, 0)], constant_values=1), 44100),
        ("short", first[:-2048], 44100),
        ("rate", noise(20_000), 88200),
    ]:
        write(f"{name}.wav", samples, rate, subtype="FLOAT")
        with open_audio("a.wav") as other, open_audio(f"{name}.wav") as file:
            found = torch.cat(list(like(file, other)), dim=-1)
        assert found.shape == (2, 10_000)
        if name in ("same", "long"):
            assert np.array_equal(found.T, first)
        if name == "short":
            assert np.array_equal(found.T[:-2048], first[:-2048]) and not found[:, -2048:].any()


def test_files_that_do_not_go_together():
    write("a.wav", noise(10_000))
    write("mono.wav", noise(10_000, 1))
    write("short.wav", noise(10_000 - 2049))
    write("long.wav", noise(10_000 + 2049))
    write("rate.wav", noise(10_000), 44101)
    expected = {
        "mono": "channels of mono.wav must be that of a.wav, 2 channels, got 1",
        "short": "length of short.wav must be at most 2048 samples from that of a.wav, 10000, got",
        "long": "length of long.wav must be at most 2048 samples from that of a.wav, 10000, got",
        "rate": "sample_rate of rate.wav must be that of a.wav, 44100 Hz, or one in a simple ratio",
    }
    with open_audio("a.wav") as first:
        for name, message in expected.items():
            with open_audio(f"{name}.wav") as second, pytest.raises(ValueError, match=message):
                like(second, first)
