"""Scripts that run as processes of their own, and folders that only one process works in."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

LOCK_SECONDS = 10.0  # longer than a script's helpers live on after it was killed
TAIL = 4096  # bytes of a script's stderr that are kept


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Hold a file's lock, which ends with the processes that hold it, however they end.

    Args:
        path (Path): The file, made if need be.
        seconds (float): How long to wait for another holder.

    Yields:
        int: the file's descriptor; a process that inherits it holds the lock as well.

    Raises:
        BlockingIOError: if another process holds the lock all this time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise BlockingIOError(
                        error.errno, f"{path} is held by another process"
                    ) from error
                time.sleep(0.1)
        yield file.fileno()


def run_script(script: Path, arguments: Sequence[str], lock: int) -> None:
    """Run a Python script, which dies with this process, and pass its output through.

    Call it in the main thread: on Linux the script ends with the thread that started it.

    Args:
        script (Path): To run by this interpreter.
        arguments (sequence of str): Its options.
        lock (int): Descriptor from :func:`locked`, which the script then holds as well.

    Raises:
        ValueError: if it fails, with the last line that it wrote to stderr.
    """
    command = [*_dying_with_parent(), sys.executable, str(script), *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[lock]
    )
    tail = bytearray()
    reader = threading.Thread(target=_pass_on, args=(process.stderr, tail), daemon=True)
    reader.start()
    try:
        status = process.wait()
    finally:
        process.kill()  # where this process was interrupted; a training can be cut anywhere
        process.wait()
        reader.join(LOCK_SECONDS)
    if status:
        raise ValueError(_reason(script.name, status, tail))


@cache
def _dying_with_parent() -> tuple[str, ...]:
    """Words before a command that make the kernel kill it with this process, where there are any.

    Without them a script that is left over holds its lock until it ends.
    """
    words = ("setpriv", "--pdeathsig", "KILL")
    if not shutil.which(words[0]):  # not Linux
        return ()
    works = subprocess.run([*words, "true"], capture_output=True).returncode == 0
    return words if works else ()  # BusyBox has another setpriv


def _pass_on(pipe, tail: bytearray) -> None:
    """Copy a pipe to stderr as it comes, so that progress is seen, and keep its end."""
    with pipe:
        while chunk := os.read(pipe.fileno(), TAIL):
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
            tail += chunk
            del tail[:-TAIL]


def _reason(name: str, status: int, tail: bytearray) -> str:
    """One line on why a script failed."""
    if status < 0:
        return f"{name} was killed by {signal.Signals(-status).name}"
    lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"{name} ended with status {status}"
