"""Make ``import asteroid`` work, and mend a few faults of asteroid 0.7.0.

asteroid 0.7.0 imports torchaudio (for its STOI loss), and torchaudio refuses to import when its
compiled extension does not fit the installed torch: it was built for another CUDA version, or torch
has no CUDA. Asteroid uses nothing of the extension, and torchaudio works without it if the file is
absent. So where the import fails, and only there, torchaudio is imported again as if that file were
absent.

If a module is really missing, the error says what to install. One such module is requests, which
asteroid 0.7.0 does not declare.

Asteroid's own files of SuDORMRF hold an argument that its models pass on to the filterbank:
Asteroid's filterbanks ignore unknown arguments, ours refuse them. (That `torch.load` takes the
TorchVersion in all of Asteroid's files, :mod:`.utils.files` sees to.)

Two more faults are mended: Asteroid's global norms name their dimensions by a list, which
`torch.onnx.export` cannot follow, and `asteroid-infer` asks scipy for the window "hanning", which
scipy now calls "hann".

This module does its work when it is imported. It can be deleted once Asteroid does not need it.
"""

import functools
import importlib
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from ._registration import add_names, hook

logger = logging.getLogger(__name__)

# Modules without which asteroid 0.7.0 does not import, and what pip calls them.
REQUIREMENTS = {
    "torch": "torch",
    "torchaudio": "torchaudio",
    "asteroid": "'asteroid>=0.7.0'",
    "requests": "requests",
}


def _import(name: str) -> None:
    """Import a module; if it or one that it needs is missing, say what to install."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in REQUIREMENTS:
            raise
        raise ImportError(
            f"asteroid_sinudae needs the module {error.name}, which is not installed: "
            f"pip install {REQUIREMENTS[error.name]}",
            name=error.name,
        ) from error


def _import_torchaudio() -> None:
    _import("torch")
    try:
        _import("torchaudio")
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


def _leave_out_encoder_activation(model_class: Any) -> None:
    """Remove from `get_model_args` the argument that the constructor of `model_class` lacks."""
    get_model_args = model_class.get_model_args

    @functools.wraps(get_model_args)
    def get_known_model_args(self):
        args = get_model_args(self)
        args.pop("encoder_activation", None)
        return args

    model_class.get_model_args = get_known_model_args


def _mend_model_files() -> None:
    from asteroid.models import SuDORMRFImprovedNet, SuDORMRFNet

    for model_class in SuDORMRFImprovedNet, SuDORMRFNet:
        _leave_out_encoder_activation(model_class)


def _mend_export() -> None:
    """Replace Asteroid's global norms during an ONNX export by operators that ONNX has."""
    import torch
    from asteroid.masknn import norms
    from torch.nn.functional import group_norm, instance_norm

    def in_export(norm: Callable[..., Any], operator: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(norm)
        def either(x, eps=norms.EPS):
            return operator(x, eps=eps) if torch.onnx.is_in_onnx_export() else norm(x, eps=eps)

        return either

    norms._glob_norm = in_export(norms._glob_norm, functools.partial(group_norm, num_groups=1))
    norms._feat_glob_norm = in_export(norms._feat_glob_norm, instance_norm)


def _name_window() -> None:
    """Let overlap-add accept the window name "hanning", which `asteroid-infer` asks for."""
    from asteroid.dsp import LambdaOverlapAdd

    make = LambdaOverlapAdd.__init__

    @functools.wraps(make)
    def make_with_window(self, *args, **kwargs):
        if kwargs.get("window") == "hanning":
            kwargs["window"] = "hann"
        make(self, *args, **kwargs)

    LambdaOverlapAdd.__init__ = make_with_window


with hook.resting():
    _import_torchaudio()
    _import("asteroid")
_mend_model_files()
_mend_export()
_name_window()
add_names()
