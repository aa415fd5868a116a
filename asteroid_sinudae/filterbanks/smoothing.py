"""Smoothing over frames: the second convolution of both encoders, its residual and the ReLU.

The convolution runs over all channels and takes most of the time of a training step. It has few
taps (five in the paper), and for such short filters there are algorithms with fewer multiplications
than the definition: :func:`toom_cook` has the matrices, :func:`_smooth_tiles` the computation.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from asteroid_filterbanks import Filterbank
from asteroid_filterbanks.scripting import script_if_tracing
from torch import nn
from torch.nn import functional as F

from ..utils.autocast import in_autocast, is_in_autocast
from ..utils.checks import check, check_filterbank_sizes, check_positive_int
from ..utils.vmap import one_by_one

BLOCK = 2**17  # numbers of a block of channels that stay in a CPU's cache
MAX_REACH = 100_000  # frames, the most that the smoothing may pad a signal by


def toom_cook(taps: int) -> list[np.ndarray]:
    r"""Matrices of the Toom-Cook algorithm, which correlates with few multiplications.

    Take :math:`m = \mathrm{taps} - 1` outputs :math:`y_i = \sum_j x_{i+j} v_j`, which depend on
    :math:`2m` inputs. By the definition they take :math:`m (m + 1)` multiplications. Toom-Cook
    takes :math:`2m`: inputs and taps are the coefficients of two polynomials; both polynomials are
    evaluated at :math:`2m - 1` points and at infinity, the values are multiplied point by point,
    and the outputs are linear combinations of these products. All three steps are linear, which
    gives :math:`y = A^T ((B^T x) \odot (G v))`. The notation is that of A. Lavin and S. Gray, "Fast
    Algorithms for Convolutional Neural Networks", CVPR 2016. With the points 0, 1, -1, 2, -2, 1/2
    and -1/2, the matrices :math:`A` and :math:`B` are exact in bfloat16.

    Args:
        taps (int): 3 or 5. With more taps, rounding errors grow fast.

    Returns:
        list of :class:`numpy.ndarray`: :math:`B^T`, :math:`G` and :math:`A^T` of shapes `(2m, 2m)`,
        `(2m, taps)` and `(m, 2m)`, in double precision.

    Examples
        >>> inputs, weights, outputs = toom_cook(3)
        >>> (outputs @ (inputs @ [1, 2, 3, 4] * (weights @ [1, 0, 2]))).tolist()
        [7.0, 10.0]
    """
    points = np.array([0, 1, -1, 2, -2, 0.5, -0.5][: 2 * taps - 3])
    others = [np.delete(points, i) for i in range(len(points))]
    scales = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    at_infinity = np.eye(1, taps, taps - 1)
    inputs = np.array([[*np.poly(rest)[::-1], 0] for rest in others] + [np.poly(points)[::-1]])
    weights = np.vander(points, taps, increasing=True) / np.array(scales)[:, None]
    outputs = np.vander(points, taps - 1, increasing=True)
    return [
        inputs,
        np.concatenate([weights, at_infinity]),
        np.concatenate([outputs, at_infinity[:, 1:]]).T,
    ]


TOOM_COOK = {taps: [matrix.tolist() for matrix in toom_cook(taps)] for taps in (3, 5)}


def _matrices(
    taps: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs, weights, outputs = TOOM_COOK[taps]
    as_tensor = functools.partial(torch.tensor, dtype=dtype, device=device)
    return as_tensor(inputs), as_tensor(weights), as_tensor(outputs)


@functools.cache
def _matrices_on_gpu(
    taps: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Copy :func:`toom_cook` to a GPU once: a copy waits, and a CUDA graph cannot make one.

    They are made in a thread of its own, as plain tensors whatever the caller is in: a transform of
    :mod:`torch.func`, inference mode, or another.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_matrices, taps, dtype, device).result()


def smooth_and_rectify(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    r"""Smooth over frames and rectify: :math:`A = \mathrm{ReLU}(X + V * X)` (Section 2.1).

    The convolution is zero-padded. With three or five taps over all channels it is computed by
    :func:`toom_cook`. In single precision the result equals the direct convolution to 1e-6; in
    bfloat16 rounding errors are 1e-2 of the convolution, where the direct form has 2e-3. A rounding
    error reaches up to `dilation * taps` frames, twice as far as the convolution itself, so that
    silence close to sound is not exactly zero. In half precision on a CUDA device it is the direct
    form, see :func:`takes_signals_last`.

    Args:
        spec (:class:`torch.Tensor`): :math:`X`, shape `(..., n_filters, frames)`.
        weight (:class:`torch.Tensor`): :math:`V`, shape `(n_filters, n_filters / groups, taps)`,
            taps odd.
        dilation (int): Distance of two taps in frames.
        groups (int): 1, or `n_filters` to smooth each channel by itself.

    Returns:
        :class:`torch.Tensor`: non-negative, of the shape of `spec`.
    """
    if torch.onnx.is_in_onnx_export():
        return _smooth_for_onnx(spec, weight, dilation, groups)
    taps = weight.shape[-1]
    if taps in TOOM_COOK and takes_signals_last(spec, groups):
        # Tensors that have no memory, or are traced, are not mixed with plain ones.
        is_plain = type(weight) in (torch.Tensor, nn.Parameter) and not _is_traced()
        is_plain = is_plain and torch._C._len_torch_dispatch_stack() == 0
        find = _matrices_on_gpu if weight.device.type == "cuda" and is_plain else _matrices
        return _smooth_tiles(spec, weight, dilation, *find(taps, weight.dtype, weight.device))
    if groups == 1 or _is_traced():
        return _smooth_conv(spec, weight, dilation, groups)
    flat = spec.reshape(math.prod(spec.shape[:-2]), *spec.shape[-2:])  # (signals, filters, frames)
    return _SmoothEach.apply(flat, weight, dilation).reshape(spec.shape)


def _is_traced() -> bool:
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def takes_signals_last(spec: torch.Tensor, groups: int | None) -> bool:
    """Tell whether a smoothing takes signals as the last dimension in memory: Toom-Cook does.

    In half precision a GPU is waiting for operations most of the time, and PyTorch's convolution is
    one where Toom-Cook takes many. In single precision it would round to TensorFloat-32.

    Args:
        spec (:class:`torch.Tensor`): What is smoothed, or the waveform that it comes of.
        groups (int, optional): 1, or as many as channels; None if there is no smoothing.
    """
    is_half = spec.dtype in (torch.float16, torch.bfloat16) or is_in_autocast(spec)
    return groups == 1 and not (is_half and spec.device.type == "cuda")


def _smooth_tiles(
    spec: torch.Tensor,
    weight: torch.Tensor,
    dilation: int,
    inputs: torch.Tensor,
    weights: torch.Tensor,
    outputs: torch.Tensor,
) -> torch.Tensor:
    """Smooth tile by tile with the matrices of :func:`toom_cook`.

    A tile is a stretch of `size * dilation` frames, with `size = taps - 1`. It is read as `size`
    rows of `dilation` frames: the frames in one column are a dilation apart, as the taps are, so
    each column is a short correlation without dilation. `n_points = 2 * size`.
    """
    weight, inputs, weights = [in_autocast(each) for each in (weight, inputs, weights)]
    args = spec.to(weight.dtype), weight, dilation, inputs, weights
    if _is_traced():
        products = torch.bmm(_tile_kernels(weight, weights), _tile_values(*args[:4]))
    else:
        products = _TileProducts.apply(*args)
    return _tiles_of_products(spec, products, dilation, outputs)


@script_if_tracing
def _tile_values(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, inputs: torch.Tensor
) -> torch.Tensor:
    """Evaluate the signals at each point: `(points, filters, tiles * dilation * signals)`."""
    n_filters, frames, taps = spec.shape[-2], spec.shape[-1], weight.shape[-1]
    n_points = inputs.shape[0]
    size = n_points // 2
    tiles = (frames + size * dilation - 1) // (size * dilation)
    # Signals come last: a row of a tile, with all signals, is then contiguous.
    flat = spec.reshape(-1, n_filters, frames).permute(1, 2, 0)  # (filters, frames, signals)
    left = dilation * (taps // 2)
    right = (tiles + 1) * size * dilation - left - frames
    rows = F.pad(flat, [0, 0, left, right])  # (filters, (tiles + 1) * size * dilation, signals)
    rows = rows.reshape(n_filters, tiles + 1, size, -1)  # (..., size, dilation * signals)
    rows = rows.permute(2, 0, 1, 3)  # (size, filters, tiles + 1, dilation * signals)
    # The inputs of a tile are its own rows and those of the next tile.
    pieces = torch.cat([rows[:, :, :-1], rows[:, :, 1:]])  # (points, filters, tiles, ...)
    values = torch.mm(inputs, pieces.reshape(n_points, -1))  # (points, filters * tiles * ...)
    return values.reshape(n_points, n_filters, -1)  # (points, filters, tiles * ...)


def _from_tile_values(
    values: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor,
    dilation: int,
    inputs: torch.Tensor,
) -> torch.Tensor:
    """Transpose :func:`_tile_values`: from its values' gradient to that of signals of `shape`."""
    n_filters, frames, taps = shape[-2], shape[-1], weight.shape[-1]
    n_signals, size = math.prod(shape[:-2]), len(inputs) // 2
    tiles = (frames + size * dilation - 1) // (size * dilation)
    pieces = torch.mm(inputs.t(), values.reshape(len(inputs), -1))
    pieces = pieces.reshape(len(inputs), n_filters, tiles, dilation * n_signals)
    # Each row was an input of its own tile and of the one before.
    rows = F.pad(pieces[:size], [0, 0, 0, 1]) + F.pad(pieces[size:], [0, 0, 1, 0])
    rows = rows.permute(1, 2, 0, 3)  # (filters, tiles + 1, size, dilation * signals)
    rows = rows.reshape(n_filters, (tiles + 1) * size * dilation, n_signals)
    flat = rows.narrow(1, dilation * (taps // 2), frames)  # (filters, frames, signals)
    return flat.permute(2, 0, 1).reshape(shape)


def _tile_kernels(weight: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Evaluate the taps at each point: `(points, filters out, filters in)`."""
    kernels = torch.mm(weights, weight.reshape(-1, weight.shape[-1]).t())
    return kernels.reshape(-1, *weight.shape[:2])


class _TileProducts(torch.autograd.Function):
    """Multiply signals and taps at each point: `(points, filters, tiles * dilation * signals)`.

    The factors are four times as large as the representation, and quick to compute again: the
    backward pass does so. (:func:`torch.utils.checkpoint.checkpoint` could, but :mod:`torch.func`
    does not support it.)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(spec, weight, dilation, inputs, weights):
        values = _tile_values(spec, weight, dilation, inputs)
        return torch.bmm(_tile_kernels(weight, weights), values)

    @staticmethod
    def setup_context(ctx, args, products):
        spec, weight, ctx.dilation, inputs, weights = args
        ctx.save_for_backward(spec, weight, inputs, weights)
        ctx.save_for_forward(spec, weight, inputs, weights)

    @staticmethod
    def jvp(ctx, of_spec, of_weight, _dilation, _inputs, _weights):
        spec, weight, inputs, weights = ctx.saved_tensors
        pairs = [(of_spec, weight), (spec, of_weight)]
        parts = [
            torch.bmm(_tile_kernels(w, weights), _tile_values(s, weight, ctx.dilation, inputs))
            for s, w in pairs
            if s is not None and w is not None
        ]
        return sum(parts)

    @staticmethod
    def backward(ctx, gradient):
        spec, weight, inputs, weights = ctx.saved_tensors
        of_spec = of_weight = None
        if ctx.needs_input_grad[1]:
            values = _tile_values(spec, weight, ctx.dilation, inputs)
            of_kernels = torch.bmm(gradient, values.transpose(1, 2))  # (points, filters, filters)
            of_taps = torch.mm(weights.t(), of_kernels.reshape(len(weights), -1))
            of_weight = of_taps.t().reshape(weight.shape)
        if ctx.needs_input_grad[0]:
            kernels = _tile_kernels(weight, weights)
            of_values = torch.bmm(kernels.transpose(1, 2), gradient)
            of_spec = _from_tile_values(of_values, spec.shape, weight, ctx.dilation, inputs)
        return of_spec, of_weight, None, None, None


@script_if_tracing
def _tiles_of_products(
    spec: torch.Tensor, products: torch.Tensor, dilation: int, outputs: torch.Tensor
) -> torch.Tensor:
    """Combine the points of each tile, add the residual and rectify."""
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    size, n_points = outputs.shape
    tiles = (frames + size * dilation - 1) // (size * dilation)
    flat = spec.reshape(-1, n_filters, frames).permute(1, 2, 0)  # (filters, frames, signals)
    smooth = torch.mm(outputs, products.reshape(n_points, -1))  # (size, filters * tiles * ...)
    smooth = smooth.reshape(size, n_filters, tiles, -1)  # (size, filters, tiles, ...)
    smooth = smooth.permute(1, 2, 0, 3)  # (filters, tiles, size, dilation * signals)
    # The last size is given, because -1 would be ambiguous for an empty batch.
    smooth = smooth.reshape(n_filters, tiles * size * dilation, flat.shape[2])[:, :frames]
    # (filters, frames, signals) -> (signals, filters, frames), before the ReLU: its gradient is
    # slow if it has to change the layout.
    return torch.relu((flat + smooth).permute(2, 0, 1).contiguous()).reshape(spec.shape)


@script_if_tracing
def _smooth_conv(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    # A convolution of height one, because conv1d is slower on CPUs in bfloat16.
    flat = spec.reshape(-1, 1, spec.shape[-2], spec.shape[-1])  # (signals, 1, filters, frames)
    flat = flat.transpose(1, 2)  # (signals, filters, 1, frames)
    if spec.device.type == "cuda":
        flat = flat.contiguous()  # once: convolution and gradient would copy it, and so the result
    smooth = F.conv2d(
        flat,
        weight.unsqueeze(2),  # (filters, filters / groups, 1, taps)
        padding=[0, dilation * (weight.shape[-1] // 2)],
        dilation=[1, dilation],
        groups=groups,
    )
    return torch.relu(flat + smooth).reshape(spec.shape)


class _SmoothEach(torch.autograd.Function):
    """Smooth each channel by itself and rectify: `(signals, filters, frames)` -> the same.

    Sums, ReLU and gradients of a block of channels are computed while it is in the cache. The
    general depthwise convolution takes three times as long for the weights' gradients alone. Blocks
    are computed in single precision.
    """

    @staticmethod
    def forward(spec, weight, dilation):
        rep = spec.new_empty(spec.shape)
        for block in _blocks_of_channels(spec):
            smooth = _add_shifted(_rows(spec, block), weight.narrow(0, *block), dilation)
            rep.narrow(1, *block).copy_(smooth.relu_().transpose(0, 1))
        return rep

    @staticmethod
    def setup_context(ctx, args, rep):
        spec, weight, ctx.dilation = args
        ctx.save_for_backward(spec, weight, rep)
        ctx.save_for_forward(spec, weight, rep)

    @staticmethod
    def jvp(ctx, of_spec, of_weight, _):
        spec, weight, rep = ctx.saved_tensors
        tangent = torch.zeros_like(spec)
        if of_spec is not None:
            tangent = tangent + of_spec + _convolve(of_spec, weight, ctx.dilation, len(weight))
        if of_weight is not None:
            tangent = tangent + _convolve(spec, of_weight, ctx.dilation, len(weight))
        return (tangent * (rep > 0)).contiguous()

    @staticmethod
    def backward(ctx, gradient):
        spec, weight, rep = ctx.saved_tensors
        of_rows, of_weights = [], []
        for block in _blocks_of_channels(spec):
            # Of the ReLU, whose output is not negative; torch.where takes ten times as long.
            of_smooth = _rows(gradient, block) * _rows(rep, block).sign()
            of_block = _add_shifted(of_smooth, weight.narrow(0, *block).flip(-1), ctx.dilation)
            of_rows.append(of_block.to(spec.dtype))
            if ctx.needs_input_grad[1]:
                rows = _rows(spec, block)
                products = _shifted_products(rows, of_smooth, ctx.dilation, weight.shape[-1])
                of_weights.append(products)
        of_weight = torch.cat(of_weights)[:, None].to(weight.dtype) if of_weights else None
        return torch.cat(of_rows).transpose(0, 1), of_weight, None


_SmoothEach.vmap = staticmethod(one_by_one(_SmoothEach))  # type: ignore[method-assign]


def _blocks_of_channels(spec: torch.Tensor) -> list[tuple[int, int]]:
    """First channel and number of channels of blocks that stay in the cache, where there is one."""
    signals, n_filters, frames = spec.shape
    is_cpu = spec.device.type == "cpu"
    size = max(1, BLOCK // max(signals * frames, 1)) if is_cpu else max(n_filters, 1)
    return [(first, min(size, n_filters - first)) for first in range(0, n_filters, size)]


def _rows(spec: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """A block of `(signals, filters, frames)` as `(block, signals, frames)`, not in half precision.

    This is how an analysis lies in memory, see :func:`.frame_analysis`.
    """
    rows = spec.narrow(1, *block).transpose(0, 1)
    return rows.to(torch.promote_types(spec.dtype, torch.float32))


def _taps(taps: int, dilation: int, frames: int) -> Iterator[tuple[int, int, int, int]]:
    """Index of each tap, the first frame that it reaches and reads, and the number of frames."""
    for tap in range(taps):
        shift = (tap - taps // 2) * dilation
        if abs(shift) < frames:
            yield tap, max(0, -shift), max(0, shift), frames - abs(shift)


def _add_shifted(rows: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """Add to rows of shape `(filters, signals, frames)` what each tap makes of them."""
    smooth = rows.clone(memory_format=torch.contiguous_format)
    for tap, reached, read, number in _taps(weight.shape[-1], dilation, rows.shape[2]):
        inputs = rows.narrow(2, read, number)
        smooth.narrow(2, reached, number).addcmul_(inputs, weight[..., tap, None])
    return smooth


def _shifted_products(
    rows: torch.Tensor, gradient: torch.Tensor, dilation: int, taps: int
) -> torch.Tensor:
    """Gradients of the taps, `(filters, taps)`: products of what they read with what they reach."""
    products = [rows.new_zeros(rows.shape[0])] * taps
    for tap, reached, read, number in _taps(taps, dilation, rows.shape[2]):
        product = gradient.narrow(2, reached, number) * rows.narrow(2, read, number)
        products[tap] = product.sum((1, 2))
    return torch.stack(products, 1)


def _convolve(flat: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int) -> torch.Tensor:
    """Convolve `(signals, filters, frames)`, zero-padded, over frames."""
    reach = dilation * (weight.shape[-1] // 2)
    padded = F.pad(flat, [reach, reach])
    return F.conv1d(padded, weight.to(flat.dtype), dilation=dilation, groups=groups)


def _smooth_for_onnx(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    """Compute :func:`smooth_and_rectify` without scripted padding, which ONNX does not support."""
    flat = spec.reshape(-1, spec.shape[-2], spec.shape[-1])  # (signals, filters, frames)
    smooth = _convolve(flat, weight, dilation, groups)
    return torch.relu(flat + smooth).reshape(spec.shape)


class SmoothFB(Filterbank):
    """Base of filterbanks whose analysis is followed by smoothing over frames.

    Subclasses define the kernels (`filters`). The arguments and errors are those of
    :class:`~.ConvSmoothFB`.
    """

    n_filters: int
    kernel_size: int
    stride: int
    sample_rate: float
    n_feats_out: int

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None,
        sample_rate: float,
        smooth_kernel_size: int,
        smooth_dilation: int,
        smooth_groups: int,
    ):
        check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate)
        check_positive_int("smooth_kernel_size", smooth_kernel_size)
        check_positive_int("smooth_dilation", smooth_dilation)
        reach = smooth_kernel_size * smooth_dilation
        check(reach <= MAX_REACH, "frames of the smoothing", reach, f"at most {MAX_REACH}")
        is_odd = smooth_kernel_size % 2 == 1
        check(is_odd, "smooth_kernel_size", smooth_kernel_size, "odd, to keep frames in place")
        # Other numbers of groups would tie a channel to its neighbours, and sorting moves channels.
        is_known = type(smooth_groups) is int and smooth_groups in (1, n_filters)
        check(is_known, "smooth_groups", smooth_groups, f"1 or {n_filters} (n_filters)")
        super().__init__(n_filters, kernel_size, stride=stride, sample_rate=sample_rate)
        self.smooth_kernel_size = smooth_kernel_size
        self.smooth_dilation = smooth_dilation
        self.smooth_groups = smooth_groups
        shape = (n_filters, n_filters // smooth_groups, smooth_kernel_size)
        self.smooth_weight = nn.Parameter(torch.empty(shape))
        # These are PyTorch's start values of a convolution, at which the residual path outweighs
        # the smoothing. The authors' public code starts with values 2.4 times as large; after 300
        # updates at a learning rate of 1e-3 its reconstruction was 0.5 to 0.9 dB worse.
        nn.init.kaiming_uniform_(self.smooth_weight, a=5**0.5)

    def post_analysis(self, spec: torch.Tensor) -> torch.Tensor:
        """Smooth a spectrum of shape `(..., n_filters, frames)` over frames and rectify it."""
        return smooth_and_rectify(
            spec, self.smooth_weight, self.smooth_dilation, self.smooth_groups
        )

    @property
    def channel_dims(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each tensor that run over channels; a reordering permutes them.

        A subclass adds those of its kernels.
        """
        return {"smooth_weight": (0, 1) if self.smooth_groups == 1 else (0,)}

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class."""
        config = {
            "smooth_kernel_size": self.smooth_kernel_size,
            "smooth_dilation": self.smooth_dilation,
            "smooth_groups": self.smooth_groups,
        }
        return {**super().get_config(), **config}
