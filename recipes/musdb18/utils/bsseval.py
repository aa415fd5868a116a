"""What the scripts share that score whole test tracks by museval (BSSEval v4)."""

import argparse
from collections.abc import Mapping, Sequence

from utils import scripts

from asteroid_sinudae.data.musdb18 import SourceTrack, list_tracks
from asteroid_sinudae.data.tracks import Manifest, Track
from asteroid_sinudae.evaluation.bsseval import METRICS, summary
from asteroid_sinudae.evaluation.bsseval_runs import Scores, evaluate_tracks
from asteroid_sinudae.evaluation.estimates import Model
from asteroid_sinudae.evaluation.tables import terminal_text
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.utils.files import write_json
from asteroid_sinudae.utils.provenance import provenance


def parse_args(parser: scripts.Parser) -> argparse.Namespace:
    """Add the options of :func:`score_tracks` to those of a script, and parse all of them."""
    options = parser.add_argument_group("museval")
    options.add_argument("--n_tracks", type=int, help="the first of the tracks; default: all")
    options.add_argument("--duration", type=float, help="seconds from each start; default: all")
    options.add_argument(
        "--stereo_dir",
        type=scripts.path,
        help="folder of MUSDB18: score its test tracks in stereo; default: the prepared ones, mono",
    )
    options.add_argument("--threshold", type=float, default=0.5, help="of the oracle mask")
    options.add_argument(
        "--n_workers", type=int, help="processes, each 3.4 GB for four minutes; default: all cores"
    )
    args = parser.parse_args()
    if args.n_tracks is not None and args.n_tracks < 1:
        raise ValueError(f"n_tracks must be 1 or more, got {args.n_tracks}")
    return args


def score_tracks(
    models: Mapping[str, Model], manifest: Manifest, args: argparse.Namespace, facts: dict
) -> None:
    """Score models on whole test tracks, on the CPU, and print and write the table of medians.

    Args:
        models (dict): Representations or separators, by their names in tables.
        manifest (Manifest): Manifest of the prepared data.
        args (argparse.Namespace): Options, see :func:`parse_args`; the scores of tracks are
            written into `exp_dir`.
        facts (dict): Plain values that are written with the medians.

    Raises:
        ValueError: naming the tracks that could not be scored, after the others were.
    """
    run = Run(args.exp_dir)
    if args.stereo_dir is None:
        folder, file = run.museval_folder, run.museval_file
        tracks: Sequence[Track | SourceTrack] = manifest.subset("test")
        source, skipped = manifest.source, list(manifest.skipped)
    else:
        folder, file = run.stereo_museval_folder, run.stereo_museval_file
        kind, found = list_tracks(args.stereo_dir)
        tracks = [track for track in found if track.subset == "test"]
        source, skipped = {"kind": kind, "path": str(args.stereo_dir)}, []
    scores = evaluate_tracks(
        {name: model.cpu() for name, model in models.items()},
        tracks[: args.n_tracks],
        folder,
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
    result = {
        **facts,
        **_plain(scores),
        "threshold": args.threshold,
        "duration": args.duration,
        "source": {key: source[key] for key in ("kind", "path")},
        "skipped_tracks": skipped,
        **provenance("cpu"),
    }
    write_json(file, result)
    if scores.failed:
        names = "; ".join(scores.failed)
        raise ValueError(f"failed: {names}; the medians are of the others")


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
