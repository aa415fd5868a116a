"""The examples of docstrings and README run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import asteroid_sinudae

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(asteroid_sinudae.__path__, f"{asteroid_sinudae.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    assert names["A"].shape == (1, 800, 173) and names["y"].shape == (1, 1, 44100)
    assert [estimate.shape for estimate in names["estimates"]] == [(1, 1, 44100)] * 2
