"""Running a table's jobs, whatever becomes of one of them, and writing it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from ..evaluation.tables import WIDTH
from ..utils.errors import one_line
from ..utils.files import write_text
from ..utils.locks import locked
from .conf import write_conf
from .declaration import Job, Table
from .intervals import add_intervals, for_reading, for_terminal
from .processes import run_script
from .results import Result, make_notes, make_table, read_result, to_markdown, to_sentence


def run_job(job: Job, scripts: Path, data_dir: Path, source: str, heading: str) -> None:
    """Train and evaluate what is left of a job, or evaluate a baseline.

    Args:
        job (Job): What to run.
        scripts (Path): Folder of train.py and eval.py.
        data_dir (Path): Folder of the prepared data.
        source (str): What the data was prepared from, from :func:`.describe_source`.
        heading (str): The job in lines that tell how far it is.

    Raises:
        BlockingIOError: if another process runs it.
        ValueError: if it cannot be run, or a script fails.
    """
    run = job.run
    with locked(run.folder / ".lock") as lock:
        if read_result(job, source) is not None:
            print(f"{heading}: done before", flush=True)
            return
        where = ["--exp_dir", str(run.folder), "--data_dir", str(data_dir)]
        if job.is_baseline:
            write_conf(job.conf, run.conf_file)
        else:
            print(f"{heading}: training", flush=True)
            # Not conf_file, which tells of what the folder already holds: train.py refuses to go
            # on with another configuration, and only then writes its own.
            write_conf(job.conf, run.job_file)
            run_script(scripts / "train.py", [*where, "--conf", str(run.job_file)], lock)
        print(f"{heading}: evaluating", flush=True)
        # Whatever happens, new segments never stand beside an older result.
        run.metrics_file.unlink(missing_ok=True)
        alone = ["--stft"] if job.is_baseline else []
        run_script(scripts / "eval.py", [*where, *alone], lock)
        if read_result(job, source) is None:
            raise ValueError(f"{run.folder} has no result after its evaluation")


def run_jobs(jobs: Sequence[Job], scripts: Path, data_dir: Path, source: str) -> dict[str, str]:
    """Run all jobs as :func:`run_job` does; after one that fails the others are run as well.

    Returns:
        dict: For each job that failed, by its name, the reason.
    """
    failed = {}
    for number, job in enumerate(jobs, 1):
        heading = f"[{number}/{len(jobs)}] {job}"
        try:
            run_job(job, scripts, data_dir, source, heading)
        except BlockingIOError as error:
            print(f"{heading}: left out, {one_line(error)}", flush=True)
        except (ValueError, OSError) as error:
            failed[str(job)] = one_line(error)
            print(f"{heading}: failed", flush=True)
    return failed


def collect(jobs: Sequence[Job], source: str) -> tuple[list[Result | None], dict[str, str]]:
    """Read the results of jobs, None where one is not done, and why others are refused, by name."""
    results, refused = [], {}
    for job in jobs:
        try:
            results.append(read_result(job, source))
        except ValueError as error:
            results.append(None)
            refused[str(job)] = one_line(error)
    return results, refused


def write_table(
    table: Table, jobs: Sequence[Job], source: str, folder: Path, given: dict
) -> dict[str, str]:
    """Write and print the figures of a table as far as they are known.

    Args:
        table (Table): The table as it is declared.
        jobs (sequence of Job): All runs of all its rows.
        source (str): What the data was prepared from, from :func:`.describe_source`.
        folder (Path): Where table.md and table.csv are written; what is printed is a narrower form.
        given (dict): Values by key that differ from the declaration for all rows.

    Returns:
        dict: For each job whose result is refused, by its name, the reason.
    """
    with locked(folder / ".lock"):  # other shards write it too
        results, refused = collect(jobs, source)
        figures, note = add_intervals(make_table(table, jobs, results), table, jobs, results)
        of_figures = [note] if note else []
        text = to_markdown(table, for_reading(figures), jobs, results, given, of_figures)
        write_text(folder / "table.md", text + "\n")
        write_text(folder / "table.csv", figures.to_csv(index=False))
    notes = make_notes(jobs, results, given, of_figures)
    print(f"\n# {table.title}\n\n{for_terminal(figures)}\n", *map(wrapped, notes), sep="\n")
    print(f"All columns: {folder / 'table.md'}, unrounded: {folder / 'table.csv'}")
    sentence = to_sentence(table, figures)
    if sentence:
        print(f"\n{sentence}")
    return refused


def wrapped(note: str) -> str:
    """Write a note as an item of a list, folded for the terminal."""
    return fill(f"- {note}", WIDTH, subsequent_indent="  ", break_long_words=False)
