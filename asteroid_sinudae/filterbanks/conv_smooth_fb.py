from collections.abc import Sequence

import torch
from torch import nn

from .compact import CompactFB, Kernels
from .smoothing import SmoothFB


class ConvSmoothFB(CompactFB, SmoothFB):
    r"""Free filterbank with smoothing over frames, the encoder :math:`E` of [1] (Section 2.1).

    The encoder has two convolutions. The first one is the filterbank, with the output :math:`X`.
    The second one :math:`V` runs over frames and is dilated; the result is
    :math:`A = \mathrm{ReLU}(X + V * X)`, which is non-negative.

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
        smooth_groups (int): 1 for a full convolution as in the paper, or `n_filters` for a
            depthwise one, which smooths each channel by itself and has `n_filters` times fewer
            weights.
        supports (sequence of pairs, optional): Windows outside of which kernels are zero and have
            no parameters, see :func:`.check_supports`. If None (default), all samples are learned,
            as in the paper.

    Attributes:
        n_feats_out (int): Number of output filters.

    Raises:
        ValueError: if a size is out of its range, or `supports` does not fit the sizes.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    _filters: nn.Parameter | nn.ParameterList

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None = None,
        sample_rate: float = 8000.0,
        smooth_kernel_size: int = 5,
        smooth_dilation: int = 10,
        smooth_groups: int = 1,
        supports: Sequence[Sequence[int]] | None = None,
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
        self._set_supports(supports)
        start = torch.empty(n_filters, 1, kernel_size)
        nn.init.kaiming_uniform_(start)
        self._filters = self._windowed(start)

    @property
    def channel_dims(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each tensor that run over channels; a reordering permutes them."""
        name = "_filters" if self.supports is None else "channel_order"
        return {name: (0,), **super().channel_dims}

    def kernels(self) -> Kernels:
        """The kernels in groups, see :class:`.Kernels`."""
        return self._grouped(self._filters)
