"""The precision that is chosen by time: from figures, and on a model that stays as it is."""

import pytest
import torch
from trainings import assert_same_bits, make_system, write_tracks

from asteroid_sinudae import SinuDAE, SinuDAEConvTasNet
from asteroid_sinudae.training.objectives import MaskAware, Reconstruction, Sinkhorn, TotalVariation
from asteroid_sinudae.training.precision import choose_precision, resolve_precision, time_precisions
from asteroid_sinudae.training.separator_system import SeparatorSystem


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return write_tracks(tmp_path_factory.mktemp("data"))


def test_names_of_lightning():
    assert [resolve_precision(name) for name in ("32", "bf16")] == ["32-true", "bf16-mixed"]
    for name in ("16", "auto"):
        with pytest.raises(
            ValueError, match=f"precision must be one of '32', 'bf16', got '{name}'"
        ):
            resolve_precision(name)


@pytest.mark.parametrize(
    "of_32, of_bf16, expected",
    [
        ([9, 3, 3, 3], [1, 4, 4, 4], "32"),  # the first of each does not count
        ([1, 4, 4, 4], [9, 3, 3, 3], "bf16"),
        ([0, 2, 2, 50], [0, 3, 3, 3], "32"),  # nor does one that was disturbed
        ([0, 2, 2, 2], [0, 2, 2, 2], "32"),
        ([0, 2, 2, 2], [0, float("inf"), 1, float("inf")], "32"),
    ],
)
def test_the_faster_one_is_chosen(of_32, of_bf16, expected):
    asked, times = [], {"32": iter(of_32), "bf16": iter(of_bf16)}

    def seconds_of(name):
        asked.append(name)
        return next(times[name])

    choice = choose_precision(seconds_of, rounds=3)
    assert choice.precision == expected and asked == ["32", "bf16"] * 4  # in turns
    medians = {name: sorted(values[1:])[1] for name, values in (("32", of_32), ("bf16", of_bf16))}
    assert choice.seconds == medians
    line = str(choice)
    assert line.startswith(f"precision=auto: {expected} (") and "\n" not in line
    assert all(f"{value:.3g} s in {name}" in line for name, value in medians.items())


def dae_system(tracks):
    objectives = [Reconstruction(), TotalVariation(0.5), Sinkhorn(0.2), MaskAware(0.25)]
    return make_system(tracks, matched=True, objectives=objectives)


def separator_system(tracks):
    torch.manual_seed(0)
    masker = dict(n_blocks=1, n_repeats=1, bn_chan=6, hid_chan=7, skip_chan=5)
    masker |= dict(conv_kernel_size=3, norm_type="bN", mask_act="relu")
    pair = SinuDAE(n_filters=8, kernel_size=64, stride=16)
    separator = SinuDAEConvTasNet(2, pretrained=pair, freeze=True, **masker)
    learned = [parameter for parameter in separator.parameters() if parameter.requires_grad]
    return SeparatorSystem(separator, torch.optim.Adam(learned), make_system(tracks).train_loader)


@pytest.mark.parametrize("make", [dae_system, separator_system])
def test_timing_leaves_model_and_randomness_as_they_were(tracks, make, monkeypatch):
    system = make(tracks)
    seen = []

    def loss_of_batch(batch, measured=system.loss_of_batch):
        seen.append((torch.is_autocast_enabled("cpu"), measured(batch), len(batch)))
        return seen[-1][1]

    monkeypatch.setattr(system, "loss_of_batch", loss_of_batch)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    batch = next(iter(system.train_loader))
    generator = torch.random.get_rng_state()
    choice = time_precisions(system, batch, torch.device("cpu"))
    assert torch.equal(generator, torch.random.get_rng_state())
    assert_same_bits(system.state_dict(), before)
    assert all(parameter.grad is None for parameter in system.parameters())
    assert [is_bf16 for is_bf16, *_ in seen] == [False, True] * 4
    (_, exact, _), (_, rounded, _) = seen[:2]
    assert exact != rounded and rounded.item() == pytest.approx(exact.item(), rel=0.1, abs=1)
    assert set(choice.seconds) == {"32", "bf16"} and min(choice.seconds.values()) > 0


def test_what_is_timed_is_the_loss_of_a_step_without_noise(tracks):
    system = dae_system(tracks)
    vocals, accompaniment = next(iter(system.train_loader))
    losses = system.losses(vocals, accompaniment, torch.zeros_like(vocals))
    terms = [losses["neg_snr"], 0.5 * losses["tv"], 0.2 * losses["sinkhorn"], 0.25 * losses["mask"]]
    found = system.loss_of_batch((vocals, accompaniment))
    torch.testing.assert_close(found, sum(terms))
