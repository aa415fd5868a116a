"""Sorting of a representation's channels by the decoder's carrier frequencies (Section 2.2)."""

from typing import NamedTuple

import torch

from ..filterbanks.mod_cos_fb import CosFB
from ..models.sinudae import SinuDAE


@torch.no_grad()
def sort_channels(model: SinuDAE, optimizer: torch.optim.Optimizer | None = None) -> bool:
    """Put the channels in ascending order of their carriers, in place, if they are not.

    Encoder, decoder and the optimiser's moments are permuted together. So the reconstruction and
    every later update are the same as without sorting, and only the order of the channels changes.

    Args:
        model (SinuDAE): A model with a `cos` or `mod_cos` decoder.
        optimizer (:class:`torch.optim.Optimizer`, optional): The one that updates `model`.

    Returns:
        bool: Whether channels were moved.

    Raises:
        ValueError: if the decoder has no carrier frequencies.
    """
    decoder = model.decoder.filterbank
    if not isinstance(decoder, CosFB):
        raise ValueError(
            "sort needs a decoder with carrier frequencies (mod_cos or cos), got "
            f"{model.get_model_args()['decoder']}"
        )
    carriers = decoder.carrier_frequencies()
    if bool((carriers.diff() >= 0).all()):
        return False
    order = torch.argsort(carriers, stable=True)
    groups = _groups(model, optimizer)
    if order.device.type == "cuda":
        _permute_whole(groups, order)
    else:
        _permute_moved(groups, order)
    return True


class _Group(NamedTuple):
    """Tensors of one shape, and those of their dimensions that run over channels."""

    tensors: list[torch.Tensor]
    dims: tuple[int, ...]


def _groups(model: SinuDAE, optimizer: torch.optim.Optimizer | None) -> list[_Group]:
    """A group for each tensor of the model that has channels, with the optimiser's moments."""
    groups = []
    for filterbank in (model.encoder.filterbank, model.decoder.filterbank):
        for name, dims in filterbank.channel_dims.items():
            permuted = getattr(filterbank, name)  # a parameter, or the buffer of compact kernels
            state = optimizer.state.get(permuted, {}) if optimizer is not None else {}
            moments = [
                value
                for value in state.values()
                if torch.is_tensor(value) and value.shape == permuted.shape
            ]
            groups.append(_Group([permuted, *moments], dims))
    return groups


def _permute_moved(groups: list[_Group], order: torch.Tensor) -> None:
    """Put channels in order, in place: on a CPU, what takes time is to copy, so only some are."""
    moved = (order != torch.arange(len(order), device=order.device)).nonzero().flatten()
    for tensors, dims in groups:
        shape = tensors[0].shape
        for dim in dims:
            # A tensor of shape (before, channels, after) is viewed as rows (before * channels,
            # after), and the rows of moved channels are copied in the order of memory, which is
            # faster than to copy one channel after the other.
            starts = torch.arange(shape[:dim].numel(), device=moved.device)
            starts = starts[:, None] * len(order)  # (before, 1): the first row of each
            targets = (starts + moved).flatten()  # (before * moved channels,)
            sources = (starts + order[moved]).flatten()
            for tensor in tensors:
                rows = tensor.view(-1, *shape[dim + 1 :])  # (before * channels, after)
                rows.index_copy_(0, targets, rows.index_select(0, sources))


def _permute_whole(groups: list[_Group], order: torch.Tensor) -> None:
    """Put channels in order, in place: on a GPU, what takes time is to start an operation."""
    targets: list[torch.Tensor] = []
    sources: list[torch.Tensor] = []
    for tensors, dims in groups:
        permuted = torch.stack(tensors)
        for dim in dims:
            permuted = permuted.index_select(dim + 1, order)
        targets += tensors
        sources += permuted.unbind()
    torch._foreach_copy_(targets, sources)  # the optimisers of PyTorch call it, too
