from collections import Counter
from functools import partial

import numpy as np
import pytest
import soundfile
import torch

import asteroid_sinudae as sinudae
from asteroid_sinudae.data.tracks import Track
from asteroid_sinudae.evaluation.estimates import masked_estimates
from asteroid_sinudae.evaluation.oracle import segment_metrics
from asteroid_sinudae.masks import (
    RULES,
    encode_sources,
    energy_ratio_mask,
    estimate_both,
    make_mask,
    ratio_mask,
)
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.report.examples import Excerpt, make_example
from asteroid_sinudae.training.objectives import EncodedBatch, MaskAware

STFT = sinudae.STFT(n_fft=512, stride=128, sample_rate=8000)


def tones():
    """Two tones of a second each at 8 kHz, whose spectra do not overlap, and their sum."""
    time = torch.arange(8000) / 8000
    vocals = torch.sin(2 * torch.pi * 500 * time)[None, None]
    accompaniment = torch.sin(2 * torch.pi * 2000 * time)[None, None]
    return vocals + accompaniment, vocals, accompaniment


def test_binary_mask_keeps_what_exceeds_the_threshold_and_drops_zero_over_zero():
    vocals = torch.tensor([0.0, 0.0, 1.0, 0.5, 0.51, 2.0])
    accompaniment = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    mask = sinudae.binary_mask(vocals, accompaniment, threshold=0.5)
    assert mask.tolist() == [0, 0, 1, 0, 1, 1]
    assert sinudae.binary_mask(vocals, accompaniment, threshold=1).tolist() == [0, 0, 1, 0, 0, 1]
    assert mask.dtype == vocals.dtype


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_thresholds_that_make_no_sense(threshold):
    with pytest.raises(ValueError, match="threshold must be finite and not negative, got"):
        sinudae.binary_mask(torch.ones(1), torch.ones(1), threshold)


def magnitudes():
    """Pairs of magnitudes over the range of single precision, some alike, some zero."""
    rng = np.random.default_rng(0)
    values = 10.0 ** rng.uniform(-36, 38, (2, 60, 50))
    values[1, :40] = np.minimum(values[0, :40] * rng.uniform(0.1, 3, (40, 50)), 3e38)
    values[rng.random(values.shape) < 0.1] = 0
    return torch.from_numpy(values).float()


def test_ratio_mask_over_the_range_of_single_precision():
    vocals, accompaniment = magnitudes()
    mask = ratio_mask(vocals, accompaniment)
    v, a = vocals.double().numpy(), accompaniment.double().numpy()
    expected = np.divide(v, v + a, out=np.zeros_like(v), where=v + a > 0)
    np.testing.assert_allclose(mask, expected, rtol=1e-6, atol=1e-37)
    assert mask.dtype == vocals.dtype and (v + a == 0).any()
    huge = torch.full((1,), 3e38)  # whose sum is not finite
    assert ratio_mask(huge, huge).item() == 0.5


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.8])
def test_energy_ratio_mask_over_the_range_of_single_precision(threshold):
    vocals, accompaniment = magnitudes()
    mask = energy_ratio_mask(vocals, accompaniment, threshold)
    v, a = vocals.double().numpy(), accompaniment.double().numpy()
    # In double precision the squares of these are finite and, but for zeros, positive.
    ratio = np.divide(v**2, v**2 + a**2, out=np.zeros_like(v), where=v + a > 0)
    assert mask.dtype == vocals.dtype and 0 < mask.mean() < 1
    near = (np.abs(ratio - threshold) < 1e-6) & (v > 0)
    np.testing.assert_array_equal(mask.numpy()[~near], (ratio > threshold)[~near])
    equivalent = np.sqrt(threshold / (1 - threshold))
    assert torch.equal(mask, sinudae.binary_mask(vocals, accompaniment, equivalent))


def test_energy_ratio_of_a_half_keeps_the_louder():
    vocals = torch.tensor([1e-30, 2e-30, 1e30, 2e30, 0.0, 1e-45])
    accompaniment = torch.tensor([2e-30, 1e-30, 2e30, 1e30, 0.0, 0.0])
    assert energy_ratio_mask(vocals, accompaniment).tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(
        energy_ratio_mask(*magnitudes()), sinudae.binary_mask(*magnitudes(), threshold=1)
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan"), float("inf")])
def test_thresholds_of_energy_ratios_that_make_no_sense(threshold):
    with pytest.raises(ValueError, match="threshold must be at least 0 and below 1, got"):
        energy_ratio_mask(torch.ones(1), torch.ones(1), threshold)


def test_rules_are_the_masks_and_have_their_own_thresholds():
    pair = magnitudes()
    assert list(RULES) == ["binary", "ratio", "energy_ratio"]
    assert torch.equal(make_mask(*pair), sinudae.binary_mask(*pair, threshold=0.5))
    assert torch.equal(make_mask(*pair, 0.7), sinudae.binary_mask(*pair, threshold=0.7))
    assert torch.equal(make_mask(*pair, rule="ratio"), ratio_mask(*pair))
    assert torch.equal(make_mask(*pair, rule="energy_ratio"), energy_ratio_mask(*pair, 0.5))
    assert torch.equal(make_mask(*pair, 0.3, "energy_ratio"), energy_ratio_mask(*pair, 0.3))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(rule="soft"), "rule must be one of 'binary', 'ratio', 'energy_ratio', got 'soft'"),
        (dict(rule="ratio", threshold=0.5), "the ratio mask has no threshold, got threshold=0.5"),
        (dict(threshold=-1.0), "threshold must be finite and not negative, got -1.0"),
        (dict(rule="energy_ratio", threshold=1), "threshold must be at least 0 and below 1, got 1"),
    ],
)
def test_rules_that_make_no_sense(options, message):
    mixture, vocals, accompaniment = tones()
    options = {"threshold": None, **options}
    with pytest.raises(ValueError, match=f"^{message}$"):
        sinudae.informed_separation(STFT, mixture, vocals, **options)
    with pytest.raises(ValueError, match=f"^{message}$"):
        estimate_both(STFT, mixture, vocals, accompaniment, **options)


