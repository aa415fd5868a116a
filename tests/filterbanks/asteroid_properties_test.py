"""What Asteroid's tests ask of a filterbank, asked of ours, and what they leave out.

Ranks, channels, pseudo-inverses, names and errors; every argument through `get_config`, gradients,
edges and lengths. Tracing is in jit_test.py, devices and precisions are in portability_test.py.
"""

import inspect

import asteroid_filterbanks
import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

import asteroid_sinudae as sinudae
from asteroid_sinudae import Decoder, Encoder, SinuDAE
from asteroid_sinudae.filterbanks.pairs import DECODERS, ENCODERS

import asteroid.models  # isort:skip  after the plugin, which makes it importable

pytestmark = pytest.mark.filterwarnings("ignore:Input tensor was 2D")

FILTERBANKS = {
    "conv": sinudae.ConvFB,
    "conv_smooth": sinudae.ConvSmoothFB,
    "cos": sinudae.CosFB,
    "mod_cos": sinudae.ModCosFB,
    "sinc_smooth": sinudae.SincSmoothFB,
}
LINEAR = ["conv", "cos", "mod_cos"]
PAIRS = {
    "ours": (Encoder, Decoder),
    "stock": (asteroid_filterbanks.Encoder, asteroid_filterbanks.Decoder),
}
SIZES = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=16000)
ALL_SIZES = [(40, 12), (40, 8), (41, 7), (16, 16), (17, 16), (5, 1), (1, 1)]  # kernel_size, stride


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Ranks and channels


@pytest.mark.parametrize("fb_class", FILTERBANKS.values())
@pytest.mark.parametrize("pair", PAIRS)
def test_all_ranks_hold_the_same_numbers(fb_class, pair):
    fb = fb_class(**SIZES)
    enc, dec = (make(fb) for make in PAIRS[pair])
    wav = torch.randn(2, 3, 500)
    spec = enc(wav)
    assert spec.shape[:3] == (2, 3, enc.n_feats_out)

    def assert_same(ours, expected):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)

    assert_same(enc(wav[0, 1]), spec[0, 1])
    assert_same(enc(wav[:, 1]), spec[:, 1])
    assert_same(enc(wav[:, 1:2]), spec[:, 1])  # as Conv1d does
    assert_same(PAIRS[pair][0](fb, as_conv1d=False)(wav[:, 1:2]), spec[:, 1:2])
    assert_same(enc(wav[None]), spec[None])
    out = dec(spec)
    assert out.shape[:-1] == wav.shape[:-1]
    assert_same(dec(spec[0, 1]), out[0, 1])
    assert_same(dec(spec[:, 1]), out[:, 1:2])
    assert_same(dec(spec[None]), out[None])


@pytest.mark.parametrize("fb_class", FILTERBANKS.values())
@pytest.mark.parametrize("lead", [(3, 2), (2, 1, 4), (1, 2, 3, 2)])
def test_many_channels(fb_class, lead):
    fb = fb_class(**SIZES)
    enc, dec = Encoder(fb), Decoder(fb)
    wav = torch.randn(*lead, 333)
    spec = enc(wav)
    assert spec.shape == (*lead, 12, 21)
    assert dec(spec, length=333).shape == wav.shape


def test_inputs_that_are_not_contiguous():
    dae = SinuDAE(**SIZES)
    wav = torch.randn(2, 400, 3).transpose(1, 2)
    strided = torch.randn(2, 1, 800)[..., ::2]
    for view in (wav, strided):
        torch.testing.assert_close(dae(view), dae(view.contiguous()), rtol=0, atol=1e-6)


# Pseudo-inverses


def well_conditioned(name, **sizes):
    spread = dict(exponent=1, frequency_init="linear") if name in ("cos", "mod_cos") else {}
    return FILTERBANKS[name](**{**SIZES, **sizes}, **spread)


@pytest.mark.parametrize("name", FILTERBANKS)
@pytest.mark.parametrize("pair", PAIRS)
def test_pinv_of_a_filterbank_or_of_the_other_side(name, pair):
    encoder_class, decoder_class = PAIRS[pair]
    fb = well_conditioned(name, n_filters=6)
    kernels = fb.filters().detach().double().numpy()[:, 0]
    expected = np.linalg.pinv(kernels).T[:, None] * 16 / 64  # overlap-add sums 64 / 16 frames
    for inverse in (
        encoder_class.pinv_of(fb),
        encoder_class.pinv_of(decoder_class(fb)),
        decoder_class.pinv_of(fb),
        decoder_class.pinv_of(encoder_class(fb)),
    ):
        assert inverse.is_pinv and inverse.filterbank is fb
        assert torch.equal(inverse.filters(), fb.filters())
        ours = inverse.get_filters().detach().numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", LINEAR)
