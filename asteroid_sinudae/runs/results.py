"""Results of a table's jobs: which are done, the table of them, and what it says in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Required

import numpy as np
import pandas as pd
from pydantic import AliasChoices, Field
from typing_extensions import TypedDict

from ..evaluation.tables import AT_CARRIER, RM_COLUMN, bm_column, in_words
from ..models.registry import STRUCTURES
from ..training.checkpoints import MAY_CHANGE, value_of
from ..utils.schema import validated
from .conf import TYPES, mapping_type, type_of
from .declaration import Job, Table
from .folder import FORMER, Count, Metrics, Run, Training, numbers
from .representations import pretrained_names

LIMITS = ("epochs", "max_steps")
METRICS = {
    "si_sdr": "SI-SDR",
    bm_column(0.5): "SI-SDR-BM 0.5",
    bm_column(1.0): "SI-SDR-BM 1",
    RM_COLUMN: "SI-SDR-RM",
}
OF_VOICE = {  # which segments.csv of earlier versions lacks
    "sparsity": "Sparsity of A (voice)",
    "variation": "Variation of A (voice, 1/s)",
}
COSTS = {
    "coefficients_per_sample": "Coefficients per sample",
    "mask_decisions_per_second": "Mask decisions per second",
}
BESIDE = "pretrained "  # before the name of a model, which a row's cannot begin with
PAPER_COLUMNS = {
    "si_sdr": "SI-SDR in paper (dB)",
    "si_sdr_bm": "SI-SDR-BM in paper (dB)",
    "parameters_m": "Parameters in paper (M)",
}
COLUMNS = {  # of a table, with their format in Markdown
    "Setup": "g",
    "C": "g",
    "SI-SDR (dB)": ".2f",
    "SI-SDR IQR (dB)": ".2f",
    "SI-SDR in paper (dB)": ".2f",
    "SI-SDR-BM 0.5 (dB)": ".2f",
    "SI-SDR-BM 0.5 IQR (dB)": ".2f",
    "SI-SDR-BM in paper (dB)": ".2f",
    "SI-SDR-BM 1 (dB)": ".2f",
    "SI-SDR-BM 1 IQR (dB)": ".2f",
    "SI-SDR-RM (dB)": ".2f",
    "SI-SDR-RM IQR (dB)": ".2f",
    "Additivity error": ".3f",
    "Kernels at carrier (%)": ".2f",
    **dict(zip(OF_VOICE.values(), (".3f", ".1f"), strict=True)),
    "Coefficients per sample": ".3f",
    "Mask decisions per second": ".0f",
    "Parameters (M)": ".4f",
    "Parameters in paper (M)": ".3f",
    "Training time (min)": ".1f",
    "Updates": ".0f",
    "Runs": "g",
}
Costs = mapping_type({key: Required[TYPES[float]] for key in COSTS})


class Source(TypedDict):
    """Origin of the prepared data."""

    kind: str
    path: str


class RunMetrics(Metrics):
    """Content of the metrics that eval.py writes for a run or a baseline."""

    costs: Annotated[
        dict[str, Costs],  # type: ignore[valid-type]  # a type that is made from COSTS
        Field(min_length=1, validation_alias=AliasChoices("costs", FORMER["costs"])),
    ]
    parameters: Count
    source: Source
    training: Training  # type: ignore[misc]  # which other scripts may leave out


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluation of one representation.

    Args:
        costs (dict): Values of `COSTS`.
        segments (:class:`pandas.DataFrame`): Metrics of every segment, indexed by its track.
        readability (dict): Result of :func:`.readability`; empty if it is not known.
    """

    costs: dict[str, float]
    segments: pd.DataFrame
    readability: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Result(Evaluation):
    """Result of a job, as eval.py has written it.

    Args:
        source (str): Source of the data.
        steps (int or None): Updates of the training, None of a baseline.
        seconds (float or None): Duration of the training.
        parameters (int): Number of parameters of the model; 0 for a baseline.
        n_segments (int): Test segments.
        n_tracks (int): Test tracks.
        made_with (str): Device, commit and versions.
        beside (dict): :class:`Evaluation` of the models that `pretrained` names, by their names.
    """

    source: str
    steps: int | None
    seconds: float | None
    parameters: int
    n_segments: int
    n_tracks: int
    made_with: str
    beside: dict[str, Evaluation]


def describe_source(source: dict) -> str:
    """Describe a manifest's source in words."""
    return f"{source['kind']} of {source['path']}"


