"""Kernels of several hops at every hop, by fewer products than the definition.

A kernel that is `2m` hops long overlaps with itself at the next hop, so that much of what two
neighbouring frames multiply is the same. With :math:`e` and :math:`o` the even and the odd hops of
a signal, :math:`k` and :math:`l` those of the kernel, the even and the odd frames of a correlation
are

.. math::
    k \\star e + l \\star o = k \\star (e - o) + (k + l) \\star o, \\qquad
    k \\star o + l \\star e' = l \\star (e' - o) + (k + l) \\star o,

with :math:`e'` one hop later. These are three correlations of half as many frames with kernels of
half as many hops, where the definition has four, and each of them can be divided again (Z.-J. Mou
and P. Duhamel, "Short-Length FIR Filters and Their Use in Fast Nonrecursive Filtering", IEEE
Transactions on Signal Processing 39(6), 1991). Twice leaves 9 of 16 products. Each division adds
half a bit of rounding, so half precision is left alone, and so are GPUs, where several small
products take longer than a large one.

The functions are linear in both arguments and transposes of each other, and can be differentiated.
"""

import torch
from torch.nn import functional as F

DIVISIONS = 2  # the third one saves no time
COLUMNS = 128  # of a product, the least that a thread gets for itself


def pays(signals: int, frames: int, window: int) -> bool:
    """Tell whether a division saves more time than its sums take, which they do in large products.

    Args:
        signals (int): Number of signals.
        frames (int): Number of frames of each; some are added, for a number that can be divided.
        window (int): Length of the kernels in samples.
    """
    return window >= 512 and frames >= 32 and signals * frames >= 512


def _divides(divisions: int, signals: int, frames: int, window: int, stride: int) -> bool:
    return divisions > 0 and window % (2 * stride) == 0 and pays(signals, frames, window)


def correlate(
    samples: torch.Tensor,
    kernels: torch.Tensor,
    stride: int,
    divisions: int,
    signals_last: bool = False,
) -> torch.Tensor:
    """Correlate signals with kernels at every hop.

    Args:
        samples (:class:`torch.Tensor`): shape `(signals, (frames - 1) * stride + window)`.
        kernels (:class:`torch.Tensor`): shape `(kernels, window)`.
        stride (int): Hop in samples.
        divisions (int): How often to divide at most.
        signals_last (bool): The order of the result's columns; needs 0 `divisions`.

    Returns:
        :class:`torch.Tensor` of shape `(kernels, signals * frames)`, or `(kernels, frames *
        signals)` if `signals_last`.
    """
    number, window = kernels.shape
    signals, frames = len(samples), (samples.shape[1] - window) // stride + 1
    if not _divides(divisions, signals, frames, window, stride):
        return kernels.mm(_cut(samples, window, stride, signals_last).t())
    parts = _correlate_divided(samples, kernels, stride, divisions)
    rows = parts.transpose(0, 1).reshape(number, signals, -1)
    return rows.narrow(2, 0, frames).reshape(number, -1)


def _correlate_divided(
    samples: torch.Tensor, kernels: torch.Tensor, stride: int, divisions: int
) -> torch.Tensor:
    """Compute `(parts, kernels, columns / parts)`, with a part of the columns for each thread.

    What a thread multiplies, it has written, so that processors without a common cache need not
    wait for each other's.
    """
    window = kernels.shape[1]
    signals, frames = len(samples), (samples.shape[1] - window) // stride + 1
    if not _divides(divisions, signals, frames, window, stride):
        pieces = _cut(samples, window, stride, signals_last=False)  # (columns, window)
        parts = _parts(len(kernels), len(pieces))
        if parts == 1:
            return kernels.mm(pieces.t()).unsqueeze(0)
        pieces = pieces.reshape(parts, -1, window)
        return kernels.expand(parts, -1, -1).bmm(pieces.transpose(1, 2))
    first, second, odd = _differences(samples, frames, stride, divisions)
    of_even, of_odd = _hops(kernels, stride)
    both = _correlate_divided(odd, of_even + of_odd, stride, divisions - 1)
    even_frames = _correlate_divided(first, of_even, stride, divisions - 1) + both
    odd_frames = _correlate_divided(second, of_odd, stride, divisions - 1) + both
    # Beside each other as the two parts of complex numbers: in this layout, stacking them takes
    # eight times as long.
    spec = torch.view_as_real(torch.complex(even_frames, odd_frames))
    return spec.reshape(len(spec), len(kernels), -1)


