"""Jobs of a table: their order, their shares, and the processes that do them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import RECIPE, is_running
from made_results import BASE, SOURCE, Runner, jobs_of, table_of

from asteroid_sinudae.runs import declaration, processes, results
from asteroid_sinudae.runs import jobs as jobs_module
from asteroid_sinudae.utils import locks

# Jobs


def test_jobs_are_a_run_of_every_row_before_the_next_run(tmp_path, small):
    _, (baseline,), jobs = jobs_of(small, tmp_path, seeds=(3, 1), lr=0.5, stft_stride=512)
    assert [str(job) for job in jobs] == [
        "plain seed 3",
        "squared seed 3",
        "plain seed 1",
        "squared seed 1",
    ]
    assert jobs[0].run.folder == tmp_path / "exp" / "table" / "plain_seed3"
    expected = declaration.override(
        BASE,
        dict(lr=0.5, n_filters=8, tv_weight=0.0, sort=False, decoder="conv", seed=3),
    )
    expected["baseline"]["stft_stride"] = 512
    assert jobs[0].conf == expected and jobs[1].conf["filterbank"]["decoder"] == "mod_cos"
    assert (
        str(baseline) == "stft_plain" and baseline.run.folder == tmp_path / "exp/table/stft_plain"
    )
    assert baseline.conf == {  # what its figures depend on
        "data": {"segment": 44100},
        "baseline": {"stft_n_fft": 2048, "stft_stride": 512, "stft_window": "hamming"},
    }


def test_a_job_is_trained_from_a_file(tmp_path, small, data_dir, monkeypatch):
    bands = "64x4:22050"
    _, _, jobs = jobs_of(small, tmp_path, lr=1e-7, max_steps=7, precision="32", bands=bands)
    runner, run = Runner(), jobs[0].run
    run.folder.mkdir(parents=True)
    run.conf_file.write_text("of what is there already")
    monkeypatch.setattr(jobs_module, "run_script", runner)
    source = results.describe_source(SOURCE)
    assert jobs_module.run_jobs(jobs[:1], RECIPE, data_dir, source) == {}
    where = ["--exp_dir", str(run.folder), "--data_dir", str(data_dir)]
    assert runner.words[0] == ["train.py", *where, "--conf", str(run.job_file)]
    assert runner.confs[run.folder] == jobs[0].conf
    assert run.conf_file.read_text() == "of what is there already"


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_shards_share_the_jobs(tmp_path, run_tables, parts):
    shares = []
    for part in range(1, parts + 1):
        runner = Runner()
        run_tables("--shard", f"{part}/{parts}", runner=runner)
        shares.append([folder for script, folder in runner.calls if script == "eval.py"])
    order = [f"{row}_seed{seed}" for seed in (0, 1, 2) for row in ("plain", "squared")]
    order.insert(0, "stft_plain")
    assert shares == [order[part::parts] for part in range(parts)]
    assert list(table_of(tmp_path)["Runs"]) == [3, 3, 1]


# Processes and locks


@pytest.fixture
def run_python(tmp_path):
    """Run lines of Python as a script."""

    def run(code, *arguments):
        script = tmp_path / "script.py"
        script.write_text(code)
        with locks.locked(tmp_path / ".lock") as lock:
            processes.run_script(script, arguments, lock)

    return run


def test_output_of_a_script_passes_through(tmp_path, run_python, capfd):
    code = "import sys; print('out'); sys.stderr.write('50 %\\r100 %\\n'); open(sys.argv[1], 'w')"
    run_python(code, str(tmp_path / "made"))
    assert (tmp_path / "made").exists() and capfd.readouterr().out == "out\n"


@pytest.mark.parametrize(
    "code, message",
    [
        ("import sys; sys.exit('50 %\\r100 %\\nscript.py: no data\\n\\n')", "^script.py: no data$"),
        ("print('x' * 10**5); raise ValueError('é')", "^ValueError: é$"),
        ("raise SystemExit(3)", "^script.py ended with status 3$"),
        ("import os; os.kill(os.getpid(), 9)", "^script.py was killed by SIGKILL$"),
        ("import sys; sys.stderr.write('x' * 10**6 + '\\nend'); sys.exit(1)", "^end$"),
    ],
)
def test_failed_script_says_why_in_its_last_line(run_python, code, message):
    with pytest.raises(ValueError, match=message):
        run_python(code)


WAITS = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def start_waiting(tmp_path):
    """A process that runs a script that waits: the process, and the script's number."""
    script, started = tmp_path / "script.py", tmp_path / "started"
    script.write_text(WAITS)
    code = (
        "import sys; from pathlib import Path\n"
        "from asteroid_sinudae.runs.processes import run_script\n"
        "from asteroid_sinudae.utils.locks import locked\n"
        "with locked(Path(sys.argv[1])) as lock: run_script(Path(sys.argv[2]), sys.argv[3:], lock)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / ".lock", script, started],
        cwd=RECIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not (started.exists() and started.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(started.read_text())


@pytest.mark.skipif(not processes._dying_with_parent(), reason="needs setpriv of util-linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_script_dies_with_the_process_that_runs_it(tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as in a shell's background")
    process, pid = start_waiting(tmp_path)
    assert is_running(pid)
    process.send_signal(number)
    process.wait(20)
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)
    with locks.locked(tmp_path / ".lock", seconds=5.0):
        pass


def test_script_left_over_holds_its_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no setpriv
    process, pid = start_waiting(tmp_path)
    process.kill()
    process.wait()
    try:
        assert is_running(pid)
        with pytest.raises(BlockingIOError, match=".lock is held by process"):
            with locks.locked(tmp_path / ".lock", seconds=0.0):
                pass
    finally:
        os.kill(pid, signal.SIGKILL)
    with locks.locked(tmp_path / ".lock", seconds=5.0):  # waits for its end
        pass
