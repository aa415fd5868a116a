"""Learned, interpretable representations of singing voice for Asteroid."""

from . import _compat  # noqa: F401  isort:skip  before the first import of asteroid

import importlib

import asteroid.models
import asteroid_filterbanks

from .filterbanks import multires
from .filterbanks.conv_fb import ConvFB
from .filterbanks.conv_smooth_fb import ConvSmoothFB
from .filterbanks.enc_dec import Decoder, Encoder
from .filterbanks.mod_cos_fb import CosFB, ModCosFB
from .filterbanks.pairs import make_enc_dec
from .filterbanks.sinc_smooth_fb import SincSmoothFB
from .masks import binary_mask, energy_ratio_mask, informed_separation, ratio_mask
from .models import pretrained
from .models.representation import Representation
from .models.separators import (
    SinuDAEConvTasNet,
    SinuDAEDPRNNTasNet,
    SinuDAEDPTNet,
    SinuDAELSTMTasNet,
    STFTConvTasNet,
)
from .models.sinudae import SinuDAE
from .models.stft import STFT

__version__ = "0.2.0"

__all__ = [
    "ConvFB",
    "ConvSmoothFB",
    "CosFB",
    "Decoder",
    "Encoder",
    "ModCosFB",
    "Representation",
    "STFT",
    "STFTConvTasNet",
    "SincSmoothFB",
    "SinuDAE",
    "SinuDAEConvTasNet",
    "SinuDAEDPRNNTasNet",
    "SinuDAEDPTNet",
    "SinuDAELSTMTasNet",
    "binary_mask",
    "energy_ratio_mask",
    "informed_separation",
    "make_enc_dec",
    "multires",
    "pretrained",
    "ratio_mask",
]


def _register(module, name: str, cls: type) -> None:
    """Make `module.get(name)` return `cls`; again after a reload, never in the place of another."""
    registered = getattr(module, name, cls)
    if getattr(registered, "__module__", None) != cls.__module__:
        raise ValueError(f"{module.__name__} has another {name} already: {registered!r}")
    setattr(module, name, cls)


for _alias, _filterbank in {
    "conv": ConvFB,
    "conv_smooth": ConvSmoothFB,
    "cos": CosFB,
    "mod_cos": ModCosFB,
    "sinc_smooth": SincSmoothFB,
}.items():
    _register(asteroid_filterbanks, _filterbank.__name__, _filterbank)
    _register(asteroid_filterbanks, _alias, _filterbank)

for _model in (
    STFTConvTasNet,
    SinuDAE,
    SinuDAEConvTasNet,
    SinuDAEDPRNNTasNet,
    SinuDAEDPTNet,
    SinuDAELSTMTasNet,
):
    _register(asteroid.models, _model.__name__, _model)


def __getattr__(name: str):
    """Import `report` when it is first used: nothing else needs matplotlib and jinja2."""
    if name == "report":
        return importlib.import_module(".report", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
