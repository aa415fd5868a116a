"""The formats that estimates are written in: what they hold, what they round and what they clip."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from songs_on_disk import RATE, noise

import asteroid_sinudae as sinudae
from asteroid_sinudae.songs import audio
from asteroid_sinudae.songs.audio import FORMATS, write_audio

SUBTYPES = {
    "float": ("WAV", "FLOAT"),
    "wav": ("WAV", "FLOAT"),
    "wav16": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
}
BITS = {"wav16": 16, "wav24": 24, "flac": 24}


def written(samples, format, name="a"):
    """What a file of `(time, channels)` holds, in double precision."""
    path = Path(f"{name}.{FORMATS[format].suffix}")
    stream = torch.from_numpy(samples.T.copy())[:, None].split(300, dim=-1)
    write_audio([path], stream, RATE, len(samples), format)
    assert (soundfile.info(path).format, soundfile.info(path).subtype) == SUBTYPES[format]
    return soundfile.read(path, always_2d=True)[0]


def test_all_formats_are_tested():
    assert set(FORMATS) == set(SUBTYPES) and FORMATS["wav"] == FORMATS["float"]
    for function in (sinudae.separate_file, sinudae.mask_file):
        assert inspect.signature(function).parameters["format"].default == "float"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_is_written_is_read(format, channels):
    """Integers are the nearest ones: a file of integers is off by half a step, on either side."""
    samples = noise(1000, channels)
    found = written(samples, format)
    errors = found - samples
    if format not in BITS:
        assert not errors.any()
        return
    step = 2.0 ** (1 - BITS[format])
    assert 0.4 * step < np.abs(errors).max() <= 0.5 * step
    assert np.abs(errors.mean()) < 0.1 * step
    assert np.array_equal(written(found.astype(np.float32), format), found)


@pytest.mark.parametrize("format", BITS)
def test_integers_clip_at_full_scale(format, caplog):
    samples = np.float32([[0.5], [1.5], [1.0], [-1.0], [-3.0], [1e30], [-1e38]])
    largest = 1 - 2.0 ** (1 - BITS[format])
    expected = [0.5, largest, largest, -1, -1, largest, -1]
    assert written(samples, format)[:, 0].tolist() == expected
    name = f"a.{FORMATS[format].suffix}"
    assert caplog.messages == [f"{name} has 4 samples beyond full scale, which are clipped"]


@pytest.mark.parametrize("format, n_bytes", [("float", 4), ("wav16", 2), ("wav24", 3)])
def test_large_files_of_every_width(format, n_bytes, monkeypatch):
    """A WAV header counts bytes."""
    samples = noise(1000)
    for spare, kind in (0, b"RIFF"), (-1, b"RF64"):
        monkeypatch.setattr(audio, "MAX_WAV", n_bytes * 2 * 1000 + spare)
        path = Path("a.wav")
        write_audio([path], [torch.from_numpy(samples.T.copy())[:, None]], RATE, 1000, format)
        assert path.read_bytes()[:4] == kind
        np.testing.assert_allclose(soundfile.read(path)[0], samples, atol=2.0**-15)


@pytest.mark.parametrize("format", ["mp3", "WAV", "", None])
def test_format_that_there_is_not(format):
    message = "^format must be one of 'float', 'wav', 'wav16', 'wav24', 'flac', got "
    for call in (
        lambda: sinudae.separate_file("a.pth", "a.wav", "out", format=format),
        lambda: sinudae.mask_file(None, "a.wav", "b.wav", "out", format=format),
        lambda: write_audio([Path("a.wav")], [torch.zeros(1, 1, 4)], RATE, 4, format),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not Path("out").exists()
