"""run.sh with options that make no sense, and wherever it is called from."""

import os
import re
import shutil
import subprocess

import pytest
from helpers import RECIPE

STUB = '#!/usr/bin/env bash\nIFS="|"; echo "CALL $*"\n'


@pytest.fixture
def stub(tmp_path):
    """Stands for Python, and says with what it was called."""
    path = tmp_path / "python"
    path.write_text(STUB)
    path.chmod(0o755)
    return path


@pytest.fixture
def run_sh(stub):
    def run(*options, script=RECIPE / "run.sh", cwd=None, **variables):
        done = subprocess.run(
            ["bash", script, "--python_path", stub, *options],
            cwd=cwd,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        lines = done.stdout.splitlines()
        return done, [line[5:].split("|") for line in lines if line.startswith("CALL ")]

    return run


def is_refused(done, calls, status, message):
    assert (done.returncode, calls, done.stdout) == (status, [], "")
    assert done.stderr == f"run.sh: {message}\n"


@pytest.mark.parametrize("option", ["stage", "stop_stage", "max_steps", "n_tracks", "duration"])
@pytest.mark.parametrize(
    "value", ["tag[$(touch {})]", "$(touch {})", "`touch {}`", "a=$(touch {})"]
)
def test_a_command_in_a_number_does_not_run(tmp_path, run_sh, option, value):
    done, calls = run_sh(f"--{option}", value.format(tmp_path / "made"))
    assert done.returncode == 2 and calls == [] and done.stderr.count("\n") == 1
    assert f"run.sh: --{option} must be a " in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("option", ["stage", "stop_stage"])
@pytest.mark.parametrize(
    "value", ["1.5", "08", "99", "8", "-1", "1 ", "1+1", "0x1", "tag", "٣", "10#1"]
)
def test_a_stage_is_0_to_7(run_sh, option, value):
    message = f"--{option} must be a stage, 0 to 7, got '{value}'"
    is_refused(*run_sh(f"--{option}", value), 2, message)


WHOLE = "a whole number, -1 for no limit"
TAG = "made of letters, digits, ., _ and -, and begin with a letter or digit"
PATH = "a path that does not begin with -"
ROWS = ("--table", "table1", "--rows")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max_steps", "2.5"], f"--max_steps must be {WHOLE}, got '2.5'"),
        (["--max_steps", "010"], f"--max_steps must be {WHOLE}, got '010'"),
        (["--n_tracks", "0"], "--n_tracks must be a whole number of at least 1, got '0'"),
        (["--duration", "nan"], "--duration must be a number of seconds, at least 1, got 'nan'"),
        (["--duration", "0.5"], "--duration must be a number of seconds, at least 1, got '0.5'"),
        (["--tag", "../x"], f"--tag must be {TAG}, got '../x'"),
        (["--tag", "-x"], f"--tag must be {TAG}, got '-x'"),
        (["--tag", "a b"], f"--tag must be {TAG}, got 'a b'"),
        (["--tag", "a\nb"], f"--tag must be {TAG}, got $'a\\nb'"),
        (["--tag", ".."], f"--tag must be {TAG}, got '..'"),
        (["--id", "0;1"], "--id must be GPUs by number or UUID, as 0 or 0,1, got '0;1'"),
        (["--musdb18_dir", "-r"], f"--musdb18_dir must be {PATH}, got '-r'"),
        (["--data_dir", "-r"], f"--data_dir must be {PATH}, got '-r'"),
        (["--conf", "-r"], f"--conf must be {PATH}, got '-r'"),
        (["--musdb18_dir", "/"], "--musdb18_dir '/' names no folder: give a --data_dir as well"),
        (
            ["--musdb18_dir", "a/.."],
            "--musdb18_dir 'a/..' names no folder: give a --data_dir as well",
        ),
        (
            ["--table", "../table1"],
            "--table must be made of a-z, 0-9 and _, got '../table1'",
        ),
        ([*ROWS, "*"], "--rows must be names of rows, in one word, got '*'"),
        (
            [*ROWS, "--exp_root /x"],
            "--rows must be names of rows, in one word, got '--exp_root /x'",
        ),
        (
            ["--table", "table1", "--seeds", "0 x"],
            "--seeds must be whole numbers of at least 0, in one word, got '0 x'",
        ),
        (
            ["--table", "table1", "--shard", "3/2"],
            "--shard must be i/n with i from 1 to n, got '3/2'",
        ),
        (
            ["--table", "table1", "--shard", "0/2"],
            "--shard must be i/n with i from 1 to n, got '0/2'",
        ),
        (
            ["--table", "table1", "--report_row", "stft_b"],
            "--report_row must be a row that is trained, got 'stft_b'",
        ),
        (
            ["--table", "table1", "--stop_stage", "7"],
            "stages 6 and 7 need a --tag, not a --table",
        ),
        (
            ["--train_args", "lr 3"],
            "--train_args must be options that begin with --, in one word, got 'lr 3'",
        ),
        (
            ["--train_args", "--lr 3 --exp_dir=/x"],
            "--exp_dir=/x is not for --train_args or --separator_args: run.sh gives it",
        ),
        (
            ["--python_path", "no such python"],
            "--python_path must be an interpreter that can be run, got 'no such python'",
        ),
        (["--python_path", "/"], "--python_path must be an interpreter that can be run, got '/'"),
        (["--python_path", "if"], "--python_path must be an interpreter that can be run, got 'if'"),
        (["--stages", "2"], "unknown option '--stages' (see --help)"),
        *[
            (
                [f"--{option}", ""],
                "an option has an empty value, which none takes: leave the option out",
            )
            for option in ("stage", "tag", "musdb18_dir", "python_path", "train_args")
        ],
    ],
)
def test_options_that_make_no_sense(run_sh, options, message):
    is_refused(*run_sh(*options), 2, message)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stage", "3", "--stop_stage", "2"], "--stop_stage 2 is before --stage 3"),
        (["--stage", "6"], "--stop_stage 5 is before --stage 6"),
        (
            ["--stage", "5", "--table", "table1", "--shard", "1/2"],
            "the page of stage 5 is left out, with a --shard or of baselines alone",
        ),
    ],
)
def test_a_call_that_does_nothing_says_so(run_sh, options, message):
    is_refused(*run_sh(*options), 1, f"nothing to do: {message}")


