import numpy as np
import pytest
import torch

from asteroid_sinudae.losses import neg_snr, si_sdr, total_variation


def signals(batch=3, time=500):
    rng = np.random.default_rng(0)
    target = rng.standard_normal((batch, 1, time)) + 0.3  # with a mean, which must not be removed
    noise = np.array([0.1, 0.3, 1.0])[:batch, None, None]
    estimate = 0.5 * target + noise * rng.standard_normal((batch, 1, time))
    return target, estimate


def tensors(*arrays):
    return [torch.from_numpy(array).float() for array in arrays]


def test_total_variation_is_eq_1():
    rep = np.random.default_rng(0).random((4, 7, 11))
    expected = 0
    for a in rep:
        channels = sum(np.abs(a[c] - a[c - 1]).sum() for c in range(1, 7))
        frames = sum(np.abs(a[:, t] - a[:, t - 1]).sum() for t in range(1, 11))
        expected += (channels + frames) / (7 * 11) / 4
    torch.testing.assert_close(total_variation(*tensors(rep)).item(), expected, rtol=1e-5, atol=0)
    over_frames = np.sqrt((np.diff(rep, axis=2) ** 2).sum()) / 11
    over_channels = np.sqrt((np.diff(rep, axis=1) ** 2).sum()) / 7
    ours = total_variation(*tensors(rep), norm="l2").item()
    torch.testing.assert_close(ours, over_frames + over_channels, rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="norm must be one of 'l1', 'l2', got 'l0'"):
        total_variation(torch.rand(1, 2, 2), norm="l0")


def test_the_gradient_of_the_total_variation_is_that_of_absolute_differences():
    torch.manual_seed(0)
    rep = torch.randn(3, 7, 11, dtype=torch.double).relu().requires_grad_()  # with ties
    direct = (rep.diff(dim=1).abs().sum() + rep.diff(dim=2).abs().sum()) / rep.numel()
    (expected,) = torch.autograd.grad(direct, rep)
    (gradient,) = torch.autograd.grad(total_variation(rep), rep)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_neg_snr_is_eq_4():
    target, estimate = signals()
    energies, errors = (target**2).sum((1, 2)), ((target - estimate) ** 2).sum((1, 2))
    per_signal = (-10 * np.log10(energies / errors)).mean()
    per_batch = -10 * np.log10(energies.sum() / errors.sum())
    ours = neg_snr(*tensors(estimate, target)).item()
    torch.testing.assert_close(ours, per_signal, rtol=1e-5, atol=0)
    ours = neg_snr(*tensors(estimate, target), per="batch").item()
    torch.testing.assert_close(ours, per_batch, rtol=1e-5, atol=0)
    assert abs(per_signal - per_batch) > 1e-3
    with pytest.raises(ValueError, match="per must be one of 'signal', 'batch', got 'song'"):
        neg_snr(*tensors(estimate, target), per="song")


def test_silent_target_has_no_gradient():
    estimate = torch.full((1, 1, 100), 0.01, requires_grad=True)
    loss = neg_snr(estimate, torch.zeros(1, 1, 100))
    assert loss.item() == pytest.approx(80)
    loss.backward()
    assert torch.all(estimate.grad == 0)


def test_si_sdr_is_eq_6():
    target, estimate = signals()
    for x, x_hat, ours in zip(target, estimate, si_sdr(*tensors(estimate, target)), strict=True):
        alpha = (x_hat @ x.T) / (x @ x.T)
        error = alpha * x - x_hat
        expected = 10 * np.log10((alpha * x) @ (alpha * x).T / (error @ error.T))
        torch.testing.assert_close(ours.item(), expected.item(), rtol=1e-5, atol=0)


def test_si_sdr_ignores_the_level_and_reads_quiet_signals():
    target, estimate = tensors(*signals())
    torch.testing.assert_close(si_sdr(estimate, target), si_sdr(1e-3 * estimate, 1e-2 * target))
    quiet = 1e-3 * target
    assert si_sdr(quiet.double() + 1e-9, quiet.double()).min() > 100
    assert si_sdr(torch.zeros_like(target), target).tolist() == pytest.approx([-160] * 3)