def read_result(job: Job, source: str) -> Result | None:
    """Read the result of a job that is done; return None if there is work left.

    Args:
        job (Job): The job whose folder is looked at.
        source (str): Source of the prepared data, as :func:`describe_source` writes it.

    Raises:
        ValueError: if the folder is of another configuration, of data from another source or of
            more updates than asked for, or its files are damaged or do not belong together.
    """
    path = job.run.metrics_file
    if not path.is_file():
        return None
    result = None
    try:
        metrics = job.run.read_metrics(RunMetrics)
        _check_conf(metrics, job, f"{path}: conf")
        difference = _difference(metrics, job.conf, source)
        if difference is None and _limits(metrics["conf"]) == _limits(job.conf):
            result = _result(metrics, job.run)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{job.run.folder} holds a damaged result, delete {path.name} in it to evaluate again: "
            f"{error}"
        ) from error
    if difference is not None:
        raise ValueError(
            f"{job.run.folder} belongs to another configuration: {difference} asked for; "
            "choose another --exp_root or delete it"
        )
    return result


def _check_conf(metrics: dict, job: Job, where: str) -> None:
    """Raise a ValueError unless the configuration of a result can be compared with the job's."""
    needed = () if job.is_baseline else [f"training.{key}" for key in LIMITS]
    validated(type_of(job.conf, needed), metrics["conf"], where)
    if not job.is_baseline and None in metrics["training"].values():
        raise ValueError(f"{where} is of a training, of which training tells nothing")


def _limits(conf: dict) -> list[int] | None:
    """Return how long to train; None for a baseline."""
    return [conf["training"][key] for key in LIMITS] if "training" in conf else None


def _difference(metrics: dict, conf: dict, source: str) -> str | None:
    """Describe the first difference of a result from its job, up to the words "asked for"."""
    if describe_source(metrics["source"]) != source:
        return f"data is {describe_source(metrics['source'])} there, {source}"
    for group, values in conf.items():
        for key, value in values.items():
            there = value_of(metrics["conf"], group, key)
            if key not in MAY_CHANGE and there != value:
                return f"{key}={there!r} there, {value!r}"
    limits = _limits(conf)
    if limits is None:
        return None
    epochs, max_steps = limits
    if epochs < metrics["conf"]["training"]["epochs"]:
        return f"epochs={metrics['conf']['training']['epochs']} there, {epochs}"
    if 0 <= max_steps < metrics["training"]["steps"]:
        return f"{metrics['training']['steps']} updates there, {max_steps}"
    return None


def _result(metrics: dict, run: Run) -> Result:
    """Take what is used from a run's metrics and segments, which must belong together."""
    columns, path = [*METRICS, "additivity_error"], run.segments_file
    segments = run.read_segments("track", *columns)
    later = [column for column in OF_VOICE if column in segments]
    counts = segments["representation"].value_counts()
    for name in metrics["costs"]:
        if counts.get(name, 0) != metrics["segments"]:
            raise ValueError(
                f"{path.name} has {counts.get(name, 0)} segments of {name}, "
                f"{run.metrics_file.name} {metrics['segments']}"
            )
    evaluated = metrics["evaluated"]
    if evaluated not in metrics["costs"]:
        raise ValueError(f"{run.metrics_file}: costs has no {evaluated!r}, as evaluated")
    versions = [f"{name} {version}" for name, version in metrics["versions"].items() if version]
    beside = pretrained_names(metrics["conf"])
    evaluations = {}
    for name in (evaluated, *(name for name in beside if name in metrics["costs"])):
        own = segments[segments["representation"] == name]
        figures = numbers(own, [*columns, *later], path).set_index(own["track"].astype(str))
        for column in columns:
            if not np.isfinite(figures[column]).all():
                raise ValueError(f"{path.name}: {column} of {name} is not finite everywhere")
        evaluations[name] = Evaluation(
            costs=metrics["costs"][name],
            segments=figures,
            readability=metrics.get("readability", {}).get(name, {}),
        )
    return Result(
        **vars(evaluations.pop(evaluated)),
        source=describe_source(metrics["source"]),
        steps=metrics["training"]["steps"],
        seconds=metrics["training"]["seconds"],
        parameters=metrics["parameters"],
        n_segments=metrics["segments"],
        n_tracks=metrics["test_tracks"],
        made_with=f"{metrics['device']}; commit {metrics.get('commit')}; {', '.join(versions)}",
        beside=evaluations,
    )


