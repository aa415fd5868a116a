"""The protocol of a representation: a pair of encode and decode."""

import math
from typing import Protocol

import torch

from ..filterbanks.enc_dec import Encoder


class Representation(Protocol):
    """What masks, metrics and reports need to know of a representation.

    Attributes:
        sample_rate (float): Of the audio it is made for, in Hz.
        encoder (Encoder): Asteroid's, whose `stride` is the hop in samples.
    """

    sample_rate: float
    encoder: Encoder

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """`(batch, 1, time)` -> `(batch, freq, frames)`, real or complex."""

    def magnitude(self, rep: torch.Tensor) -> torch.Tensor:
        """`(batch, freq, frames)` -> the same shape, real and non-negative."""

    def decode(self, rep: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """`(batch, freq, frames)` -> `(batch, 1, length)`."""

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Seconds from the first sample to each frame's centre: :meth:`.Encoder.frame_times`."""


def reach(representation: Representation) -> int:
    """Bound of how far apart, in samples, audio and what is decoded from it can be.

    Rounding errors, 1e-6 of the audio's, can be farther apart.

    Args:
        representation (Representation): Of Asteroid's encoder and decoder, with kernels of one
            length.

    Returns:
        int: a multiple of the hop.

    Examples
        >>> from asteroid_sinudae import STFT
        >>> reach(STFT(n_fft=2048, stride=384))  # two kernels
        4224
    """
    config = representation.encoder.get_config()
    stride = config["stride"]
    smoothing = config.get("smooth_kernel_size", 1) // 2 * config.get("smooth_dilation", 1)
    return (math.ceil(2 * config["kernel_size"] / stride) + smoothing) * stride


def whole_hops(representation: Representation, block: int) -> int:
    """The least multiple of the hop that is not below `block`, both in samples.

    In blocks of such a length, frames stay where they are in the whole.
    """
    stride = representation.encoder.stride
    return math.ceil(block / stride) * stride
