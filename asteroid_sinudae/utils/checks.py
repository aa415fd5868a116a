"""Checks of arguments. A failed check raises a ValueError: name, expectation and value."""

import functools
import numbers
import sys
from collections.abc import Callable, Collection
from decimal import Decimal
from fractions import Fraction
from typing import Any, ParamSpec, TypeGuard, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST = 2**31 - 1  # sizes up to this one are multiplied by PyTorch without overflow
MAX_BLOCKS = 20  # of a masker: dilations up to 2^19 frames, hours of music
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def check(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a ValueError, ``<name> must be <expected>, got <value>``, unless `condition`."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise a ValueError that lists `choices` if `value` is not among them."""
    expected = ", ".join(repr(choice) for choice in choices)
    check(value in choices, name, value, f"one of {expected}")


def check_positive_int(name: str, value: object) -> None:
    """Raise a ValueError if `value` is not an integer of at least 1."""
    number = value if _is_int(value) else 0
    check(number >= 1, name, value, "an integer of at least 1")
    check(number <= LARGEST, name, value, f"at most {LARGEST}")


def check_blocks(n_blocks: int) -> None:
    """Raise a ValueError if a masker has more blocks, each twice as far-reaching as the last."""
    expected = f"at most {MAX_BLOCKS}, as block k has dilation 2^k frames"
    check(n_blocks <= MAX_BLOCKS, "n_blocks", n_blocks, expected)


def check_not_negative_int(name: str, value: object) -> None:
    """Raise a ValueError if `value` is not an integer of at least 0."""
    check(_is_int(value) and value >= 0, name, value, "an integer of at least 0")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def check_dense(name: str, value: object, dtypes: tuple[torch.dtype, ...] = FLOATS + WHOLE) -> None:
    """Raise a ValueError unless `value` is an ordinary dense tensor.

    Sparse, nested and quantized tensors are refused, and so are tensors that were expanded from
    fewer numbers than they show.

    Args:
        name (str): Name of the value, for the message.
        value (object): The value.
        dtypes (tuple of torch.dtype): Types of numbers that are allowed.
    """
    found: object = None
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
    """Convert a scalar of NumPy, PyTorch or the standard library to a plain Python number.

    Other values are returned unchanged. Model files hold plain values only, so the arguments of
    models pass through here.

    Examples
        >>> plain(torch.tensor(8)), plain(Fraction(1, 2)), plain("mel")
        (8, 0.5, 'mel')
    """
    scalar: Any = value
    if getattr(scalar, "ndim", None) == 0:
        value = scalar.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # not one of its subclasses
    return float(value) if isinstance(value, Fraction | Decimal) else value


def takes_plain(constructor: Callable[P, R]) -> Callable[P, R]:
    """Decorate a constructor so that it gets its arguments as :func:`plain` values.

    The constructor keeps its arguments for the model's file, which must hold plain values only.
    """

    make: Callable[..., R] = constructor

    @functools.wraps(constructor)
    def construct(*args: P.args, **kwargs: P.kwargs) -> R:
        values = [plain(value) for value in args]
        return make(*values, **{name: plain(value) for name, value in kwargs.items()})

    return construct


def check_rate(sample_rate: object) -> None:
    """Raise a ValueError unless `sample_rate` is a positive, finite number (Hz)."""
    is_number = isinstance(sample_rate, numbers.Real) and not isinstance(sample_rate, bool)
    rate: Any = sample_rate if is_number else 0
    is_rate = 0 < rate <= sys.float_info.max
    check(is_rate, "sample_rate", sample_rate, "positive and finite (Hz)")


def check_filterbank_sizes(
    n_filters: int, kernel_size: int, stride: int | None, sample_rate: float
) -> None:
    """Raise a ValueError if no filterbank of these sizes can cover a signal.

    Args:
        n_filters (int): Number of filters.
        kernel_size (int): Length of the filters in samples.
        stride (int or None): Hop in samples, at most `kernel_size`.
        sample_rate (float): Sample rate in Hz.
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
