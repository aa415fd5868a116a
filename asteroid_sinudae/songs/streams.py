"""Long signals piece by piece, in memory that does not grow with their length.

A stream is an iterable of tensors, the consecutive pieces of one long signal. They may have any
lengths; their last dimension is time (or frames). There are two ways to apply a function to a
stream. If each output depends only on inputs up to some distance, its reach, :func:`map_blocks`
computes blocks with enough of the signal around each, and the result is that of the whole signal.
Otherwise :func:`overlap_add` computes chunks that fade into each other.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import torch

from ..utils.checks import check, check_positive_int
from ..utils.progress import progress as with_bar

Stream = Iterable[torch.Tensor]
Progress = bool | Callable[[float, float], object]
TOGETHER = 2**14  # samples that several streams give at a time


class _Window:
    """The part of a stream that is in memory: samples `first` to `stop` of the whole."""

    def __init__(self, pieces: Stream):
        self.pieces = iter(pieces)
        piece = next(self.pieces, None)
        if piece is None:
            raise ValueError("expected a stream of at least one piece, got none")
        self.held = piece
        self.first = 0

    @property
    def stop(self) -> int:
        return self.first + self.held.shape[-1]

    def pull(self, stop: int) -> None:
        """Read on until the sample at `stop` is held, or the stream ends."""
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
        """Drop the samples before `first`."""
        self.held = self.held[..., first - self.first :]
        self.first = first

    def cut(self, first: int, stop: int) -> torch.Tensor:
        """Return samples `first` to `stop`, or up to the end of what is held."""
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
        function (callable): A function from shape `(..., time)` to `(..., ratio * time)`, rounded
            up. Its output may depend on samples up to `margin` away, and must not depend on the
            place in the stream at which its argument begins.
        block (int): Number of samples that are computed at a time.
        margin (int): Number of samples before and after them that `function` also gets.
        ratio (Fraction or int): Output samples per input sample. `block` and `margin` have to be
            multiples of its denominator.

    Yields:
        :class:`torch.Tensor`: the result of a block.

    Raises:
        ValueError: if the stream has no piece, or `block` or `margin` is out of its range.

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


def by_mid_and_side(
    function: Callable[[torch.Tensor], torch.Tensor], wav: torch.Tensor
) -> torch.Tensor:
    """Separate a stereo signal by its mid, the mean of the channels, and side, half the difference.

    What is estimated of the two is added and subtracted. A silent channel stays silent.

    Args:
        function (callable): A function from shape `(2, time)` to `(2, n_src, time)`.
        wav (:class:`torch.Tensor`): left and right channel, shape `(2, time)`.

    Returns:
        :class:`torch.Tensor`, `(2, n_src, time)`.
    """
    left, right = wav
    mid, side = function(torch.stack([left + right, left - right]) / 2)
    return torch.stack([mid + side, mid - side]) * wav.any(dim=1)[:, None, None]


def overlap_add(
    pieces: Stream,
    function: Callable[[torch.Tensor], torch.Tensor],
    chunk: int,
    overlap: int,
    keep_order: bool = False,
) -> Iterator[torch.Tensor]:
    """Apply a function to overlapping chunks of a stream, which fade into each other.

    Asteroid's :class:`~asteroid.dsp.LambdaOverlapAdd` does the same with the whole signal in
    memory. The weights of two overlapping chunks sum to one, so that the level is kept. All chunks
    have the same length; so the last one begins earlier than it would have to, and is used from its
    fade on.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(channels, time)`.
        function (callable): A function from shape `(channels, time)` to `(channels, n_src, time)`.
        chunk (int): Number of samples of a chunk; a shorter signal is one chunk.
        overlap (int): Samples that two chunks share.
        keep_order (bool): Whether to reorder the sources of each chunk so that they fit the chunk
            before best, and those of all channels so that they fit the first channel. This is for
            models that were trained without an order of sources.

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
    start = 0
    before: torch.Tensor | None = None  # the end of the last chunk, which fades out
    while True:
        stop = start + chunk
        window.pull(stop)
        is_last = window.stop <= stop
        first = max(0, min(start, window.stop - chunk))
        result = function(window.cut(first, stop))[..., start - first :]
        rise = rise.to(result.device)
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
        window.drop(start)  # the last chunk may begin anywhere after the present one
        start += hop


def in_order_of(estimates: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Permute sources into the order in which they correlate best with those of a reference.

    Args:
        estimates (:class:`torch.Tensor`): shape `(channels, n_src, time)`.
        reference (:class:`torch.Tensor`): shape `(channels or 1, n_src, shorter time)`. The
            beginning of `estimates` is compared with it.

    Returns:
        :class:`torch.Tensor`: `estimates` with the sources of each channel permuted.
    """
    from asteroid.losses import PITLossWrapper  # here, since it needs all of Asteroid

    start = estimates[..., : reference.shape[-1]]
    reference = reference.expand(estimates.shape[0], -1, -1)
    # (channels, n_src, time) by (channels, time, n_src) -> (channels, n_src, n_src)
    correlation = torch.matmul(start, reference.transpose(1, 2)).nan_to_num()
    _, order = PITLossWrapper.find_best_perm(-correlation.abs())  # a channel may be inverted
    return PITLossWrapper.reorder_source(estimates, order)


def cut(pieces: Stream, length: int, first: int = 0) -> Iterator[torch.Tensor]:
    """Take `length` samples of a stream from `first` on; raise a ValueError if it has fewer."""
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
    """Iterate over several streams of one length, with pieces of the same time together."""
    blocks = (map_blocks(pieces, lambda piece: piece, TOGETHER, 0) for pieces in streams)
    return zip(*blocks, strict=True)


def with_progress(
    pieces: Stream, label: str, length: float, rate: float, progress: Progress
) -> Iterator[torch.Tensor]:
    """Pass a stream on, and tell how far it is.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream.
        label (str): Label of the bar.
        length (float): Number of samples (or frames) of the whole stream.
        rate (float): Number of samples (or frames) per second.
        progress (bool or callable): Whether to show it in seconds on standard error, as
            :mod:`.utils.progress` does; or a function that is called with the seconds that are
            done and those of the whole stream, at first and after each piece.
    """
    seconds = length / rate
    if callable(progress):
        done = 0
        progress(0.0, seconds)
        for piece in pieces:
            yield piece
            done += piece.shape[-1]
            progress(done / rate, seconds)
        return
    if not progress:
        yield from pieces
        return
    shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    yield from with_bar(
        pieces,
        label,
        seconds,
        unit="s",
        size=lambda piece: piece.shape[-1] / rate,
        bar_format=shape,
    )