@pytest.mark.parametrize("rule", RULES)
def test_one_call_for_all_rules_and_representations(rule):
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(n_filters=10, kernel_size=64, stride=16, sample_rate=8000)
    mixture, vocals, accompaniment = tones()
    for representation in (dae, STFT):
        encoded = [representation.encode(signal) for signal in (mixture, vocals, accompaniment)]
        mask = RULES[rule].mask(*map(representation.magnitude, encoded[1:]))
        expected = representation.decode(encoded[0] * mask, 8000)
        estimate = sinudae.informed_separation(
            representation, mixture, vocals, accompaniment, rule=rule
        )
        torch.testing.assert_close(estimate, expected)
        first, second = estimate_both(representation, mixture, vocals, accompaniment, None, rule)
        torch.testing.assert_close(first, expected)
        torch.testing.assert_close(first + second, representation.decode(encoded[0], 8000))
        assert representation is dae or si_sdr(first, vocals).item() > 20


def test_separates_tones_and_takes_the_difference_as_accompaniment():
    mixture, vocals, accompaniment = tones()
    estimate = sinudae.informed_separation(STFT, mixture, vocals, accompaniment)
    assert si_sdr(estimate, vocals).item() > 20
    torch.testing.assert_close(sinudae.informed_separation(STFT, mixture, vocals), estimate)
    swapped = sinudae.informed_separation(STFT, mixture, accompaniment, vocals)
    assert si_sdr(swapped, accompaniment).item() > 20


def test_same_call_with_the_auto_encoder_equals_its_steps():
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(n_filters=10, kernel_size=64, stride=16, sample_rate=8000)
    mixture, vocals, accompaniment = tones()
    estimate = sinudae.informed_separation(dae, mixture, vocals, accompaniment, threshold=1)
    mask = dae.encode(vocals) > dae.encode(accompaniment)
    expected = dae.decode(dae.encode(mixture) * mask, length=8000)
    torch.testing.assert_close(estimate, expected)


def test_shapes_that_differ():
    mixture, vocals, accompaniment = tones()
    with pytest.raises(ValueError, match=r"mixture \(1, 1, 8000\), vocals \(1, 1, 7999\)"):
        sinudae.informed_separation(STFT, mixture, vocals[..., 1:], accompaniment)
    with pytest.raises(ValueError, match=r"must be \(batch, 1, time\), got \(8000,\)$"):
        sinudae.informed_separation(STFT, mixture[0, 0], vocals[0, 0])


class Counted:
    """A representation that counts how often each side is used, and its kernels are built."""

    def __init__(self, representation, monkeypatch):
        self.representation, self.counts = representation, Counter()
        for side in ("encoder", "decoder"):
            filterbank = getattr(representation, side).filterbank
            monkeypatch.setattr(
                filterbank, "filters", partial(self.build, side, filterbank.filters)
            )

    def build(self, side, filters):
        self.counts[side] += 1
        return filters()

    def __getattr__(self, name):
        return getattr(self.representation, name)


def write_excerpt(folder, signals):
    track = Track("track", "test", 8000, 0, folder)
    for path, wav in zip((track.vocals, track.accompaniment), signals, strict=True):
        soundfile.write(path, wav[0, 0], 44100, subtype="FLOAT")
    return Excerpt(track, 0, 8000)


def mask_aware(representation, mixture, vocals, accompaniment):
    signals = {"mixture": mixture, "vocals": vocals, "accompaniment": accompaniment}
    encoded = encode_sources(representation, *signals.values())._asdict()
    return MaskAware(1.0)(EncodedBatch(representation, signals, encoded))


@pytest.mark.parametrize("encoder", ["conv_smooth", "sinc_smooth"])
def test_kernels_are_built_once_whoever_masks(encoder, tmp_path, monkeypatch):
    dae = sinudae.SinuDAE(encoder, n_filters=10, kernel_size=64, stride=16)
    mixture, vocals, accompaniment = signals = tones()
    excerpt = write_excerpt(tmp_path, signals[1:])
    counted = Counted(dae, monkeypatch)
    users = {
        "informed_separation": lambda: sinudae.informed_separation(counted, mixture, vocals),
        "estimate_both": lambda: estimate_both(counted, *signals, 0.5),
        "segment_metrics": lambda: segment_metrics(counted, vocals, accompaniment, (0.5, 1.0)),
        "masked_estimates": lambda: masked_estimates(counted, vocals, accompaniment),
        "make_example": lambda: make_example(1, excerpt, {"DAE": counted}),
        "MaskAware": lambda: mask_aware(counted, *signals),
    }
    for name, use in users.items():
        counted.counts.clear()
        use()
        assert counted.counts == {"encoder": 1, "decoder": 1}, name
