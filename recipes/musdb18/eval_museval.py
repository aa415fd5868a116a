"""Score the masked estimates of whole test tracks by museval (BSSEval v4).

A run's trained pair and the STFT are scored on the CPU, in parallel processes. Writes the scores of
each track as it goes, and their medians, into --exp_dir, and prints the table. Interrupted, it
continues where it was.
"""

import argparse

from utils import bsseval, scripts

from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import OF_TABLE, load_representations


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.RUN_FOLDERS)
    args = bsseval.parse_args(parser)
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Score the run that the options name."""
    run = Run(args.exp_dir)
    conf = run.read_conf(scripts.base_conf(), OF_TABLE)
    manifest = Manifest.load(args.data_dir)
    run.check_trained_as(conf)
    representations = load_representations(run, conf, manifest)
    bsseval.score_tracks(representations, manifest, args, {"conf": conf})


if __name__ == "__main__":
    scripts.run(main)
