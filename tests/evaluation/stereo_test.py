"""BSSEval of the songs of MUSDB18 in stereo."""

import json
import shutil
from pathlib import Path

import musdb
import museval
import numpy as np
import pytest
import soundfile
import stempeg
import torch
import yaml
from bsseval_tracks import CONF
from helpers import call
from prepared import write_data
from songs_on_disk import noise, write

from asteroid_sinudae import STFTConvTasNet
from asteroid_sinudae.data.musdb18 import SourceTrack, read_sources, read_stereo
from asteroid_sinudae.data.tracks import SAMPLE_RATE, SOURCES
from asteroid_sinudae.evaluation.bsseval import METRICS, score_track
from asteroid_sinudae.evaluation.estimates import masked_estimates

STEMS = ("mixture", "drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A WAV tree of one test song, whose channels differ, as musdb reads it."""
    folder = tmp_path_factory.mktemp("musdb18")
    rng = np.random.default_rng(0)
    stems = rng.uniform(-0.1, 0.1, (4, 2 * SAMPLE_RATE + 99, 2))
    for stem, audio in zip(STEMS, [stems.sum(0), *stems], strict=True):
        path = folder / "test" / "A - b" / f"{stem}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, audio, subtype="FLOAT")
    (folder / "train").mkdir()
    shutil.copytree(folder / "test" / "A - b", folder / "train" / "C - d")
    return folder


@pytest.fixture(scope="module")
def track(root):
    return SourceTrack("test/A - b", root / "test" / "A - b")


def test_sources_are_those_of_musdb(root, track):
    (reference,) = musdb.DB(root, is_wav=True, subsets="test").tracks
    read = read_stereo(track)
    for source in SOURCES:
        assert read[source].shape == (2 * SAMPLE_RATE + 99, 2)
        expected = reference.targets[source].audio
        np.testing.assert_allclose(read[source], expected, rtol=0, atol=2**-13)  # musdb rounds


def test_stem_files_have_the_channels_of_which_prepared_data_is_the_mean():
    track = SourceTrack("test/x", Path(stempeg.example_stem_path()))
    stereo, mono = read_stereo(track), read_sources(track).audio
    for source in SOURCES:
        steps = np.clip(stereo[source].mean(axis=1) * 2**15, -(2**15), 2**15 - 1)
        assert np.abs(steps - mono[source]).max() <= 0.51
    assert np.abs(stereo["vocals"][:, 0] - stereo["vocals"][:, 1]).max() > 0.01


def test_one_channel_goes_to_both_and_three_are_refused(tmp_path):
    for stem in STEMS[1:]:
        write(tmp_path / f"{stem}.wav", noise(5000, channels=1))
    read = read_stereo(SourceTrack("test/x", tmp_path))
    assert read["vocals"].shape == (5000, 2)
    assert np.array_equal(*read["vocals"].T)
    write(tmp_path / "bass.wav", noise(5000, channels=3))
    with pytest.raises(ValueError, match="bass.wav has 3 channels, expected 1 or 2$"):
        read_stereo(SourceTrack("test/x", tmp_path))


def test_other_rates_are_resampled(tmp_path):
    for stem in STEMS[1:]:
        write(tmp_path / f"{stem}.wav", noise(5000), rate=22050)
    read = read_stereo(SourceTrack("test/x", tmp_path))
    assert read["accompaniment"].shape == (10000, 2)


def test_channels_are_estimated_each_by_itself_and_scored_together(representations, track):
    sources = stereo_sources(track)
    estimates = masked_estimates(representations["DAE"], *sources[:, :, None])
    expected = torch.stack([estimates[source][:, 0] for source in SOURCES])
    check_scores(score_track(representations["DAE"], track), expected, sources)


def test_separators_hear_mid_and_side(track):
    separator = STFTConvTasNet(
        2, n_fft=64, stride=16, sample_rate=SAMPLE_RATE, n_blocks=2, n_repeats=1
    ).eval()
    sources = stereo_sources(track)
    left, right = sources.sum(0)
    with torch.no_grad():
        mid, side = (separator(each / 2) for each in (left + right, left - right))
    expected = torch.stack([mid + side, mid - side], dim=1)  # (source, channels, time)
    check_scores(score_track(separator, track), expected, sources)


def stereo_sources(track):
    """True sources of a track, `(source, channels, time)`."""
    references = read_stereo(track)
    return torch.stack([torch.from_numpy(references[source].T) for source in SOURCES])


def check_scores(store, estimates, sources):
    """Compare scores with those of estimates and true sources, `(source, channels, time)`."""
    true, estimated = (each.mT.numpy() for each in (sources, estimates))
    expected = museval.evaluate(true, estimated, win=SAMPLE_RATE, hop=SAMPLE_RATE)
    found = store.df.set_index(["target", "metric"]).score
    for number, source in enumerate(SOURCES):
        for metric, values in zip(("SDR", "ISR", "SIR", "SAR"), expected[:4], strict=True):
            np.testing.assert_allclose(found[source, metric], values[number], atol=1e-4)


def test_script_scores_the_songs_of_a_folder_in_stereo(tmp_path, representations, tracks, root):
    data_dir = write_data(tracks[0].folder.parents[1], tracks)
    exp_dir = tmp_path / "exp"
    exp_dir.mkdir()
    (exp_dir / "conf.yml").write_text(yaml.safe_dump(CONF))
    torch.save(representations["DAE"].serialize(), exp_dir / "best_model.pth")
    options = dict(exp_dir=exp_dir, data_dir=data_dir, n_workers=1, stereo_dir=root)
    call("eval_museval.py", **options)
    result = json.loads((exp_dir / "museval_stereo.json").read_text())
    assert result["source"] == {"kind": "wav", "path": str(root)} and result["test_tracks"] == 1
    assert set(result["medians"]["STFT"]["vocals"]) == set(METRICS)
    assert (exp_dir / "museval_stereo" / "STFT" / "test" / "A - b.json").is_file()
    assert not (exp_dir / "museval.json").exists()
    with pytest.raises(SystemExit, match="^eval_museval.py: no tracks found under .*nowhere"):
        call("eval_museval.py", **{**options, "stereo_dir": tmp_path / "nowhere"})


def test_a_song_without_stems_is_one_line(representations, tmp_path):
    soundfile.write(tmp_path / "drums.wav", noise(5000), SAMPLE_RATE)
    with pytest.raises(ValueError, match=r"missing stem\(s\) vocals.wav"):
        score_track(representations["STFT"], SourceTrack("test/x", tmp_path))
