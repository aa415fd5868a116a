import math

import numpy as np
import pytest
import torch

from asteroid_sinudae.filterbanks.kernels import (
    _all_cosines,
    cos_kernels,
    linear_frequencies,
    mel_frequencies,
    mod_cos_kernels,
    sinc_kernels,
)


def numpy_of(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 17, 2048, 8192])
def test_mod_cos_kernels_equal_eq_3_in_double_precision(kernel_size, exponent):
    torch.manual_seed(0)
    frequency = torch.linspace(0, 0.5, 40).view(40, 1, 1)
    phase = torch.randn(40, 1, 1)
    modulator = torch.randn(40, 1, kernel_size)
    f, phi, b = numpy_of(frequency, phase, modulator)
    carrier = np.cos(2 * np.pi * f**exponent * np.arange(kernel_size) + phi)
    ours = mod_cos_kernels(frequency, phase, modulator, exponent, kernel_size)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), carrier * b, rtol=0, atol=1e-5)
    ours = cos_kernels(frequency, phase, kernel_size, exponent)
    np.testing.assert_allclose(ours.numpy(), carrier, rtol=0, atol=1e-6)


@pytest.mark.parametrize("exponent", [1, 2])
def test_mod_cos_gradients_equal_those_of_eq_3(exponent):
    torch.manual_seed(0)
    parameters = [torch.rand(3, 1, 1) * 0.5, torch.randn(3, 1, 1), torch.randn(3, 1, 64)]
    weight = torch.randn(3, 1, 64)
    f, phi, b, w = numpy_of(*parameters, weight)
    for parameter in parameters:
        parameter.requires_grad_()
    (mod_cos_kernels(*parameters, exponent, 64) * weight).sum().backward()
    time = np.arange(64)
    angle = 2 * np.pi * f**exponent * time + phi
    d_angle = -np.sin(angle) * b * w
    expected = [
        d_angle * 2 * np.pi * time * exponent * f ** (exponent - 1),
        d_angle,
        np.cos(angle) * w,
    ]
    for parameter, gradient in zip(parameters, expected, strict=True):
        if parameter.shape[-1] == 1:
            gradient = gradient.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size, start", [(1, 0), (2048, 0), (512, 768)])
def test_the_cosines_that_gpus_take(kernel_size, start):
    torch.manual_seed(0)
    frequency, phase = torch.linspace(0, 0.5, 40).view(40, 1, 1), torch.randn(40, 1, 1)
    weight = torch.randn(40, 1, kernel_size)
    results = []
    for is_gpu in (False, True):
        leaves = [each.clone().requires_grad_() for each in (frequency, phase)]
        if is_gpu:
            angles = 2 * math.pi * leaves[0].double() ** 2
            kernels = _all_cosines(angles, leaves[1], kernel_size, start)
        else:
            kernels = cos_kernels(*leaves, kernel_size, 2, start)
        results.append([kernels, *torch.autograd.grad((kernels * weight).sum(), leaves)])
    for found, expected in zip(results[1], results[0], strict=True):
        assert found.dtype == torch.float32
        largest = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * largest)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernels_on_cuda_equal_those_on_the_cpu():
    torch.manual_seed(0)
    tensors = torch.rand(40, 1, 1) * 0.5, torch.randn(40, 1, 1), torch.randn(40, 1, 2048)
    expected = mod_cos_kernels(*tensors, 2, 2048)
    found = mod_cos_kernels(*(each.cuda() for each in tensors), 2, 2048)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("kernel_size", [63, 64])
def test_sinc_kernels_equal_the_difference_of_two_low_passes(kernel_size):
    torch.manual_seed(0)
    low = torch.tensor([0.0, 0.1, -0.2, 0.45]).view(4, 1, 1)
    band = torch.tensor([0.05, 0.1, -0.1, 0.3]).view(4, 1, 1)  # the last reaches past one half
    window = torch.rand(1, 1, kernel_size)
    f1, b, w = numpy_of(low.abs(), band.abs(), window)
    f2 = np.minimum(f1 + b, 0.5)
    n = np.arange(kernel_size) - (kernel_size - 1) / 2
    expected = (2 * f2 * np.sinc(2 * f2 * n) - 2 * f1 * np.sinc(2 * f1 * n)) * w
    ours = sinc_kernels(low, band, window).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_sinc_kernels_pass_their_band_and_no_other():
    kernels = sinc_kernels(
        torch.full((1, 1, 1), 0.1),
        torch.full((1, 1, 1), 0.1),
        torch.hamming_window(801)[None, None],
    )
    response = np.abs(np.fft.rfft(kernels.numpy().ravel(), 8000))  # bin k is k / 8000 cycles
    np.testing.assert_allclose(response[900:1500], 1, atol=0.01)
    assert response[:700].max() < 0.01 and response[1700:].max() < 0.01


def test_frequency_starts():
    mel = mel_frequencies(800, 44100).double().numpy()
    hz = mel * 44100
    steps = np.diff(2595 * np.log10(1 + hz / 700))
    np.testing.assert_allclose([hz[0], hz[-1]], [30, 22050], rtol=1e-6)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    assert math.isclose(mel[-1] ** 2, 0.25, rel_tol=1e-6)
    linear = linear_frequencies(800, 44100).double().numpy()
    np.testing.assert_allclose(linear * 44100, np.linspace(30, 22050, 800), rtol=1e-5)
