"""Failures of commands, told to the person at the terminal in one line."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

TERMINATIONS = ("SIGTERM", "SIGHUP")
INTERRUPTED = 130  # exit status
UNREAD = 141  # exit status, as of a process that ends by SIGPIPE
TRACEBACK = "SINUDAE_TRACEBACK"  # environment variable


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        status (int): Exit status: 0, 1 after a failure, 130 after an interruption, 141 if nobody
            reads the output any more.
        line (str): The reason of a failure, on one line; empty if it did not fail.
    """

    status: int
    line: str = ""


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line, without the number of an OSError."""
    message = str(error).removeprefix(f"[Errno {getattr(error, 'errno', None)}] ")
    return " ".join(message.split())


def first_sentence(error: BaseException) -> str:
    """Return how the message of an exception begins, as those of PyTorch may go on for pages.

    Examples
        >>> first_sentence(RuntimeError("Found no driver. Please check that you have one"))
        'Found no driver'
    """
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line.partition(". ")[0].rstrip(".")


def printable(text: str | Path) -> str:
    """Return a path, or a message with paths, as valid UTF-8, with escapes for other bytes."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def attempt(function: Callable[[], object]) -> Outcome:
    """Run the function behind a command, and turn an exception into one line.

    A ValueError or an OSError is a mistake that the user can mend, and its message says how. Any
    other exception is a fault of this package: the line names its type, and with the environment
    variable SINUDAE_TRACEBACK set, the exception is raised instead. SIGTERM and SIGHUP interrupt as
    Ctrl-C does, so that files that are half written are removed. Output that the terminal cannot
    show is escaped. When the reader of the output has ended, as `head` does, the function ends too,
    and there is no line.

    Args:
        function (callable): The function to call, which takes no arguments.

    Returns:
        Outcome
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a caller may have put another object there
            stream.reconfigure(errors="backslashreplace")
    try:
        with terminations_interrupt():
            function()
            print(end="", flush=True)  # here, where it is known what to do if this fails
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "interrupted")
    except BrokenPipeError as error:
        if not _is_unread(1):  # another pipe
            return Outcome(1, one_line(error))
        # What is still to be written would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Outcome(UNREAD)
    except (ValueError, OSError) as error:
        return Outcome(1, one_line(error) or type(error).__name__)
    except Exception as error:
        if _is_out_of_memory(error):
            return Outcome(1, f"out of memory: {one_line(error) or 'no message'}")
        if os.environ.get(TRACEBACK):
            raise
        name = type(error).__name__
        return Outcome(1, f"unexpected {name}: {one_line(error)} ({TRACEBACK}=1 shows where)")
    return Outcome(0)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; PyTorch, which this module does not import, says so in its ways."""
    is_of_gpu = type(error).__name__ == "OutOfMemoryError"
    is_of_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or is_of_gpu or is_of_cpu


def _is_unread(descriptor: int) -> bool:
    """Whether a descriptor is a pipe that has no reader any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@contextlib.contextmanager
def terminations_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise a KeyboardInterrupt while the block runs.

    Signals that are ignored (by nohup) or that have a handler already are left alone. So is
    everything outside of the main thread, where Python cannot handle signals. A child process that
    was forked inside the block ends as it would without this handler.
    """
    process = os.getpid()

    def interrupt(number, frame):
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    changed = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in TERMINATIONS if hasattr(signal, name)]
        changed = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
