"""Run an experiment of several trainings, and write its table beside the paper's figures.

Every row is trained and evaluated once a seed, in EXP_ROOT/EXPERIMENT/ROW_seedK, a baseline only
evaluated, in EXP_ROOT/EXPERIMENT/ROW. What is done is skipped, what was cut is continued, and after
a job that fails the others run on. The table is of whatever is done so far, in
EXP_ROOT/EXPERIMENT/table.md and table.csv. Options of train.py hold for all rows, except those that
tell rows apart; untrained rows stay untrained.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from utils import scripts

from asteroid_sinudae.data.segments import Manifest
from asteroid_sinudae.runs.conf import write_conf
from asteroid_sinudae.runs.declaration import (
    Experiment,
    Job,
    check_free,
    load_experiment,
    make_jobs,
    parse_rows,
    parse_seeds,
    parse_shard,
)
from asteroid_sinudae.runs.processes import run_script
from asteroid_sinudae.runs.results import (
    Result,
    describe_source,
    make_table,
    read_result,
    to_markdown,
)
from asteroid_sinudae.utils.errors import one_line
from asteroid_sinudae.utils.files import atomic_path, write_text
from asteroid_sinudae.utils.locks import locked

RECIPE = Path(__file__).resolve().parent

logger = logging.getLogger(__name__)


def run_job(job: Job, data_dir: Path, source: str, heading: str) -> None:
    """Train and evaluate what is left of a job, or evaluate a baseline.

    Raises:
        BlockingIOError: if another process runs it.
        ValueError: if it cannot be run, or a script fails.
    """
    with locked(job.folder / ".lock") as lock:
        if read_result(job, source) is not None:
            print(f"{heading}: done before", flush=True)
            return
        where = ["--exp_dir", str(job.folder), "--data_dir", str(data_dir)]
        if job.is_baseline:
            write_conf(job.conf, job.folder / "conf.yml")
        else:
            print(f"{heading}: training", flush=True)
            run_script(RECIPE / "train.py", [*where, *job.options()], lock)
        print(f"{heading}: evaluating", flush=True)
        # Whatever happens, the new segments.csv never stands beside an older result.
        (job.folder / "final_metrics.json").unlink(missing_ok=True)
        alone = ["--stft"] if job.is_baseline else []
        run_script(RECIPE / "eval.py", [*where, *alone], lock)
        if read_result(job, source) is None:
            raise ValueError(f"{job.folder} has no result after its evaluation")


def run_jobs(jobs: Sequence[Job], data_dir: Path, source: str) -> dict[str, str]:
    """Run all jobs, whatever becomes of one.

    Returns:
        dict: Why, by name, of those that failed.
    """
    failed = {}
    for number, job in enumerate(jobs, 1):
        heading = f"[{number}/{len(jobs)}] {job}"
        try:
            run_job(job, data_dir, source, heading)
        except BlockingIOError as error:
            print(f"{heading}: left out, {one_line(error)}", flush=True)
        except (ValueError, OSError) as error:
            failed[str(job)] = one_line(error)
            print(f"{heading}: failed", flush=True)
    return failed


def collect(jobs: Sequence[Job], source: str) -> tuple[list[Result | None], dict[str, str]]:
    """Results of jobs, None where one is not done, and why, by name, of those that are refused."""
    results, refused = [], {}
    for job in jobs:
        try:
            results.append(read_result(job, source))
        except ValueError as error:
            results.append(None)
            refused[str(job)] = one_line(error)
    return results, refused


def write_table(
    experiment: Experiment, jobs: Sequence[Job], source: str, folder: Path, given: dict
) -> dict:
    """Write and print the table of what is done; returns why, by name, of results refused."""
    with locked(folder / ".lock"):  # other shards write it too
        results, refused = collect(jobs, source)
        table = make_table(experiment, jobs, results)
        text = to_markdown(experiment, table, jobs, results, given)
        write_text(folder / "table.md", text + "\n")
        with atomic_path(folder / "table.csv") as temporary:
            table.to_csv(temporary, index=False)
    print(f"\n{text}")
    return refused


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--experiment", required=True, help="name in the file of experiments")
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    parser.add_argument(
        "--exp_root", type=scripts.path, default=Path("exp"), help="folder of results"
    )
    parser.add_argument(
        "--experiments",
        type=scripts.path,
        default=RECIPE / "local" / "experiments.yml",
        help="YAML file of experiments",
    )
    parser.add_argument("--rows", nargs="+", help="rows to run, default: all")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"], help="a run of each")
    parser.add_argument("--shard", default="1/1", help="i/n: run the i-th of n shares of the jobs")
    args, conf = scripts.parse_args_with_conf(parser)

    given = {k: v for group in conf.values() for k, v in group.items() if k in args.given}
    experiment = load_experiment(args.experiments, args.experiment, conf)
    check_free(experiment, given)
    rows, seeds = parse_rows(args.rows, experiment), parse_seeds(args.seeds)
    part, parts = parse_shard(args.shard)
    if conf["training"]["num_nodes"] != 1:
        raise ValueError("num_nodes must be 1: over several nodes, start train.py on each of them")
    source = describe_source(Manifest.load(args.data_dir).source)

    jobs = make_jobs(experiment, conf, rows, seeds, args.exp_root, given)[part - 1 :: parts]
    failed = run_jobs(jobs, args.data_dir, source)
    all_rows = list(experiment.all_rows())
    all_jobs = make_jobs(experiment, conf, all_rows, seeds, args.exp_root, given)
    refused = write_table(experiment, all_jobs, source, args.exp_root / experiment.name, given)
    for job in refused.keys() - failed.keys():
        logger.warning("not in the table, %s: %s", job, refused[job])
    if failed:
        reasons = "".join(f"\n  {job}: {reason}" for job, reason in failed.items())
        sys.exit(f"tables.py: {len(failed)} of {len(jobs)} jobs failed:{reasons}")


if __name__ == "__main__":
    scripts.run(main)
