"""Side signals: kept beside the means of the channels when asked for, and mixed with them."""

import numpy as np
import pytest
import soundfile
import torch
from wav_trees import audio, contents, noise, prepare

from asteroid_sinudae.data import prepare as preparation
from asteroid_sinudae.data.segments import RemixedSegments
from asteroid_sinudae.data.tracks import SIDES, SOURCES, Manifest, Track
from asteroid_sinudae.runs.training import data_digest

HALF_STEP = 0.5 / 2**15 + 1e-7


def read(path):
    return soundfile.read(path, dtype="float64")[0]


def test_they_are_half_of_left_minus_right(source, data_dir, tmp_path):
    manifest = prepare(data_dir, source, with_sides=True)
    for track in manifest.tracks:
        assert set(track.files) == {*SOURCES, *SIDES}
        folder = source / track.subset / track.name
        vocals, *others = (
            read(folder / f"{stem}.wav") for stem in ("vocals", "drums", "bass", "other")
        )
        for name, stereo in zip(SOURCES, (vocals, sum(others)), strict=True):
            mean, side = read(track.path(name)), read(track.path(f"{name}_side"))
            assert np.abs(side - (stereo[:, 0] - stereo[:, 1]) / 2).max() <= HALF_STEP
            assert np.abs(mean + side - stereo[:, 0]).max() <= 2 * HALF_STEP
    mono = prepare(tmp_path / "mono", source)
    for one, other in zip(mono.tracks, manifest.tracks, strict=True):
        assert one.names == SOURCES
        assert all(one.path(name).read_bytes() == other.path(name).read_bytes() for name in SOURCES)


def test_of_one_channel_there_is_silence_and_more_than_two_are_refused(track, data_dir):
    for stem in ("vocals", "drums", "bass", "other"):
        soundfile.write(track / f"{stem}.wav", noise(1, channels=1), 44100)
    (prepared,) = prepare(data_dir, track.parents[1], with_sides=True).tracks
    assert not any(read(prepared.path(name)).any() for name in SIDES)
    soundfile.write(track / "drums.wav", noise(1, channels=3), 44100)
    with pytest.raises(ValueError, match="drums.wav has 3 channels, expected 1 or 2"):
        prepare(data_dir, track.parents[1], with_sides=True)


def test_they_come_later_and_stay(source, data_dir, monkeypatch):
    prepare(data_dir, source)
    before = audio(data_dir)
    tracks = prepare(data_dir, source, with_sides=True).tracks
    after = audio(data_dir)
    assert len(after) == 2 * len(before) and after.items() >= before.items()
    damaged = tracks[0].path("accompaniment_side")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-2])
    with pytest.raises(ValueError, match="accompaniment_side.wav is damaged"):
        Manifest.load(data_dir)
    prepare(data_dir, source)  # without being asked for
    assert damaged.read_bytes() == whole
    before = contents(data_dir)
    monkeypatch.setattr(preparation, "read_sources", None)  # nothing is decoded
    assert all(track.has_sides for track in prepare(data_dir, source).tracks)
    assert all(track.has_sides for track in prepare(data_dir, source, with_sides=True).tracks)
    assert contents(data_dir) == before


def test_sound_files_are_not_written_again(source, data_dir):
    tracks = prepare(data_dir, source).tracks
    files = [track.path(name) for track in tracks for name in SOURCES]
    before = [path.stat().st_ino for path in files]
    prepare(data_dir, source, with_sides=True)
    assert [path.stat().st_ino for path in files] == before


@pytest.mark.parametrize("had_sides", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_a_damaged_record_is_no_obstacle(source, data_dir, caplog, had_sides, asked):
    track, *_ = prepare(data_dir, source, with_sides=had_sides).tracks
    (track.folder / "track.json").write_text("")
    if had_sides:
        track.path("vocals_side").unlink()
    manifest = prepare(data_dir, source, with_sides=asked)
    assert not manifest.skipped and manifest.tracks[0].has_sides == (had_sides or asked)
    assert "prepared again: train/A - 1" in caplog.text


def test_completing_what_is_there_is_no_warning(source, data_dir, caplog):
    prepare(data_dir, source)
    prepare(data_dir, source, with_sides=True)
    assert not caplog.records


def test_a_folder_in_the_place_of_a_file_costs_no_other_file(source, data_dir):
    track, *_ = prepare(data_dir, source, with_sides=True).tracks
    track.path("vocals_side").unlink()
    track.path("vocals_side").mkdir()
    before = audio(data_dir)
    (skipped,) = prepare(data_dir, source).skipped
    assert "vocals_side.wav is a folder, expected a file or nothing: move it" in skipped["reason"]
    assert audio(data_dir) == before


def test_a_file_of_the_user_in_their_place_is_left_alone(source, data_dir):
    tracks = prepare(data_dir, source).tracks
    (tracks[0].folder / "vocals_side.wav").write_text("mine")
    manifest = prepare(data_dir, source, with_sides=True)
    assert "A - 1 holds vocals_side.wav without a track.json" in manifest.skipped[0]["reason"]
    assert (tracks[0].folder / "vocals_side.wav").read_text() == "mine"


def test_remixed_segments_are_any_mix_of_the_channels(source, data_dir):
    tracks = prepare(data_dir, source, with_sides=True).subset("train")[:1]
    (track,) = tracks
    one = RemixedSegments(tracks, track.n_samples, (0.0, 0.0), pan=1.0)
    kept = RemixedSegments(tracks, track.n_samples, (0.0, 0.0), pan=1.0, keep_on="cpu")
    weights = []
    for number in range(60):
        for name, found, same in zip(SOURCES, one[number], kept[number], strict=True):
            assert torch.equal(found, same)
            channels = np.stack([read(track.path(name)), read(track.path(f"{name}_side"))], axis=1)
            factors, *_ = np.linalg.lstsq(channels, found[0].numpy(), rcond=None)
            assert abs(abs(factors[0]) - 1) < 1e-5  # a sign
            assert np.abs(channels @ factors - found[0].numpy()).max() < 1e-5
            weights.append(factors[1] / factors[0])
    assert -1 <= min(weights) < -0.8 and 0.8 < max(weights) <= 1


def test_without_pan_nothing_changes(source, data_dir):
    tracks = prepare(data_dir, source, with_sides=True).subset("train")
    without = [
        Track(track.name, track.subset, track.n_samples, track.n_clipped, track.folder)
        for track in tracks
    ]
    one, other = RemixedSegments(tracks, 1000, seed=2), RemixedSegments(without, 1000, seed=2)
    for number in range(5):
        assert all(map(torch.equal, one[number], other[number]))


def test_a_training_with_pan_knows_its_sides(source, data_dir):
    tracks = prepare(data_dir, source, with_sides=True).subset("train")
    names = RemixedSegments(tracks, 1000, pan=1.0).names
    assert data_digest(tracks, names) != data_digest(tracks)
    assert RemixedSegments(tracks, 1000).names == SOURCES
