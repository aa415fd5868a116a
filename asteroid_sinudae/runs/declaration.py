"""Tables of several runs, as a file declares them, and the jobs that they are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import AfterValidator, Field

from ..utils.checks import check, check_choice
from ..utils.schema import validated
from .conf import TYPES, mapping_type, read_yaml, type_of
from .folder import Run
from .limits import MAX_SEED
from .representations import stft_conf

PAPER = ("si_sdr", "si_sdr_bm", "parameters_m")  # dB, dB, millions
UNTRAINED = ("max_steps", 0)  # what a row sets whose model is its start
ROW_NAMES = {  # typed as options, and folders
    "rows": ("(?!stft_)[a-z0-9_]+", "made of a-z, 0-9 and _, and not begin with stft_"),
    "stft": ("stft_[a-z0-9_]+", "made of a-z, 0-9 and _, and begin with stft_"),
}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        label (str): First column of the table.
        set (dict): Values by keys of the configuration, on top of the table's base; of a baseline
            those of the STFT.
        paper (dict): The paper's figures, by keys of `PAPER`.
    """

    label: str
    set: dict = field(default_factory=dict)
    paper: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A set of rows, each one or more runs, as a file of tables declares it.

    Args:
        name (str): Its key in the file.
        title (str): Its heading.
        base (dict): Values by keys of the configuration, for all rows.
        rows (dict): :class:`Row` by name.
        stft (dict): :class:`Row` by name of the baselines, which are evaluated without training.
        report_row (str, optional): Row that the page and the sentence below the table are about.
        declared_reference (str, optional): The row that a file of tables names as `reference`.
    """

    name: str
    title: str
    base: dict
    rows: dict[str, Row]
    stft: dict[str, Row] = field(default_factory=dict)
    report_row: str | None = None
    declared_reference: str | None = None

    @property
    def reference(self) -> str | None:
        """The row that the others are compared with: the declared one, or else the first STFT."""
        return self.declared_reference or next(iter(self.stft), None)

    def all_rows(self) -> dict[str, Row]:
        """Return the rows by name, in the order of the table, the baselines last."""
        return {**self.rows, **self.stft}

    def row_keys(self) -> set[str]:
        """Return the keys that tell rows and runs apart, and so cannot be given for all rows.

        An untrained row remains so, whatever number of updates is given for the others.
        """
        values = [item for row in self.all_rows().values() for item in row.set.items()]
        return {"seed", *(item[0] for item in values if item != UNTRAINED)}


@dataclass(frozen=True)
class Job:
    """One training and its evaluation, or the evaluation of a baseline.

    Args:
        row (str): Name of its row.
        seed (int or None): Seed of the run; None for a baseline, which is not trained.
        conf (dict): Two-level configuration; for a baseline, the part that its figures depend on.
        run (Run): Where the results are.
    """

    row: str
    seed: int | None
    conf: dict
    run: Run

    def __str__(self) -> str:
        return self.row if self.is_baseline else f"{self.row} seed {self.seed}"

    @property
    def is_baseline(self) -> bool:
        """True if there is nothing to train."""
        return self.seed is None

    @property
    def n_channels(self) -> int:
        """Number of channels of the representation; for an STFT, of its bins."""
        if self.is_baseline:
            return self.conf["baseline"]["stft_n_fft"] // 2 + 1
        return self.conf["filterbank"]["n_filters"]


def load_table(path: Path, name: str, conf: dict) -> Table:
    """Read one table of a file, which is checked as a whole.

    Args:
        path (Path): YAML file of tables.
        name (str): Name of the table to return.
        conf (dict): Two-level configuration with all keys that rows may set, and values of the
            types that they may have.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no such table, or naming what is wrong in it.
    """
    kind: Any = dict[str, _table_type(conf)]  # type: ignore[misc]  # made at run time
    tables: dict[str, Any] = validated(kind, read_yaml(path), str(path))
    for key, content in tables.items():
        if "report_row" in content and content["report_row"] not in content["rows"]:
            raise ValueError(
                f"{path}: {key}.report_row must be one of the table's rows that are trained, got "
                f"{content['report_row']!r}"
            )
        rows = [row for rows_of in ROW_NAMES for row in content.get(rows_of, {})]
        if "reference" in content and content["reference"] not in rows:
            raise ValueError(
                f"{path}: {key}.reference must be one of the table's rows, got "
                f"{content['reference']!r}"
            )
    check_choice("table", name, tables)
    content = tables[name]
    trained, stft = (
        {row: Row(**values) for row, values in content.get(rows_of, {}).items()}
        for rows_of in ROW_NAMES
    )
    base, reference = content.get("base", {}), content.get("reference")
    page = content.get("report_row")
    return Table(name, content["title"], base, trained, stft, page, reference)


def _table_type(conf: dict) -> Any:
    """Make the type of a table in a file."""
    trained = {group: values for group, values in conf.items() if group != "baseline"}
    fields = {
        "title": Required[str],
        "report_row": str,  # run.sh looks it up: the page is of its first run
        "reference": str,  # differences are to it; by default, to the first of the STFT rows
        "base": _values_type(conf),
        "rows": Required[_rows_type("rows", trained)],
        "stft": _rows_type("stft", {"baseline": stft_conf(conf)}),
    }
    return mapping_type(fields)


def _rows_type(kind: str, conf: dict) -> Any:
    """Make the type of rows by name, which may set what `conf` has."""
    pattern, expected = ROW_NAMES[kind]

    def check_name(name: str) -> str:
        check(re.fullmatch(pattern, name) is not None, "name of a row", name, expected)
        return name

    paper = mapping_type(dict.fromkeys(PAPER, TYPES[float]))
    row = mapping_type({"label": Required[str], "set": _values_type(conf), "paper": paper})
    names = Annotated[str, AfterValidator(check_name)]
    return Annotated[dict[names, row], Field(min_length=1)]  # type: ignore[valid-type]  # as above


def _values_type(conf: dict) -> Any:
    """Make the type of values by key that a table sets: all of `conf` but the runs' seed."""
    values = {key: value for group in conf.values() for key, value in group.items()}
    return type_of({key: value for key, value in values.items() if key != "seed"})


