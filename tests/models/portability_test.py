"""The pair outside eager single precision: compiled, exported, in other precisions and devices."""

import copy
import warnings

import numpy as np
import pytest
import torch

import asteroid_sinudae as sinudae
from asteroid_sinudae.filterbanks.pairs import DECODERS, ENCODERS

import asteroid.models  # isort:skip  after the plugin, which makes it importable

SIZES = dict(n_filters=12, kernel_size=32, stride=16, sample_rate=16000)
LENGTHS = [(1, 1, 1), (2, 1, 16), (3, 1, 333)]
PAIRS = [(encoder, decoder) for encoder in ENCODERS for decoder in DECODERS]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def make_dae(encoder="conv_smooth", decoder="mod_cos", **sizes):
    torch.manual_seed(0)
    return sinudae.SinuDAE(encoder, decoder, **{**SIZES, **sizes})


def snr(estimate, reference):
    """In dB, over all elements."""
    estimate, reference = estimate.detach().double().cpu(), reference.detach().double().cpu()
    return 10 * torch.log10(reference.square().sum() / (estimate - reference).square().sum())


# Compiled


def check_compiled(dae, backend, shapes, dynamic, with_gradients=True):
    """One graph, without breaks, whose outputs and gradients are those of eager execution."""
    torch._dynamo.reset()
    compiled = torch.compile(dae, backend=backend, fullgraph=True, dynamic=dynamic)
    for shape in shapes:
        wav = torch.randn(shape)
        results = []
        for module in (compiled, dae):
            with torch.set_grad_enabled(with_gradients):
                results.append([module(wav)])
            if with_gradients:
                loss = results[-1][0].square().sum()
                results[-1] += torch.autograd.grad(loss, list(dae.parameters()))
        for ours, eager in zip(*results, strict=True):
            atol = 1e-5 * eager.abs().max().item()
            torch.testing.assert_close(ours, eager, rtol=1e-4, atol=atol)


def test_graph_is_whole_and_dynamic():
    check_compiled(make_dae(), "eager", LENGTHS, dynamic=True)


@pytest.mark.slow
@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_differentiated_graph_equals_eager(encoder, decoder):
    check_compiled(make_dae(encoder, decoder), "aot_eager", LENGTHS, dynamic=True)


@pytest.mark.slow
@pytest.mark.parametrize("encoder, decoder", [("conv_smooth", "mod_cos"), ("sinc_smooth", "cos")])
def test_compiled_equals_eager(encoder, decoder):
    """Training at one length: PyTorch 2.13 compiles no gradient of lengths that vary."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        pytest.skip("no C++ compiler")
    dae = make_dae(encoder, decoder)
    check_compiled(dae, "inductor", LENGTHS, dynamic=True, with_gradients=False)
    check_compiled(dae, "inductor", LENGTHS[-1:], dynamic=False)


# Exported


def check_exported(module, example, shapes, path, dynamo):
    """As in the README: the batch and the last axis stay dynamic, or the batch alone."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime")
    lengths = {shape[-1] for shape in shapes}
    axes = {0: "batch"} if lengths == {example.shape[-1]} else {0: "batch", 2: "time"}
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
        options = dict(dynamic_shapes=(axes,), external_data=False, optimize=False)
    else:
        pytest.importorskip("onnx", reason="torch.onnx.export needs onnx")
        options = dict(input_names=["x"], dynamic_axes={"x": axes})
    module.eval()
    with warnings.catch_warnings():  # of what is deprecated, or dynamic in Asteroid's
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), path, dynamo=dynamo, verbose=False, **options)
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    for shape in shapes:
        for inputs in (torch.rand(shape), torch.zeros(shape)):
            with torch.no_grad():
                expected = module(inputs).numpy()
            (ours,) = session.run(None, {name: inputs.numpy()})
            assert ours.shape == expected.shape and ours.dtype == np.float32
            largest = max(np.abs(expected).max(), 1e-3)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * largest)


def check_exported_encode(dae, folder, dynamo, lengths=(1, 16, 200, 1001)):
    shapes = [(1 + i, 1, length) for i, length in enumerate(lengths)]
    check_exported(dae.encoder, torch.randn(2, 1, 200), shapes, folder / "encode.onnx", dynamo)


def check_exported_decode(dae, folder, dynamo, lengths=(1, 2, 13, 100)):
    frames = [2 * dae.decoder.edges + n for n in lengths]
    n_filters = dae.encoder.n_feats_out
    shapes = [(1 + i, n_filters, n) for i, n in enumerate(frames)]
    example = torch.rand(2, n_filters, frames[-2])
    check_exported(dae.decoder, example, shapes, folder / "decode.onnx", dynamo)


