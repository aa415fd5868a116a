import pickle

import numpy as np
import pytest
import soundfile
import torch

from asteroid_sinudae.data.sampler import SetShuffleSampler
from asteroid_sinudae.data.segments import TestSegments, TrainSegments, segment_starts
from asteroid_sinudae.data.tracks import Track

SEGMENT, HOP = 40, 20
LENGTHS = (100, 95, 30, 141, 60, 61)  # samples; 4, 4, 1, 7, 2 and 3 segments


@pytest.fixture
def tracks(tmp_path):
    """Tracks whose samples count up, the vocals from 0 and the accompaniment from -1 down."""
    result, first = [], 0
    for number, n_samples in enumerate(LENGTHS):
        track = Track(str(number), "train", n_samples, 0, tmp_path / str(number))
        track.folder.mkdir()
        counter = np.arange(first, first + n_samples, dtype=np.int16)
        soundfile.write(track.vocals, counter, 44100, subtype="PCM_16")
        soundfile.write(track.accompaniment, -1 - counter, 44100, subtype="PCM_16")
        result.append(track)
        first += n_samples
    return result


@pytest.mark.parametrize("n_samples", [1, 39, 40, 41, 60, 61, 100])
def test_segments_cover_every_sample(n_samples):
    starts = segment_starts(n_samples, SEGMENT, HOP)
    covered = {sample for start in starts for sample in range(start, start + SEGMENT)}
    assert covered >= set(range(n_samples))
    assert all(start + SEGMENT - HOP < n_samples for start in starts[1:])  # none is superfluous


def test_segments_of_the_paper():
    assert list(segment_starts(44100 * 2, 44100, 22050)) == [0, 22050, 44100]


@pytest.mark.parametrize("keep_on", [None, "cpu"])
def test_train_segments_read_the_chosen_samples(tracks, keep_on):
    dataset = TrainSegments(tracks, SEGMENT, HOP, keep_on=keep_on)
    if keep_on is not None:  # no file is needed any more
        for track in tracks:
            track.vocals.unlink()
            track.accompaniment.unlink()
    assert len(dataset) == 4 + 4 + 1 + 7 + 2 + 3
    vocals, accompaniment = dataset[5, 8]
    assert vocals.shape == accompaniment.shape == (1, SEGMENT)
    assert vocals.dtype == accompaniment.dtype == torch.float32
    expected = np.arange(100 + HOP, 100 + HOP + SEGMENT)  # second segment of the second track
    np.testing.assert_array_equal(vocals[0].numpy() * 2**15, expected)
    expected = np.r_[-1 - np.arange(195, 195 + 30), np.zeros(10)]  # the whole third track
    np.testing.assert_array_equal(accompaniment[0].numpy() * 2**15, expected)


def test_test_segments_are_matched_and_side_by_side(tracks):
    dataset = TestSegments(tracks[:2], SEGMENT)
    expected = [("0", 0), ("0", 40), ("0", 80), ("1", 0), ("1", 40), ("1", 80)]
    assert list(dataset.locations) == expected and len(dataset) == 6
    assert dataset.locations[1:5] == expected[1:5] and dataset.locations[-1] == expected[-1]
    vocals = torch.cat([vocals[0] for vocals, _ in dataset]) * 2**15
    accompaniment = torch.cat([accompaniment[0] for _, accompaniment in dataset]) * 2**15
    counter = np.r_[np.arange(100), np.zeros(20), np.arange(100, 195), np.zeros(25)]
    padding = np.r_[np.zeros(100), np.ones(20), np.zeros(95), np.ones(25)]
    np.testing.assert_array_equal(vocals, counter)
    np.testing.assert_array_equal(accompaniment, -1 - counter + padding)


