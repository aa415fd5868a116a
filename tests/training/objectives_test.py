"""Objectives against NumPy, the mask's gradient, and that a training by each lowers it."""

import numpy as np
import pytest
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.losses import (
    modulator_bandwidth,
    neg_snr,
    sinkhorn_distance,
    total_variation,
)
from asteroid_sinudae.masks import binary_mask
from asteroid_sinudae.training.objectives import (
    Additivity,
    Bandwidth,
    EncodedBatch,
    MaskAware,
    Reconstruction,
    Sinkhorn,
    TotalVariation,
    make_objectives,
    straight_through_mask,
)

SMALL = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=44100)
NAMES = ("vocals", "mixture", "accompaniment")


def encode(model, vocals, accompaniment):
    signals = dict(zip(NAMES, (vocals, vocals + accompaniment, accompaniment), strict=True))
    encoded = {name: model.encode(signal) for name, signal in signals.items()}
    return EncodedBatch(model, signals, encoded)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    model = SinuDAE(**SMALL)
    time = torch.arange(800) / 44100
    tones = torch.sin(2 * torch.pi * torch.tensor([700.0, 900.0, 1500.0])[:, None] * time)
    return encode(model, tones[:, None], 0.3 * torch.randn(3, 1, 800))


def arrays(batch):
    return [batch.encoded[name].detach().double().numpy() for name in NAMES]


# ------------------------------------------------------------------------ Sinkhorn


def sinkhorn_reference(rep, p, entropy, iterations=20_000):
    """Plain matrix scaling in double precision, until it has converged."""
    shifted = rep + 1 / rep.shape[0]
    frames = (shifted / shifted.sum(axis=1, keepdims=True)).T
    cost = (np.abs(frames[:, None] - frames[None]) ** p).sum(axis=-1) ** (1 / p)
    kernel = np.exp(-cost / entropy)
    uniform = np.full(len(cost), 1 / len(cost))
    left = right = np.ones(len(cost))
    for _ in range(iterations):
        left = uniform / (kernel @ right)
        right = uniform / (kernel.T @ left)
    plan = left[:, None] * kernel * right
    np.testing.assert_allclose(plan.sum(axis=0), uniform, rtol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=1), uniform, rtol=1e-6)
    return (plan * cost).sum(), cost.mean()


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("entropy", [0.2, 0.5, 1.5])
def test_sinkhorn_distance_is_that_of_converged_matrix_scaling(p, entropy):
    rng = np.random.default_rng(0)
    rep = rng.random((3, 20, 30)) ** 4 * 10 ** rng.uniform(-2, 1, (3, 20, 1))
    expected = [sinkhorn_reference(a, p, entropy)[0] for a in rep]
    ours = sinkhorn_distance(torch.from_numpy(rep), p, entropy)
    np.testing.assert_allclose(ours, expected, rtol=2e-3)
    in_single = sinkhorn_distance(torch.from_numpy(rep).float(), p, entropy)
    np.testing.assert_allclose(in_single, ours, rtol=1e-4)


def test_entropy_goes_from_no_transport_to_the_mean_distance():
    rep = torch.rand(1, 20, 30, dtype=torch.float64)
    distances = [sinkhorn_distance(rep, 1, entropy).item() for entropy in (1e-3, 0.1, 1.0, 1e3)]
    assert distances == sorted(distances) and distances[0] < 1e-12
    mean = sinkhorn_reference(rep[0].numpy(), 1, 1e3, iterations=10)[1]
    assert distances[-1] == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize("p", [1, 2])
def test_gradient_of_the_sinkhorn_distance(p):
    torch.manual_seed(0)
    rep = torch.rand(2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: sinkhorn_distance(a, p, 0.5), rep)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4])
@pytest.mark.parametrize("entropy", [1e-3, 0.5])
@pytest.mark.parametrize("p", [1, 2])
def test_sinkhorn_distance_is_finite_in_single_precision(p, entropy, scale):
    rep = (scale * torch.rand(2, 50, 40) ** 8).requires_grad_()
    value = sinkhorn_distance(rep, p, entropy).mean()
    value.backward()
    assert value.isfinite() and rep.grad.isfinite().all()
    assert (value > 1e-3) == (scale == 1e4 and entropy == 0.5)


