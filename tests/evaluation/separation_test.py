"""Separators on the pair and on the STFT: one masker, one objective, the same batches; scores."""

import museval
import numpy as np
import pytest
import soundfile
import torch
from helpers import RECIPE
from small_separators import (
    CONV_TASNET,
    NAMES,
    PAIR,
    SIZES,
    STFT_NAME,
    make_both,
    make_pair,
    write_noisy_tone,
)
from torch.utils.data import DataLoader
from trainings import STEPS_PER_EPOCH, assert_same_bits, every_step, fit, state_of

from asteroid_sinudae import STFT, SinuDAE
from asteroid_sinudae.data.sampler import SetShuffleSampler
from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.data.tracks import SAMPLE_RATE, SOURCES, Manifest
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.bsseval import score_track
from asteroid_sinudae.evaluation.bsseval_runs import evaluate_tracks
from asteroid_sinudae.evaluation.estimates import (
    masked_estimates,
    mixture_estimator,
    separated_estimates,
    separator_estimator,
)
from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.losses import bounded_neg_snr
from asteroid_sinudae.models.baselines import STFTConvTasNet
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.runs.front_ends import NORMS
from asteroid_sinudae.training.separator_system import SeparatorSystem
from asteroid_sinudae.utils.files import save_atomically


@pytest.fixture
def tracks(data_dir):
    return Manifest.load(data_dir).subset("train")


@pytest.fixture
def test_tracks(data_dir):
    return Manifest.load(data_dir).subset("test")


# The separators


@pytest.mark.parametrize("name", NAMES)
def test_a_separator_is_a_masker_on_a_representation(name):
    pair = make_pair()
    representation = {"pair": pair, STFT_NAME: STFT(**SIZES)}[name]
    separator = make_both(pair)[name]
    wav = torch.randn(3, 1, 1001)
    with torch.no_grad():
        rep = representation.encode(wav)
        masks = separator.masker(representation.magnitude(rep))
        expected = [representation.decode(rep * mask, 1001) for mask in masks.unbind(1)]
        found = separator(wav)
    assert masks.shape == (3, 2, *rep.shape[1:]) and masks.std() > 0.01
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-5, rtol=1e-4)


def test_both_have_the_same_masker_and_only_it_to_learn():
    separators = make_both()
    configs = [separator.masker.get_config() for separator in separators.values()]
    sizes = [(config.pop("in_chan"), config.pop("out_chan")) for config in configs]
    assert configs[0] == configs[1] and configs[0].items() >= CONV_TASNET.items()
    assert sizes == [(8, 8), (33, 33)]
    for separator in separators.values():
        learned = [name for name, p in separator.named_parameters() if p.requires_grad]
        assert learned and all(name.startswith("masker.") for name in learned)


@pytest.mark.parametrize("shape", [(500,), (2, 500), (2, 1, 500)])
def test_stft_separator_from_its_file(tmp_path, shape):
    separator = make_both(mask_act="relu", n_blocks=1)[STFT_NAME]
    path = tmp_path / "model.pth"
    save_atomically(separator.serialize(), path)
    loaded = STFTConvTasNet.from_pretrained(path)
    assert loaded.get_model_args() == separator.get_model_args()
    assert loaded.sample_rate == separator.sample_rate == SAMPLE_RATE
    wav = torch.randn(shape)
    estimates = loaded(wav)
    assert estimates.shape == ((2, 500) if len(shape) == 1 else (2, 2, 500))
    assert torch.equal(estimates, separator(wav))


@pytest.mark.parametrize(
    "option, message",
    [
        (dict(n_blocks=0), "n_blocks must be an integer of at least 1, got 0"),
        (dict(n_repeats=1.5), "n_repeats must be an integer of at least 1, got 1.5"),
        (dict(conv_kernel_size=4), "conv_kernel_size must be odd, to keep frames in place, got 4"),
        (dict(skip_chan=-1), "skip_chan must be 0 or more, got -1"),
        (dict(norm_type="BN"), "norm_type must be one of 'gLN', 'fgLN', 'cLN', 'cgLN', 'bN', got"),
        (dict(norm_type="_LayerNorm"), "norm_type must be one of 'gLN', .* got '_LayerNorm'"),
        (dict(mask_act="round"), "Could not interpret activation identifier: round"),
    ],
)
def test_maskers_that_make_no_sense(option, message):
    with pytest.raises(ValueError, match=message):
        make_both(**option)


def test_the_norms_and_activations_that_the_configuration_offers_work():
    lines = (RECIPE / "local" / "conf_separator.yml").read_text().splitlines()
    offered = {}
    for key in ("norm_type", "mask_act"):
        (line,) = (line for line in lines if line.strip().startswith(f"{key}:"))
        offered[key] = [
            word for word in line.split("#")[1].replace(",", " ").split() if word.isalpha()
        ]
    assert offered["norm_type"] == list(NORMS) and len(offered["mask_act"]) == 3
    wav = torch.randn(2, 1, 500)
    for key, values in offered.items():
        for value in values:
            for separator in make_both(**{key: value}).values():
                assert separator(wav).isfinite().all(), value


# The objective


