"""Progress in a terminal and in a log."""

import os
import pty
import select
import sys
import termios
from contextlib import contextmanager

import pytest

from asteroid_sinudae.utils import progress as module
from asteroid_sinudae.utils.progress import Lines, progress


class Clock:
    """Stands for the module `time`, and goes on by hand."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@contextmanager
def terminal(name):
    """Replace a stream of `sys` by a terminal, and yield what it shows, once it is left."""
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    os.set_blocking(main, False)
    shown = []
    with os.fdopen(main, "rb", buffering=0) as end, pytest.MonkeyPatch.context() as patch:
        with os.fdopen(side, "w") as stream:
            patch.setattr(sys, name, stream)
            yield shown
            stream.flush()
            parts = []  # a terminal gives what was written in parts, the last ones a little later
            while select.select([end], [], [], 1.0)[0]:
                parts.append(end.read(100_000) or b"")
            shown.append(b"".join(parts).decode())


def work(clock, items, seconds, *arguments, **options):
    """Take `seconds` for each item; return the items."""
    found = []
    for item in progress(items, *arguments, **options):
        found.append(item)
        clock.now += seconds
    return found


def test_a_log_has_a_line_every_few_seconds(clock, capsys):
    assert work(clock, range(1000), 0.125, "Reading", unit="file") == list(range(1000))
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert "\r" not in err and len(lines) == 1000 * 0.125 / 5
    assert all(line.startswith("Reading: ") for line in lines)
    assert "  4%" in lines[0] and " 40/1000 " in lines[0]
    assert "100%" in lines[-1] and " 1000/1000 [02:05<00:00" in lines[-1] and "file" in lines[-1]


def test_what_is_done_soon_says_nothing(clock, capsys):
    work(clock, range(40), 0.1, "Reading")
    assert capsys.readouterr().err == ""


def test_a_stream_of_unknown_length_and_items_of_other_sizes(clock, capsys):
    work(clock, iter("abc"), 5.0, "song.wav", 6.6, initial=1, unit="s", size=lambda _: 1.75)
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == [
        "3/7",
        "4/7",
        "6/7",
    ]
    work(clock, iter("abc"), 5.0, "Waiting")
    assert capsys.readouterr().err.splitlines()[0].startswith("Waiting: 1it [00:05")


def test_a_terminal_has_a_bar():
    with terminal("stderr") as parts:
        assert list(progress("abc", "Reading", unit="file")) == ["a", "b", "c"]
    (shown,) = parts
    assert shown.startswith("\rReading:   0%|") and "| 3/3 [" in shown
    assert shown.count("\n") == 1


def test_a_line_is_made_only_if_it_is_written(clock, capsys):
    lines = Lines()
    made = []

    def write(text, is_end=False):
        lines.write(lambda: made.append(text) or text, is_end)

    write("at once")
    write("at once", is_end=True)
    clock.now += 4.9
    write("too soon")
    clock.now += 0.1
    write("first")
    write("too soon after it")
    write("too soon for an end", is_end=True)
    clock.now += 1.0
    write("last", is_end=True)
    assert made == ["first", "last"] and capsys.readouterr().err == "first\nlast\n"


def test_without_stderr_nothing_is_written(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert work(clock, range(3), 5.0, "Reading") == [0, 1, 2]
    assert capsys.readouterr().out == ""
