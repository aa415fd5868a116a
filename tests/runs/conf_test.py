"""Configurations: what YAML and the command line may say, and what no machine could do."""

import importlib
import math
import os
import sys
from pathlib import Path

import pytest
import yaml
from helpers import RECIPE
from mutations import mutated_bytes, mutated_values

from asteroid_sinudae.data.tracks import Track
from asteroid_sinudae.runs import conf, declaration, limits, representations
from asteroid_sinudae.runs.folder import Run

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(RECIPE))
    scripts = importlib.import_module("utils.scripts")

BASE = conf.read_yaml(scripts.BASE_CONF)
SEPARATOR = conf.read_yaml(RECIPE / "local" / "conf_separator.yml")
TABLES = RECIPE / "local" / "tables.yml"


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "conf.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return conf.read_conf(path, BASE)

    return read_text


@pytest.fixture
def from_options(monkeypatch):
    def parse(*options):
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, options)])
        return scripts.parse_args_with_conf(scripts.Parser("Train."))

    return parse


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        (".5", 0.5),
        ("2", 2.0),
        ("1_000.5", 1000.5),
        ("1.e+2", 100.0),
    ],
)
def test_numbers_are_read_as_numbers(read, from_options, text, value):
    found = read(f"optim:\n  lr: {text}\n")["optim"]["lr"]
    assert (type(found), found) == (float, value)
    args, whole = from_options(f"--lr={text}")
    assert whole["optim"]["lr"] == value and args.given == {"lr"}


@pytest.mark.parametrize(
    "text, value",
    [("no", False), ("No", False), ("false", False), ("yes", True), ("on", True), ("true", True)],
)
def test_truth_is_read_as_truth(read, text, value):
    assert read(f"objective: {{sort: {text}}}")["objective"]["sort"] is value


@pytest.mark.parametrize("text, value", [("no", False), ("0", False), ("True", True), ("y", True)])
def test_truth_of_options_is_that_of_asteroid(from_options, text, value):
    assert from_options("--sort", text)[1]["objective"]["sort"] is value


BOOL, INT, FLOAT = "a valid boolean", "a valid integer", "a valid number"


@pytest.mark.parametrize(
    "group, key, text, expected, got",
    [
        ("objective", "sort", "'no'", BOOL, "'no'"),
        ("objective", "sort", "1", BOOL, "1"),
        ("data", "matched", "maybe", BOOL, "'maybe'"),
        ("optim", "lr", "true", FLOAT, "True"),
        ("optim", "lr", "1e-4x", FLOAT, "'1e-4x'"),
        ("optim", "lr", "1:30.5", FLOAT, "'1:30.5'"),
        ("optim", "lr", ".nan", "a finite number", "nan"),
        ("optim", "lr", "-.inf", "a finite number", "-inf"),
        ("optim", "lr", "1e999", "a finite number", "inf"),
        ("optim", "lr", "1e300", "less than or equal to 34" + 37 * "0", "1e+300"),
        ("optim", "lr", "null", FLOAT, "None"),
        ("optim", "lr", "[1.0e-4]", FLOAT, "[0.0001]"),
        ("optim", "lr", "{a: 1}", FLOAT, "{'a': 1}"),
        ("optim", "lr", "2020-01-01", FLOAT, "'2020-01-01'"),
        ("optim", "lr", "!!timestamp 2020-01-01", FLOAT, "datetime.date(2020, 1, 1)"),
        ("training", "max_steps", "2.5", INT, "2.5"),
        ("training", "max_steps", "2.0", INT, "2.0"),
        ("training", "max_steps", "yes", INT, "True"),
        ("training", "seed", "010", INT, "'010'"),
        ("training", "seed", "1:30", INT, "'1:30'"),
        ("training", "seed", "0x10", INT, "'0x10'"),
        ("training", "seed", "9" * 30, "less than 9223372036854775808", "9" * 30),
        ("training", "precision", "32", "a valid string", "32"),
        ("filterbank", "decoder", "[cos]", "a valid string", "['cos']"),
        ("filterbank", "bands", "!!binary YQ==", "a valid string", "b'a'"),
    ],
)
def test_values_of_another_type(read, group, key, text, expected, got):
    with pytest.raises(ValueError) as caught:
        read(f"{group}:\n  {key}: {text}\n")
    assert str(caught.value).endswith(f"conf.yml: {group}.{key} must be {expected}, got {got}")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sort", "maybe"], f"objective.sort must be {BOOL}, got 'maybe'"),
        (["--lr", "true"], f"optim.lr must be {FLOAT}, got 'true'"),
        (["--lr", "nan"], f"optim.lr must be {FLOAT}, got 'nan'"),
        (["--lr", ".nan"], "optim.lr must be a finite number, got nan"),
        (["--lr", "1e999"], "optim.lr must be a finite number, got inf"),
        (["--max_steps", "2.5"], f"training.max_steps must be {INT}, got 2.5"),
        (["--max_steps", "010"], f"training.max_steps must be {INT}, got '010'"),
        (["--max_steps", " 8"], f"training.max_steps must be {INT}, got ' 8'"),
        (["--max_steps", ""], f"training.max_steps must be {INT}, got ''"),
    ],
)
def test_options_of_another_type(from_options, options, message):
    with pytest.raises(ValueError) as caught:
        from_options(*options)
    assert str(caught.value) == f"options: {message}"