def test_pinv_reconstructs(name):
    fb = well_conditioned(name, n_filters=80, kernel_size=16, stride=8)
    wav = torch.randn(2, 1, 400)
    for enc, dec in (
        (Encoder(fb), Decoder.pinv_of(fb)),
        (Encoder.pinv_of(Decoder(fb)), Decoder(fb)),
    ):
        inner = dec(enc(wav), length=400)[..., 16:-16]
        torch.testing.assert_close(inner, wav[..., 16:-16], rtol=0, atol=1e-3)


def test_pinv_of_a_rectified_encoder():
    """With kernels in pairs of both signs, the ReLU leaves one half of every projection."""
    fb = sinudae.ConvSmoothFB(n_filters=64, kernel_size=16, stride=8)
    with torch.no_grad():
        fb.smooth_weight.zero_()
        fb._filters[32:] = -fb._filters[:32]
    wav = torch.randn(2, 1, 400)
    inner = Decoder.pinv_of(Encoder(fb))(Encoder(fb)(wav), length=400)[..., 16:-16]
    torch.testing.assert_close(inner, wav[..., 16:-16] / 2, rtol=0, atol=1e-4)


# Names and errors


@pytest.mark.parametrize("who", [None, "enc", "dec"])
@pytest.mark.parametrize("name", FILTERBANKS)
def test_asteroids_make_enc_dec(name, who):
    fb_class = FILTERBANKS[name]
    for identifier in (name, fb_class.__name__, fb_class):
        enc, dec = asteroid_filterbanks.make_enc_dec(identifier, who_is_pinv=who, **SIZES)
        assert type(enc.filterbank) is type(dec.filterbank) is fb_class
        assert (enc.is_pinv, dec.is_pinv) == (who == "enc", who == "dec")
        assert (enc.filterbank is dec.filterbank) == (who is not None)
        assert dec(enc(torch.randn(2, 1, 333))).shape == (2, 1, 320)


@pytest.mark.parametrize("wrong", ["wrong_string", "modcos", 12, object(), ["mod_cos"], None])
def test_names_that_are_none(wrong):
    with pytest.raises(ValueError, match="encoder must be one of 'conv_smooth', 'sinc_smooth', g"):
        sinudae.make_enc_dec(wrong)
    with pytest.raises(ValueError, match="decoder must be one of 'mod_cos', 'cos', 'conv', 'conv"):
        sinudae.make_enc_dec(decoder=wrong)
    with pytest.raises(ValueError, match="frequency_init must be one of 'mel', 'linear', got"):
        sinudae.make_enc_dec(frequency_init=wrong)
    with pytest.raises(ValueError, match="exponent must be one of 1, 2, got"):
        sinudae.make_enc_dec(exponent=wrong)
    if wrong is not None:
        with pytest.raises(ValueError, match="Could not interpret filterbank identifier"):
            asteroid_filterbanks.make_enc_dec(wrong, **SIZES)


def test_a_user_can_register_a_subclass(monkeypatch):
    class DampedFB(sinudae.ModCosFB):
        def filters(self):
            return super().filters() / 2

    monkeypatch.setattr(asteroid_filterbanks, "DampedFB", None, raising=False)
    monkeypatch.delattr(asteroid_filterbanks, "DampedFB")  # undone at the end
    asteroid_filterbanks.register_filterbank(DampedFB)
    assert asteroid_filterbanks.get("DampedFB") is DampedFB
    model = asteroid.models.ConvTasNet(2, n_blocks=1, n_repeats=1, fb_name="DampedFB", **SIZES)
    assert model.get_model_args()["fb_name"] == "DampedFB"
    with pytest.raises(ValueError, match="DampedFB already exists"):
        asteroid_filterbanks.register_filterbank(DampedFB)


# Every argument through the configuration

