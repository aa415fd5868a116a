"""Train and evaluate the rows of a table, and write it beside the paper's figures.

Every row is trained and evaluated once a seed, in EXP_ROOT/TABLE/ROW_seedK, a baseline only
evaluated, in EXP_ROOT/TABLE/ROW. What is done is skipped, what was cut is continued, and after
a job that fails the others run on. The table is of whatever is done so far, in
EXP_ROOT/TABLE/table.md and table.csv. Options of train.py hold for all rows, except those that
tell rows apart; untrained rows stay untrained.
"""

import logging
import sys
from pathlib import Path

from utils import scripts

from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.runs.declaration import (
    check_free,
    load_table,
    make_jobs,
    parse_rows,
    parse_seeds,
    parse_shard,
)
from asteroid_sinudae.runs.jobs import run_jobs, write_table
from asteroid_sinudae.runs.results import describe_source

RECIPE = Path(__file__).resolve().parent

logger = logging.getLogger(__name__)


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--table", required=True, help="name of the table in the file")
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    parser.add_argument(
        "--exp_root", type=scripts.path, default=Path("exp"), help="folder of results"
    )
    parser.add_argument(
        "--tables",
        type=scripts.path,
        default=RECIPE / "local" / "tables.yml",
        help="YAML file of tables",
    )
    parser.add_argument("--rows", nargs="+", help="rows to run, default: all")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"], help="a run of each")
    parser.add_argument("--shard", default="1/1", help="i/n: run the i-th of n shares of the jobs")
    args, conf = scripts.parse_args_with_conf(parser)

    given = {k: v for group in conf.values() for k, v in group.items() if k in args.given}
    table = load_table(args.tables, args.table, conf)
    check_free(table, given)
    rows, seeds = parse_rows(args.rows, table), parse_seeds(args.seeds)
    part, parts = parse_shard(args.shard)
    if conf["training"]["num_nodes"] != 1:
        raise ValueError("num_nodes must be 1: over several nodes, start train.py on each of them")
    source = describe_source(Manifest.load(args.data_dir).source)

    jobs = make_jobs(table, conf, rows, seeds, args.exp_root, given)[part - 1 :: parts]
    failed = run_jobs(jobs, RECIPE, args.data_dir, source)
    all_rows = list(table.all_rows())
    all_jobs = make_jobs(table, conf, all_rows, seeds, args.exp_root, given)
    refused = write_table(table, all_jobs, source, args.exp_root / table.name, given)
    for job in refused.keys() - failed.keys():
        logger.warning("not in the table, %s: %s", job, refused[job])
    if failed:
        reasons = "".join(f"\n  {job}: {reason}" for job, reason in failed.items())
        sys.exit(f"tables.py: {len(failed)} of {len(jobs)} jobs failed:{reasons}")


if __name__ == "__main__":
    scripts.run(main)
