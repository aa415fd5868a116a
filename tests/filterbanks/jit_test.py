"""Traces by `torch.jit.trace`: made from one 2-D waveform, used on any rank and length.

Nothing of a trace may stay that of the example, which a TracerWarning would tell.
"""

import io
import itertools
import warnings

import asteroid_filterbanks
import pytest
import torch
from torch import nn

import asteroid_sinudae as sinudae
from asteroid_sinudae.filterbanks.pairs import DECODERS, ENCODERS

import asteroid.models  # isort:skip  after the plugin, which makes it importable

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.* is deprecated",
    "ignore:Input tensor was 2D",
    "ignore:DPTransformer input dim",
)

SIZES = dict(n_filters=32, kernel_size=16, stride=8)
EXAMPLE = (1, 200)
SHAPES = [(240,), (1, 221), (4, 256), (1, 3, 312), (3, 2, 129), (1, 1, 3, 212), (2, 4, 3, 128)]
SHORT_SHAPES = [(1,), (2, 1, 7), (2, 3, 9)]
SMOOTHED = 1e-5  # between two ways to round the smoothing; less than 1e-6 without it
FILTERBANKS = ["conv", "conv_smooth", "cos", "mod_cos", "sinc_smooth"]
PAIRS = {
    "ours": (sinudae.Encoder, sinudae.Decoder),
    "stock": (asteroid_filterbanks.Encoder, asteroid_filterbanks.Decoder),
}


class Pair(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, wav):
        return self.decoder(self.encoder(wav))


def trace(module, *examples):
    """A trace that holds nothing of the examples."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        return torch.jit.trace(module, examples or torch.rand(EXAMPLE) * 2 - 1)


@torch.no_grad()
def assert_equal_on(shapes, traced, module, tolerance=1e-6):
    for shape in shapes:
        wav = torch.rand(shape) * 2 - 1
        expected = module(wav)
        torch.testing.assert_close(traced(wav), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("fb_name", FILTERBANKS)
@pytest.mark.parametrize("pair", PAIRS)
def test_filterbanks(fb_name, pair):
    torch.manual_seed(0)
    encoder_class, decoder_class = PAIRS[pair]
    fb = asteroid_filterbanks.get(fb_name)(**SIZES)
    module = Pair(encoder_class(fb), decoder_class(fb))
    shapes = SHAPES + SHORT_SHAPES if pair == "ours" else SHAPES
    tolerance = SMOOTHED if "smooth" in fb_name else 1e-6
    assert_equal_on(shapes, trace(module.encoder), module.encoder, tolerance)
    assert_equal_on(shapes, trace(module), module, tolerance)


@pytest.mark.parametrize("who", ["enc", "dec"])
def test_pseudo_inverses(who):
    torch.manual_seed(0)
    module = Pair(*asteroid_filterbanks.make_enc_dec("conv", who_is_pinv=who, **SIZES))
    assert_equal_on(SHAPES, trace(module), module, tolerance=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("options", [{}, dict(cover_edges=True, smooth_groups=32)])
def test_auto_encoder(encoder, decoder, options):
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(encoder, decoder, **SIZES, **options)
    traced = trace(dae)
    assert_equal_on(SHAPES + SHORT_SHAPES, traced, dae, SMOOTHED)
    with torch.no_grad():
        for shape in [(5, 1, 333), (1, 1, 3)]:  # the length, which whole hops would exceed
            assert traced(torch.rand(shape)).shape == shape


def test_stft():
    stft = sinudae.STFT(n_fft=32, stride=12)
    module = Pair(stft.encoder, stft.decoder)
    assert_equal_on(SHAPES + SHORT_SHAPES, trace(module), module)


def test_file_of_a_trace_needs_no_python_code():
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(**SIZES)
    file = io.BytesIO()
    torch.jit.save(trace(dae), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    assert_equal_on(SHAPES, loaded, dae, SMOOTHED)
    assert {name for name, _ in loaded.named_parameters()} == dae.state_dict().keys()


def test_gradients_of_a_trace():
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(**SIZES)
    traced = trace(dae)
    wav = torch.randn(2, 1, 333)
    results = []
    for module in (dae, traced):
        parameters = dict(sorted(module.named_parameters()))
        results.append(torch.autograd.grad(module(wav).square().sum(), parameters.values()))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_no_samples():
    with pytest.raises(torch.jit.Error, match="expected a waveform of at least one sample, got no"):
        trace(sinudae.SinuDAE(**SIZES))(torch.zeros(1, 1, 0))


def test_a_length_is_dynamic_at_one_rank():
    """`wav.shape[-1]` is a number of the example's rank: what `informed_separation` hands over."""

    class Separation(nn.Module):
        def __init__(self, dae):
            super().__init__()
            self.dae = dae

        def forward(self, mixture, vocals):
            return sinudae.informed_separation(self.dae, mixture, vocals)

    torch.manual_seed(0)
    module = Separation(sinudae.SinuDAE(**SIZES))
    with warnings.catch_warnings():  # the check of the length is not part of the trace
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(module, (torch.randn(1, 1, 200), torch.randn(1, 1, 200)))
    with torch.no_grad():
        for shape in [(1, 1, 200), (3, 1, 333), (2, 1, 5)]:
            signals = torch.randn(shape), torch.randn(shape)
            torch.testing.assert_close(traced(*signals), module(*signals), rtol=0, atol=1e-6)


MASKERS = {
    "ConvTasNet": dict(n_src=2, n_repeats=1, n_blocks=2, bn_chan=8, hid_chan=4, skip_chan=4),
    "DPRNNTasNet": dict(n_src=2, n_repeats=1, bn_chan=8, hid_size=4, chunk_size=4),
    "DPTNet": dict(n_src=2, n_heads=2, ff_hid=4, chunk_size=4, n_repeats=1),
    "LSTMTasNet": dict(n_src=2, hid_size=4, n_layers=1, dropout=0.0),
}
OTHER_MASKERS = {
    "SuDORMRFNet": dict(n_src=2, bn_chan=10, num_blocks=1, upsampling_depth=2),
    "SuDORMRFImprovedNet": dict(n_src=2, bn_chan=10, num_blocks=1, upsampling_depth=2),
    "DeMask": dict(input_type="mag", output_type="mag", hidden_dims=[8], dropout=0),
}
MIXTURES = [(240,), (1, 221), (3, 250), (1, 1, 301)]


def trace_model(model):
    with warnings.catch_warnings():  # Asteroid's own
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(model.eval(), torch.rand(1, 201) * 2 - 1)


@pytest.mark.parametrize("name", MASKERS)
def test_models_on_the_pair(name):
    torch.manual_seed(0)
    model = asteroid.models.get(f"SinuDAE{name}")(**MASKERS[name], **SIZES)
    assert_equal_on(MIXTURES, trace_model(model), model, SMOOTHED)


@pytest.mark.parametrize(
    "name, fb_name",
    [*zip(MASKERS | OTHER_MASKERS, itertools.cycle(["conv_smooth", "mod_cos"]), strict=False)],
)
def test_models_of_asteroid(name, fb_name):
    torch.manual_seed(0)
    sizes = dict(n_filters=32, kernel_size=21, stride=10)  # SuDORMRF takes an odd kernel
    masker = (MASKERS | OTHER_MASKERS)[name]
    model = asteroid.models.get(name)(**masker, **sizes, fb_name=fb_name)
    tolerance = SMOOTHED if "smooth" in fb_name else 1e-6
    assert_equal_on(MIXTURES, trace_model(model), model, tolerance)
