"""Encoder and decoder around a pair of filterbanks that need not be of one family.

They differ from Asteroid's in two ways. Signals are zero-padded to whole hops, so that `N` samples
give `ceil(N / stride)` frames and come back as `N` samples. And the strided convolutions are matrix
products over frames: the same function, in a form that runs on a processor's matrix units, where a
strided convolution in bfloat16 does not.
"""

import math

import asteroid_filterbanks
import torch
from asteroid_filterbanks.scripting import script_if_tracing
from torch.nn import functional as F

from ..utils.autocast import in_autocast
from ..utils.checks import (
    check,
    check_choice,
    check_filterbank_sizes,
    check_not_negative_int,
    takes_plain,
)
from ..utils.dtypes import ChecksConversion, check_precision
from .conv_fb import ConvFB
from .conv_smooth_fb import ConvSmoothFB
from .mod_cos_fb import CosFB, ModCosFB
from .multires import as_bands, start_multires
from .sinc_smooth_fb import SincSmoothFB

ENCODERS = {"conv_smooth": ConvSmoothFB, "sinc_smooth": SincSmoothFB}
DECODERS = ("mod_cos", "cos", "conv", "conv_tanh")
INITS = ("paper", "multires")


def edge_frames(kernel_size: int, stride: int) -> int:
    """Frames beyond each end of a signal whose kernels still reach into it.

    Args:
        kernel_size (int): Length of the kernels in samples.
        stride (int): Hop in samples.

    Returns:
        int: zero if kernels are no longer than a hop.
    """
    reach = kernel_size - (kernel_size - stride) // 2
    return math.ceil(reach / stride) - 1


