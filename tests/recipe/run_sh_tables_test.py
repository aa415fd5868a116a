"""What run.sh runs for a table, and for one training."""

import subprocess

import pytest
from helpers import RECIPE


@pytest.fixture
def run_sh(tmp_path):
    """Calls of Python that run.sh makes, by the name of the script."""
    stub = tmp_path / "python"
    stub.write_text('#!/usr/bin/env bash\nIFS="|"; echo "CALL $*"\n')
    stub.chmod(0o755)

    def run(*options):
        command = [RECIPE / "run.sh", "--python_path", stub, "--data_dir", "data", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line[5:].split("|") for line in done.stdout.splitlines() if line[:5] == "CALL "]
        return done, {words[0]: words[1:] for words in lines}

    return run


def test_run_sh_runs_a_table(run_sh):
    done, calls = run_sh("--table", "table2")
    assert done.returncode == 0, done.stderr
    assert list(calls) == ["local/get_data.py", "local/prepare.py", "tables.py", "report.py"]
    common = ["--table", "table2", "--conf", "local/conf.yml", "--data_dir", "data"]
    assert calls["tables.py"] == common
    assert calls["report.py"][:4] == ["--exp_dir", "exp/table2/c800_am_seed0", "--data_dir", "data"]

    options = ["--rows", "c400_av c400_am", "--seeds", "1 2", "--max_steps", "5", "--stage", "2"]
    done, calls = run_sh("--table", "table2", "--train_args", "--lr 1.0e-3", *options)
    words = "--rows c400_av c400_am --seeds 1 2 --lr 1.0e-3 --max_steps 5".split()
    assert calls["tables.py"] == [*common, *words]
    assert calls["report.py"][1] == "exp/table2/c400_av_seed1"

    assert run_sh("--table", "table3")[1]["report.py"][1] == "exp/table3/s256_tv_seed0"
    rows = ["--rows", "stft_4096_768 s512_tv s512_untrained"]
    assert run_sh("--table", "table3", *rows)[1]["report.py"][1] == "exp/table3/s512_tv_seed0"
    done, calls = run_sh("--table", "table3", "--rows", "stft_4096_768", "--museval", "true")
    assert done.returncode == 0 and list(calls)[2:] == ["tables.py"]
    assert done.stderr == "run.sh: note: without a --report_row there is no museval and no page\n"

    assert run_sh("--table", "table1")[1]["report.py"][1].endswith("/conv_modcos_squared_seed0")
    one = ["--stage", "5", "--report_row", "c400_am", "--rows", "c400_av"]
    calls = run_sh("--table", "table2", *one)[1]
    assert calls["report.py"][1] == "exp/table2/c400_am_seed0" and list(calls) == ["report.py"]
    assert calls["report.py"][4] == "--tables"
    assert run_sh("--experiment", "table2")[1] == run_sh("--table", "table2")[1]  # as it was before
    done, calls = run_sh("--table", "no_table")  # which tables.py refuses
    assert calls["tables.py"][1] == "no_table" and "report.py" not in calls

    done, calls = run_sh("--table", "table1", "--shard", "2/3", "--stage", "2")
    assert calls["tables.py"][-2:] == ["--shard", "2/3"] and list(calls) == ["tables.py"]


def test_run_sh_runs_one_training(run_sh):
    done, calls = run_sh("--max_steps", "5", "--museval", "true", "--n_tracks", "2")
    assert done.returncode == 0, done.stderr
    assert [script for script in calls if "/" not in script] == [
        "train.py",
        "eval.py",
        "eval_museval.py",
        "compare.py",
        "report.py",
    ]
    where = ["--exp_dir", "exp/train_sinudae_paper", "--data_dir", "data"]
    assert calls["train.py"] == ["--conf", "local/conf.yml", *where, "--max_steps", "5"]
    assert calls["eval_museval.py"] == [*where, "--n_tracks", "2"]
    assert calls["report.py"] == where
    assert "eval_museval.py" not in run_sh()[1]


@pytest.mark.parametrize("option", ["--rows", "--seeds", "--shard", "--report_row"])
def test_run_sh_refuses_options_of_a_table_without_one(run_sh, option):
    done, calls = run_sh(option, "1/1" if option == "--shard" else "1")
    assert done.returncode == 2 and calls == {}
    assert done.stderr == "run.sh: --rows, --seeds, --shard and --report_row need a --table\n"
