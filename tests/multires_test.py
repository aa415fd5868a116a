"""The start from bands: kernels against a NumPy reference, reconstruction, layouts, refusals."""

import numpy as np
import pytest
import torch

from asteroid_sinudae import SinuDAE, make_enc_dec
from asteroid_sinudae.filterbanks.bands import (
    Band,
    format_bands,
    layout_bands,
    n_kernels,
    parse_bands,
)
from asteroid_sinudae.filterbanks.multires import frame_bounds, modulators, multires_carriers
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.models.model_files import pair_bounds

RATE = 16000.0
SIZES = dict(kernel_size=256, stride=32, sample_rate=RATE)


def kernels(bands, kernel_size=256, stride=32):
    """The kernels themselves, in double precision, shape (n_filters, kernel_size)."""
    carriers = multires_carriers(parse_bands(bands), kernel_size, stride, RATE)
    time = np.arange(kernel_size) - (kernel_size - 1) / 2
    angles = 2 * np.pi * np.outer(carriers.frequency, time) + carriers.phase.numpy()[:, None]
    return np.cos(angles) * modulators(carriers, kernel_size)[:, 0].numpy()


def pair_on(bands, **sizes):
    sizes = {**SIZES, **sizes}
    n_filters = n_kernels(parse_bands(bands), sizes["sample_rate"])
    return make_enc_dec(init="multires", bands=bands, n_filters=n_filters, **sizes)


def reconstruction(enc, dec, n_samples=4001):
    wav = torch.randn(2, 1, n_samples, generator=torch.Generator().manual_seed(0))
    return si_sdr(dec(enc(wav), n_samples), wav).min().item()


