"""Checks of arguments: each failure is a ValueError with the name, the value and the expected."""

import functools
import numbers
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import torch

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST = 2**31 - 1  # that PyTorch multiplies without overflow
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def check(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a ValueError, ``<name> must be <expected>, got <value>``, unless `condition`."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_choice(name: str, value: object, choices) -> None:
    """Raise a ValueError that lists `choices` if `value` is not among them."""
    expected = ", ".join(repr(choice) for choice in choices)
    check(value in choices, name, value, f"one of {expected}")


def check_positive_int(name: str, value: object) -> None:
    """Raise a ValueError if `value` is not an integer of at least 1."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    check(is_int and value >= 1, name, value, "an integer of at least 1")
    check(value <= LARGEST, name, value, f"at most {LARGEST}")


def check_not_negative_int(name: str, value: object) -> None:
    """Raise a ValueError if `value` is not an integer of at least 0."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    check(is_int and value >= 0, name, value, "an integer of at least 0")


def check_dense(name: str, value: object, dtypes: tuple[torch.dtype, ...] = FLOATS + WHOLE) -> None:
    """Raise a ValueError if `value` is not a tensor whose numbers are all in memory.

    Sparse, nested and quantized tensors are none, nor those that show a number more than once.

    Args:
        name (str): Of the value.
        value (object): The value.
        dtypes (tuple of torch.dtype): What the numbers may be.
    """
    found = None
    if not isinstance(value, torch.Tensor):
        found = type(value)
    elif value.dtype not in dtypes:
        found = value.dtype
    elif value.is_nested or value.layout != torch.strided:
        found = "a nested one" if value.is_nested else value.layout
    elif value.is_meta:
        found = "one on the meta device"
    elif value.untyped_storage().nbytes() < value.nbytes:
        found = f"{tuple(value.shape)} expanded from fewer numbers"
    kind = "floating-point numbers" if set(dtypes) <= set(FLOATS) else "numbers"
    if found is not None:
        raise ValueError(f"{name} must be a tensor of {kind}, got {found}")


def plain(value: object) -> object:
    """A scalar of NumPy's, PyTorch's or the standard library's as Python's own; others unchanged.

    Model files hold plain values only.

    Examples
        >>> plain(torch.tensor(8)), plain(Fraction(1, 2)), plain("mel")
        (8, 0.5, 'mel')
    """
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # not one of its subclasses
    return float(value) if isinstance(value, Fraction | Decimal) else value


def takes_plain(constructor: Callable) -> Callable:
    """Give a constructor its arguments as :func:`plain` values, which its model's file keeps."""

    @functools.wraps(constructor)
    def construct(*args, **kwargs):
        args = [plain(value) for value in args]
        return constructor(*args, **{name: plain(value) for name, value in kwargs.items()})

    return construct


def check_rate(sample_rate: object) -> None:
    """Raise a ValueError if `sample_rate` is no number of Hz."""
    is_number = isinstance(sample_rate, numbers.Real) and not isinstance(sample_rate, bool)
    is_rate = is_number and 0 < sample_rate <= sys.float_info.max
    check(is_rate, "sample_rate", sample_rate, "positive and finite (Hz)")


def check_filterbank_sizes(n_filters, kernel_size, stride, sample_rate) -> None:
    """Raise a ValueError if no filterbank of these sizes can cover a signal.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int or None): Hop in samples, at most `kernel_size`.
        sample_rate (float): In Hz.
    """
    check_positive_int("n_filters", n_filters)
    check_positive_int("kernel_size", kernel_size)
    if stride is None:
        check(kernel_size >= 2, "kernel_size", kernel_size, "at least 2 where stride is not given")
    else:
        check_positive_int("stride", stride)
        # A longer hop would lose the samples between two frames.
        check(stride <= kernel_size, "stride", stride, f"at most {kernel_size=}")
    check_rate(sample_rate)
