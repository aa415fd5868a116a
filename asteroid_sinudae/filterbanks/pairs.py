"""Pairs of an encoder and a decoder, each with a filterbank of its own family."""

from collections.abc import Sequence
from typing import Any

from ..utils.checks import check, check_choice, check_filterbank_sizes, takes_plain
from .bands import Band, as_bands
from .conv_fb import ConvFB
from .conv_smooth_fb import ConvSmoothFB
from .enc_dec import Decoder, Encoder
from .mod_cos_fb import CosFB, ModCosFB
from .multires import start_multires
from .sinc_smooth_fb import SincSmoothFB
from .smoothing import SmoothFB

ENCODERS: dict[str, type[ConvSmoothFB | SincSmoothFB]] = {
    "conv_smooth": ConvSmoothFB,
    "sinc_smooth": SincSmoothFB,
}
DECODERS = ("mod_cos", "cos", "conv", "conv_tanh")
INITS = ("paper", "multires")


@takes_plain
def make_enc_dec(
    encoder: str = "conv_smooth",
    decoder: str = "mod_cos",
    n_filters: int = 800,
    kernel_size: int = 2048,
    stride: int = 256,
    sample_rate: float = 44100.0,
    exponent: int = 2,
    frequency_init: str = "mel",
    smooth_kernel_size: int = 5,
    smooth_dilation: int = 10,
    smooth_groups: int = 1,
    init: str = "paper",
    bands: str | Sequence[Band] = "",
    cover_edges: bool | None = None,
) -> tuple[Encoder, Decoder]:
    """Creates an encoder and a decoder, each with a filterbank of its own family.

    Args:
        encoder (str): Among [``'conv_smooth'``, ``'sinc_smooth'``].
        decoder (str): Among [``'mod_cos'``, ``'cos'``, ``'conv'``, ``'conv_tanh'``].
        n_filters (int): Number of filters :math:`C` on both sides.
        kernel_size (int): Length of the filters :math:`L` in samples.
        stride (int): Hop :math:`S` in samples.
        sample_rate (float): Sample rate of the expected audio in Hz.
        exponent (int): Exponent of the cosine decoders, see :class:`.CosFB`. It has no effect on
            `conv` decoders.
        frequency_init (str): Start frequencies of the cosine decoders, see :class:`.CosFB`.
        smooth_kernel_size (int): Taps :math:`L'` of the encoder's second convolution.
        smooth_dilation (int): Its dilation :math:`D` in frames.
        smooth_groups (int): 1, or `n_filters` for a depthwise second convolution.
        init (str): Initialisation. With ``'paper'``, kernels start at random, but for the
            frequencies of cosine decoders. With ``'multires'``, for a `conv_smooth` encoder and a
            `mod_cos` decoder, both sides start with equal kernels and without smoothing, and the
            pair reconstructs signals before any training, see :mod:`.multires`.
        bands (str or sequence of Band): Bands of ``'multires'``, see :func:`.parse_bands`. If empty
            (the default), :func:`.layout_bands` chooses them.
        cover_edges (bool, optional): Whether to add the frames at both ends that exact
            reconstruction needs, see :class:`.Encoder`. If None (the default), they are added with
            ``'multires'`` only.

    Returns:
        :class:`.Encoder`, :class:`.Decoder`

    Raises:
        ValueError: naming the argument that is unknown or out of its range.

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
    check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate)
    sizes: dict[str, Any] = dict(
        n_filters=n_filters, kernel_size=kernel_size, stride=stride, sample_rate=sample_rate
    )
    smoothing: dict[str, Any] = dict(
        smooth_kernel_size=smooth_kernel_size,
        smooth_dilation=smooth_dilation,
        smooth_groups=smooth_groups,
    )
    carriers: dict[str, Any] = dict(exponent=exponent, frequency_init=frequency_init)
    analysis: SmoothFB = ENCODERS[encoder](**sizes, **smoothing)
    synthesis: CosFB | ConvFB
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
        assert isinstance(analysis, ConvSmoothFB) and isinstance(synthesis, ModCosFB)
        layout = as_bands(bands, n_filters, kernel_size, stride, sample_rate)
        start_multires(analysis, synthesis, layout)
    else:
        check(not bands, "bands", bands, "empty, unless init is 'multires'")
    if cover_edges is None:
        cover_edges = init == "multires"
    return Encoder(analysis, cover_edges=cover_edges), Decoder(synthesis, cover_edges=cover_edges)
