"""Pairs of an encoder and a decoder, each with a filterbank of its own family."""

from ..utils.checks import check, check_choice, check_filterbank_sizes, takes_plain
from .bands import as_bands
from .conv_fb import ConvFB
from .conv_smooth_fb import ConvSmoothFB
from .enc_dec import Decoder, Encoder
from .mod_cos_fb import CosFB, ModCosFB
from .multires import start_multires
from .sinc_smooth_fb import SincSmoothFB

ENCODERS = {"conv_smooth": ConvSmoothFB, "sinc_smooth": SincSmoothFB}
DECODERS = ("mod_cos", "cos", "conv", "conv_tanh")
INITS = ("paper", "multires")


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
