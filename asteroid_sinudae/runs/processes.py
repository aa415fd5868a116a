"""Scripts that run as processes of their own, and folders of runs, which one process works in."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from ..utils.locks import LOCK_SECONDS, locked

TAIL = 4096  # bytes of a script's stderr that are kept
RUN_SECONDS = 2.0  # for what a killed training has started to end


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder of a run while it is trained or evaluated; `.run` in it says who does.

    It is another lock than that of a table's job, which holds `.lock` over training and evaluation.

    Raises:
        BlockingIOError: naming the holder, if another process holds it.
        OSError: naming the folder, if it cannot be written.
    """
    path, is_new = folder / ".run", not folder.exists()
    with contextlib.ExitStack() as stack:
        while True:
            try:
                handle = stack.enter_context(locked(path, RUN_SECONDS))
            except BlockingIOError:
                raise
            except OSError as error:
                reason = error.strerror or error
                raise OSError(error.errno, f"cannot write {folder}: {reason}") from error
            if os.fstat(handle).st_nlink:
                break
            stack.close()  # its holder has removed it: another may hold a new one
        if is_new:
            stack.callback(_remove_empty, folder)
        stack.callback(path.unlink, missing_ok=True)
        yield


def _remove_empty(folder: Path) -> None:
    """Remove a folder in which nothing came to be."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def run_script(script: Path, arguments: Sequence[str], lock: int) -> None:
    """Run a Python script, which dies with this process, and pass its output through.

    Call it in the main thread: on Linux the script ends with the thread that started it.

    Args:
        script (Path): The script, to be run by this interpreter.
        arguments (sequence of str): The options of the script.
        lock (int): Descriptor from :func:`.locked`, which the script then holds as well.

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
    """Return words that, before a command, make the kernel kill it with this process, if any.

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
    """Say in one line why a script failed."""
    if status < 0:
        return f"{name} was killed by {signal.Signals(-status).name}"
    lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"{name} ended with status {status}"
