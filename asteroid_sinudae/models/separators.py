"""Separators on a learned pair: Asteroid's, and one that is recurrent over bands.

The pair keeps its own edges, so that estimates have the length of the mixture, and is not gated or
rectified again: it is non-negative. :mod:`.baselines` has what they are compared with.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from asteroid.masknn import DPRNN, DPTransformer, LSTMMasker, TDConvNet
from asteroid.models.base_models import BaseEncoderMaskerDecoder
from asteroid_filterbanks.scripting import script_if_tracing
from torch import nn

from ..filterbanks.multires import PhaseGroups, parse_bands, phase_groups
from ..filterbanks.pairs import takes_pair
from ..utils.checks import check, check_blocks, check_positive_int
from .band_split import BandSplitMasker, mel_band_sizes
from .base_model import SafeModel
from .sinudae import SinuDAE

TINY = 1e-12  # energy, so that its root has a gradient at zero
MAX_CHUNK = 2**14  # frames, minutes of music
MAX_CHUNKS = 100  # that have a frame in common


class PairSeparator(SafeModel, BaseEncoderMaskerDecoder):
    """A masker between the encoder and the decoder of a learned pair.

    Args:
        make_masker (callable): Function of the number of channels, and of `masker_args` by name.
        masker_args (dict): Arguments of the masker, among them `n_src`, the number of sources;
            with `band_sizes` None they become those of the pair's carriers, see
            :func:`.mel_band_sizes`, and `n_bands` is not one of the masker's.
        pair_args (dict): Arguments of :class:`.SinuDAE` that were given.
        pretrained (str, Path, dict or SinuDAE, optional): see :class:`SinuDAEConvTasNet`.
        freeze (bool): see :class:`SinuDAEConvTasNet`.
        tie_phases (bool): see :class:`SinuDAEBandSplitRNN`.
    """

    encoder: Any  # an Encoder, in which nn.Module sees a tensor or a module
    group_of_row: torch.Tensor | None
    n_masked: int

    def __init__(
        self,
        make_masker: Callable[..., nn.Module],
        masker_args: dict,
        pair_args: dict,
        pretrained: str | Path | dict | SinuDAE | None,
        freeze: bool,
        tie_phases: bool = False,
    ):
        check_positive_int("n_src", masker_args["n_src"])
        check(isinstance(freeze, bool), "freeze", freeze, "True or False")
        check(isinstance(tie_phases, bool), "tie_phases", tie_phases, "True or False")
        pair = SinuDAE(**pair_args) if pretrained is None else _load_pair(pretrained, pair_args)
        groups = _phase_groups(pair) if tie_phases else None
        frequencies = _carriers(pair) if groups is None else groups.frequency
        masker_args = with_band_sizes(masker_args, frequencies)
        n_filters = pair.get_model_args()["n_filters"]
        n_masked = n_filters if groups is None else len(groups.frequency)
        super().__init__(pair.encoder, make_masker(n_masked, **masker_args), pair.decoder)
        self.n_masked = n_masked
        of_row = None if groups is None else groups.of_row
        self.register_buffer("group_of_row", of_row, persistent=False)  # follows from the bands
        if freeze:
            self.encoder.requires_grad_(False)
            self.decoder.requires_grad_(False)
        self._model_args = {**masker_args, **pair.get_model_args(), "freeze": freeze}
        if tie_phases:
            self._model_args["tie_phases"] = True

    def forward_encoder(self, wav: torch.Tensor) -> torch.Tensor:
        """Representation of a waveform of shape `(batch, 1, time)`."""
        return super().forward_encoder(_check_mono(wav))

    def forward_masker(self, tf_rep: torch.Tensor) -> torch.Tensor:
        """Masks of shape `(batch, n_src, n_filters, frames)` from `(batch, n_filters, frames)`."""
        if self.group_of_row is None:
            return super().forward_masker(tf_rep)
        group = self.group_of_row[self.encoder.filterbank.channel_order]  # of each channel
        energy = _sum_groups(tf_rep.square(), group, self.n_masked)  # (batch, groups, frames)
        masks = super().forward_masker((energy + TINY).sqrt())  # (batch, n_src, groups, frames)
        return masks.index_select(2, group)


def _sum_groups(energy: torch.Tensor, group: torch.Tensor, number: int) -> torch.Tensor:
    """Sum the channels of each group: `(batch, channels, frames)` -> `(batch, number, frames)`.

    Args:
        energy (:class:`torch.Tensor`): shape `(batch, channels, frames)`.
        group (:class:`torch.Tensor`): number of each channel's group, shape `(channels,)`.
        number (int): Number of groups.
    """
    if torch.onnx.is_in_onnx_export():  # its index_add keeps one channel of each group
        numbers = torch.arange(number, device=group.device)
        return (group == numbers[:, None]).to(energy.dtype) @ energy
    sums = energy.new_zeros(energy.shape[0], number, energy.shape[2])
    return sums.index_add(1, group, energy)


def with_band_sizes(masker_args: dict, frequencies: torch.Tensor | None) -> dict:
    """Replace `n_bands` of a masker's arguments, if it has them, by the sizes of the bands.

    Args:
        masker_args (dict): Arguments of the masker.
        frequencies (:class:`torch.Tensor`, optional): Frequency of each channel in Hz, if known.

    Raises:
        ValueError: if `band_sizes` are neither given nor can be found.
    """
    if "band_sizes" not in masker_args:
        return masker_args
    masker_args = dict(masker_args)
    n_bands = masker_args.pop("n_bands")
    if masker_args["band_sizes"] is None:
        if frequencies is None:
            raise ValueError("band_sizes must be given, as the pair's decoder has no carriers")
        masker_args["band_sizes"] = mel_band_sizes(frequencies, n_bands)
    return masker_args


def _phase_groups(pair: SinuDAE) -> PhaseGroups:
    """Groups of a pair's channels; raise a ValueError if it has none."""
    args = pair.get_model_args()
    if not args["compact"]:
        raise ValueError(
            "tie_phases needs a compact pair of the multi-resolution initialisation, whose kernels "
            "keep their places in training"
        )
    sizes = (args["kernel_size"], args["stride"], args["sample_rate"])
    return phase_groups(parse_bands(args["bands"]), *sizes)


