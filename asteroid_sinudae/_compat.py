"""Make ``import asteroid`` work, and mend a few faults of asteroid 0.7.0.

asteroid 0.7.0 imports torchaudio (for its STOI loss), which may refuse to, see :mod:`._torchaudio`.
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
from collections.abc import Callable
from typing import Any

from . import _torchaudio  # noqa: F401
from ._registration import add_names, hook, import_required, naming_requirements
from .utils import later


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
    import_required("asteroid")
    with naming_requirements():
        later.run_pending()
_mend_model_files()
_mend_export()
_name_window()
add_names()
later.settle()