def make_table(table: Table, jobs: Sequence[Job], results: Sequence[Result | None]) -> pd.DataFrame:
    """Make the figures of a table: medians over segments and runs beside the paper's figures.

    Args:
        table (Table): The table as it is declared.
        jobs (sequence of Job): All runs of all rows.
        results (sequence of Result or None): Result of each job; None if it is not done.

    Returns:
        :class:`pandas.DataFrame` with columns of `COLUMNS`, one row a row of the table, and between
        those that are trained and the baselines one for each model that `pretrained` names; NaN
        where there is no result.
    """
    lines, rows = [], table.all_rows()
    for name, done in by_line(table, jobs, results).items():
        cells: dict = {"Setup": with_length(name.removeprefix(BESIDE)), "Runs": len(done)}
        if name in rows:
            job = next(job for job in jobs if job.row == name)
            cells |= {"Setup": rows[name].label, "C": job.n_channels}
            cells |= {PAPER_COLUMNS[key]: value for key, value in rows[name].paper.items()}
        if done:
            cells |= _evaluation_cells(done)
        if done and name in table.rows:
            cells |= _training_cells([run for run in done if isinstance(run, Result)])
        lines.append(cells)
    figures = pd.DataFrame(lines, columns=list(COLUMNS), dtype=object)
    without = [title for title in PAPER_COLUMNS.values() if figures[title].isna().all()]
    return figures.drop(columns=without)


def by_line(
    table: Table, jobs: Sequence[Job], results: Sequence[Result | None]
) -> dict[str, list[Evaluation]]:
    """Return what each line of a table is made of, in order, as :func:`make_table` describes them.

    Args:
        table (Table): The table as it is declared.
        jobs (sequence of Job): The jobs that it is made from.
        results (sequence of Result or None): Result of each job; None if it is not done.

    Returns:
        dict: by the name of the row, of a model that `pretrained` names by its name after `BESIDE`.
    """
    lines: dict[str, list[Evaluation]] = {name: [] for name in table.rows}
    lines |= {
        f"{BESIDE}{name}": [each]  # the same in all runs
        for result in results
        if result is not None
        for name, each in result.beside.items()
    }
    lines |= {name: [] for name in table.stft}
    for job, result in zip(jobs, results, strict=True):
        if result is not None:
            lines[job.row].append(result)
    return lines


def _evaluation_cells(runs: Sequence[Evaluation]) -> dict:
    """Make the cells of what was evaluated."""
    segments = pd.concat([run.segments for run in runs])
    cells: dict[str, float | None] = {}
    for column, title in METRICS.items():
        lower, middle, upper = segments[column].quantile([0.25, 0.5, 0.75])
        cells[f"{title} (dB)"] = middle
        cells[f"{title} IQR (dB)"] = upper - lower
    cells["Additivity error"] = segments["additivity_error"].median()
    shares = [run.readability[AT_CARRIER] for run in runs if AT_CARRIER in run.readability]
    cells["Kernels at carrier (%)"] = 100 * median(shares) if shares else None
    cells |= {title: segments[key].median() for key, title in OF_VOICE.items() if key in segments}
    return {**cells, **{title: runs[0].costs[key] for key, title in COSTS.items()}}


def _training_cells(runs: Sequence[Result]) -> dict:
    """Make the cells of what was trained."""
    return {
        "Parameters (M)": runs[0].parameters / 1e6,
        "Training time (min)": median(r.seconds for r in runs if r.seconds is not None) / 60,
        "Updates": median(r.steps for r in runs if r.steps is not None),
    }


def with_length(name: str, steps: float | None = None) -> str:
    """Name a representation and how long it was trained, where that is known.

    Args:
        name (str): Its name in tables, which tells that a model of the package is untrained.
        steps (float, optional): Updates; None or NaN if nothing is known.

    Examples
        >>> [with_length("DAE", 40), with_length("DAE", 0), with_length("DAE, untrained", 0)]
        ['DAE, 40 updates', 'DAE, untrained', 'DAE, untrained']
        >>> with_length("multires_c800_s256")
        'multires_c800_s256, untrained'
    """
    if name in STRUCTURES or steps == 0:
        return f"{name.removesuffix(', untrained')}, untrained"
    return name if steps is None or pd.isna(steps) else f"{name}, {steps:.0f} updates"


