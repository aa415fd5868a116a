"""Files that appear whole or not at all, and model files that cannot run code."""

import contextlib
import errno
import fcntl
import json
import os
import pickle
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.serialization import add_safe_globals
from torch.torch_version import TorchVersion

from .outlines import DAMAGED, REFUSED, check_outline

# What Asteroid serializes holds one, which is text and harmless; torch.load refuses it since 2.6.
add_safe_globals([TorchVersion])

# Names of temporary files do not contain the name of the file to write, which may already be as
# long as the file system allows.
PREFIX, SUFFIX = ".sinudae-", ".part"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    The temporary file is in the same folder, which is made if need be, so that the last step is
    one rename. Temporary files of processes that were killed are removed from the folder.

    Args:
        path (str or Path): The file to write or replace.

    Raises:
        OSError: naming `path`, if it cannot be written (no space, no permission), or is a device, a
            pipe or a socket, which a file must not replace.

    Examples
        >>> with atomic_path(tempfile.gettempdir() + "/numbers.txt") as temporary:
        ...     _ = temporary.write_text("1 2 3")
    """
    path = Path(path)
    handle = temporary = None
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError(errno.EINVAL, "it is no regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        handle, temporary = _make_temporary(path.parent)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in `parent`, which is removed when the block ends.

    Temporary files and folders of processes that were killed are removed from `parent` before.
    """
    _remove_leftovers(parent)
    handle, folder = _make_temporary(parent, is_folder=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(handle)


def _make_temporary(folder: Path, is_folder: bool = False) -> tuple[int, Path]:
    """Make a temporary file; its descriptor holds a lock, which tells that it is being written."""
    while True:
        if is_folder:
            name = tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=folder)
            handle = os.open(name, os.O_RDONLY)
        else:
            handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=folder)
        with contextlib.suppress(OSError):  # a file system without locks: leftovers stay there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # taken for a leftover before it was locked


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in a folder that no process holds any more."""
    for leftover in folder.glob(f"{PREFIX}{8 * '[a-z0-9_]'}{SUFFIX}"):  # as tempfile names them
        with contextlib.suppress(OSError):  # being written, or another user's
            mode = os.O_RDONLY if leftover.is_dir() else os.O_RDWR
            handle = os.open(leftover, mode | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            finally:
                os.close(handle)


def _umask() -> int:
    """Return the process's file mode mask, which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8 to a file that appears whole or not at all.

    Raises OSError, as :func:`atomic_path` does.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Write plain values as JSON to a file that appears whole or not at all.

    Args:
        path (str or Path): The file to write or replace.
        content (object): Dictionaries, lists, text, finite numbers, booleans and None.

    Raises:
        OSError: naming `path`, if it cannot be written.
        ValueError: if a number is NaN or infinite, which JSON cannot express.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def require_file(path: Path, expected: str) -> None:
    """Raise an error that says what a path is, unless it is a file that can be read twice.

    Args:
        path (Path): The path.
        expected (str): What it should be, for the message.

    Raises:
        FileNotFoundError: if there is nothing, or a link that leads nowhere.
        ValueError: if it is a folder, a pipe or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected {expected}")
    if path.exists():
        raise ValueError(f"{path} is a pipe or a device, expected {expected}")
    if path.is_symlink():
        raise FileNotFoundError(f"{path} is a link that leads to no file: expected {expected}")
    raise FileNotFoundError(f"{path} not found: expected {expected}")


def save_atomically(obj: object, path: str | Path) -> None:
    """Call :func:`torch.save` so that the file appears whole or not at all.

    Args:
        obj (object): Tensors and plain values, in dictionaries and lists.
        path (str or Path): The file to write or replace.

    Raises:
        OSError: naming `path`, if it cannot be written (no space, no permission).
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(obj, temporary)
        except RuntimeError as error:  # what torch.save makes of a full disk
            raise OSError(errno.ENOSPC, f"torch.save failed, is the disk full? {error}") from error


def load_safely(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Call :func:`torch.load` on a file that must hold a dictionary of tensors and plain values.

    The sizes that the file claims are compared with its own size before anything is loaded, see
    :mod:`.outlines`, so that loading takes no more memory than a few times the size of the file.

    Args:
        path (str or Path): A file written by :func:`torch.save`.
        map_location (str or :class:`torch.device`): The device that the tensors are loaded to.

    Returns:
        dict

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds objects other than dense tensors and plain
            values, which could run code when loaded; naming where in the file.
        OSError: if the file cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found: expected a file written by torch.save")
    check_outline(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused or accepted here
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} {REFUSED}") from error
    except Exception as error:  # the unpickler fails on noise in ways of its own
        raise ValueError(f"{path} {DAMAGED}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dictionary")
    return content
