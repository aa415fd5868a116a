"""Representations, separators, and the files that they are kept in."""

# Here, so that Asteroid has our names before one of our modules is half imported.
import asteroid  # noqa: F401

# The package's attribute of this name is taken from here.
from . import pretrained  # noqa: F401
