"""Options of recipe scripts, as parsed by recipes/musdb18/utils/parse_options.sh."""

import os
import subprocess

import pytest
from helpers import RECIPE

PARSER = RECIPE / "utils" / "parse_options.sh"

SCRIPT = f"""#!/usr/bin/env bash
# Train and evaluate.
#
#   --stage N   where to start

# Not part of the help.
set -euo pipefail
stage=0
tag=
with_eval=true
. {PARSER}
echo "stage=$stage tag=$tag with_eval=$with_eval left=$#"
"""


@pytest.fixture
def run_script(tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(SCRIPT)

    def run(*options):
        return subprocess.run(
            ["bash", script, *options],
            env={**os.environ, "http_proxy": "of the environment"},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], "stage=0 tag= with_eval=true left=0"),
        (["--stage", "2"], "stage=2 tag= with_eval=true left=0"),
        (["--with-eval", "false"], "stage=0 tag= with_eval=false left=0"),
        (["--with_eval", "false", "--stage", "-1"], "stage=-1 tag= with_eval=false left=0"),
        (
            ["--tag", "two  words; $(no) 'q'"],
            "stage=0 tag=two  words; $(no) 'q' with_eval=true left=0",
        ),
        (["--tag", "a", "--tag", ""], "stage=0 tag= with_eval=true left=0"),
    ],
)
def test_options_replace_defaults(run_script, options, expected):
    done = run_script(*options)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stages", "2"], "unknown option '--stages'"),
        (["--stage=2"], "unknown option '--stage=2'"),
        (["--PATH", "/"], "unknown option '--PATH'"),
        (["--http_proxy", "x"], "unknown option '--http_proxy'"),
        (["--two\nlines", "x"], "unknown option $'--two\\nlines'"),
        (["--", "2"], "unknown option '--'"),
        (["--tag[$(touch pwned)]", "2"], "unknown option '--tag[$(touch pwned)]'"),
        (["--stage"], "option '--stage' needs a value"),
        (["--stage", "--tag", "a"], "option '--stage' needs a value"),
        (["--with-eval", "yes"], "option '--with-eval' is true or false, not 'yes'"),
        (["2"], "unexpected argument '2'"),
        (["--stage", "2", "3"], "unexpected argument '3'"),
    ],
)
def test_errors_name_the_option(run_script, options, message):
    done = run_script(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"run.sh: {message} (see --help)\n"


def test_help_is_the_leading_comment_block(run_script):
    done = run_script("--stage", "2", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Train and evaluate.\n\n  --stage N   where to start\n"
