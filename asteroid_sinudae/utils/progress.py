"""Progress of long work: a bar in a terminal, elsewhere a plain line every few seconds."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

SECONDS = 5.0  # between two lines

Item = TypeVar("Item")


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream, such as `sys.stderr`, is a terminal, where a bar can be redrawn."""
    return stream is not None and stream.isatty()


class Lines:
    """Writes plain lines to stderr, for logs: one every few seconds, and one at the end.

    What ends within the first few seconds writes nothing, and the end nothing right after a line.
    """

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.start

    def write(self, describe: Callable[[], str], is_end: bool = False) -> None:
        """Write a line if it is time for one, or if it is the end and others came before it.

        Args:
            describe (callable): Makes the line, and is called only if it is written.
            is_end (bool): True once the work has ended.
        """
        now = time.monotonic()
        is_old = now - self.last >= SECONDS / 5 and self.last > self.start
        if now - self.last >= SECONDS or (is_end and is_old):
            self.last = now
            if sys.stderr is not None:
                print(describe(), file=sys.stderr, flush=True)


def progress(
    items: Iterable[Item],
    label: str,
    total: float | None = None,
    *,
    initial: int = 0,
    unit: str = "it",
    size: Callable[[Item], float] = lambda item: 1,
    bar_format: str | None = None,
    leave: bool = True,
) -> Iterator[Item]:
    """Pass items on, with a bar on stderr if that is a terminal, or else with :class:`Lines`.

    Args:
        items (iterable): What is worked on, an item at a time.
        label (str): What is done.
        total (float, optional): Size of all items; by default their number, if they have one.
        initial (int): Size of what was done before.
        unit (str): What sizes are counted in.
        size (callable): Size of an item; 1 by default.
        bar_format (str, optional): Format of the bar, see tqdm.
        leave (bool): Whether the bar stays when the work has ended.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if is_terminal(sys.stderr):
        with tqdm(
            desc=label, total=total, initial=initial, unit=unit, bar_format=bar_format, leave=leave
        ) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    done, whole, lines = float(initial), None if total is None else math.ceil(total), Lines()

    def describe() -> str:
        return tqdm.format_meter(
            round(done),
            whole,  # type: ignore[arg-type]  # None is allowed
            lines.seconds,
            ncols=0,  # no bar
            prefix=label,
            unit=unit,
            initial=initial,
        )

    for item in items:
        yield item
        done += size(item)
        lines.write(describe)
    lines.write(describe, is_end=True)
