"""Analysis and synthesis by kernels at every hop, and the frames at the edges of a signal.

Signals are zero-padded to whole hops, so that `N` samples give `ceil(N / stride)` frames and come
back as `N` samples. The strided convolutions are matrix products over frames: the same function, in
a form that runs on a processor's matrix units, where a strided convolution in bfloat16 does not.
"""

import math

import torch
from asteroid_filterbanks.scripting import script_if_tracing
from torch.nn import functional as F


def edge_frames(kernel_size: int, stride: int) -> int:
    """Frames beyond each end of a signal whose kernels still reach into it.

    Args:
        kernel_size (int): Length of the kernels in samples.
        stride (int): Hop in samples.

    Returns:
        int: zero if kernels are no longer than a hop.
    """
    reach = kernel_size - (kernel_size - stride) // 2
    return math.ceil(reach / stride) - 1


def frame_analysis(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """Correlate a zero-padded waveform with kernels at every hop.

    Args:
        waveform (:class:`torch.Tensor`): shape `(..., time)`.
        filters (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        stride (int): Hop in samples.
        edges (int): Frames added at each end, see :func:`edge_frames`.
        as_conv1d (bool): Whether `(batch, 1, time)` gives `(batch, n_filters, frames)`.

    Returns:
        :class:`torch.Tensor` of shape `(..., n_filters, frames)`, with
        `frames = ceil(time / stride) + 2 * edges`.
    """
    if torch.onnx.is_in_onnx_export():
        return _conv_analysis(waveform, filters, stride, edges, as_conv1d)
    return _frame_products(waveform, filters, stride, edges, as_conv1d)


@script_if_tracing
def _frame_products(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    if waveform.shape[-1] == 0:
        raise ValueError("expected a waveform of at least one sample, got none")
    pieces = _cut(waveform, filters.shape[-1], stride, edges).transpose(0, 1)
    # One product for the whole batch: a product a signal has a gradient of the kernels for each.
    # Signals last, as the smoothing has them.
    spec = torch.mm(filters.squeeze(1), pieces.reshape(-1, filters.shape[-1]).t())
    spec = spec.reshape(filters.shape[0], pieces.shape[0], -1).permute(2, 0, 1)
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def samples_before(kernel_size: int, stride: int, edges: int) -> int:
    """How many samples before the waveform's first one the first frame begins."""
    return (kernel_size - stride) // 2 + edges * stride


def _padding(time: int, kernel_size: int, stride: int, edges: int) -> list[int]:
    """Zeros before and after `time` samples that put frames on hops."""
    frames = (time + stride - 1) // stride + 2 * edges
    left = samples_before(kernel_size, stride, edges)
    return [left, (frames - 1) * stride + kernel_size - left - time]


def _cut(waveform: torch.Tensor, kernel_size: int, stride: int, edges: int) -> torch.Tensor:
    """Zero-padded frames: `(..., time)` -> `(signals, frames, kernel_size)`."""
    time = waveform.shape[-1]
    padded = F.pad(waveform.reshape(-1, time), _padding(time, kernel_size, stride, edges))
    return padded.unfold(-1, kernel_size, stride)


def _conv_analysis(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """:func:`frame_analysis` for ONNX, which has a convolution but no frames."""
    time = waveform.shape[-1]
    padding = _padding(time, filters.shape[-1], stride, edges)
    spec = F.conv1d(F.pad(waveform.reshape(-1, 1, time), padding), filters, stride=stride)
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def frame_synthesis(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    """Sum kernels at every hop, weighted by a representation (Eq. (2)), and crop to whole hops.

    Args:
        spec (:class:`torch.Tensor`): shape `(n_filters, frames)`, `(batch, n_filters, frames)` or
            `(..., n_filters, frames)`.
        filters (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        stride (int): Hop in samples.
        edges (int): Frames that were added at each end.

    Returns:
        :class:`torch.Tensor` of shape `(time,)`, `(batch, 1, time)` or `(..., time)`, with
        `time = (frames - 2 * edges) * stride`.
    """
    if torch.onnx.is_in_onnx_export():
        return _conv_synthesis(spec, filters, stride, edges)
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return _overlap_add(spec, filters, stride, edges)
    return _Synthesis.apply(spec, filters, stride, edges)


@script_if_tracing
def _overlap_add(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    if frames <= 2 * edges:
        raise ValueError("expected more frames than those that were added at the ends")
    kernel_size = filters.shape[-1]
    taps = (kernel_size + stride - 1) // stride
    kernels = filters.squeeze(1)
    if taps * stride > kernel_size:  # F.pad would copy otherwise, too
        kernels = F.pad(kernels, [0, taps * stride - kernel_size])
    # A product whose first factor is not transposed is faster, also with the copy.
    weights = spec.reshape(-1, n_filters, frames).transpose(1, 2).contiguous()
    pieces = torch.mm(weights.reshape(-1, n_filters), kernels)
    pieces = pieces.reshape(-1, frames, taps, stride)
    # Rows of taps, each padded by one frame more than the rows they are then read as, are shifted
    # by one hop from tap to tap.
    rows = F.pad(pieces.transpose(1, 2), [0, 0, 0, taps])
    rows = rows.reshape(-1, taps * (frames + taps), stride)[:, : taps * (frames + taps - 1)]
    hops = rows.reshape(-1, taps, frames + taps - 1, stride).sum(1)
    left = samples_before(kernel_size, stride, edges)
    wav = hops.reshape(-1, hops.shape[1] * stride)[:, left : left + (frames - 2 * edges) * stride]
    if spec.ndim == 3:
        return wav.unsqueeze(1)
    return wav.reshape(spec.shape[:-2] + wav.shape[-1:])


def _conv_synthesis(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    """:func:`frame_synthesis` for ONNX, as one transposed convolution."""
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    wav = F.conv_transpose1d(spec.reshape(-1, n_filters, frames), filters, stride=stride)
    left = samples_before(filters.shape[-1], stride, edges)
    wav = wav[..., left : left + (frames - 2 * edges) * stride]
    return wav if spec.ndim == 3 else wav.reshape(spec.shape[:-2] + wav.shape[-1:])


class _Synthesis(torch.autograd.Function):
    """:func:`_overlap_add`, whose gradients are products with frames of the waveform's gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec, filters, stride, edges):
        wav = _overlap_add(spec, filters, stride, edges)
        return wav.clone(memory_format=torch.contiguous_format)  # laid out as its tangents

    @staticmethod
    def setup_context(ctx, args, wav):
        spec, filters, ctx.stride, ctx.edges = args
        ctx.save_for_backward(spec, filters)
        ctx.save_for_forward(spec, filters)

    @staticmethod
    def jvp(ctx, of_spec, of_filters, *_):
        spec, filters = ctx.saved_tensors
        factors = [(of_spec, filters), (spec, of_filters)]
        known = [pair for pair in factors if None not in pair]
        return sum(_overlap_add(*pair, ctx.stride, ctx.edges) for pair in known)

    @staticmethod
    def backward(ctx, gradient):
        spec, filters = ctx.saved_tensors
        n_filters, frames = spec.shape[-2:]
        pieces = _cut(gradient, filters.shape[-1], ctx.stride, ctx.edges)
        pieces = pieces.reshape(-1, filters.shape[-1])  # (signals * frames, kernel_size)
        of_spec = of_filters = None
        if ctx.needs_input_grad[0]:
            of_spec = torch.mm(pieces, filters.squeeze(1).t().to(pieces.dtype))
            of_spec = of_spec.reshape(-1, frames, n_filters).transpose(1, 2).reshape(spec.shape)
        if ctx.needs_input_grad[1]:
            weights = spec.reshape(-1, n_filters, frames).transpose(0, 1).reshape(n_filters, -1)
            of_filters = torch.mm(weights.to(pieces.dtype), pieces).reshape(filters.shape)
        return of_spec, of_filters, None, None
