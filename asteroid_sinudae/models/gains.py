"""Gains of channels, by which a representation can be read in units of the signal's level."""

import math

import torch

from ..filterbanks.kernels import peak_frequencies
from .sinudae import SinuDAE
from .stft import STFT

# Of the largest gain. Kernels at the ends of cross-fades are all but silent, and what training has
# left in them is no sinusoid: divided by their own gain it made bright lines.
FLOOR = 0.05


@torch.no_grad()
def channel_gains(model: SinuDAE | STFT) -> torch.Tensor:
    r"""Compute what each channel makes of a sinusoid of amplitude 1 at the frequency it hears best.

    .. math:: g_c = \Big| E_c(f) + \sum_{c', k} V[c, c', k]\, E_{c'}(f)\,
              e^{2 \pi i f S D (k - k_0) / N} \Big|

    :math:`E_c` is the response of the encoder's kernel, :math:`f` the frequency at which it is
    largest, :math:`V` the second convolution with dilation :math:`D` and middle tap :math:`k_0`. It
    is the largest value of the channel over all phases of the sinusoid. So :math:`A[c] / g_c` is
    the amplitude of a sinusoid that the channel hears, 1 for one of full scale. Where two bands
    cross-fade, kernels are smaller, and A itself shows a dark stripe.

    Args:
        model (SinuDAE or STFT): The representation. The gain of an STFT's bin is that of its
            magnitude.

    Returns:
        :class:`torch.Tensor` of shape `(freq,)`, in single precision, positive, on the model's
        device. Gains below a twentieth of the largest (-26 dB) are raised to that.

    Examples
        >>> channel_gains(STFT(n_fft=8, stride=4, window="boxcar"))[2]  # half the sum of the window
        tensor(2.)
    """
    kernels = model.encoder.get_filters()[:, 0].double()
    gains = _of_stft(kernels) if isinstance(model, STFT) else _of_pair(model, kernels)
    return gains.clamp_min(FLOOR * gains.max().item() or 1.0).float()


def _of_stft(kernels: torch.Tensor) -> torch.Tensor:
    """Half the sum of the window, since a sinusoid is two complex exponentials; at both ends, all.

    Args:
        kernels (:class:`torch.Tensor`): those of the real parts, then those of the imaginary parts.
    """
    gains = torch.hypot(*kernels.chunk(2)).sum(dim=-1) / 2
    gains[[0, -1]] *= 2
    return gains


def _of_pair(model: SinuDAE, kernels: torch.Tensor) -> torch.Tensor:
    bank = model.encoder.filterbank
    turns = peak_frequencies(kernels, model.sample_rate) / model.sample_rate  # a sample
    times = torch.arange(kernels.shape[-1], device=kernels.device)
    sinusoids = torch.exp(2j * math.pi * turns[:, None] * times)  # (C, L)
    taps = torch.arange(bank.smooth_kernel_size, device=kernels.device)
    frames = (taps - bank.smooth_kernel_size // 2) * bank.smooth_dilation
    shifts = torch.exp(2j * math.pi * turns[:, None] * model.encoder.stride * frames)  # (C, taps)
    weight = bank.smooth_weight.double()
    if bank.smooth_groups == 1:
        # Of each kernel (c') to the sinusoid of each channel (c).
        responses = kernels.to(sinusoids.dtype) @ sinusoids.T  # (c', c)
        smoothing = torch.einsum("cdk,dc,ck->c", weight.to(shifts.dtype), responses, shifts)
        return (responses.diagonal() + smoothing).abs()
    responses = (kernels * sinusoids).sum(dim=-1)  # (C,)
    return (responses * (1 + (weight[:, 0] * shifts).sum(dim=-1))).abs()
