"""Times of what runs side by side: wall clock on a CPU, events on a GPU."""

import random
import time
from collections.abc import Callable

import torch

from asteroid_sinudae.utils.progress import progress

Lap = Callable[[str], None]


class Stopwatch:
    """Times of the parts of one run.

    Args:
        device (:class:`torch.device`): Where they run.
    """

    def __init__(self, device: torch.device):
        self.is_cuda = device.type == "cuda"
        self.names: list[str] = []
        self.stamps = [self._stamp()]

    def _stamp(self):
        if not self.is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def lap(self, name: str) -> None:
        """End the part that began with the last lap."""
        self.names.append(name)
        self.stamps.append(self._stamp())

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part, and those until now as `total`."""
        end = self._stamp()
        if self.is_cuda:
            torch.cuda.synchronize()
        pairs = zip(self.names, self.stamps[:-1], self.stamps[1:], strict=True)
        parts = {name: self._between(first, last) for name, first, last in pairs}
        return {**parts, "total": self._between(self.stamps[0], end)}

    def _between(self, start, end) -> float:
        return start.elapsed_time(end) / 1e3 if self.is_cuda else end - start


def interleaved(
    runs: dict[str, Callable[[Lap], None]], rounds: int, device: torch.device, title: str
) -> list[dict]:
    """Run everything once a round, in an order of chance, so that a slow minute is everyone's.

    Args:
        runs (dict): Functions of :meth:`Stopwatch.lap`, by name, that call it after each part.
        rounds (int): Number of rounds that count, after a first one that does not.
        device (:class:`torch.device`): Where they run.
        title (str): Title of the progress bar.

    Returns:
        list of dict with `run`, `part` and `seconds`, one a round and part
    """
    rows = []
    for number in progress(range(rounds + 1), title, unit="round", leave=False):
        for name, run in random.sample(list(runs.items()), len(runs)):
            watch = Stopwatch(device)
            run(watch.lap)
            parts = watch.seconds()
            if number > 0:
                rows += [{"run": name, "part": part, "seconds": s} for part, s in parts.items()]
    return sorted(rows, key=lambda row: list(runs).index(row["run"]))
