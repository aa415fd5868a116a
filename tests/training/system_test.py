"""Training: the objective against a reference, and runs cut off anywhere against uncut ones."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from trainings import (
    SMALL,
    STEPS_PER_EPOCH,
    assert_same_bits,
    every_step,
    fit,
    make_system,
    state_of,
    write_tracks,
)

import asteroid_sinudae
from asteroid_sinudae import SinuDAE
from asteroid_sinudae.losses import neg_snr, total_variation
from asteroid_sinudae.training.checkpoints import (
    MAY_CHANGE,
    LastCheckpoint,
    StopAfter,
    StopAtPlateau,
    check_resumable,
)
from asteroid_sinudae.training.dae_system import step_generator
from asteroid_sinudae.training.objectives import (
    Additivity,
    MaskAware,
    Reconstruction,
    Sinkhorn,
    TotalVariation,
)
from asteroid_sinudae.training.step_sizes import relative_groups


@pytest.fixture
def tracks(tmp_path):
    return write_tracks(tmp_path / "data")


def test_objective_is_eq_5(tracks):
    system = make_system(tracks, noise_std=0.01)
    vocals, accompaniment, noise = torch.randn(3, 2, 1, 500)
    losses = system.losses(vocals, accompaniment, noise)
    assert list(losses) == ["neg_snr", "tv"] and system.objectives == (
        Reconstruction(),
        TotalVariation(0.5),
    )
    model = system.model
    estimate = model.decode(model.encode(vocals + 0.01 * noise), 500)
    torch.testing.assert_close(losses["neg_snr"], neg_snr(estimate, vocals))
    variation = total_variation(model.encode(vocals + accompaniment))
    torch.testing.assert_close(losses["tv"], variation)


def test_variants_of_the_objective(tracks):
    vocals, accompaniment, noise = torch.randn(3, 2, 1, 500)
    on_vocals = TotalVariation(0.5, on="vocals", norm="l2")
    system = make_system(
        tracks, noise_std=0.01, objectives=[Reconstruction(per="batch"), on_vocals]
    )
    model = system.model
    rep = model.encode(vocals + 0.01 * noise)
    # What no objective needs is left out altogether: NaN would show.
    losses = system.losses(vocals, accompaniment * torch.nan, noise)
    torch.testing.assert_close(
        losses["neg_snr"], neg_snr(model.decode(rep, 500), vocals, per="batch")
    )
    torch.testing.assert_close(losses["tv"], total_variation(rep, norm="l2"))
    alone = make_system(tracks, objectives=[Reconstruction()])
    losses = alone.losses(vocals, accompaniment * torch.nan, noise)
    assert list(losses) == ["neg_snr"] and losses["neg_snr"].isfinite()


def test_all_signals_are_encoded_at_once_and_those_needed_only(tracks, monkeypatch):
    def encoded_signals(*objectives):
        system = make_system(
            tracks, matched=True, noise_std=0.01, objectives=[Reconstruction(), *objectives]
        )
        sizes, encode = [], system.model.encode
        monkeypatch.setattr(
            system.model, "encode", lambda wav: sizes.append(len(wav)) or encode(wav)
        )
        batch = system.encode(vocals, accompaniment, noise)
        inputs = {**batch.signals, "vocals": vocals + 0.01 * noise}
        for name, rep in batch.encoded.items():
            torch.testing.assert_close(rep, encode(inputs[name]))
        assert torch.equal(batch.signals["vocals"], vocals)
        return sizes, list(batch.encoded)

    vocals, accompaniment, noise = torch.randn(3, 2, 1, 500)
    assert encoded_signals() == ([2], ["vocals"])
    assert encoded_signals(Sinkhorn(1.0, on="vocals")) == ([2], ["vocals"])
    assert encoded_signals(TotalVariation(0.5)) == ([4], ["vocals", "mixture"])
    everything = TotalVariation(0.5), Sinkhorn(1.0), Additivity(1.0), MaskAware(1.0)
    assert encoded_signals(*everything) == ([6], ["vocals", "mixture", "accompaniment"])


def test_loss_is_the_weighted_sum_of_what_is_logged(tracks, tmp_path):
    objectives = [Reconstruction(2.0), TotalVariation(0.5), Sinkhorn(0.2)]
    objectives += [Additivity(3.0), MaskAware(0.25)]
    system = make_system(tracks, matched=True, objectives=objectives)
    trainer = fit(system, tmp_path, max_epochs=1)
    logged = {name: value.item() for name, value in trainer.logged_metrics.items()}
    weights = {"neg_snr": 2.0, "tv": 0.5, "sinkhorn": 0.2, "additivity": 3.0, "mask": 0.25}
    assert logged.keys() >= {"loss", "neg_snr_epoch", *weights}
    expected = sum(weight * logged[name] for name, weight in weights.items())
    assert logged["loss"] == pytest.approx(expected, rel=1e-6)


def test_training_lowers_the_loss_and_keeps_the_channels_sorted(tracks, tmp_path):
    system = make_system(tracks)
    seen = []
    system.on_train_batch_end = lambda outputs, *_: seen.append(
        (outputs["loss"].item(), system.model.decoder.filterbank.carrier_frequencies())
    )
    fit(system, tmp_path, max_epochs=30)
    losses = [loss for loss, _ in seen]
    assert len(losses) == 30 * STEPS_PER_EPOCH
    assert np.mean(losses[-9:]) < np.mean(losses[:9]) - 1
    assert all((carriers.diff() >= 0).all() for _, carriers in seen)
    frequencies = SinuDAE(**SMALL).decoder.filterbank.carrier_frequencies()
    assert not torch.equal(seen[-1][1], frequencies)


def test_unsorted_training_breaks_the_order(tracks, tmp_path):
    model = SinuDAE(**SMALL)
    with torch.no_grad():
        model.decoder.filterbank.frequency.copy_(torch.linspace(0.5, 0.1, 8).view(8, 1, 1))
    system = make_system(tracks, model, sort=False)
    fit(system, tmp_path, max_epochs=1)
    assert (model.decoder.filterbank.carrier_frequencies().diff() < 0).all()


def test_run_cut_off_after_any_update_ends_where_an_uncut_one_ends(tracks, tmp_path):
    whole = make_system(tracks)
    fit(whole, tmp_path, [every_step(tmp_path / "checkpoints")])
    expected = state_of(whole)
    for step in range(1, 3 * STEPS_PER_EPOCH):
        resumed = make_system(tracks)
        with torch.no_grad():  # nothing of the fresh model may be left
            resumed.model.decoder.filterbank.phase.zero_()
        trainer = fit(resumed, tmp_path, ckpt_path=tmp_path / f"checkpoints/step={step}.ckpt")
        assert trainer.global_step == 3 * STEPS_PER_EPOCH
        assert_same_bits(state_of(resumed), expected)


def test_run_with_relative_step_sizes_and_every_objective_can_be_cut_off(tracks, tmp_path):
    def fresh_system(model):
        optimizer = torch.optim.Adam(relative_groups(model, 0.01), lr=0.01, fused=True)
        objectives = [Reconstruction(), TotalVariation(0.5), Sinkhorn(0.2)]
        objectives += [Additivity(3.0), MaskAware(0.25)]
        return make_system(
            tracks,
            model,
            matched=True,
            optimizer=optimizer,
            objectives=objectives,
            scheduler={"scheduler": linear_decay(optimizer), "interval": "step"},
        )

    def rates_of(system):
        return [group["lr"] for group in system.optimizer.param_groups]

    def start():
        torch.manual_seed(0)
        return SinuDAE(**SMALL)

    whole = fresh_system(start())
    rates = rates_of(whole)
    fit(whole, tmp_path, [every_step(tmp_path / "checkpoints")])
    n_steps = 3 * STEPS_PER_EPOCH
    assert len(set(rates)) == 5 and rates_of(whole) == pytest.approx(
        [rate * (1 - n_steps / 20) for rate in rates], rel=1e-9
    )
    for step in (1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1):
        other = start()
        with torch.no_grad():  # of other sizes than the start of the run that is continued
            for parameter in other.parameters():
                parameter.mul_(3)
        resumed = fresh_system(other)
        assert rates_of(resumed) != rates
        checkpoint = tmp_path / f"checkpoints/step={step}.ckpt"
        trainer = fit(resumed, tmp_path, ckpt_path=checkpoint)
        assert_same_bits(state_of(resumed), state_of(whole))
        assert rates_of(resumed) == rates_of(whole)
        assert trainer.lr_scheduler_configs[0].scheduler.base_lrs == rates


@pytest.mark.parametrize("part", [dict(max_epochs=1), dict(max_epochs=2)])
def test_finished_run_can_be_made_longer(tracks, tmp_path, part):
    whole = make_system(tracks)
    fit(whole, tmp_path)
    path = tmp_path / "last.ckpt"
    fit(make_system(tracks), tmp_path, [LastCheckpoint(path)], **part)
    resumed = make_system(tracks)
    fit(resumed, tmp_path, [LastCheckpoint(path)], ckpt_path=path)
    assert_same_bits(state_of(resumed), state_of(whole))


@pytest.mark.parametrize("n_steps", range(1, 3 * STEPS_PER_EPOCH + 1))
def test_run_of_some_updates_can_be_made_longer_and_longer(tracks, tmp_path, n_steps):
    def run_until(max_steps, ckpt_path=None):
        system = make_system(tracks)
        system.scheduler = {"scheduler": linear_decay(system.optimizer), "interval": "step"}
        callbacks = [LastCheckpoint(path), StopAfter(max_steps)]
        trainer = fit(system, tmp_path, callbacks, max_epochs=100, ckpt_path=ckpt_path)
        assert trainer.global_step == max_steps
        return system

    path = tmp_path / "last.ckpt"
    whole = run_until(n_steps + 4)
    run_until(n_steps)
    run_until(n_steps, path)  # is complete
    run_until(n_steps + 1, path)
    assert_same_bits(state_of(run_until(n_steps + 4, path)), state_of(whole))


def linear_decay(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=20)


def test_checkpoint_is_saved_at_each_epoch_s_end_and_after_minutes(tracks, tmp_path, monkeypatch):
    def saved(minutes, *others, **options):
        steps = []
        callback = LastCheckpoint(tmp_path / "last.ckpt", minutes)
        monkeypatch.setattr(
            pl.Trainer, "save_checkpoint", lambda trainer, path: steps.append(trainer.global_step)
        )
        fit(make_system(tracks), tmp_path, [callback, *others], **options)
        return steps

    assert saved(minutes=60, max_epochs=3) == [3, 6, 9]
    assert saved(minutes=1e-9, max_epochs=2) == [1, 2, 3, 4, 5, 6]
    assert saved(60, StopAfter(5), max_epochs=3) == [3, 5]
    with pytest.raises(ValueError, match="checkpoint_minutes must be positive, got 0"):
        LastCheckpoint(tmp_path, 0)


def test_early_stopping_sees_the_whole_of_an_interrupted_epoch(tracks, tmp_path):
    def logged(trainer):
        return trainer.callback_metrics["neg_snr_epoch"].item()

    checkpoints = every_step(tmp_path / "checkpoints")
    expected = logged(fit(make_system(tracks), tmp_path, [checkpoints], max_epochs=1))
    for step in (1, 2):
        checkpoint = tmp_path / f"checkpoints/step={step}.ckpt"
        trainer = fit(make_system(tracks), tmp_path, ckpt_path=checkpoint, max_epochs=1)
        assert logged(trainer) == expected


def test_early_stopping_when_an_epoch_does_not_lower_eq_4(tracks, tmp_path):
    def system_at_rest():
        system = make_system(tracks)
        system.optimizer.param_groups[0]["lr"] = 0.0  # only the noise changes
        return system

    path = tmp_path / "last.ckpt"
    system = system_at_rest()
    stop = StopAtPlateau()
    trainer = fit(system, tmp_path, [stop, LastCheckpoint(path)], max_epochs=50)
    assert trainer.global_step == STEPS_PER_EPOCH * (stop.stopped_epoch + 1) < STEPS_PER_EPOCH * 50
    again = system_at_rest()
    callbacks = [StopAtPlateau(), LastCheckpoint(path)]
    continued = fit(again, tmp_path, callbacks, max_epochs=50, ckpt_path=path)
    assert continued.global_step == trainer.global_step
    assert_same_bits(state_of(again), state_of(system))


def test_the_mean_of_an_epoch_is_over_its_signals(tracks, tmp_path):
    system = make_system(tracks, objectives=[Reconstruction()])
    seen = []

    def losses(vocals, *rest, measured=system.losses):
        found = measured(vocals, *rest)
        seen.append((len(vocals), found["neg_snr"].item()))
        return found

    system.losses = losses
    trainer = fit(system, tmp_path, max_epochs=1)
    assert [size for size, _ in seen] == [4, 4, 2]
    sizes, values = np.array(seen).T
    assert abs(np.average(values, weights=sizes) - values.mean()) > 1e-3
    logged = trainer.callback_metrics["neg_snr_epoch"].item()
    assert logged == pytest.approx(np.average(values, weights=sizes), rel=1e-5)


def test_sorting_after_each_update_takes_the_moments_along(tracks, tmp_path):
    """Without objectives that see the channels' order, sorting changes nothing but that."""

    def trained(sort):
        torch.manual_seed(3)
        model = SinuDAE(**SMALL)
        with torch.no_grad():  # so near to each other that updates change their order
            carriers = torch.linspace(0.3, 0.301, 8) + 1e-9 * torch.randn(8)
            model.decoder.filterbank.frequency.copy_(carriers.view(8, 1, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
        system = make_system(
            tracks, model, optimizer=optimizer, objectives=[Reconstruction()], sort=sort
        )
        fit(system, tmp_path, max_epochs=4)
        return model.decoder.filterbank

    in_order, as_they_are = trained(True), trained(False)
    order = as_they_are.carrier_frequencies().argsort()
    assert not torch.equal(order, torch.arange(8))
    for name in ("frequency", "phase", "modulator"):
        found, expected = in_order.get_parameter(name), as_they_are.get_parameter(name)[order]
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)


def test_noise_is_a_function_of_seed_epoch_and_step():
    def draw(*key):
        return torch.randn(3, generator=step_generator(*key, torch.device("cpu")))

    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))
    others = [draw(*key) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (1, 3, 2))]
    assert not any(torch.equal(draw(1, 2, 3), other) for other in others)


