"""The learned representation, a denoising auto-encoder."""

from dataclasses import asdict
from inspect import Parameter
from pathlib import Path
from typing import Any, Self

import torch
from asteroid.utils.torch_utils import pad_x_to_y

from ..filterbanks.enc_dec import Decoder, Encoder
from ..filterbanks.pairs import PairArguments, make_enc_dec, takes_pair
from .base_model import SafeModel
from .registry import resolve


class SinuDAE(SafeModel):
    r"""Denoising auto-encoder with a sinusoidal decoder: a non-negative, real representation [1].

    The defaults are the paper's best configuration.

    Args:
        encoder (str): Among [``'conv_smooth'``, ``'sinc_smooth'``].
        decoder (str): Among [``'mod_cos'``, ``'cos'``, ``'conv'``, ``'conv_tanh'``].
        n_filters (int): Number of channels :math:`C` of the representation.
        kernel_size (int): Length of the kernels :math:`L` in samples.
        stride (int): Hop :math:`S` in samples.
        sample_rate (float): Sample rate of the audio in Hz.
        exponent (int): Power of the learned frequency that is the carrier frequency, 1 or 2.
        frequency_init (str): Start of the learned frequencies, ``'mel'`` or ``'linear'``.
        smooth_kernel_size (int): Taps :math:`L'` of the encoder's second convolution.
        smooth_dilation (int): Its dilation :math:`D` in frames.
        smooth_groups (int): 1, or `n_filters` for a depthwise second convolution.
        init (str): ``'paper'``, or ``'multires'`` for a pair that reconstructs before any
            training, see :func:`.make_enc_dec`.
        bands (str or sequence of Band): Bands of ``'multires'``, see :func:`.parse_bands`; by
            default, :func:`.layout_bands` chooses them.
        cover_edges (bool, optional): Whether to add the frames at both ends that exact
            reconstruction needs, see :class:`.Encoder`; by default, with ``'multires'`` only.
        compact (bool): With ``'multires'``, whether kernels have parameters only inside the windows
            of their bands, see :mod:`.compact`; they are smaller and faster.

    Attributes:
        encoder (Encoder): the encoder :math:`E`.
        decoder (Decoder): the decoder :math:`D`; ``decoder.filterbank`` has the carriers.

    Raises:
        ValueError: naming the argument that is unknown or out of its range.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.

    Examples
        >>> dae = SinuDAE(n_filters=20, kernel_size=64, stride=8)
        >>> A = dae.encode(torch.randn(1, 1, 1001))
        >>> A.shape, bool((A >= 0).all()), dae.decode(A, length=1001).shape
        (torch.Size([1, 20, 126]), True, torch.Size([1, 1, 1001]))
    """

    encoder: Encoder
    decoder: Decoder

    @takes_pair(Parameter.POSITIONAL_OR_KEYWORD)
    def __init__(self, **pair: Any):
        arguments = PairArguments(**pair)
        super().__init__(sample_rate=arguments.sample_rate, in_channels=1)
        self._model_args = asdict(arguments)
        self.encoder, self.decoder = make_enc_dec(**self._model_args)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """Encode a waveform.

        Args:
            wav (:class:`torch.Tensor`): shape `(batch, 1, time)`.

        Returns:
            :class:`torch.Tensor`: non-negative, shape `(batch, n_filters, frames)`, with
            `ceil(time / stride)` frames, and `encoder.edges` more at each end with `cover_edges`.

        Raises:
            ValueError: if the waveform has no samples, or another precision than the model.
        """
        return self.encoder(wav)

    def magnitude(self, rep: torch.Tensor) -> torch.Tensor:
        """Return the representation itself, which is real and non-negative."""
        return rep

    def decode(self, rep: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """Decode a representation.

        Args:
            rep (:class:`torch.Tensor`): shape `(batch, n_filters, frames)`.
            length (int, optional): Number of samples of the encoded waveform; whole hops if None.

        Returns:
            :class:`torch.Tensor` of shape `(batch, 1, length)`.

        Raises:
            ValueError: if `length` does not belong to the number of frames, or the representation
                has another precision than the model.
        """
        return self.decoder(rep, length)

    def frame_times(self, n_frames: int) -> torch.Tensor:
        """Return the time of each frame's centre in seconds, see :meth:`.Encoder.frame_times`."""
        return self.encoder.frame_times(n_frames)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        """Encode and decode a waveform; the result has the same shape `(batch, 1, time)`."""
        # Unlike `length`, which is a number, this crops a trace to any rank and length.
        return pad_x_to_y(self.decode(self.encode(wav)), wav)

    @classmethod
    def from_pretrained(cls, pretrained: dict[str, Any] | str | Path) -> Self:
        """Load a model: one that comes with the package, trained or not, a file, or a dictionary.

        Args:
            pretrained (dict, str or Path): A dictionary that :meth:`serialize` returned; or a file
                with such a dictionary by :func:`torch.save`; or, if there is no such file, the name
                of a pair among those of :func:`.pretrained.available`.

        Returns:
            SinuDAE

        Raises:
            FileNotFoundError, ValueError: as :meth:`.SafeModel.from_pretrained` does.
        """
        if not isinstance(pretrained, dict) and isinstance(source := resolve(pretrained), dict):
            return cls(**source)
        return super().from_pretrained(pretrained)
