"""Evaluate both separators on the test tracks, beside masks that know the true sources.

Writes the metrics of all segments and their medians into --exp_dir, with --museval also the scores
of whole tracks, and prints the tables.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from eval_museval import report
from torch import nn
from utils import scripts

from asteroid_sinudae import Representation, SinuDAEConvTasNet
from asteroid_sinudae.data.tracks import SOURCES, Manifest
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.bsseval import METRICS, summary
from asteroid_sinudae.evaluation.bsseval_runs import evaluate_tracks
from asteroid_sinudae.evaluation.estimates import masked_estimates, separator_estimator
from asteroid_sinudae.evaluation.tables import markdown_table, medians
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.models.separators import STFTConvTasNet
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import (
    OF_TABLE,
    STFT_NAME,
    load_representations,
    pair_name,
    stft_conf,
)
from asteroid_sinudae.utils.files import write_json, write_text
from asteroid_sinudae.utils.provenance import provenance

SEPARATORS = {"sinudae": SinuDAEConvTasNet, "stft": STFTConvTasNet}
THRESHOLDS = (0.5, 1.0)  # of the informed masks
TITLES = {
    f"{column}_{source}": f"{title} {source} (dB)"
    for column, title in (("si_sdr", "SI-SDR"), ("si_sdri", "SI-SDRi"))
    for source in SOURCES
}


def load_separators(exp_dir: Path, trained_on: dict) -> tuple[dict[str, nn.Module], dict]:
    """Load both separators, and how each was trained.

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
        run = Run(exp_dir / name)
        path = run.model_file
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found: train the separators first (stage 6)")
        separators[name] = separator_class.from_pretrained(path).eval()
        trainings[name] = run.read_training()
        facts = trainings[name].get("conf", {}).get("run", {})
        if any(facts.get(key) != value for key, value in trained_on.items()):
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


def estimators_by_name(
    representations: dict[str, Representation], separators: dict[str, nn.Module]
) -> dict:
    """Make all estimators, by the names that they have in tables."""
    blind = {name: separator_estimator(separator) for name, separator in separators.items()}
    informed = {
        f"{name}, informed mask {threshold:g}": partial(
            masked_estimates, representation, threshold=threshold
        )
        for name, representation in representations.items()
        for threshold in THRESHOLDS
    }
    return {**blind, **informed}


def evaluate_segments(
    representations: dict[str, Representation],
    separators: dict[str, nn.Module],
    manifest: Manifest,
    segment: int,
    run: Run,
) -> dict:
    """Write the metrics of all segments and the table; returns what the medians' file says."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for model in (*representations.values(), *separators.values()):
        model.to(device)
    results, n_left_out = evaluate_separation(
        estimators_by_name(representations, separators),
        manifest.subset("test"),
        segment,
        device=device,
    )
    write_text(run.segments_file, results.to_csv(index=False))
    table = medians(results)
    tracks = {name: medians(rows) for name, rows in results.groupby("track", sort=False)}
    text = markdown_table(table.rename(columns=TITLES))
    write_text(run.table_file, text + "\n")
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
    models: dict[str, Representation | nn.Module],
    manifest: Manifest,
    args: argparse.Namespace,
) -> dict:
    """Score whole tracks on the CPU; returns what the file of their medians says."""
    scores = evaluate_tracks(
        {name: model.cpu() for name, model in models.items()},
        manifest.subset("test")[: args.n_tracks],
        Run(args.exp_dir).museval_folder,
        threshold=args.threshold,
        duration=args.duration,
        n_workers=args.n_workers,
    )
    table = summary(scores.store).reset_index("source")
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
    manifest, run, pair_run = Manifest.load(args.data_dir), Run(args.exp_dir), Run(args.pair_dir)
    pair_conf = pair_run.read_conf(scripts.base_conf(), OF_TABLE)
    representations = load_representations(pair_run, pair_conf, manifest)
    names = {"sinudae": pair_name(pair_conf), "stft": STFT_NAME}
    trained_on = {"pair": model_digest(representations[names["sinudae"]]), **stft_conf(pair_conf)}
    separators, trainings = load_separators(run.folder, trained_on)
    named = {f"{names[name]}, separator": model for name, model in separators.items()}
    facts = {
        "evaluated": f"{names['sinudae']}, separator",
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
    segments = evaluate_segments(representations, named, manifest, segment, run)
    write_json(run.metrics_file, {**segments, **facts})
    if args.museval:
        informed = {f"{name}, informed mask": each for name, each in representations.items()}
        scores = evaluate_museval({**named, **informed}, manifest, args)
        write_json(run.museval_file, {**facts, **scores})
        if scores["failed"]:
            raise ValueError(f"failed: {'; '.join(scores['failed'])}")


if __name__ == "__main__":
    scripts.run(main)