def test_audio_that_does_not_fit_is_refused_before_it_is_read(tmp_path):
    track = Track("long", "train", 10**15, 0, tmp_path)
    with pytest.raises(ValueError, match="^keep_on=cpu needs 4000000.0 GB, expected at most "):
        TrainSegments([track], segment=10**8, hop=10**8, keep_on="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_audio_on_a_device_that_is_not_there(tracks):
    with pytest.raises(ValueError, match="^keep_on must be cpu on this machine, got 'cuda'$"):
        TrainSegments(tracks, keep_on="cuda")


def test_train_segments_hold_no_audio(tmp_path):
    tracks = [Track(str(n), "train", 230 * 44100, 0, tmp_path / str(n)) for n in range(100)]
    dataset = TrainSegments(tracks)  # no file is opened either
    assert len(dataset) == 100 * 459
    assert len(pickle.dumps(dataset)) < 2**20


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def header_only(path):
    path.write_bytes(path.read_bytes()[:44])


def removed(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


def longer(path):
    soundfile.write(path, np.zeros(200, dtype=np.int16), 44100, subtype="PCM_16")


def another_rate(path):
    soundfile.write(path, soundfile.read(path)[0], 48000, subtype="PCM_16")


def stereo(path):
    soundfile.write(path, np.zeros((100, 2)), 44100, subtype="PCM_16")


def another_subtype(path):
    soundfile.write(path, np.zeros(100), 44100, subtype="FLOAT")


@pytest.mark.parametrize("keep_on", [None, "cpu"])
@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        header_only,
        removed,
        emptied,
        longer,
        another_rate,
        stereo,
        another_subtype,
    ],
)
def test_a_file_that_changed_is_no_silence(tracks, spoil, keep_on):
    """Of a file that is shorter than its track, zeros were read."""
    if keep_on is None:
        dataset, matched = TrainSegments(tracks, SEGMENT, HOP), TestSegments(tracks, SEGMENT)
    spoil(tracks[0].vocals)
    with pytest.raises(ValueError, match=r"0/vocals.wav .*: prepare the data again .stage 1.$"):
        if keep_on is None:
            dataset[0, 4]
        else:
            TrainSegments(tracks, SEGMENT, HOP, keep_on=keep_on)
    if keep_on is None:
        with pytest.raises(ValueError, match="0/vocals.wav .*prepare the data again"):
            matched[0]


def test_billions_of_segments_are_not_listed(tmp_path):
    """A hop of one sample made 1.6e9 tuples of MUSDB18."""
    tracks = [Track(str(n), "train", 230 * 44100, 0, tmp_path / str(n)) for n in range(150)]
    dataset = TrainSegments(tracks, 44100, hop=1)
    a_track = 229 * 44100 + 1
    assert len(dataset) == 150 * a_track
    assert len(pickle.dumps(dataset)) < 2**17
    assert dataset.index[0] == (tracks[0], 0)
    assert dataset.index[a_track - 1 : a_track + 1] == [(tracks[0], a_track - 1), (tracks[1], 0)]
    assert dataset.index[-1] == (tracks[149], a_track - 1)
    with pytest.raises(IndexError):
        dataset.index[150 * a_track]
    matched = TestSegments(tracks, segment=1)
    assert matched.locations[230 * 44100] == ("1", 0) and len(pickle.dumps(matched)) < 2**17
    message = f"an epoch has {150 * a_track} segments, expected at most 16777216: choose a longer"
    with pytest.raises(ValueError, match=message):
        SetShuffleSampler(dataset, batch_size=8)


@pytest.mark.parametrize("segment, hop", [(1, 1), (40, 1), (40, 20), (40, 40), (200, 7)])
def test_index_is_that_of_a_list(tracks, segment, hop):
    dataset = TrainSegments(tracks, segment, hop)
    listed = [(t, s) for t in tracks for s in segment_starts(t.n_samples, segment, hop)]
    assert list(dataset.index) == listed and len(dataset) == len(listed) == sum(dataset.counts)
    assert [dataset.index[i] for i in range(-3, 3)] == listed[-3:] + listed[:3]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda t: TrainSegments([]), "tracks must be at least one track, got "),
        (lambda t: TrainSegments(t, 0), "segment must be 1 or more, got 0"),
        (lambda t: TrainSegments(t, 10**12), "segment must be at most 158760000 .an hour., got 10"),
        (lambda t: TrainSegments(t, 40, 0), "hop must be 1 to 40 .segment., got 0"),
        (lambda t: TrainSegments(t, 40, 41), "hop must be 1 to 40 .segment., got 41"),
        (lambda t: TestSegments([]), "tracks must be at least one track, got "),
        (lambda t: TestSegments(t, 0), "segment must be 1 or more, got 0"),
        (lambda t: sampler(t, batch_size=0), "batch_size must be 1 or more, got 0"),
        (
            lambda t: sampler(t, batch_size=3, world_size=2),
            "batch_size must be a multiple of world_size=2, got 3",
        ),
        (lambda t: sampler(t, world_size=0), "world_size must be 1 or more, got 0"),
        (lambda t: sampler(t, rank=1), "rank must be 0 to 0, got 1"),
        (lambda t: sampler(t, tracks_per_set=0), "tracks_per_set must be 1 or more, got 0"),
        (lambda t: sampler(t, seed=-1), "seed must be 0 or more, got -1"),
        (lambda t: segment_starts(0, 40, 20), "n_samples must be 1 or more, got 0"),
    ],
)
def test_arguments_out_of_range(tracks, make, message):
    with pytest.raises(ValueError, match=message):
        make(tracks)


# ------------------------------------------------------------------------ sampler


