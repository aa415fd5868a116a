"""What an extra brings is asked for in one line where it is missing."""

import os
import subprocess
import sys
from importlib.metadata import requires

import pytest
from helpers import RECIPE, environment
from packaging.requirements import Requirement

from asteroid_sinudae.utils.extras import EXTRAS, require

# What is not installed, to an interpreter that finds this as sitecustomize.
ABSENT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("museval", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("museval", "matplotlib") else find(name)
sys.meta_path.insert(0, Absent())
"""


def test_extras_are_those_that_setup_declares():
    declared = [Requirement(text) for text in requires("asteroid_sinudae") or []]
    names = {"PIL": "pillow", "ot": "POT"}
    for extra, modules in EXTRAS.items():
        brought = {
            str(requirement.name)
            for requirement in declared
            if requirement.marker and requirement.marker.evaluate({"extra": extra})
        }
        assert brought == {names.get(module, module) for module in modules}
        require(extra)


@pytest.mark.parametrize(
    "command, line",
    [
        (
            ["-c", "import asteroid_sinudae; asteroid_sinudae.report"],
            "ImportError: matplotlib not installed: pip install 'asteroid_sinudae[report]'",
        ),
        (
            ["compare.py", "--help"],
            "compare.py: museval not installed: pip install 'asteroid_sinudae[recipe]'",
        ),
        (["-m", "asteroid_sinudae", "info", "multires_c800_s256"], ""),
    ],
)
def test_what_is_missing_is_named(tmp_path, command, line):
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(
        [sys.executable, *command], cwd=RECIPE, env=env, capture_output=True, text=True
    )
    assert run.stderr.strip().splitlines()[-1:] == [line][: len(line)]
    assert (run.returncode == 0) == (not line)


@pytest.mark.parametrize("is_used", [False, True])
def test_pot_starts_no_framework_that_takes_a_gpu(tmp_path, is_used):
    for name in ("cupy", "jax", "tensorflow"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/numpy.py").write_text("raise SystemExit('jax is used')")
    code = (
        "import os, sys, torch; from asteroid_sinudae.losses import sinkhorn_distance as distance; "
    )
    if is_used:  # by somebody else in this process, who may want POT for it
        code += "jax = type(sys)('jax'); jax.__path__ = ['parts']; sys.modules['jax'] = jax; "
    code += "print(distance(torch.ones(1, 3, 4)).item(), [n for n in os.environ if 'POT_' in n])"
    variables = {name: value for name, value in environment().items() if "POT_" not in name}
    variables["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    expected = ("", "jax is used\n") if is_used else ("0.0 []\n", "")
    assert (run.stdout, run.stderr) == expected
