"""Separators on the STFT and on a free filterbank, which those on a pair are compared with.

They have the same maskers.
"""

import itertools
from collections.abc import Callable

import torch
from asteroid.models.base_models import BaseEncoderMaskerDecoder
from asteroid_filterbanks import FreeFB
from asteroid_filterbanks.transforms import apply_mag_mask, mag
from torch import nn

from ..filterbanks.enc_dec import Decoder, Encoder
from ..utils.checks import check, check_positive_int, takes_plain
from .band_split import BandSplitMasker
from .base_model import MAX_COMPUTED, SafeModel
from .separators import make_tdconvnet, with_band_sizes
from .stft import STFT


class STFTSeparator(SafeModel, BaseEncoderMaskerDecoder):
    """A masker on :class:`.STFT`: masks on its bins from its magnitude.

    Up to :data:`.MAX_COMPUTED` samples, the transform is not among the weights and in no file:
    it is computed from its arguments.

    Args:
        make_masker (callable): Function of the number of bins, and of `masker_args` by name.
        masker_args (dict): Arguments of the masker, see :class:`.PairSeparator`.
        stft_args (dict): Arguments of :class:`.STFT`.
    """

    def __init__(self, make_masker: Callable[..., nn.Module], masker_args: dict, stft_args: dict):
        check_positive_int("n_src", masker_args["n_src"])
        stft = STFT(**stft_args)
        n_bins = stft_args["n_fft"] // 2 + 1
        frequencies = torch.linspace(0, stft.sample_rate / 2, n_bins, device="cpu")
        masker_args = with_band_sizes(masker_args, frequencies)
        super().__init__(stft.encoder, make_masker(n_bins, **masker_args), stft.decoder)
        if stft_args["n_fft"] <= MAX_COMPUTED:
            for filterbank in (stft.encoder.filterbank, stft.decoder.filterbank):
                _leave_out_of_files(filterbank)
        self._model_args = {**masker_args, **stft_args}

    def forward_masker(self, tf_rep: torch.Tensor) -> torch.Tensor:
        """Masks of shape `(batch, n_src, freq, frames)`, from the magnitude."""
        return super().forward_masker(mag(tf_rep))

    def apply_masks(self, tf_rep: torch.Tensor, est_masks: torch.Tensor) -> torch.Tensor:
        """Real and imaginary parts under one mask, shape `(batch, n_src, 2 * freq, frames)`."""
        return apply_mag_mask(tf_rep.unsqueeze(1), est_masks)


def _leave_out_of_files(filterbank: nn.Module) -> None:
    """Make buffers that are computed no part of the state; older files, which have them, load."""
    for name, buffer in list(filterbank.named_buffers()):
        filterbank.register_buffer(name, buffer, persistent=False)
    filterbank.register_load_state_dict_pre_hook(_drop_buffers)


