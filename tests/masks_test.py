import pytest
import torch

import asteroid_sinudae as sinudae
from asteroid_sinudae.losses import si_sdr

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
