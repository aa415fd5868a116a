"""Places in the repository, its scripts and its processes, for tests."""

import contextlib
import itertools
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from asteroid_sinudae.utils.files import atomic_path

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


def forked(function, *arguments, errors=os.devnull):
    """Call a function in a copy of this process, which need not import everything once more.

    Copies cannot use a GPU that this process has looked for: where there is one, it is a fresh
    process, which takes functions of modules only. What the function returns is the exit status;
    what is said on stderr goes to the file `errors`.
    """
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    process = context.Process(
        target=_run, args=(function, arguments, os.getcwd(), errors), daemon=True
    )
    process.start()
    return process


def _run(function, arguments, folder, errors):
    torch.set_num_threads(1)  # threads do not survive a fork
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    os.chdir(folder)  # where a fresh process is not
    with open(errors, "w") as file:
        os.dup2(file.fileno(), 2)
        sys.stderr = file
        sys.exit(function(*arguments))


def kill_while_writing(path):
    """What becomes of a process that is killed while it writes a file."""
    process = forked(_die_while_writing, path)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def _die_while_writing(path):
    with atomic_path(path):
        os.kill(os.getpid(), signal.SIGKILL)


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


def printed_tables(text):
    """The rows of all tables in plain text, titles first, with the lines of folded cells joined."""
    tables = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("--"):
            continue
        ends = [match.span() for match in re.finditer("-+", line)]
        rows = []
        for row in [lines[number - 1], *itertools.takewhile(str.strip, lines[number + 1 :])]:
            cells = [row[first:stop].strip() for first, stop in ends]
            if any(cells[1:]):
                rows.append(cells)
            else:
                rows[-1][0] += f" {cells[0]}"
        tables.append(rows)
    return tables
