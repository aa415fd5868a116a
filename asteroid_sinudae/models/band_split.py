"""A recurrent masker over bands of frequency, for non-negative, ordered representations.

The channels of a representation are in the order of frequency. They are divided into bands, narrow
at low frequencies and wide at high ones, and each band becomes one vector a frame. Recurrent layers
go over the bands of each frame and over the frames of each band in turn, with the same weights for
all bands, which is what lets few songs teach them. Band-split RNN [1] does so for complex
spectrograms; here numbers are real and non-negative, and there are no phases to handle.

References
    [1] : "Music Source Separation With Band-Split RNN". IEEE/ACM Transactions on Audio, Speech, and
    Language Processing, 2023. Yi Luo, Jianwei Yu.
"""

from collections.abc import Sequence
from typing import Any

import torch
from asteroid.masknn import activations, norms
from asteroid.masknn.recurrent import DPRNNBlock
from asteroid.utils.generic_utils import has_arg
from torch import nn

from ..utils.checks import check, check_positive_int


def mel_band_sizes(frequencies: torch.Tensor, n_bands: int) -> list[int]:
    """Count the channels in each of some bands that are equally wide on the mel scale.

    Bands that would have no channel are left out.

    Args:
        frequencies (:class:`torch.Tensor`): in Hz, about ascending, shape `(channels,)`.
        n_bands (int): Number of bands between 0 Hz and the largest frequency.

    Returns:
        list of int: at most `n_bands` positive numbers, whose sum is the number of channels.

    Raises:
        ValueError: if `n_bands` is no positive integer.

    Examples
        >>> mel_band_sizes(torch.tensor([0.0, 100.0, 200.0, 4000.0, 8000.0]), 2)
        [3, 2]
    """
    check_positive_int("n_bands", n_bands)
    mels = torch.log1p(frequencies.double() / 700.0)
    edges = torch.linspace(0.0, mels.max().item(), n_bands + 1, dtype=torch.float64)[1:-1]
    counts = torch.bucketize(mels, edges, right=True).bincount(minlength=n_bands)
    return [count for count in counts.tolist() if count > 0]


class BandSplitMasker(nn.Module):
    """Masks from recurrent layers over bands and frames.

    Args:
        in_chan (int): Number of channels.
        n_src (int): Number of sources, which is the number of masks.
        band_sizes (sequence of int): Number of channels in each band, from low to high frequencies.
        bn_chan (int): Size of the vector that a band becomes.
        hid_size (int): Number of units of the recurrent layers in each direction.
        n_repeats (int): Number of times that layers go over bands and over frames.
        rnn_type (str): ``'LSTM'``, ``'GRU'`` or ``'RNN'``.
        norm_type (str): Normalisation of the bands and of the layers, see
            :mod:`asteroid.masknn.norms`.
        mask_act (str): Activation of the masks, see :mod:`asteroid.masknn.activations`; with
            ``'softmax'`` the masks of all sources sum to one.

    Raises:
        ValueError: if a size is not positive, or `band_sizes` do not sum to `in_chan`.

    Shape:
        `(batch, in_chan, frames)` -> `(batch, n_src, in_chan, frames)`

    Examples
        >>> masker = BandSplitMasker(6, 2, band_sizes=[2, 4], bn_chan=8, hid_size=8, n_repeats=1)
        >>> masker(torch.rand(1, 6, 10)).shape
        torch.Size([1, 2, 6, 10])
    """

    def __init__(
        self,
        in_chan: int,
        n_src: int,
        band_sizes: Sequence[int],
        bn_chan: int = 48,
        hid_size: int = 48,
        n_repeats: int = 3,
        rnn_type: str = "LSTM",
        norm_type: str = "gLN",
        mask_act: str = "softmax",
    ):
        super().__init__()
        sizes = dict(n_src=n_src, bn_chan=bn_chan, hid_size=hid_size, n_repeats=n_repeats)
        for name, value in sizes.items():
            check_positive_int(name, value)
        for size in band_sizes:
            check_positive_int("size in band_sizes", size)
        check(sum(band_sizes) == in_chan, "sum of band_sizes", sum(band_sizes), f"{in_chan=}")
        self.in_chan, self.n_src, self.band_sizes = in_chan, n_src, list(band_sizes)
        self.bn_chan, self.hid_size, self.n_repeats = bn_chan, hid_size, n_repeats
        self.rnn_type, self.norm_type, self.mask_act = rnn_type, norm_type, mask_act
        norm = norms.get(norm_type)
        self.split = nn.ModuleList(
            nn.Sequential(norm(size), nn.Conv1d(size, bn_chan, 1)) for size in self.band_sizes
        )
        self.blocks = nn.Sequential(
            *(
                DPRNNBlock(bn_chan, hid_size, norm_type=norm_type, rnn_type=rnn_type)
                for _ in range(n_repeats)
            )
        )
        self.heads = nn.ModuleList(
            nn.Sequential(
                norm(bn_chan),
                nn.Conv1d(bn_chan, 2 * bn_chan, 1),
                nn.Tanh(),
                nn.Conv1d(2 * bn_chan, n_src * size, 1),
            )
            for size in self.band_sizes
        )
        activation = activations.get(mask_act)
        over_sources = {"dim": 1} if has_arg(activation, "dim") else {}  # softmax has
        self.output_act = activation(**over_sources)

    def forward(self, rep: torch.Tensor) -> torch.Tensor:
        """Compute masks, see the class."""
        bands = rep.split(self.band_sizes, dim=1)  # each (batch, size, frames)
        vectors = [split(band) for split, band in zip(self.split, bands, strict=True)]
        features = torch.stack(vectors, dim=2)  # (batch, bn_chan, bands, frames)
        features = self.blocks(features)
        masks = [
            head(band).unflatten(1, (self.n_src, -1))  # (batch, n_src, size, frames)
            for head, band in zip(self.heads, features.unbind(2), strict=True)
        ]
        return self.output_act(torch.cat(masks, dim=2))

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class."""
        return {
            name: getattr(self, name)
            for name in (
                "in_chan",
                "n_src",
                "band_sizes",
                "bn_chan",
                "hid_size",
                "n_repeats",
                "rnn_type",
                "norm_type",
                "mask_act",
            )
        }