def sampler(tracks, batch_size=4, **options):
    return SetShuffleSampler(TrainSegments(tracks, SEGMENT, HOP), batch_size, **options)


def pairs_of(batches):
    return [pair for batch in batches for pair in batch]


def test_epoch_has_every_segment_once_inside_sets_of_four_tracks(tracks):
    batches = list(sampler(tracks))
    assert len(batches) == len(sampler(tracks)) == 6
    assert [len(batch) for batch in batches] == [4] * 5 + [1]
    vocals, accompaniment = zip(*pairs_of(batches), strict=True)
    assert sorted(vocals) == sorted(accompaniment) == list(range(21))
    assert vocals != accompaniment

    track_of = np.repeat(np.arange(6), [4, 4, 1, 7, 2, 3])
    order = list(dict.fromkeys(track_of[list(vocals)]))  # as the tracks come up first
    n_first = int(np.isin(track_of, order[:4]).sum())
    for source in (vocals, accompaniment):
        assert set(track_of[list(source[:n_first])]) == set(order[:4])
        assert set(track_of[list(source[n_first:])]) == set(order[4:])


def test_order_depends_on_seed_and_epoch_only(tracks):
    def epoch(seed, number):
        batches = sampler(tracks, seed=seed)
        batches.set_epoch(number)
        return list(batches)

    orders = [epoch(*key) for key in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(orders[a] != orders[b] for a in range(4) for b in range(a))
    one = sampler(tracks)
    np.random.seed(0)
    assert [list(one), list(one)] == [orders[0]] * 2
    one.set_epoch(1)
    assert list(one) == orders[1]
    pairs = np.array(pairs_of(orders[0]))  # and it is this order, on any machine
    rng = np.random.default_rng([0, 0])
    segments = np.split(np.arange(21), np.cumsum([4, 4, 1, 7, 2]))
    first_set = np.concatenate([segments[track] for track in rng.permutation(6)[:4]])
    expected = np.stack([rng.permutation(first_set), rng.permutation(first_set)], axis=1)
    np.testing.assert_array_equal(pairs[: len(first_set)], expected)


def test_matched_pairs_are_one_permutation_inside_sets(tracks):
    def epoch(number, **options):
        batches = sampler(tracks, matched=True, **options)
        batches.set_epoch(number)
        return list(batches)

    pairs = np.array(pairs_of(epoch(0)))
    assert (pairs[:, 0] == pairs[:, 1]).all() and sorted(pairs[:, 0]) == list(range(21))
    rng = np.random.default_rng([0, 0])  # it is this order, on any machine
    segments = np.split(np.arange(21), np.cumsum([4, 4, 1, 7, 2]))
    order = rng.permutation(6)
    for chosen in (order[:4], order[4:]):
        expected = rng.permutation(np.concatenate([segments[track] for track in chosen]))
        np.testing.assert_array_equal(pairs[: len(expected), 0], expected)
        pairs = pairs[len(expected) :]
    assert epoch(0) == epoch(0) != epoch(1) and epoch(0) != epoch(0, seed=1)


def test_resumed_run_continues_with_the_batches_of_an_uninterrupted_one(tracks):
    def run(batches, epochs):
        for epoch in epochs:
            batches.set_epoch(epoch)
            yield from batches

    whole = list(run(sampler(tracks), range(3)))
    for step in (0, 1, 5, 6, 8, 17):
        resumed = sampler(tracks)
        resumed.set_step(step)
        assert len(resumed) == 6
        assert list(run(resumed, range(step // 6, 3))) == whole[step:]


@pytest.mark.parametrize("world_size", [2, 4])
def test_shards_partition_the_global_batches(tracks, world_size):
    batches = list(sampler(tracks))
    shards = [sampler(tracks, rank=r, world_size=world_size) for r in range(world_size)]
    assert {len(shard) for shard in shards} == {len(batches)}
    joined = [pairs_of(parts) for parts in zip(*shards, strict=True)]
    assert joined[:-1] == batches[:-1]
    n_wrapped = -21 % world_size
    assert joined[-1] == batches[-1] + batches[0][:n_wrapped]
    for shard in shards:
        assert {len(batch) for batch in list(shard)[:-1]} == {4 // world_size}


def test_loader_gives_the_sampled_pairs(tracks):
    dataset = TrainSegments(tracks, SEGMENT, HOP)
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=sampler(tracks))
    for batch, (vocals, accompaniment) in zip(sampler(tracks), loader, strict=True):
        assert vocals.shape == (len(batch), 1, SEGMENT)
        for pair, *sources in zip(batch, vocals, accompaniment, strict=True):
            assert all(map(torch.equal, sources, dataset[pair]))
