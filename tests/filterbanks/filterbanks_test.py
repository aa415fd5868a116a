"""The filterbanks against double-precision references, and under Asteroid's own classes."""

import asteroid_filterbanks
import numpy as np
import pytest
import torch

from asteroid_sinudae import (
    ConvFB,
    ConvSmoothFB,
    CosFB,
    ModCosFB,
    SincSmoothFB,
    SinuDAE,
    make_enc_dec,
)
from asteroid_sinudae.filterbanks.kernels import cos_kernels, sinc_kernels
from asteroid_sinudae.models.model_files import load_model

import asteroid.models  # isort:skip  after the plugin, which makes it importable

SIZES = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=16000)
FILTERBANKS = [ConvFB, ConvSmoothFB, CosFB, ModCosFB, SincSmoothFB]


def reference_frames(waveform, filters, stride):
    """Frames of `numpy.correlate`, (time,) x (n_filters, kernel_size) -> (n_filters, frames)."""
    return np.stack([np.correlate(waveform, kernel)[::stride] for kernel in filters])


def reference_smoothing(spec, weight, dilation):
    """The second stage, written as sums over taps: (n_filters, frames) -> the same."""
    taps, frames = weight.shape[-1], spec.shape[-1]
    reach = dilation * (taps // 2)
    padded = np.pad(spec, ((0, 0), (reach, reach)))
    smooth = sum(
        weight[:, :, tap] @ padded[:, tap * dilation : tap * dilation + frames]
        for tap in range(taps)
    )
    return np.maximum(spec + smooth, 0)


@pytest.mark.parametrize("encoder", ["conv_smooth", "sinc_smooth"])
@pytest.mark.parametrize("n_samples", [1, 1000, 5001])
def test_encoder_stages_equal_a_double_precision_reference(encoder, n_samples):
    torch.manual_seed(0)
    enc, _ = make_enc_dec(encoder, smooth_kernel_size=3, smooth_dilation=4, **SIZES)
    fb = enc.filterbank
    waveform = torch.randn(n_samples)
    frames = -(-n_samples // 16)
    left = (64 - 16) // 2
    padded = np.pad(waveform.double().numpy(), (left, (frames - 1) * 16 + 64 - left - n_samples))
    filters = fb.filters().detach().double().numpy()[:, 0]
    first = reference_frames(padded, filters, 16)
    second = reference_smoothing(first, fb.smooth_weight.detach().double().numpy(), 4)
    ours = enc(waveform).detach().numpy()
    assert ours.shape == (12, frames) and (ours >= 0).all()
    np.testing.assert_allclose(ours, second, rtol=0, atol=1e-5 * np.abs(first).max())


@pytest.mark.parametrize(
    "decoder, synthesise",
    [("mod_cos", None), ("cos", None), ("conv", None), ("conv_tanh", np.tanh)],
)
def test_decoders_equal_a_sum_of_kernels(decoder, synthesise):
    torch.manual_seed(0)
    _, dec = make_enc_dec(decoder=decoder, **SIZES)
    spec = torch.rand(12, 30)
    filters = dec.filterbank.filters().detach().double().numpy()[:, 0]
    full = np.zeros(29 * 16 + 64)
    for channel in range(12):
        for frame in range(30):  # Eq. (2)
            full[frame * 16 : frame * 16 + 64] += spec[channel, frame].item() * filters[channel]
    expected = full[24 : 24 + 30 * 16]
    if synthesise is not None:
        expected = synthesise(expected)
    ours = dec(spec).detach().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(full).max())


@pytest.mark.parametrize(
    "encoder, decoder, n_filters, n_parameters",
    [
        ("conv_smooth", "mod_cos", 800, 6_478_400),
        ("conv_smooth", "mod_cos", 400, 2_439_200),
        ("conv_smooth", "mod_cos", 1600, 19_356_800),
        ("conv_smooth", "conv", 800, 6_476_800),
        ("conv_smooth", "conv_tanh", 800, 6_476_800),
        ("conv_smooth", "cos", 952, 6_483_120),
        ("sinc_smooth", "mod_cos", 952, 6_487_072),
    ],
)
def test_parameter_counts_are_those_of_the_paper(encoder, decoder, n_filters, n_parameters):
    with torch.device("meta"):
        model = SinuDAE(encoder, decoder, n_filters=n_filters)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_start_values():
    torch.manual_seed(0)
    decoder = ModCosFB(800, 2048, 256, sample_rate=44100)
    assert torch.all(decoder.modulator == 1 / 2848)
    torch.testing.assert_close(
        decoder.carrier_frequencies()[[0, -1]], torch.tensor([0.02041, 11025]), rtol=1e-3, atol=0
    )
    assert abs(decoder.phase.std().item() - 1) < 0.1 and abs(decoder.phase.mean().item()) < 0.1
    encoder = ConvSmoothFB(8, 2048, 256)
    assert 0.9 * (6 / 2048) ** 0.5 < encoder.filters().abs().max() <= (6 / 2048) ** 0.5
    assert 0.9 * 40**-0.5 < encoder.smooth_weight.abs().max() <= 40**-0.5
    free = ConvFB(8, 2048, 256)
    assert 0.9 * 2048**-0.5 < free.filters().abs().max() <= 2048**-0.5
    sinc = SincSmoothFB(8, 64, 16, sample_rate=16000)
    edges = torch.cat([sinc.low, sinc.low[-1:] + sinc.band[-1:]]).flatten()
    torch.testing.assert_close(edges[[0, -1]] * 16000, torch.tensor([30.0, 8000.0]))
    torch.testing.assert_close(sinc.filters(), sinc_kernels(sinc.low, sinc.band, sinc.window))


def test_cosines_without_modulators_start_at_the_level_of_those_with():
    """1 / (C + L), as the authors' public code scales them; it is no parameter."""
    torch.manual_seed(0)
    fb = CosFB(952, 2048, 256, sample_rate=44100)
    assert {name for name, _ in fb.named_parameters()} == {"frequency", "phase"}
    cosines = cos_kernels(fb.frequency, fb.phase, 2048, 2)
    torch.testing.assert_close(fb.filters(), cosines / 3000)
    modulated = ModCosFB(952, 2048, 256, sample_rate=44100)
    modulated.load_state_dict(
        {
            **modulated.state_dict(),
            **{name: value for name, value in fb.state_dict().items() if name != "scale"},
        }
    )
    torch.testing.assert_close(fb.filters(), modulated.filters())


@pytest.mark.parametrize("sizes", [dict(n_filters=952, kernel_size=2048, stride=256), {}])
def test_loudness_of_the_start_with_cosines(sizes):
    """What is reconstructed is neither louder than the signal nor far from that of mod_cos."""
    torch.manual_seed(0)
    wav = 0.1 * torch.randn(1, 1, 8000)
    levels = {}
    for decoder in ("cos", "mod_cos"):
        torch.manual_seed(1)
        dae = SinuDAE(decoder=decoder, **{**SIZES, **sizes})
        with torch.no_grad():
            levels[decoder] = 20 * torch.log10(dae(wav).norm() / wav.norm()).item()
    assert levels["cos"] == pytest.approx(levels["mod_cos"], abs=1e-3) and levels["cos"] < 3  # dB


COS_MODELS = {  # and the name of their scale
    "SinuDAE": (dict(decoder="cos", **SIZES), ["decoder.filterbank.scale"]),
    "SinuDAEConvTasNet": (
        dict(n_src=2, n_repeats=1, n_blocks=1, decoder="cos", **SIZES),
        ["decoder.filterbank.scale"],
    ),
    "ConvTasNet": (
        dict(n_src=2, n_repeats=1, n_blocks=1, fb_name="cos", **SIZES),
        ["encoder.filterbank.scale", "decoder.filterbank.scale"],
    ),
}


@pytest.mark.parametrize("name", COS_MODELS)
def test_cosines_of_a_file_without_a_scale_are_as_loud_as_they_were(name, tmp_path):
    """Before there was a scale, kernels were the cosines themselves."""
    torch.manual_seed(0)
    arguments, scales = COS_MODELS[name]
    model = asteroid.models.get(name)(**arguments)
    new = model.serialize()
    old = {**new, "state_dict": {k: v for k, v in new["state_dict"].items() if k not in scales}}
    assert len(new["state_dict"]) == len(old["state_dict"]) + len(scales)
    names = list(old["state_dict"])
    for package, factor in ((new, 1), (old, 12 + 64)):
        torch.save(package, tmp_path / "model.pth")
        twin = type(model).from_pretrained(str(tmp_path / "model.pth"))
        kernels = twin.decoder.filterbank.filters()
        torch.testing.assert_close(kernels, factor * model.decoder.filterbank.filters())
    fb = twin.decoder.filterbank
    assert torch.equal(kernels, cos_kernels(fb.frequency, fb.phase, 64, 2))
    loaded, _ = load_model(tmp_path / "model.pth")
    assert torch.equal(loaded.decoder.filterbank.filters(), kernels)
    with torch.device("meta"):
        empty = asteroid.models.get(name)(**arguments)
    empty.load_state_dict(old["state_dict"], assign=True)
    assert torch.equal(empty.decoder.filterbank.filters(), kernels)
    assert list(old["state_dict"]) == names  # the caller's is not touched
    # A file of this model has its scale again, and goes on like that.
    again = type(model).from_pretrained(twin.serialize())
    assert torch.equal(again.decoder.filterbank.filters(), kernels)


@pytest.mark.parametrize("fb_class", FILTERBANKS)
def test_config_rebuilds_the_filterbank(fb_class):
    defaults = fb_class(12, 64).get_config()
    options = {
        "exponent": 1,
        "frequency_init": "linear",
        "smooth_kernel_size": 3,
        "smooth_dilation": 4,
        "smooth_groups": 12,
        "output_activation": "tanh",
        "supports": ((64, 2), (16, 10)),
    }
    changed = {**SIZES, **{key: value for key, value in options.items() if key in defaults}}
    fb = fb_class(**changed)
    config = fb.get_config()
    name = config.pop("fb_name")
    assert config == changed and config.keys() | {"fb_name"} == defaults.keys()
    twin = asteroid_filterbanks.get(name)(**config)
    twin.load_state_dict(fb.state_dict())
    assert torch.equal(twin.filters(), fb.filters())


@pytest.mark.parametrize("fb_class", FILTERBANKS)
@pytest.mark.parametrize("shape", [(1000,), (2, 1000), (2, 1, 1000), (2, 3, 1000), (1, 2, 3, 1000)])
def test_under_the_stock_encoder_and_decoder(fb_class, shape):
    torch.manual_seed(0)
    fb = fb_class(**SIZES)
    spec = asteroid_filterbanks.Encoder(fb)(torch.randn(shape))
    frames = (1000 - 64) // 16 + 1
    lead = shape[:1] if shape[1:-1] == (1,) else shape[:-1]
    assert spec.shape == (*lead, 12, frames)
    wav = asteroid_filterbanks.Decoder(fb)(spec)
    assert wav.shape[-1] == (frames - 1) * 16 + 64
    (wav**2).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in fb.parameters())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_filters=0), "n_filters must be an integer of at least 1, got 0"),
        (dict(n_filters=2.5), "n_filters must be an integer of at least 1, got 2.5"),
        (dict(kernel_size=-1), "kernel_size must be an integer of at least 1, got -1"),
        (dict(stride=0), "stride must be an integer of at least 1, got 0"),
        (dict(stride=65), "stride must be at most kernel_size=64, got 65"),
        (dict(kernel_size=1, stride=None), "kernel_size must be at least 2 where stride"),
        (dict(sample_rate=0), r"sample_rate must be positive and finite \(Hz\), got 0"),
        (
            dict(sample_rate=float("inf")),
            r"sample_rate must be positive and finite \(Hz\), got inf",
        ),
    ],
)
@pytest.mark.parametrize("fb_class", FILTERBANKS)
def test_sizes_that_make_no_sense(fb_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        fb_class(**{**SIZES, **arguments})


@pytest.mark.parametrize(
    "fb_class, arguments, message",
    [
        (ModCosFB, dict(exponent=3), "exponent must be one of 1, 2, got 3"),
        (CosFB, dict(frequency_init="bark"), "frequency_init must be one of 'mel', 'linear'"),
        (ConvFB, dict(output_activation="relu"), "output_activation must be one of 'linear'"),
        (ConvSmoothFB, dict(smooth_kernel_size=4), "smooth_kernel_size must be odd"),
        (SincSmoothFB, dict(smooth_dilation=0), "smooth_dilation must be an integer of at least"),
    ],
)
def test_options_that_make_no_sense(fb_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        fb_class(**SIZES, **arguments)


def test_misspelt_options_are_refused():
    with pytest.raises(TypeError, match="exponant"):
        ModCosFB(**SIZES, exponant=1)
