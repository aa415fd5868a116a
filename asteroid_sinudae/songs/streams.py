"""Long signals piece by piece, in memory that does not grow with their length.

A stream is an iterable of tensors, time (or frames) last, that are the pieces of one long signal,
of any lengths. What has a limited reach is computed in blocks with as much of the signal around
each that the result is that of the whole (:func:`map_blocks`); what has not, in chunks that fade
into each other (:func:`overlap_add`).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import torch
from asteroid.losses import PITLossWrapper
from tqdm import tqdm

from ..utils.checks import check, check_positive_int

Stream = Iterable[torch.Tensor]
TOGETHER = 2**14  # samples at a time of several streams


class _Window:
    """The part of a stream that is held: from sample `first` of the whole, up to `stop`."""

    def __init__(self, pieces: Stream):
        self.pieces = iter(pieces)
        self.held = next(self.pieces, None)
        if self.held is None:
            raise ValueError("expected a stream of at least one piece, got none")
        self.first = 0

    @property
    def stop(self) -> int:
        return self.first + self.held.shape[-1]

    def pull(self, stop: int) -> None:
        """Hold the samples before `stop` and one more, or all up to the end of the stream."""
        parts, n_samples = [self.held], self.held.shape[-1]
        while self.first + n_samples <= stop:
            piece = next(self.pieces, None)
            if piece is None:
                break
            parts.append(piece)
            n_samples += piece.shape[-1]
        if len(parts) > 1:
            self.held = torch.cat(parts, dim=-1)

    def drop(self, first: int) -> None:
        """Hold no longer what is before `first`."""
        self.held = self.held[..., first - self.first :]
        self.first = first

    def cut(self, first: int, stop: int) -> torch.Tensor:
        """Samples `first` to `stop`, or to the end of what is held."""
        return self.held[..., first - self.first : stop - self.first]


def map_blocks(
    pieces: Stream,
    function: Callable[[torch.Tensor], torch.Tensor],
    block: int,
    margin: int,
    ratio: Fraction | int = 1,
) -> Iterator[torch.Tensor]:
    """Apply a function of limited reach to a stream; the result is that of the whole.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(..., time)`.
        function (callable): Takes `(..., time)` and gives `(..., ratio * time)`, rounded up. What
            it gives may depend on samples up to `margin` away, and must not depend on where in
            the stream its argument begins.
        block (int): Samples at a time.
        margin (int): Samples around them that `function` also gets.
        ratio (Fraction or int): `block` and `margin` are multiples of its denominator.

    Yields:
        :class:`torch.Tensor`: the result of a block.

    Raises:
        ValueError: if the stream has no piece, or `block` or `margin` makes no sense.

    Examples
        >>> pieces = torch.arange(7.0).split(2)
        >>> list(map_blocks(pieces, lambda x: x.repeat_interleave(2), 4, 0, ratio=2))
        [tensor([0., 0., 1., 1., 2., 2., 3., 3.]), tensor([4., 4., 5., 5., 6., 6.])]
    """
    check_positive_int("block", block)
    for name, value in {"block": block, "margin": margin}.items():
        is_valid = value >= 0 and (value * ratio) % 1 == 0
        check(is_valid, name, value, f"a multiple of the denominator of {ratio} and not negative")
    window = _Window(pieces)
    start = 0
    while True:
        stop = start + block
        window.pull(stop + margin)
        is_last = window.stop <= stop
        result = function(window.cut(window.first, stop + margin))
        begin, end = (start - window.first) * ratio, (stop - window.first) * ratio
        yield result[..., int(begin) : None if is_last else int(end)]
        if is_last:
            return
        start = stop
        window.drop(max(0, start - margin))


def overlap_add(
    pieces: Stream,
    function: Callable[[torch.Tensor], torch.Tensor],
    chunk: int,
    overlap: int,
    keep_order: bool = False,
) -> Iterator[torch.Tensor]:
    """Apply a function to overlapping chunks of a stream, which fade into each other.

    Asteroid's :class:`~asteroid.dsp.LambdaOverlapAdd` does so with a whole signal in memory. The
    weights of two chunks sum to one, so that the level is kept. All chunks are of one length: the
    last one overlaps more, up to its fade it is not used.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(channels, time)`.
        function (callable): Takes `(channels, time)` and gives `(channels, n_src, time)`.
        chunk (int): Samples at a time; a shorter signal is one chunk.
        overlap (int): Samples that two chunks share.
        keep_order (bool): Whether the sources of a chunk are put into the order that fits the
            chunk before best, and those of all channels into the first channel's: for models that
            were trained without an order.

    Yields:
        :class:`torch.Tensor`: the next samples, `(channels, n_src, time)`.

    Raises:
        ValueError: if the stream has no piece, or `overlap` is negative or over half a chunk.
    """
    check_positive_int("chunk", chunk)
    check(0 <= 2 * overlap <= chunk, "overlap", overlap, f"at most half of {chunk=} (samples)")
    rise = (1 - torch.cos(math.pi * (torch.arange(overlap) + 0.5) / max(overlap, 1))) / 2
    hop = chunk - overlap
    window = _Window(pieces)
    start, before = 0, None
    while True:
        stop = start + chunk
        window.pull(stop)
        is_last = window.stop <= stop
        first = max(0, min(start, window.stop - chunk))
        result = function(window.cut(first, stop))[..., start - first :]
        if before is None:
            result = in_order_of(result, result[:1]) if keep_order else result
        else:
            result = in_order_of(result, before) if keep_order else result
            faded = rise * result[..., :overlap] + (1 - rise) * before
            result = torch.cat([faded, result[..., overlap:]], dim=-1)
        if is_last:
            yield result
            return
        yield result[..., :hop]
        before = result[..., hop:]
        window.drop(start)  # the last chunk may begin anywhere after this one
        start += hop


def in_order_of(estimates: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Sources in the order in which they correlate best with those of a reference.

    Args:
        estimates (:class:`torch.Tensor`): shape `(channels, n_src, time)`.
        reference (:class:`torch.Tensor`): shape `(channels or 1, n_src, shorter time)`, what the
            beginning of `estimates` is compared with.

    Returns:
        :class:`torch.Tensor`: `estimates` with the sources of each channel permuted.
    """
    start = estimates[..., : reference.shape[-1]]
    reference = reference.expand(estimates.shape[0], -1, -1)
    correlation = torch.matmul(start, reference.transpose(1, 2)).nan_to_num()
    _, order = PITLossWrapper.find_best_perm(-correlation.abs())  # a channel may be inverted
    return PITLossWrapper.reorder_source(estimates, order)


