"""Analysis and synthesis by kernels at every hop, and the frames at the edges of a signal.

Signals are zero-padded to whole hops, so that `N` samples give `ceil(N / stride)` frames and come
back as `N` samples. A strided convolution is computed as a matrix product over frames. The result
is the same, but matrix products use a processor's matrix units, which strided convolutions in
bfloat16 do not.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from asteroid_filterbanks.scripting import script_if_tracing
from torch.nn import functional as F

from ..utils.autocast import in_autocast, no_autocast
from ..utils.vmap import one_by_one
from .compact import Kernels, whole_kernels
from .fast_fir import DIVISIONS, correlate, shift_and_add, spread, weigh

BLOCK = 2048  # frames, of one or more signals, that are cut and multiplied at once on a CPU


def edge_frames(kernel_size: int, stride: int) -> int:
    """Count the frames beyond each end of a signal whose kernels still reach into it.

    Args:
        kernel_size (int): Length of the kernels in samples.
        stride (int): Hop in samples.

    Returns:
        int: the number of frames at each end; zero if kernels are no longer than a hop.
    """
    reach = kernel_size - (kernel_size - stride) // 2
    return math.ceil(reach / stride) - 1


def frame_analysis(
    waveform: torch.Tensor,
    kernels: Kernels,
    stride: int,
    edges: int,
    as_conv1d: bool,
    signals_last: bool = False,
) -> torch.Tensor:
    """Correlate a zero-padded waveform with kernels at every hop.

    Args:
        waveform (:class:`torch.Tensor`): shape `(..., time)`.
        kernels (Kernels): The kernels of `n_filters` channels.
        stride (int): Hop in samples.
        edges (int): Frames added at each end, see :func:`edge_frames`.
        as_conv1d (bool): Whether a waveform of shape `(batch, 1, time)` gives `(batch, n_filters,
            frames)` instead of `(batch, 1, n_filters, frames)`.
        signals_last (bool): Whether the result lies in memory as `(n_filters, frames, signals)`, in
            which a smoothing over all channels is faster, or as `(n_filters, signals, frames)`.

    Returns:
        :class:`torch.Tensor` of shape `(..., n_filters, frames)`, with
        `frames = ceil(time / stride) + 2 * edges`.

    Raises:
        ValueError: if the waveform has no samples.
    """
    if torch.onnx.is_in_onnx_export():
        return _conv_analysis(waveform, kernels.whole(), stride, edges, as_conv1d)
    groups, order, kernel_size = kernels
    # Under autocast the waveform is rounded before it is cut into overlapping frames.
    waveform, groups = in_autocast(waveform), [in_autocast(group) for group in groups]
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return _frame_products(waveform, groups, order, kernel_size, stride, edges, as_conv1d)
    flat = waveform.reshape(math.prod(waveform.shape[:-1]), waveform.shape[-1])  # (signals, time)
    rows = _Analysis.apply(flat, order, kernel_size, stride, edges, signals_last, *groups)
    frames = _n_frames(flat.shape[1], stride, edges)
    spec = _from_rows(rows, flat.shape[0], frames, signals_last)
    return _unflatten(spec, waveform, as_conv1d)


@script_if_tracing
def _frame_products(
    waveform: torch.Tensor,
    groups: list[torch.Tensor],
    order: torch.Tensor | None,
    kernel_size: int,
    stride: int,
    edges: int,
    as_conv1d: bool,
) -> torch.Tensor:
    """Compute :func:`frame_analysis` by a matrix product a group."""
    if waveform.shape[-1] == 0:
        raise ValueError("expected a waveform of at least one sample, got none")
    pieces = _cut(waveform, kernel_size, stride, edges)  # (signals, frames, kernel_size)
    frames = pieces.shape[1]
    pieces = pieces.transpose(0, 1)  # (frames, signals, kernel_size), the order of the smoothing
    # One product for the batch: one per signal would allocate a kernel gradient per signal. Frames
    # that overlap in memory are copied here, because the product would copy them column by column.
    columns = pieces.reshape(-1, kernel_size).contiguous().t()  # (kernel_size, frames * signals)
    parts = []
    for kernels in groups:
        window = kernels.shape[-1]
        inside = columns.narrow(0, (kernel_size - window) // 2, window)
        parts.append(torch.mm(kernels, inside))  # (kernels of the group, frames * signals)
    spec = parts[0] if len(parts) == 1 else torch.cat(parts)  # (filters, frames * signals)
    if order is not None:
        spec = spec.index_select(0, order)
    spec = spec.reshape(spec.shape[0], frames, -1)  # (filters, frames, signals)
    return _unflatten(spec.permute(2, 0, 1), waveform, as_conv1d)


def _unflatten(spec: torch.Tensor, waveform: torch.Tensor, as_conv1d: bool) -> torch.Tensor:
    """Give a representation `(signals, filters, frames)` the dimensions of the waveform."""
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def samples_before(kernel_size: int, stride: int, edges: int) -> int:
    """Count the samples between the beginning of the first frame and that of the waveform."""
    return (kernel_size - stride) // 2 + edges * stride


def _n_frames(time: int, stride: int, edges: int) -> int:
    """Count the frames of `time` samples."""
    return (time + stride - 1) // stride + 2 * edges


def _padding(time: int, kernel_size: int, stride: int, edges: int) -> list[int]:
    """Count the zeros before and after `time` samples that make a whole number of hops."""
    frames = _n_frames(time, stride, edges)
    left = samples_before(kernel_size, stride, edges)
    return [left, (frames - 1) * stride + kernel_size - left - time]


def _cut(waveform: torch.Tensor, kernel_size: int, stride: int, edges: int) -> torch.Tensor:
    """Pad with zeros and cut into frames: `(..., time)` -> `(signals, frames, kernel_size)`."""
    time = waveform.shape[-1]
    padded = F.pad(waveform.reshape(-1, time), _padding(time, kernel_size, stride, edges))
    return padded.unfold(-1, kernel_size, stride)  # a view: overlapping frames share samples


def _conv_analysis(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """Compute :func:`frame_analysis` by a convolution: ONNX has no operator that cuts frames."""
    time = waveform.shape[-1]
    padding = _padding(time, filters.shape[-1], stride, edges)
    padded = F.pad(waveform.reshape(-1, 1, time), padding)  # (signals, 1, padded time)
    spec = F.conv1d(padded, filters, stride=stride)  # (signals, filters, frames)
    return _unflatten(spec, waveform, as_conv1d)


def frame_synthesis(spec: torch.Tensor, kernels: Kernels, stride: int, edges: int) -> torch.Tensor:
    """Sum kernels at every hop, weighted by a representation (Eq. (2)), and crop to whole hops.

    Args:
        spec (:class:`torch.Tensor`): shape `(n_filters, frames)`, `(batch, n_filters, frames)` or
            `(..., n_filters, frames)`.
        kernels (Kernels): The kernels of `n_filters` channels.
        stride (int): Hop in samples.
        edges (int): Frames that were added at each end.

    Returns:
        :class:`torch.Tensor` of shape `(time,)`, `(batch, 1, time)` or `(..., time)`, with
        `time = (frames - 2 * edges) * stride`.

    Raises:
        ValueError: if there are no more frames than those that were added.
    """
    if torch.onnx.is_in_onnx_export():  # groups are lists and written in place, which it gets wrong
        kernels = whole_kernels(kernels.whole())
    groups, order, kernel_size = kernels
    spec, groups = in_autocast(spec), [in_autocast(group) for group in groups]
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return _overlap_add(spec, groups, order, kernel_size, stride, edges)
    flat = spec.reshape(math.prod(spec.shape[:-2]), *spec.shape[-2:])  # (batch, filters, frames)
    wav = _Synthesis.apply(flat, order, kernel_size, stride, edges, *groups)  # (batch, time)
    return wav.unsqueeze(1) if spec.ndim == 3 else wav.reshape(*spec.shape[:-2], wav.shape[-1])


@script_if_tracing
def _overlap_add(
    spec: torch.Tensor,
    groups: list[torch.Tensor],
    order: torch.Tensor | None,
    kernel_size: int,
    stride: int,
    edges: int,
) -> torch.Tensor:
    """Compute :func:`frame_synthesis` by matrix products and :func:`shift_and_add`."""
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    if frames <= 2 * edges:
        raise ValueError("expected more frames than those that were added at the ends")
    rows = spec.reshape(-1, n_filters, frames)  # (batch, filters, frames)
    if order is not None:
        rows = rows.index_select(1, order.argsort())  # channels in the order of the groups
    taps = (kernel_size + stride - 1) // stride
    hops = shift_and_add(_weighted_kernels(rows, groups, kernel_size, taps * stride), stride)
    left = samples_before(kernel_size, stride, edges)
    wav = hops.reshape(hops.shape[0], hops.shape[1] * stride)
    wav = wav[:, left : left + (frames - 2 * edges) * stride]  # (batch, time)
    if spec.ndim == 3:
        return wav.unsqueeze(1)
    return wav.reshape(spec.shape[:-2] + wav.shape[-1:])


def _weighted_kernels(
    rows: torch.Tensor, groups: list[torch.Tensor], kernel_size: int, length: int
) -> torch.Tensor:
    """What each frame contributes to the waveform: the sum of its kernels.

    Args:
        rows (:class:`torch.Tensor`): shape `(batch, filters, frames)`, in the order of the groups.
        groups (list of :class:`torch.Tensor`): each `(kernels, window)`, see :class:`.Kernels`.
        kernel_size (int): Length of the whole kernels in samples.
        length (int): The same or more; the contributions are padded with zeros.

    Returns:
        :class:`torch.Tensor` of shape `(batch, frames, length)`
    """
    batch, n_filters, frames = rows.shape
    # A product is faster if its first factor is not transposed, even with the copy that this takes.
    weights = rows.transpose(1, 2).reshape(batch * frames, n_filters)
    first = groups[0]  # the longest window: its product is the memory that the others add to
    left = (kernel_size - first.shape[1]) // 2
    if length > first.shape[1]:  # F.pad by nothing would still copy
        first = F.pad(first, [left, length - first.shape[1] - left])  # (kernels, length)
    done = first.shape[0]
    pieces = torch.mm(weights.narrow(1, 0, done), first)  # (batch * frames, length)
    for kernels in groups[1:]:
        number, window = kernels.shape
        inside = pieces.narrow(1, (kernel_size - window) // 2, window)
        inside.addmm_(weights.narrow(1, done, number), kernels)
        done += number
    return pieces.reshape(batch, frames, length)


# Analysis and synthesis are linear in the signal and in the kernels, and each is the transpose of
# the other. So their gradients are analyses, syntheses, and products of frames with channels.
# Frames are cut and multiplied block by block, because those of a block stay in the cache. Only the
# two functions write into their own memory; what else gives derivatives does not, so that it can be
# differentiated again.


class _Block(NamedTuple):
    """Some frames of some signals, and the columns that they have among all frames of all signals.

    Each span is its first index and its length. Columns run over frames first if `signals_last`,
    otherwise over signals first.
    """

    signals: tuple[int, int]
    frames: tuple[int, int]
    columns: tuple[int, int]
    signals_last: bool

    def samples(self, padded: torch.Tensor, kernel_size: int, stride: int) -> torch.Tensor:
        """Read what the frames are cut from: `(signals, time)`."""
        first, number = self.frames
        samples = padded.narrow(0, *self.signals)
        return samples.narrow(1, first * stride, (number - 1) * stride + kernel_size)

    def rows(self, spec: torch.Tensor) -> torch.Tensor:
        """Read the block of `(signals, filters, frames)`.

        Returns:
            :class:`torch.Tensor` of shape `(filters, frames, signals)` if `signals_last`, otherwise
            `(filters, signals, frames)`.
        """
        block = spec.narrow(0, *self.signals).narrow(2, *self.frames)
        return block.permute(1, 2, 0) if self.signals_last else block.transpose(0, 1)


def _blocks(
    signals: int, frames: int, device: torch.device, signals_last: bool = False, divisions: int = 0
) -> Iterator[_Block]:
    """Cut the frames of all signals into blocks; into one where there is no cache to stay in.

    Each of the `divisions` leaves half of a block's frames to a product, so blocks are larger.
    """
    outer, inner = (frames, signals) if signals_last else (signals, frames)
    size = BLOCK * 2**divisions if device.type == "cpu" else max(1, outer * inner)
    n_outer, n_inner = max(1, size // max(inner, 1)), max(1, min(inner, size))
    for first, begin in itertools.product(range(0, outer, n_outer), range(0, inner, n_inner)):
        rows = first, min(n_outer, outer - first)
        cells = begin, min(n_inner, inner - begin)
        signals_and_frames = (cells, rows) if signals_last else (rows, cells)
        columns = first * inner + begin, rows[1] * cells[1]
        yield _Block(*signals_and_frames, columns, signals_last)


def _divisions(
    values: torch.Tensor, groups: Sequence[torch.Tensor], signals_last: bool = False
) -> int:
    """How often products are divided, see :mod:`.fast_fir`; whole kernels' are left as they are."""
    is_precise = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    return DIVISIONS if is_precise and len(groups) > 1 and not signals_last else 0


