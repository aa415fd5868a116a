"""Gains of channels are what they make of a sinusoid of amplitude 1."""

import pytest
import torch

from asteroid_sinudae import STFT, SinuDAE
from asteroid_sinudae.filterbanks.kernels import peak_frequencies
from asteroid_sinudae.models.gains import FLOOR, channel_gains

SIZES = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=8000.0)
PAIRS = {
    "smoothed over all channels": dict(frequency_init="linear", exponent=1),
    "smoothed each by itself": dict(smooth_groups=12, smooth_dilation=3),
    "sinc": dict(encoder="sinc_smooth"),
    "multi-resolution": dict(init="multires", n_filters=80, compact=True),
    "without carriers": dict(decoder="conv"),
}


def sinusoids(frequency, n_phases=32, n_samples=4000, rate=8000.0):
    time, phases = torch.arange(n_samples).double() / rate, torch.arange(n_phases) / n_phases
    return torch.cos(2 * torch.pi * (frequency * time + phases[:, None])).float()[:, None]


@pytest.mark.parametrize("arguments", PAIRS.values(), ids=PAIRS)
def test_a_channel_reads_the_amplitude_of_its_sinusoid(arguments):
    torch.manual_seed(0)
    model = SinuDAE(**{**SIZES, **arguments}).eval()
    gains = channel_gains(model)
    peaks = peak_frequencies(model.encoder.get_filters()[:, 0].detach(), 8000.0)
    loud = [c for c in range(len(gains)) if gains[c] > 2 * FLOOR * gains.max()]
    assert len(loud) >= 10 and gains.shape == peaks.shape
    for channel in loud[:: max(1, len(loud) // 12)]:
        with torch.no_grad():
            rep = model.encode(0.25 * sinusoids(peaks[channel]))[:, channel]
        inside = rep[:, 60:-60]  # the smoothing reaches no further
        assert (inside / gains[channel]).max().item() == pytest.approx(0.25, rel=0.01)


def test_gains_fall_where_bands_of_a_multi_resolution_pair_fade_into_each_other():
    model = SinuDAE.from_pretrained("sinudae_c800_s256")
    gains, carriers = channel_gains(model), model.decoder.filterbank.carrier_frequencies()
    is_low = gains < 0.6 * gains.median()
    assert 10 < is_low.sum() < 60
    for lower, upper in ((940, 985), (2540, 2645)):  # the cross-fades
        here = is_low[(carriers > lower) & (carriers < upper)]
        assert here.double().mean() > 0.2
    assert not is_low[(carriers > 100) & (carriers < 900)].any()


@pytest.mark.parametrize("window", ["hamming", "boxcar"])
def test_a_bin_reads_the_amplitude_of_its_sinusoid(window):
    stft = STFT(n_fft=64, stride=16, window=window, sample_rate=8000.0)
    gains = channel_gains(stft)
    for channel in (0, 4, 16, 31, 32):
        rep = stft.magnitude(stft.encode(0.25 * sinusoids(channel * 125.0)))[:, channel]
        levels = rep[:, 10:-10] / gains[channel]
        assert levels.max().item() == pytest.approx(0.25, rel=0.03)


def test_silent_channels_are_not_brought_up():
    torch.manual_seed(0)
    model = SinuDAE(**SIZES)
    with torch.no_grad():
        model.encoder.filterbank._filters[3] = 0
        model.encoder.filterbank.smooth_weight.zero_()
    gains = channel_gains(model)
    assert gains[3] == pytest.approx(FLOOR * gains.max().item()) and (gains > 0).all()
    with torch.no_grad():
        model.encoder.filterbank._filters.zero_()
    assert (channel_gains(model) == 1).all()
