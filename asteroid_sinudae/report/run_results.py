"""Content of a run's folder that the page shows: metrics, losses and tables."""

import csv
import math
from pathlib import Path

import pandas as pd

from ..evaluation.tables import (
    DIFFERENCE_COLUMNS,
    bm_column,
    in_words,
    mask_intervals,
    metric_title,
    of_figure,
    with_readability,
)
from ..runs.folder import Run, numbers, read_csv
from ..runs.representations import STFT_NAME, pair_name
from ..training.objectives import OBJECTIVES, Reconstruction
from .columns import with_meanings
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
    cells = [[row[0], *map(format_cell, row[1:])] for row in rows]
    return with_meanings(caption, *_with_intervals(header, cells))


def _with_intervals(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Write the ends of intervals, which tables have in columns of their own, below the figures."""
    places = {title: place for place, title in enumerate(header)}
    ends = {}
    for title, place in places.items():
        stem = title.removesuffix("(dB)")
        low, high = (places.get(f"{stem}{end} (dB)") for end in ("low", "high"))
        if low is not None and high is not None:
            ends[place] = (low, high)
    hidden = {place for pair in ends.values() for place in pair}
    kept = [place for place in range(len(header)) if place not in hidden]
    return [header[place] for place in kept], [
        [_with_ends(row[place], *(row[end] for end in ends.get(place, ()))) for place in kept]
        for row in rows
    ]


def _with_ends(cell: str, low: str = "–", high: str = "–") -> str:
    """Add an interval to a cell as its second line, if there is one."""
    return cell if "–" in (low, high) else f"{cell}\n{low} to {high}"


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


def medians_table(metrics: dict, segments: pd.DataFrame | None = None) -> Table:
    """Make the table of the run's medians and readability, one row for each representation.

    Args:
        metrics (dict): The result of :func:`read_metrics`.
        segments (:class:`pandas.DataFrame`, optional): Metrics of every segment, from which the
            intervals of figures under masks are computed, and differences to the STFT, if there
            are two songs or more.

    Returns:
        Table
    """
    medians = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    medians = with_readability(medians, metrics.get("readability"))
    columns = _formatted(medians)
    if segments is not None and segments["track"].nunique() > 1:
        columns = _with_differences(columns, mask_intervals(segments, STFT_NAME), medians)
    rows = _with_names(medians.index, columns)
    return with_meanings(f"Medians {_over(metrics)}", ["Representation", *columns], rows)


def separators_table(metrics: dict) -> Table:
    """Make the table of the medians of separators and of masks, one row for each.

    Args:
        metrics (dict): The result of :meth:`.Run.read_metrics` in a folder of separators.

    Returns:
        Table
    """
    medians = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    columns = _formatted(medians)
    caption = (
        "Separators, which hear the mixture only, beside masks that know the sources: medians "
        f"{_over(metrics)}"
    )
    return with_meanings(caption, ["Estimates", *columns], _with_names(medians.index, columns))


def _over(metrics: dict) -> str:
    """Say over what medians were taken."""
    return f"over {metrics['segments']} segments of {metrics['test_tracks']} test tracks"


def _formatted(medians: pd.DataFrame) -> dict[str, list[str]]:
    """Format medians for people, by the title of their column."""
    return {
        metric_title(name): [format_cell(f"{value:.6f}") for value in medians[name]]
        for name in map(str, medians)
    }


def _with_names(names: pd.Index, columns: dict[str, list[str]]) -> list[list[str]]:
    """Make the rows of a table out of its columns, each row beginning with its name."""
    return [[str(name), *cells] for name, *cells in zip(names, *columns.values(), strict=True)]


def _with_differences(
    columns: dict[str, list[str]], intervals: pd.DataFrame, medians: pd.DataFrame
) -> dict[str, list[str]]:
    """Add the intervals of medians below them, and columns of differences to the STFT."""
    found = {}
    titles = {metric_title(str(name)): str(name) for name in medians}
    figures = intervals.index.unique("figure")
    for title, cells in columns.items():
        found[title] = cells
        if titles[title] in figures:
            own = of_figure(intervals, titles[title], medians.index)
            texts = own.map(lambda value: format_cell(f"{value:.6f}"))
            found[title] = [
                _with_ends(*row) for row in zip(cells, texts["low"], texts["high"], strict=True)
            ]
            found[f"{title}, minus {STFT_NAME}"] = [
                _with_ends(*row) for row in texts[DIFFERENCE_COLUMNS].itertuples(index=False)
            ]
    return found


def result_in_words(metrics: dict) -> str:
    """Say in one sentence what came out, see :func:`.in_words`; empty without an STFT beside.

    Args:
        metrics (dict): The result of :func:`read_metrics`.
    """
    column = bm_column(0.5)
    figures = {name: medians.get(column, math.nan) for name, medians in metrics["medians"].items()}
    return in_words(pair_name(metrics["conf"]), STFT_NAME, figures)


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