MULTIRES = dict(n_filters=128, kernel_size=64, init="multires", bands="64x4:8000")
COMPACT = dict(MULTIRES, n_filters=46, bands="64x4:1000:400 32x2:8000", compact=True)
DEPTHWISE = dict(smooth_groups=12)
ODD = dict(kernel_size=33, smooth_kernel_size=7)
VARIANTS = [
    {},
    MULTIRES,
    COMPACT,
    *(pytest.param(v, marks=pytest.mark.slow) for v in (DEPTHWISE, ODD)),
]
OTHER_ENCODER = dict(encoder="sinc_smooth", kernel_size=33)
OTHER_DECODERS = [dict(decoder=decoder) for decoder in DECODERS[1:]]
CONV_TASNET = dict(n_src=2, n_repeats=1, n_blocks=2, bn_chan=8, hid_chan=4, skip_chan=4)
DUAL_PATH = dict(n_src=2, n_repeats=1, chunk_size=4)
SEPARATORS = {
    "ConvTasNet": CONV_TASNET,
    **{f"ConvTasNet, {n}": dict(CONV_TASNET, norm_type=n) for n in ("cLN", "cgLN", "fgLN", "bN")},
    "LSTMTasNet": dict(n_src=2, hid_size=4, n_layers=1, dropout=0.0),
    "DPRNNTasNet": dict(DUAL_PATH, bn_chan=8, hid_size=4),
    "DPTNet": dict(DUAL_PATH, n_heads=2, ff_hid=4),
}
FAST = ("ConvTasNet", "LSTMTasNet")
# What the README says that ONNX cannot have.
ONE_LENGTH = ("LSTMTasNet", True)
NOT_AT_ALL = (("DPRNNTasNet", False), ("DPTNet", False))
MIXTURES = [(2, 1, 200), (1, 1, 200), (3, 1, 301), (1, 1, 77), (2, 1, 1001)]
dynamo = pytest.mark.parametrize("dynamo", [False, True])


def make_separator(name):
    torch.manual_seed(0)
    model = getattr(sinudae, f"SinuDAE{name.split(',')[0]}")(**SEPARATORS[name], **SIZES)
    with torch.no_grad():
        for parameter in model.masker.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # no gain or bias is 1 or 0
    return model


@dynamo
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning")
class TestOnnx:
    @pytest.mark.parametrize("sizes", [*VARIANTS, OTHER_ENCODER])
    def test_encode(self, tmp_path, dynamo, sizes):
        check_exported_encode(make_dae(**sizes), tmp_path, dynamo)

    @pytest.mark.parametrize("sizes", [*VARIANTS, *OTHER_DECODERS])
    def test_decode(self, tmp_path, dynamo, sizes):
        check_exported_decode(make_dae(**sizes), tmp_path, dynamo)

    def test_reconstruction(self, tmp_path, dynamo):
        check_exported(make_dae(), torch.randn(2, 1, 200), MIXTURES, tmp_path / "a.onnx", dynamo)

    @pytest.mark.parametrize(
        "name",
        [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SEPARATORS],
    )
    def test_separators(self, tmp_path, dynamo, name):
        model, example, path = make_separator(name), torch.randn(2, 1, 200), tmp_path / "a.onnx"
        if (name, dynamo) in NOT_AT_ALL:
            with pytest.raises(Exception, match="Occurred when translating col2im"):
                check_exported(model, example, MIXTURES, path, dynamo)
        elif (name, dynamo) == ONE_LENGTH:
            check_exported(model, example, MIXTURES[:2], path, dynamo)
        else:
            check_exported(model, example, MIXTURES, path, dynamo)

    def test_separator_on_the_stft(self, tmp_path, dynamo):
        model = sinudae.STFTConvTasNet(n_fft=64, stride=24, sample_rate=16000, **CONV_TASNET)
        check_exported(model, torch.randn(2, 1, 200), MIXTURES, tmp_path / "a.onnx", dynamo)

    def test_sides_of_the_stft(self, tmp_path, dynamo):
        stft = sinudae.STFT(n_fft=64, stride=24)
        check_exported_encode(stft, tmp_path, dynamo)
        check_exported_decode(stft, tmp_path, dynamo)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_encode_of_the_paper(self, tmp_path, dynamo, encoder):
        check_exported_encode(sinudae.SinuDAE(encoder), tmp_path, dynamo, (1, 44_100, 100_001))

    @pytest.mark.slow
    @pytest.mark.parametrize("decoder", DECODERS)
    def test_decode_of_the_paper(self, tmp_path, dynamo, decoder):
        check_exported_decode(sinudae.SinuDAE(decoder=decoder), tmp_path, dynamo, (1, 173, 391))


# Precision


