"""Score the masked estimates of whole test tracks by museval (BSSEval v4).

A run's trained pair and the STFT are scored on the CPU, in parallel processes. Writes the scores of
each track as it goes, and their medians, into --exp_dir, and prints the table. Interrupted, it
continues where it was.
"""

import argparse

from utils import scripts

from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.bsseval import METRICS, summary
from asteroid_sinudae.evaluation.bsseval_runs import Scores, evaluate_tracks
from asteroid_sinudae.evaluation.tables import markdown_table
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import OF_TABLE, load_representations
from asteroid_sinudae.utils.files import write_json
from asteroid_sinudae.utils.provenance import provenance


def report(scores: Scores) -> dict:
    """Return medians and what they leave out, as plain values."""
    table = summary(scores.store).astype(object)
    table = table.where(table.notna(), None)
    names = table.index.unique("representation")
    return {
        "medians": {name: table.loc[name].to_dict(orient="index") for name in names},
        "test_tracks": len(scores.silent_frames),
        "silent_frames": scores.silent_frames,
        "left_out": scores.left_out,
        "failed": scores.failed,
    }


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--exp_dir", type=scripts.path, required=True, help="folder of the run")
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    parser.add_argument("--n_tracks", type=int, help="the first of them; default: all")
    parser.add_argument("--duration", type=float, help="seconds from each start; default: all")
    parser.add_argument("--threshold", type=float, default=0.5, help="of the mask")
    parser.add_argument(
        "--n_workers", type=int, help="processes, each 3.4 GB for four minutes; default: all cores"
    )
    args = parser.parse_args()
    if args.n_tracks is not None and args.n_tracks < 1:
        raise ValueError(f"n_tracks must be 1 or more, got {args.n_tracks}")
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Score the run that the options name."""
    run = Run(args.exp_dir)
    conf = run.read_conf(scripts.base_conf(), OF_TABLE)
    manifest = Manifest.load(args.data_dir)
    run.check_trained_as(conf)
    scores = evaluate_tracks(
        load_representations(run, conf, manifest),
        manifest.subset("test")[: args.n_tracks],
        run.museval_folder,
        threshold=args.threshold,
        duration=args.duration,
        n_workers=args.n_workers,
    )
    result = {
        **report(scores),
        "threshold": args.threshold,
        "duration": args.duration,
        "source": {key: manifest.source[key] for key in ("kind", "path")},
        "skipped_tracks": list(manifest.skipped),
        "conf": conf,
        **provenance("cpu"),
    }
    write_json(run.museval_file, result)
    table = summary(scores.store).reset_index("source")
    print(markdown_table(table.rename(columns={metric: f"{metric} (dB)" for metric in METRICS})))
    print(f"\nMedians over {result['test_tracks']} test tracks of the medians over their frames")
    print(f"Tracks left out: {len(scores.left_out)}")
    if scores.failed:
        raise ValueError(f"failed: {'; '.join(scores.failed)}; the medians are of the other tracks")


if __name__ == "__main__":
    scripts.run(main)