def _inside(samples: torch.Tensor, kernel_size: int, window: int) -> torch.Tensor:
    """The samples that centred windows of all frames read, not copied."""
    outside = kernel_size - window
    return samples.narrow(1, outside // 2, samples.shape[1] - outside)


def _blocks_of_rows(
    waveform: torch.Tensor,
    groups: Sequence[torch.Tensor],
    sizes: Sequence[int],
    signals_last: bool,
) -> Iterator[tuple[tuple[int, int], list[torch.Tensor]]]:
    """Analyse `(signals, time)` block by block: its columns, and `(kernels, columns)` by group."""
    kernel_size, stride, edges = sizes
    padded = F.pad(waveform, _padding(waveform.shape[1], kernel_size, stride, edges))
    frames = _n_frames(waveform.shape[1], stride, edges)
    divisions = _divisions(waveform, groups, signals_last)
    for block in _blocks(len(waveform), frames, waveform.device, signals_last):
        samples = block.samples(padded, kernel_size, stride)
        parts = []
        for group in groups:
            inside = _inside(samples, kernel_size, group.shape[1])
            parts.append(correlate(inside, group, stride, divisions, signals_last))
        yield block.columns, parts


def _all_rows(
    waveform: torch.Tensor,
    groups: Sequence[torch.Tensor],
    order: torch.Tensor | None,
    sizes: Sequence[int],
    signals_last: bool,
) -> torch.Tensor:
    """Analyse `(signals, time)`: `(filters, columns of all blocks)`."""
    blocks = _blocks_of_rows(waveform, groups, sizes, signals_last)
    joined = [_join(parts, 0) for _, parts in blocks]
    if not joined:
        return waveform.new_empty(sum(len(group) for group in groups), 0)
    rows = _join(joined, 1)
    return rows if order is None else rows.index_select(0, order)


def _join(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """Concatenate; of a single tensor, :func:`torch.cat` would make a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _from_rows(rows: torch.Tensor, signals: int, frames: int, signals_last: bool) -> torch.Tensor:
    """View `(filters, columns of all blocks)` as `(signals, filters, frames)`."""
    if signals_last:
        return rows.reshape(len(rows), frames, signals).permute(2, 0, 1)
    return rows.reshape(len(rows), signals, frames).transpose(0, 1)


def _kernel_gradients(
    waveform: torch.Tensor,
    spec: torch.Tensor,
    order: torch.Tensor | None,
    sizes: Sequence[int],
    groups: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Gradients of the kernels: the frames of a waveform, weighted by each channel and summed.

    Args:
        waveform (:class:`torch.Tensor`): shape `(signals, time)`.
        spec (:class:`torch.Tensor`): shape `(signals, filters, frames)`.
        order (:class:`torch.Tensor`, optional): see :class:`.Kernels`.
        sizes (sequence of int): `kernel_size`, `stride` and `edges`.
        groups (sequence of :class:`torch.Tensor`): each `(kernels, window)`, for its shape.

    Returns:
        list of :class:`torch.Tensor` of the shapes of `groups`
    """
    kernel_size, stride, edges = sizes
    padded = F.pad(waveform, _padding(waveform.shape[1], kernel_size, stride, edges))
    inverse = None if order is None else order.argsort()
    # Sums over blocks are not rounded to half precision.
    precise = torch.promote_types(waveform.dtype, torch.float32)
    sums: dict[int, torch.Tensor] = {}
    signals_last = spec.stride(0) < spec.stride(2)  # as it lies in memory
    divisions = _divisions(waveform, groups, signals_last)
    for block in _blocks(spec.shape[0], spec.shape[2], waveform.device, signals_last):
        samples = block.samples(padded, kernel_size, stride)
        rows = block.rows(spec)
        rows = rows if inverse is None else rows.index_select(0, inverse)
        parts = rows.split([len(group) for group in groups])
        for number, (part, group) in enumerate(zip(parts, groups, strict=True)):
            window = group.shape[1]
            inside = _inside(samples, kernel_size, window)
            added = weigh(inside, part, window, stride, divisions, signals_last)
            sums[number] = sums[number].to(precise) + added if number in sums else added
    if not sums:
        return [torch.zeros_like(group) for group in groups]
    return [sums[number].to(group.dtype) for number, group in enumerate(groups)]


def _overlap_add_whole(
    spec: torch.Tensor,
    groups: list[torch.Tensor],
    order: torch.Tensor | None,
    sizes: Sequence[int],
) -> torch.Tensor:
    """Compute :func:`_overlap_add` without writing in place, which vmap of some groups refuses."""
    kernel_size, stride, edges = sizes
    kernels = Kernels(groups, order, kernel_size).whole().squeeze(1)
    return _overlap_add(spec, [kernels], None, kernel_size, stride, edges)


def _without_autocast(function: Callable) -> Callable:
    """Multiply tensors in the precision that they have: a backward pass may be inside autocast."""

    @functools.wraps(function)
    def in_own_precision(*args):
        device, *_ = (each.device for each in args if isinstance(each, torch.Tensor))
        with no_autocast(device.type):
            return function(*args)

    return in_own_precision


class _Analysis(torch.autograd.Function):
    """`(signals, time)` and groups of kernels -> `(filters, columns)`, see :class:`_Block`.

    It keeps the waveform for the backward pass, not the frames, which are `kernel_size / stride`
    times as large.
    """

    @staticmethod
    @_without_autocast
    def forward(waveform, order, kernel_size, stride, edges, signals_last, *groups):
        signals, time = waveform.shape
        if time == 0:
            raise ValueError("expected a waveform of at least one sample, got none")
        sizes = kernel_size, stride, edges
        if waveform.device.type != "cpu":  # there is one block
            return _all_rows(waveform, groups, order, sizes, signals_last)
        n_columns = _n_frames(time, stride, edges) * signals
        spec = waveform.new_empty(sum(len(group) for group in groups), n_columns)
        numbers = [len(group) for group in groups]
        channels = [slice(None)] if order is None else order.argsort().split(numbers)
        for columns, parts in _blocks_of_rows(waveform, groups, sizes, signals_last):
            block = spec.narrow(1, *columns)
            for part, of_group in zip(parts, channels, strict=True):
                block[of_group] = part
        return spec

    @staticmethod
    def setup_context(ctx, args, spec):
        waveform, order, *ctx.sizes, ctx.signals_last = args[:6]
        ctx.save_for_backward(waveform, order, *args[6:])
        ctx.save_for_forward(waveform, order, *args[6:])

    @staticmethod
    def jvp(ctx, of_waveform, _order, _kernel_size, _stride, _edges, _signals_last, *of_groups):
        waveform, order, *groups = ctx.saved_tensors
        kernels = _or_zeros(of_groups, groups)
        spec = _all_rows(waveform, kernels, order, ctx.sizes, ctx.signals_last)
        if of_waveform is None:
            return spec
        return spec + _all_rows(of_waveform, groups, order, ctx.sizes, ctx.signals_last)

    @staticmethod
    @_without_autocast
    def backward(ctx, gradient):
        waveform, order, *groups = ctx.saved_tensors
        _, stride, edges = ctx.sizes
        frames = _n_frames(waveform.shape[1], stride, edges)
        gradient = _from_rows(gradient, len(waveform), frames, ctx.signals_last)
        of_waveform, of_groups = None, [None] * len(groups)
        if ctx.needs_input_grad[0]:
            whole_hops = _Synthesis.apply(gradient, order, *ctx.sizes, *groups)
            of_waveform = whole_hops.narrow(1, 0, waveform.shape[1])
        if any(ctx.needs_input_grad[6:]):
            of_groups = _kernel_gradients(waveform, gradient, order, ctx.sizes, groups)
        return of_waveform, None, None, None, None, None, *of_groups


def _add_frames(
    hops: torch.Tensor, rows: torch.Tensor, groups: Sequence[torch.Tensor], kernel_size: int
) -> None:
    """Add to `(signals, hops, stride)` kernels weighted by `(filters, signals, frames)`."""
    signals, n_hops, stride = hops.shape
    _, _, frames = rows.shape
    divisions = _divisions(rows, groups)
    if not divisions:  # what all groups add is shifted at once
        length = (n_hops - frames + 1) * stride
        pieces = _weighted_kernels(rows.transpose(0, 1), list(groups), kernel_size, length)
        hops += shift_and_add(pieces, stride)
        return
    samples = hops.view(signals, -1)
    parts = rows.split([len(group) for group in groups])
    for part, group in zip(parts, groups, strict=True):
        window = group.shape[1]
        added = spread(part, group, stride, divisions).reshape(signals, -1)
        reached = samples.narrow(1, (kernel_size - window) // 2, (frames - 1) * stride + window)
        reached += added[:, : reached.shape[1]]


class _Synthesis(torch.autograd.Function):
    """`(batch, filters, frames)` and groups of kernels -> `(batch, time)`, of whole hops."""

    @staticmethod
    @_without_autocast
    def forward(spec, order, kernel_size, stride, edges, *groups):
        batch, _, frames = spec.shape
        if frames <= 2 * edges:
            raise ValueError("expected more frames than those that were added at the ends")
        if spec.device.type != "cpu":  # there is one block
            wav = _overlap_add(spec, list(groups), order, kernel_size, stride, edges).squeeze(1)
            return wav.clone()  # a view that a function returns cannot be changed by who calls it
        inverse = None if order is None else order.argsort()
        taps = math.ceil(kernel_size / stride)
        hops = spec.new_zeros(batch, frames + taps - 1, stride)
        divisions = _divisions(spec, groups)  # from which an analysis does not gain
        for block in _blocks(batch, frames, spec.device, divisions=divisions):
            rows = block.rows(spec)
            rows = rows if inverse is None else rows.index_select(0, inverse)
            first, number = block.frames
            reached = hops.narrow(0, *block.signals).narrow(1, first, number + taps - 1)
            _add_frames(reached, rows, groups, kernel_size)
        left = samples_before(kernel_size, stride, edges)
        wav = hops.view(batch, hops.shape[1] * stride)
        return wav[:, left : left + (frames - 2 * edges) * stride].clone()

    @staticmethod
    def setup_context(ctx, args, wav):
        spec, order, *ctx.sizes = args[:5]
        ctx.save_for_backward(spec, order, *args[5:])
        ctx.save_for_forward(spec, order, *args[5:])

    @staticmethod
    def jvp(ctx, of_spec, _order, _kernel_size, _stride, _edges, *of_groups):
        spec, order, *groups = ctx.saved_tensors
        wav = _overlap_add_whole(spec, _or_zeros(of_groups, groups), order, ctx.sizes)
        if of_spec is not None:
            wav = wav + _overlap_add_whole(of_spec, groups, order, ctx.sizes)
        return wav.squeeze(1)

    @staticmethod
    @_without_autocast
    def backward(ctx, gradient):
        spec, order, *groups = ctx.saved_tensors
        of_spec, of_groups = None, [None] * len(groups)
        if ctx.needs_input_grad[0]:
            rows = _Analysis.apply(gradient, order, *ctx.sizes, False, *groups)
            of_spec = _from_rows(rows, len(spec), spec.shape[2], False)
        if any(ctx.needs_input_grad[5:]):
            of_groups = _kernel_gradients(gradient, spec, order, ctx.sizes, groups)
        return of_spec, None, None, None, None, *of_groups


for _function in (_Analysis, _Synthesis):
    _function.vmap = staticmethod(one_by_one(_function))  # type: ignore[method-assign]


def _or_zeros(tangents: Sequence[torch.Tensor | None], groups: list) -> list[torch.Tensor]:
    """Tangents of the groups, zero where autograd gives none."""
    pairs = zip(tangents, groups, strict=True)
    return [torch.zeros_like(group) if found is None else found for found, group in pairs]
