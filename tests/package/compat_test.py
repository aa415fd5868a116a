"""Importing the package makes asteroid importable, whatever became of torchaudio's extension.

What is imported cannot be undone: each case of that has an interpreter of its own.
"""

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from helpers import ROOT
from packaging.version import Version

from asteroid_sinudae import _torchaudio  # before the first import of asteroid

# isort: split

from asteroid.dsp import LambdaOverlapAdd
from asteroid.masknn import norms
from asteroid.scripts import asteroid_cli

# Stand-ins for what torchaudio 2.11 takes from its compiled extension, for any installed torch.
LOADS = """
from unittest import mock
import torch

torch.version.cuda = "13.0"
torch.ops.load_library = lambda path: None
torch.ops._torchaudio = mock.Mock(cuda_version=lambda: 13000, is_align_available=lambda: True)
torch.ops.torchaudio = mock.Mock()
"""
OTHER_CUDA = LOADS + "torch.ops._torchaudio.cuda_version = lambda: 12060\n"
DOES_NOT_LOAD = """
import torch

def load_library(path):
    raise OSError("libcudart.so.99: cannot open shared object file")

torch.ops.load_library = load_library
"""

IMPORT = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
import asteroid_sinudae._compat
import asteroid
import torch, torchaudio
print("extension", torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
"""
RESAMPLE = """
def sine(rate):
    return torch.sin(2 * torch.pi * 100 * torch.arange(rate) / rate)

resample = torchaudio.transforms.Resample(16000, 8000)
for output in resample(sine(16000)), torchaudio.functional.resample(sine(16000), 16000, 8000):
    # The filter sees the outside of the signal at its ends.
    torch.testing.assert_close(output[50:-50], sine(8000)[50:-50], atol=1e-3, rtol=0)
"""

with_stand_ins = pytest.mark.skipif(
    Version(version("torchaudio")) < Version("2.11"), reason="earlier versions load it otherwise"
)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_extension_that_does_not_load_is_left_out():
    code = """
import importlib
importlib.reload(asteroid_sinudae._compat)
assert importlib.import_module("torchaudio") is torchaudio
assert torchaudio._extension.utils._load_lib("libtorchaudio") is False
assert torchaudio._internal.module_utils.no_op
"""
    done = run_python(DOES_NOT_LOAD + IMPORT + RESAMPLE + code)
    assert "extension False" in done.stdout
    message = (
        "asteroid_sinudae._torchaudio torchaudio is used without its compiled extension: "
        "libcudart.so.99: cannot open shared object file"
    )
    assert done.stderr.count(message) == 1


@with_stand_ins
def test_extension_of_another_cuda_version_is_left_out():
    done = run_python(OTHER_CUDA + IMPORT + RESAMPLE)
    assert "extension False" in done.stdout
    assert "PyTorch has CUDA version 13.0 whereas TorchAudio has CUDA version 12.6" in done.stderr


@with_stand_ins
def test_healthy_torchaudio_is_left_alone():
    code = (
        "assert torchaudio._extension.utils._load_lib.__module__ == 'torchaudio._extension.utils'"
    )
    done = run_python(LOADS + IMPORT + code)
    assert "extension True" in done.stdout
    assert "without its compiled extension" not in done.stderr


def test_other_errors_of_torchaudio_are_not_hidden(monkeypatch):
    def fail(name):
        raise OSError("disk on fire")

    monkeypatch.setattr(_torchaudio, "import_required", fail)
    with pytest.raises(OSError, match="^disk on fire$"):
        _torchaudio._import_torchaudio()


def test_absent_modules_are_named():
    code = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = Absent()
sys.meta_path.insert(0, absent)
for absent.name in "torchaudio", "asteroid", "requests":
    try:
        import asteroid_sinudae._compat
    except ImportError as error:
        print(error)
"""
    message = "asteroid_sinudae needs the module {0}, which is not installed: pip install {1}"
    assert run_python(code).stdout.splitlines() == [
        message.format("torchaudio", "torchaudio"),
        message.format("asteroid", "'asteroid>=0.7.0'"),
        message.format("requests", "requests"),
    ]


def test_overlap_add_takes_the_window_that_asteroid_infer_asks_for():
    """Its command line calls it so, and scipy has it by another name."""

    def infer(name):
        return LambdaOverlapAdd(lambda x: x, n_src=None, window_size=8, window=name).window

    assert torch.equal(infer("hanning"), infer("hann"))
    assert LambdaOverlapAdd(lambda x: x, None, 8).window.shape == (8,)
    assert asteroid_cli.LambdaOverlapAdd is LambdaOverlapAdd
    with pytest.raises(ValueError, match="no window"):
        infer("no window")


@pytest.mark.parametrize("name, dims", [("_glob_norm", [1, 2]), ("_feat_glob_norm", [2])])
def test_norms_are_asteroids_own_but_in_export(monkeypatch, name, dims):
    x = 3 + torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    norm, own = getattr(norms, name), norms.z_norm(x, dims)
    assert torch.equal(norm(x), own)
    assert torch.equal(torch.jit.script(norm)(x), own)
    monkeypatch.setattr("torch.onnx.is_in_onnx_export", lambda: True)
    torch.testing.assert_close(norm(x), own)
    assert not norm(torch.zeros(2, 5, 7)).any()
