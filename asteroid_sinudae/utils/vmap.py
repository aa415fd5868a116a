"""Vectorisation (:func:`torch.func.vmap`) of functions that write to memory of their own."""

from collections.abc import Callable

import torch


def one_by_one(function: type[torch.autograd.Function]) -> Callable:
    """Make the `vmap` rule of a function: its inputs are computed one after the other."""

    def vmap(info, in_dims, *args):
        pairs = list(zip(args, in_dims, strict=True))
        results = [
            function.apply(*(each if dim is None else each.select(dim, i) for each, dim in pairs))
            for i in range(info.batch_size)
        ]
        return torch.stack(results), 0

    return vmap