def cut(pieces: Stream, length: int, first: int = 0) -> Iterator[torch.Tensor]:
    """Samples of a stream, `length` of them from `first`; a ValueError if it has fewer."""
    skipped, missing = first, length
    for piece in pieces:
        piece, skipped = piece[..., skipped:], max(0, skipped - piece.shape[-1])
        if missing == 0:
            return
        yield piece[..., :missing]
        missing -= min(missing, piece.shape[-1])
    if missing:
        raise ValueError(f"expected a stream of {length} samples, got {length - missing}")


def together(*streams: Stream) -> Iterator[tuple[torch.Tensor, ...]]:
    """Pieces of several streams of one length, those of a time together."""
    blocks = (map_blocks(pieces, lambda piece: piece, TOGETHER, 0) for pieces in streams)
    return zip(*blocks, strict=True)


def with_progress(pieces: Stream, label: str, length: int, rate: float) -> Iterator[torch.Tensor]:
    """A stream, with a progress bar in seconds where there is a terminal.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream.
        label (str): Of the bar.
        length (int): Samples (or frames) of the whole.
        rate (float): Samples (or frames) a second.
    """
    shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    with tqdm(desc=label, total=length / rate, bar_format=shape, disable=None) as bar:
        for piece in pieces:
            yield piece
            bar.update(piece.shape[-1] / rate)
