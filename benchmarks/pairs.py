"""Pairs to compare ours with: the same function and weights in the layers of others."""

import asteroid_filterbanks
import torch
from torch import nn
from torch.nn import functional as F

from asteroid_sinudae import ConvSmoothFB, SinuDAE


class Conv1dSmoothFB(ConvSmoothFB):
    """:class:`.ConvSmoothFB` by PyTorch's own convolution over frames."""

    def post_analysis(self, spec: torch.Tensor) -> torch.Tensor:
        smooth = F.conv1d(
            spec,
            self.smooth_weight,
            padding=self.smooth_dilation * (self.smooth_kernel_size // 2),
            dilation=self.smooth_dilation,
            groups=self.smooth_groups,
        )
        return torch.relu(spec + smooth)


class StockPair(nn.Module):
    """A :class:`.SinuDAE`'s filterbanks under Asteroid's own Encoder and Decoder.

    Args:
        dae (SinuDAE): A pair with a `conv_smooth` encoder; its decoder's filterbank is shared.
    """

    def __init__(self, dae: SinuDAE):
        super().__init__()
        config = dae.encoder.filterbank.get_config()
        del config["fb_name"]
        analysis = Conv1dSmoothFB(**config)
        analysis.load_state_dict(dae.encoder.filterbank.state_dict())
        self.kernel_size, self.stride = analysis.kernel_size, analysis.stride
        self.edges = dae.encoder.edges
        self.encoder = asteroid_filterbanks.Encoder(analysis)
        self.decoder = asteroid_filterbanks.Decoder(dae.decoder.filterbank)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """`(batch, 1, time)` -> `(batch, n_filters, frames)`."""
        return self.encoder(pad_to_hops(wav, self.kernel_size, self.stride, self.edges))

    def decode(self, rep: torch.Tensor, length: int) -> torch.Tensor:
        """`(batch, n_filters, frames)` -> `(batch, 1, length)`."""
        left = (self.kernel_size - self.stride) // 2 + self.edges * self.stride
        return self.decoder(rep)[..., left : left + length]


class PlainPair(nn.Module):
    """The paper's model in PyTorch's own layers, as one writes it without a toolkit.

    Args:
        dae (SinuDAE): A pair of `conv_smooth` and `mod_cos`, whose weights are copied.
    """

    def __init__(self, dae: SinuDAE):
        super().__init__()
        analysis, synthesis = dae.encoder.filterbank, dae.decoder.filterbank
        n_filters, self.kernel_size = analysis.n_filters, analysis.kernel_size
        self.stride, self.edges = analysis.stride, dae.encoder.edges
        self.analysis = nn.Conv1d(1, n_filters, self.kernel_size, self.stride, bias=False)
        dilation, taps = analysis.smooth_dilation, analysis.smooth_kernel_size
        self.smoothing = nn.Conv1d(
            n_filters,
            n_filters,
            taps,
            dilation=dilation,
            padding=dilation * (taps // 2),
            groups=analysis.smooth_groups,
            bias=False,
        )
        self.frequency = nn.Parameter(synthesis.frequency.detach().clone())
        self.phase = nn.Parameter(synthesis.phase.detach().clone())
        self.modulator = nn.Parameter(synthesis.modulator.detach().clone())
        self.register_buffer("time", torch.arange(self.kernel_size, dtype=torch.float32))
        with torch.no_grad():
            self.analysis.weight.copy_(analysis.filters())
            self.smoothing.weight.copy_(analysis.smooth_weight)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """`(batch, 1, time)` -> `(batch, n_filters, frames)`."""
        spec = self.analysis(pad_to_hops(wav, self.kernel_size, self.stride, self.edges))
        return torch.relu(spec + self.smoothing(spec))

    def decode(self, rep: torch.Tensor, length: int) -> torch.Tensor:
        """`(batch, n_filters, frames)` -> `(batch, 1, length)`."""
        angles = 2 * torch.pi * self.frequency**2 * self.time + self.phase
        kernels = torch.cos(angles) * self.modulator
        wav = F.conv_transpose1d(rep, kernels, stride=self.stride)
        left = (self.kernel_size - self.stride) // 2 + self.edges * self.stride
        return wav[..., left : left + length]


def pad_to_hops(wav: torch.Tensor, kernel_size: int, stride: int, edges: int) -> torch.Tensor:
    """Pad a waveform by zeros with which a strided convolution has our frames."""
    time = wav.shape[-1]
    frames = -(-time // stride) + 2 * edges
    left = (kernel_size - stride) // 2 + edges * stride
    return F.pad(wav, [left, (frames - 1) * stride + kernel_size - left - time])
