"""Columns of tables on the page: what they mean, which of them matter, and what is best in them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .page import Table


class Column(NamedTuple):
    """What is known about columns of a kind.

    Attributes:
        pattern (str): Regular expression of their names.
        meaning (str): What they mean, in a few words; empty if the name says it.
        better (int): 1 if higher is better, -1 if lower is, 0 if neither can be said.
        is_main (bool): Whether a reader sees them without asking.
    """

    pattern: str
    meaning: str
    better: int = 0
    is_main: bool = False


KINDS = (
    Column(r"SI-SDR \(dB\)", "the voice, encoded and decoded without a mask", 1, True),
    Column(
        r"SI-SDR-BM( 0\.5 \(dB\)| \(dB\), threshold 0\.5)",
        "the voice out of the mixture, by a binary mask that knows the sources: kept where the "
        "voice is above half of the accompaniment",
        1,
        True,
    ),
    Column(
        r"SI-SDR-BM( 1 \(dB\)| \(dB\), threshold 1)",
        "the same, kept where the voice is above the accompaniment",
        1,
    ),
    Column(
        r"SI-SDR(-RM \(dB\)|, ratio mask \(dB\))",
        "the same, by a mask of the voice's share",
        1,
        True,
    ),
    Column(
        r"SI-SDR-BM (0\.5 difference|.*threshold 0\.5, minus).*",
        "the distance to the reference, mostly the STFT, on the same songs",
        1,
        True,
    ),
    Column(r".*(difference|, minus ).*", "", 1),
    # Masks that know the sources are in the same table: the highest is not the best separator.
    Column(
        r"SI-SDR vocals \(dB\)", "the vocals that were estimated, against the true ones", 0, True
    ),
    Column(r"SI-SDR accompaniment \(dB\)", "the same of all that is not vocals", 0, True),
    Column(r"SI-SDRi vocals \(dB\)", "how far the estimate is above the mixture as it is"),
    Column(r"SI-SDRi accompaniment \(dB\)", "the same of all that is not vocals"),
    Column(r".*IQR.*", "distance of the quartiles of all segments"),
    Column(r"SI-SDR.* in paper \(dB\)", "", 0, True),
    Column(
        r"[Aa]dditivity error",
        "how far the representation of a sum is from the sum of the representations",
        -1,
    ),
    Column(
        r"[Kk]ernels at carrier \(%\)",
        "kernels whose spectrum is largest at their carrier, so that it tells what they are",
        1,
        True,
    ),
    Column(
        r"[Ss]parsity of A \(voice\)", "0 if all values of A are equal, 1 if only one is not zero"
    ),
    Column(
        r"[Vv]ariation of A \(voice, 1/s\)", "how much A changes in a second, relative to its size"
    ),
    Column(r"Mask decisions per second", "values of a mask for each second"),
    Column(r"Updates", "", 0, True),
)


def kind_of(title: str) -> Column | None:
    """Return what is known about a column; None if its name is not known."""
    return next((kind for kind in KINDS if re.fullmatch(kind.pattern, title)), None)


def with_meanings(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table that shows the main columns, explains all, and marks the best of each.

    If no column is known to be one of the main ones, all are shown.

    Args:
        caption (str): Caption of the table.
        header (sequence of str): Names of the columns, of which the first is that of the rows.
        rows (sequence of sequence of str): Their cells.

    Returns:
        Table
    """
    kinds = [kind_of(title) for title in header]
    main = [place for place, kind in enumerate(kinds) if place and kind and kind.is_main]
    # A column without a number says nothing at first sight.
    main = [place for place in main if any(number(row[place]) is not None for row in rows)]
    if not main:
        main = list(range(1, len(header)))
    others = [place for place in range(1, len(header)) if place not in main]
    shown, further = (_selected(caption, header, rows, [0, *places]) for places in (main, others))
    return replace(shown, further=further) if others else shown


def _selected(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]
) -> Table:
    titles = [header[place] for place in places]
    cells = [[row[place] for place in places] for row in rows]
    known = {title: kind for title in titles[1:] if (kind := kind_of(title)) is not None}
    meanings = {title: kind.meaning for title, kind in known.items() if kind.meaning}
    best = set()
    for column, title in enumerate(titles):
        better = known[title].better if title in known else 0
        values = [number(row[column]) for row in cells] if better else []
        found = [better * value for value in values if value is not None]
        if len(set(found)) > 1:
            best |= {
                (row, column)
                for row, value in enumerate(values)
                if value is not None and better * value == max(found)
            }
    return Table(caption, titles, cells, meanings, best)


def number(cell: str) -> float | None:
    """Return the number of a cell's first line, None if it is none.

    Examples
        >>> [number(cell) for cell in ("−7.05", "6,478,400", "1.25\\n1.00 to 1.50", "–")]
        [-7.05, 6478400.0, 1.25, None]
    """
    text = cell.partition("\n")[0].replace("−", "-").replace(",", "")
    return float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else None
