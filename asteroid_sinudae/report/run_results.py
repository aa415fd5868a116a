"""Content of a run's folder that the page shows: metrics, losses and tables."""

import csv
import math
from pathlib import Path

import pandas as pd

from ..evaluation.tables import metric_title, with_readability
from ..runs.folder import Run, numbers, read_csv
from ..training.objectives import OBJECTIVES, Reconstruction
from .page import Table

MAX_STEP = 2**53  # whole numbers up to here are exact in floating point
SNRS = [Reconstruction.name, f"{Reconstruction.name}_epoch"]


# The terms that a training may minimise beside the negative SNR, by their names in logs.
TERMS = {each.name: each.label for each in OBJECTIVES if each is not Reconstruction}


def read_metrics(exp_dir: Path) -> dict:
    """Read the result of a run's evaluation, see :meth:`.Run.read_metrics`.

    Args:
        exp_dir (Path): Folder of the run.

    Raises:
        FileNotFoundError: if the run has not been evaluated.
        ValueError: if the file is damaged.
    """
    return Run(exp_dir).read_metrics()


def read_losses(exp_dir: Path) -> pd.DataFrame:
    """Read the losses that a training has logged, even if it was interrupted and continued.

    Each start logs into `logs/csv/version_<n>/metrics.csv`. If two starts have logged the same
    update, the later one counts.

    Args:
        exp_dir (Path): Folder of the run.

    Returns:
        :class:`pandas.DataFrame` indexed by update, ascending, with columns `neg_snr` (dB,
        Eq. (4)), `neg_snr_epoch` (dB, its mean over an epoch), and those of `TERMS` that were
        logged. Values that were not logged are NaN; without any, the table is empty.

    Raises:
        ValueError: naming the file, if it is no log of numbers by update.
    """
    folder = Run(exp_dir).logs_folder / "csv"
    starts: dict[int, Path] = {}
    for path in folder.glob("version_*/metrics.csv"):
        number = path.parent.name.removeprefix("version_")
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"{path.parent} is no folder of a log, expected version_<number>")
        starts[int(number)] = path
    logged = [_read_log(starts[number]) for number in sorted(starts)]
    logged = [log for log in logged if len(log)]
    if not logged:
        return pd.DataFrame(columns=SNRS, dtype=float)
    losses = pd.concat(logged)
    terms = [name for name in TERMS if name in losses and losses[name].notna().any()]
    return losses.groupby("step").last().reindex(columns=[*SNRS, *terms])


def _read_log(path: Path) -> pd.DataFrame:
    """Read the losses of one start; empty if it was stopped before it logged any."""
    if path.is_file() and not path.stat().st_size:
        return pd.DataFrame()
    log = read_csv(path, "step")
    names = [name for name in ("step", *SNRS, *TERMS) if name in log]
    log = numbers(log[names].dropna(subset="step"), names, path)
    strange = log["step"][(log["step"] < 0) | (log["step"] % 1 != 0) | (log["step"] > MAX_STEP)]
    if len(strange):
        raise ValueError(f"{path}: step must be numbers of updates, got {strange.iloc[0]}")
    return log.astype({"step": int})


def read_table(path: Path) -> Table:
    """Read a table from a CSV file; its first line names the columns, its first column the rows.

    The caption is the name of the folder for a file `table.csv`, and the file's name for others.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no CSV in UTF-8, has no header, or rows of another length.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: expected a table (CSV)")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no table (CSV): {error}") from error
    if not header or any(len(row) != len(header) for row in rows):
        raise ValueError(f"{path} is no table: expected a header, and rows of as many cells")
    caption = path.resolve().parent.name if path.stem == "table" else path.stem
    return Table(caption, header, [[row[0], *map(format_cell, row[1:])] for row in rows])


def format_cell(text: str) -> str:
    """Format a cell for people: two decimals, none for whole numbers, and a dash for NaN.

    Examples
        >>> [format_cell(text) for text in ("-7.046", "6478400", "nan", "", "C = 4")]
        ['−7.05', '6,478,400', '–', '–', 'C = 4']
    """
    try:
        value = float(text or "nan")
    except ValueError:
        return text
    if math.isnan(value):
        return "–"
    is_whole = text.strip().lstrip("+-").isdigit()
    return f"{value:,.{0 if is_whole else 2}f}".replace("-", "−")


def medians_table(metrics: dict) -> Table:
    """Make the table of the run's medians and readability, one row for each representation.

    Args:
        metrics (dict): The result of :func:`read_metrics`.

    Returns:
        Table
    """
    medians = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    medians = with_readability(medians, metrics.get("readability"))
    rows = [
        [name, *(format_cell(f"{value:.6f}") for value in values)]
        for name, *values in medians.itertuples()
    ]
    caption = f"Medians over {metrics['segments']} segments of {metrics['test_tracks']} test tracks"
    return Table(caption, ["Representation", *map(metric_title, medians.columns)], rows)


def provenance_facts(metrics: dict) -> dict[str, str]:
    """Describe what an evaluation was made with.

    Args:
        metrics (dict): The result of :func:`read_metrics`.

    Returns:
        dict of str
    """
    versions = [f"{name} {version}" for name, version in metrics["versions"].items() if version]
    return {
        "Evaluated": metrics["finished"],
        "Device": metrics["device"],
        "Commit": metrics.get("commit") or "unknown",
        "Versions": ", ".join(versions),
    }
