"""Songs on disk, whole, damaged and from ffmpeg, for tests of what reads them."""

import contextlib
import os
import resource
import signal
import subprocess
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def noise(length, channels=2):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (length, channels)).astype(np.float32)


def write(path, samples, rate=44100, **options):
    soundfile.write(os.fsencode(path), samples, rate, **options)
    return Path(path)


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


def joined(path, *parts):
    """Join files as `cat` does."""
    Path(path).write_bytes(b"".join(Path(part).read_bytes() for part in parts))


def halve(path):
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


@contextlib.contextmanager
def full_disk(n_bytes):
    """Within, no file grows beyond `n_bytes`, as if there were no space left."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
