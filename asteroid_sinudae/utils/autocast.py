"""What autocast does to matrix products, for what is better done before or without it."""

import contextlib

import torch


def is_in_autocast(tensor: torch.Tensor) -> bool:
    """Whether autocast is enabled on the device of a tensor."""
    device_type = tensor.device.type
    is_available = torch.amp.is_autocast_available(device_type)
    return is_available and torch.is_autocast_enabled(device_type)


def in_autocast(tensor: torch.Tensor) -> torch.Tensor:
    """A single-precision tensor in the precision that autocast gives the products it enters.

    Args:
        tensor (:class:`torch.Tensor`): any shape.

    Returns:
        :class:`torch.Tensor`: `tensor` itself outside of autocast, or in another precision.
    """
    if tensor.dtype != torch.float32 or not is_in_autocast(tensor):
        return tensor
    return tensor.to(torch.get_autocast_dtype(tensor.device.type))


def no_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """In which products of matrices keep their precision."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