# ------------------------------------------------------------------------ mask


def test_mask_is_binary_and_has_the_gradient_of_the_ratio_mask():
    vocals = torch.tensor([3.0, 1.0, 2.0, 0.0, 0.0, 1e-20], dtype=torch.float64, requires_grad=True)
    others = torch.tensor([1.0, 3.0, 2.0, 1.0, 0.0, 1e-20], dtype=torch.float64, requires_grad=True)
    mask = straight_through_mask(vocals, others, 1.0)
    assert mask.tolist() == [1, 0, 0, 0, 0, 0]
    assert straight_through_mask(vocals, others, 0.5).tolist() == [1, 0, 1, 0, 0, 1]
    mask.sum().backward()
    v, a = vocals.detach().numpy()[:4], others.detach().numpy()[:4]
    np.testing.assert_allclose(vocals.grad[:4], a / (v + a) ** 2, rtol=1e-12)
    np.testing.assert_allclose(others.grad[:4], -v / (v + a) ** 2, rtol=1e-12, atol=0)
    assert vocals.grad.isfinite().all() and others.grad.isfinite().all()


def test_mask_is_exact_in_single_precision():
    vocals, others = torch.rand(2, 10_000)
    mask = straight_through_mask(vocals, others, 0.7)
    assert torch.equal(mask, binary_mask(vocals, others, 0.7))


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_mask_aware_is_eq_4_of_the_masked_mixture(batch, threshold):
    vocals, mixture, accompaniment = arrays(batch)
    mask = vocals > threshold * accompaniment
    assert 0.1 < mask.mean() < 0.9
    estimate = batch.model.decode(torch.from_numpy(mixture * mask).float(), 800)
    target = batch.signals["vocals"].double().numpy()
    error = ((target - estimate.detach().double().numpy()) ** 2).sum((1, 2))
    expected = -10 * np.log10((target**2).sum((1, 2)) / error)
    found = MaskAware(1.0, threshold)(batch).item()
    assert found == pytest.approx(expected.mean(), abs=1e-4)


@pytest.mark.parametrize("snr", [60, 70, 80])
@pytest.mark.parametrize("norm", [0.1, 1.0, 100.0])
def test_mask_aware_reads_good_estimates_at_every_level(snr, norm):
    target, error = torch.randn(2, 1, 1, 44100)
    target *= norm / target.norm()
    estimate = target + error * norm * 10 ** (-snr / 20) / error.norm()

    class Model:
        def magnitude(self, rep):
            return rep

        def decode(self, rep, length):
            return estimate

    batch = EncodedBatch(Model(), {"vocals": target}, dict.fromkeys(NAMES, torch.ones(1, 2, 3)))
    assert MaskAware(1.0)(batch).item() == pytest.approx(-snr, abs=0.05)


# ------------------------------------------------------------------------ others


def test_total_variation_and_sinkhorn_see_the_chosen_signal(batch):
    for on in ("mixture", "vocals"):
        rep = batch.encoded[on]
        assert TotalVariation(0.5, on, "l2")(batch) == total_variation(rep, "l2")
        assert Sinkhorn(1.0, on, 2, 0.3)(batch) == sinkhorn_distance(rep, 2, 0.3).mean()
        assert TotalVariation(0.5, on).needs == Sinkhorn(1.0, on).needs == (on,)


def test_additivity_is_the_mean_relative_error(batch):
    vocals, mixture, accompaniment = arrays(batch)
    errors = np.abs(mixture - vocals - accompaniment).sum((1, 2)) / np.abs(mixture).sum((1, 2))
    assert Additivity(1.0)(batch).item() == pytest.approx(errors.mean(), rel=1e-5)


