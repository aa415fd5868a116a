"""The short-time Fourier transform as a representation."""

from typing import Any

import torch
from asteroid_filterbanks import STFTFB
from asteroid_filterbanks.transforms import from_torch_complex, to_torch_complex
from torch import nn

from ..filterbanks.enc_dec import Decoder, Encoder
from ..utils.checks import check
from ..utils.dtypes import check_precision


class STFT(nn.Module):
    """Short-time Fourier transform by Asteroid's :class:`STFTFB`, with exact reconstruction.

    Frames that reach into the signal from outside are kept at both ends, and the synthesis window
    is the canonical dual of the analysis window.

    Args:
        n_fft (int): Length of window and transform in samples, even.
        stride (int): Hop in samples.
        window (str): Name of a window for :func:`scipy.signal.get_window`.
        sample_rate (float): Sample rate of the audio in Hz.

    Raises:
        ValueError: if a size is out of its range, or window and hop cannot be inverted.

    Examples
        >>> stft = STFT(n_fft=64, stride=24, window="hamming", sample_rate=44100)
        >>> wav = torch.randn(1, 1, 1001)
        >>> bool(torch.allclose(stft.decode(stft.encode(wav), 1001), wav, atol=1e-5))
        True
    """

    sample_rate: float
    encoder: Encoder
    decoder: Decoder

    def __init__(
        self,
        n_fft: int = 2048,
        stride: int = 384,
        window: str = "hamming",
        sample_rate: float = 44100.0,
    ):
        import scipy.signal  # here, since it takes half a second, and a learned pair needs none

        super().__init__()
        check(n_fft >= 2 and n_fft % 2 == 0, "n_fft", n_fft, "even and at least 2")
        check(1 <= stride <= n_fft, "stride", stride, f"1 to {n_fft=}")
        self.sample_rate = sample_rate
        analysis = scipy.signal.get_window(window, n_fft)
        # ShortTimeFFT makes its window read-only, which STFTFB does not accept.
        dual = scipy.signal.ShortTimeFFT(analysis.copy(), stride, fs=sample_rate).dual_win
        sizes: dict[str, Any] = dict(
            n_filters=n_fft, kernel_size=n_fft, stride=stride, sample_rate=sample_rate
        )
        # STFTFB's cosines and sines are scaled for a pair of frames of energy 2 * stride / n_fft.
        synthesis = dual * n_fft / (2 * stride)
        self.encoder = Encoder(STFTFB(window=analysis, **sizes), cover_edges=True)
        self.decoder = Decoder(STFTFB(window=synthesis, **sizes), cover_edges=True)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """Encode a waveform: `(batch, 1, time)` -> complex `(batch, n_fft // 2 + 1, frames)`.

        There are `ceil(time / stride) + 2 * encoder.edges` frames.
        """
        return to_torch_complex(self.encoder(wav), dim=-2)

    def magnitude(self, rep: torch.Tensor) -> torch.Tensor:
        """Return the absolute value, of the shape of `rep`."""
        return rep.abs()

    def decode(self, rep: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """Decode complex `(batch, n_fft // 2 + 1, frames)` -> `(batch, 1, length)`."""
        check_precision("representation", rep, self.decoder.filters().dtype.to_complex())
        return self.decoder(from_torch_complex(rep, dim=-2), length)

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Return the time of each frame's centre in seconds, see :meth:`.Encoder.frame_times`."""
        return self.encoder.frame_times(n_frames)
