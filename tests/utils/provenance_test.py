import subprocess

import pytest
import torch
from helpers import ROOT

from asteroid_sinudae.utils import provenance as provenance_module
from asteroid_sinudae.utils.provenance import provenance


def test_versions_and_device():
    made_with = provenance("cpu")
    assert torch.__version__.startswith(made_with["versions"]["torch"])
    assert made_with["device"].endswith("(CPU)")
    assert made_with["threads"] == torch.get_num_threads()
    assert made_with["finished"].endswith("+00:00")
    assert set(made_with["versions"]) > {"python", "asteroid", "musdb", "pytorch-lightning"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_commit_is_that_of_the_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert provenance("cpu")["commit"].removesuffix("-dirty") == head.stdout.strip()


def test_no_commit_of_another_project(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    package = tmp_path / "site-packages" / "asteroid_sinudae" / "utils" / "provenance.py"
    package.parent.mkdir(parents=True)
    monkeypatch.setattr(provenance_module, "__file__", str(package))
    assert provenance("cpu")["commit"] is None
