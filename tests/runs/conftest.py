"""A small table, its data, and its script."""

import sys

import pytest
from made_results import SMALL, Runner, scripts, tables, write_yaml
from prepared import write_tones

from asteroid_sinudae.runs import jobs as jobs_module


@pytest.fixture
def small(tmp_path):
    """The small table, in a file."""
    return write_yaml(tmp_path / "tables.yml", SMALL)


@pytest.fixture
def run_tables(tmp_path, small, data_dir, monkeypatch):
    """Run tables.py in this process, its scripts replaced."""

    def run(*arguments, runner=None, table="table", **options):
        options = {"tables": small, "data_dir": data_dir, "max_steps": 7, **options}
        argv = ["tables.py", "--table", table, "--exp_root", tmp_path / "exp", *arguments]
        argv += [word for name, value in options.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
        monkeypatch.setattr(jobs_module, "run_script", runner or Runner())
        scripts.run(tables.main)

    return run


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("data"))
