"""BSS Eval: scores are museval's, files are whole, tracks without scores are counted."""

import json
import os

import museval
import numpy as np
import pytest
import soundfile
import torch
from bsseval_tracks import SIZES, contents, forbidden, make_representations, sources, write_track
from mutations import mutated_json

from asteroid_sinudae import STFT, SinuDAE, informed_separation
from asteroid_sinudae.data.tracks import SAMPLE_RATE, SOURCES, Track
from asteroid_sinudae.evaluation import bsseval_runs
from asteroid_sinudae.evaluation import estimates as estimates_module
from asteroid_sinudae.evaluation.bsseval import METRICS, score_track, summary
from asteroid_sinudae.evaluation.bsseval_runs import evaluate_tracks
from asteroid_sinudae.evaluation.estimates import masked_estimates
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.models.representation import reach

# Estimates


@pytest.mark.parametrize("name", ["DAE", "STFT"])
def test_estimates_are_of_the_mask_and_its_complement(representations, tracks, name):
    representation, (vocals, accompaniment) = representations[name], sources(tracks[1])
    mixture = vocals + accompaniment
    estimates = masked_estimates(representation, vocals, accompaniment, threshold=0.7)
    with torch.no_grad():
        separated = informed_separation(
            representation, mixture, vocals, accompaniment, threshold=0.7
        )
        both = representation.decode(representation.encode(mixture), mixture.shape[-1])
    torch.testing.assert_close(estimates["vocals"], separated)
    # The decoders are linear
    torch.testing.assert_close(
        estimates["vocals"] + estimates["accompaniment"], both, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["DAE", "STFT"])
@pytest.mark.parametrize("length, block", [(20_000, 5000), (20_001, 6400), (12_801, 6400)])
def test_blocks_equal_the_whole(representations, monkeypatch, name, length, block):
    vocals, accompaniment = torch.randn(2, 1, 1, length, generator=torch.Generator().manual_seed(0))
    whole = masked_estimates(representations[name], vocals, accompaniment, block=length)
    blocks = masked_estimates(representations[name], vocals, accompaniment, block=block)
    for target in SOURCES:
        torch.testing.assert_close(blocks[target], whole[target], atol=1e-5, rtol=0)
    monkeypatch.setattr(estimates_module, "reach", lambda _: 0)
    cut = masked_estimates(representations[name], vocals, accompaniment, block=block)
    assert not torch.allclose(cut["vocals"], whole["vocals"], atol=1e-3)


@pytest.mark.parametrize("name", ["DAE", "STFT"])
def test_reach_bounds_what_a_sample_changes(representations, name):
    representation, here = representations[name], 10_000
    wav = torch.rand(1, 1, 20_000, generator=torch.Generator().manual_seed(0))
    changed = wav.clone()
    changed[..., here] += 10
    with torch.no_grad():
        before, after = (
            representation.decode(representation.encode(x), 20_000) for x in (wav, changed)
        )
    rounding = {"STFT": 0, "DAE": 1e-5}[name]  # of the smoothing; an STFT's is what reaches far
    different = ((before - after).abs() > rounding).nonzero()[:, -1]
    distance = (different - here).abs().max().item()
    assert reach(representation) / 3 < distance <= reach(representation)
    assert reach(representation) % representation.encoder.stride == 0


def test_reach_of_the_paper():
    encoder = SinuDAE(n_filters=2).encoder  # the reach is that of any number of channels
    config = {"kernel_size": 2048, "stride": 256, "smooth_kernel_size": 5, "smooth_dilation": 10}
    assert encoder.get_config().items() >= config.items()
    assert reach(SinuDAE(n_filters=2)) == 2 * 2048 + 20 * 256


# Scores