DIFFERENT = {  # from SIZES and from the defaults
    "n_filters": 10,
    "kernel_size": 60,
    "stride": 12,
    "sample_rate": 22050.0,
    "exponent": 1,
    "frequency_init": "linear",
    "smooth_kernel_size": 3,
    "smooth_dilation": 2,
    "smooth_groups": SIZES["n_filters"],
    "output_activation": "tanh",
    "supports": ((64, 5), (16, SIZES["n_filters"] - 5)),
}
PAIR_DIFFERENT = {k: v for k, v in DIFFERENT.items() if k not in ("output_activation", "supports")}
PAIR_DIFFERENT |= {"encoder": "sinc_smooth", "decoder": "conv_tanh", "cover_edges": True}
PAIR_DIFFERENT |= {"init": "multires", "bands": "64x4:8000:500", "compact": True}
BANDS = {"init": "multires", "n_filters": 128}  # what these two arguments need beside them


def arguments_of(cls):
    return list(inspect.signature(cls).parameters)


def assert_same_functions(enc, dec, twin_enc, twin_dec):
    wav = torch.randn(2, 1, 333)
    assert torch.equal(twin_enc(wav), enc(wav))
    spec = torch.rand(2, enc.n_feats_out, 9)
    assert torch.equal(twin_dec(spec), dec(spec))


@pytest.mark.parametrize(
    "fb_class, argument",
    [(cls, argument) for cls in FILTERBANKS.values() for argument in arguments_of(cls)],
)
def test_every_argument_of_a_filterbank(fb_class, argument):
    fb = fb_class(**{**SIZES, argument: DIFFERENT[argument]})
    config = fb.get_config()
    assert config.keys() == {"fb_name", *arguments_of(fb_class)}
    assert config[argument] == DIFFERENT[argument] != fb_class(**SIZES).get_config()[argument]
    twin = asteroid_filterbanks.get(config.pop("fb_name"))(**config)
    twin.load_state_dict(fb.state_dict())
    assert twin.get_config() == fb.get_config()
    assert_same_functions(Encoder(fb), Decoder(fb), Encoder(twin), Decoder(twin))


@pytest.mark.parametrize("side", [Encoder, Decoder])
def test_every_argument_of_a_side(side):
    fb = sinudae.ConvFB(**SIZES)
    assert side(fb, cover_edges=True).edges == 2
    for argument in arguments_of(side)[1:]:
        default = side(fb).get_config()
        config = side(fb, **{argument: not default[argument]}).get_config()
        assert config == {**default, argument: not default[argument]}
        assert config.keys() == {*fb.get_config(), *arguments_of(side)[1:]}


@pytest.mark.parametrize("argument", arguments_of(SinuDAE))
def test_every_argument_of_the_auto_encoder(argument):
    beside = BANDS if argument in ("init", "bands", "compact") else {}
    dae = SinuDAE(**{**SIZES, **beside, argument: PAIR_DIFFERENT[argument]})
    assert dae.get_model_args().keys() == set(arguments_of(SinuDAE))
    assert dae.get_model_args()[argument] == PAIR_DIFFERENT[argument]
    assert SinuDAE(**SIZES).get_model_args()[argument] != PAIR_DIFFERENT[argument]
    twin = SinuDAE.from_pretrained(dae.serialize())
    assert twin.sample_rate == dae.sample_rate == dae.encoder.sample_rate
    for side in ("encoder", "decoder"):
        assert getattr(twin, side).get_config() == getattr(dae, side).get_config()
    assert_same_functions(dae.encoder, dae.decoder, twin.encoder, twin.decoder)


@pytest.mark.parametrize("name", FILTERBANKS)
def test_state_is_the_parameters(name):
    fb = FILTERBANKS[name](**SIZES)
    constants = {"scale"} if name == "cos" else set()
    assert fb.state_dict().keys() == dict(fb.named_parameters()).keys() | constants
    assert dict(fb.named_buffers()).keys() == constants
    assert dict(fb.named_parameters()).keys() >= fb.channel_dims.keys()


# Gradients


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("exponent", [1, 2])
def test_every_parameter_has_a_gradient(encoder, decoder, exponent):
    dae = SinuDAE(encoder, decoder, exponent=exponent, **SIZES)
    for n_samples in (333, 1):
        dae.zero_grad()
        wav = torch.randn(2, 1, n_samples, requires_grad=True)
        (dae(wav) - wav).square().sum().backward()
        for name, tensor in [*dae.named_parameters(), ("wav", wav)]:
            assert tensor.grad.isfinite().all(), name
            assert n_samples == 1 or tensor.grad.abs().max() > 0, name


