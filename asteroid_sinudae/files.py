"""Files that appear whole or not at all, and model files that cannot run code."""

import contextlib
import errno
import os
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file that takes the place of `path` when the block ends without error.

    The temporary file is in the same folder, which is made if need be, so that the last step is
    one rename.

    Args:
        path (str or Path): The file to write or replace.

    Raises:
        OSError: naming `path`, if it cannot be written (no space, no permission).

    Examples
        >>> with atomic_path(tempfile.gettempdir() + "/numbers.txt") as temporary:
        ...     _ = temporary.write_text("1 2 3")
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask; reading it means setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_atomically(obj: object, path: str | Path) -> None:
    """:func:`torch.save` to a file that appears whole or not at all.

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


def load_safely(path: str | Path, map_location: object = "cpu") -> dict:
    """:func:`torch.load` of a dictionary of tensors and plain values, and of nothing else.

    Args:
        path (str or Path): A file written by :func:`torch.save`.
        map_location (object): Where the tensors go, as in :func:`torch.load`.

    Returns:
        dict

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds objects other than tensors and plain values,
            which could run code when loaded.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found: expected a file written by torch.save")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is damaged, or holds objects other than tensors and plain "
            "values, which could run code when loaded"
        ) from error
    except Exception as error:  # the unpickler fails on noise in ways of its own
        raise ValueError(f"{path} is damaged or not a file written by torch.save") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dictionary")
    return content
