"""What both encoders share: the second convolution over frames, its residual and the ReLU."""

import torch
from asteroid_filterbanks import Filterbank
from asteroid_filterbanks.scripting import script_if_tracing
from torch import nn
from torch.nn import functional as F

from ._checks import check, check_filterbank_sizes, check_positive_int


@script_if_tracing
def smooth_and_rectify(
    spec: torch.Tensor, weight: torch.Tensor, dilation: int, groups: int
) -> torch.Tensor:
    r""":math:`A = \mathrm{ReLU}(X + V * X)` over the frames (Section 2.1), zero-padded.

    Args:
        spec (:class:`torch.Tensor`): :math:`X`, shape `(..., n_filters, frames)`.
        weight (:class:`torch.Tensor`): :math:`V`, shape `(n_filters, n_filters / groups, taps)`,
            taps odd.
        dilation (int): Distance of two taps in frames.
        groups (int): 1, or `n_filters` for a smoothing of each channel by itself.

    Returns:
        :class:`torch.Tensor`: non-negative, of the shape of `spec`.
    """
    n_filters, frames, taps = spec.shape[-2], spec.shape[-1], weight.shape[-1]
    padding = dilation * (taps // 2)
    flat = spec.reshape(-1, n_filters, frames)
    if groups == 1:
        # One matrix product, of the channels' taps side by side as the weights have them: in
        # bfloat16 it is faster on CPUs than convolutions.
        by_filter = flat.transpose(0, 1)
        reach = [min(max(dilation * tap - padding, -frames), frames) for tap in range(taps)]
        shifted = [F.pad(by_filter, [-shift, shift]) for shift in reach]
        product = torch.mm(weight.flatten(1), torch.stack(shifted, 1).reshape(taps * n_filters, -1))
        smooth = product.reshape(n_filters, -1, frames).transpose(0, 1)
    else:
        # A convolution of height one: conv1d is slower on CPUs in bfloat16.
        smooth = F.conv2d(
            flat.unsqueeze(2),
            weight.unsqueeze(2),
            padding=[0, padding],
            dilation=[1, dilation],
            groups=groups,
        ).squeeze(2)
    return torch.relu((flat + smooth).contiguous()).reshape(spec.shape)


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
