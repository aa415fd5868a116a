import os
import signal
import subprocess
import sys

import pytest
import torch

from asteroid_sinudae.utils.errors import attempt, one_line, terminations_interrupt

HINT = " (SINUDAE_TRACEBACK=1 shows where)"


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    "error, outcome",
    [
        (ValueError("n must be 1,\n got 2"), (1, "n must be 1, got 2")),
        (FileNotFoundError(2, "a.wav not found"), (1, "a.wav not found")),
        (MemoryError(), (1, "out of memory: no message")),
        (torch.OutOfMemoryError("CUDA: 8 GiB"), (1, "out of memory: CUDA: 8 GiB")),
        (RuntimeError("x: can't allocate memory"), (1, "out of memory: x: can't allocate memory")),
        (KeyboardInterrupt(), (130, "interrupted")),
        (KeyError("a"), (1, f"unexpected KeyError: 'a'{HINT}")),
        (RecursionError("deep"), (1, f"unexpected RecursionError: deep{HINT}")),
    ],
)
def test_failure_is_one_line(error, outcome):
    assert attempt(raising(error)) == outcome


def test_success_says_nothing():
    assert attempt(lambda: None) == (0, "")


def test_traceback_of_our_own_mistakes_on_demand(monkeypatch):
    monkeypatch.setenv("SINUDAE_TRACEBACK", "1")
    with pytest.raises(KeyError):
        attempt(raising(KeyError("a")))
    assert attempt(raising(ValueError("theirs"))) == (1, "theirs")


def test_number_of_an_os_error_is_left_out():
    assert one_line(OSError(28, "disk full")) == "disk full"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_read_no_more_ends_quietly(unbuffered):
    code = "from asteroid_sinudae.utils.errors import attempt; import sys; "
    code += "outcome = attempt(lambda: [print(number) for number in range(10**5)]); "
    code += "print(outcome.line, end='', file=sys.stderr); sys.exit(outcome.status)"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_other_pipe_that_breaks_is_told():
    assert attempt(raising(BrokenPipeError(32, "Broken pipe"))) == (1, "Broken pipe")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminations_interrupt(number):
    before = signal.signal(number, signal.SIG_DFL)  # it may be ignored here, by nohup
    try:
        with pytest.raises(KeyboardInterrupt), terminations_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with terminations_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_paths_that_the_terminal_cannot_show_are_escaped():
    code = (
        "from asteroid_sinudae.utils.errors import attempt\n"
        "attempt(lambda: print('\\u2603', '\\udcff'))"
    )
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert (run.returncode, run.stdout) == (0, b"\\u2603 \\udcff\n"), run.stderr
