"""Songs through models: chunks that do not show, rates, channels, level, silence."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from song_models import collect, decode, encode, separate, write
from torch import nn

from asteroid_sinudae import STFT, SinuDAE, SinuDAEConvTasNet
from asteroid_sinudae.masks import estimate_both
from asteroid_sinudae.models.representation import reach
from asteroid_sinudae.songs.apply import masked, separated
from asteroid_sinudae.songs.audio import open_audio

# isort: split

from asteroid.models import BaseModel, ConvTasNet

RATE = 8000


class Gain(BaseModel):
    """Two sources: the signal times two, and its negative. No model of PyTorch's has less to it."""

    def __init__(self, sample_rate=RATE, in_channels=1):
        super().__init__(sample_rate, in_channels)

    def forward(self, wav):
        return torch.cat([2 * wav, -wav], dim=1)


# Separation


@pytest.mark.parametrize("channels, rate", [(1, RATE), (2, RATE), (2, 2 * RATE), (3, 44100)])
def test_chunks_of_the_pair_equal_the_whole(dae, channels, rate):
    write("a.wav", 4 * rate + 77, channels, rate)
    whole = separate(dae, "a.wav", chunk=10.0)
    chunks = separate(dae, "a.wav", chunk=0.5)
    assert whole.shape == (channels, 1, 4 * rate + 77)
    torch.testing.assert_close(chunks, whole, atol=1e-6, rtol=0)
    assert whole.abs().max() > 1e-3


@torch.no_grad()
def test_file_equals_the_signal(dae):
    wav = write("a.wav", 3 * RATE + 5)
    result = separate(dae, "a.wav", chunk=0.7)
    torch.testing.assert_close(result, dae(wav[:, None]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.05, None, 0.25])
@pytest.mark.parametrize("n_samples", [1, 3999, 4000, 4001, 30_000])
def test_a_perfect_model_keeps_the_level(n_samples, overlap):
    wav = write("a.wav", n_samples)
    result = separate(Gain(), "a.wav", chunk=0.5, overlap=overlap)
    expected = torch.stack([2 * wav, -wav], dim=1)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_rates_there_and_back():
    """A tone that both rates have; the estimates are at the file's rate, with its length."""
    time = torch.arange(50_001, dtype=torch.float64) / 44100
    tone = 0.5 * torch.sin(2 * math.pi * 1000 * time).float()
    soundfile.write("a.wav", torch.stack([tone, -tone], dim=1).numpy(), 44100, subtype="FLOAT")
    result = separate(Gain(sample_rate=22050.0), "a.wav", chunk=0.3)
    assert result.shape == (2, 2, 50_001)
    inner = slice(1000, -1000)
    torch.testing.assert_close(result[0, 0, inner], 2 * tone[inner], atol=2e-6, rtol=0)
    torch.testing.assert_close(result[1, 1, inner], tone[inner], atol=2e-6, rtol=0)


@pytest.fixture
def separator(dae):
    torch.manual_seed(0)
    sizes = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4)
    return SinuDAEConvTasNet(2, pretrained=dae, **sizes).eval()


@pytest.mark.parametrize("channels, keep_order", [(3, False), (2, True)])
def test_channels_are_signals_of_their_own(separator, channels, keep_order):
    """More than two are, and those of models whose sources have no order."""
    wav = write("a.wav", 2 * RATE, channels)
    soundfile.write("b.wav", wav[-1].numpy(), RATE, subtype="FLOAT")
    options = dict(chunk=0.5, keep_order=keep_order)
    together, last = (separate(separator, path, **options) for path in ("a.wav", "b.wav"))
    assert together.shape == (channels, 2, 2 * RATE) and torch.equal(together[-1:], last)


def test_stereo_is_separated_as_mid_and_side(separator):
    left, right = write("a.wav", 2 * RATE)
    mid_and_side = torch.stack([(left + right) / 2, (left - right) / 2])
    soundfile.write("b.wav", mid_and_side.T.numpy(), RATE, subtype="FLOAT")
    mid, side = separate(separator, "b.wav", keep_order=True)  # in one chunk
    found = separate(separator, "a.wav")
    torch.testing.assert_close(found, torch.stack([mid + side, mid - side]))


