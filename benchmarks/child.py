"""Run a command; print its wall time and processor time in s and its peak memory in MB, as JSON.

This is a process of its own, and a small one, because a system counts the memory of the process
that starts a command as the command's.
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"child.py: {' '.join(sys.argv[1:])} failed")
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # bytes there, KiB on Linux
    figures = {
        "wall": wall,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / unit,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