def test_scores_are_those_of_museval_on_the_same_arrays(representations, tracks, computed):
    output_dir, scores = computed
    for name, representation in representations.items():
        for track in tracks:
            references = sources(track)
            estimates = masked_estimates(representation, *references, threshold=0.5)
            arrays = [
                np.stack([signal[0, 0, :, None].numpy() for signal in signals])
                for signals in (references, estimates.values())
            ]
            expected = museval.evaluate(*arrays, win=SAMPLE_RATE, hop=SAMPLE_RATE)  # SDR, ISR, ...
            record = json.loads((output_dir / name / "test" / f"{track.name}.json").read_text())
            assert [target["name"] for target in record["targets"]] == list(SOURCES)
            for metric, values in zip(("SDR", "ISR", "SIR", "SAR"), expected, strict=True):
                for target, row in zip(record["targets"], values, strict=True):
                    written = [frame["metrics"][metric] for frame in target["frames"]]
                    np.testing.assert_allclose(written, row, atol=1.1e-5)
    frames = scores.store.df
    assert len(frames) == 2 * (3 + 2) * 2 * 4  # representations, frames, sources, metrics
    assert frames["score"].isna().sum() == 2 * 1 * 2 * 4


def test_summary_is_the_median_over_tracks_of_medians_over_audible_frames(computed):
    output_dir, scores = computed
    table = summary(scores.store)
    assert list(table.index) == [(name, target) for name in ("DAE", "STFT") for target in SOURCES]
    assert tuple(table.columns) == METRICS
    frames = scores.store.df.dropna()
    for (representation, target), row in table.iterrows():
        for metric, value in row.items():
            chosen = frames[
                (frames["method"] == representation)
                & (frames["target"] == target)
                & (frames["metric"] == metric)
            ]
            tracks = [np.median(rows["score"]) for _, rows in chosen.groupby("track")]
            assert len(tracks) == 2 and value == pytest.approx(np.median(tracks), abs=1e-9)
    for name in ("DAE", "STFT"):  # the files are what museval's own tools read
        store = museval.EvalStore()
        store.add_eval_dir(output_dir / name)
        medians = store.agg_frames_tracks_scores().unstack("metric")
        np.testing.assert_array_equal(medians.loc[list(SOURCES), list(METRICS)], table.loc[name])


def test_silent_frames_are_reported_and_counted(representations, tracks, output_dir, caplog):
    scores = evaluate_tracks(representations, tracks, output_dir, n_workers=1)
    assert [record.getMessage() for record in caplog.records] == [
        "A.b - c: vocals silent in 1 of 3 frames (1 s each), left out of the medians"
    ]
    assert scores.silent_frames == {
        "A.b - c": {"vocals": 1, "accompaniment": 0, "either": 1, "frames": 3},
        "D - e": {"vocals": 0, "accompaniment": 0, "either": 0, "frames": 2},
    }
    assert not scores.left_out and not scores.failed


def test_silent_estimates_are_reported(tmp_path, caplog):
    class Deaf(STFT):  # to signals of low level
        def encode(self, wav):
            return super().encode(torch.where(wav.abs() > 0.01, wav, 0))

    track = write_track(tmp_path, "quiet", 3.0)
    for target in SOURCES:
        samples, _ = soundfile.read(getattr(track, target))
        samples[SAMPLE_RATE : 2 * SAMPLE_RATE] *= 0.01
        samples[SAMPLE_RATE - 500 : SAMPLE_RATE] = samples[2 * SAMPLE_RATE :][:500] = 0
        soundfile.write(getattr(track, target), samples, SAMPLE_RATE, subtype="PCM_16")
    deaf = Deaf(n_fft=256, stride=96)
    scores = evaluate_tracks({"deaf": deaf}, [track], tmp_path / "museval", n_workers=1)
    assert scores.silent_frames["quiet"]["either"] == 0
    message = "deaf, quiet: no scores in 1 of 3 frames, left out of the medians"
    assert [record.getMessage().split(": the")[0] for record in caplog.records] == [message]
    assert np.isfinite(summary(scores.store)).all(axis=None)


def test_duration_takes_the_start_of_a_track(representations, tracks):
    frames = score_track(representations["STFT"], tracks[1], duration=1.5).scores["targets"][0][
        "frames"
    ]
    assert [frame["time"] for frame in frames] == [0.0]


# Files