def _parts(rows: int, columns: int) -> int:
    """Count the equal parts that columns are divided into; one if there are fewer than rows."""
    threads = torch.get_num_threads()
    is_wide = columns >= max(rows, COLUMNS * threads)
    return threads if is_wide and columns % threads == 0 else 1


def weigh(
    samples: torch.Tensor,
    weights: torch.Tensor,
    window: int,
    stride: int,
    divisions: int,
    signals_last: bool = False,
) -> torch.Tensor:
    """Sum the frames of signals, weighted for each kernel: the gradient of the kernels.

    Args:
        samples (:class:`torch.Tensor`): shape `(signals, (frames - 1) * stride + window)`.
        weights (:class:`torch.Tensor`): shape `(kernels, signals, frames)`, or `(kernels, frames,
            signals)` if `signals_last`.
        window (int): Length of the kernels in samples.
        stride (int): Hop in samples.
        divisions (int): How often to divide at most.
        signals_last (bool): The order of the weights' dimensions; needs 0 `divisions`.

    Returns:
        :class:`torch.Tensor` of shape `(kernels, window)`
    """
    number, signals, frames = weights.shape
    if not _divides(divisions, signals, frames, window, stride):
        return weights.reshape(number, -1).mm(_cut(samples, window, stride, signals_last))
    first, second, odd = _differences(samples, frames, stride, divisions)
    even_frames, odd_frames = _alternate(_fill_up(weights, frames, divisions), 2)
    sizes = window // 2, stride, divisions - 1
    both = weigh(odd, even_frames + odd_frames, *sizes)
    of_even = weigh(first, even_frames, *sizes) + both
    of_odd = weigh(second, odd_frames, *sizes) + both
    hops = [each.reshape(number, -1, stride) for each in (of_even, of_odd)]
    return torch.stack(hops, 2).reshape(number, window)


def spread(
    weights: torch.Tensor, kernels: torch.Tensor, stride: int, divisions: int
) -> torch.Tensor:
    """Sum kernels at every hop, weighted: the transpose of :func:`correlate`.

    Args:
        weights (:class:`torch.Tensor`): shape `(kernels, signals, frames)`.
        kernels (:class:`torch.Tensor`): shape `(kernels, window)`.
        stride (int): Hop in samples.
        divisions (int): How often to divide at most.

    Returns:
        :class:`torch.Tensor` of shape `(signals, hops, stride)`, with
        `hops = frames - 1 + ceil(window / stride)`.
    """
    number, signals, frames = weights.shape
    window = kernels.shape[1]
    if _divides(divisions, signals, frames, window, stride):
        return _spread_divided(weights, kernels, stride, divisions)
    if window % stride:  # F.pad by nothing would still copy
        kernels = F.pad(kernels, [0, -window % stride])
    # The first factor is copied: a product is faster if it is not transposed.
    pieces = weights.reshape(number, -1).t().contiguous().mm(kernels)
    return shift_and_add(pieces.reshape(signals, frames, -1), stride)