@pytest.mark.parametrize("objective", [Additivity(1.0), MaskAware(1.0), Sinkhorn(1.0)])
def test_silence_adds_no_error_and_no_gradient_that_is_not_finite(batch, objective):
    silent = batch.signals["vocals"] * torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    others = batch.signals["accompaniment"] * torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1)
    quiet = encode(batch.model, silent, others)
    # The noise of the vocals alone, where there is no music.
    quiet.encoded["vocals"] = batch.model.encode(silent + 1e-4 * torch.randn(3, 1, 800))
    value = objective(quiet)
    value.backward()
    assert value.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in batch.model.parameters())
    if isinstance(objective, Additivity):
        parts = [rep[:2] for rep in (quiet.encoded[name] for name in objective.needs)]
        errors = (parts[0] - parts[1] - parts[2]).abs().sum((1, 2)) / parts[0].sum((1, 2))
        assert value.item() == pytest.approx(errors.sum().item() / 3, rel=1e-5)


def test_half_precision_representations_are_measured_in_single(batch):
    half = {name: rep.bfloat16() for name, rep in batch.encoded.items()}
    for objective in (TotalVariation(0.5), Sinkhorn(1.0), Additivity(1.0), MaskAware(1.0)):
        value = objective(batch._replace(encoded=half))
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(objective(batch).item(), rel=0.02, abs=0.02)


@pytest.mark.parametrize(
    "objective",
    [TotalVariation(1.0), Sinkhorn(1.0), Additivity(1.0), MaskAware(1.0), MaskAware(1.0, 0.5)],
)
def test_updates_by_each_objective_lower_it(batch, objective):
    optimizer = torch.optim.Adam(batch.model.parameters(), lr=1e-3)
    values = []
    for _ in range(6):
        now = encode(batch.model, batch.signals["vocals"], batch.signals["accompaniment"])
        loss = objective(now)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[1] < values[0] and values[-1] < values[1]


def test_mask_aware_training_changes_the_mask_also_where_the_mixture_is_given(batch):
    """The encoder learns through the mask: its gradient is not that of the mixture alone."""

    def encoder_gradient(through_mask):
        vocals, mixture, accompaniment = (batch.encoded[name] for name in NAMES)
        if not through_mask:
            vocals, accompaniment = vocals.detach(), accompaniment.detach()
        mask = straight_through_mask(vocals, accompaniment, 1.0)
        estimate = batch.model.decode(mixture.detach() * mask, 800)
        loss = neg_snr(estimate, batch.signals["vocals"])
        weight = batch.model.encoder.filterbank._filters
        return torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)[0]

    assert encoder_gradient(through_mask=False) is None
    assert encoder_gradient(through_mask=True).abs().max() > 0


# --------------------------------------------------------------------- bandwidth


def share_beyond(modulator, n_bins):
    """The share by a sum over cosines and sines, in double precision."""
    length = modulator.shape[-1]
    phase = 2 * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length
    b = modulator.double().numpy().reshape(-1, length)
    energy = (b @ np.cos(phase).T) ** 2 + (b @ np.sin(phase).T) ** 2
    return (energy[:, n_bins + 1 :].sum(1) / energy.sum(1)).mean()


@pytest.mark.parametrize("length, n_bins", [(64, 2), (65, 1), (128, 7)])
def test_bandwidth_of_modulators_against_a_sum(length, n_bins):
    modulator = torch.randn(5, 1, length)
    found = modulator_bandwidth(modulator, n_bins).item()
    assert found == pytest.approx(share_beyond(modulator, n_bins), rel=1e-4)
    assert modulator_bandwidth(1e-6 * modulator, n_bins).item() == pytest.approx(found, rel=1e-4)
    tone = torch.cos(2 * np.pi * (n_bins + 1) * torch.arange(length) / length)[None]
    assert modulator_bandwidth(tone, n_bins) > 0.9999
    assert modulator_bandwidth(tone, n_bins + 1) < 1e-6
    assert modulator_bandwidth(torch.zeros(2, length)) == 0


def batch_of(model):
    return EncodedBatch(model, {}, {})


