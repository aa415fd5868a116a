"""Experiments of several trainings, as a file declares them, and the jobs that they are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils import scripts

from asteroid_sinudae._checks import check, check_choice

PAPER = ("si_sdr", "si_sdr_bm", "parameters_m")  # dB, dB, millions


@dataclass(frozen=True)
class Row:
    """A row of an experiment's table.

    Args:
        label (str): First column of the table.
        set (dict): Values by keys of conf.yml, on top of the experiment's base.
        paper (dict): The paper's figures, by keys of `PAPER`.
    """

    label: str
    set: dict = field(default_factory=dict)
    paper: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A table of the paper, as a file of experiments declares it.

    Args:
        name (str): Its key in the file.
        title (str): Heading of the table.
        base (dict): Values by keys of conf.yml, for all rows.
        rows (dict): :class:`Row` by name.
        stft (Row or None): The baseline's row, which needs no training of its own.
    """

    name: str
    title: str
    base: dict
    rows: dict[str, Row]
    stft: Row | None = None

    def row_keys(self) -> set[str]:
        """Keys of conf.yml that tell rows and runs apart."""
        return {"seed", *(key for row in self.rows.values() for key in row.set)}


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Args:
        row (str): Name of its row.
        seed (int): Of the run.
        conf (dict): Two-level configuration.
        folder (Path): Where the results are.
    """

    row: str
    seed: int
    conf: dict
    folder: Path

    def __str__(self) -> str:
        return f"{self.row} seed {self.seed}"

    def options(self) -> list[str]:
        """The whole configuration as options of train.py."""
        values = {key: value for group in self.conf.values() for key, value in group.items()}
        return [f"--{key}={value}" for key, value in values.items()]


def load_experiment(path: Path, name: str, conf: dict) -> Experiment:
    """Read one experiment of a file, which is checked as a whole.

    Args:
        path (Path): YAML file of experiments.
        name (str): Of the one to return.
        conf (dict): Two-level configuration with all keys that rows may set.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no such experiment, or naming what is wrong in it.
    """
    content = scripts.read_conf(path)
    check_choice("experiment", name, content)
    experiments = {
        key: _experiment(f"{path}: {key}", key, values, conf) for key, values in content.items()
    }
    return experiments[name]


def _experiment(where: str, name: str, values: object, conf: dict) -> Experiment:
    _check_mapping(where, values, required=("title", "rows"), optional=("base", "stft"))
    check(isinstance(values["title"], str), f"{where}.title", values["title"], "a text")
    base, rows = values.get("base", {}), values["rows"]
    _check_values(f"{where}.base", base, conf)
    check(isinstance(rows, dict) and len(rows) > 0, f"{where}.rows", rows, "a mapping of rows")
    for row in rows:  # typed as options, and folders
        is_name = re.fullmatch("[a-z0-9_]+", str(row)) is not None
        check(is_name, f"{where}: name of a row", row, "made of a-z, 0-9 and _")
    return Experiment(
        name=name,
        title=values["title"],
        base=base,
        rows={str(row): _row(f"{where}.{row}", content, conf) for row, content in rows.items()},
        stft=_row(f"{where}.stft", values["stft"]) if "stft" in values else None,
    )


def _row(where: str, values: object, conf: dict | None = None) -> Row:
    """A row, which sets values only if `conf` has what it may set."""
    optional = ("paper",) if conf is None else ("set", "paper")
    _check_mapping(where, values, required=("label",), optional=optional)
    check(isinstance(values["label"], str), f"{where}.label", values["label"], "a text")
    if conf is not None:
        _check_values(f"{where}.set", values.get("set", {}), conf)
    paper = values.get("paper", {})
    _check_mapping(f"{where}.paper", paper, optional=PAPER)
    for key, value in paper.items():
        check(_is_of_type(value, float), f"{where}.paper.{key}", value, "a number")
    return Row(**values)


def _check_mapping(
    where: str, values: object, required: Sequence[str] = (), optional: Sequence[str] = ()
) -> None:
    """Raise a ValueError if `values` is no mapping, or its keys are not those expected."""
    keys = (*required, *optional)
    check(isinstance(values, dict), where, values, f"a mapping of {', '.join(keys)}")
    for key in values:
        if key not in keys:
            raise ValueError(f"{where}: unknown key {key}, expected one of {', '.join(keys)}")
    for key in required:
        if key not in values:
            raise ValueError(f"{where}: key {key} is missing")


def _check_values(where: str, values: object, conf: dict) -> None:
    """Raise a ValueError unless `values` can be set on `conf` by an experiment."""
    _check_mapping(where, values, optional=[key for group in conf.values() for key in group])
    if "seed" in values:
        raise ValueError(f"{where}: seed is that of the run, see --seeds")
    check_types(override(conf, values), conf, where)


def override(conf: dict, values: dict) -> dict:
    """A two-level configuration with other values for some of its keys.

    Args:
        conf (dict): Two levels, keys unique across groups.
        values (dict): By key; those that `conf` has not are left out.
    """
    return {
        group: {key: values.get(key, value) for key, value in content.items()}
        for group, content in conf.items()
    }


def check_types(conf: dict, reference: dict, where: str) -> None:
    """Raise a ValueError unless the values of `conf` are of the types that `reference` has."""
    for group, content in reference.items():
        for key, value in content.items():
            expected = f"of type {type(value).__name__}, as {value!r} is"
            is_right = _is_of_type(conf[group][key], type(value))
            check(is_right, f"{where}.{key}", conf[group][key], expected)


def _is_of_type(value: object, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)  # isinstance would take True for a number
    return type(value) is kind


def check_free(experiment: Experiment, given: Iterable[str]) -> None:
    """Raise a ValueError if a user gave a key that tells rows or runs apart."""
    for key in sorted(experiment.row_keys().intersection(given)):
        by = "--seeds gives it" if key == "seed" else f"rows of {experiment.name} set it"
        raise ValueError(f"{key} cannot be given: {by}")


def parse_seeds(words: Sequence[str]) -> list[int]:
    """Seeds of runs, each 0 or more and there once.

    Raises:
        ValueError: naming the first that is not.
    """
    for word in words:
        check(word.isascii() and word.isdigit(), "seed", word, "an integer, 0 or more")
    seeds = [int(word) for word in words]
    _check_distinct("seed", seeds)
    return seeds


def parse_rows(words: Sequence[str] | None, experiment: Experiment) -> list[str]:
    """Names of rows of an experiment, all of them by default, in the table's order.

    Raises:
        ValueError: naming the first that is unknown or there twice.
    """
    if words is None:
        return list(experiment.rows)
    for word in words:
        check_choice("row", word, experiment.rows)
    _check_distinct("row", words)
    return [row for row in experiment.rows if row in words]


def _check_distinct(name: str, values: Sequence) -> None:
    for value in values:
        check(values.count(value) == 1, name, value, "given once")


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` as `(i, n)`, with i from 1 to n.

    Raises:
        ValueError: if it is anything else.
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    part, parts = map(int, match.groups()) if match else (0, 0)
    check(1 <= part <= parts, "shard", text, "i/n with i from 1 to n")
    return part, parts


def make_jobs(
    experiment: Experiment,
    conf: dict,
    rows: Sequence[str],
    seeds: Sequence[int],
    exp_root: Path,
    given: Iterable[str] = (),
) -> list[Job]:
    """Jobs in the order in which to do them: a run of every row before the next run.

    Args:
        experiment (Experiment): Of the rows.
        conf (dict): Two-level configuration that the rows start from.
        rows (sequence of str): Names of rows.
        seeds (sequence of int): One run each.
        exp_root (Path): Results are in `exp_root/<experiment>/<row>_seed<seed>`.
        given (iterable of str): Keys that a user gave, which `base` does not change.
    """
    base = {key: value for key, value in experiment.base.items() if key not in given}
    jobs = []
    for seed in seeds:
        for row in rows:
            values = {**base, **experiment.rows[row].set, "seed": seed}
            folder = exp_root / experiment.name / f"{row}_seed{seed}"
            jobs.append(Job(row, seed, override(conf, values), folder))
    return jobs
