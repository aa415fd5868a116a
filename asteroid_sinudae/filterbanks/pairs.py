"""Pairs of an encoder and a decoder, each with a filterbank of its own family."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from inspect import Parameter
from typing import TypeVar

from ..utils.checks import check, check_choice, check_filterbank_sizes, plain
from .bands import Band, as_bands, band_supports, check_kernels, format_bands
from .conv_fb import ConvFB
from .conv_smooth_fb import ConvSmoothFB
from .enc_dec import Decoder, Encoder
from .mod_cos_fb import CosFB, ModCosFB
from .multires import start_multires
from .sinc_smooth_fb import SincSmoothFB

ENCODERS: dict[str, type[ConvSmoothFB | SincSmoothFB]] = {
    "conv_smooth": ConvSmoothFB,
    "sinc_smooth": SincSmoothFB,
}
DECODERS = ("mod_cos", "cos", "conv", "conv_tanh")
INITS = ("paper", "multires")

Result = TypeVar("Result")


@dataclass(frozen=True)
class PairArguments:
    """Arguments of a pair of encoder and decoder; the defaults are the paper's best sizes.

    All values are converted to plain ones, because model files keep them. If `bands` or
    `cover_edges` is left open, its value is filled in.

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
        compact (bool): With ``'multires'``, whether kernels have parameters only inside the windows
            of their bands, see :mod:`.compact`; they are smaller and faster.

    Raises:
        ValueError: naming the argument that is unknown or out of its range.
    """

    encoder: str = "conv_smooth"
    decoder: str = "mod_cos"
    n_filters: int = 800
    kernel_size: int = 2048
    stride: int = 256
    sample_rate: float = 44100.0
    exponent: int = 2
    frequency_init: str = "mel"
    smooth_kernel_size: int = 5
    smooth_dilation: int = 10
    smooth_groups: int = 1
    init: str = "paper"
    bands: str | Sequence[Band] = ""
    cover_edges: bool | None = None
    compact: bool = False

    def __post_init__(self):
        for field in fields(self):
            self._set(field.name, plain(getattr(self, field.name)))
        check_filterbank_sizes(**self.sizes())
        check_choice("encoder", self.encoder, tuple(ENCODERS))
        check_choice("decoder", self.decoder, DECODERS)
        check_choice("init", self.init, INITS)
        check_choice("cover_edges", self.cover_edges, (None, False, True))
        check_choice("compact", self.compact, (False, True))
        if self.init == "multires":
            is_pair = (self.encoder, self.decoder) == ("conv_smooth", "mod_cos")
            expected = "'paper' for any pair but conv_smooth and mod_cos"
            check(is_pair, "init", self.init, expected)
            self._set("bands", format_bands(as_bands(self.bands, **self.sizes())))
        else:
            check(not self.bands, "bands", self.bands, "empty, unless init is 'multires'")
            check(not self.compact, "compact", self.compact, "False, unless init is 'multires'")
            self._set("bands", "")
        if self.cover_edges is None:
            self._set("cover_edges", self.init == "multires")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen, but not before it is complete

    def sizes(self) -> dict:
        """Arguments of every filterbank."""
        return self._some("n_filters", "kernel_size", "stride", "sample_rate")

    def smoothing(self) -> dict:
        """Further arguments of an encoder's filterbank."""
        return self._some("smooth_kernel_size", "smooth_dilation", "smooth_groups")

    def carriers(self) -> dict:
        """Further arguments of a cosine decoder's filterbank."""
        return self._some("exponent", "frequency_init")

    def _some(self, *names: str) -> dict:
        return {name: getattr(self, name) for name in names}


def takes_pair(
    kind=Parameter.KEYWORD_ONLY,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Show the arguments of :class:`PairArguments` in a signature, in the place of `**pair`.

    The function is given those that its caller gives, all values as :func:`.plain` ones. Any other
    argument is a TypeError that names the function, or the class whose constructor it is.

    Args:
        kind: Whether they are also taken by place, see :class:`inspect.Parameter`.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        *own, _ = inspect.signature(function).parameters.values()
        pair = inspect.signature(PairArguments).parameters.values()
        shown = inspect.Signature([*own, *(each.replace(kind=kind) for each in pair)])
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args, **kwargs):
            try:
                given = shown.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
            return function(**{key: plain(value) for key, value in given.items()})

        call.__signature__ = shown  # type: ignore[attr-defined]  # which inspect reads
        return call

    return decorate


@takes_pair(Parameter.POSITIONAL_OR_KEYWORD)
def make_enc_dec(**pair):
    """Creates an encoder and a decoder, each with a filterbank of its own family.

    Args:
        **pair: The arguments of :class:`.PairArguments`, by place or by name, as
            :class:`.SinuDAE` takes them.

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
    arguments = PairArguments(**pair)
    sizes = arguments.sizes()
    windows: dict = {}
    if arguments.init == "multires":
        bands = as_bands(arguments.bands, **sizes)
        check_kernels(bands, **sizes)
        if arguments.compact:
            windows["supports"] = band_supports(bands, arguments.sample_rate)
    analysis = ENCODERS[arguments.encoder](**sizes, **arguments.smoothing(), **windows)
    if arguments.decoder == "mod_cos":
        synthesis = ModCosFB(**sizes, **arguments.carriers(), **windows)
    elif arguments.decoder == "cos":
        synthesis = CosFB(**sizes, **arguments.carriers())
    else:
        activation = "tanh" if arguments.decoder == "conv_tanh" else "linear"
        synthesis = ConvFB(**sizes, output_activation=activation)
    if arguments.init == "multires":
        start_multires(analysis, synthesis, bands)
    edges = dict(cover_edges=arguments.cover_edges)
    return Encoder(analysis, **edges), Decoder(synthesis, **edges)
