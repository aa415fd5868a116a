"""Types of command line options. Nothing here imports torch, for which `--help` need not wait."""

import argparse


def whole_numbers(text: str) -> list[int]:
    """Read whole numbers between commas, as a `type` for :mod:`argparse`.

    Raises:
        argparse.ArgumentTypeError: if the text is anything else.

    Examples
        >>> whole_numbers("0,2,-2")
        [0, 2, -2]
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        message = f"expected whole numbers between commas, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None
