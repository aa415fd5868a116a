from collections.abc import Sequence
from typing import Any

import torch
from asteroid_filterbanks import Filterbank
from torch import nn

from ..utils.checks import check_choice, check_filterbank_sizes
from ..utils.dtypes import ChecksConversion
from .compact import CompactFB, Kernels
from .kernels import FREQUENCY_INITS, cos_kernels, mod_cos_kernels


class CosFB(ChecksConversion, Filterbank):
    r"""Cosine filterbank with learned frequencies and phases (decoder `cos` of Table 1 in [1]).

    Kernels are :math:`w_c[t] = s \cos(2\pi f_c^p t + \phi_c)`. The constant
    :math:`s = 1 / (C + L)` is the value that the modulators of :class:`ModCosFB` start with.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the (transposed) convolution in samples. If None (default),
            set to ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        exponent (int): :math:`p`, 1 (linear) or 2 (squared, the default). The carrier frequency is
            this power of :math:`f_c`.
        frequency_init (str): How :math:`f_c` itself is spaced at the start, from 30 Hz to half the
            sample rate: equally in mel (``'mel'``) or in Hz (``'linear'``). With ``exponent=2``
            the carriers :math:`f_c^2` reach a quarter of the sample rate.

    Attributes:
        n_feats_out (int): Number of output filters.
        scale (:class:`torch.Tensor`): :math:`s`, shape `(1,)`, a buffer that is not learned. If a
            state dictionary of an earlier version, which has no scale, is loaded, it becomes 1.

    Raises:
        ValueError: if a size is out of its range, or `exponent` or `frequency_init` is unknown.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    n_filters: int
    kernel_size: int
    stride: int
    sample_rate: float
    n_feats_out: int
    scale: torch.Tensor
    learned_frequencies = ("frequency",)

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None = None,
        sample_rate: float = 8000.0,
        exponent: int = 2,
        frequency_init: str = "mel",
    ):
        check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate)
        check_choice("exponent", exponent, (1, 2))
        check_choice("frequency_init", frequency_init, tuple(FREQUENCY_INITS))
        super().__init__(n_filters, kernel_size, stride=stride, sample_rate=sample_rate)
        self.exponent = exponent
        self.frequency_init = frequency_init
        start = FREQUENCY_INITS[frequency_init](n_filters, sample_rate)
        self.frequency = nn.Parameter(start.view(n_filters, 1, 1))
        self.phase = nn.Parameter(torch.randn(n_filters, 1, 1))
        self._start_amplitude(1 / (n_filters + kernel_size))

    def _start_amplitude(self, amplitude: float) -> None:
        """Register the factor of the cosines, a constant here and a modulator in ModCosFB."""
        self.register_buffer("scale", torch.full((1,), amplitude))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        frequency = state_dict.get(f"{prefix}frequency")
        if "scale" in self._buffers and isinstance(frequency, torch.Tensor):
            # Made on the device of the state: this module may be on the meta device, where loading
            # assigns the state's tensors.
            state_dict.setdefault(f"{prefix}scale", frequency.new_ones(1))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def filters(self) -> torch.Tensor:
        """Kernels of shape `(n_filters, 1, kernel_size)`."""
        cosines = cos_kernels(self.frequency, self.phase, self.kernel_size, self.exponent)
        return cosines * self.scale

    def carrier_frequencies(self) -> torch.Tensor:
        """Carrier frequency of each channel in Hz.

        Returns:
            :class:`torch.Tensor` of shape `(n_filters,)`, without gradient.
        """
        frequency = self.frequency.detach().flatten()
        return frequency.abs() ** self.exponent * self.sample_rate

    @property
    def channel_dims(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each tensor that run over channels; a reordering permutes them."""
        return {"frequency": (0,), "phase": (0,)}

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class."""
        config = {"exponent": self.exponent, "frequency_init": self.frequency_init}
        return {**super().get_config(), **config}


class ModCosFB(CompactFB, CosFB):
    r"""Amplitude-modulated cosines (decoder `mod-cos` of [1], Eq. (3)).

    Kernels are :math:`w_c = \cos(2\pi f_c^p t + \phi_c) \odot b_c`. Every sample of the modulating
    signal :math:`b_c` is learned, and starts at :math:`1 / (C + L)`.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the (transposed) convolution in samples. If None (default),
            set to ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        exponent (int): see :class:`CosFB`.
        frequency_init (str): see :class:`CosFB`.
        supports (sequence of pairs, optional): Windows outside of which modulators are zero and
            have no parameters, see :func:`.check_supports`. If None (default), all samples are
            learned, as in the paper.

    Attributes:
        n_feats_out (int): Number of output filters.
        modulator (:class:`torch.nn.Parameter`): :math:`b_c`, shape `(n_filters, 1, kernel_size)`.
            With `supports` it is a list of parameters, one of shape `(kernels, 1, window)` for each
            window; rows of `frequency` and `phase` are then in the order of these groups, and
            `channel_order` says which row is which channel's.

    Raises:
        ValueError: if a size is out of its range, `exponent` or `frequency_init` is unknown, or
            `supports` does not fit the sizes.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.

    Examples
        >>> fb = ModCosFB(4, 64, 8, supports=[[64, 1], [16, 3]])
        >>> [tuple(group.shape) for group in fb.modulator], fb.filters().shape
        ([(1, 1, 64), (3, 1, 16)], torch.Size([4, 1, 64]))
    """

    modulator: nn.Parameter | nn.ParameterList

    def __init__(
        self,
        n_filters: int,
        kernel_size: int,
        stride: int | None = None,
        sample_rate: float = 8000.0,
        exponent: int = 2,
        frequency_init: str = "mel",
        supports: Sequence[Sequence[int]] | None = None,
    ):
        super().__init__(n_filters, kernel_size, stride, sample_rate, exponent, frequency_init)
        self._set_supports(supports)
        start = torch.full((n_filters, 1, kernel_size), 1 / (n_filters + kernel_size))
        self.modulator = self._windowed(start)

    def _start_amplitude(self, amplitude: float) -> None:
        """Leave the amplitude to the modulators."""

    @property
    def channel_dims(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each tensor that run over channels; a reordering permutes them."""
        if self.supports is not None:
            return {"channel_order": (0,)}
        return {**super().channel_dims, "modulator": (0,)}

    def kernels(self) -> Kernels:
        """The kernels in groups, see :class:`.Kernels`."""
        modulators = self._grouped(self.modulator)
        numbers = [group.shape[0] for group in modulators.groups]
        carriers = zip(self.frequency.split(numbers), self.phase.split(numbers), strict=True)
        rows = zip(modulators.groups, carriers, strict=True)
        groups = [
            mod_cos_kernels(frequency, phase, group[:, None], self.exponent, self.kernel_size)
            for group, (frequency, phase) in rows
        ]
        return modulators._replace(groups=[group.squeeze(1) for group in groups])

    def modulators(self) -> torch.Tensor:
        """Modulators in the order of channels, without gradient.

        Returns:
            :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`, zero outside of windows.
        """
        return self._grouped(self.modulator).whole().detach()

    def carrier_frequencies(self) -> torch.Tensor:
        """Carrier frequency of each channel in Hz.

        Returns:
            :class:`torch.Tensor` of shape `(n_filters,)`, without gradient.
        """
        carriers = super().carrier_frequencies()
        return carriers if self.channel_order is None else carriers[self.channel_order]
