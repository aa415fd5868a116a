"""Evaluate a trained auto-encoder and the STFT on the test tracks, in one run.

Between them stand the models that come with the package and that `pretrained` in conf.yml names.
Writes segments.csv and final_metrics.json into --exp_dir, and prints the table.
"""

import argparse

import torch
from utils import scripts
from utils.limits import check_segment
from utils.processes import run_lock
from utils.systems import OF_STFT, OF_SYSTEMS, load_stft, load_systems, read_run_conf

from asteroid_sinudae.data.segments import Manifest
from asteroid_sinudae.evaluation.oracle import costs, evaluate
from asteroid_sinudae.evaluation.tables import markdown_table, medians
from asteroid_sinudae.runs.files import read_training
from asteroid_sinudae.utils.files import atomic_path, write_json
from asteroid_sinudae.utils.provenance import provenance


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument(
        "--exp_dir", type=scripts.path, required=True, help="folder of the experiment"
    )
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    parser.add_argument(
        "--stft", action="store_true", help="the STFT alone; conf.yml needs no more than its sizes"
    )
    args = parser.parse_args()
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Evaluate the run that the options name."""
    conf = read_run_conf(args.exp_dir, ("data.segment", *(OF_STFT if args.stft else OF_SYSTEMS)))
    check_segment(conf["data"]["segment"])
    manifest = Manifest.load(args.data_dir)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = {}
    if args.stft:
        systems = load_stft(conf, manifest, device)
    else:
        names = conf["baseline"].get("pretrained", "").split()
        systems = load_systems(args.exp_dir, conf, manifest, device, names)
        training = read_training(args.exp_dir / "best_model.pth")
    evaluated = next(iter(systems.values()))
    results, n_silent = evaluate(
        systems,
        manifest.subset("test"),
        segment=conf["data"]["segment"],
        device=device,
    )
    with atomic_path(args.exp_dir / "segments.csv") as temporary:
        results.to_csv(temporary, index=False)
    summary = medians(results)
    metrics = {
        "medians": {name: row.dropna().to_dict() for name, row in summary.iterrows()},
        "systems": {name: costs(system, device) for name, system in systems.items()},
        "training": {key: training.get(key) for key in ("steps", "epochs", "seconds")},
        "test_tracks": len(manifest.subset("test")),
        "segments": len(results) // len(summary),
        "silent_segments": n_silent,
        "parameters": sum(parameter.numel() for parameter in evaluated.parameters()),
        "source": {key: manifest.source[key] for key in ("kind", "path")},
        "skipped_tracks": list(manifest.skipped),
        "conf": conf,
        **provenance(device),
    }
    write_json(args.exp_dir / "final_metrics.json", metrics)
    print(markdown_table(summary))
    n_tracks = metrics["test_tracks"]
    print(f"\nMedians over {metrics['segments']} segments; test tracks: {n_tracks}")
    print(f"Silent segments left out: {n_silent}")


if __name__ == "__main__":
    scripts.run(main)