def test_four_phases_are_the_windowed_fourier_transform():
    """Cosines and sines of NumPy's real FFT, of the centred frame under a sine window."""
    window = 128
    rng = np.random.default_rng(0)
    frame = rng.standard_normal(256)
    sine = np.sin(np.pi * (np.arange(window) + 0.5) / window)
    spectrum = np.fft.rfft(frame[64:192] * sine)
    bins = np.arange(window // 2 + 1)
    # About the centre, half a sample after sample 63 of the window.
    spectrum = spectrum * np.exp(2j * np.pi * bins / window * (window - 1) / 2)
    gain = np.sqrt(np.where(np.isin(bins, (0, window // 2)), 1, 2) / window * (2 * 32 / window))
    found = kernels("128x4:8000") @ frame
    inner = found[2:-2].reshape(-1, 4)
    order = np.sort(inner, axis=1)
    cosine, minus_sine = (gain * spectrum.real)[1:-1], (gain * spectrum.imag)[1:-1]
    expected = np.sort(np.stack([cosine, -cosine, minus_sine, -minus_sine], axis=1), axis=1)
    np.testing.assert_allclose(order, expected, atol=1e-12)
    np.testing.assert_allclose(
        found[:2], gain[0] * spectrum[0].real * np.array([1, -1]), atol=1e-12
    )
    np.testing.assert_allclose(
        np.sort(found[-2:]), np.sort(gain[-1] * spectrum[-1].imag * np.array([1, -1])), atol=1e-12
    )


def test_phases_are_quarter_turns():
    carriers = multires_carriers(parse_bands("128x4:8000"), 256, 32, RATE)
    turns = carriers.phase[2:-2].reshape(-1, 4).remainder(2 * np.pi) / (np.pi / 2)
    np.testing.assert_allclose(turns.sort(dim=1).values, np.tile([0, 1, 2, 3], (63, 1)), atol=1e-12)


def test_two_phases_are_the_mdct_and_its_negative():
    """The kernels of Princen and Bradley, orthonormal over hops."""
    n, k = np.arange(64)[:, None], np.arange(32)
    mdct = np.cos(np.pi / 32 * (n + 0.5 + 16) * (k + 0.5)) * np.sin(np.pi * (n + 0.5) / 64)
    found = kernels("64x2:8000", kernel_size=64)
    np.testing.assert_allclose(found[::2], np.sqrt(2 / 32) * mdct.T, atol=1e-12)
    np.testing.assert_allclose(found[1::2], -found[::2], atol=1e-12)


@pytest.mark.parametrize("exponent", [1, 2])
def test_kernels_are_an_ordinary_mod_cos_filterbank(exponent):
    bands = "256x4:2000:400 64x2:8000"
    enc, dec = pair_on(bands, exponent=exponent)
    np.testing.assert_allclose(dec.filterbank.filters()[:, 0].detach(), kernels(bands), atol=2e-6)
    assert torch.equal(enc.filterbank.filters(), dec.filterbank.filters())
    assert not enc.filterbank.smooth_weight.any()
    assert (dec.filterbank.carrier_frequencies().diff() >= 0).all()


@pytest.mark.parametrize(
    "band, sizes",
    [
        ("64x2:8000", {}),
        ("64x4:8000", {}),
        ("96x4:8000", {}),  # three hops
        ("256x4:8000", {}),
        ("512x2:22050", dict(kernel_size=2048, stride=256, sample_rate=44100.0)),
        ("2048x4:22050", dict(kernel_size=2048, stride=512, sample_rate=44100.0)),
    ],
)
def test_one_band_reconstructs_untrained(band, sizes):
    enc, dec = pair_on(band, **sizes)
    assert reconstruction(enc, dec) > 80  # dB
    lower, upper = frame_bounds(enc.filterbank.filters(), dec.filterbank.filters(), enc.stride)
    assert 0.999 < lower < upper < 1.001


def test_bands_reconstruct_within_their_frame_bounds():
    """The gain of every signal is between the bounds, and close to one."""
    enc, dec = pair_on("256x4:2000:1200 128x4:4500:1500 64x2:8000")
    lower, upper = frame_bounds(enc.filterbank.filters(), dec.filterbank.filters(), 32)
    assert 0.8 < lower < upper < 1.25
    bound = max(1 - lower, upper - 1)
    assert reconstruction(enc, dec) > -20 * np.log10(bound)  # dB


def test_frame_bounds_are_those_of_the_whole_operator():
    """Singular values of half the sum over kernels and hops, as a matrix on a circular signal."""
    enc, dec = make_enc_dec(n_filters=10, kernel_size=24, stride=8)
    analysis, synthesis = (side.filterbank.filters().detach() for side in (enc, dec))
    n_samples = 2 * 24
    operator = np.zeros((n_samples, n_samples))
    for shift in range(0, n_samples, 8):
        where = (np.arange(24) + shift) % n_samples
        operator[np.ix_(where, where)] += 0.5 * synthesis[:, 0].numpy().T @ analysis[:, 0].numpy()
    gains = np.linalg.svd(operator, compute_uv=False)
    lower, upper = frame_bounds(analysis, synthesis, 8)
    np.testing.assert_allclose([lower, upper], [gains.min(), gains.max()], rtol=1e-4, atol=1e-8)


def test_bounds_of_a_pair_are_those_of_its_two_sides():
    """Each side scales them, and the kernels of another hop would have others."""
    model = SinuDAE(n_filters=120, init="multires", **SIZES)
    with torch.no_grad():
        model.encoder.filterbank._filters *= 2
        model.decoder.filterbank.modulator *= 5
    lower, upper = pair_bounds(model)
    bands = parse_bands(model.get_model_args()["bands"])
    expected = frame_bounds(*(torch.tensor(kernels(format_bands(bands)))[:, None],) * 2, 32)
    np.testing.assert_allclose([lower / 10, upper / 10], expected, rtol=1e-3)


def test_kernels_of_one_frequency_keep_their_order():
    """Each is followed by its negative, in ascending order of frequency, by a stable sort."""
    carriers = multires_carriers(parse_bands("256x4:2000:1200 64x2:8000"), 256, 32, RATE)
    negatives = carriers.phase[1::2] - carriers.phase[::2]
    np.testing.assert_allclose(negatives, np.pi)
    assert (carriers.frequency[1::2] == carriers.frequency[::2]).all()
    assert (carriers.frequency.diff() >= 0).all()


def test_edges_are_covered_unless_refused():
    enc, dec = pair_on("256x4:8000")
    assert enc.cover_edges and dec.cover_edges
    sizes = dict(n_filters=512, init="multires", bands="256x4:8000", **SIZES)
    assert not any(side.cover_edges for side in make_enc_dec(cover_edges=False, **sizes))
    cut = reconstruction(*make_enc_dec(cover_edges=False, **sizes))
    assert cut < 40 < 80 < reconstruction(enc, dec)  # dB
    assert not make_enc_dec(n_filters=8, **SIZES)[0].cover_edges


@pytest.mark.parametrize(
    "n_filters, kernel_size, stride",
    [
        *((n_filters, 2048, 256) for n_filters in (512, 560, *range(600, 1400, 98), 3000, 4096)),
        (784, 2048, 256),
        (1608, 2048, 512),
        (2764, 4096, 1024),
        (2732, 8192, 512),
        (1382, 3000, 500),
    ],
)
def test_layout_has_as_many_kernels_as_asked_for(n_filters, kernel_size, stride):
    sizes = dict(kernel_size=kernel_size, stride=stride, sample_rate=44100.0)
    bands = layout_bands(n_filters, **sizes)
    assert n_kernels(bands, 44100.0) == n_filters
    assert len(multires_carriers(bands, **sizes).frequency) == n_filters
    assert n_kernels(parse_bands(format_bands(bands)), 44100.0) == n_filters
    # More kernels go to the low end: its windows are the longest, and have four phases.
    assert [band.window for band in bands] == sorted((b.window for b in bands), reverse=True)


def test_layout_that_steps_over_a_number_of_kernels_is_refused():
    with pytest.raises(
        ValueError, match="n_filters must be a number of kernels that bands lay out"
    ):
        layout_bands(68, **SIZES)


def test_model_keeps_its_bands():
    model = SinuDAE(n_filters=120, init="multires", **SIZES)
    args = model.get_model_args()
    assert args["bands"] == format_bands(layout_bands(120, **SIZES))
    assert args["cover_edges"] is True
    given = SinuDAE(n_filters=512, init="multires", bands=[(256, 8000.0, 4)], **SIZES)
    assert given.get_model_args()["bands"] == "256x4:8000:500"
    again = SinuDAE.from_pretrained(model.serialize())
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "bands, message",
    [
        ("256x4:2000 64x2", "band must be WINDOWxPHASES:UPPER"),
        (" ", "bands must be at least one"),
        ("256x4:2000:400 64x2:7000", "upper edge of the last band must be 8000 Hz, got 7000"),
        ("512x4:8000", "window of band 512x4:8000:500 must be at most kernel_size=256, got 512"),
        ("32x4:8000", "must be even, 2 or more stride=32, got 32"),
        ("80x4:8000", "must be even, 2 or more stride=32, got 80"),
        ("128x2:8000", r"window of band 128x2:8000:500 must be 2 \* stride=32 with 2 phases"),
        ("128x3:8000", "phases of band 128x3:8000:500 must be 2 or 4, got 3"),
        ("256x4:2000:0 64x2:8000", "cross-fade of band 256x4:2000:0 must be more than 0 Hz"),
        ("256x4:2000:400 128x4:2300:400 64x2:8000", "at least 2400 Hz, or cross-fades overlap"),
        ("256x4:100:400 64x2:8000", "at least 200 Hz, or cross-fades overlap, got 100"),
        (
            "256x4:7900:400 64x2:8000",
            "upper edge of a cross-fade must be at most 8000 Hz, got 8100",
        ),
        ("256x4:8000", "n_filters must be 512, the kernels of the bands, got 100"),
    ],
)
def test_bands_that_are_no_start_are_refused(bands, message):
    with pytest.raises(ValueError, match=message):
        SinuDAE(n_filters=100, init="multires", bands=bands, **SIZES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_filters=62), r"n_filters must be even, and 64 \(2 \* stride\) to 512"),
        (dict(n_filters=514), "to 512 for kernel_size=256, got 514"),
        (dict(n_filters=101), "n_filters must be even"),
        (dict(n_filters=66, kernel_size=62), r"kernel_size must be at least 2 \* stride=32"),
        (dict(kernel_size=255), "kernel_size must be even with bands, got 255"),
        (dict(decoder="conv"), "init must be 'paper' for any pair but conv_smooth and mod_cos"),
        (dict(init="wavelets"), "init must be one of 'paper', 'multires', got 'wavelets'"),
        (dict(init="paper", bands="64x2:8000"), "bands must be empty, unless init is 'multires'"),
        (dict(cover_edges="yes"), "cover_edges must be one of None, False, True, got 'yes'"),
    ],
)
def test_starts_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SinuDAE(**{**dict(n_filters=120, init="multires"), **SIZES, **arguments})


def test_band_defaults_to_a_cross_fade_of_500_hz():
    assert Band(256, 8000.0, 4).fade == 500.0


def test_bands_of_any_sample_rate_survive_their_text():
    """Ten digits of half the sample rate would not be half the sample rate."""
    rate = 44100 / 1.001
    bands = [Band(256, 2000.0, 4), Band(64, rate / 2, 2)]
    assert parse_bands(format_bands(bands)) == bands
    sizes = dict(kernel_size=256, stride=32, sample_rate=rate)
    n_filters = n_kernels(bands, rate)
    pair = SinuDAE(n_filters=n_filters, init="multires", bands=bands, **sizes)
    assert SinuDAE(**pair.get_model_args()).get_model_args() == pair.get_model_args()
