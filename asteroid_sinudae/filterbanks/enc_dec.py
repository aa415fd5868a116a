"""Encoder and decoder around a pair of filterbanks that need not be of one family.

They are Asteroid's :class:`~asteroid_filterbanks.Encoder` and
:class:`~asteroid_filterbanks.Decoder`, with the zero-padding and the matrix products of
:mod:`.framing`.
"""

from collections.abc import Callable
from typing import Any

import asteroid_filterbanks
import torch

from ..utils.checks import check, check_not_negative_int
from ..utils.dtypes import ChecksConversion, check_precision
from .compact import CompactFB, Kernels, whole_kernels
from .framing import edge_frames, frame_analysis, frame_synthesis, samples_before
from .smoothing import takes_signals_last

MAX_FRAMES = 2**28  # of which times are told, 2 GiB of numbers


def _kernels(part: asteroid_filterbanks.Encoder | asteroid_filterbanks.Decoder) -> Kernels:
    """The kernels of an encoder or a decoder, in groups where its filterbank is compact.

    A subclass of a filterbank may have a `filters` method of its own, which counts.
    """
    filterbank = part.filterbank
    is_grouped = isinstance(filterbank, CompactFB) and filterbank.supports is not None
    if is_grouped and not part.is_pinv and type(filterbank).filters is CompactFB.filters:
        return filterbank.kernels()
    return whole_kernels(part.get_filters())


class Encoder(ChecksConversion, asteroid_filterbanks.Encoder):
    r"""Asteroid's :class:`~asteroid_filterbanks.Encoder` with zero-padding to whole hops.

    A waveform of `N` samples gives `ceil(N / stride)` frames. Frame `t` is centred on hop `t`, or
    on hop `t - edges` with `cover_edges`; :meth:`frame_times` gives its time in seconds.

    Args:
        filterbank (:class:`Filterbank`): The filterbank to use as an encoder.
        is_pinv (bool): Whether to be the pseudo inverse of filterbank.
        as_conv1d (bool): Whether `(batch, 1, time)` gives `(batch, n_filters, frames)` (True,
            the default) or `(batch, 1, n_filters, frames)`.
        cover_edges (bool): Whether to add, at both ends, the frames whose kernels reach into the
            signal from outside, see :func:`.edge_frames`. There are `2 * edge_frames` frames more.

    Attributes:
        edges (int): Number of frames before hop 0, and after the last hop; 0 without `cover_edges`.

    Raises:
        ValueError: from `forward`, if the waveform has no samples, or another precision than the
            kernels.

    Shape:
        - `(time,)` -> `(freq, frames)`
        - `(batch, time)` -> `(batch, freq, frames)`
        - `(batch, 1, time)` -> `(batch, freq, frames)`, if `as_conv1d`
        - `(..., time)` -> `(..., freq, frames)`
    """

    filterbank: Any  # a Filterbank of Asteroid's, which has no types
    stride: int
    sample_rate: float
    as_conv1d: bool
    get_filters: Callable[[], torch.Tensor]

    def __init__(
        self,
        filterbank: Any,
        is_pinv: bool = False,
        as_conv1d: bool = True,
        cover_edges: bool = False,
    ):
        super().__init__(filterbank, is_pinv=is_pinv, as_conv1d=as_conv1d)
        self.cover_edges = cover_edges
        self.edges = edge_frames(filterbank.kernel_size, self.stride) if cover_edges else 0

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Encode a waveform of any rank, whose last dimension is time."""
        kernels = _kernels(self)
        check_precision("waveform", waveform, kernels.groups[0].dtype)
        groups = getattr(self.filterbank, "smooth_groups", None)
        spec = frame_analysis(
            self.filterbank.pre_analysis(waveform),
            kernels,
            self.stride,
            self.edges,
            self.as_conv1d,
            signals_last=takes_signals_last(waveform, groups),
        )
        return self.filterbank.post_analysis(spec).contiguous()

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Time of the centre of each frame's kernels in the waveform.

        Args:
            n_frames (int): Number of frames, as :meth:`forward` gives them.

        Returns:
            :class:`torch.Tensor` of shape `(n_frames,)`: seconds after the first sample, in double
            precision, on the CPU. The first ones are negative with `cover_edges`.

        Raises:
            ValueError: if `n_frames` is not an integer of at least 0, or exceeds 2**28.

        Examples
            >>> from asteroid_sinudae import make_enc_dec
            >>> enc, _ = make_enc_dec(kernel_size=64, stride=8, sample_rate=1000.0)
            >>> enc.frame_times(3)  # hop 0 has the samples 0 to 7
            tensor([0.0035, 0.0115, 0.0195], dtype=torch.float64)
        """
        check_not_negative_int("n_frames", n_frames)
        check(n_frames <= MAX_FRAMES, "n_frames", n_frames, f"at most {MAX_FRAMES}")
        kernel_size = self.filterbank.kernel_size
        first = (kernel_size - 1) / 2 - samples_before(kernel_size, self.stride, self.edges)
        hops = torch.arange(n_frames, dtype=torch.float64, device="cpu")
        return (first + self.stride * hops) / self.sample_rate

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class and its filterbank."""
        config = {"as_conv1d": self.as_conv1d, "cover_edges": self.cover_edges}
        return {**super().get_config(), **config}


class Decoder(ChecksConversion, asteroid_filterbanks.Decoder):
    r"""Asteroid's :class:`~asteroid_filterbanks.Decoder`, which crops the padding of the encoder.

    Args:
        filterbank (:class:`Filterbank`): The filterbank to use as a decoder.
        is_pinv (bool): Whether to be the pseudo inverse of filterbank.
        cover_edges (bool): The same value as the :class:`Encoder` has.

    Raises:
        ValueError: from `forward`, if `length` does not match the number of frames, or the
            representation has another precision than the kernels.
    """

    filterbank: Any  # a Filterbank of Asteroid's, which has no types
    stride: int
    sample_rate: float
    filters: Callable[[], torch.Tensor]
    get_filters: Callable[[], torch.Tensor]

    def __init__(self, filterbank: Any, is_pinv: bool = False, cover_edges: bool = False):
        super().__init__(filterbank, is_pinv=is_pinv)
        self.cover_edges = cover_edges
        self.edges = edge_frames(filterbank.kernel_size, self.stride) if cover_edges else 0

    def forward(self, spec: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """Decode a representation into a waveform.

        Args:
            spec (:class:`torch.Tensor`): shape `(freq, frames)` or `(..., freq, frames)`.
            length (int, optional): Number of samples of the encoded waveform. If None (default),
                the waveform has a whole number of hops.

        Returns:
            :class:`torch.Tensor` of shape `(time,)`, `(batch, 1, time)` or `(..., time)`.
        """
        kernels = _kernels(self)
        check_precision("representation", spec, kernels.groups[0].dtype)
        spec = self.filterbank.pre_synthesis(spec)
        wav = frame_synthesis(spec, kernels, self.stride, self.edges)
        wav = self.filterbank.post_synthesis(wav)
        if length is None:
            return wav
        if not wav.shape[-1] - self.stride < length <= wav.shape[-1]:
            raise ValueError(
                f"length must be in {wav.shape[-1] - self.stride + 1}..{wav.shape[-1]} for "
                f"{spec.shape[-1]} frames at stride {self.stride}, got {length}"
            )
        return wav[..., :length]

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class and its filterbank."""
        return {**super().get_config(), "cover_edges": self.cover_edges}
