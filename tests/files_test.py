import errno
import os
import subprocess
import sys

import pytest
import torch

from asteroid_sinudae.files import atomic_path, load_safely, save_atomically


def test_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one" and os.listdir(path.parent) == ["file.txt"]
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("tw")
        raise KeyboardInterrupt
    assert path.read_text() == "one" and os.listdir(path.parent) == ["file.txt"]


def test_mode_is_that_of_an_ordinary_file(tmp_path):
    with atomic_path(tmp_path / "ours"):
        pass
    (tmp_path / "theirs").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.pth"
    with pytest.raises(OSError, match=f"cannot write {path}: "):
        save_atomically({}, path)


def test_full_disk_keeps_the_old_file(tmp_path):
    """A limit on the size of files stands in for the disk; the kernel enforces both alike."""
    path = tmp_path / "model.pth"
    save_atomically({"weight": torch.ones(3)}, path)
    code = f"""
import resource, signal
import torch
from asteroid_sinudae.files import save_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_atomically({{"weight": torch.ones(1_000_000)}}, {str(path)!r})
except OSError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"cannot write {path}: " in run.stdout, run.stderr
    assert torch.equal(load_safely(path)["weight"], torch.ones(3))
    assert os.listdir(tmp_path) == ["model.pth"]


def test_error_keeps_its_number(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
