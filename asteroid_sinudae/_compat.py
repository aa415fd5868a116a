"""Make ``import asteroid`` work where torchaudio's compiled extension cannot load.

asteroid 0.7.0 imports torchaudio (for its STOI loss), and torchaudio refuses to import when its
extension does not fit the installed torch: another CUDA version, or a torch without CUDA. Nothing
that asteroid uses needs the extension, and torchaudio works without it when the file is absent. So,
only where the import fails, torchaudio is imported again as if that file were absent.

A module that is really absent gives an error that says what to install; requests is one that
asteroid 0.7.0 does not declare.

Two things stand between asteroid 0.7.0 and its own model files, and are mended here. The files hold
a TorchVersion, which `torch.load` refuses since torch 2.6. And those of SuDORMRF hold an argument
that its models do not take: they hand it on to the filterbank, where Asteroid's ignore what they do
not know and ours do not.

Two things more are Asteroid's: its global norms name their dimensions by a list that
`torch.onnx.export` cannot follow, and its `asteroid-infer` asks scipy for the window "hanning",
which is "hann" there by now.

This module does its work at import. It can be deleted once asteroid has no need of it.
"""

import functools
import importlib
import logging
import sys
import traceback

logger = logging.getLogger(__name__)

# Modules without which asteroid 0.7.0 does not import, and what pip calls them.
REQUIREMENTS = {
    "torch": "torch",
    "torchaudio": "torchaudio",
    "asteroid": "'asteroid>=0.7.0'",
    "requests": "requests",
}


def _import(name):
    """Import a module; if it or one it needs is absent, say what to install."""
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


def _import_torchaudio():
    _import("torch")
    try:
        _import("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        if not _comes_from_extension(error):
            raise
        _import_without_extension()
        logger.info("torchaudio is used without its compiled extension: %s", error)


def _comes_from_extension(error):
    frames = traceback.walk_tb(error.__traceback__)
    modules = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    return any(module.startswith("torchaudio._extension") for module in modules)


def _import_without_extension():
    # The failed import has left these helper modules behind, and the next one takes them as they
    # are. torchaudio 2.11 asks the first for its extension, earlier versions ask the second.
    utils = sys.modules["torchaudio._extension.utils"]
    utils._load_lib = lambda lib: False
    helpers = sys.modules["torchaudio._internal.module_utils"]
    is_available = helpers.is_module_available

    def is_available_and_not_compiled(*names):
        return not any(n.startswith("torchaudio.lib.") for n in names) and is_available(*names)

    helpers.is_module_available = is_available_and_not_compiled
    try:
        torchaudio = importlib.import_module("torchaudio")
    finally:
        helpers.is_module_available = is_available
    # Submodules that were there before their parent are not among its attributes.
    torchaudio._internal = sys.modules["torchaudio._internal"]
    torchaudio._extension.utils = utils


def _allow_torch_version():
    """Let `from_pretrained` read what `serialize` wrote. The class is a string: no code can run."""
    from torch.serialization import add_safe_globals
    from torch.torch_version import TorchVersion

    add_safe_globals([TorchVersion])


def _leave_out_encoder_activation(model_class):
    """Take the argument that `model_class` does not have out of its `get_model_args`."""
    get_model_args = model_class.get_model_args

    @functools.wraps(get_model_args)
    def get_known_model_args(self):
        args = get_model_args(self)
        args.pop("encoder_activation", None)
        return args

    model_class.get_model_args = get_known_model_args


def _mend_model_files():
    from asteroid.models import SuDORMRFImprovedNet, SuDORMRFNet

    _allow_torch_version()
    for model_class in SuDORMRFImprovedNet, SuDORMRFNet:
        _leave_out_encoder_activation(model_class)


def _mend_export():
    """Give ONNX the norms over all of a signal as operators it has; elsewhere they stay."""
    import torch
    from asteroid.masknn import norms
    from torch.nn.functional import group_norm, instance_norm

    def in_export(norm, operator):
        @functools.wraps(norm)
        def either(x, eps=norms.EPS):
            return operator(x, eps=eps) if torch.onnx.is_in_onnx_export() else norm(x, eps=eps)

        return either

    norms._glob_norm = in_export(norms._glob_norm, functools.partial(group_norm, num_groups=1))
    norms._feat_glob_norm = in_export(norms._feat_glob_norm, instance_norm)


def _name_window():
    """Let overlap-add take "hanning", which `asteroid-infer` asks for, also of this scipy."""
    from asteroid.dsp import LambdaOverlapAdd

    make = LambdaOverlapAdd.__init__

    @functools.wraps(make)
    def make_with_window(self, *args, **kwargs):
        if kwargs.get("window") == "hanning":
            kwargs["window"] = "hann"
        make(self, *args, **kwargs)

    LambdaOverlapAdd.__init__ = make_with_window


_import_torchaudio()
_import("asteroid")
_mend_model_files()
_mend_export()
_name_window()