@pytest.mark.parametrize(
    "objectives", [[TotalVariation(0.5)], [Sinkhorn(0.5), Additivity(3.0), MaskAware(0.25)]]
)
def test_bf16_update_is_close_to_the_fp32_one(tracks, tmp_path, objectives):
    systems = {
        precision: make_system(tracks, matched=True, objectives=[Reconstruction(), *objectives])
        for precision in ("32-true", "bf16-mixed")
    }
    start = make_system(tracks).model.state_dict()
    updates = []
    for precision, system in systems.items():
        fit(system, tmp_path, max_epochs=1, precision=precision)
        assert all(p.dtype == torch.float32 for p in system.model.parameters())
        end = system.model.state_dict()
        updates.append(torch.cat([(end[name] - start[name]).flatten() for name in start]))
    assert torch.cosine_similarity(*updates, dim=0) > 0.95


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(noise_std=-1e-4), "noise_std must be 0 or more, got -0.0001"),
        (dict(white_noise=1.5), "white_noise must be from 0 to 1, got 1.5"),
        (dict(seed=-1), "seed must be 0 or more, got -1"),
        (
            dict(objectives=[TotalVariation(0.5)]),
            r"names of objectives must be 'neg_snr', the reconstruction, and others, got \['tv'\]",
        ),
        (
            dict(objectives=[Reconstruction(), MaskAware(0.25)]),
            "mask_weight=0.25 needs the accompaniment of the same place as the vocals: use matched",
        ),
        (
            dict(objectives=[Reconstruction(), Additivity(3.0)]),
            "additivity_weight=3.0 needs the accompaniment of the same place as the vocals",
        ),
        (
            dict(objectives=[TotalVariation(0.5), TotalVariation(0.5, on="vocals")]),
            r"names of objectives must be different from each other, got \['tv', 'tv'\]",
        ),
    ],
)
def test_options_that_make_no_sense(tracks, options, message):
    with pytest.raises(ValueError, match=message):
        make_system(tracks, **options)