def test_silence_has_finite_gradients():
    dae = SinuDAE(**SIZES)
    out = dae(torch.zeros(1, 1, 100))
    assert not out.any()
    out.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in dae.parameters())


@pytest.mark.parametrize(
    "encoder, decoder, exponent",
    [("conv_smooth", "mod_cos", 2), ("sinc_smooth", "cos", 1), ("conv_smooth", "conv_tanh", 2)],
)
def test_gradients_equal_differences(encoder, decoder, exponent):
    sizes = dict(n_filters=4, kernel_size=8, stride=4, smooth_kernel_size=3, smooth_dilation=1)
    dae = SinuDAE(encoder, decoder, exponent=exponent, **sizes).double()
    if encoder == "sinc_smooth":  # off the clamp at half the sample rate, which has a corner
        dae.encoder.filterbank.band.data *= 0.9
    names, parameters = zip(*dae.named_parameters(), strict=True)
    wav = torch.randn(1, 1, 11, dtype=torch.float64, requires_grad=True)

    def forward(wav, *parameters):
        return functional_call(dae, dict(zip(names, parameters, strict=True)), (wav,))

    assert torch.autograd.gradcheck(forward, (wav, *parameters))


# Edges and lengths


def pair_of_ones(kernel_size, stride, cover_edges=False):
    """Counts frames: an analysis sums samples, a synthesis sums frames."""
    fb = sinudae.ConvFB(1, kernel_size, stride)
    fb._filters.data.fill_(1)
    return Encoder(fb, cover_edges=cover_edges), Decoder(fb, cover_edges=cover_edges)


@pytest.mark.parametrize("kernel_size, stride", ALL_SIZES)
def test_no_sample_is_out_of_reach(kernel_size, stride):
    """At any length each sample, the first and the last too, is in a frame, on both sides."""
    enc, dec = pair_of_ones(kernel_size, stride)
    for n_samples in range(1, 3 * kernel_size + 2):
        wav = torch.zeros(1, 1, n_samples, requires_grad=True)
        spec = enc(wav)
        (analysed,) = torch.autograd.grad(spec.sum(), wav)
        synthesised = dec(torch.ones_like(spec), n_samples)
        assert spec.shape == (1, 1, -(-n_samples // stride))
        assert torch.equal(analysed, synthesised)  # the transpose
        assert analysed.min() >= 1 and analysed.max() <= -(-kernel_size // stride)


@pytest.mark.parametrize("kernel_size, stride", [(40, 8), (16, 16), (5, 1), (48, 12), (1, 1)])
def test_with_covered_edges_all_samples_are_in_equally_many_frames(kernel_size, stride):
    enc, dec = pair_of_ones(kernel_size, stride, cover_edges=True)
    for n_samples in range(1, 2 * kernel_size):
        wav = torch.zeros(1, 1, n_samples, requires_grad=True)
        spec = enc(wav)
        (analysed,) = torch.autograd.grad(spec.sum(), wav)
        synthesised = dec(torch.ones_like(spec), n_samples)
        assert (analysed == kernel_size // stride).all()
        assert (synthesised == kernel_size // stride).all()


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("kernel_size, stride", ALL_SIZES[:-1])
def test_zeros_around_a_signal_change_no_frame(name, kernel_size, stride):
    """What is outside counts as silence, and whole hops before only move the frames."""
    enc = Encoder(FILTERBANKS[name](5, kernel_size, stride))
    for n_samples in (1, 2, stride, stride + 1, 3 * kernel_size + 1):
        wav = torch.randn(1, n_samples)
        spec = enc(wav)
        longer = enc(F.pad(wav, [2 * stride, 3 * kernel_size + 1]))
        torch.testing.assert_close(longer[..., 2 : 2 + spec.shape[-1]], spec, rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_items_of_a_batch_do_not_meet(encoder):
    dae = SinuDAE(encoder, **SIZES)
    wav = torch.randn(3, 1, 333)
    alone = torch.cat([dae(item[None]) for item in wav])
    torch.testing.assert_close(dae(wav), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_level_is_kept(encoder):
    """Without biases the pair is positively homogeneous."""
    dae = SinuDAE(encoder, **SIZES)
    wav = torch.randn(1, 1, 333)
    torch.testing.assert_close(dae(8 * wav), 8 * dae(wav), rtol=0, atol=1e-5)