def test_words_of_options_are_no_patterns_of_file_names(run_sh):
    options = ["--stage", "2", "--stop_stage", "2", "--train_args", "--bands * --lr ?*"]
    done, calls = run_sh(*options, IFS="|")
    assert done.returncode == 0 and calls[0][-4:] == ["--bands", "*", "--lr", "?*"]


@pytest.mark.parametrize(
    "source, data_dir",
    [("/a/b c/", "b c"), ("it's", "it's"), ("a\\b", "a\\b"), ("$(x)//", "$(x)"), ("é*", "é*")],
)
def test_data_is_named_after_its_source(run_sh, source, data_dir):
    done, calls = run_sh("--musdb18_dir", source, "--stop_stage", "1")
    assert done.returncode == 0, done.stderr
    prepared = ["local/prepare.py", "--data_dir", f"data/prepared_{data_dir}"]
    assert calls[1] == [*prepared, "--musdb18_dir", source]


def test_script_is_found_from_anywhere(tmp_path, run_sh):
    folder = tmp_path / "-a 'b'" / "recipe"
    shutil.copytree(RECIPE / "utils", folder / "utils")
    shutil.copy(RECIPE / "run.sh", folder)
    decoy = tmp_path / "decoy"
    for place in (decoy / "-a 'b'" / "recipe", decoy / "recipe"):
        place.mkdir(parents=True)
    scripts = [
        (tmp_path, "-a 'b'/recipe/run.sh"),
        (folder.parent, "recipe/run.sh"),
        (folder, "run.sh"),
    ]
    for cwd, script in scripts:
        script = script if script[0] != "-" else f"./{script}"
        done, calls = run_sh("--stop_stage", "0", script=script, cwd=cwd, CDPATH=str(decoy))
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Stage 0: get the data")
        assert done.stderr == "" and calls == [["local/get_data.py"]]
        done, _ = run_sh("--help", script=script, cwd=cwd, CDPATH=str(decoy))
        assert done.returncode == 0 and done.stdout.startswith("Train the denoising auto-encoder")


