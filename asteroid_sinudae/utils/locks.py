"""Locks on files, so that only one process at a time works in a folder."""

import contextlib
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

_OPENING = "process "
LOCK_SECONDS = 10.0  # longer than a process's helpers live on after it was killed


@contextlib.contextmanager
def locked(path: str | Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Hold a lock on a file; the system releases it when the process ends, however it ends.

    Args:
        path (str or Path): The file, made if need be. Its text tells who holds the lock.
        seconds (float): How long to wait while another process holds the lock.

    Yields:
        int: the file's descriptor; a process that inherits it holds the lock as well.

    Raises:
        BlockingIOError: naming the holder, if another process still holds the lock after that.
        ValueError: if the file is a user's: its content is not a lock's, or it has another name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    # Never through a link: what it leads to may be a user's file.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "r+", encoding="utf-8", errors="backslashreplace") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = " ".join(file.read().split()) or "another process"
                    message = f"{path} is held by {holder}: wait for its end, or stop it"
                    raise BlockingIOError(error.errno, message) from error
                time.sleep(0.1)
        file.seek(0)
        is_lock = file.read(len(_OPENING)) in ("", _OPENING)
        # One that was removed when it was released has no name.
        if not is_lock or os.fstat(file.fileno()).st_nlink > 1:
            raise ValueError(f"{path} is no lock, and is in the way of one: move it")
        file.seek(0)
        file.truncate()
        file.write(_this_process())
        file.flush()
        yield file.fileno()


def _this_process() -> str:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if len(command) > 200:
        command = f"{command[:200]}…"
    return f"{_OPENING}{os.getpid()} on {socket.gethostname()} ({command}) since {since}\n"
