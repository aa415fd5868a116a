"""Make ``import torchaudio`` work, where its compiled extension does not fit the installed torch.

torchaudio refuses to import when its extension was built for another CUDA version, or torch has no
CUDA. Asteroid and this package use nothing of the extension, and torchaudio works without it if the
file is absent. So where the import fails, and only there, torchaudio is imported again as if that
file were absent.

This module does its work when it is imported. It can be deleted once torchaudio is published for
every torch.
"""

import importlib
import logging
import sys
import traceback
from typing import Any

from ._registration import hook, import_required

logger = logging.getLogger(__name__)


def _import_torchaudio() -> None:
    import_required("torch")
    try:
        import_required("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        if not _comes_from_extension(error):
            raise
        _import_without_extension()
        logger.info("torchaudio is used without its compiled extension: %s", error)


def _comes_from_extension(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    modules = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    return any(module.startswith("torchaudio._extension") for module in modules)


def _import_without_extension() -> None:
    # The failed import has left these helper modules in sys.modules, and the next import uses them
    # as they are. torchaudio 2.11 asks the first for its extension, earlier ones ask the second.
    utils: Any = sys.modules["torchaudio._extension.utils"]
    utils._load_lib = lambda lib: False
    helpers: Any = sys.modules["torchaudio._internal.module_utils"]
    is_available = helpers.is_module_available

    def is_available_and_not_compiled(*names: str) -> bool:
        return not any(n.startswith("torchaudio.lib.") for n in names) and is_available(*names)

    helpers.is_module_available = is_available_and_not_compiled
    try:
        torchaudio: Any = importlib.import_module("torchaudio")
    finally:
        helpers.is_module_available = is_available
    # Submodules that were imported before their parent do not become its attributes.
    torchaudio._internal = sys.modules["torchaudio._internal"]
    torchaudio._extension.utils = utils


with hook.resting():
    _import_torchaudio()
