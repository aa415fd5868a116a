from typing import Any

import torch
from asteroid_filterbanks import FreeFB
from torch import nn

from ..utils.checks import check_choice, check_filterbank_sizes


class ConvFB(FreeFB):
    """Free filterbank as a decoder (`conv` of Table 1 in [1]), with or without tanh at the output.

    This is Asteroid's :class:`FreeFB` with the start values of :class:`torch.nn.ConvTranspose1d`
    and an optional output non-linearity.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the (transposed) convolution in samples. If None (default),
            set to ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        output_activation (str): Function that is applied to the synthesised waveform, among
            [``'linear'``, ``'tanh'``].

    Attributes:
        n_feats_out (int): Number of output filters.

    Raises:
        ValueError: if a size is out of its range, or `output_activation` is unknown.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    channel_dims = {"_filters": (0,)}  # dimensions that run over channels, to be reordered

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None = None,
        sample_rate: float = 8000.0,
        output_activation: str = "linear",
    ):
        check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate)
        check_choice("output_activation", output_activation, ("linear", "tanh"))
        super().__init__(n_filters, kernel_size, stride=stride, sample_rate=sample_rate)
        self.output_activation = output_activation
        nn.init.kaiming_uniform_(self._filters, a=5**0.5)

    def post_synthesis(self, wav: torch.Tensor) -> torch.Tensor:
        """Apply the output activation."""
        return wav.tanh() if self.output_activation == "tanh" else wav

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class."""
        return {**super().get_config(), "output_activation": self.output_activation}