def _spread_divided(
    weights: torch.Tensor, kernels: torch.Tensor, stride: int, divisions: int
) -> torch.Tensor:
    _, signals, frames = weights.shape
    window = kernels.shape[1]
    if not _divides(divisions, signals, frames, window, stride):
        return _spread_hops(weights, kernels, stride)
    even_frames, odd_frames = _alternate(_fill_up(weights, frames, divisions), 2)
    of_even, of_odd = _hops(kernels, stride)
    both = _spread_divided(even_frames + odd_frames, of_even + of_odd, stride, divisions - 1)
    first = _spread_divided(even_frames, of_even, stride, divisions - 1)
    second = _spread_divided(odd_frames, of_odd, stride, divisions - 1)
    even = F.pad(first, [0, 0, 0, 1]) + F.pad(second, [0, 0, 1, 0])
    odd = F.pad(both - first - second, [0, 0, 0, 1])
    hops = torch.stack([even, odd], 2).reshape(signals, -1, stride)
    return hops.narrow(1, 0, frames - 1 + window // stride)


def _spread_hops(weights: torch.Tensor, kernels: torch.Tensor, stride: int) -> torch.Tensor:
    """Add a product for each hop of the kernels where it belongs, which copies no pieces.

    This saves time where kernels have few hops, as they do after divisions.
    """
    _, signals, frames = weights.shape
    taps = kernels.shape[1] // stride
    # Frames of zeros after each signal, so that the next one is not reached.
    rows = F.pad(weights.permute(1, 2, 0), [0, 0, 0, taps - 1])  # (signals, hops, kernels)
    rows = rows.reshape(signals * (frames + taps - 1), -1)
    hops = rows.mm(kernels[:, :stride])  # (signals * hops, stride)
    for tap in range(1, taps):
        hops[tap:].addmm_(rows[:-tap], kernels[:, tap * stride : (tap + 1) * stride])
    return hops.reshape(signals, -1, stride)


def _cut(samples: torch.Tensor, window: int, stride: int, signals_last: bool) -> torch.Tensor:
    """Copy frames, which overlap in memory: `(columns, window)`."""
    pieces = samples.unfold(1, window, stride)  # (signals, frames, window)
    pieces = pieces.transpose(0, 1) if signals_last else pieces
    return pieces.reshape(-1, window).contiguous()


def _fill_up(values: torch.Tensor, frames: int, divisions: int, of_frame: int = 1) -> torch.Tensor:
    """Add frames of zeros, of `of_frame` numbers each, to a number that all divisions divide."""
    missing = -frames % 2**divisions
    return F.pad(values, [0, missing * of_frame]) if missing else values


def _differences(
    samples: torch.Tensor, frames: int, stride: int, divisions: int
) -> list[torch.Tensor]:
    """Even hops less the odd ones after them, less those before them, and odd hops alone."""
    samples = _fill_up(samples, frames, divisions, stride)
    even, odd = _alternate(samples.reshape(len(samples), -1, stride), 1)
    parts = even[:, :-1] - odd, even[:, 1:] - odd, odd
    return [part.reshape(len(samples), -1) for part in parts]


def _hops(kernels: torch.Tensor, stride: int) -> list[torch.Tensor]:
    """Even and odd hops of kernels: `(kernels, window)` -> two of `(kernels, window / 2)`."""
    hops = _alternate(kernels.reshape(len(kernels), -1, stride), 1)
    return [part.reshape(len(kernels), -1) for part in hops]


def _alternate(values: torch.Tensor, dim: int) -> list[torch.Tensor]:
    """Even and odd elements of a dimension."""
    first = values.movedim(dim, 0)
    return [first[start::2].movedim(0, dim) for start in (0, 1)]


def shift_and_add(pieces: torch.Tensor, stride: int) -> torch.Tensor:
    """Add what frames contribute to the waveform, each shifted by one hop more than the one before.

    If the contributions are `taps` hops long, tap `k` of frame `t` belongs to hop `t + k`. So for
    each tap there is a row over frames, and the waveform is the sum of these rows, row `k` shifted
    by `k` hops. The shifts cost nothing: rows are padded to `frames + taps` hops, and then the same
    memory is read in rows that are one hop shorter, so that each row is shifted by one hop more
    than the row before it.

    Args:
        pieces (:class:`torch.Tensor`): shape `(batch, frames, taps * stride)`.
        stride (int): Hop in samples.

    Returns:
        :class:`torch.Tensor` of shape `(batch, frames + taps - 1, stride)`
    """
    batch, frames = pieces.shape[:2]
    taps = pieces.shape[2] // stride
    pieces = pieces.reshape(batch, frames, taps, stride)
    rows = F.pad(pieces.transpose(1, 2), [0, 0, 0, taps])  # (batch, taps, frames + taps, stride)
    rows = rows.reshape(batch, taps * (frames + taps), stride)[:, : taps * (frames + taps - 1)]
    return rows.reshape(batch, taps, frames + taps - 1, stride).sum(1)
