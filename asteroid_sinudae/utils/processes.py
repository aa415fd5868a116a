"""Processes that do not outlive the one that started them."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends; on Linux only.

    Call it first in a worker process: one of a pool waits for work forever where its parent was
    killed.

    Args:
        parent (int): Process number of the parent, :func:`os.getpid` there.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