@pytest.mark.parametrize("compact", [False, True])
def test_bandwidth_is_the_mean_over_all_kernels(compact):
    options = dict(init="multires", bands="64x4:8000:800 32x2:22050") if compact else {}
    n_filters = 70 if compact else 12
    model = SinuDAE(n_filters=n_filters, kernel_size=64, stride=16, compact=compact, **options)
    bank = model.decoder.filterbank
    groups = list(bank.modulator) if compact else [bank.modulator]
    shares = [share_beyond(kernel, 2) for group in groups for kernel in group.detach()]
    assert Bandwidth(1.0)(batch_of(model)).item() == pytest.approx(np.mean(shares), rel=1e-3)


def test_bandwidth_needs_modulators():
    model = SinuDAE(decoder="cos", n_filters=12, kernel_size=64, stride=16)
    with pytest.raises(ValueError, match="^bandwidth_weight needs a decoder with modulators"):
        Bandwidth(1.0)(batch_of(model))


# ------------------------------------------------------------------------ choice


def test_objectives_of_weights():
    reconstruction = Reconstruction(1.0, "signal")
    assert make_objectives() == [reconstruction, TotalVariation(0.5, "mixture", "l1")]
    assert make_objectives(tv_weight=0.0) == [reconstruction]
    chosen = make_objectives(
        snr_per="batch",
        tv_weight=0.1,
        tv_on="vocals",
        tv_norm="l2",
        sinkhorn_weight=0.2,
        sinkhorn_p=2,
        sinkhorn_entropy=1.3,
        additivity_weight=0.3,
        mask_weight=0.4,
        mask_threshold=0.5,
        bandwidth_weight=0.5,
    )
    assert chosen == [
        Reconstruction(1.0, "batch"),
        TotalVariation(0.1, "vocals", "l2"),
        Sinkhorn(0.2, "mixture", 2, 1.3),
        Additivity(0.3),
        MaskAware(0.4, 0.5),
        Bandwidth(0.5),
    ]
    names = ["neg_snr", "tv", "sinkhorn", "additivity", "mask", "bandwidth"]
    assert [each.name for each in chosen] == names
    assert [each.needs_matched for each in chosen] == [False, False, False, True, True, False]
    assert [each.is_mean for each in chosen] == [False, False, True, True, True, True]
    assert TotalVariation(0.5).is_mean and reconstruction.is_mean


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Reconstruction(0.0), "neg_snr_weight must be positive and finite, or 0, got 0.0"),
        (lambda: Reconstruction(per="song"), "snr_per must be one of 'signal', 'batch', got 's"),
        (lambda: TotalVariation(0.0), "tv_weight must be positive and finite, or 0, got 0.0"),
        (lambda: make_objectives(tv_weight=-1.0), "tv_weight must be positive and finite, or 0"),
        (lambda: make_objectives(mask_weight=float("nan")), "mask_weight must be .*, got nan"),
        (lambda: Additivity(float("inf")), "additivity_weight must be .*, got inf"),
        (lambda: Sinkhorn(-0.1), "sinkhorn_weight must be .*, got -0.1"),
        (lambda: TotalVariation(0.5, "accompaniment"), "tv_on must be one of 'mixture', 'vocals'"),
        (lambda: TotalVariation(0.5, norm="l0"), "tv_norm must be one of 'l1', 'l2', got 'l0'"),
        (lambda: Sinkhorn(1.0, "bass"), "sinkhorn_on must be one of 'mixture', 'vocals', got"),
        (lambda: Sinkhorn(1.0, p=3), "sinkhorn_p must be one of 1, 2, got 3"),
        (lambda: Sinkhorn(1.0, entropy=0.0), "sinkhorn_entropy must be positive and finite, got 0"),
        (lambda: Bandwidth(-1.0), "bandwidth_weight must be positive and finite, or 0, got -1.0"),
        (lambda: MaskAware(1.0, -1.0), "mask_threshold must be finite and not negative, got -1.0"),
        (lambda: MaskAware(1.0, float("nan")), "mask_threshold must be finite and not .* got nan"),
        (lambda: sinkhorn_distance(torch.rand(1, 2, 3), p=3), "p must be one of 1, 2, got 3"),
        (
            lambda: sinkhorn_distance(torch.rand(1, 2, 3), entropy=-1),
            "entropy must be positive and finite, got -1",
        ),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
