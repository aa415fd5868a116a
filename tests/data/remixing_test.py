"""Mixtures that are drawn from songs, and the order in which a training sees them."""

import numpy as np
import pytest
import torch
from prepared import write_data, write_track

from asteroid_sinudae.data.sampler import DrawSampler
from asteroid_sinudae.data.segments import RemixedSegments
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest

SEGMENT = 100


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Songs that are ramps of levels of their own; the last has hardly any vocals."""
    root = tmp_path_factory.mktemp("prepared")
    made = []
    for number, (name, n_samples) in enumerate({"a": 300, "b": 600, "c": 60}.items()):
        ramp = (np.arange(n_samples) + 1000 * (number + 1)) / 2**15
        made.append(write_track(root, name, ramp, -ramp, subset="train"))
    silent = np.zeros(400)
    silent[390:] = 0.5
    made.append(write_track(root, "d", silent, silent + 0.25, subset="train"))
    return Manifest.load(write_data(root, made)).subset("train")


def place_of(segment, sign):
    """Song and first sample of a segment of a ramp, and its gain, from its ends."""
    first, last = (float(value) for value in segment[0, [0, -1]])
    step = (last - first) / (SEGMENT - 1)
    start = round(first / step)
    return start // 1000 - 1, start % 1000, sign * step * 2**15


def ramp_of(place, sign):
    song, start, gain = place
    return sign * gain * (torch.arange(SEGMENT) + start + 1000 * (song + 1)) / 2**15


def test_items_are_segments_at_levels_of_their_own(tracks):
    dataset = RemixedSegments(tracks[:2], SEGMENT, (-6.0, 6.0), seed=1)
    found = []
    for number in range(300):
        pair = dataset[number]
        for segment, sign in zip(pair, (1, -1), strict=True):
            place = place_of(segment, sign)
            assert segment.shape == (1, SEGMENT)
            torch.testing.assert_close(segment[0], ramp_of(place, sign), atol=1e-4, rtol=1e-3)
            found.append(place)
    vocals, accompaniment = np.array(found[::2]), np.array(found[1::2])
    songs, starts, gains = vocals.T
    assert np.mean(songs == 1) == pytest.approx(600 / 900, abs=0.1)
    assert starts[songs == 1].max() > 480 and starts[songs == 1].min() < 20 and starts.max() <= 500
    decibels = 20 * np.log10(np.abs(gains))
    assert -6.1 <= decibels.min() < -5 and 5 < decibels.max() <= 6.1
    assert np.mean(gains > 0) == pytest.approx(0.5, abs=0.1)
    matched = (accompaniment[:, :2] == vocals[:, :2]).all(1)
    assert 0.04 < matched.mean() < 0.2


def test_an_item_is_always_the_same_and_depends_on_the_seed(tracks):
    one, other = (RemixedSegments(tracks, SEGMENT, seed=3, keep_on=keep) for keep in (None, "cpu"))
    for number in (7, 0, 123_456_789):
        for mine, theirs in zip(one[number], other[number], strict=True):
            assert torch.equal(mine, theirs)
    another = RemixedSegments(tracks, SEGMENT, seed=4)
    assert not torch.equal(one[0][0], another[0][0])


def test_places_without_vocals_are_rare(tracks):
    dataset = RemixedSegments(tracks[3:], SEGMENT, (0.0, 0.0))
    silent = np.mean([float(dataset[number][0].abs().max()) == 0 for number in range(200)])
    # Three in a hundred places have vocals; without a second draw nearly all would be silent.
    assert 0 < silent < 0.95


def test_songs_shorter_than_a_segment_end_in_silence(tracks):
    vocals, _ = RemixedSegments(tracks[2:3], SEGMENT)[0]
    assert vocals[0, :60].abs().min() > 0 and vocals[0, 60:].abs().max() == 0


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A song of two tones, of 400 and 1000 Hz."""
    root, times = tmp_path_factory.mktemp("tones"), np.arange(40000) / SAMPLE_RATE
    vocals, accompaniment = (0.5 * np.sin(2 * np.pi * f * times) for f in (400.0, 1000.0))
    made = [write_track(root, "tones", vocals, accompaniment, subset="train")]
    return Manifest.load(write_data(root, made)).subset("train")