def to_sentence(table: Table, figures: pd.DataFrame) -> str:
    """Say in one sentence what a table shows; see :func:`.in_words`.

    It is about the table's `report_row`, or the first trained row with a result if that has none,
    and the first of the baselines with a result.

    Args:
        table (Table): The table as it is declared.
        figures (:class:`pandas.DataFrame`): The result of :func:`make_table`.

    Returns:
        str: The sentence; empty if there is nothing to compare.
    """
    names = [with_length(*line) for line in zip(figures["Setup"], figures["Updates"], strict=True)]
    medians = figures[f"{METRICS[bm_column(0.5)]} (dB)"].astype(float)
    lines = zip(figures["Setup"], names, medians.notna(), strict=True)
    done = {label: name for label, name, is_done in lines if is_done}
    rows = sorted(table.rows, key=lambda row: row != table.report_row)  # which then comes first
    trained = [done[table.rows[row].label] for row in rows if table.rows[row].label in done]
    stft = [done[row.label] for row in table.stft.values() if row.label in done]
    if not trained or not stft:
        return ""
    return in_words(trained[0], stft[0], dict(zip(names, medians, strict=True)))


def to_markdown(
    table: Table,
    figures: pd.DataFrame,
    jobs: Sequence[Job],
    results: Sequence[Result | None],
    given: dict,
    notes_on_figures: Sequence[str] = (),
) -> str:
    """Write the table under its title, and below it what it was made of.

    Args:
        table (Table): The table as it is declared.
        figures (:class:`pandas.DataFrame`): The result of :func:`make_table`.
        jobs (sequence of Job): The jobs that it was made from.
        results (sequence of Result or None): Result of each job.
        given (dict): Values by key that differ from the table's declaration for all rows.
        notes_on_figures (sequence of str): What else is to be said of its columns.
    """
    lines = figures.where(figures.notna(), None).to_markdown(
        index=False, floatfmt=[COLUMNS.get(str(title), "g") for title in figures], missingval="–"
    )
    notes = make_notes(jobs, results, given, notes_on_figures)
    notes += filter(None, [to_sentence(table, figures)])
    return "\n".join([f"# {table.title}", "", lines, "", *(f"- {note}" for note in notes)])


def make_notes(
    jobs: Sequence[Job],
    results: Sequence[Result | None],
    given: dict,
    notes_on_figures: Sequence[str] = (),
) -> list[str]:
    """Say what a table's figures are and what they were made of, see :func:`to_markdown`."""
    notes = [
        "Medians over segments and runs; IQR is the distance between the quartiles.",
        "SI-SDR-BM t keeps what has |v| > t · |a|, v the vocals and a the accompaniment; the paper "
        "does not state t. The energy-ratio mask, v² / (v² + a²) > 1/2, is that of t = 1.",
        "SI-SDR-RM weighs by the ratio mask, |v| / (|v| + |a|).",
        "Additivity error: ‖A_m − A_v − A_b‖₁ / ‖A_m‖₁.",
        "Kernels at carrier: share of the decoder's kernels whose response peaks within sample "
        "rate / L of their carrier, of an STFT 1 by construction. Sparsity is Hoyer's, 0 to 1; "
        "variation the sum of |A[:,t] − A[:,t−1]| over that of A, times frames a second.",
        *notes_on_figures,
        "A real representation that splits signs into several non-negative channels (four phases, "
        "or a kernel and its negative) lets a mask that knows the sources see the phase. So mask "
        "decisions a second, the additivity error and the ratio mask stand beside each figure.",
        *_provenance(jobs, [result for result in results if result is not None]),
    ]
    if given:
        values = ", ".join(f"{key}={value}" for key, value in given.items())
        notes.append(f"Given for all rows that set nothing else: {values}.")
    missing = [str(job) for job, result in zip(jobs, results, strict=True) if result is None]
    if missing:
        notes.append(f"Incomplete: {len(missing)} of {len(jobs)} runs missing, {_list(missing)}.")
    return notes


def _provenance(jobs: Sequence[Job], done: Sequence[Result]) -> list[str]:
    if not done:
        return []
    return [
        f"Seeds: {_list(job.seed for job in jobs if not job.is_baseline)}. Test segments: "
        f"{_list(result.n_segments for result in done)} of "
        f"{_list(result.n_tracks for result in done)} tracks; {done[0].source}.",
        *dict.fromkeys(f"Evaluated on {result.made_with}." for result in done),
    ]


def _list(values: Iterable) -> str:
    """Join the distinct values, in order of appearance."""
    return ", ".join(map(str, dict.fromkeys(values)))
