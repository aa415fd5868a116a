"""Divided products are those of the definition, and as exact as numbers of their precision."""

import pytest
import torch
from torch.nn import functional as F

from asteroid_sinudae.filterbanks import fast_fir
from asteroid_sinudae.filterbanks.fast_fir import correlate, spread, weigh

STRIDE = 8


@pytest.fixture(autouse=True)
def few_frames_are_divided(monkeypatch):
    monkeypatch.setattr(fast_fir, "pays", lambda *sizes: True)


def arguments(frames, taps, dtype=torch.float64):
    """Samples of two signals, and five kernels."""
    generator = torch.Generator().manual_seed(frames + taps)
    samples = torch.randn(2, (frames - 1 + taps) * STRIDE, generator=generator)
    return samples.to(dtype), torch.randn(5, taps * STRIDE, generator=generator).to(dtype)


def definition(samples, kernels):
    spec = F.conv1d(samples[:, None], kernels[:, None], stride=STRIDE)  # (signals, kernels, frames)
    return spec.transpose(0, 1)


@pytest.mark.parametrize("divisions", [0, 1, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize(
    "frames, threads", [(1, 1), (2, 2), (3, 4), (5, 3), (7, 2), (8, 1), (21, 4)]
)
def test_results_are_the_definitions(frames, threads, taps, divisions, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(fast_fir, "COLUMNS", 1)
    samples, kernels = arguments(frames, taps)
    samples.requires_grad_()
    kernels.requires_grad_()
    expected = definition(samples, kernels)
    found = correlate(samples, kernels, STRIDE, divisions)
    torch.testing.assert_close(found.reshape(expected.shape), expected)
    weights = torch.randn_like(expected)
    of_samples, of_kernels = torch.autograd.grad(expected, [samples, kernels], weights)
    found = weigh(samples, weights, kernels.shape[1], STRIDE, divisions)
    torch.testing.assert_close(found, of_kernels)
    found = spread(weights, kernels, STRIDE, divisions)
    torch.testing.assert_close(found.reshape(of_samples.shape), of_samples)


def test_the_number_of_products(monkeypatch):
    """Each division leaves three quarters, as long as there are hops to divide."""
    products = []

    def counted(multiply):
        def method(first, second):
            products.append(first.numel() * second.shape[-1])
            return multiply(first, second)

        return method

    for name in ("mm", "bmm"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    samples, kernels = arguments(frames=16, taps=8)
    numbers = []
    for divisions in range(5):
        products.clear()
        correlate(samples, kernels, STRIDE, divisions)
        numbers.append(sum(products) / (2 * 16 * kernels.numel()))
    assert numbers == [1, 0.75, 0.75**2, 0.75**3, 0.75**3]


def test_windows_of_no_whole_number_of_hops():
    samples, kernels = arguments(frames=9, taps=4)
    kernels, samples = kernels[:, :-3], samples[:, :-3]
    expected = definition(samples, kernels)
    found = correlate(samples, kernels, STRIDE, 2).reshape(expected.shape)
    torch.testing.assert_close(found, expected)
    found = spread(expected, kernels, STRIDE, 2)
    whole = F.conv_transpose1d(expected.transpose(0, 1), kernels[:, None], stride=STRIDE)
    torch.testing.assert_close(found.reshape(2, -1)[:, :-3], whole[:, 0])


@pytest.mark.parametrize("divisions", [0, 1, 2])
def test_rounding_errors(divisions):
    """Two divisions cost about one bit of single precision."""
    samples, kernels = arguments(frames=300, taps=8)
    expected = definition(samples, kernels)
    spec = correlate(samples.float(), kernels.float(), STRIDE, divisions).reshape(expected.shape)
    assert (spec - expected).abs().max() < 5e-7 * 2**divisions * expected.abs().max()
    wav = spread(expected.float(), kernels.float(), STRIDE, divisions)
    expected = spread(expected, kernels, STRIDE, 0)
    assert (wav - expected).abs().max() < 5e-7 * 2**divisions * expected.abs().max()


@pytest.mark.parametrize("divisions", [1, 2])
def test_no_rounding_where_kernels_do_not_reach(divisions):
    """A frame that hears silence is zero, and so are samples between frames that are zero."""
    samples, kernels = arguments(frames=40, taps=8, dtype=torch.float32)
    samples[:, 15 * STRIDE : 30 * STRIDE] = 0
    spec = correlate(samples, kernels, STRIDE, divisions).reshape(5, 2, 40)
    assert (spec == 0).all(0).all(0).nonzero().flatten().tolist() == list(range(15, 23))
    spec[:, :, 10:30] = 0
    silent = (spread(spec, kernels, STRIDE, divisions) == 0).all(2).all(0)
    assert silent.nonzero().flatten().tolist() == list(range(17, 30))


@pytest.mark.parametrize("divisions", [1, 2])
def test_second_derivatives(divisions):
    samples, kernels = arguments(frames=5, taps=4)
    weights = definition(samples, kernels)
    functions = [
        (lambda a, b: correlate(a, b, STRIDE, divisions), (samples, kernels)),
        (lambda a, b: weigh(a, b, kernels.shape[1], STRIDE, divisions), (samples, weights)),
        (lambda a, b: spread(a, b, STRIDE, divisions), (weights, kernels)),
    ]
    for function, inputs in functions:
        inputs = [each[:2].clone().requires_grad_() for each in inputs]
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
