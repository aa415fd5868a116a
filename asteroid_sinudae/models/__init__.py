"""Representations, separators, and the files that they are kept in."""

# Imported here, so that Asteroid has our names before one of our modules is half imported.
import asteroid  # noqa: F401
import lazy_loader

# `asteroid_sinudae.pretrained` asks for this module, which may be the first that is imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["pretrained"])
