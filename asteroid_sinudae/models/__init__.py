"""Representations, separators, and the files that they are kept in."""

import lazy_loader

from .. import _registration

# Here, so that no module of ours is half imported when Asteroid gets our names.
_registration.import_base_model()

# `asteroid_sinudae.pretrained` asks for this module, which may be the first that is imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["pretrained"])
