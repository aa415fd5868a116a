"""Evaluate both separators on the test tracks, beside masks that know the true sources.

Writes segments.csv, final_metrics.json and table.md into --exp_dir, with --museval also
museval/<system>/test/<track>.json and museval.json, and prints the tables.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from eval_museval import report
from torch import nn
from utils import scripts
from utils.processes import run_lock
from utils.systems import load_systems, read_run_conf, stft_conf

from asteroid_sinudae import Representation, SinuDAEConvTasNet
from asteroid_sinudae.data.segments import Manifest
from asteroid_sinudae.data.tracks import SOURCES
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.bsseval import METRICS, summary
from asteroid_sinudae.evaluation.bsseval_runs import evaluate_tracks
from asteroid_sinudae.evaluation.estimates import masked_estimates, separator_estimator
from asteroid_sinudae.evaluation.tables import markdown_table, medians
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.models.separators import STFTConvTasNet
from asteroid_sinudae.runs.files import read_training
from asteroid_sinudae.utils.files import atomic_path, write_json, write_text
from asteroid_sinudae.utils.provenance import provenance

SEPARATORS = {"sinudae": SinuDAEConvTasNet, "stft": STFTConvTasNet}
THRESHOLDS = (0.5, 1.0)  # of the informed masks
TITLES = {
    f"{column}_{source}": f"{title} {source} (dB)"
    for column, title in (("si_sdr", "SI-SDR"), ("si_sdri", "SI-SDRi"))
    for source in SOURCES
}


def load_separators(exp_dir: Path, trained_on: dict) -> tuple[dict[str, nn.Module], dict]:
    """Both separators in the order of their names, and how each was trained.

    Args:
        exp_dir (Path): Folder of the separators.
        trained_on (dict): Digest of the pair and sizes of the STFT that they must have been
            trained on.

    Raises:
        FileNotFoundError: if one is not there.
        ValueError: if one is refused, was trained on something else, or not as the other.
    """
    separators, trainings = {}, {}
    for name, separator_class in SEPARATORS.items():
        path = exp_dir / name / "best_model.pth"
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found: train the separators first (stage 6)")
        separators[name] = separator_class.from_pretrained(path).eval()
        trainings[name] = read_training(path)
        run = trainings[name].get("conf", {}).get("run", {})
        if any(run.get(key) != value for key, value in trained_on.items()):
            raise ValueError(
                f"{path} was trained on another pair, or beside another STFT, than this: train "
                "the separators again (stage 6)"
            )
    first, second = ({k: training[k] for k in ("conf", "steps")} for training in trainings.values())
    if first != second:
        raise ValueError(
            f"the separators in {exp_dir} were not trained alike, after {first['steps']} and "
            f"{second['steps']} updates: train both again (stage 6)"
        )
    return separators, trainings


def estimate_by_name(systems: dict[str, Representation], separators: dict[str, nn.Module]) -> dict:
    """All estimators by the name they have in tables."""
    blind = {
        f"{name}, separator": separator_estimator(separator)
        for name, separator in zip(systems, separators.values(), strict=True)
    }
    informed = {
        f"{name}, informed mask {threshold:g}": partial(
            masked_estimates, system, threshold=threshold
        )
        for name, system in systems.items()
        for threshold in THRESHOLDS
    }
    return {**blind, **informed}


def evaluate_segments(
    systems: dict[str, Representation],
    separators: dict[str, nn.Module],
    manifest: Manifest,
    segment: int,
    exp_dir: Path,
) -> dict:
    """Write segments.csv and table.md; returns what final_metrics.json says of them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for model in (*systems.values(), *separators.values()):
        model.to(device)
    results, n_left_out = evaluate_separation(
        estimate_by_name(systems, separators), manifest.subset("test"), segment, device=device
    )
    with atomic_path(exp_dir / "segments.csv") as temporary:
        results.to_csv(temporary, index=False)
    table = medians(results)
    tracks = {name: medians(rows) for name, rows in results.groupby("track", sort=False)}
    text = markdown_table(table.rename(columns=TITLES))
    write_text(exp_dir / "table.md", text + "\n")
    n_segments = len(results) // len(table)
    print(f"{text}\n\nMedians over {n_segments} segments; test tracks: {len(tracks)}")
    print(f"Segments without vocals or accompaniment left out: {n_left_out}")
    return {
        "medians": table.to_dict(orient="index"),
        "medians_by_track": {name: rows.to_dict(orient="index") for name, rows in tracks.items()},
        "segments": n_segments,
        "silent_segments": n_left_out,
        **provenance(device),
    }