def _carriers(pair: SinuDAE) -> torch.Tensor | None:
    """Frequencies of a pair's carriers in Hz, shape `(n_filters,)`; None if it has none."""
    filterbank: Any = pair.decoder.filterbank
    if not hasattr(filterbank, "carrier_frequencies"):
        return None
    return filterbank.carrier_frequencies().detach()


def make_tdconvnet(
    in_chan: int, *, n_blocks: int, n_repeats: int, norm_type: str, causal: bool, **arguments
) -> TDConvNet:
    """The masker of :class:`~asteroid.models.ConvTasNet`, as that makes it.

    Args:
        in_chan (int): Number of channels.
        n_blocks (int): Number of blocks in each repeat, whose dilations grow by factors of two.
        n_repeats (int): Number of repeats.
        norm_type (str): Normalisation of the layers; in a causal masker, one that would see the
            future is replaced by `cLN`.
        causal (bool): Whether the masker must not see the future.
        **arguments: Others of :class:`~asteroid.masknn.TDConvNet`.
    """
    check_positive_int("n_blocks", n_blocks)
    check_positive_int("n_repeats", n_repeats)
    check_blocks(n_blocks)
    if causal and norm_type not in ("cgLN", "cLN"):
        warnings.warn(f"a causal masker has no {norm_type}: cLN takes its place", stacklevel=4)
        norm_type = "cLN"
    sizes = dict(n_blocks=n_blocks, n_repeats=n_repeats)
    return TDConvNet(in_chan, norm_type=norm_type, causal=causal, **sizes, **arguments)


def make_dual_path(
    make_masker: Callable[..., nn.Module],
    in_chan: int,
    *,
    chunk_size: int,
    hop_size: int | None,
    **arguments,
) -> nn.Module:
    """A masker on chunks that overlap, after a check of what takes memory but has no weights.

    Args:
        make_masker (callable): :class:`~asteroid.masknn.DPRNN` or
            :class:`~asteroid.masknn.DPTransformer`.
        in_chan (int): Number of channels.
        chunk_size (int): Length of the chunks in frames.
        hop_size (int or None): Their distance in frames; by default, half of their length.
        **arguments: Others of the masker.
    """
    check_positive_int("chunk_size", chunk_size)
    check(2 <= chunk_size <= MAX_CHUNK, "chunk_size", chunk_size, f"2 to {MAX_CHUNK} frames")
    if hop_size is not None:
        check_positive_int("hop_size", hop_size)
        is_held = chunk_size <= MAX_CHUNKS * hop_size
        # Frames between chunks would be lost.
        expected = f"{chunk_size=} at most, and no less than 1/{MAX_CHUNKS} of it"
        check(hop_size <= chunk_size and is_held, "hop_size", hop_size, expected)
    return make_masker(in_chan, chunk_size=chunk_size, hop_size=hop_size, **arguments)


@script_if_tracing
def _check_mono(wav: torch.Tensor) -> torch.Tensor:
    """The waveform itself, `(batch, 1, time)`."""
    if wav.shape[1] != 1:
        raise ValueError(
            "expected one channel, (time,), (batch, time) or (batch, 1, time), got more: pass "
            "the channels as a batch"
        )
    return wav


