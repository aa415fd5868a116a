"""Sorting of a representation's channels by the decoder's carrier frequencies (Section 2.2)."""

import torch

from ..filterbanks.mod_cos_fb import CosFB
from ..models.sinudae import SinuDAE


@torch.no_grad()
def sort_channels(model: SinuDAE, optimizer: torch.optim.Optimizer | None = None) -> bool:
    """Put the channels in ascending order of their carriers, in place, if they are not.

    Encoder, decoder and the optimiser's moments are permuted together: the reconstruction and
    every later update stay what they would have been, only the channels' order changes.

    Args:
        model (SinuDAE): With a `cos` or `mod_cos` decoder.
        optimizer (:class:`torch.optim.Optimizer`, optional): The one that updates `model`.

    Returns:
        bool: Whether the order was broken.

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
    moved = (order != torch.arange(len(order), device=order.device)).nonzero().flatten()
    for filterbank in (model.encoder.filterbank, decoder):
        for name, dims in filterbank.channel_dims.items():
            parameter = filterbank.get_parameter(name)
            state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
            moments = [
                value
                for value in state.values()
                if torch.is_tensor(value) and value.shape == parameter.shape
            ]
            for dim in dims:
                # Rows in memory's order: faster than channel after channel, each in all rows.
                starts = torch.arange(parameter.shape[:dim].numel(), device=moved.device)
                starts = starts[:, None] * len(order)
                targets, sources = (starts + moved).flatten(), (starts + order[moved]).flatten()
                for tensor in [parameter, *moments]:
                    rows = tensor.view(-1, *tensor.shape[dim + 1 :])
                    rows.index_copy_(0, targets, rows.index_select(0, sources))
    return True
