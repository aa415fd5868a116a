"""Streams: blocks that equal the whole, chunks that fade into each other."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from asteroid_sinudae import STFT, SinuDAE, informed_separation
from asteroid_sinudae.masks import estimate_both
from asteroid_sinudae.models.representation import reach, whole_hops
from asteroid_sinudae.songs.streams import cut, map_blocks, overlap_add, with_progress
from asteroid_sinudae.utils import progress as progress_lines


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5


def collect(pieces):
    return torch.cat(list(pieces), dim=-1)


def smooth(wav):
    """A function of reach 3, of shapes `(channels, time)`."""
    return F.conv1d(wav[:, None], noise(1, 1, 7), padding=3)[:, 0]


# Blocks


@pytest.mark.parametrize("length", [1, 4, 9, 10, 11, 20, 47, 60])
@pytest.mark.parametrize("piece", [1, 3, 10, 100])
def test_blocks_equal_the_whole(length, piece):
    wav = noise(2, length)
    pieces = list(map_blocks(wav.split(piece, dim=-1), smooth, block=10, margin=3))
    torch.testing.assert_close(collect(pieces), smooth(wav))
    assert [part.shape[-1] for part in pieces[:-1]] == [10] * ((length - 1) // 10)
    assert 1 <= pieces[-1].shape[-1] <= 10


def test_margin_is_needed_and_enough():
    wav = noise(1, 100)
    short = collect(map_blocks([wav], smooth, block=10, margin=2))
    different = (short - smooth(wav)).abs()[0] > 1e-4
    assert set((torch.nonzero(different)[:, 0] % 10).tolist()) == {0, 9}


@pytest.mark.parametrize("length", [1, 39, 40, 41, 80, 95])
def test_blocks_of_another_rate(length):
    """Down by 4, rounded up at the end, then up by 3."""
    wav = noise(2, length)

    def down(x):
        return F.avg_pool1d(F.pad(x, [0, -x.shape[-1] % 4]), 4)

    def up(x):
        return x.repeat_interleave(3, dim=-1)

    pieces = map_blocks(wav.split(7, dim=-1), down, block=20, margin=8, ratio=Fraction(1, 4))
    result = collect(map_blocks(pieces, up, block=5, margin=2, ratio=3))
    torch.testing.assert_close(result, up(down(wav)))


def test_blocks_and_chunks_are_taken_as_they_are_needed():
    """From a stream without an end."""
    pulled = []

    def endless():
        for number in itertools.count():
            pulled.append(number)
            yield torch.ones(1, 4)

    blocks = map_blocks(endless(), lambda x: x, block=8, margin=4)
    for n_blocks in range(1, 50):
        next(blocks)
        assert len(pulled) <= (8 * n_blocks + 4) / 4 + 1
    pulled.clear()
    chunks = overlap_add(endless(), lambda x: x[:, None], chunk=8, overlap=4)
    for n_chunks in range(1, 50):
        next(chunks)
        assert len(pulled) <= (4 * n_chunks + 4) / 4 + 1


def test_what_is_held_does_not_grow():
    sizes = []

    def function(wav):
        sizes.append(wav.untyped_storage().nbytes())
        return wav

    for _ in map_blocks((torch.zeros(1, 10) for _ in range(200)), function, block=20, margin=10):
        pass
    for _ in overlap_add(
        (torch.zeros(1, 10) for _ in range(200)), lambda x: function(x)[:, None], 40, 10
    ):
        pass
    assert len(sizes) > 150 and max(sizes) <= 4 * 100


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(block=0, margin=0), "block must be an integer of at least 1, got 0"),
        (dict(block=6, margin=0, ratio=Fraction(1, 4)), "block must be a multiple of the deno"),
        (dict(block=8, margin=2, ratio=Fraction(1, 4)), "margin must be a multiple of the deno"),
        (dict(block=8, margin=-4), "margin must be .* and not negative, got -4"),
    ],
)
def test_blocks_that_make_no_sense(sizes, message):
    with pytest.raises(ValueError, match=message):
        next(map_blocks([torch.zeros(1, 8)], lambda x: x, **sizes))


def test_stream_without_a_piece():
    with pytest.raises(ValueError, match="at least one piece"):
        next(map_blocks([], lambda x: x, 1, 0))


# Chunks


@pytest.mark.parametrize("length", [1, 7, 16, 17, 29, 30, 100, 101])
@pytest.mark.parametrize("chunk, overlap", [(16, 0), (16, 3), (16, 8), (101, 10)])
def test_perfect_model_through_chunks_is_the_identity(length, chunk, overlap):
    wav = noise(2, length)
    lengths = []

    def model(x):
        lengths.append(x.shape[-1])
        return torch.stack([x, 2 * x], dim=1)

    pieces = wav.split(5, dim=-1)
    result = collect(overlap_add(pieces, model, chunk, overlap))
    torch.testing.assert_close(result, torch.stack([wav, 2 * wav], dim=1), atol=1e-6, rtol=0)
    assert set(lengths) == {min(chunk, length)}  # also the last one
    hops = max(0, length - chunk) / (chunk - overlap)
    assert len(lengths) == 1 + -(-hops // 1)


def test_chunks_fade_into_each_other():
    """The first chunk is all zeros, the second all ones."""
    number = itertools.count()
    result = collect(
        overlap_add(
            [torch.zeros(1, 30)], lambda x: torch.full_like(x, next(number))[:, None], 20, 8
        )
    )[0, 0]
    assert torch.equal(result[:12], torch.zeros(12)) and torch.equal(result[20:], torch.ones(10))
    fade = result[12:20]
    assert (fade.diff() > 0).all() and 0 < fade[0] < 0.05
    torch.testing.assert_close(fade + fade.flip(0), torch.ones(8))


def test_chunks_on_another_device():
    wav = torch.empty(1, 30, device="meta")
    pieces = list(overlap_add([wav], lambda x: torch.stack([x, x], dim=1), 20, 8))
    assert sum(piece.shape[-1] for piece in pieces) == 30
    assert {piece.device.type for piece in pieces} == {"meta"}


def test_sources_keep_their_order():
    """A model that gives the sources in an order of its own for each channel and chunk."""
    low, high = noise(1, 400), noise(2, 400)[1:]
    wav = torch.cat([low + high, low - high])
    truth = torch.stack([torch.cat([low, low]), torch.cat([high, -high])], dim=1)
    number = itertools.count()
    rolls = [(0, 1), (1, 1), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 1), (0, 1), (1, 0)]

    def model(x):
        here = next(number)
        start = min(40 * here, 400 - 60)
        parts = truth[..., start : start + 60]
        flips = rolls[here % len(rolls)]
        return torch.stack([part.roll(flip, 0) for part, flip in zip(parts, flips, strict=True)])

    ordered = collect(overlap_add([wav], model, 60, 20, keep_order=True))
    # The two channels' high parts are of opposite sign, their low ones are what they share.
    torch.testing.assert_close(ordered, truth)
    number = itertools.count()
    assert not torch.allclose(collect(overlap_add([wav], model, 60, 20)), truth)


@pytest.mark.parametrize("overlap", [-1, 9])
def test_overlap_that_makes_no_sense(overlap):
    with pytest.raises(ValueError, match=rf"overlap must be at most half of chunk=16 .*{overlap}"):
        next(overlap_add([torch.zeros(1, 40)], lambda x: x[:, None], 16, overlap))


# Streams


@pytest.mark.parametrize("length", [1, 9, 10, 11, 30])
def test_cut(length):
    wav = noise(2, 30)
    assert torch.equal(collect(cut(wav.split(10, dim=-1), length)), wav[:, :length])


def test_cut_of_a_short_stream():
    with pytest.raises(ValueError, match="a stream of 31 samples, got 30"):
        list(cut(noise(2, 30).split(10, dim=-1), 31))


def test_progress_leaves_the_stream_alone(capsys, monkeypatch):
    monkeypatch.setattr(progress_lines, "SECONDS", 0)
    wav = noise(2, 30)
    for progress, said in {False: False, True: True, (lambda done, whole: None): False}.items():
        pieces = with_progress(wav.split(10, dim=-1), "song", 30, 10.0, progress)
        assert torch.equal(collect(pieces), wav)
        assert ("song: 100%" in capsys.readouterr().err) == said


def test_progress_in_seconds():
    told = []
    pieces = noise(2, 30).split(20, dim=-1)
    for piece in with_progress(pieces, "song", 30, 10.0, lambda *seconds: told.append(seconds)):
        told.append(piece.shape[-1])
    assert told == [(0.0, 3.0), 20, (2.0, 3.0), 10, (3.0, 3.0)]


# Representations


@pytest.mark.parametrize(
    "representation",
    [SinuDAE(n_filters=6, kernel_size=64, stride=16), STFT(n_fft=64, stride=24)],
    ids=["DAE", "STFT"],
)
def test_whole_hops(representation):
    stride = representation.encoder.stride
    assert [whole_hops(representation, n) for n in (1, stride, stride + 1)] == [
        stride,
        stride,
        2 * stride,
    ]
    assert reach(representation) % stride == 0


@torch.no_grad()
def test_both_estimates():
    torch.manual_seed(0)
    stft = STFT(n_fft=64, stride=24)
    vocals, accompaniment = noise(2, 1, 1, 1000)
    mixture = vocals + accompaniment
    first, second = estimate_both(stft, mixture, vocals, accompaniment, 0.7)
    expected = informed_separation(stft, mixture, vocals, accompaniment, 0.7)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(first + second, mixture, atol=1e-5, rtol=0)
