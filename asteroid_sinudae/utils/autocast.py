"""Automatic mixed precision (:class:`torch.autocast`): cast early, or keep it out of a block.

Autocast rounds the inputs of matrix products to half precision. Signals are rounded before they are
cut into overlapping frames, which copies each sample several times; kernels are built without it.
"""

import contextlib

import torch


def is_in_autocast(tensor: torch.Tensor) -> bool:
    """Tell whether autocast is enabled on the device of a tensor."""
    device_type = tensor.device.type
    is_available = torch.amp.is_autocast_available(device_type)
    return is_available and torch.is_autocast_enabled(device_type)


def in_autocast(tensor: torch.Tensor) -> torch.Tensor:
    """Round a single-precision tensor as autocast would at the next matrix product.

    Args:
        tensor (:class:`torch.Tensor`): any shape.

    Returns:
        :class:`torch.Tensor`: the rounded tensor; `tensor` itself outside of autocast, or if it is
        not of single precision.
    """
    if tensor.dtype != torch.float32 or not is_in_autocast(tensor):
        return tensor
    return tensor.to(torch.get_autocast_dtype(tensor.device.type))


def no_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    """Return a context manager inside which matrix products keep the precision of their factors."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
