"""Colours of figures, also on a dark page."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

BLUE, ORANGE = "#0072b2", "#d55e00"  # colour-blind readers can tell them apart
BACK, TEXT = "#14171b", "#e6e9ed"  # as in style.css
ON_DARK = {"white": BACK, "black": TEXT, BLUE: "#56b4e9", ORANGE: "#ff9550", "0.7": "0.4"}
COLOURED: tuple[tuple[type[Artist], tuple[str, ...]], ...] = (
    (Text, ("color",)),
    (Line2D, ("color", "markerfacecolor", "markeredgecolor")),
    (Patch, ("facecolor", "edgecolor")),
    (LineCollection, ("color",)),
)


@contextmanager
def dark_colours(figure: Figure) -> Iterator[None]:
    """Give a figure that has been drawn the colours of a dark page, as long as the block lasts."""
    before: list[tuple[Artist, str, Any]] = []
    for kind, properties in COLOURED:
        for artist in figure.findobj(kind):
            before += [(artist, name, getattr(artist, f"get_{name}")()) for name in properties]
    try:
        for artist, name, colour in before:
            artist.set(**{name: _on_dark(colour)})
        yield
    finally:
        for artist, name, colour in before:
            artist.set(**{name: colour})


def _on_dark(colour: Any) -> Any:
    """Return the colour that takes the place of another one, of the same opacity."""
    if isinstance(colour, np.ndarray) and colour.ndim == 2:  # of a collection
        return np.array([_on_dark(each) for each in to_rgba_array(colour)])
    if isinstance(colour, str) and colour in ("none", "auto"):
        return colour
    *rgb, alpha = to_rgba(colour)
    for light, dark in ON_DARK.items():
        if np.allclose(rgb, to_rgba(light)[:3], atol=1e-3):
            return (*to_rgba(dark)[:3], alpha)
    return colour