def reference_loss(estimate, source, mixture, snr_max):
    estimate, source, mixture = (x.double().numpy() for x in (estimate, source, mixture))
    floor = np.sum(mixture**2) * 10 ** (-snr_max / 10)
    return -10 * np.log10((np.sum(source**2) + floor) / (np.sum((source - estimate) ** 2) + floor))


def test_objective_against_a_reference():
    sources, estimates = torch.randn(2, 3, 2, 400)
    found = bounded_neg_snr(estimates, sources, snr_max=12.0)
    for signal in range(3):
        for n in range(2):
            mixture = sources[signal].sum(0)
            expected = reference_loss(estimates[signal, n], sources[signal, n], mixture, 12.0)
            assert found[signal, n].item() == pytest.approx(expected, abs=1e-4)
    assert (bounded_neg_snr(sources, sources, 12.0) > -15.5).all()  # bounded where exact
    plain = 10 * torch.log10((sources - estimates).square().sum(-1) / sources.square().sum(-1))
    torch.testing.assert_close(bounded_neg_snr(estimates, sources, 90.0), plain)


def test_objective_of_silence():
    sources = torch.stack([torch.zeros(400), torch.randn(400)])[None]
    estimates = (0.1 * torch.randn(1, 2, 400)).requires_grad_()
    loss = bounded_neg_snr(estimates, sources)
    (gradient,) = torch.autograd.grad(loss[0, 0], estimates)
    assert loss[0, 0] > 1 and (gradient[0, 0] * estimates[0, 0] > 0).all()  # towards silence
    assert bounded_neg_snr(0 * estimates, sources)[0, 0] == 0
    assert bounded_neg_snr(estimates, 0 * sources).isfinite().all()


@pytest.mark.parametrize("level", [1e-4, 1e-2, 1.0])
def test_objective_of_good_estimates_at_every_level(level):
    sources = torch.randn(1, 2, 400)
    estimates = sources + 1e-4 * torch.randn(1, 2, 400)
    expected = reference_loss(estimates[0, 0], sources[0, 0], sources[0].sum(0), 75.0)
    found = bounded_neg_snr(level * estimates, level * sources, 75.0)
    assert found[0, 0].item() == pytest.approx(expected, abs=0.05)


# Training


def make_system(separator, tracks, **options):
    sampler = SetShuffleSampler(TrainSegments(tracks, segment=500, hop=250), batch_size=4, seed=1)
    learned = [parameter for parameter in separator.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=3e-3, fused=True)
    dataset = TrainSegments(tracks, segment=500, hop=250)
    loader = DataLoader(dataset, batch_sampler=sampler)
    return SeparatorSystem(separator, optimizer, loader, **options)


@pytest.mark.parametrize("name", NAMES)
def test_one_update_is_that_of_adam_on_the_masker(tracks, tmp_path, name):
    system = make_system(make_both()[name], tracks, snr_max=20.0)
    before = {key: value.clone() for key, value in system.model.state_dict().items()}
    batch = []
    system.on_train_batch_start = lambda sources, _: batch.extend(sources)
    trainer = fit(system, tmp_path, max_steps=1)
    after = system.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    masker = {key for key in before if key.startswith("masker.")}
    # A bias before gLN has no effect, and with 0 as its gradient Adam leaves it.
    assert changed <= masker and len(masker - changed) < len(masker) / 4

    twin = make_both()[name]
    vocals, accompaniment = batch
    loss = bounded_neg_snr(
        twin(vocals + accompaniment), torch.cat([vocals, accompaniment], dim=1), 20.0
    ).mean()
    assert trainer.callback_metrics["loss"].item() == pytest.approx(loss.item(), abs=1e-4)
    loss.backward()
    torch.optim.Adam(twin.masker.parameters(), lr=3e-3).step()
    torch.testing.assert_close(twin.state_dict(), after, atol=1e-5, rtol=1e-4)


def test_training_lowers_the_loss(tracks, tmp_path):
    system = make_system(make_both()[STFT_NAME], tracks)
    losses = []
    system.on_train_batch_end = lambda outputs, *_: losses.append(outputs["loss"].item())
    fit(system, tmp_path, max_epochs=15)
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.3


@pytest.mark.parametrize("name", NAMES)
def test_run_cut_off_after_any_update_ends_where_an_uncut_one_ends(tracks, tmp_path, name):
    whole = make_system(make_both()[name], tracks)
    fit(whole, tmp_path, [every_step(tmp_path / "checkpoints")], max_epochs=2)
    for step in (1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 2):
        other_pair = SinuDAE(**PAIR)  # nothing of it may be left
        resumed = make_system(make_both(other_pair)[name], tracks)
        path = tmp_path / f"checkpoints/step={step}.ckpt"
        trainer = fit(resumed, tmp_path, ckpt_path=path, max_epochs=2)
        assert trainer.global_step == 2 * STEPS_PER_EPOCH
        assert_same_bits(state_of(resumed), state_of(whole))


def test_objectives_that_make_no_sense(tracks):
    with pytest.raises(ValueError, match="snr_max must be positive .dB., got 0"):
        make_system(make_both()[STFT_NAME], tracks, snr_max=0)


