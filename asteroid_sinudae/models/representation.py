"""The protocol of a representation: a pair of encode and decode."""

import math
from typing import Protocol

import torch

from ..filterbanks.enc_dec import Encoder


class Representation(Protocol):
    """Protocol of a representation, for masks, metrics and reports.

    A type checker accepts :class:`.SinuDAE`, :class:`.STFT` and every other class that has these
    attributes and methods; it need not inherit from anything.

    Attributes:
        sample_rate (float): Sample rate in Hz of the audio that it is made for.
        encoder (Encoder): Encoder in Asteroid's sense, whose `stride` is the hop in samples.
    """

    sample_rate: float
    encoder: Encoder

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """Encode a waveform: `(batch, 1, time)` -> `(batch, freq, frames)`, real or complex."""
        ...

    def magnitude(self, rep: torch.Tensor) -> torch.Tensor:
        """Return the real, non-negative magnitude of a representation, of the same shape."""
        ...

    def decode(self, rep: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """Decode a representation: `(batch, freq, frames)` -> `(batch, 1, length)`."""
        ...

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Return the time of each frame's centre in seconds, see :meth:`.Encoder.frame_times`."""
        ...


def reach(representation: Representation) -> int:
    """Largest distance, in samples, at which a sample of audio affects the decoded waveform.

    Rounding errors, of 1e-6 of the audio, may reach farther.

    Args:
        representation (Representation): A representation whose encoder and decoder are Asteroid's,
            with kernels of the same length.

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
    """Round `block` up to a multiple of the hop, both in samples.

    In blocks of such a length, frames have the same places as in the whole signal.
    """
    stride = representation.encoder.stride
    return math.ceil(block / stride) * stride