def override(conf: dict, values: dict) -> dict:
    """Return a two-level configuration with other values for some of its keys.

    Args:
        conf (dict): Two levels, keys unique across groups.
        values (dict): Values by key; keys that `conf` does not have are ignored.
    """
    return {
        group: {key: values.get(key, value) for key, value in content.items()}
        for group, content in conf.items()
    }


def check_free(table: Table, given: Iterable[str]) -> None:
    """Raise a ValueError if a user gave one of :meth:`Table.row_keys`."""
    for key in sorted(table.row_keys().intersection(given)):
        by = "--seeds gives it" if key == "seed" else f"rows of {table.name} set it"
        raise ValueError(f"{key} cannot be given: {by}")


def parse_seeds(words: Sequence[str]) -> list[int]:
    """Parse the seeds of runs, each 0 to :data:`MAX_SEED` and there once.

    Raises:
        ValueError: naming the first that is not.
    """
    for word in words:
        check(word.isascii() and word.isdigit(), "seed", word, "an integer, 0 or more")
    seeds = [int(word) for word in words]
    for seed in seeds:
        check(seed <= MAX_SEED, "seed", seed, f"at most {MAX_SEED}")
    _check_distinct("seed", seeds)
    return seeds


def parse_rows(words: Sequence[str] | None, table: Table) -> list[str]:
    """Sort names of rows into the table's order; by default, return all of its rows.

    Raises:
        ValueError: naming the first that is unknown or there twice.
    """
    rows = table.all_rows()
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
    """Parse `i/n` as `(i, n)`, with i from 1 to n.

    Raises:
        ValueError: if it is anything else.
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    part, parts = map(int, match.groups()) if match else (0, 0)
    check(1 <= part <= parts, "shard", text, "i/n with i from 1 to n")
    return part, parts


def make_jobs(
    table: Table,
    conf: dict,
    rows: Sequence[str],
    seeds: Sequence[int],
    exp_root: Path,
    given: Iterable[str] = (),
) -> list[Job]:
    """Make the jobs in the order in which to do them.

    Baselines come first, then one run of every row, then the next run of every row.

    Args:
        table (Table): The table of the rows.
        conf (dict): Two-level configuration that the rows start from.
        rows (sequence of str): Names of rows.
        seeds (sequence of int): One run each.
        exp_root (Path): Results are in `exp_root/<table>/<row>_seed<seed>`, of a baseline in
            `exp_root/<table>/<row>`.
        given (iterable of str): Keys that a user gave, which `base` does not change.
    """
    base = {key: value for key, value in table.base.items() if key not in given}
    folder = exp_root / table.name
    jobs = []
    for row in rows:
        if row in table.stft:
            values = override(conf, {**base, **table.stft[row].set})
            needed = {
                "data": {"segment": values["data"]["segment"]},
                "baseline": stft_conf(values),
            }
            jobs.append(Job(row, None, needed, Run(folder / row)))
    for seed in seeds:
        for row in rows:
            if row in table.rows:
                values = {**base, **table.rows[row].set, "seed": seed}
                jobs.append(
                    Job(row, seed, override(conf, values), Run(folder / f"{row}_seed{seed}"))
                )
    return jobs