@pytest.mark.parametrize(
    "text, message",
    [
        ("optim:\n  lr: 1\n  lr: 2\n", "is not YAML: line 3: the key lr is there twice"),
        ("optim: {}\ndata: {}\noptim: {}\n", "is not YAML: line 3: the key optim is there twice"),
        ("optim: {lr: 1, 'lr': 2}", "is not YAML: line 1: the key lr is there twice"),
        ("optimiser: {}", ": unknown key optimiser"),
        ("optim: {learning_rate: 1}", ": unknown key optim.learning_rate"),
        ("data: {lr: 1}", ": unknown key data.lr"),
        ("optim: {1: 2}", ": .*optim.1.* must be .*, got 1"),
        ("optim:", ": optim must be a valid dictionary, got None"),
        ("optim: [lr]", r": optim must be a valid dictionary, got \['lr'\]"),
        ("", ": its content must be a valid dictionary, got None"),
        ("- 1", r": its content must be a valid dictionary, got \[1\]"),
        (
            "optim: {lr: !!python/object:os.system x}",
            "is not YAML: line 1: could not determine a con",
        ),
        ("optim: {lr: !!bool x}", "is not YAML: 'x'"),
        ("a: " + "[" * 5000, "is not YAML: maximum recursion depth exceeded"),
        (b"optim: {lr: \xff}", "is not YAML: "),
        ("optim: {lr: 1" + "0" * 5000 + "}", "is not YAML: Exceeds the limit"),
        ("x" * (conf.MAX_BYTES + 1), "is no configuration: it has more than 1000000 bytes"),
        (
            "\n".join(["a0: &a0 [1]", *(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]" for i in range(60))]),
            "",
        ),
    ],
)
def test_files_that_are_no_configuration(read, text, message):
    with pytest.raises(ValueError, match=f"conf.yml ?{message}") as caught:
        read(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("place", ["none.yml", "folder", "loop"])
def test_what_is_no_file(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileNotFoundError, match=f"{place} not found: expected a YAML configurat"):
        conf.read_conf(tmp_path / place, BASE)


def test_text_that_looks_like_a_number_is_written_as_text(tmp_path, read):
    path = tmp_path / "written.yml"
    for text in ("1e-4", "010", "08", "1:30", "no", "2020-01-01", "é", ""):
        content = {"filterbank": {"bands": text}, "optim": {"lr": 1e-7}}
        conf.write_conf(content, path)
        assert conf.read_conf(path, BASE) == content == yaml.safe_load(path.read_text("utf-8"))


def test_what_a_run_needs_of_its_configuration(tmp_path):
    conf.write_conf({"baseline": {"stft_n_fft": 64}}, tmp_path / "conf.yml")
    with pytest.raises(ValueError, match="conf.yml: baseline.stft_stride is missing$"):
        Run(tmp_path).read_conf(BASE, representations.OF_STFT)
    stft = {"baseline": BASE["baseline"]}
    conf.write_conf(stft, tmp_path / "conf.yml")
    assert Run(tmp_path).read_conf(BASE, representations.OF_STFT) == stft
    with pytest.raises(ValueError, match="conf.yml: filterbank is missing$"):
        Run(tmp_path).read_conf(BASE, representations.OF_TABLE)


# Bounds


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(num_workers=100_000), "num_workers must be 0 to [0-9]+ .16 a processor., got 100000"),
        (dict(num_workers=-1), "num_workers must be 0 to [0-9]+ .16 a processor., got -1"),
        (
            dict(devices=10**6, batch_size=10**6),
            "devices must be 0 to [0-9]+ .16 a processor., got",
        ),
        (dict(epochs=10**18), "epochs must be at most 2147483647, got 1000000000000000000"),
        (dict(max_steps=10**18), "max_steps must be at most 2147483647, got 1000000000000000000"),
        (dict(seed=-1), "seed must be 0 to 4294967295, got -1"),
        (dict(seed=2**32), "seed must be 0 to 4294967295, got 4294967296"),
        (dict(batch_size=10**9), "batch_size=1000000000, segment=44100: a batch of two sources ne"),
        (dict(segment=10**12), "batch_size=8, segment=1000000000000: a batch of two sources needs"),
        (
            dict(n_filters=10**9),
            "n_filters=1000000000, kernel_size=2048, smooth_kernel_size=5: the ",
        ),
        (
            dict(kernel_size=10**12),
            "n_filters=800, kernel_size=1000000000000, smooth_kernel_size=5",
        ),
        (
            dict(smooth_kernel_size=10**9),
            "n_filters=800, kernel_size=2048, smooth_kernel_size=1000",
        ),
        (
            dict(smooth_dilation=10**12),
            "batch_size=8, segment=44100, n_filters=800, stride=256, smo",
        ),
        (dict(stft_n_fft=200_000_000), "stft_n_fft must be at most segment=44100, got 200000000"),
        (
            dict(stft_n_fft=10**6, segment=10**6),
            "stft_n_fft=1000000: the STFT with its inverse needs at least 8000.0 GB, expected",
        ),
    ],
)
def test_numbers_that_no_machine_could_serve(values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        limits.check_limits(declaration.override(BASE, values))


TASNET = dict(masker="conv_tasnet")


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(n_bands=1001), "n_bands must be at most 1000, got 1001"),
        (
            dict(hid_size=10**9),
            "n_repeats=3, bn_chan=48, hid_size=1000000000, n_bands=24: the mask",
        ),
        (
            dict(n_blocks=64, **TASNET),
            "n_blocks must be at most 20, as block k has dilation 2.k frames, got",
        ),
        (dict(n_repeats=10**9, **TASNET), "n_blocks=8, n_repeats=1000000000, bn_chan=48, hid_"),
        (dict(hid_chan=10**9, **TASNET), "n_blocks=8, n_repeats=3, bn_chan=48, hid_chan=1000000"),
        (
            dict(conv_kernel_size=10**9 + 1, **TASNET),
            "n_blocks=8, .* the masker in training needs at least ",
        ),
        (dict(segment=10**12), "batch_size=4, segment=1000000000000: a batch of two sources needs"),
    ],
)
def test_maskers_that_no_machine_could_train(values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        limits.check_limits(declaration.override(SEPARATOR, values))


def test_what_ships_is_within_the_bounds(monkeypatch):
    monkeypatch.setattr(limits, "device_memory", lambda: 2 * 10**9)
    limits.check_limits(SEPARATOR)
    for name in conf.read_yaml(TABLES):
        table = declaration.load_table(TABLES, name, BASE)
        rows = list(table.rows)
        for job in declaration.make_jobs(table, BASE, rows, [0], Path()):
            limits.check_limits(job.conf)
    songs = [Track(str(i), "train", 240 * 44100, 0, Path()) for i in range(100)]
    limits.check_segments(songs, 1024)
    with pytest.raises(ValueError, match="^segment_hop=1 makes 1058400000 segments of the tracks"):
        limits.check_segments(songs, 1)


# Damaged files


@pytest.mark.parametrize("seed", range(2))
def test_damaged_configurations_are_read_or_refused(seed, read):
    refused = 0
    text = scripts.BASE_CONF.read_bytes()
    damaged = [
        *mutated_bytes(text, 50, seed),
        *(as_yaml(x) for x in mutated_values(BASE, 100, seed)),
    ]
    for number, content in enumerate(damaged):
        try:
            found = read(content)
            assert all(math.isfinite(x) for x in numbers_of(found)), number
        except (ValueError, OSError):
            refused += 1
    assert 90 < refused < 150


@pytest.mark.parametrize("seed", range(3))
def test_damaged_tables_are_read_or_refused(seed, tmp_path):
    path, refused = tmp_path / "tables.yml", 0
    content = {"table1": conf.read_yaml(TABLES)["table1"]}
    damaged = [
        *mutated_bytes(as_yaml(content), 40, seed),
        *(map(as_yaml, mutated_values(content, 80, seed))),
    ]
    for text in damaged:
        path.write_bytes(text)
        try:
            declaration.load_table(path, "table1", BASE)
        except (ValueError, OSError):
            refused += 1
    assert 55 < refused < 120


def as_yaml(content):
    return yaml.safe_dump(content, sort_keys=False).encode()


def numbers_of(found):
    values = [value for group in found.values() for value in group.values()]
    return [value for value in values if isinstance(value, int | float)]


def test_help_is_whole(capsys, from_options):
    with pytest.raises(SystemExit, match="^0$"):
        from_options("--help")
    out = capsys.readouterr().out
    assert all(f"--{key} " in out for group in BASE.values() for key in group)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max_step", "3"], "unrecognized arguments: --max_step 3"),
        (["--max_steps"], "argument --max_steps: expected one argument"),
        (["--conf", ""], "argument --conf: expected a path, got an empty text"),
    ],
)
def test_wrong_options_are_one_line(capsys, from_options, options, message):
    with pytest.raises(SystemExit, match="^2$"):
        from_options(*options)
    assert capsys.readouterr().err == f"{Path(sys.argv[0]).name}: {message} (see --help)\n"
    assert os.path.basename(sys.argv[0]) == "train.py"
