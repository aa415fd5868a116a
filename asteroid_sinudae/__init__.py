"""Learned, interpretable representations of singing voice for Asteroid.

The names below are loaded when they are first used, so that `sinudae --help` need not wait for
torch; importing this package imports neither torch nor Asteroid. Asteroid knows the filterbanks
and models of this package by name from its own import on.
"""

import lazy_loader

from . import _registration

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_registration.register_with_asteroid()
