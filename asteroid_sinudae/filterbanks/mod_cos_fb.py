import torch
from asteroid_filterbanks import Filterbank
from torch import nn

from ..utils.checks import check_choice, check_filterbank_sizes
from ..utils.dtypes import ChecksConversion
from .kernels import FREQUENCY_INITS, cos_kernels, mod_cos_kernels


class CosFB(ChecksConversion, Filterbank):
    r"""Cosine filterbank with learned frequencies and phases (decoder `cos` of Table 1 in [1]).

    Kernels are :math:`w_c[t] = s \cos(2\pi f_c^p t + \phi_c)`, with the constant
    :math:`s = 1 / (C + L)` that the modulators of :class:`ModCosFB` start with.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the (transposed) convolution in samples. If None (default),
            set to ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        exponent (int): :math:`p`, 1 (linear) or 2 (squared, the default): the power of
            :math:`f_c` that is the carrier frequency.
        frequency_init (str): Start of :math:`f_c` itself, among [``'mel'``, ``'linear'``]: spaced
            equally in mel or in Hz from 30 Hz to half the sample rate. With ``exponent=2`` the
            carriers :math:`f_c^2` reach a quarter of the sample rate.

    Attributes:
        n_feats_out (int): Number of output filters.
        scale (:class:`torch.Tensor`): :math:`s`, shape `(1,)`, a buffer that is not learned. A
            state without it, of a model that was made before there was one, sets it to 1.

    Raises:
        ValueError: if a size, `exponent` or `frequency_init` makes no sense.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    # Dimensions of each parameter that run over channels: what a reordering has to permute.
    channel_dims = {"frequency": (0,), "phase": (0,)}
    learned_frequencies = ("frequency",)

    def __init__(
        self,
        n_filters,
        kernel_size,
        stride=None,
        sample_rate=8000.0,
        exponent=2,
        frequency_init="mel",
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
        """Make what the cosines are multiplied by, of that size."""
        self.register_buffer("scale", torch.full((1,), amplitude))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        frequency = state_dict.get(f"{prefix}frequency")
        if "scale" in self._buffers and isinstance(frequency, torch.Tensor):
            # On the state's device: this module may be on the meta device, to be assigned to.
            state_dict.setdefault(f"{prefix}scale", frequency.new_ones(1))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def filters(self):
        cosines = cos_kernels(self.frequency, self.phase, self.kernel_size, self.exponent)
        return cosines * self.scale

    def carrier_frequencies(self):
        """Carrier frequency of each channel in Hz.

        Returns:
            :class:`torch.Tensor` of shape `(n_filters,)`, without gradient.
        """
        frequency = self.frequency.detach().flatten()
        return frequency.abs() ** self.exponent * self.sample_rate

    def get_config(self):
        """Returns dictionary of arguments to re-instantiate the class."""
        config = {"exponent": self.exponent, "frequency_init": self.frequency_init}
        return {**super().get_config(), **config}


class ModCosFB(CosFB):
    r"""Amplitude-modulated cosines (decoder `mod-cos` of [1], Eq. (3)).

    Kernels are :math:`w_c = \cos(2\pi f_c^p t + \phi_c) \odot b_c`, with the modulating signal
    :math:`b_c` learned sample by sample. It starts at :math:`1 / (C + L)`.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int, optional): Hop of the (transposed) convolution in samples. If None (default),
            set to ``kernel_size // 2``.
        sample_rate (float): Sample rate of the expected audio in Hz. Defaults to 8000.
        exponent (int): see :class:`CosFB`.
        frequency_init (str): see :class:`CosFB`.

    Attributes:
        n_feats_out (int): Number of output filters.

    Raises:
        ValueError: if a size, `exponent` or `frequency_init` makes no sense.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    channel_dims = {**CosFB.channel_dims, "modulator": (0,)}

    def _start_amplitude(self, amplitude):
        shape = (self.n_filters, 1, self.kernel_size)
        self.modulator = nn.Parameter(torch.full(shape, amplitude))

    def filters(self):
        return mod_cos_kernels(self.frequency, self.phase, self.modulator, self.exponent)
