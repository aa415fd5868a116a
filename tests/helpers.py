"""Places in the repository, its scripts and its processes, for tests."""

import contextlib
import os
import runpy
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "musdb18"


def environment(**variables):
    """Variables for another Python, which imports the package and the recipe from here."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{RECIPE}", **variables}


def call(script, *arguments, **options):
    """Run a script of the recipe in this process; SystemExit has its one line."""
    argv = [str(RECIPE / script), *map(str, arguments)]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        patch.syspath_prepend(str(RECIPE))
        runpy.run_path(argv[0], run_name="__main__")


def is_running(pid):
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
