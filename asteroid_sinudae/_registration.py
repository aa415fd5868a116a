"""Registration of this package's filterbanks and models with Asteroid, by name.

`import asteroid_sinudae` does not import Asteroid, which takes seconds and which `sinudae --help`
does not need. So the names cannot be registered at once. Instead, an import hook waits for the
first import of Asteroid (or of its filterbanks), lets it run, and then adds the names. It does not
matter which package is imported first:

    >>> import asteroid_sinudae
    >>> import asteroid.models
    >>> asteroid.models.get("SinuDAE") is asteroid_sinudae.SinuDAE
    True
"""

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .utils import later

COMPAT = f"{__package__}._compat"
# Modules to complete, and the module to import in their place: without it, they may fail.
COMPLETED = {
    "asteroid": COMPAT,
    "torchaudio": f"{__package__}._torchaudio",
    "asteroid_filterbanks": "asteroid_filterbanks",
}
# Beginnings of the names of modules that need all of Asteroid before they are imported.
NEEDING_ALL = (
    "asteroid.",
    *(f"{__package__}.models.{name}" for name in ("band_split", "baselines", "separators")),
)
# Modules without which asteroid 0.7.0 does not import, and what pip calls them.
REQUIREMENTS = {
    "torch": "torch",
    "torchaudio": "torchaudio",
    "asteroid": "'asteroid>=0.7.0'",
    "requests": "requests",
}
FILTERBANKS = {  # module -> name that Asteroid's models take as fb_name -> class
    ".filterbanks.conv_fb": {"conv": "ConvFB"},
    ".filterbanks.conv_smooth_fb": {"conv_smooth": "ConvSmoothFB"},
    ".filterbanks.mod_cos_fb": {"cos": "CosFB", "mod_cos": "ModCosFB"},
    ".filterbanks.sinc_smooth_fb": {"sinc_smooth": "SincSmoothFB"},
}
MODELS = {
    ".models.baselines": ("FreeBandSplitRNN", "STFTBandSplitRNN", "STFTConvTasNet"),
    ".models.separators": (
        "SinuDAEBandSplitRNN",
        "SinuDAEConvTasNet",
        "SinuDAEDPRNNTasNet",
        "SinuDAEDPTNet",
        "SinuDAELSTMTasNet",
    ),
    ".models.sinudae": ("SinuDAE",),
}


def register_with_asteroid() -> None:
    """Add the names to the modules of Asteroid that are imported, now or later."""
    add_names()
    if not any(type(finder).__name__ == "_Completing" for finder in sys.meta_path):  # a reload
        sys.meta_path.insert(0, hook)


@contextlib.contextmanager
def naming_requirements() -> Iterator[None]:
    """Say what to install, if a module is missing that an import in a block needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in REQUIREMENTS:
            raise
        raise ImportError(
            f"asteroid_sinudae needs the module {error.name}, which is not installed: "
            f"pip install {REQUIREMENTS[error.name]}",
            name=error.name,
        ) from error


def import_required(name: str) -> None:
    """Import a module; if it or one that it needs is missing, say what to install."""
    with naming_requirements():
        import_module(name)


def import_base_model() -> None:
    """Import what our models need of Asteroid, and leave the rest for :mod:`.later`."""
    try:
        with hook.resting(), later.put_off():
            import_module("asteroid.models.base_models")
    except ImportError:  # it needs the rest, or something that is not installed
        import_module(COMPAT)


class _Completing(MetaPathFinder, Loader):
    """Import hook that completes the first import of each module in :data:`COMPLETED`.

    Python asks the hook first (`find_spec`). The hook then imports the module by Python's other
    finders, adds the names, and hands the finished module over to the import that asked.
    """

    def __init__(self) -> None:
        self.is_resting = False
        self.specs: dict[str, ModuleSpec | None] = {}
        self.modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Leave the imports in a block to Python's other finders."""
        before, self.is_resting = self.is_resting, True
        try:
            yield
        finally:
            self.is_resting = before

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        importer = COMPLETED.get(fullname)
        if later.pending and fullname.startswith(NEEDING_ALL):
            importer = COMPAT
        if importer is None or self.is_resting or {fullname, importer} & sys.modules.keys():
            return None
        with self.resting():
            import_module(importer)
        add_names()
        if fullname not in sys.modules:  # a part of Asteroid that it does not import by itself
            return None
        # The module is taken out of sys.modules until exec_module, or Python would import it again.
        self.modules[fullname] = sys.modules.pop(fullname)
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = self.modules.pop(spec.name)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.specs.pop(module.__name__)  # that of the import by other finders


hook = _Completing()


def add_names() -> None:
    """Add the names to what is imported of Asteroid by now."""
    if "asteroid_filterbanks" in sys.modules:
        _add_filterbanks()
    if "asteroid" in sys.modules and not later.pending:
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
    """Make `module.get(name)` return `cls`; raise ValueError if the name is another class's."""
    registered = getattr(module, name, cls)
    if getattr(registered, "__module__", None) != cls.__module__:
        raise ValueError(f"{module.__name__} has another {name} already: {registered!r}")
    setattr(module, name, cls)
