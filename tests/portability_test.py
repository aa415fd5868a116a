"""The pair outside eager single precision: compiled, exported, in other precisions and devices."""

import copy

import numpy as np
import pytest
import torch

import asteroid_sinudae as sinudae
from asteroid_sinudae.enc_dec import DECODERS, ENCODERS

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


def check_exported(module, example, axes, shapes, path):
    """As in the README; `axes` are those that stay dynamic."""
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime")
    torch.onnx.export(module, (example,), path, dynamic_shapes=(axes,), external_data=False)
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    for shape in shapes:
        inputs = torch.rand(shape)
        expected = module(inputs).detach().numpy()
        (ours,) = session.run(None, {name: inputs.numpy()})
        assert ours.shape == expected.shape and ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def check_exported_encode(dae, folder, lengths=(1, 16, 200, 1001)):
    shapes = [(1 + i, 1, length) for i, length in enumerate(lengths)]
    example, axes = torch.randn(2, 1, 200), {0: "batch", 2: "time"}
    check_exported(dae.encoder, example, axes, shapes, folder / "encode.onnx")


def check_exported_decode(dae, folder, lengths=(1, 2, 13, 100)):
    n_filters = dae.encoder.n_feats_out
    shapes = [(1 + i, n_filters, frames) for i, frames in enumerate(lengths)]
    example, axes = torch.rand(2, n_filters, 13), {0: "batch", 2: "frames"}
    check_exported(dae.decoder, example, axes, shapes, folder / "decode.onnx")


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning")
class TestOnnx:
    def test_encode(self, tmp_path):
        check_exported_encode(make_dae().eval(), tmp_path)

    def test_decode(self, tmp_path):
        check_exported_decode(make_dae().eval(), tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_encode_of_the_paper(self, tmp_path, encoder):
        dae = sinudae.SinuDAE(encoder).eval()
        check_exported_encode(dae, tmp_path, lengths=(1, 44_100, 100_001))

    @pytest.mark.slow
    @pytest.mark.parametrize("decoder", DECODERS)
    def test_decode_of_the_paper(self, tmp_path, decoder):
        dae = sinudae.SinuDAE(decoder=decoder).eval()
        check_exported_decode(dae, tmp_path, lengths=(1, 173, 391))


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_of_learned_frequencies_is_refused(dtype):
    """At the paper's sizes, kernels from frequencies in bfloat16 have an SNR of 4 dB."""
    message = f"dtype of the frequencies must be torch.float32 or torch.float64 .*got {dtype}"
    wav = torch.randn(1, 1, 100, dtype=dtype)
    dae = make_dae("conv_smooth", "mod_cos").to(dtype)
    with pytest.raises(ValueError, match=message):
        dae(wav)
    with pytest.raises(ValueError, match=message):
        make_dae(decoder="cos").to(dtype).decode(torch.rand(1, 12, 10, dtype=dtype))
    with pytest.raises(ValueError, match=message):
        make_dae("sinc_smooth").to(dtype).encode(wav)


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
