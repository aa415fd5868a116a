import asteroid_filterbanks
import pytest
import torch
from asteroid_filterbanks import FreeFB
from torch.nn import functional as F

from asteroid_sinudae import Decoder, Encoder, make_enc_dec
from asteroid_sinudae.filterbanks.compact import whole_kernels
from asteroid_sinudae.filterbanks.framing import edge_frames, frame_synthesis
from asteroid_sinudae.filterbanks.pairs import DECODERS, ENCODERS
from asteroid_sinudae.losses import total_variation

SIZES = dict(n_filters=6, kernel_size=40, stride=12, sample_rate=16000)
SHAPES = [(90,), (2, 91), (2, 1, 96), (2, 3, 97), (1, 2, 3, 107)]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("exponent", [1, 2])
def test_every_pair_reconstructs_the_length(encoder, decoder, exponent):
    enc, dec = make_enc_dec(encoder, decoder, exponent=exponent, **SIZES)
    for n_samples in (1, 5, 11, 12, 13, 39, 40, 41, 1000):
        spec = enc(torch.randn(2, 1, n_samples))
        assert spec.shape == (2, 6, -(-n_samples // 12))
        assert dec(spec, length=n_samples).shape == (2, 1, n_samples)
        assert dec(spec).shape == (2, 1, spec.shape[-1] * 12)


@pytest.mark.parametrize("kernel_size, stride", [(2048, 256), (2048, 384), (64, 64), (7, 3)])
def test_any_length_gives_whole_hops(kernel_size, stride):
    enc, dec = make_enc_dec(n_filters=1, kernel_size=kernel_size, stride=stride)
    torch.manual_seed(0)
    lengths = {1, 2, stride - 1, stride, stride + 1, kernel_size, 99_999, 100_000}
    lengths |= set(torch.randint(1, 100_001, (40,)).tolist())
    with torch.no_grad():
        for n_samples in lengths:
            spec = enc(torch.zeros(1, 1, n_samples))
            assert spec.shape[-1] == -(-n_samples // stride)
            assert dec(spec, length=n_samples).shape == (1, 1, n_samples)


@pytest.mark.parametrize("cover_edges", [False, True])
@pytest.mark.parametrize(
    "kernel_size, stride",
    [(40, 12), (40, 8), (40, 40), (40, 7), (41, 7), (41, 8), (41, 41), (2, 1), (1, 1)],
)
def test_equals_the_stock_pair_on_a_padded_waveform(kernel_size, stride, cover_edges):
    torch.manual_seed(0)
    fb = FreeFB(6, kernel_size, stride=stride)
    wav = torch.randn(2, 1, 333, requires_grad=True)
    enc, dec = Encoder(fb, cover_edges=cover_edges), Decoder(fb, cover_edges=cover_edges)
    edges = edge_frames(kernel_size, stride) if cover_edges else 0
    frames = -(-333 // stride) + 2 * edges
    left = (kernel_size - stride) // 2 + edges * stride
    right = (frames - 1) * stride + kernel_size - left - 333
    stock_enc, stock_dec = asteroid_filterbanks.Encoder(fb), asteroid_filterbanks.Decoder(fb)

    def ours():
        spec = enc(wav)
        return spec, dec(spec, length=333)

    def stock():
        spec = stock_enc(F.pad(wav, (left, right)))
        return spec, stock_dec(spec)[..., left : left + 333]

    weights = [torch.randn(2, 6, frames), torch.randn(2, 1, 333)]
    results = []
    for pair in (ours, stock):
        outputs = pair()
        loss = sum((w * out).sum() for w, out in zip(weights, outputs, strict=True))
        gradients = torch.autograd.grad(loss, [wav, fb._filters])
        results.append([*outputs, *gradients])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("as_conv1d", [False, True])
def test_ranks_are_those_of_the_stock_encoder(shape, as_conv1d):
    fb = FreeFB(6, 40, stride=12)
    spec = Encoder(fb, as_conv1d=as_conv1d)(torch.randn(shape))
    stock = asteroid_filterbanks.Encoder(fb, as_conv1d=as_conv1d)(torch.randn(shape))
    assert spec.shape[:-1] == stock.shape[:-1]
    if spec.ndim > 3 or len(shape) != 2:  # the stock decoder makes 3-D of a 2-D waveform's frames
        lead = shape[:-1]
        assert Decoder(fb)(spec, shape[-1]).shape == (*lead, shape[-1])


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 1, 3, 4)])
@pytest.mark.parametrize(
    "kernel_size, stride, edges",
    [(8, 4, 0), (7, 3, 1), (8, 3, 0), (8, 3, 1), (7, 4, 0), (4, 4, 1), (1, 1, 0)],
)
def test_gradients_of_the_synthesis_and_theirs(shape, kernel_size, stride, edges):
    torch.manual_seed(0)
    spec = torch.randn(shape, dtype=torch.double, requires_grad=True)
    filters = torch.randn(3, 1, kernel_size, dtype=torch.double, requires_grad=True)

    def synthesis(spec, filters):
        return frame_synthesis(spec, whole_kernels(filters), stride, edges)

    assert torch.autograd.gradcheck(synthesis, (spec, filters), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(synthesis, (spec, filters))


def test_function_transforms_of_the_synthesis():
    torch.manual_seed(0)
    specs, filters = torch.randn(4, 3, 5), torch.randn(3, 1, 8)

    def energy(filters, spec):
        return frame_synthesis(spec, whole_kernels(filters), 4, 0).square().sum()

    each = torch.func.vmap(torch.func.grad(energy), in_dims=(None, 0))(filters, specs)
    for found, spec in zip(each, specs, strict=True):
        expected, _ = torch.autograd.functional.jacobian(energy, (filters, spec))
        torch.testing.assert_close(found, expected)
    # Forward mode over reverse mode, beside reverse mode twice.
    found = torch.func.hessian(energy, (0, 1))(filters, specs[0])
    expected = torch.autograd.functional.hessian(energy, (filters, specs[0]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kernel_size, stride, edges", [(8, 4, 0), (8, 3, 1), (7, 3, 0)])
def test_batched_gradients_of_the_synthesis(kernel_size, stride, edges):
    """As many as there are gradients of the waveform, at once and one after the other."""
    torch.manual_seed(0)
    spec = torch.randn(2, 3, 5, requires_grad=True)
    filters = torch.randn(3, 1, kernel_size, requires_grad=True)
    wav = frame_synthesis(spec, whole_kernels(filters), stride, edges)
    gradients = torch.randn(4, *wav.shape)
    inputs = [spec, filters]
    found = torch.autograd.grad(wav, inputs, gradients, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(wav, inputs, g, retain_graph=True) for g in gradients]
    for ours, expected in zip(found, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.stack(expected))


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
@pytest.mark.parametrize("smooth_kernel_size, smooth_groups", [(5, 1), (7, 1), (5, 6)])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_vectorised_jacobians(strategy, smooth_kernel_size, smooth_groups, norm):
    torch.manual_seed(0)
    sizes = dict(SIZES, smooth_kernel_size=smooth_kernel_size, smooth_groups=smooth_groups)
    enc, dec = make_enc_dec(**sizes, smooth_dilation=2)
    wav, spec = torch.randn(2, 1, 50), torch.rand(2, 6, 5)
    functions = [
        (enc, wav),
        (dec, spec),
        (lambda wav: dec(enc(wav)), wav),
        (lambda wav: total_variation(enc(wav), norm), wav),
    ]
    for function, inputs in functions:
        found = torch.autograd.functional.jacobian(
            function, inputs, vectorize=True, strategy=strategy
        )
        expected = torch.autograd.functional.jacobian(function, inputs)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("smooth", [(5, 1), (3, 1), (7, 1), (5, 6)])
def test_batch_of_none(encoder, decoder, smooth):
    taps, groups = smooth
    enc, dec = make_enc_dec(
        encoder, decoder, **SIZES, smooth_kernel_size=taps, smooth_groups=groups, cover_edges=True
    )
    edges = edge_frames(40, 12)
    spec = enc(torch.zeros(0, 1, 100))
    assert spec.shape == (0, 6, 9 + 2 * edges)
    wav = dec(spec, 100)
    assert wav.shape == (0, 1, 100)
    wav.sum().backward()  # no gradient, but no failure either
    for side in (enc, dec):
        assert all(not parameter.grad.any() for parameter in side.parameters())
    assert enc(torch.zeros(2, 0, 100)).shape == (2, 0, 6, 9 + 2 * edges)
    assert dec(torch.zeros(2, 0, 6, 9 + 2 * edges), 100).shape == (2, 0, 100)


@pytest.mark.parametrize("cover_edges", [False, True])
def test_tracing_keeps_ranks_and_lengths_dynamic(cover_edges):
    enc, dec = make_enc_dec(**SIZES)
    enc = Encoder(enc.filterbank, cover_edges=cover_edges)
    dec = Decoder(dec.filterbank, cover_edges=cover_edges)
    with torch.no_grad():
        traced_enc = torch.jit.trace(enc, torch.randn(2, 100))
        traced_dec = torch.jit.trace(dec, enc(torch.randn(2, 1, 100)))
        for shape in SHAPES:
            wav = torch.randn(shape)
            spec = enc(wav)
            torch.testing.assert_close(traced_enc(wav), spec)
            torch.testing.assert_close(traced_dec(spec), dec(spec))


def test_autocast_rounds_the_waveform_and_the_kernels_alone():
    torch.manual_seed(0)
    fb = FreeFB(6, 40, stride=12)
    wav = torch.randn(2, 1, 333)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            spec, double = Encoder(fb)(wav), Encoder(fb.double())(wav.double())
        assert spec.dtype == torch.bfloat16 and double.dtype == torch.float64
        fb._filters.data = fb._filters.bfloat16().double()
        expected = Encoder(fb)(wav.bfloat16().double())
    torch.testing.assert_close(spec, expected.bfloat16())


def test_pseudo_inverse_in_both_directions():
    torch.manual_seed(0)
    fb = FreeFB(80, 16, stride=8)
    wav = torch.randn(1, 1, 400)
    for enc, dec in (
        (Encoder(fb), Decoder.pinv_of(fb)),
        (Encoder.pinv_of(fb), Decoder(fb)),
        (Encoder.pinv_of(Decoder(fb)), Decoder(fb)),
        (Encoder(fb), Decoder.pinv_of(Encoder(fb))),
    ):
        inner = dec(enc(wav), length=400)[..., 16:-16]
        torch.testing.assert_close(inner, wav[..., 16:-16], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kernel_size, stride",
    [(40, 12), (40, 8), (40, 40), (40, 7), (40, 39), (41, 7), (41, 8), (1, 1), (2048, 384)],
)
def test_edge_frames_are_all_that_reach_into_the_signal(kernel_size, stride):
    left = (kernel_size - stride) // 2
    n_samples = 5 * stride
    reaching = [
        frame
        for frame in range(-kernel_size, kernel_size)
        if frame * stride - left + kernel_size > 0 and frame * stride - left < n_samples
    ]
    edges = edge_frames(kernel_size, stride)
    assert reaching[0] == -edges and reaching[-1] <= 4 + edges


def test_no_samples():
    enc, _ = make_enc_dec(**SIZES)
    with pytest.raises(ValueError, match="expected a waveform of at least one sample"):
        enc(torch.zeros(1, 1, 0))


def test_length_that_does_not_belong_to_the_frames():
    enc, dec = make_enc_dec(**SIZES)
    spec = enc(torch.randn(1, 1, 100))
    for length in (96, 109, 0, -1):
        with pytest.raises(ValueError, match=rf"length must be in 97..108 for 9 frames.*{length}"):
            dec(spec, length=length)


def test_unknown_names():
    with pytest.raises(ValueError, match="encoder must be one of 'conv_smooth', 'sinc_smooth'"):
        make_enc_dec("conv")
    with pytest.raises(ValueError, match="decoder must be one of 'mod_cos', 'cos', 'conv'"):
        make_enc_dec(decoder="stft")