def frame_analysis(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """Correlate a zero-padded waveform with kernels at every hop.

    Args:
        waveform (:class:`torch.Tensor`): shape `(..., time)`.
        filters (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        stride (int): Hop in samples.
        edges (int): Frames added at each end, see :func:`edge_frames`.
        as_conv1d (bool): Whether `(batch, 1, time)` gives `(batch, n_filters, frames)`.

    Returns:
        :class:`torch.Tensor` of shape `(..., n_filters, frames)`, with
        `frames = ceil(time / stride) + 2 * edges`.
    """
    if torch.onnx.is_in_onnx_export():
        return _conv_analysis(waveform, filters, stride, edges, as_conv1d)
    return _frame_products(waveform, filters, stride, edges, as_conv1d)


@script_if_tracing
def _frame_products(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    if waveform.shape[-1] == 0:
        raise ValueError("expected a waveform of at least one sample, got none")
    pieces = _cut(waveform, filters.shape[-1], stride, edges).transpose(0, 1)
    # One product for the whole batch: a product a signal has a gradient of the kernels for each.
    # Signals last, as the smoothing has them.
    spec = torch.mm(filters.squeeze(1), pieces.reshape(-1, filters.shape[-1]).t())
    spec = spec.reshape(filters.shape[0], pieces.shape[0], -1).permute(2, 0, 1)
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def _samples_before(kernel_size: int, stride: int, edges: int) -> int:
    """How many samples before the waveform's first one the first frame begins."""
    return (kernel_size - stride) // 2 + edges * stride


def _padding(time: int, kernel_size: int, stride: int, edges: int) -> list[int]:
    """Zeros before and after `time` samples that put frames on hops."""
    frames = (time + stride - 1) // stride + 2 * edges
    left = _samples_before(kernel_size, stride, edges)
    return [left, (frames - 1) * stride + kernel_size - left - time]


def _cut(waveform: torch.Tensor, kernel_size: int, stride: int, edges: int) -> torch.Tensor:
    """Zero-padded frames: `(..., time)` -> `(signals, frames, kernel_size)`."""
    time = waveform.shape[-1]
    padded = F.pad(waveform.reshape(-1, time), _padding(time, kernel_size, stride, edges))
    return padded.unfold(-1, kernel_size, stride)


def _conv_analysis(
    waveform: torch.Tensor, filters: torch.Tensor, stride: int, edges: int, as_conv1d: bool
) -> torch.Tensor:
    """:func:`frame_analysis` for ONNX, which has a convolution but no frames."""
    time = waveform.shape[-1]
    padding = _padding(time, filters.shape[-1], stride, edges)
    spec = F.conv1d(F.pad(waveform.reshape(-1, 1, time), padding), filters, stride=stride)
    if waveform.ndim == 3 and waveform.shape[1] == 1 and as_conv1d:
        return spec
    return spec.reshape(waveform.shape[:-1] + spec.shape[-2:])


def frame_synthesis(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    """Sum kernels at every hop, weighted by a representation (Eq. (2)), and crop to whole hops.

    Args:
        spec (:class:`torch.Tensor`): shape `(n_filters, frames)`, `(batch, n_filters, frames)` or
            `(..., n_filters, frames)`.
        filters (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        stride (int): Hop in samples.
        edges (int): Frames that were added at each end.

    Returns:
        :class:`torch.Tensor` of shape `(time,)`, `(batch, 1, time)` or `(..., time)`, with
        `time = (frames - 2 * edges) * stride`.
    """
    if torch.onnx.is_in_onnx_export():
        return _conv_synthesis(spec, filters, stride, edges)
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return _overlap_add(spec, filters, stride, edges)
    return _Synthesis.apply(spec, filters, stride, edges)


@script_if_tracing
def _overlap_add(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    if frames <= 2 * edges:
        raise ValueError("expected more frames than those that were added at the ends")
    kernel_size = filters.shape[-1]
    taps = (kernel_size + stride - 1) // stride
    kernels = filters.squeeze(1)
    if taps * stride > kernel_size:  # F.pad would copy otherwise, too
        kernels = F.pad(kernels, [0, taps * stride - kernel_size])
    # A product whose first factor is not transposed is faster, also with the copy.
    weights = spec.reshape(-1, n_filters, frames).transpose(1, 2).contiguous()
    pieces = torch.mm(weights.reshape(-1, n_filters), kernels)
    pieces = pieces.reshape(-1, frames, taps, stride)
    # Rows of taps, each padded by one frame more than the rows they are then read as, are shifted
    # by one hop from tap to tap.
    rows = F.pad(pieces.transpose(1, 2), [0, 0, 0, taps])
    rows = rows.reshape(-1, taps * (frames + taps), stride)[:, : taps * (frames + taps - 1)]
    hops = rows.reshape(-1, taps, frames + taps - 1, stride).sum(1)
    left = _samples_before(kernel_size, stride, edges)
    wav = hops.reshape(-1, hops.shape[1] * stride)[:, left : left + (frames - 2 * edges) * stride]
    if spec.ndim == 3:
        return wav.unsqueeze(1)
    return wav.reshape(spec.shape[:-2] + wav.shape[-1:])


def _conv_synthesis(
    spec: torch.Tensor, filters: torch.Tensor, stride: int, edges: int
) -> torch.Tensor:
    """:func:`frame_synthesis` for ONNX, as one transposed convolution."""
    n_filters, frames = spec.shape[-2], spec.shape[-1]
    wav = F.conv_transpose1d(spec.reshape(-1, n_filters, frames), filters, stride=stride)
    left = _samples_before(filters.shape[-1], stride, edges)
    wav = wav[..., left : left + (frames - 2 * edges) * stride]
    return wav if spec.ndim == 3 else wav.reshape(spec.shape[:-2] + wav.shape[-1:])


class _Synthesis(torch.autograd.Function):
    """:func:`_overlap_add`, whose gradients are products with frames of the waveform's gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec, filters, stride, edges):
        wav = _overlap_add(spec, filters, stride, edges)
        return wav.clone(memory_format=torch.contiguous_format)  # laid out as its tangents

    @staticmethod
    def setup_context(ctx, args, wav):
        spec, filters, ctx.stride, ctx.edges = args
        ctx.save_for_backward(spec, filters)
        ctx.save_for_forward(spec, filters)

    @staticmethod
    def jvp(ctx, of_spec, of_filters, *_):
        spec, filters = ctx.saved_tensors
        factors = [(of_spec, filters), (spec, of_filters)]
        known = [pair for pair in factors if None not in pair]
        return sum(_overlap_add(*pair, ctx.stride, ctx.edges) for pair in known)

    @staticmethod
    def backward(ctx, gradient):
        spec, filters = ctx.saved_tensors
        n_filters, frames = spec.shape[-2:]
        pieces = _cut(gradient, filters.shape[-1], ctx.stride, ctx.edges)
        pieces = pieces.reshape(-1, filters.shape[-1])  # (signals * frames, kernel_size)
        of_spec = of_filters = None
        if ctx.needs_input_grad[0]:
            of_spec = torch.mm(pieces, filters.squeeze(1).t().to(pieces.dtype))
            of_spec = of_spec.reshape(-1, frames, n_filters).transpose(1, 2).reshape(spec.shape)
        if ctx.needs_input_grad[1]:
            weights = spec.reshape(-1, n_filters, frames).transpose(0, 1).reshape(n_filters, -1)
            of_filters = torch.mm(weights.to(pieces.dtype), pieces).reshape(filters.shape)
        return of_spec, of_filters, None, None


class Encoder(ChecksConversion, asteroid_filterbanks.Encoder):
    r"""Asteroid's :class:`~asteroid_filterbanks.Encoder` with zero-padding to whole hops.

    A waveform of `N` samples gives `ceil(N / stride)` frames, frame `t` centred on hop `t`, or on
    hop `t - edges` with `cover_edges`: :meth:`frame_times` has the seconds.

    Args:
        filterbank (:class:`Filterbank`): The filterbank to use as an encoder.
        is_pinv (bool): Whether to be the pseudo inverse of filterbank.
        as_conv1d (bool): Whether `(batch, 1, time)` gives `(batch, n_filters, frames)` (True,
            the default) or `(batch, 1, n_filters, frames)`.
        cover_edges (bool): Whether to add, at both ends, the frames whose kernels reach into the
            signal from outside, see :func:`edge_frames`. Frames count `2 * edge_frames` more.

    Attributes:
        edges (int): Frames before hop 0, and as many after the last one; 0 without `cover_edges`.

    Raises:
        ValueError: from `forward`, if the waveform has no samples, or another precision than the
            kernels.

    Shape:
        - `(time,)` -> `(freq, frames)`
        - `(batch, time)` -> `(batch, freq, frames)`
        - `(batch, 1, time)` -> `(batch, freq, frames)`, if `as_conv1d`
        - `(..., time)` -> `(..., freq, frames)`
    """

    def __init__(self, filterbank, is_pinv=False, as_conv1d=True, cover_edges=False):
        super().__init__(filterbank, is_pinv=is_pinv, as_conv1d=as_conv1d)
        self.cover_edges = cover_edges
        self.edges = edge_frames(filterbank.kernel_size, self.stride) if cover_edges else 0

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Representation of a waveform of any rank, time last."""
        filters = self.get_filters()
        check_precision("waveform", waveform, filters.dtype)
        # Rounded before it is cut into frames that overlap.
        spec = frame_analysis(
            in_autocast(self.filterbank.pre_analysis(waveform)),
            filters,
            self.stride,
            self.edges,
            self.as_conv1d,
        )
        return self.filterbank.post_analysis(spec).contiguous()

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Where the centre of each frame's kernels stands in the waveform.

        Args:
            n_frames (int): Number of frames, as :meth:`forward` gives them.

        Returns:
            :class:`torch.Tensor` of shape `(n_frames,)`: seconds after the first sample, in double
            precision, on the CPU. The first ones are negative with `cover_edges`.

        Raises:
            ValueError: if `n_frames` is no number of frames.

        Examples
            >>> enc, _ = make_enc_dec(kernel_size=64, stride=8, sample_rate=1000.0)
            >>> enc.frame_times(3)  # hop 0 has the samples 0 to 7
            tensor([0.0035, 0.0115, 0.0195], dtype=torch.float64)
        """
        check_not_negative_int("n_frames", n_frames)
        kernel_size = self.filterbank.kernel_size
        first = (kernel_size - 1) / 2 - _samples_before(kernel_size, self.stride, self.edges)
        hops = torch.arange(n_frames, dtype=torch.float64, device="cpu")
        return (first + self.stride * hops) / self.sample_rate

    def get_config(self):
        """Returns dictionary of arguments to re-instantiate the class and its filterbank."""
        config = {"as_conv1d": self.as_conv1d, "cover_edges": self.cover_edges}
        return {**super().get_config(), **config}


class Decoder(ChecksConversion, asteroid_filterbanks.Decoder):
    r"""Asteroid's :class:`~asteroid_filterbanks.Decoder`, cropping what :class:`Encoder` padded.

    Args:
        filterbank (:class:`Filterbank`): The filterbank to use as a decoder.
        is_pinv (bool): Whether to be the pseudo inverse of filterbank.
        cover_edges (bool): As given to the :class:`Encoder`.

    Raises:
        ValueError: from `forward`, if `length` does not belong to the number of frames, or the
            representation has another precision than the kernels.
    """

    def __init__(self, filterbank, is_pinv=False, cover_edges=False):
        super().__init__(filterbank, is_pinv=is_pinv)
        self.cover_edges = cover_edges
        self.edges = edge_frames(filterbank.kernel_size, self.stride) if cover_edges else 0

    def forward(self, spec: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """Waveform of a representation.

        Args:
            spec (:class:`torch.Tensor`): shape `(freq, frames)` or `(..., freq, frames)`.
            length (int, optional): Number of samples of the encoded waveform. If None (default),
                all whole hops.

        Returns:
            :class:`torch.Tensor` of shape `(time,)`, `(batch, 1, time)` or `(..., time)`.
        """
        filters = self.get_filters()
        check_precision("representation", spec, filters.dtype)
        spec = self.filterbank.pre_synthesis(spec)
        wav = frame_synthesis(spec, filters, self.stride, self.edges)
        wav = self.filterbank.post_synthesis(wav)
        if length is None:
            return wav
        if not wav.shape[-1] - self.stride < length <= wav.shape[-1]:
            raise ValueError(
                f"length must be in {wav.shape[-1] - self.stride + 1}..{wav.shape[-1]} for "
                f"{spec.shape[-1]} frames at stride {self.stride}, got {length}"
            )
        return wav[..., :length]

    def get_config(self):
        """Returns dictionary of arguments to re-instantiate the class and its filterbank."""
        return {**super().get_config(), "cover_edges": self.cover_edges}


@takes_plain
def make_enc_dec(
    encoder="conv_smooth",
    decoder="mod_cos",
    n_filters=800,
    kernel_size=2048,
    stride=256,
    sample_rate=44100.0,
    exponent=2,
    frequency_init="mel",
    smooth_kernel_size=5,
    smooth_dilation=10,
    smooth_groups=1,
    init="paper",
    bands="",
    cover_edges=None,
):
    """Creates an encoder and a decoder, each with a filterbank of its own family.

    Args:
        encoder (str): Among [``'conv_smooth'``, ``'sinc_smooth'``].
        decoder (str): Among [``'mod_cos'``, ``'cos'``, ``'conv'``, ``'conv_tanh'``].
        n_filters (int): Number of filters :math:`C` on both sides.
        kernel_size (int): Length of the filters :math:`L` in samples.
        stride (int): Hop :math:`S` in samples.
        sample_rate (float): Sample rate of the expected audio in Hz.
        exponent (int): Of the cosine decoders, see :class:`.CosFB`; `conv` decoders have none.
        frequency_init (str): Of the cosine decoders, see :class:`.CosFB`.
        smooth_kernel_size (int): Taps :math:`L'` of the encoder's second convolution.
        smooth_dilation (int): Its dilation :math:`D` in frames.
        smooth_groups (int): 1, or `n_filters` for a depthwise second convolution.
        init (str): ``'paper'``, where only the frequencies have an order, or ``'multires'``, of a
            `conv_smooth` encoder and a `mod_cos` decoder: equal kernels on both sides, without
            smoothing, which reconstruct before any training, see :mod:`.multires`.
        bands (str or sequence of Band): Of ``'multires'``, see :func:`.parse_bands`. Empty (the
            default): those of :func:`.layout_bands`.
        cover_edges (bool, optional): Whether to add the frames at both ends that exact
            reconstruction needs, see :class:`.Encoder`. None (the default): with ``'multires'``.

    Returns:
        :class:`.Encoder`, :class:`.Decoder`

    Raises:
        ValueError: naming the argument that makes no sense.

    Examples
        >>> enc, dec = make_enc_dec(n_filters=20, kernel_size=64, stride=8)
        >>> spec = enc(torch.randn(2, 1, 1001))
        >>> spec.shape, dec(spec, length=1001).shape
        (torch.Size([2, 20, 126]), torch.Size([2, 1, 1001]))
    """
    check_choice("encoder", encoder, tuple(ENCODERS))
    check_choice("decoder", decoder, DECODERS)
    check_choice("init", init, INITS)
    check_choice("cover_edges", cover_edges, (None, False, True))
    sizes = dict(
        n_filters=n_filters, kernel_size=kernel_size, stride=stride, sample_rate=sample_rate
    )
    check_filterbank_sizes(**sizes)
    smoothing = dict(
        smooth_kernel_size=smooth_kernel_size,
        smooth_dilation=smooth_dilation,
        smooth_groups=smooth_groups,
    )
    carriers = dict(exponent=exponent, frequency_init=frequency_init)
    analysis = ENCODERS[encoder](**sizes, **smoothing)
    if decoder == "mod_cos":
        synthesis = ModCosFB(**sizes, **carriers)
    elif decoder == "cos":
        synthesis = CosFB(**sizes, **carriers)
    else:
        activation = "tanh" if decoder == "conv_tanh" else "linear"
        synthesis = ConvFB(**sizes, output_activation=activation)
    if init == "multires":
        is_pair = (encoder, decoder) == ("conv_smooth", "mod_cos")
        expected = "'paper' for any pair but conv_smooth and mod_cos"
        check(is_pair, "init", init, expected)
        start_multires(analysis, synthesis, as_bands(bands, **sizes))
    else:
        check(not bands, "bands", bands, "empty, unless init is 'multires'")
    if cover_edges is None:
        cover_edges = init == "multires"
    return Encoder(analysis, cover_edges=cover_edges), Decoder(synthesis, cover_edges=cover_edges)