def test_stereo_that_is_mono_is_separated_as_such(separator):
    wav = write("mono.wav", 2 * RATE, channels=1)
    soundfile.write("a.wav", wav.repeat(2, 1).T.numpy(), RATE, subtype="FLOAT")
    mono, stereo = (separate(separator, path, chunk=0.5) for path in ("mono.wav", "a.wav"))
    torch.testing.assert_close(stereo, mono.repeat(2, 1, 1))


@pytest.mark.parametrize("kind", ["pair", "on the pair", "of Asteroid"])
def test_silence_stays_silence(dae, kind):
    sizes = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4)
    model = {
        "pair": lambda: dae,
        "on the pair": lambda: SinuDAEConvTasNet(2, pretrained=dae, **sizes),
        "of Asteroid": lambda: ConvTasNet(2, n_filters=16, sample_rate=RATE, **sizes),
    }[kind]().eval()
    wav = write("a.wav", 4 * RATE)
    wav[0] = 0
    wav[1, RATE : 3 * RATE] = 0
    soundfile.write("a.wav", wav.T.numpy(), RATE, subtype="FLOAT")
    result = separate(model, "a.wav", chunk=0.5)
    assert result.isfinite().all() and not result[0].any()
    margin = reach(dae)
    inside = result[1, :, RATE + margin : 3 * RATE - margin]
    # Near sound but for the smoothing's rounding, farther away exactly.
    assert inside.abs().max() < 1e-6 * result[1, :, :RATE].abs().max()
    assert not inside[:, 3 * margin : -3 * margin].any()


def test_model_that_does_not_keep_silence():
    """0/0, and a bias."""

    class Bad(Gain):
        def forward(self, wav):
            return super().forward(wav) / wav.abs().sum() + 1

    soundfile.write("a.wav", np.zeros((RATE, 2)), RATE)
    assert not separate(Bad(), "a.wav", chunk=0.5).any()


def make(function):
    class Model(Gain):
        def forward(self, wav):
            return function(wav)

    return Model()