def evaluate_museval(
    systems: dict[str, Representation | nn.Module],
    manifest: Manifest,
    args: argparse.Namespace,
) -> dict:
    """Score whole tracks on the CPU; returns the content of museval.json."""
    scores = evaluate_tracks(
        {name: system.cpu() for name, system in systems.items()},
        manifest.subset("test")[: args.n_tracks],
        args.exp_dir / "museval",
        threshold=args.threshold,
        duration=args.duration,
        n_workers=args.n_workers,
    )
    table = summary(scores.store).reset_index("target")
    print(markdown_table(table.rename(columns={metric: f"{metric} (dB)" for metric in METRICS})))
    n_tracks = len(scores.silent_frames)
    print(f"\nMedians over {n_tracks} test tracks of the medians over their frames")
    return {
        **report(scores),
        "threshold": args.threshold,
        "duration": args.duration,
        **provenance("cpu"),
    }


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument(
        "--exp_dir", type=scripts.path, required=True, help="folder of the separators"
    )
    parser.add_argument(
        "--pair_dir",
        type=scripts.path,
        required=True,
        help="folder of the trained auto-encoder (stage 2)",
    )
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    parser.add_argument("--museval", action="store_true", help="also score whole tracks")
    parser.add_argument("--n_tracks", type=int, help="... the first of them; default: all")
    parser.add_argument("--duration", type=float, help="... seconds from each start; default: all")
    parser.add_argument("--threshold", type=float, default=0.5, help="... of the informed mask")
    parser.add_argument("--n_workers", type=int, help="... processes; default: all cores")
    args = parser.parse_args()
    if args.n_tracks is not None and args.n_tracks < 1:
        raise ValueError(f"n_tracks must be 1 or more, got {args.n_tracks}")
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Evaluate the separators that the options name."""
    manifest = Manifest.load(args.data_dir)
    pair_conf = read_run_conf(args.pair_dir)
    systems = load_systems(args.pair_dir, pair_conf, manifest)
    pair = next(iter(systems.values()))
    trained_on = {"pair": model_digest(pair), **stft_conf(pair_conf)}
    separators, trainings = load_separators(args.exp_dir, trained_on)
    facts = {
        "separators": {
            name: {
                "learned_parameters": sum(p.numel() for p in model.masker.parameters()),
                **{key: trainings[name][key] for key in ("steps", "epochs", "seconds")},
            }
            for name, model in separators.items()
        },
        "test_tracks": len(manifest.subset("test")),
        "source": {key: manifest.source[key] for key in ("kind", "path")},
        "skipped_tracks": list(manifest.skipped),
        "conf": trainings["sinudae"]["conf"],
    }
    segment = facts["conf"]["data"]["segment"]
    segments = evaluate_segments(systems, separators, manifest, segment, args.exp_dir)
    write_json(args.exp_dir / "final_metrics.json", {**segments, **facts})
    if args.museval:
        by_name = {
            f"{name}, separator": separator
            for name, separator in zip(systems, separators.values(), strict=True)
        }
        by_name |= {f"{name}, informed mask": system for name, system in systems.items()}
        scores = evaluate_museval(by_name, manifest, args)
        write_json(args.exp_dir / "museval.json", {**facts, **scores})
        if scores["failed"]:
            raise ValueError(f"failed: {'; '.join(scores['failed'])}")


if __name__ == "__main__":
    scripts.run(main)
