"""The second convolution, beside PyTorch's in double precision."""

import copy

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from asteroid_sinudae.filterbanks.smoothing import (
    TOOM_COOK,
    _matrices_on_gpu,
    _smooth_conv,
    smooth_and_rectify,
    toom_cook,
)


def reference(spec, weight, dilation, groups):
    flat = spec.reshape(-1, *spec.shape[-2:])
    padding = dilation * (weight.shape[-1] // 2)
    smooth = F.conv1d(flat, weight, padding=padding, dilation=dilation, groups=groups)
    return torch.relu(flat + smooth).reshape(spec.shape)


def outputs_and_gradients(function, spec, weight, dilation, groups):
    spec, weight = spec.clone().requires_grad_(), weight.clone().requires_grad_()
    out = function(spec, weight, dilation, groups)
    gradient = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device)
    gradient = gradient.reshape(out.shape)
    return [out, *torch.autograd.grad(out, [spec, weight], gradient)]


def assert_close(tensors, expected, tolerance):
    for tensor, reference in zip(tensors, expected, strict=True):
        error = (tensor.double() - reference).norm() / reference.norm()
        assert error < tolerance


@pytest.mark.parametrize("taps", TOOM_COOK)
def test_toom_cook(taps):
    inputs, weights, outputs = toom_cook(taps)
    generator = np.random.default_rng(0)
    x, v = generator.standard_normal(2 * taps - 2), generator.standard_normal(taps)
    found = outputs @ ((inputs @ x) * (weights @ v))
    np.testing.assert_allclose(found, np.correlate(x, v), rtol=0, atol=1e-13)
    for matrix in (inputs, outputs):  # so that autocast rounds data and weights alone
        matrix = torch.tensor(matrix.copy())
        torch.testing.assert_close(matrix.bfloat16().double(), matrix, rtol=0, atol=0)


@pytest.mark.parametrize("taps", [1, 3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 3, 10])
@pytest.mark.parametrize("shape", [(12, 173), (2, 12, 80), (2, 3, 12, 41), (1, 12, 1), (3, 12, 7)])
def test_smoothing_is_the_convolution(taps, dilation, shape):
    torch.manual_seed(0)
    spec, weight = torch.randn(shape).double(), torch.randn(12, 12, taps).double()
    args = (dilation, 1)
    expected = outputs_and_gradients(reference, spec, weight, *args)
    found = outputs_and_gradients(smooth_and_rectify, spec, weight, *args)
    assert_close(found, expected, 1e-13)
    found = outputs_and_gradients(smooth_and_rectify, spec.float(), weight.float(), *args)
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("taps", TOOM_COOK)
@pytest.mark.parametrize("shape", [(12, 173), (2, 3, 12, 41)])
def test_the_convolution_that_gpus_take(taps, shape):
    torch.manual_seed(0)
    spec, weight = torch.randn(shape).double(), torch.randn(12, 12, taps).double()
    expected = outputs_and_gradients(smooth_and_rectify, spec, weight, 10, 1)
    found = outputs_and_gradients(_smooth_conv, spec, weight, 10, 1)
    assert_close(found, expected, 1e-13)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("taps", TOOM_COOK)
def test_smoothing_on_cuda(taps, dtype, tolerance):
    torch.manual_seed(0)
    spec = torch.randn(12, 173, 3, device="cuda", dtype=dtype).permute(2, 0, 1)  # signals last
    weight = torch.randn(12, 12, taps, device="cuda", dtype=dtype)
    expected = outputs_and_gradients(reference, spec.double().cpu(), weight.double().cpu(), 10, 1)
    found = outputs_and_gradients(smooth_and_rectify, spec, weight, 10, 1)
    assert found[0].is_contiguous()
    assert_close([each.cpu().double() for each in found], expected, tolerance)


def test_matrices_are_kept_as_plain_tensors():
    kept = []

    def keep(x):
        _matrices_on_gpu.cache_clear()
        kept.extend(_matrices_on_gpu(3, x.dtype, x.device))
        assert _matrices_on_gpu(3, x.dtype, x.device)[0] is kept[-3]
        return x.sum()

    with torch.inference_mode():
        keep(torch.ones(2))
    torch.func.grad(keep)(torch.ones(2))
    with FakeTensorMode():
        keep(torch.ones(2))
    weight = torch.ones(3, 8, requires_grad=True)
    for matrix in kept:  # an inference tensor could not be saved, a transform's not be copied
        assert type(matrix) is torch.Tensor
        (weight[:, : len(matrix)].mm(matrix)).sum().backward()
        copy.deepcopy(matrix)
    _matrices_on_gpu.cache_clear()


@pytest.mark.parametrize("taps", [3, 5])
def test_depthwise_smoothing_is_the_convolution(taps):
    torch.manual_seed(0)
    spec, weight = torch.randn(2, 12, 173), torch.randn(12, 1, taps)
    expected = outputs_and_gradients(reference, spec.double(), weight.double(), 10, 12)
    found = outputs_and_gradients(smooth_and_rectify, spec, weight, 10, 12)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("taps", TOOM_COOK)
def test_rounding_errors_at_the_size_of_the_paper(taps):
    torch.manual_seed(0)
    spec, weight = torch.randn(1, 800, 173), torch.randn(800, 800, taps) / (800 * taps) ** 0.5
    expected = [reference(spec.double(), weight.double(), 10, 1)]
    assert_close([smooth_and_rectify(spec, weight, 10, 1)], expected, 2e-6)
    with torch.autocast("cpu", torch.bfloat16):
        found = smooth_and_rectify(spec.bfloat16(), weight, 10, 1)
    assert found.dtype == torch.bfloat16
    assert_close([found], expected, 2e-2)