def _drop_buffers(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    for name in dict(module.named_buffers()):
        state_dict.pop(prefix + name, None)


class STFTConvTasNet(STFTSeparator):
    """:class:`~asteroid.models.ConvTasNet` on :class:`.STFT`: masks on its bins from its magnitude.

    The counterpart of :class:`.SinuDAEConvTasNet` that a learned pair is compared with: the same
    masker with the same arguments, on a representation of which nothing is learned.

    Args:
        n_src (int): Number of sources in the input mixtures.
        n_fft (int): Length of the transform. This and the next three are those of :class:`.STFT`.
        stride (int): Hop in samples.
        window (str): Name of the window.
        sample_rate (float): Sample rate of the audio in Hz.
        masker arguments: `n_blocks`, `n_repeats`, `bn_chan`, `hid_chan`, `skip_chan`,
            `conv_kernel_size`, `norm_type`, `mask_act`, `causal`, as in
            :class:`~asteroid.models.ConvTasNet`.

    Raises:
        ValueError: naming an argument that is out of its range.

    Shape:
        - `(time,)` -> `(n_src, time)`
        - `(batch, time)` or `(batch, 1, time)` -> `(batch, n_src, time)`

    Examples
        >>> model = STFTConvTasNet(n_src=2, n_fft=64, stride=24, n_blocks=2, n_repeats=1)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_plain
    def __init__(
        self,
        n_src,
        n_fft=2048,
        stride=384,
        window="hamming",
        sample_rate=44100.0,
        n_blocks=8,
        n_repeats=3,
        bn_chan=128,
        hid_chan=512,
        skip_chan=128,
        conv_kernel_size=3,
        norm_type="gLN",
        mask_act="sigmoid",
        causal=False,
    ):
        stft_args = dict(n_fft=n_fft, stride=stride, window=window, sample_rate=sample_rate)
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
        super().__init__(make_tdconvnet, masker_args, stft_args)


class STFTBandSplitRNN(STFTSeparator):
    """:class:`.BandSplitMasker` on :class:`.STFT`, to compare :class:`.SinuDAEBandSplitRNN` with.

    Args:
        n_src (int): Number of sources in the input mixtures.
        n_fft (int): Length of the transform. This and the next three are those of :class:`.STFT`.
        stride (int): Hop in samples.
        window (str): Name of the window.
        sample_rate (float): Sample rate of the audio in Hz.
        masker arguments: `n_bands`, `bn_chan`, `hid_size`, `n_repeats`, `rnn_type`, `norm_type`,
            `mask_act`, `band_sizes`, as in :class:`.SinuDAEBandSplitRNN`, whose errors and shapes
            are also the same.

    Examples
        >>> model = STFTBandSplitRNN(n_src=2, n_fft=64, stride=24, n_bands=4)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_plain
    def __init__(
        self,
        n_src,
        n_fft=2048,
        stride=384,
        window="hamming",
        sample_rate=44100.0,
        n_bands=24,
        bn_chan=48,
        hid_size=48,
        n_repeats=3,
        rnn_type="LSTM",
        norm_type="gLN",
        mask_act="softmax",
        band_sizes=None,
    ):
        stft_args = dict(n_fft=n_fft, stride=stride, window=window, sample_rate=sample_rate)
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
        super().__init__(BandSplitMasker, masker_args, stft_args)


class FreeBandSplitRNN(SafeModel, BaseEncoderMaskerDecoder):
    """:class:`.BandSplitMasker` on Asteroid's :class:`FreeFB`, a learned filterbank without a form.

    Its channels have no order at the start, so that the bands are of equal numbers of them. They
    are rectified, as those of :class:`~asteroid.models.ConvTasNet`.

    Args:
        n_src (int): Number of sources in the input mixtures.
        n_filters (int): Number of channels.
        kernel_size (int): Length of the kernels in samples.
        stride (int): Hop in samples.
        sample_rate (float): Sample rate of the audio in Hz.
        masker arguments: `n_bands`, `bn_chan`, `hid_size`, `n_repeats`, `rnn_type`, `norm_type`,
            `mask_act`, as in :class:`.SinuDAEBandSplitRNN`, whose errors and shapes are also the
            same.

    Examples
        >>> model = FreeBandSplitRNN(2, n_filters=20, kernel_size=64, stride=16, n_bands=4)
        >>> model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """

    @takes_plain
    def __init__(
        self,
        n_src,
        n_filters=1024,
        kernel_size=2048,
        stride=512,
        sample_rate=44100.0,
        n_bands=24,
        bn_chan=48,
        hid_size=48,
        n_repeats=3,
        rnn_type="LSTM",
        norm_type="gLN",
        mask_act="softmax",
    ):
        free_args = dict(n_filters=n_filters, kernel_size=kernel_size, stride=stride)
        for name, value in {**free_args, "n_bands": n_bands}.items():
            check_positive_int(name, value)
        check(n_bands <= n_filters, "n_bands", n_bands, f"at most {n_filters=}")
        masker_args = dict(
            n_src=n_src,
            bn_chan=bn_chan,
            hid_size=hid_size,
            n_repeats=n_repeats,
            rnn_type=rnn_type,
            norm_type=norm_type,
            mask_act=mask_act,
        )
        sides = [FreeFB(**free_args, sample_rate=sample_rate) for _ in range(2)]
        encoder, decoder = Encoder(sides[0], cover_edges=True), Decoder(sides[1], cover_edges=True)
        ends = [n_filters * band // n_bands for band in range(n_bands + 1)]
        band_sizes = [end - begin for begin, end in itertools.pairwise(ends)]
        masker = BandSplitMasker(n_filters, band_sizes=band_sizes, **masker_args)
        super().__init__(encoder, masker, decoder, encoder_activation="relu")
        self._model_args = {
            **masker_args,
            **free_args,
            "sample_rate": sample_rate,
            "n_bands": n_bands,
        }