@pytest.mark.parametrize(
    "model, message",
    [
        (Gain(in_channels=2), "in_channels of Gain must be 1: mono signals, got 2"),
        (
            make(lambda wav: nn.functional.conv1d(wav, torch.ones(1, 1, 9000))),
            r"Model, given 4000 samples, fails: .*[Kk]ernel size",
        ),
        (
            make(lambda wav: wav[..., 1:]),
            r"gives the shape \(1, 1, 3999\), expected \(1, sources, 4000\)",
        ),
        (make(lambda wav: (wav, wav)), r"gives the shape \(\), expected"),
        (
            make(lambda wav: wav / 0),
            "Model gives NaN or infinite values at 0 s of a.wav, which is finite: the model's "
            "weights are at fault",
        ),
    ],
)
def test_model_that_does_not_fit(model, message):
    write("a.wav", RATE)
    with pytest.raises(ValueError, match=message):
        separate(model, "a.wav", chunk=0.5)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(chunk=-1.0), r"chunk must be positive and finite \(s\), got -1.0"),
        (dict(chunk=0.0), "chunk must be positive"),
        (dict(chunk=math.nan), "chunk must be positive"),
        (dict(chunk=math.inf), "chunk must be positive"),
        (dict(chunk=1e-5), "chunk must be at least one sample, 0.00013 s, got 1e-05"),
        (dict(overlap=-0.1), r"overlap must be between 0 and half of chunk=10.0 \(s\), got -0.1"),
        (dict(overlap=5.1), "overlap must be between 0 and half of chunk=10.0"),
        (dict(overlap=math.nan), "overlap must be between 0 and half of chunk=10.0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    write("a.wav", 100)
    with pytest.raises(ValueError, match=message):
        separate(Gain(), "a.wav", **options)


# Informed separation


@pytest.mark.parametrize("name", ["DAE", "STFT"])
@torch.no_grad()
def test_chunks_under_a_mask_equal_the_whole(dae, name):
    system = dae if name == "DAE" else STFT(n_fft=128, stride=48, sample_rate=RATE)
    mixture = write("m.wav", 3 * RATE)
    write("v.wav", 3 * RATE, seed=1)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        whole, chunks, other = (
            collect(masked(system, first, second, threshold, chunk))
            for threshold, chunk in ((0.5, 10.0), (0.5, 0.4), (1.0, 10.0))
        )
    torch.testing.assert_close(chunks, whole, atol=1e-5, rtol=0)
    assert not torch.allclose(other, whole, atol=1e-3)
    both = system.decode(system.encode(mixture[:, None]), 3 * RATE)
    torch.testing.assert_close(whole.sum(1, keepdim=True), both, atol=1e-5, rtol=0)


def test_mask_of_files_that_differ(dae):
    write("m.wav", 100)
    write("v.wav", 2149)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        with pytest.raises(
            ValueError, match="length of v.wav must be at most 2048 samples from th"
        ):
            masked(dae, first, second)
        with pytest.raises(ValueError, match="threshold must be finite and not negative, got -1"):
            masked(dae, first, first, threshold=-1)
        with pytest.raises(ValueError, match="rule must be one of 'binary', 'ratio', 'energy_rati"):
            masked(dae, first, first, rule="soft")
        with pytest.raises(ValueError, match="the ratio mask has no threshold, got threshold=0.5"):
            masked(dae, first, first, threshold=0.5, rule="ratio")


@torch.no_grad()
def test_mask_of_files_that_differ_a_little(dae):
    """Vocals of another rate and with what a codec adds."""
    mixture = write("m.wav", RATE)
    write("v.wav", 2 * RATE, rate=2 * RATE)
    vocals = write("w.wav", RATE, seed=1)
    soundfile.write("long.wav", np.pad(vocals.T, [(0, 900), (0, 0)]), RATE, subtype="FLOAT")
    with open_audio("m.wav") as first:
        found = {}
        for name in ("v", "w", "long"):
            with open_audio(f"{name}.wav") as second:
                found[name] = collect(masked(dae, first, second, chunk=0.4))
    assert found["v"].shape == (2, 2, RATE) and found["v"].isfinite().all()
    assert torch.equal(found["long"], found["w"]) and mixture.shape == (2, RATE)


@torch.no_grad()
def test_rule_of_a_mask(dae):
    mixture, vocals = write("m.wav", RATE), write("v.wav", RATE, seed=1)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        found = collect(masked(dae, first, second, chunk=0.4, rule="ratio"))
    signals = mixture[:, None], vocals[:, None], (mixture - vocals)[:, None]
    expected = torch.cat(estimate_both(dae, *signals, None, "ratio"), dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# Values that are not finite


@pytest.mark.parametrize(
    "command, value",
    [
        *itertools.product(["separate", "encode", "mask"], [math.nan, math.inf, 1e38]),
        ("decode", math.nan),
        ("decode", math.inf),
    ],
)
def test_weights_at_fault(dae, command, value):
    write("a.wav", RATE)
    encode(dae, "a.wav")
    os.rename("a.npz", "good.npz")
    model = SinuDAE.from_pretrained(dae.serialize())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    with pytest.raises(ValueError, match=r"at 0 s of (a.wav|good.npz), which is finite: the model"):
        run(command, model)
    assert not Path("a.npz").exists()


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
def test_song_at_fault(dae, command):
    """From half a second on."""
    wav = write("a.wav", RATE)
    wav[:, RATE // 2 :] = 1e38
    soundfile.write("a.wav", wav.T.numpy(), RATE, subtype="FLOAT")
    message = (
        r"SinuDAE gives NaN or infinite values at 0.4\d+ s of a.wav: a.wav has values up to 1e\+38"
    )
    with pytest.raises(ValueError, match=message):
        run(command, dae)
    assert not Path("a.npz").exists()


def run(command, model):
    with open_audio("a.wav") as song:
        if command == "separate":
            collect(separated(model, song, chunk=0.3))
        elif command == "encode":
            encode(model, "a.wav", chunk=0.3)
        elif command == "decode":
            decode(model, "good.npz")
        else:
            collect(masked(model, song, song, chunk=0.3))
