"""Filterbanks, and the encoder and decoder around a pair of them."""

# Imported here, so that Asteroid has our names before one of our modules is half imported.
import asteroid_filterbanks  # noqa: F401
import lazy_loader

# `asteroid_sinudae.multires` asks for this module, which may be the first that is imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["multires"])
