"""Automatic mixed precision (:class:`torch.autocast`): cast early, or keep it out of a block.

Autocast rounds the inputs of matrix products to half precision. Signals are rounded before they are
cut into overlapping frames, which copies each sample several times; kernels are built without it.
"""

import contextlib

import torch

PRECISIONS = ("32", "bf16")


def in_precision(precision: str, device_type: str) -> contextlib.AbstractContextManager[object]:
    """Return a context manager inside which products are computed in a precision.

    Args:
        precision (str): ``'bf16'`` for autocast to bfloat16, ``'32'`` to change nothing.
        device_type (str): Type of the device that computes.
    """
    if precision == "bf16":
        return torch.autocast(device_type, torch.bfloat16)
    return contextlib.nullcontext()


def is_in_autocast(tensor: torch.Tensor) -> bool:
    """Tell whether autocast is enabled on the device of a tensor."""
    device_type = tensor.device.type
    return _is_available(device_type) and torch.is_autocast_enabled(device_type)


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
    if _is_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _is_available(device_type: str) -> bool:
    """Tell whether a type of device has autocast; what is compiled is for one that has."""
    # The compiler of torch 2.11 cannot follow the question.
    return torch.compiler.is_compiling() or torch.amp.is_autocast_available(device_type)
