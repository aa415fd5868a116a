"""Experiments of several trainings, as a file declares them, and the jobs that they are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils import scripts
from utils.systems import stft_conf

from asteroid_sinudae._checks import check, check_choice

PAPER = ("si_sdr", "si_sdr_bm", "parameters_m")  # dB, dB, millions
UNTRAINED = ("max_steps", 0)  # what a row sets whose model is its start
ROW_NAMES = {  # typed as options, and folders
    "rows": ("(?!stft_)[a-z0-9_]+", "made of a-z, 0-9 and _, and not begin with stft_"),
    "stft": ("stft_[a-z0-9_]+", "made of a-z, 0-9 and _, and begin with stft_"),
}


@dataclass(frozen=True)
class Row:
    """A row of an experiment's table.

    Args:
        label (str): First column of the table.
        set (dict): Values by keys of conf.yml, on top of the experiment's base; of a baseline those
            of the STFT.
        paper (dict): The paper's figures, by keys of `PAPER`.
    """

    label: str
    set: dict = field(default_factory=dict)
    paper: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Rows of a table, as a file of experiments declares them.

    Args:
        name (str): Its key in the file.
        title (str): Heading of the table.
        base (dict): Values by keys of conf.yml, for all rows.
        rows (dict): :class:`Row` by name.
        stft (dict): :class:`Row` by name of the baselines, which are evaluated without training.
    """

    name: str
    title: str
    base: dict
    rows: dict[str, Row]
    stft: dict[str, Row] = field(default_factory=dict)

    def all_rows(self) -> dict[str, Row]:
        """Rows by name in the order of the table, the baselines last."""
        return {**self.rows, **self.stft}

    def row_keys(self) -> set[str]:
        """Keys of conf.yml that tell rows and runs apart, and so cannot be given for all rows.

        An untrained row remains so, whatever number of updates is given for the others.
        """
        values = [item for row in self.all_rows().values() for item in row.set.items()]
        return {"seed", *(item[0] for item in values if item != UNTRAINED)}


@dataclass(frozen=True)
class Job:
    """One training and its evaluation, or the evaluation of a baseline.

    Args:
        row (str): Name of its row.
        seed (int or None): Of the run; None of a baseline, which is not trained.
        conf (dict): Two-level configuration; of a baseline what its figures depend on.
        folder (Path): Where the results are.
    """

    row: str
    seed: int | None
    conf: dict
    folder: Path

    def __str__(self) -> str:
        return self.row if self.is_baseline else f"{self.row} seed {self.seed}"

    @property
    def is_baseline(self) -> bool:
        """Whether there is nothing to train."""
        return self.seed is None

    @property
    def n_channels(self) -> int:
        """Of the representation; of an STFT its bins."""
        if self.is_baseline:
            return self.conf["baseline"]["stft_n_fft"] // 2 + 1
        return self.conf["filterbank"]["n_filters"]

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
    base = values.get("base", {})
    _check_values(f"{where}.base", base, conf)
    trained = {group: content for group, content in conf.items() if group != "baseline"}
    sizes = {"baseline": stft_conf(conf)}
    return Experiment(
        name=name,
        title=values["title"],
        base=base,
        rows=_rows(where, "rows", values["rows"], trained),
        stft=_rows(where, "stft", values["stft"], sizes) if "stft" in values else {},
    )


def _rows(where: str, kind: str, rows: object, conf: dict) -> dict[str, Row]:
    """Rows by name, which may set what `conf` has."""
    is_mapping = isinstance(rows, dict) and len(rows) > 0
    check(is_mapping, f"{where}.{kind}", rows, "a mapping of rows")
    pattern, expected = ROW_NAMES[kind]
    for row in rows:
        is_name = re.fullmatch(pattern, str(row)) is not None
        check(is_name, f"{where}.{kind}: name of a row", row, expected)
    return {str(row): _row(f"{where}.{row}", content, conf) for row, content in rows.items()}


def _row(where: str, values: object, conf: dict) -> Row:
    _check_mapping(where, values, required=("label",), optional=("set", "paper"))
    check(isinstance(values["label"], str), f"{where}.label", values["label"], "a text")
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
    """Raise a ValueError if a user gave one of :meth:`Experiment.row_keys`."""
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
    rows = experiment.all_rows()
    if words is None:
        return list(rows)
    for word in words:
        check_choice("row", word, rows)
    _check_distinct("row", words)
    return [row for row in rows if row in words]


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
    """Jobs in the order in which to do them: baselines, then a run of every row before the next.

    Args:
        experiment (Experiment): Of the rows.
        conf (dict): Two-level configuration that the rows start from.
        rows (sequence of str): Names of rows.
        seeds (sequence of int): One run each.
        exp_root (Path): Results are in `exp_root/<experiment>/<row>_seed<seed>`, of a baseline in
            `exp_root/<experiment>/<row>`.
        given (iterable of str): Keys that a user gave, which `base` does not change.
    """
    base = {key: value for key, value in experiment.base.items() if key not in given}
    folder = exp_root / experiment.name
    jobs = []
    for row in rows:
        if row in experiment.stft:
            values = override(conf, {**base, **experiment.stft[row].set})
            needed = {
                "data": {"segment": values["data"]["segment"]},
                "baseline": stft_conf(values),
            }
            jobs.append(Job(row, None, needed, folder / row))
    for seed in seeds:
        for row in rows:
            if row in experiment.rows:
                values = {**base, **experiment.rows[row].set, "seed": seed}
                jobs.append(Job(row, seed, override(conf, values), folder / f"{row}_seed{seed}"))
    return jobs
