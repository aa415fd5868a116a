"""What the scripts share that score whole test tracks by museval (BSSEval v4)."""

import argparse
from collections.abc import Mapping

from utils import scripts

from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.bsseval import METRICS, summary
from asteroid_sinudae.evaluation.bsseval_runs import Scores, evaluate_tracks
from asteroid_sinudae.evaluation.estimates import Model
from asteroid_sinudae.evaluation.tables import terminal_text
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.utils.provenance import provenance


def parse_args(parser: scripts.Parser) -> argparse.Namespace:
    """Add the options of :func:`score_tracks` to those of a script, and parse all of them."""
    options = parser.add_argument_group("museval")
    options.add_argument("--n_tracks", type=int, help="the first of the tracks; default: all")
    options.add_argument("--duration", type=float, help="seconds from each start; default: all")
    options.add_argument("--threshold", type=float, default=0.5, help="of the oracle mask")
    options.add_argument(
        "--n_workers", type=int, help="processes, each 3.4 GB for four minutes; default: all cores"
    )
    args = parser.parse_args()
    if args.n_tracks is not None and args.n_tracks < 1:
        raise ValueError(f"n_tracks must be 1 or more, got {args.n_tracks}")
    return args


def score_tracks(models: Mapping[str, Model], manifest: Manifest, args: argparse.Namespace) -> dict:
    """Score models on whole test tracks, on the CPU, and print the table of medians.

    Args:
        models (dict): Representations or separators, by their names in tables.
        manifest (Manifest): Manifest of the prepared data.
        args (argparse.Namespace): Options, see :func:`parse_args`; the scores of tracks are
            written into `exp_dir`.

    Returns:
        dict: The medians and what they were made with, as plain values.
    """
    scores = evaluate_tracks(
        {name: model.cpu() for name, model in models.items()},
        manifest.subset("test")[: args.n_tracks],
        Run(args.exp_dir).museval_folder,
        threshold=args.threshold,
        duration=args.duration,
        n_workers=args.n_workers,
    )
    table = summary(scores.store).reset_index("source")
    titles = {metric: f"{metric} (dB)" for metric in METRICS}
    print(terminal_text(table.rename(columns=titles).reset_index()))
    n_tracks = len(scores.silent_frames)
    print(f"\nMedians over {n_tracks} test tracks of the medians over their frames")
    print(f"Tracks left out: {len(scores.left_out)}")
    return {
        **_plain(scores),
        "threshold": args.threshold,
        "duration": args.duration,
        "source": {key: manifest.source[key] for key in ("kind", "path")},
        "skipped_tracks": list(manifest.skipped),
        **provenance("cpu"),
    }


def check_scored(result: dict) -> None:
    """Raise a ValueError that names the tracks that :func:`score_tracks` could not score."""
    if result["failed"]:
        raise ValueError(f"failed: {'; '.join(result['failed'])}; the medians are of the others")


def _plain(scores: Scores) -> dict:
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
