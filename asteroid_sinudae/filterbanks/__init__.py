"""Filterbanks, and the encoder and decoder around a pair of them."""

# Here, so that Asteroid has our names before one of our modules is half imported.
import asteroid_filterbanks  # noqa: F401

# The package's attribute of this name is taken from here.
from . import multires  # noqa: F401
