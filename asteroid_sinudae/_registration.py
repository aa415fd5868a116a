"""Asteroid knows this package's filterbanks and models by name, from Asteroid's own import on.

`import asteroid_sinudae` does not import Asteroid, which takes seconds: `sinudae --help` needs none
of it. The imports of Asteroid and of its filterbanks are completed by this package's names when
they come, in whatever order:

    >>> import asteroid_sinudae
    >>> import asteroid.models
    >>> asteroid.models.get("SinuDAE") is asteroid_sinudae.SinuDAE
    True
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Modules, and what imports them: Asteroid needs what stands in _compat to be imported at all.
COMPLETED = {
    "asteroid": f"{__package__}._compat",
    "torchaudio": f"{__package__}._compat",
    "asteroid_filterbanks": "asteroid_filterbanks",
}
FILTERBANKS = {  # modules, by the names that Asteroid's models take as fb_name, and the classes
    ".filterbanks.conv_fb": {"conv": "ConvFB"},
    ".filterbanks.conv_smooth_fb": {"conv_smooth": "ConvSmoothFB"},
    ".filterbanks.mod_cos_fb": {"cos": "CosFB", "mod_cos": "ModCosFB"},
    ".filterbanks.sinc_smooth_fb": {"sinc_smooth": "SincSmoothFB"},
}
MODELS = {
    ".models.separators": (
        "SinuDAEConvTasNet",
        "SinuDAEDPRNNTasNet",
        "SinuDAEDPTNet",
        "SinuDAELSTMTasNet",
        "STFTConvTasNet",
    ),
    ".models.sinudae": ("SinuDAE",),
}


def register_with_asteroid() -> None:
    """Add the names to what is imported of Asteroid, and to what will be."""
    _add_names()
    if not any(isinstance(finder, _Completing) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Completing())


class _Completing(MetaPathFinder, Loader):
    """Completes the first import of each of :data:`COMPLETED`, whoever makes it.

    The module is imported by what Python has besides, and then given the names; the import that was
    found here only takes it over.
    """

    def __init__(self):
        self.is_busy = False
        self.specs: dict[str, ModuleSpec | None] = {}
        self.modules: dict[str, ModuleType] = {}

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname not in COMPLETED or fullname in sys.modules or self.is_busy:
            return None
        self.is_busy = True
        try:
            import_module(COMPLETED[fullname])
        finally:
            self.is_busy = False
        _add_names()
        # Python would make a module that it finds imported by now once more.
        self.modules[fullname] = sys.modules.pop(fullname)
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = self.modules.pop(spec.name)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.specs.pop(module.__name__)  # of the import that was made


def _add_names() -> None:
    if "asteroid_filterbanks" in sys.modules:
        _add_filterbanks()
    if "asteroid" in sys.modules:
        _add_models()


def _add_filterbanks() -> None:
    import asteroid_filterbanks

    for module, classes in FILTERBANKS.items():
        for alias, name in classes.items():
            cls = getattr(import_module(module, __package__), name)
            _register(asteroid_filterbanks, name, cls)
            _register(asteroid_filterbanks, alias, cls)


def _add_models() -> None:
    import asteroid.models

    for module, names in MODELS.items():
        for name in names:
            _register(asteroid.models, name, getattr(import_module(module, __package__), name))


def _register(module: ModuleType, name: str, cls: type) -> None:
    """Make `module.get(name)` return `cls`; again after a reload, never in the place of another."""
    registered = getattr(module, name, cls)
    if getattr(registered, "__module__", None) != cls.__module__:
        raise ValueError(f"{module.__name__} has another {name} already: {registered!r}")
    setattr(module, name, cls)
