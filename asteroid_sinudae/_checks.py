"""Checks of arguments: each failure is a ValueError with the name, the value and the expected."""

import math


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


def check_not_negative_int(name: str, value: object) -> None:
    """Raise a ValueError if `value` is not an integer of at least 0."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    check(is_int and value >= 0, name, value, "an integer of at least 0")


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
    check(0 < sample_rate < math.inf, "sample_rate", sample_rate, "positive and finite (Hz)")
