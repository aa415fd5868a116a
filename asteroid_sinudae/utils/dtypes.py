"""Which numbers a model takes, and which it can be converted to."""

from collections.abc import Callable

import torch
from torch import nn

from .autocast import is_in_autocast
from .checks import check

CONVERSIONS = {
    torch.float32: ".float()",
    torch.float64: ".double()",
    torch.float16: ".half()",
    torch.bfloat16: ".bfloat16()",
    torch.complex32: ".to(torch.complex32)",
    torch.complex64: ".to(torch.complex64)",
    torch.complex128: ".to(torch.complex128)",
}

CAST = {torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex32}


def check_precision(name: str, signal: torch.Tensor, dtype: torch.dtype) -> None:
    """Raise a ValueError that names the conversion if a signal is not of a model's precision.

    Autocast takes single and half precision as they come.

    Args:
        name (str): Of the signal.
        signal (:class:`torch.Tensor`): any shape.
        dtype (:class:`torch.dtype`): That the model's parameters give.
    """
    is_tensor = isinstance(signal, torch.Tensor)
    if not is_tensor or signal.dtype != dtype:
        expected = f"a tensor of {dtype}, the model's precision"
        if not is_tensor:
            conversion = f"torch.from_numpy(...){CONVERSIONS[dtype]}"
            check(False, name, type(signal), f"{expected} ({conversion})")
        is_cast = {dtype, signal.dtype} <= CAST and is_in_autocast(signal)
        check(is_cast, name, signal.dtype, f"{expected} (call {CONVERSIONS[dtype]} on it)")


def check_conversion(module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Raise a ValueError if a conversion would round learned frequencies in any part of a module.

    A rounded frequency is another carrier: at the paper's sizes, kernels from frequencies in
    bfloat16 have an SNR of 4 dB.

    Args:
        module (:class:`torch.nn.Module`): Whose parts may have `learned_frequencies`, the names of
            such parameters.
        function (callable): What `Module._apply` applies to every tensor, e.g. ``Tensor.half``.
    """
    for part in module.modules():
        for name in getattr(part, "learned_frequencies", ()):
            parameter = part.get_parameter(name)
            empty = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
            check_frequencies(function(empty).dtype)


def check_frequencies(dtype: torch.dtype) -> None:
    """Raise a ValueError if learned frequencies would be, or are, in half precision."""
    check(
        dtype in (torch.float32, torch.float64),
        "dtype of the frequencies",
        dtype,
        "torch.float32 or torch.float64 (for half precision use torch.autocast, which keeps them)",
    )


class ChecksConversion(nn.Module):
    """Module that is not converted to half precision, not even in part, where frequencies are."""

    def _apply(self, fn, recurse=True):
        """What `half`, `bfloat16`, `to` and the like call; a ValueError before any is converted."""
        check_conversion(self, fn)
        return super()._apply(fn, recurse)