def _load_pair(pretrained, asked):
    """Copy a trained pair; raise a ValueError unless it has the arguments that were `asked` for."""
    is_model = isinstance(pretrained, SinuDAE)
    pair = SinuDAE.from_pretrained(pretrained.serialize() if is_model else pretrained)
    pair_args = pair.get_model_args()
    differing = [
        f"{name}={value!r} (it has {pair_args[name]!r})"
        for name, value in asked.items()
        if value != pair_args[name]
    ]
    if differing:
        raise ValueError(f"pretrained does not agree with {', '.join(differing)}")
    return pair


class SinuDAEConvTasNet(PairSeparator):
    """:class:`~asteroid.models.ConvTasNet` on a learned pair.

    Args:
        n_src (int): Number of sources in the input mixtures.
        masker arguments: `n_blocks`, `n_repeats`, `bn_chan`, `hid_chan`, `skip_chan`,
            `conv_kernel_size`, `norm_type`, `mask_act`, `causal`, as in
            :class:`~asteroid.models.ConvTasNet`.
        pair arguments: `encoder`, `decoder`, `n_filters`, `kernel_size`, `stride`, `sample_rate`,
            `exponent`, `frequency_init`, `smooth_kernel_size`, `smooth_dilation`, `smooth_groups`,
            `init`, `bands`, `cover_edges`, as in :class:`.SinuDAE`.
        pretrained (str, Path, dict or SinuDAE, optional): A :class:`.SinuDAE`, or what its
            `from_pretrained` takes: a file, what it serializes to, or a name among
            :func:`.pretrained.available`. The pair starts as a copy of it, and has its sizes.
        freeze (bool): Whether the pair stays as it is: no gradients, also after loading.

    Raises:
        TypeError: naming an argument that is not among these.
        ValueError: naming an argument that is out of its range or that `pretrained` does not agree
            with, or the file that is refused, or an unknown name of a pretrained model; from
            `forward`, if there are several channels.
        FileNotFoundError: if `pretrained` looks like a path and is no file.

    Shape:
        - `(time,)` -> `(n_src, time)`
        - `(batch, time)` or `(batch, 1, time)` -> `(batch, n_src, time)`

    Examples
        >>> dae = SinuDAE(n_filters=20, kernel_size=64, stride=8)
        >>> model = SinuDAEConvTasNet(n_src=2, pretrained=dae, freeze=True, n_blocks=2, n_repeats=1)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_pair()
    def __init__(
        self,
        n_src,
        n_blocks=8,
        n_repeats=3,
        bn_chan=128,
        hid_chan=512,
        skip_chan=128,
        conv_kernel_size=3,
        norm_type="gLN",
        mask_act="sigmoid",
        causal=False,
        *,
        pretrained=None,
        freeze=False,
        **pair,
    ):
        masker_args = dict(
            n_src=n_src,
            n_blocks=n_blocks,
            n_repeats=n_repeats,
            bn_chan=bn_chan,
            hid_chan=hid_chan,
            skip_chan=skip_chan,
            conv_kernel_size=conv_kernel_size,
            norm_type=norm_type,
            mask_act=mask_act,
            causal=causal,
        )
        super().__init__(make_tdconvnet, masker_args, pair, pretrained, freeze)


class SinuDAEDPRNNTasNet(PairSeparator):
    """:class:`~asteroid.models.DPRNNTasNet` on a learned pair.

    Args:
        n_src (int): Number of sources in the input mixtures.
        masker arguments: `bn_chan`, `hid_size`, `chunk_size`, `hop_size`, `n_repeats`, `norm_type`,
            `mask_act`, `bidirectional`, `rnn_type`, `num_layers`, `dropout`, `use_mulcat`, as in
            :class:`~asteroid.models.DPRNNTasNet`.
        others: those of the pair, `pretrained` and `freeze`, as in :class:`.SinuDAEConvTasNet`,
            whose errors and shapes are also the same.

    Examples
        >>> model = SinuDAEDPRNNTasNet(2, n_repeats=1, n_filters=20, kernel_size=64, stride=8)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_pair()
    def __init__(
        self,
        n_src,
        bn_chan=128,
        hid_size=128,
        chunk_size=100,
        hop_size=None,
        n_repeats=6,
        norm_type="gLN",
        mask_act="sigmoid",
        bidirectional=True,
        rnn_type="LSTM",
        num_layers=1,
        dropout=0,
        use_mulcat=False,
        *,
        pretrained=None,
        freeze=False,
        **pair,
    ):
        masker_args = dict(
            n_src=n_src,
            bn_chan=bn_chan,
            hid_size=hid_size,
            chunk_size=chunk_size,
            hop_size=hop_size,
            n_repeats=n_repeats,
            norm_type=norm_type,
            mask_act=mask_act,
            bidirectional=bidirectional,
            rnn_type=rnn_type,
            num_layers=num_layers,
            dropout=dropout,
            use_mulcat=use_mulcat,
        )
        super().__init__(partial(make_dual_path, DPRNN), masker_args, pair, pretrained, freeze)