def test_the_page_has_the_separators_that_are_there(tmp_path, run_sh):
    folder = tmp_path / "recipe"
    shutil.copytree(RECIPE / "utils", folder / "utils")
    shutil.copytree(RECIPE / "local", folder / "local")
    shutil.copy(RECIPE / "run.sh", folder)
    separators = folder / "exp" / "train_separator_t"
    (separators / "pair" / "checkpoints").mkdir(parents=True)  # a training that was cut off

    def pages(*options):
        done, calls = run_sh("--stage", "5", *options, script=folder / "run.sh")
        assert done.returncode == 0, done.stderr
        return [call[1:] for call in calls]

    where = ["--exp_dir", "exp/train_sinudae_t", "--data_dir", "data/prepared_excerpt"]
    assert pages("--tag", "t") == [where]
    (separators / "pair" / "best_model.pth").touch()
    assert pages("--tag", "t") == [[*where, "--separators", "exp/train_separator_t"]]
    other = ["--exp_dir", "exp/train_sinudae_u", *where[2:]]
    assert pages("--tag", "u") == [other]
    (page,) = pages("--tag", "t", "--table", "table1")
    assert "--separators" not in page and "--tables" in page


def test_a_stage_that_fails_is_the_last(run_sh, stub):
    stub.write_text(STUB + "[[ $1 != *prepare.py ]] || exit 3\n")
    done, calls = run_sh("--data_dir", "d")
    assert done.returncode == 3 and [call[0] for call in calls] == [
        "local/get_data.py",
        "local/prepare.py",
    ]
    stub.write_text(STUB + "[[ $1 != compare.py ]] || exit 4\n")
    done, calls = run_sh("--data_dir", "d")
    assert done.returncode == 4 and calls[-1][0] == "compare.py"


def test_switches_are_passed_on(run_sh):
    done, calls = run_sh("--download", "true", "--strict", "true", "--stop_stage", "1")
    assert calls[0] == ["local/get_data.py", "--musdb18_dir", "data/musdb18-7", "--download"]
    assert calls[1][-1] == "--strict" and calls[1][2] == "data/prepared_musdb18-7"
    done, calls = run_sh("--stereo", "true", "--stage", "1", "--stop_stage", "1")
    assert calls[0][-1] == "--stereo"
    done, calls = run_sh("--musdb18_dir", "music_", "--strict", "false", "--stop_stage", "1")
    assert calls[1] == ["local/prepare.py"] + [
        *("--data_dir", "data/prepared_music_", "--musdb18_dir", "music_")
    ]


def test_help_names_every_option(run_sh):
    done, _ = run_sh("--help")
    script = (RECIPE / "run.sh").read_text()
    options = re.findall(r"^([a-z0-9_]+)=", script, re.MULTILINE)
    assert len(options) == 23 and len(script.splitlines()) < 150
    assert [name for name in options if f"--{name}" not in done.stdout] == []


def test_variables_of_the_environment_are_no_options(run_sh):
    variables = dict(stage="7", tag="x", exp_dir="/x", began="true", POSIXLY_CORRECT="1")
    done, calls = run_sh("--stage", "2", "--stop_stage", "2", **variables)
    assert done.returncode == 0 and calls[0][4] == "exp/train_sinudae_paper"
