"""The masker of Conv-TasNet on the magnitude of the STFT."""

import torch
from asteroid.models import ConvTasNet
from asteroid_filterbanks.transforms import apply_mag_mask, mag

from ..utils.checks import check_positive_int, takes_plain
from .base_model import SafeModel
from .sinudae import STFT


class STFTConvTasNet(SafeModel, ConvTasNet):
    """:class:`~asteroid.models.ConvTasNet` on :class:`.STFT`: masks on its bins from its magnitude.

    The counterpart of :class:`.SinuDAEConvTasNet` that a learned pair is compared with: the same
    masker with the same arguments, on a representation of which nothing is learned.

    Args:
        n_src (int): Number of sources in the input mixtures.
        n_fft (int): Of the STFT, as the next three, see :class:`.STFT`.
        stride (int): Hop in samples.
        window (str): Name of the window.
        sample_rate (float): Sample rate of the audio in Hz.
        masker arguments: `n_blocks`, `n_repeats`, `bn_chan`, `hid_chan`, `skip_chan`,
            `conv_kernel_size`, `norm_type`, `mask_act`, `causal`, as in
            :class:`~asteroid.models.ConvTasNet`.

    Raises:
        ValueError: naming an argument that makes no sense.

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
        check_positive_int("n_src", n_src)
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
        stft = STFT(**stft_args)
        # ConvTasNet makes its filterbanks itself, and its masker for as many features as they
        # give: the smallest keep the place of the STFT.
        super().__init__(
            **masker_args,
            fb_name="free",
            n_filters=n_fft // 2 + 1,
            kernel_size=1,
            stride=1,
            sample_rate=sample_rate,
        )
        self.encoder, self.decoder = stft.encoder, stft.decoder
        self._model_args = {**masker_args, **stft_args}

    def forward_masker(self, tf_rep: torch.Tensor) -> torch.Tensor:
        """Masks of shape `(batch, n_src, freq, frames)`, from the magnitude."""
        return super().forward_masker(mag(tf_rep))

    def apply_masks(self, tf_rep: torch.Tensor, est_masks: torch.Tensor) -> torch.Tensor:
        """Real and imaginary parts under one mask, shape `(batch, n_src, 2 * freq, frames)`."""
        return apply_mag_mask(tf_rep.unsqueeze(1), est_masks)
