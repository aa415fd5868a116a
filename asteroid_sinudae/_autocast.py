"""What autocast does to matrix products, for what is better done before or without it."""

import contextlib

import torch


def in_autocast(tensor: torch.Tensor) -> torch.Tensor:
    """A single-precision tensor in the precision that autocast gives the products it enters.

    Args:
        tensor (:class:`torch.Tensor`): any shape.

    Returns:
        :class:`torch.Tensor`: `tensor` itself outside of autocast, or in another precision.
    """
    device_type = tensor.device.type
    if tensor.dtype != torch.float32 or not torch.amp.is_autocast_available(device_type):
        return tensor
    if not torch.is_autocast_enabled(device_type):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device_type))


def no_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """In which products of matrices keep their precision."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
