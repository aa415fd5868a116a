"""A type checker accepts the README's own lines: the package carries its types."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUSTOM = """
from asteroid_sinudae import STFT, Representation, SinuDAE

def sample_rate(representation: Representation) -> float:
    return representation.sample_rate

class Sine:
    sample_rate = 44100.0

sample_rate(SinuDAE())
sample_rate(STFT())
sample_rate(Sine())
"""


def check_types(tmp_path, text):
    """Exit status and errors of mypy on a program of a user's."""
    program = tmp_path / "program.py"
    program.write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
    command += ["--cache-dir", tmp_path / "cache", program]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.slow  # a type checker reads torch first
def test_readme_has_no_type_errors(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    status, output = check_types(tmp_path, "\n".join(blocks))
    assert status == 0, output


@pytest.mark.slow
def test_both_representations_fit_the_protocol_and_others_do_not(tmp_path):
    status, output = check_types(tmp_path, CUSTOM)
    errors = [line for line in output.splitlines() if ": error:" in line]
    assert status == 1 and len(errors) == 1 and '"Sine"' in errors[0], output
