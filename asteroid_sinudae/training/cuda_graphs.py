"""Losses and gradients whose operations a GPU starts at once, as CUDA graphs.

A training step of the paper's size has 141 operations, each of which takes a GPU ten microseconds
and Python fifty. Recorded once, they are started together from then on.
"""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from ..filterbanks.smoothing import SmoothFB


class CudaGraphs:
    """A function of tensors on a GPU, recorded with its gradients for each shape and precision.

    Later calls replay a recording on the tensors that they are given. It reads and writes the
    memory that it did at first; if a model's parameters have moved, it is made anew. Where PyTorch
    cannot record, as with gradients of the same parameters still to be computed, the function is
    called as it is, with a warning.

    Args:
        function (callable): It is given one or more tensors, of which none needs a gradient, and
            returns a tuple of tensors, of which the first has one. It must start the same
            operations whatever the tensors hold, and never wait for the GPU.
        model (:class:`torch.nn.Module`): The parameters that the gradients are for.
    """

    def __init__(self, function: Callable[..., tuple[torch.Tensor, ...]], model: nn.Module):
        self.function = function
        self.model = model
        self._addresses: list[int] = []
        self._recorded: dict[tuple, Callable[..., tuple[torch.Tensor, ...]]] = {}

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the function of tensors of one shape; call it inside autocast, if at all.

        Returns:
            tuple of :class:`torch.Tensor`, whose memory the next call writes over. So do the next
            gradients over those of the parameters, which must not be added up over calls.
        """
        addresses = [parameter.data_ptr() for parameter in self.model.parameters()]
        if addresses != self._addresses:
            self._recorded, self._addresses = {}, addresses
        half = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        kind = tensors[0].shape, half
        if kind not in self._recorded:
            try:
                self._recorded[kind] = self._record(tensors, half)
            except RuntimeError as error:  # also if there is too little memory
                reason = str(error).partition("\n")[0]
                message = f"Training without CUDA graphs, which is slower: {reason}"
                warnings.warn(message, stacklevel=2)
                self._recorded[kind] = self.function
        return self._recorded[kind](*tensors)

    def __getstate__(self) -> dict:
        return {**vars(self), "_addresses": [], "_recorded": {}}  # recordings cannot be copied

    def _record(self, tensors: tuple[torch.Tensor, ...], half: torch.dtype | None) -> Callable:
        # The recorded operations read the very tensors that they are recorded with.
        own = tuple(each.clone() for each in tensors)
        for module in self.model.modules():
            if isinstance(module, SmoothFB):
                module.prepare_recording()
        # Weights that autocast has rounded before would not be rounded again by a recording.
        with torch.autocast("cuda", half, enabled=half is not None, cache_enabled=False):
            return torch.cuda.make_graphed_callables(_WithParameters(self), own)


class _WithParameters(nn.Module):
    """What is recorded: gradients are found for the parameters of a module only."""

    def __init__(self, graphs: CudaGraphs):
        super().__init__()
        self.model = graphs.model
        self.function = graphs.function

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.function(*tensors)
