"""Audio files piece by piece: every format, rate and mistake."""

import os
import resource
import signal
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asteroid_sinudae import audio  # before torchaudio, which it makes importable
from asteroid_sinudae.audio import (
    PIECE,
    RESAMPLING,
    check_same,
    open_audio,
    rate_ratio,
    resampled,
    write_wavs,
)

# isort: split

from torchaudio.transforms import Resample

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noise(length, channels=2):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (length, channels)).astype(np.float32)


def write(name, samples, rate=44100, **options):
    soundfile.write(name, samples, rate, **options)
    return Path(name)


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
    assert np.array_equal(samples, expected.T) and n_samples == length


def test_pieces_twice():
    write("a.wav", noise(1000))
    with open_audio("a.wav") as file:
        first, second = (torch.cat(list(file.pieces()), dim=-1) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["a.m4a", "a b%d.webm"])
def test_what_only_ffmpeg_reads(name):
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
    before = set(os.listdir(os.environ.get("TMPDIR", "/tmp")))
    with open_audio(name) as file:
        assert (file.sample_rate, file.channels, file.path) == (48000, 2, Path(name))
        samples = torch.cat(list(file.pieces()), dim=-1).numpy()
    assert {x for x in os.listdir(os.environ.get("TMPDIR", "/tmp")) if "sinudae-" in x} <= before
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
    message = f"^{name} cannot be read as audio, ffmpeg says: .*([Ii]nvalid|not contain any stream)"
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


def test_file_that_breaks_off():
    write("a.flac", noise(4 * PIECE))
    data = Path("a.flac").read_bytes()
    Path("a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a.flac breaks off after \d.* s of 5.94431 s"):
        read("a.flac")


def test_files_that_differ():
    write("a.wav", noise(1000))
    write("rate.wav", noise(1000), 48000)
    write("mono.wav", noise(1000, 1))
    write("short.wav", noise(999))
    expected = {
        "rate": "sample_rate of rate.wav must be that of a.wav, 44100 Hz, got 48000",
        "mono": "channels of mono.wav must be that of a.wav, 2 channels, got 1",
        "short": "length of short.wav must be that of a.wav, 1000 samples, got 999",
    }
    with open_audio("a.wav") as first:
        check_same(first, first)
        for name, message in expected.items():
            with open_audio(f"{name}.wav") as second, pytest.raises(ValueError, match=message):
                check_same(first, second)


# Writing


def stream(samples):
    """Of `(time, channels)` and its double as two sources."""
    tensor = torch.from_numpy(samples.T.copy())
    return torch.stack([tensor, 2 * tensor], dim=1).split(300, dim=-1)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_written_files(channels):
    samples = noise(1000, channels) * 10  # beyond full scale
    write_wavs([Path("new/a.wav"), Path("b.wav")], stream(samples), 48000, 1000)
    for path, factor in (("new/a.wav", 1), ("b.wav", 2)):
        written, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == 48000 and np.array_equal(written, factor * samples)
        assert soundfile.info(path).subtype == "FLOAT"
    assert sorted(os.listdir()) == ["b.wav", "new"] and os.listdir("new") == ["a.wav"]


def test_large_files(monkeypatch):
    samples = noise(1000)
    monkeypatch.setattr(audio, "MAX_WAV", 4 * 2 * 1000 - 1)
    paths = [Path("a.wav"), Path("b.wav")]
    write_wavs(paths, stream(samples), 44100, 1000)
    assert soundfile.info("a.wav").format == "RF64"
    assert np.array_equal(soundfile.read("a.wav", dtype="float32")[0], samples)
    monkeypatch.setattr(audio, "MAX_WAV", 4 * 2 * 1000)
    write_wavs(paths, stream(samples), 44100, 1000)
    assert soundfile.info("a.wav").format == "WAV"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("a.wav has a NaN")])
def test_error_in_the_stream_leaves_files_alone(error):
    Path("b.wav").write_text("mine")

    def broken():
        yield from list(stream(noise(1000)))[:2]
        assert len(os.listdir()) == 3  # b.wav and two temporary files
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        write_wavs([Path("a.wav"), Path("b.wav")], broken(), 44100, 1000)
    assert os.listdir() == ["b.wav"] and Path("b.wav").read_text() == "mine"


def test_full_disk():
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        with pytest.raises(OSError, match="^cannot write a.wav, b.wav: .*is the disk full"):
            write_wavs([Path("a.wav"), Path("b.wav")], stream(noise(1000)), 44100, 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir() == []


def test_folder_that_cannot_be_written():
    Path("file").touch()
    with pytest.raises(OSError, match="cannot write file/a.wav: "):
        write_wavs([Path("file/a.wav")], stream(noise(10)), 44100, 10)


# Resampling


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