def frequency_of(segment):
    """Frequency of a tone, in Hz, from the distance between its first and last rise through 0."""
    signs = (segment[0] > 0).int()
    rises = (signs.diff() > 0).nonzero()[:, 0]
    return float((len(rises) - 1) * SAMPLE_RATE / (rises[-1] - rises[0]))


def test_sources_are_transposed(tones):
    dataset = RemixedSegments(tones, 20000, (0.0, 0.0), seed=2, semitones=2)
    found = set()
    for number in range(80):
        pair = dataset[number]
        assert all(segment.shape == (1, 20000) for segment in pair)
        ratios = [frequency_of(s) / f for s, f in zip(pair, (400.0, 1000.0), strict=True)]
        steps = [12 * np.log2(ratio) for ratio in ratios]
        assert steps == pytest.approx(np.round(steps).tolist(), abs=0.06)
        found.add(tuple(np.round(steps).astype(int).tolist()))
    assert {step for pair in found for step in pair} == {-2, -1, 0, 1, 2}
    assert any(a != b for a, b in found)


def test_a_place_is_transposed_as_one(tones, monkeypatch):
    monkeypatch.setattr("asteroid_sinudae.data.segments.SHARE_OF_MATCHED", 1.0)
    dataset = RemixedSegments(tones, 20000, semitones=4)
    ratios = [frequency_of(v) / frequency_of(a) for v, a in map(dataset.__getitem__, range(30))]
    assert ratios == pytest.approx([0.4] * 30, rel=2e-3)


def test_transposed_segments_end_in_silence_too(tracks):
    dataset = RemixedSegments(tracks[2:3], SEGMENT, seed=1, semitones=4)
    lengths = {int(dataset[number][0].abs().gt(1e-3).nonzero()[-1, 1]) for number in range(40)}
    assert min(lengths) < 55 and 65 < max(lengths) < SEGMENT - 1


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_sampler_counts_on(tracks, world_size):
    dataset = RemixedSegments(tracks, SEGMENT)
    # The number of whole segments, as those of an epoch of a representation.
    assert len(dataset) == sum(-(-track.n_samples // SEGMENT) for track in tracks)
    numbers = []
    for rank in range(world_size):
        sampler = DrawSampler(dataset, 4, rank, world_size)
        found = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found += list(sampler)
        assert len(found) == 2 * len(sampler)
        sampler.set_step(len(sampler) + 1)
        assert list(sampler) == found[len(sampler) + 1 :]
        numbers.append(found)
    together = [sum(shares, []) for shares in zip(*numbers, strict=True)]
    assert sum(together, []) == list(range(4 * len(together)))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(segment=0), "segment must be 1 or more, got 0"),
        (dict(segment=3601 * SAMPLE_RATE), "segment must be at most"),
        (dict(gain_range=(4.0, -4.0)), r"gain_range must be two of -60 to 60 \(dB\), got \(4.0, -"),
        (dict(gain_range=(float("nan"), 0.0)), "gain_range must be two of -60 to 60"),
        (dict(gain_range=(-61.0, 0.0)), "gain_range must be two of -60 to 60"),
        (dict(pan=1.5), "pan must be 0 to 1, got 1.5"),
        (dict(pan=float("nan")), "pan must be 0 to 1, got nan"),
        (dict(pan=0.5), "pan=0.5 needs side signals, 'a' has none: prepare the data again"),
        (dict(semitones=5), "semitones must be an integer, 0 to 4, got 5"),
        (dict(semitones=-1), "semitones must be an integer, 0 to 4, got -1"),
        (dict(semitones=0.5), "semitones must be an integer, 0 to 4, got 0.5"),
        (dict(seed=-1), "seed must be 0 or more, got -1"),
        (dict(tracks=[]), "tracks must be at least one track"),
    ],
)
def test_arguments_that_make_no_sense(tracks, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        RemixedSegments(**{"tracks": tracks, "segment": SEGMENT, **options})