class SinuDAEDPTNet(PairSeparator):
    """:class:`~asteroid.models.DPTNet` on a learned pair.

    Args:
        n_src (int): Number of sources in the input mixtures.
        masker arguments: `n_heads`, `ff_hid`, `chunk_size`, `hop_size`, `n_repeats`, `norm_type`,
            `ff_activation`, `mask_act`, `bidirectional`, `dropout`, as in
            :class:`~asteroid.models.DPTNet`.
        others: those of the pair, `pretrained` and `freeze`, as in :class:`.SinuDAEConvTasNet`,
            whose errors and shapes are also the same.

    Examples
        >>> model = SinuDAEDPTNet(2, n_repeats=1, n_filters=20, kernel_size=64, stride=8)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_pair()
    def __init__(
        self,
        n_src,
        n_heads=4,
        ff_hid=256,
        chunk_size=100,
        hop_size=None,
        n_repeats=6,
        norm_type="gLN",
        ff_activation="relu",
        mask_act="relu",
        bidirectional=True,
        dropout=0,
        *,
        pretrained=None,
        freeze=False,
        **pair,
    ):
        masker_args = dict(
            n_src=n_src,
            n_heads=n_heads,
            ff_hid=ff_hid,
            chunk_size=chunk_size,
            hop_size=hop_size,
            n_repeats=n_repeats,
            norm_type=norm_type,
            ff_activation=ff_activation,
            mask_act=mask_act,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        make_masker = partial(make_dual_path, DPTransformer)
        super().__init__(make_masker, masker_args, pair, pretrained, freeze)


class SinuDAELSTMTasNet(PairSeparator):
    """:class:`~asteroid.models.LSTMTasNet` on a learned pair, without its gated encoder.

    Args:
        n_src (int): Number of sources in the input mixtures.
        masker arguments: `rnn_type`, `n_layers`, `hid_size`, `dropout`, `mask_act`,
            `bidirectional`, as in :class:`~asteroid.models.LSTMTasNet`.
        others: those of the pair, `pretrained` and `freeze`, as in :class:`.SinuDAEConvTasNet`,
            whose errors and shapes are also the same.

    Examples
        >>> model = SinuDAELSTMTasNet(2, hid_size=8, n_filters=20, kernel_size=64, stride=8)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_pair()
    def __init__(
        self,
        n_src,
        rnn_type="lstm",
        n_layers=4,
        hid_size=512,
        dropout=0.3,
        mask_act="sigmoid",
        bidirectional=True,
        *,
        pretrained=None,
        freeze=False,
        **pair,
    ):
        masker_args = dict(
            n_src=n_src,
            rnn_type=rnn_type,
            n_layers=n_layers,
            hid_size=hid_size,
            dropout=dropout,
            mask_act=mask_act,
            bidirectional=bidirectional,
        )
        super().__init__(LSTMMasker, masker_args, pair, pretrained, freeze)


class SinuDAEBandSplitRNN(PairSeparator):
    """:class:`.BandSplitMasker`, which is recurrent over bands and frames, on a learned pair.

    Args:
        n_src (int): Number of sources in the input mixtures.
        n_bands (int): Number of bands, see :func:`.mel_band_sizes`, of the carriers that the pair
            starts with; has no effect with `band_sizes`.
        tie_phases (bool): Whether the channels of one frequency and one window, which differ in
            phase, have one mask, from the root of their energies; for compact pairs of the
            multi-resolution initialisation.
        masker arguments: `bn_chan`, `hid_size`, `n_repeats`, `rnn_type`, `norm_type`, `mask_act`,
            and `band_sizes`, which is found from `n_bands` if None; see :class:`.BandSplitMasker`.
        others: those of the pair, `pretrained` and `freeze`, as in :class:`.SinuDAEConvTasNet`,
            whose errors and shapes are also the same.

    Examples
        >>> model = SinuDAEBandSplitRNN(2, n_bands=4, n_filters=20, kernel_size=64, stride=8)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_pair()
    def __init__(
        self,
        n_src,
        n_bands=24,
        bn_chan=48,
        hid_size=48,
        n_repeats=3,
        rnn_type="LSTM",
        norm_type="gLN",
        mask_act="softmax",
        *,
        band_sizes=None,
        tie_phases=False,
        pretrained=None,
        freeze=False,
        **pair,
    ):
        masker_args = dict(
            n_src=n_src,
            n_bands=n_bands,
            band_sizes=band_sizes,
            bn_chan=bn_chan,
            hid_size=hid_size,
            n_repeats=n_repeats,
            rnn_type=rnn_type,
            norm_type=norm_type,
            mask_act=mask_act,
        )
        super().__init__(BandSplitMasker, masker_args, pair, pretrained, freeze, tie_phases)
