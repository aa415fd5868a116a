"""The average of the weights that a separator's training results in, and validation by it."""

import pytest
import torch
from small_separators import make_both, write_separation_data
from torch.utils.data import DataLoader
from trainings import fit

from asteroid_sinudae.data.sampler import DrawSampler
from asteroid_sinudae.data.segments import RemixedSegments
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.estimates import separator_estimator
from asteroid_sinudae.runs.validation import Validation
from asteroid_sinudae.training.separator_system import SeparatorSystem


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return Manifest.load(write_separation_data(tmp_path_factory.mktemp("prepared")))


def make_system(manifest, **options):
    torch.manual_seed(0)
    separator = make_both()["pair"]
    dataset = RemixedSegments(manifest.subset("train"), 500)
    loader = DataLoader(dataset, batch_sampler=DrawSampler(dataset, 2))
    learned = [parameter for parameter in separator.parameters() if parameter.requires_grad]
    return SeparatorSystem(separator, torch.optim.Adam(learned, lr=3e-3), loader, **options)


def masker_of(system):
    return {key: value.clone() for key, value in system.model.masker.named_parameters()}


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_training_results_in_the_average(manifest, tmp_path, decay):
    system, seen = make_system(manifest, ema_decay=decay), []
    system.on_train_batch_end = lambda *_: seen.append(masker_of(system))
    fit(system, tmp_path, max_steps=4)
    expected = seen[0]
    for weights in seen[1:]:
        expected = {
            key: decay * value + (1 - decay) * weights[key] for key, value in expected.items()
        }
    with system.final_weights():
        torch.testing.assert_close(masker_of(system), expected)
    assert all(torch.equal(value, seen[-1][key]) for key, value in masker_of(system).items())


def test_validation_is_the_evaluation_of_the_average(manifest, tmp_path, capsys):
    tracks = manifest.subset("test")
    system, seen = make_system(manifest, ema_decay=0.5), []
    validation = Validation(tracks, 500, every=2)

    def on_train_batch_end(*_):
        with system.final_weights():
            results, _ = evaluate_separation(
                {"x": separator_estimator(system.model.eval())}, tracks, 500
            )
        system.model.train()
        rows = results[results["representation"] == "x"]
        seen.append({name: rows[name].median() for name in rows if name in validation.history[0]})

    validation.history.append({"si_sdr_vocals": 0, "si_sdr_accompaniment": 0})
    system.on_train_batch_end = on_train_batch_end
    fit(system, tmp_path, [validation], max_steps=3)
    _, *history = validation.history
    assert [found.pop("step") for found in history] == [2, 3]
    for found, expected in zip(history, seen[1:], strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert system.model.training
    assert "Update 3, validation songs, SI-SDR in dB: vocals" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(ema_decay=1.0), "ema_decay must be at least 0 and below 1, got 1.0"),
        (dict(ema_decay=-0.1), "ema_decay must be at least 0 and below 1, got -0.1"),
    ],
)
def test_averages_that_make_no_sense(manifest, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make_system(manifest, **options)


def test_validation_needs_a_number_of_updates():
    with pytest.raises(ValueError, match="^valid_every must be an integer of at least 1, got 0"):
        Validation([], 500, 0)
