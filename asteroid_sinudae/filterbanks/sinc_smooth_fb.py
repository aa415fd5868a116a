import torch
from torch import nn

from ..utils.dtypes import ChecksConversion
from .kernels import mel_frequencies, sinc_kernels
from .smoothing import SmoothFB


class SincSmoothFB(ChecksConversion, SmoothFB):
    r"""Sinc filterbank with smoothing over frames (encoder `sinc` of Table 1 in [1]).

    This is :class:`ConvSmoothFB` with the band-pass kernels of SincNet [2] as first stage. Each
    kernel has a learned lower edge and bandwidth, and all share one learned window, which starts as
    a Hamming window. The edges start spaced equally in mel from 30 Hz to half the sample rate.

    Asteroid's `make_enc_dec` makes encoder and decoder from one class. As a decoder, this class
    uses its kernels only, and `smooth_weight` gets no gradient. :func:`.make_enc_dec` of this
    package makes a pair from two classes.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the convolution in samples. If None (default), set to
            ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        smooth_kernel_size (int): Number of taps of the second convolution, odd.
        smooth_dilation (int): Distance of its taps in frames.
        smooth_groups (int): see :class:`ConvSmoothFB`.

    Attributes:
        n_feats_out (int): Number of output filters.

    Raises:
        ValueError: if a size is out of its range.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.

        [2] : "Speaker Recognition from raw waveform with SincNet". SLT 2018.
        Mirco Ravanelli, Yoshua Bengio.  https://arxiv.org/abs/1808.00158
    """

    learned_frequencies = ("low", "band")

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None = None,
        sample_rate: float = 8000.0,
        smooth_kernel_size: int = 5,
        smooth_dilation: int = 10,
        smooth_groups: int = 1,
    ):
        super().__init__(
            n_filters,
            kernel_size,
            stride,
            sample_rate,
            smooth_kernel_size,
            smooth_dilation,
            smooth_groups,
        )
        edges = mel_frequencies(n_filters + 1, sample_rate).view(n_filters + 1, 1, 1)
        self.low = nn.Parameter(edges[:-1].clone())
        self.band = nn.Parameter(edges.diff(dim=0))
        self.window = nn.Parameter(torch.hamming_window(kernel_size).view(1, 1, kernel_size))

    @property
    def channel_dims(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each tensor that run over channels; a reordering permutes them."""
        return {"low": (0,), "band": (0,), **super().channel_dims}

    def filters(self) -> torch.Tensor:
        """Kernels of shape `(n_filters, 1, kernel_size)`."""
        return sinc_kernels(self.low, self.band, self.window)
