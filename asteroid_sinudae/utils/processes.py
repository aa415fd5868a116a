"""Processes that do not outlive the one that started them."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. It has no effect outside of Linux.

    A worker process calls this first: the workers of a pool would wait for work forever after
    their parent was killed.

    Args:
        parent (int): Process number of the parent, as its :func:`os.getpid` returns it.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
