"""Learned, interpretable representations of singing voice for Asteroid."""

from . import _compat  # noqa: F401  isort:skip  before the first import of asteroid

import importlib

import asteroid_filterbanks

from .conv_fb import ConvFB
from .conv_smooth_fb import ConvSmoothFB
from .enc_dec import Decoder, Encoder, make_enc_dec
from .masks import binary_mask, informed_separation
from .mod_cos_fb import CosFB, ModCosFB
from .representations import STFT, Representation, SinuDAE
from .sinc_smooth_fb import SincSmoothFB

__version__ = "0.1.0"

__all__ = [
    "ConvFB",
    "ConvSmoothFB",
    "CosFB",
    "Decoder",
    "Encoder",
    "ModCosFB",
    "Representation",
    "STFT",
    "SincSmoothFB",
    "SinuDAE",
    "binary_mask",
    "informed_separation",
    "make_enc_dec",
]

for _filterbank in (ConvFB, ConvSmoothFB, CosFB, ModCosFB, SincSmoothFB):
    if not hasattr(asteroid_filterbanks, _filterbank.__name__):  # a reload finds it registered
        asteroid_filterbanks.register_filterbank(_filterbank)


def __getattr__(name: str):
    """Import `report` when it is first used: nothing else needs matplotlib and jinja2."""
    if name == "report":
        return importlib.import_module(".report", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
