"""Analysis and synthesis by kernels at every hop, and the frames at the edges of a signal.

Signals are zero-padded to whole hops, so that `N` samples give `ceil(N / stride)` frames and come
back as `N` samples. A strided convolution is computed as a matrix product over frames. The result
is the same, but matrix products use a processor's matrix units, which strided convolutions in
bfloat16 do not.
"""

import math

import torch
from asteroid_filterbanks.scripting import script_if_tracing
from torch.nn import functional as F


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
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """Correlate a zero-padded waveform with kernels at every hop.

    Args:
        waveform (:class:`torch.Tensor`): shape `(..., time)`.
        filters (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        stride (int): Hop in samples.
        edges (int): Frames added at each end, see :func:`edge_frames`.
        as_conv1d (bool): Whether a waveform of shape `(batch, 1, time)` gives `(batch, n_filters,
            frames)` instead of `(batch, 1, n_filters, frames)`.

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
    pieces = _cut(waveform, filters.shape[-1], stride, edges)  # (signals, frames, kernel_size)
    pieces = pieces.transpose(0, 1)  # (frames, signals, kernel_size), the order of the smoothing
    # One product for the batch: one per signal would allocate a kernel gradient per signal.
    columns = pieces.reshape(-1, filters.shape[-1]).t()  # (kernel_size, frames * signals)
    spec = torch.mm(filters.squeeze(1), columns)  # (filters, frames * signals)
    spec = spec.reshape(filters.shape[0], pieces.shape[0], -1)  # (filters, frames, signals)
    spec = spec.permute(2, 0, 1)  # (signals, filters, frames)
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def samples_before(kernel_size: int, stride: int, edges: int) -> int:
    """Count the samples between the beginning of the first frame and that of the waveform."""
    return (kernel_size - stride) // 2 + edges * stride


def _padding(time: int, kernel_size: int, stride: int, edges: int) -> list[int]:
    """Count the zeros before and after `time` samples that make a whole number of hops."""
    frames = (time + stride - 1) // stride + 2 * edges
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
    """Compute :func:`frame_synthesis` by a matrix product and an overlap-add of shifted rows.

    The product gives every frame's contribution to the waveform, `kernel_size` samples long. With
    the kernels padded to `taps` hops, tap `k` of frame `t` belongs to hop `t + k`. So for each tap
    there is a row over frames, and the waveform is the sum of these rows, row `k` shifted by `k`
    hops. The shifts cost nothing: rows are padded to `frames + taps` hops, and then the same memory
    is read in rows that are one hop shorter, so that each row is shifted by one hop more than the
    row before it.
    """
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    if frames <= 2 * edges:
        raise ValueError("expected more frames than those that were added at the ends")
    kernel_size = filters.shape[-1]
    taps = (kernel_size + stride - 1) // stride
    kernels = filters.squeeze(1)  # (filters, kernel_size)
    if taps * stride > kernel_size:  # F.pad by nothing would still copy
        kernels = F.pad(kernels, [0, taps * stride - kernel_size])  # (filters, taps * stride)
    # A product is faster if its first factor is not transposed, even with the copy that this takes.
    weights = spec.reshape(-1, n_filters, frames).transpose(1, 2)  # (batch, frames, filters)
    weights = weights.contiguous().reshape(-1, n_filters)  # (batch * frames, filters)
    pieces = torch.mm(weights, kernels)  # (batch * frames, taps * stride)
    pieces = pieces.reshape(-1, frames, taps, stride)  # (batch, frames, taps, stride)
    rows = F.pad(pieces.transpose(1, 2), [0, 0, 0, taps])  # (batch, taps, frames + taps, stride)
    rows = rows.reshape(-1, taps * (frames + taps), stride)[:, : taps * (frames + taps - 1)]
    hops = rows.reshape(-1, taps, frames + taps - 1, stride).sum(1)  # (batch, hops, stride)
    left = samples_before(kernel_size, stride, edges)
    wav = hops.reshape(-1, hops.shape[1] * stride)[:, left : left + (frames - 2 * edges) * stride]
    # wav is (batch, time)
    if spec.ndim == 3:
        return wav.unsqueeze(1)
    return wav.reshape(spec.shape[:-2] + wav.shape[-1:])


def _conv_synthesis(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    """Compute :func:`frame_synthesis` by a transposed convolution, for ONNX."""
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    flat = spec.reshape(-1, n_filters, frames)  # (batch, filters, frames)
    wav = F.conv_transpose1d(flat, filters, stride=stride)  # (batch, 1, uncropped time)
    left = samples_before(filters.shape[-1], stride, edges)
    wav = wav[..., left : left + (frames - 2 * edges) * stride]
    return wav if spec.ndim == 3 else wav.reshape(spec.shape[:-2] + wav.shape[-1:])


class _Synthesis(torch.autograd.Function):
    """:func:`_overlap_add` with a backward pass of its own, which is faster than autograd's.

    The transpose of a synthesis is an analysis: the waveform's gradient is cut into frames, and the
    gradients of both factors are matrix products with these frames.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(spec, filters, stride, edges):
        wav = _overlap_add(spec, filters, stride, edges)
        # Forward-mode differentiation expects the layout that `jvp` gives.
        return wav.clone(memory_format=torch.contiguous_format)

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
        pieces = pieces.reshape(-1, filters.shape[-1])  # (batch * frames, kernel_size)
        of_spec = of_filters = None
        if ctx.needs_input_grad[0]:
            kernels = filters.squeeze(1).t().to(pieces.dtype)  # (kernel_size, filters)
            of_spec = torch.mm(pieces, kernels)  # (batch * frames, filters)
            of_spec = of_spec.reshape(-1, frames, n_filters)  # (batch, frames, filters)
            of_spec = of_spec.transpose(1, 2).reshape(spec.shape)  # (..., filters, frames)
        if ctx.needs_input_grad[1]:
            weights = spec.reshape(-1, n_filters, frames)  # (batch, filters, frames)
            weights = weights.transpose(0, 1).reshape(n_filters, -1)  # (filters, batch * frames)
            of_filters = torch.mm(weights.to(pieces.dtype), pieces)  # (filters, kernel_size)
            of_filters = of_filters.reshape(filters.shape)  # (filters, 1, kernel_size)
        return of_spec, of_filters, None, None
