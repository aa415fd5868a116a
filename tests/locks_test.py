import os
import subprocess
import sys

import pytest

from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.utils.locks import locked


def test_second_says_who_holds_it(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with locked(path):
        with pytest.raises(BlockingIOError, match=f"{path} is held by process {os.getpid()} on "):
            with locked(path, seconds=0.0):
                pass
    with locked(path, seconds=0.0):
        pass


def test_lock_dies_with_its_process(tmp_path):
    path = tmp_path / ".lock"
    code = (
        "import os, sys; from asteroid_sinudae.utils.locks import locked\n"
        "with locked(sys.argv[1]): os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code, path])
    assert run.returncode == -9 and f"process {os.getpid()} " not in path.read_text()
    with locked(path, seconds=0.0):
        assert path.read_text().startswith(f"process {os.getpid()} ")


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", tmp_path / ".lock")
    with pytest.raises(OSError), locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("content", ["precious", "process 1 on here\n"])
def test_a_file_of_another_name_is_not_written_to(tmp_path, content):
    (tmp_path / "precious").write_text(content)
    os.link(tmp_path / "precious", tmp_path / ".lock")
    with pytest.raises(ValueError, match="is no lock, and is in the way of one: move it"):
        with locked(tmp_path / ".lock"):
            pass
    assert (tmp_path / "precious").read_text() == content


def test_what_is_no_lock_stays_as_it_is(tmp_path):
    (tmp_path / ".run").write_text("precious")
    with pytest.raises(ValueError, match="is no lock"), run_lock(tmp_path):
        pass
    assert (tmp_path / ".run").read_text() == "precious"
