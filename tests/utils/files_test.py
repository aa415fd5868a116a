import errno
import json
import math
import os

import pytest
import torch
from helpers import kill_while_writing
from songs_on_disk import full_disk

from asteroid_sinudae.utils.files import atomic_path, load_safely, save_atomically, write_json


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
    with full_disk(100_000), pytest.raises(OSError, match=f"cannot write {path}: "):
        save_atomically({"weight": torch.ones(1_000_000)}, path)
    assert torch.equal(load_safely(path)["weight"], torch.ones(3))
    assert os.listdir(tmp_path) == ["model.pth"]


def test_error_keeps_its_number(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC


def test_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 251 + ".wav")
    with atomic_path(path) as temporary:
        temporary.touch()
    assert os.listdir(tmp_path) == [path.name]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    """Those alone: not what is being written, and not what another program has named alike."""
    for name in ("first", "second"):
        kill_while_writing(tmp_path / name)
        assert len(os.listdir(tmp_path)) == 1  # the second removes the first's
    (tmp_path / ".keep.part").touch()
    (tmp_path / ".sinudae-folder.part").mkdir()
    os.symlink(tmp_path / ".keep.part", tmp_path / ".sinudae-link.part")
    (tmp_path / ".sinudae-notes of mine.part").touch()
    theirs = {
        ".keep.part",
        ".sinudae-notes of mine.part",
        ".sinudae-folder.part",
        ".sinudae-link.part",
    }
    with atomic_path(tmp_path / "one") as one:
        with atomic_path(tmp_path / "two"):
            assert one.exists()
        assert set(os.listdir(tmp_path)) == {one.name, "two", *theirs}
    assert set(os.listdir(tmp_path)) == {"one", "two", *theirs}


def test_json_is_finite_and_whole(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"si_sdr": 6.5})
    with pytest.raises(ValueError):
        write_json(path, {"si_sdr": math.nan})
    assert json.loads(path.read_text()) == {"si_sdr": 6.5}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match=f"cannot write {path}: it is no regular file"):
        write_json(path, [])
    assert path.is_fifo() and os.listdir(tmp_path) == ["pipe"]
