"""What both encoders share: the second convolution over frames, its residual and the ReLU."""

import numpy as np
import torch
from asteroid_filterbanks import Filterbank
from asteroid_filterbanks.scripting import script_if_tracing
from torch import nn
from torch.nn import functional as F

from ..utils.checks import check, check_filterbank_sizes, check_positive_int

MAX_REACH = 100_000  # frames that the smoothing may pad a signal by


def toom_cook(taps: int) -> list[np.ndarray]:
    r"""Matrices of a correlation with few taps, by fewer products.

    With :math:`m = \mathrm{taps} - 1`, the :math:`m` outputs :math:`y_i = \sum_j x_{i+j} v_j` of
    :math:`2m` inputs are :math:`y = A^T ((B^T x) \odot (G v))`: :math:`2m` products instead of
    :math:`m (m + 1)`, of the values of polynomials at `2m - 1` points and at infinity (Toom and
    Cook; the notation is that of A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural
    Networks", CVPR 2016). At these points, :math:`A` and :math:`B` are exact in bfloat16.

    Args:
        taps (int): 3 or 5; with more, rounding errors grow fast.

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


def smooth_and_rectify(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    r""":math:`A = \mathrm{ReLU}(X + V * X)` over the frames (Section 2.1), zero-padded.

    Three or five taps over all channels, which cost most of a training step, take the form of
    :func:`toom_cook`: in single precision, the same to 1e-6; in bfloat16, with 1e-2 of the
    convolution as rounding errors, where a direct form has 2e-3. A rounding error reaches up to
    `dilation * taps` frames, where the convolution reaches half as far: silence near sound is not
    exact.

    Args:
        spec (:class:`torch.Tensor`): :math:`X`, shape `(..., n_filters, frames)`.
        weight (:class:`torch.Tensor`): :math:`V`, shape `(n_filters, n_filters / groups, taps)`,
            taps odd.
        dilation (int): Distance of two taps in frames.
        groups (int): 1, or `n_filters` for a smoothing of each channel by itself.

    Returns:
        :class:`torch.Tensor`: non-negative, of the shape of `spec`.
    """
    if torch.onnx.is_in_onnx_export():
        return _smooth_for_onnx(spec, weight, dilation, groups)
    taps = weight.shape[-1]
    if groups == 1 and taps in TOOM_COOK:
        inputs, weights, outputs = [
            torch.tensor(rows, dtype=weight.dtype, device=weight.device) for rows in TOOM_COOK[taps]
        ]
        return _smooth_tiles(spec, weight, dilation, inputs, weights, outputs)
    return _smooth_conv(spec, weight, dilation, groups)


@script_if_tracing
def _smooth_tiles(
    spec: torch.Tensor,
    weight: torch.Tensor,
    dilation: int,
    inputs: torch.Tensor,
    weights: torch.Tensor,
    outputs: torch.Tensor,
) -> torch.Tensor:
    n_filters, frames, taps = spec.shape[-2], spec.shape[-1], weight.shape[-1]
    size, n_points = outputs.shape
    tiles = (frames + size * dilation - 1) // (size * dilation)
    # Signals last: frames that are a dilation apart are a row's neighbours.
    flat = spec.reshape(-1, n_filters, frames).permute(1, 2, 0)
    left = dilation * (taps // 2)
    right = (tiles + 1) * size * dilation - left - frames
    rows = F.pad(flat, [0, 0, left, right]).reshape(n_filters, tiles + 1, size, -1)
    rows = rows.permute(2, 0, 1, 3)
    # A tile's inputs are its own rows and those of the next.
    pieces = torch.cat([rows[:, :, :-1], rows[:, :, 1:]])
    values = torch.mm(inputs, pieces.reshape(n_points, -1)).reshape(n_points, n_filters, -1)
    kernels = torch.mm(weights, weight.reshape(-1, taps).t()).reshape(n_points, n_filters, -1)
    products = torch.bmm(kernels, values)
    smooth = torch.mm(outputs, products.reshape(n_points, -1))
    smooth = smooth.reshape(size, n_filters, tiles, -1).permute(1, 2, 0, 3)
    # No -1: it is ambiguous with a batch of 0.
    smooth = smooth.reshape(n_filters, tiles * size * dilation, flat.shape[2])[:, :frames]
    # Signals first again before the ReLU, whose gradient is slow between layouts.
    return torch.relu((flat + smooth).permute(2, 0, 1).contiguous()).reshape(spec.shape)


@script_if_tracing
def _smooth_conv(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    # A convolution of height one: conv1d is slower on CPUs in bfloat16.
    flat = spec.reshape(-1, 1, spec.shape[-2], spec.shape[-1]).transpose(1, 2)
    smooth = F.conv2d(
        flat,
        weight.unsqueeze(2),
        padding=[0, dilation * (weight.shape[-1] // 2)],
        dilation=[1, dilation],
        groups=groups,
    )
    return torch.relu(flat + smooth).reshape(spec.shape)


def _smooth_for_onnx(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    """:func:`smooth_and_rectify` without scripted padding, which ONNX's convolution cannot take."""
    flat = spec.reshape(-1, spec.shape[-2], spec.shape[-1])
    reach = dilation * (weight.shape[-1] // 2)
    smooth = F.conv1d(F.pad(flat, [reach, reach]), weight, dilation=dilation, groups=groups)
    return torch.relu(flat + smooth).reshape(spec.shape)


class SmoothFB(Filterbank):
    """Filterbank whose analysis is followed by smoothing over frames; `filters` is left open.

    The arguments and errors are those of :class:`~.ConvSmoothFB`.
    """

    def __init__(
        self,
        n_filters,
        kernel_size,
        stride,
        sample_rate,
        smooth_kernel_size,
        smooth_dilation,
        smooth_groups,
    ):
        check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate)
        check_positive_int("smooth_kernel_size", smooth_kernel_size)
        check_positive_int("smooth_dilation", smooth_dilation)
        reach = smooth_kernel_size * smooth_dilation
        check(reach <= MAX_REACH, "frames of the smoothing", reach, f"at most {MAX_REACH}")
        is_odd = smooth_kernel_size % 2 == 1
        check(is_odd, "smooth_kernel_size", smooth_kernel_size, "odd, to keep frames in place")
        # Any other number would tie channels to a place among their neighbours.
        is_known = type(smooth_groups) is int and smooth_groups in (1, n_filters)
        check(is_known, "smooth_groups", smooth_groups, f"1 or {n_filters} (n_filters)")
        super().__init__(n_filters, kernel_size, stride=stride, sample_rate=sample_rate)
        self.smooth_kernel_size = smooth_kernel_size
        self.smooth_dilation = smooth_dilation
        self.smooth_groups = smooth_groups
        shape = (n_filters, n_filters // smooth_groups, smooth_kernel_size)
        self.smooth_weight = nn.Parameter(torch.empty(shape))
        # PyTorch's start of a convolution, at which the residual path outweighs the smoothing. The
        # authors' public code starts 2.4 times higher; after 300 updates at a learning rate of 1e-3
        # its reconstruction was 0.5 to 0.9 dB worse.
        nn.init.kaiming_uniform_(self.smooth_weight, a=5**0.5)

    def post_analysis(self, spec):
        """Smooth over frames and rectify."""
        return smooth_and_rectify(
            spec, self.smooth_weight, self.smooth_dilation, self.smooth_groups
        )

    @property
    def channel_dims(self):
        """Dimensions of each parameter that run over channels: what a reordering permutes."""
        smooth_dims = (0, 1) if self.smooth_groups == 1 else (0,)
        return {**self.kernel_channel_dims, "smooth_weight": smooth_dims}

    def get_config(self):
        """Returns dictionary of arguments to re-instantiate the class."""
        config = {
            "smooth_kernel_size": self.smooth_kernel_size,
            "smooth_dilation": self.smooth_dilation,
            "smooth_groups": self.smooth_groups,
        }
        return {**super().get_config(), **config}