def test_objectives_that_several_devices_cannot_share(tracks):
    class Trainer:
        world_size = 2

    def start(**options):
        system = make_system(tracks, **options)
        system._trainer = Trainer()
        system.on_fit_start()

    start()
    message = r"Reconstruction\(weight=1.0, per='batch'\) is not a mean over signals"
    with pytest.raises(ValueError, match=message):
        start(objectives=[Reconstruction(per="batch")])
    message = r"TotalVariation\(weight=0.5, on='mixture', norm='l2'\) is not a mean over signals"
    with pytest.raises(ValueError, match=message):
        start(objectives=[Reconstruction(), TotalVariation(0.5, norm="l2")])


def test_sorting_needs_carriers(tracks):
    with pytest.raises(ValueError, match="sort needs a decoder with carrier frequencies"):
        make_system(tracks, SinuDAE(decoder="conv", **SMALL))


class Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_checkpoint_with_code_is_refused(tracks, tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(ValueError, match=f"{path} is refused"):
        fit(make_system(tracks), tmp_path, ckpt_path=path)
    assert "this code ran" not in capsys.readouterr().out


def test_what_may_change_when_a_run_is_continued():
    assert set(MAY_CHANGE) == {
        "epochs",
        "max_steps",
        "decay_steps",
        "num_workers",
        "keep_on",
        "checkpoint_minutes",
        "devices",
        "num_nodes",
        "front_ends",
        "valid_every",
        "pretrained",
    }


def test_checkpoint_of_another_training():
    config = {"filterbank": {"n_filters": 8}, "training": {"epochs": 3, "seed": 0}}
    path = Path("last.ckpt")
    check_resumable({"training_config": config}, config, path)
    longer = {**config, "training": {"epochs": 9, "seed": 0}}
    check_resumable({"training_config": config}, longer, path)
    wider = {**config, "filterbank": {"n_filters": 16}}
    with pytest.raises(ValueError, match="last.ckpt was trained with n_filters=8, asked for 16"):
        check_resumable({"training_config": config}, wider, path)
    for content in ({}, {"training_config": None}, {"training_config": {"training": 3}}):
        with pytest.raises(ValueError, match="last.ckpt is not a checkpoint of this training"):
            check_resumable(content, config, path)


def test_only_a_training_silences_a_warning(tracks, tmp_path):
    """Lightning cannot see that the sampler goes on where it stopped."""
    package = Path(asteroid_sinudae.__file__).parent
    for path in package.rglob("*.py"):
        at_import = [
            statement
            for statement in ast.parse(path.read_text(encoding="utf-8")).body
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        ]
        assert "warnings." not in "".join(map(ast.unparse, at_import)), path
    fit(make_system(tracks), tmp_path, [every_step(tmp_path / "checkpoints")], max_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(make_system(tracks), tmp_path, ckpt_path=tmp_path / "checkpoints/step=1.ckpt")
    assert not [each for each in caught if "not resumable" in str(each.message)]


def test_some_vocals_are_replaced_by_white_noise_of_their_level(tracks):
    system = make_system(tracks, white_noise=0.25)
    vocals = 0.3 * torch.sin(torch.arange(4000.0) / 20).expand(400, 1, -1).clone()
    vocals[:200] *= 0  # silent
    noise = torch.randn(400, 1, 4000, generator=torch.Generator().manual_seed(0))
    found = system.with_white_noise(vocals, noise)
    is_replaced = (found != vocals).any(-1).flatten()
    assert 70 <= is_replaced.sum() <= 130
    assert torch.equal(found, system.with_white_noise(vocals, noise))
    replaced, levels = found[is_replaced], vocals.square().mean(-1).sqrt().clamp(min=1e-3)
    torch.testing.assert_close(
        replaced.square().mean(-1).sqrt(), levels[is_replaced], rtol=0.1, atol=0
    )
    spectrum = torch.fft.rfft(replaced / levels[is_replaced, :, None]).abs().square().mean((0, 1))
    assert 0.5 < (spectrum[1:-1] / spectrum[1:-1].mean()).min()  # at all frequencies
    # It is another signal than the noise that is added to the input.
    alike = (replaced * noise[is_replaced]).mean(-1) / levels[is_replaced]
    assert alike.abs().max() < 0.1
