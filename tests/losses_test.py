import numpy as np
import pytest
import torch

from asteroid_sinudae.losses import neg_snr, total_variation
from asteroid_sinudae.metrics import si_sdr


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
    for each in (rep, rep[None]):  # signal by signal, and all signals at once, as on a GPU
        (gradient,) = torch.autograd.grad(total_variation(each), rep)
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


def at_snr(snr, norm, time=44100):
    """A target of a norm, and an estimate whose error is `snr` dB below it, in double precision."""
    rng = np.random.default_rng(0)
    target, error = rng.standard_normal((2, 1, 1, time))
    target *= norm / np.linalg.norm(target)
    return target, target + error * norm * 10 ** (-snr / 20) / np.linalg.norm(error)


@pytest.mark.parametrize("norm", [1e-3, 0.1, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("snr", [-20, 60, 70, 80, 100])
def test_neg_snr_reads_good_reconstructions_at_every_level(snr, norm):
    target, estimate = tensors(*at_snr(snr, norm))
    for per in ("signal", "batch"):
        assert neg_snr(estimate, target, per=per).item() == pytest.approx(-snr, abs=0.05)
    if snr > 0:  # else the estimate is hardly the target's, whatever its scale
        assert si_sdr(estimate, target).item() == pytest.approx(snr, abs=0.05)


@pytest.mark.parametrize("norm", [0.1, 100.0])
def test_the_gradient_of_neg_snr_goes_on_where_the_reconstruction_is_good(norm):
    target, estimate = tensors(*at_snr(80, norm))
    estimate.requires_grad_()
    neg_snr(estimate, target).backward()
    error = (estimate.detach() - target).double()
    expected = 20 / np.log(10) * error / error.square().sum()
    assert (estimate.grad - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("level", [0.0, 1e-2, 1e3])
def test_silent_target_has_no_gradient(level):
    estimate = torch.full((1, 1, 100), level, requires_grad=True)
    loss = neg_snr(estimate, torch.zeros(1, 1, 100))
    assert loss.item() == pytest.approx(160)
    loss.backward()
    assert torch.all(estimate.grad == 0)


@pytest.mark.parametrize("level", [1e-30, 1e-9, 1e-5, 1.0, 1e4])
@pytest.mark.parametrize("error", [0.0, 1e-12, 1.0])
def test_neg_snr_and_its_gradient_are_finite_at_every_level(level, error):
    target = level * torch.randn(2, 1, 50_000, generator=torch.Generator().manual_seed(0))
    estimate = (target + error).requires_grad_()
    for per in ("signal", "batch"):
        loss = neg_snr(estimate, target, per=per)
        (gradient,) = torch.autograd.grad(loss, estimate)
        assert -161 < loss < 161 and gradient.isfinite().all()
        # Towards the target, by no more than the ratio itself asks for.
        size = (estimate - target).double().norm()
        assert gradient.double().norm() <= 20 / np.log(10) / size.clamp_min(1e-30) * 1.001


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
