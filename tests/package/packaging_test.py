"""setup.py and constraints.txt agree, and the Makefile installs them once, wholly or not at all."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def setup_keyword(name):
    """Value of a literal keyword argument of setup(), read without running it."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    return next(ast.literal_eval(k.value) for k in keywords if k.arg == name)


def constraint_lines():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_constraints_are_exact_and_sorted():
    lines = constraint_lines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==\d[\w.]*", line)] == []
    assert lines == sorted(lines, key=str.lower)


def test_constraints_pin_every_requirement_within_its_bounds():
    pins = {
        canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in constraint_lines()
    }
    extras = setup_keyword("extras_require").values()
    requirements = map(Requirement, sum(extras, setup_keyword("install_requires")))
    requirements = [r for r in requirements if r.name != "asteroid_sinudae"]  # an extra of extras
    wrong = [r for r in requirements if pins.get(canonicalize_name(r.name), "0") not in r.specifier]
    assert [str(requirement) for requirement in wrong] == []


def test_developers_have_every_extra():
    extras = setup_keyword("extras_require")
    (own,) = [r for r in map(Requirement, extras["dev"]) if r.name == "asteroid_sinudae"]
    assert own.extras == extras.keys() - {"dev"}


def test_licence_of_the_models_goes_with_them():
    assert set(setup_keyword("license_files")) == {"LICENSE", "LICENSE-MODELS"}
    assert "License :: Free for non-commercial use" in setup_keyword("classifiers")
    text = (ROOT / "LICENSE-MODELS").read_text()
    for card in (ROOT / "asteroid_sinudae" / "pretrained_models").glob("*.md"):
        assert "**Licence**: non-commercial research only" in card.read_text()
    assert "non-commercial" in text and "pretrained_models/*.pth" in text


def test_version_is_that_of_the_package():
    import asteroid_sinudae

    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == asteroid_sinudae.__version__


def test_the_command_is_installed():
    scripts = {"console_scripts": ["sinudae=asteroid_sinudae.cli:main"]}
    assert setup_keyword("entry_points") == scripts


def test_what_is_installed_has_every_file_of_the_package(tmp_path):
    """Pages' templates and models too: what is no Python, setup.py has to name."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "asteroid_sinudae", source / "asteroid_sinudae", ignore=ignored)
    for name in "setup.py", "pyproject.toml", "README.md":
        shutil.copy(ROOT / name, source)
    models = source / "asteroid_sinudae" / "pretrained_models"
    models.mkdir(exist_ok=True)
    for name in "another.pth", "another.md":
        (models / name).touch()
    command = [sys.executable, "-W", "ignore", "setup.py", "--quiet", "build_py"]
    command += ["--build-lib", str(tmp_path / "built")]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [path.relative_to(source) for path in source.glob("asteroid_sinudae/**/*.*")]
    assert [str(path) for path in files if not (tmp_path / "built" / path).is_file()] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_source_distribution_has_every_file_of_the_repository(tmp_path):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    assert files
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-W", "ignore", "setup.py", "--quiet", "sdist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "dist").iterdir()
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in files if name not in packed] == []


BUILD_FILES = ["setup.py", "pyproject.toml", "constraints.txt", "Makefile", "MANIFEST.in"]
BUILD_FILES += [".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml"]


@pytest.mark.parametrize("name", BUILD_FILES)
def test_no_package_index_is_named(name):
    text = (ROOT / name).read_text()
    assert re.findall(r"\w+://\S+|--(?:extra-)?index\S*|--find-links|--trusted-host", text) == []


# Stands in for both the Python that makes .venv and the one inside it; pip notes its arguments.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  -c*) exit "${TOO_OLD:-0}" ;;
  "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install "*)
    echo "$*" >> pip_calls
    echo "Collecting torch"
    if [ -n "$PIP_FAILS" ]; then echo "ERROR: no space left"; exit 1; fi ;;
esac
"""


@pytest.fixture
def make_venv(tmp_path):
    for name in "Makefile", "setup.py", "constraints.txt":
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "fake_python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)

    def run(**env):
        command = ["make", ".venv", "PYTHON=./fake_python"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        env = {**inherited, **env}  # this test may itself be run by make, which would say more
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
class TestMakeVenv:
    def test_installs_once_and_again_when_stale(self, make_venv, tmp_path):
        first, second = make_venv(), make_venv()
        assert first.stdout == "Installing into .venv (a few minutes the first time)\n"
        assert (first.returncode, first.stderr) == (0, "")
        assert (second.returncode, "Installing" in second.stdout) == (0, False)
        calls = (tmp_path / "pip_calls").read_text()
        assert calls == "-m pip install -e .[dev] -c constraints.txt\n"

        newer = (tmp_path / ".venv/installed").stat().st_mtime + 10
        os.utime(tmp_path / "constraints.txt", (newer, newer))
        assert "Installing" in make_venv().stdout

    def test_failed_install_shows_why_and_is_redone(self, make_venv):
        failed = make_venv(PIP_FAILS="1")
        assert failed.returncode != 0
        assert "Collecting torch\nERROR: no space left\n" in failed.stderr
        assert "Installing" in make_venv().stdout

    def test_old_python_is_refused(self, make_venv, tmp_path):
        refused = make_venv(TOO_OLD="1")
        assert refused.returncode != 0
        assert refused.stderr.startswith("constraints.txt is for Python 3.11 or newer")
        assert "./fake_python" in refused.stderr
        assert not (tmp_path / ".venv").exists()
