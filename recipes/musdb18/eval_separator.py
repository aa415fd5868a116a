"""Evaluate both separators on the test tracks, beside masks that know the true sources.

Writes the metrics of all segments and their medians into --exp_dir, with --museval also the scores
of whole tracks, and prints the tables.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import nn
from utils import bsseval, scripts

from asteroid_sinudae import Representation
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.estimates import masked_estimates, separator_estimator
from asteroid_sinudae.evaluation.tables import markdown_table, medians, metric_title, terminal_text
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import (
    OF_TABLE,
    STFT_NAME,
    load_representations,
    pair_name,
    stft_conf,
)
from asteroid_sinudae.training.separator_system import SEPARATORS
from asteroid_sinudae.utils.files import write_json, write_text
from asteroid_sinudae.utils.provenance import provenance

THRESHOLDS = (0.5, 1.0)  # of the informed masks


def short_title(column: str) -> str:
    """Return the name of a metric in a terminal."""
    title = metric_title(column).removesuffix(" (dB)")
    return title.replace("vocals", "voc.").replace("accompaniment", "acc.")


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
    text = markdown_table(table)
    write_text(run.table_file, text + "\n")
    n_segments = len(results) // len(table)
    print(f"{terminal_text(table.rename(columns=short_title).reset_index())}\n")
    print(f"Medians over {n_segments} segments; test tracks: {len(tracks)}")
    print(f"Segments without vocals or accompaniment left out: {n_left_out}")
    return {
        "medians": table.to_dict(orient="index"),
        "medians_by_track": {name: rows.to_dict(orient="index") for name, rows in tracks.items()},
        "segments": n_segments,
        "silent_segments": n_left_out,
        **provenance(device),
    }


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.SEPARATOR_FOLDERS)
    parser.add_argument("--museval", action="store_true", help="also score whole tracks")
    args = bsseval.parse_args(parser)
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
        scores = bsseval.score_tracks({**named, **informed}, manifest, args)
        write_json(run.museval_file, {**facts, **scores})
        bsseval.check_scored(scores)


if __name__ == "__main__":
    scripts.run(main)