def test_second_run_computes_and_changes_nothing(
    representations, tracks, computed, output_dir, monkeypatch
):
    before = contents(output_dir)
    monkeypatch.setattr(bsseval_runs, "score_track", forbidden)
    again = evaluate_tracks(representations, tracks, output_dir, n_workers=1)
    assert contents(output_dir) == before and len(before) == 4
    assert again.store.df.equals(computed[1].store.df)
    fewer = evaluate_tracks(representations, tracks[1:], output_dir, n_workers=1)
    assert set(fewer.store.df["track"]) == {"D - e"}  # not what else is in the folder


def test_interrupted_run_continues(tmp_path, representations, tracks, computed, monkeypatch):
    calls = []

    def interrupted(*args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(args)
        return score_track(*args, **kwargs)

    monkeypatch.setattr(bsseval_runs, "score_track", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_tracks(representations, tracks, tmp_path, n_workers=1)
    half = contents(tmp_path)
    assert {path.name for path in half} == {"A.b - c.json"} and len(half) == 2
    calls.clear()
    monkeypatch.setattr(
        bsseval_runs, "score_track", lambda *a, **k: calls.append(a) or score_track(*a, **k)
    )
    scores = evaluate_tracks(representations, tracks, tmp_path, n_workers=1)
    assert [track.name for _, track in calls] == ["D - e", "D - e"]
    assert contents(tmp_path).items() >= half.items()
    assert summary(scores.store).equals(summary(computed[1].store))


@pytest.mark.parametrize(
    "setting, options",
    [
        ("threshold", dict(threshold=0.6)),
        ("duration", dict(duration=2)),
        ("threshold, duration", dict(threshold=1, duration=1.5)),
    ],
)
def test_scores_of_other_settings_are_refused(
    representations, tracks, output_dir, setting, options
):
    before = contents(output_dir)
    message = rf"DAE has scores of another {setting} \(A.b - c.json\): remove it, or choose another"
    with pytest.raises(ValueError, match=f"^{output_dir}/{message} folder$"):
        evaluate_tracks(representations, tracks, output_dir, n_workers=1, **options)
    assert contents(output_dir) == before


def test_scores_of_another_model_or_audio_are_refused(
    tmp_path, representations, tracks, output_dir
):
    other = make_representations()
    with torch.no_grad():
        other["DAE"].encoder.filterbank.smooth_weight[0, 0, 0] += 1e-6
    with pytest.raises(ValueError, match="DAE has scores of another model .A.b - c.json."):
        evaluate_tracks(other, tracks, output_dir, n_workers=1)
    evaluate_tracks(make_representations(), tracks, output_dir, n_workers=1)
    (tmp_path / "other").mkdir()
    other = [write_track(tmp_path / "other", track.name, 2.0) for track in tracks]
    with pytest.raises(ValueError, match="DAE has scores of another audio .A.b - c.json."):
        evaluate_tracks(representations, other, output_dir, n_workers=1)


def test_files_that_are_not_whole_or_not_ours(representations, tracks, output_dir):
    path = output_dir / "STFT" / "test" / "D - e.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=f"^{path} is corrupted, expected JSON .*: remove it$"):
        evaluate_tracks(representations, tracks, output_dir, n_workers=1)
    for key, value, message in (
        ("settings", None, "settings must be an object, got None"),
        ("silent_frames", {}, "silent_frames.vocals is missing"),
        ("targets", [], "targets must be .*, got "),
        ("targets", json.loads(text)["targets"][:1] * 2, "targets must be .'vocals', 'accomp"),
    ):
        path.write_text(json.dumps({**json.loads(text), key: value}))
        with pytest.raises(ValueError, match=f"^{path}: {message}.*: remove it$"):
            evaluate_tracks(representations, tracks, output_dir, n_workers=1)
    record = json.loads(text)
    del record["targets"][0]["frames"][0]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"^{path}: frames of .* must be 2, got 1: remove it$"):
        evaluate_tracks(representations, tracks, output_dir, n_workers=1)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_scores_are_read_or_refused(seed, representations, tracks, output_dir):
    path = output_dir / "STFT" / "test" / "D - e.json"
    refused, content = 0, json.loads(path.read_text())
    for text in mutated_json(content, 100, seed):
        path.write_bytes(text)
        try:
            summary(evaluate_tracks(representations, tracks, output_dir, n_workers=1).store)
        except (ValueError, OSError):
            refused += 1
    assert 50 < refused < 100


def test_digest_differs_with_all_that_changes_scores():
    window = dict(n_fft=256, stride=96)
    models = [
        STFT(**window),
        STFT(**window, window="hann"),
        STFT(n_fft=256, stride=64),
        *(SinuDAE(**SIZES, decoder=decoder) for decoder in ("conv", "conv_tanh", "cos")),
        SinuDAE(**SIZES, exponent=1),
        SinuDAE(**SIZES, smooth_dilation=9),
        SinuDAE(**SIZES, encoder="sinc_smooth"),
    ]
    assert len({model_digest(model) for model in models}) == len(models)
    assert model_digest(STFT(**window)) == model_digest(models[0])
    assert model_digest(SinuDAE.from_pretrained(models[3].serialize())) == model_digest(models[3])
    for index in (3, 4):  # the same weights
        torch.manual_seed(0)
        models[index] = SinuDAE(**SIZES, decoder=("conv", "conv_tanh")[index - 3])
    assert model_digest(models[3]) != model_digest(models[4])


# Tracks that have no scores


@pytest.mark.parametrize(
    "seconds, silent, reason",
    [
        (2.0, ("vocals", slice(None)), "vocals silent throughout"),
        (2.0, ("accompaniment", slice(None)), "accompaniment silent throughout"),
        (2.5, ("vocals", slice(2 * SAMPLE_RATE)), "vocals silent throughout"),
        (0.5, None, "0.500 s, shorter than a frame of 1 s"),
    ],
)
def test_tracks_without_scores_are_left_out_and_counted(
    tmp_path, representations, tracks, output_dir, caplog, seconds, silent, reason
):
    track = write_track(tmp_path, "X", seconds, silent)
    scores = evaluate_tracks(representations, [track, *tracks], output_dir, n_workers=1)
    assert scores.left_out == {"X": reason} and not scores.failed
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count(f"X left out: {reason}") == 1 and len(messages) == 2
    assert set(scores.store.df["track"]) == {"A.b - c", "D - e"} == set(scores.silent_frames)
    with pytest.raises(ValueError, match=f"^no track can be scored, 1 tried: X: {reason}$"):
        evaluate_tracks(representations, [track], output_dir, n_workers=1)


def test_sources_that_never_sound_together(tmp_path, representations):
    track = write_track(tmp_path, "X", 2.0, ("vocals", slice(SAMPLE_RATE)))
    samples, _ = soundfile.read(track.accompaniment)
    samples[SAMPLE_RATE:] = 0
    soundfile.write(track.accompaniment, samples, SAMPLE_RATE, subtype="PCM_16")
    with pytest.raises(ValueError, match="X: no frame of 1 s in which both sources sound$"):
        evaluate_tracks(representations, [track], tmp_path / "museval", n_workers=1)


def test_estimates_that_are_silent_throughout_or_not_finite(
    tmp_path, representations, tracks, caplog
):
    options = dict(tracks=tracks[1:], n_workers=1)
    message = "D - e: the estimate of the vocals is silent throughout$"
    with pytest.raises(ValueError, match=message):
        evaluate_tracks(representations, output_dir=tmp_path / "high", threshold=1e9, **options)
    broken = make_representations()
    torch.nn.init.constant_(broken["DAE"].decoder.filterbank.phase, torch.nan)
    message = "D - e: ValueError: the estimate of the vocals is not finite$"
    with pytest.raises(ValueError, match=f"DAE, {message}"):
        evaluate_tracks(broken, output_dir=tmp_path / "nan", **options)


def test_a_track_that_fails_does_not_lose_the_others(
    tmp_path, representations, tracks, computed, output_dir, caplog
):
    bad = write_track(tmp_path, "X", 2.0)
    data = bad.accompaniment.read_bytes()
    bad.accompaniment.write_bytes(data[: len(data) // 2])
    scores = evaluate_tracks(representations, [bad, *tracks], output_dir, n_workers=1)
    reason = f"ValueError: length of {bad.accompaniment} must be 88200 samples, got 44"
    assert list(scores.failed) == ["DAE, X", "STFT, X"]
    assert all(line.startswith(reason) for line in scores.failed.values())
    assert f"STFT, X failed: {reason}" in caplog.text
    assert scores.store.df.equals(computed[1].store.df)
    bad.accompaniment.write_bytes(b"noise")
    scores = evaluate_tracks(representations, [bad, *tracks], output_dir, n_workers=1)
    assert "LibsndfileError: Error opening" in scores.failed["DAE, X"]
    assert "\n" not in scores.failed["DAE, X"]


def test_a_track_that_fails_for_one_representation_is_left_out_for_all(
    representations, tracks, output_dir
):
    (output_dir / "STFT" / "test" / "D - e.json").unlink()
    broken = {**representations, "STFT": STFT(n_fft=256, stride=96)}
    broken["STFT"].decode = None
    scores = evaluate_tracks(broken, tracks, output_dir, n_workers=1)
    assert list(scores.failed) == ["STFT, D - e"]
    assert set(scores.store.df["track"]) == {"A.b - c"} == set(scores.silent_frames)


# Processes


def test_two_workers_write_what_one_writes(tmp_path, representations, tracks, computed):
    scores = evaluate_tracks(representations, tracks, tmp_path, n_workers=2)
    expected = summary(computed[1].store)
    np.testing.assert_allclose(summary(scores.store), expected, atol=1e-3)


class Fatal(STFT):
    """Ends the process that it computes in, as a process is ended that takes too much memory."""

    def encode(self, wav):
        os._exit(9)


@pytest.mark.slow
def test_worker_that_is_killed(tmp_path, tracks):
    representation = Fatal(n_fft=256, stride=96)
    message = "one of n_workers=2 processes was killed, perhaps for want of memory: run it again"
    with pytest.raises(ValueError, match=message):
        evaluate_tracks({"fatal": representation}, tracks, tmp_path, n_workers=2)


# Arguments


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(threshold=-1), "threshold must be finite and not negative, got -1"),
        (dict(threshold=float("nan")), "threshold must be finite and not negative, got nan"),
        (dict(duration=0), "duration must be finite and at least 1 s, or None, got 0"),
        (dict(duration=-3.0), "duration must be finite and at least 1 s, or None, got -3.0"),
        (dict(duration=float("inf")), "duration must be finite and at least 1 s, or None, got inf"),
        (dict(n_workers=0), "n_workers must be 1 or more, or None, got 0"),
        (dict(tracks=[]), "no test tracks to evaluate, expected at least one"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, representations, tracks, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate_tracks(
            **{"models": representations, "tracks": tracks, "output_dir": tmp_path, **options}
        )
    assert not list(tmp_path.iterdir())


def test_names_and_rates_that_make_no_sense(tmp_path, representations, tracks):
    track = Track("../up", "test", 10, 0, tmp_path)
    with pytest.raises(ValueError, match="name must be that of a file, not a path, got '../up'"):
        evaluate_tracks(representations, [track], tmp_path)
    for name in ("", "..", "a/b"):
        with pytest.raises(ValueError, match=f"not a path, got '{name}'"):
            evaluate_tracks({name: representations["STFT"]}, tracks, tmp_path)
    with pytest.raises(ValueError, match="tracks must be of different names, got .'D - e', 'D - e"):
        evaluate_tracks(representations, [tracks[1]] * 2, tmp_path)
    slow = {"slow": STFT(n_fft=256, stride=96, sample_rate=8000)}
    with pytest.raises(ValueError, match="sample_rate of slow must be 44100 Hz, got 8000"):
        evaluate_tracks(slow, tracks, tmp_path)
    with pytest.raises(ValueError, match="block must be an integer of at least 1, got 0"):
        masked_estimates(representations["STFT"], torch.rand(1, 1, 9), torch.rand(1, 1, 9), block=0)


def test_folder_that_cannot_be_written(tmp_path, representations, tracks):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"cannot write {tmp_path}/file/.*A.b - c.json: "):
        evaluate_tracks(representations, tracks, tmp_path / "file", n_workers=1)