@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_double_precision(encoder, decoder):
    dae = make_dae(encoder, decoder)
    wav = torch.randn(2, 1, 333)
    double = copy.deepcopy(dae).double()
    out = double(wav.double())
    assert out.dtype == double.encode(wav.double()).dtype == torch.float64
    assert dae(wav).dtype == torch.float32
    assert snr(dae(wav), out) > 100


@pytest.mark.parametrize("encoder, decoder", PAIRS)
@pytest.mark.parametrize("dtype, floor", [(torch.bfloat16, 40), (torch.float16, 58)])
def test_half_precision_by_autocast(encoder, decoder, dtype, floor):
    dae = make_dae(encoder, decoder, kernel_size=2048, stride=256)
    wav = torch.randn(1, 1, 4000)
    with torch.autocast("cpu", dtype):
        rep = dae.encode(wav)
        out = dae.decode(rep, 4000)
    assert rep.dtype == out.dtype == dtype
    assert snr(rep, dae.encode(wav)) > floor and snr(out, dae(wav)) > floor


@pytest.mark.parametrize("decoder", ["conv", "conv_tanh"])
@pytest.mark.parametrize("dtype, floor", [(torch.bfloat16, 30), (torch.float16, 48)])
def test_half_precision_of_free_kernels(decoder, dtype, floor):
    dae = make_dae(decoder=decoder)
    wav = torch.randn(2, 1, 333)
    half = copy.deepcopy(dae).to(dtype)
    out = half(wav.to(dtype))
    assert out.dtype == dtype and snr(out, dae(wav)) > floor


HALVES = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "to": lambda module: module.to(torch.float16),
    "to, with a device": lambda module: module.to("cpu", torch.bfloat16),
    "type": lambda module: module.type(torch.float16),
}


class Wrapped(torch.nn.Module):
    """A user's own module around one of ours."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def with_frequencies():
    yield from (make_dae(), make_dae("sinc_smooth", "conv"), make_dae(decoder="cos"))
    yield from (make_dae().decoder, make_dae().decoder.filterbank, make_dae("sinc_smooth").encoder)
    yield from (make_separator(name) for name in SEPARATORS)
    yield asteroid.models.ConvTasNet(**CONV_TASNET, **SIZES, fb_name="mod_cos")


@pytest.mark.parametrize("convert", HALVES)
def test_conversion_that_would_round_frequencies_is_refused(convert):
    message = "dtype of the frequencies must be torch.float32 or torch.float64 .*got torch..*16"
    for module in with_frequencies():
        before = copy.deepcopy(module.state_dict())
        with pytest.raises(ValueError, match=message):
            HALVES[convert](module)
        for name, value in module.state_dict().items():
            assert value.dtype == before[name].dtype and torch.equal(value, before[name])
    with pytest.raises(ValueError, match=message):
        HALVES[convert](Wrapped(make_dae()))


def test_other_conversions_are_not():
    for module in with_frequencies():
        assert module.double() is module and module.float() is module
        module.to("cpu").to(torch.float32).share_memory().to_empty(device="meta").to("meta")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frequencies_in_half_precision_are_refused_where_they_are_used(dtype):
    """At the paper's sizes, kernels from frequencies in bfloat16 have an SNR of 4 dB."""
    message = f"dtype of the frequencies must be torch.float32 or torch.float64 .*got {dtype}"
    dae = make_dae("sinc_smooth", "mod_cos")
    dae.load_state_dict({k: v.to(dtype) for k, v in dae.state_dict().items()}, assign=True)
    for side in (dae.encoder, dae.decoder):
        with pytest.raises(ValueError, match=message):
            side.filterbank.filters()


@pytest.mark.parametrize("name", SEPARATORS)
def test_double_precision_of_separators(name):
    model = make_separator(name).eval()
    wav = torch.randn(2, 1, 333)
    double = copy.deepcopy(model).double()
    out = double(wav.double())
    assert out.dtype == torch.float64 and snr(model(wav), out) > 100


def test_double_precision_of_the_stft():
    stft = sinudae.STFT(n_fft=64, stride=24).double()
    wav = torch.randn(2, 1, 333, dtype=torch.float64)
    rep = stft.encode(wav)
    assert rep.dtype == torch.complex128 and snr(stft.decode(rep, 333), wav) > 110


def entry_points(wav, other):
    """Calls that a signal of another precision reaches, by name."""
    dae, stft = make_dae(), sinudae.STFT(n_fft=64, stride=24)
    for name, rep in {"SinuDAE": dae, "STFT": stft}.items():
        yield f"{name}.encode", lambda rep=rep: rep.encode(wav)
        yield f"{name}.encoder", lambda rep=rep: rep.encoder(wav)
        for signals in ((wav, other), (other, wav), (other, other, wav)):
            yield (
                f"informed_separation({name})",
                lambda rep=rep, signals=signals: sinudae.informed_separation(rep, *signals),
            )
    yield "SinuDAE", lambda: dae(wav)
    yield "SinuDAE.separate", lambda: dae.separate(wav.numpy())
    yield "STFTConvTasNet", lambda: sinudae.STFTConvTasNet(n_fft=64, stride=24, **CONV_TASNET)(wav)
    for name in SEPARATORS:
        yield name, lambda name=name: make_separator(name)(wav)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int16])
