"""Evaluate a run's trained pair and the STFT on the same segments of the test tracks.

Between them stand the models of the package that `pretrained` in its configuration names. Writes
the metrics of all segments and their medians into --exp_dir; compare.py makes the table of them.
"""

import argparse

import torch
from utils import scripts

from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.evaluation.oracle import costs, evaluate, readability
from asteroid_sinudae.evaluation.tables import medians
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.limits import check_segment
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import (
    OF_STFT,
    OF_TABLE,
    STFT_NAME,
    load_representations,
    load_stft,
    pair_name,
    pretrained_names,
)
from asteroid_sinudae.utils.files import write_json, write_text
from asteroid_sinudae.utils.provenance import provenance


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.RUN_FOLDERS)
    parser.add_argument(
        "--stft",
        action="store_true",
        help="the STFT alone, whose configuration needs no more than its sizes",
    )
    args = parser.parse_args()
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Evaluate the run that the options name."""
    run = Run(args.exp_dir)
    needed = ("data.segment", *(OF_STFT if args.stft else OF_TABLE))
    conf = run.read_conf(scripts.base_conf(), needed)
    check_segment(conf["data"]["segment"])
    manifest = Manifest.load(args.data_dir)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.stft:
        evaluated, training = STFT_NAME, {}
        representations = load_stft(conf, manifest, device)
    else:
        evaluated, names = pair_name(conf), pretrained_names(conf)
        representations = load_representations(run, conf, manifest, device, names)
        run.check_trained_as(conf)
        training = run.read_training()
    results, n_silent = evaluate(
        representations,
        manifest.subset("test"),
        segment=conf["data"]["segment"],
        device=device,
    )
    write_text(run.segments_file, results.to_csv(index=False))
    summary = medians(results)
    metrics = {
        "evaluated": evaluated,
        "medians": {name: row.dropna().to_dict() for name, row in summary.iterrows()},
        "costs": {name: costs(each, device) for name, each in representations.items()},
        "readability": {name: readability(each) for name, each in representations.items()},
        "training": {key: training.get(key) for key in ("steps", "epochs", "seconds")},
        "test_tracks": len(manifest.subset("test")),
        "segments": len(results) // len(summary),
        "silent_segments": n_silent,
        "parameters": sum(p.numel() for p in representations[evaluated].parameters()),
        "source": {key: manifest.source[key] for key in ("kind", "path")},
        "skipped_tracks": list(manifest.skipped),
        "conf": conf,
        **provenance(device),
    }
    write_json(run.metrics_file, metrics)
    counts = f"{metrics['segments']} segments; test tracks: {metrics['test_tracks']}"
    print(f"{run.metrics_file}: medians over {counts}; silent segments left out: {n_silent}")


if __name__ == "__main__":
    scripts.run(main)