# Evaluation


def reference_si_sdr(estimate, source):
    estimate, source = estimate.double().numpy().ravel(), source.double().numpy().ravel()
    target = source * (estimate @ source) / (source @ source)
    return 10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2))


def read_segment(track, start, length):
    signals = [
        soundfile.read(getattr(track, source), length, start, dtype="float32")[0]
        for source in SOURCES
    ]
    return [torch.from_numpy(signal)[None, None] for signal in signals]


def test_scores_are_those_of_each_segment(test_tracks):
    separator = make_both()["pair"]
    stft = STFT(**SIZES)

    def informed(vocals, accompaniment):
        return masked_estimates(stft, vocals, accompaniment, 1.0)

    estimators = {"separator": separator_estimator(separator), "informed": informed}
    results, n_left_out = evaluate_separation(estimators, test_tracks, segment=1000, batch_size=3)
    found = results.set_index(["track", "start", "representation"])
    # 89 segments of f, of which the last is whole zeros after 200 samples; g has 3, one without
    # accompaniment.
    assert len(found) == 3 * (89 + 2) and n_left_out == 1
    for track, start in ((test_tracks[0], 7000), (test_tracks[1], 0)):
        sources = read_segment(track, start, 1000)
        mixture = sum(sources)
        with torch.no_grad():
            estimates = {
                "separator": separator(mixture).split(1, dim=1),
                "informed": list(informed(*sources).values()),
                MIXTURE: [mixture, mixture],
            }
        for name, signals in estimates.items():
            row = found.loc[(track.name, start, name)]
            for source, signal, truth in zip(SOURCES, signals, sources, strict=True):
                expected = reference_si_sdr(signal, truth)
                unprocessed = reference_si_sdr(mixture, truth)
                assert row[f"si_sdr_{source}"] == pytest.approx(expected, abs=1e-3)
                assert row[f"si_sdri_{source}"] == pytest.approx(expected - unprocessed, abs=1e-3)
    assert (results.loc[results["representation"] == MIXTURE, "si_sdri_vocals"] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_separator_that_is_not_finite_is_named(test_tracks, name):
    separators = make_both()
    with torch.no_grad():
        next(separators[name].masker.parameters()).fill_(float("nan"))
    estimators = {key: separator_estimator(value) for key, value in separators.items()}
    with pytest.raises(ValueError, match=f"^{name}: estimates must be finite, got NaN or inf"):
        evaluate_separation(estimators, test_tracks, segment=1000)


def test_nothing_to_evaluate(tmp_path):
    estimators = {"mixture": mixture_estimator}
    with pytest.raises(ValueError, match="no test tracks to evaluate, expected at least one"):
        evaluate_separation(estimators, [])
    for source in SOURCES:
        track = write_noisy_tone(tmp_path / source, "test", "h", 2000, (source, slice(None)))
        with pytest.raises(ValueError, match="none of 2 test segments has both sources"):
            evaluate_separation(estimators, [track], segment=1000)


def test_whole_tracks_are_separated_in_chunks_that_fade():
    separator = make_both()[STFT_NAME]
    mixture = torch.randn(1, 1, 1000)
    with torch.no_grad():
        whole = separator(mixture)
        first, last = separator(mixture[..., :600]), separator(mixture[..., 400:])
    found = separated_estimates(separator, mixture)
    assert list(found) == list(SOURCES)
    assert torch.equal(torch.cat(list(found.values()), dim=1), whole)
    chunks = separated_estimates(separator, mixture, chunk=600, overlap=200)
    for n, source in enumerate(SOURCES):
        assert torch.equal(chunks[source][..., :400], first[:, n : n + 1, :400])
        assert torch.equal(chunks[source][..., 600:], last[:, n : n + 1, 200:])


def test_museval_of_a_separator(test_tracks, tmp_path):
    separator, track = make_both()["pair"], test_tracks[0]
    sources = read_segment(track, 0, track.n_samples)
    with torch.no_grad():
        estimates = separator(sum(sources))[0, :, :, None].numpy()
    references = np.stack([source[0, 0, :, None].numpy() for source in sources])
    sdr, *_ = museval.evaluate(references, estimates, win=SAMPLE_RATE, hop=SAMPLE_RATE)
    for target, expected in zip(score_track(separator, track).scores["targets"], sdr, strict=True):
        found = [float(frame["metrics"]["SDR"]) for frame in target["frames"]]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    options = dict(tracks=[track], output_dir=tmp_path / "museval", n_workers=1)
    evaluate_tracks({"separator": separator}, **options)
    with pytest.raises(ValueError, match="has scores of another model"):
        evaluate_tracks({"separator": make_both(mask_act="relu")["pair"]}, **options)


def test_digest_knows_the_masker():
    # The same parameters, of which dilations make another function.
    digests = []
    for masker in (dict(n_blocks=4, n_repeats=1), dict(n_blocks=2, n_repeats=2)):
        torch.manual_seed(0)
        digests.append(model_digest(STFTConvTasNet(2, **{**SIZES, **CONV_TASNET, **masker})))
    assert digests[0] != digests[1]