def test_waveform_of_another_precision(dtype):
    wav, other = torch.ones(1, 1, 333, dtype=dtype), torch.ones(1, 1, 333)
    message = (
        r"waveform must be a tensor of torch.float32, the model's precision \(call .float\(\) on "
        rf"it\), got {dtype}"
    )
    for name, call in entry_points(wav, other):
        with pytest.raises(ValueError, match=message):
            call()
            pytest.fail(f"{name} took it")


def test_representation_of_another_precision():
    dae, stft = make_dae(), sinudae.STFT(n_fft=64, stride=24)
    message = r"representation must be a tensor of torch.float32, .*\.float\(\).*got torch.float64"
    for decode in (dae.decode, dae.decoder, stft.decoder):
        with pytest.raises(ValueError, match=message):
            decode(torch.rand(1, 12 if decode != stft.decoder else 66, 9).double())
    for rep in (torch.rand(1, 33, 9).to(torch.complex128), torch.rand(1, 33, 9)):
        message = (
            rf"must be a tensor of torch.complex64, .*\.to\(torch.complex64\).*got {rep.dtype}"
        )
        with pytest.raises(ValueError, match=message):
            stft.decode(rep)
    mask = torch.ones(1, 12, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"representation must .*\.float\(\).*got torch.float64"):
        dae.decode(mask * torch.rand(1, 12, 9))


def test_waveform_of_single_precision_in_a_double_model():
    message = r"waveform must be a tensor of torch.float64, .*call .double\(\) .*got torch.float32"
    with pytest.raises(ValueError, match=message):
        make_dae().double()(torch.ones(1, 1, 333))


def test_array_of_numpy():
    message = r"waveform must be a tensor of torch.float32, .*from_numpy\(...\).float\(\)"
    for representation in (make_dae(), sinudae.STFT(n_fft=64, stride=24)):
        with pytest.raises(ValueError, match=message):
            representation.encode(np.zeros((1, 1, 333)))


# Devices


@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_everything_is_made_on_the_device_of_the_parameters(encoder, decoder):
    """Any tensor made on the CPU would meet the meta device here, and fail."""
    dae = make_dae(encoder, decoder).to("meta")
    out = dae(torch.randn(2, 1, 333, device="meta"))
    assert out.shape == (2, 1, 333) and out.device.type == "meta"
    out.sum().backward()
    with torch.device("meta"):
        assert make_dae(encoder, decoder)(torch.randn(2, 1, 100)).device.type == "meta"
    stft = sinudae.STFT(n_fft=64, stride=24).to("meta")
    assert stft.decode(stft.encode(torch.zeros(1, 1, 100, device="meta")), 100).is_meta


@needs_cuda
@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_cuda_equals_cpu(encoder, decoder):
    dae = make_dae(encoder, decoder, kernel_size=2048, stride=256)
    wav = torch.randn(2, 1, 20_001)
    expected = dae(wav)
    expected.square().sum().backward()
    twin = make_dae(encoder, decoder, kernel_size=2048, stride=256).cuda()
    out = twin(wav.cuda())
    out.square().sum().backward()
    assert out.is_cuda and snr(out, expected) > 50  # TensorFloat-32, where the device has it
    for ours, theirs in zip(twin.parameters(), dae.parameters(), strict=True):
        assert snr(ours.grad, theirs.grad) > 30


@needs_cuda
@pytest.mark.parametrize("encoder, decoder", PAIRS)
@pytest.mark.parametrize("dtype, floor", [(torch.bfloat16, 35), (torch.float16, 50)])
def test_half_precision_on_cuda(encoder, decoder, dtype, floor):
    dae = make_dae(encoder, decoder, kernel_size=2048, stride=256).cuda()
    wav = torch.randn(2, 1, 20_001, device="cuda")
    with torch.autocast("cuda", dtype):
        out = dae(wav)
    assert out.dtype == dtype and snr(out, dae(wav)) > floor


@needs_cuda
def test_trace_and_compiled_on_cuda():
    dae = make_dae().cuda()
    wav = torch.randn(2, 1, 1001, device="cuda")
    traced = torch.jit.trace(dae, torch.randn(1, 200, device="cuda"))
    assert snr(traced(wav), dae(wav)) > 50
    assert snr(torch.compile(dae, dynamic=True)(wav), dae(wav)) > 50
