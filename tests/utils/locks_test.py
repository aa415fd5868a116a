import os
import subprocess
import sys

import pytest

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
