"""Precisions: which one a model accepts, and which ones it can be converted to."""

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
    """Raise a ValueError if a signal has not the model's precision; it names the conversion.

    Under autocast, single and half precision are accepted for each other.

    Args:
        name (str): Name of the signal, for the message.
        signal (:class:`torch.Tensor`): any shape.
        dtype (:class:`torch.dtype`): The precision of the model, which its parameters determine.
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
    """Raise a ValueError if a conversion would round the learned frequencies of a module.

    Half-precision frequencies are refused, because rounding changes the carrier: at the paper's
    sizes, kernels made from frequencies in bfloat16 have an SNR of 4 dB.

    Args:
        module (:class:`torch.nn.Module`): The module. Each of its parts may have an attribute
            `learned_frequencies`, the names of the parameters that are frequencies.
        function (callable): The function that `Module._apply` applies to every tensor, e.g.
            ``Tensor.half``.
    """
    for part in module.modules():
        names: tuple[str, ...] = getattr(part, "learned_frequencies", ())
        for name in names:
            parameter = part.get_parameter(name)
            empty = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
            check_frequencies(function(empty).dtype)


def check_frequencies(dtype: torch.dtype) -> None:
    """Raise a ValueError if `dtype`, of learned frequencies, is a half precision."""
    check(
        dtype in (torch.float32, torch.float64),
        "dtype of the frequencies",
        dtype,
        "torch.float32 or torch.float64 (for half precision use torch.autocast, which keeps them)",
    )


class ChecksConversion(nn.Module):
    """Base of modules whose learned frequencies must not be converted to half precision.

    A conversion that would round them raises a ValueError before any parameter is converted.
    """

    def _apply(self, fn, recurse=True):
        """Check, then convert: `half`, `bfloat16`, `to` and the like all call this method."""
        check_conversion(self, fn)
        return super()._apply(fn, recurse)
