"""Search for bands of the multi-resolution initialisation on the train songs, within a budget.

Each candidate is an untrained pair, judged by the medians of the SI-SDR that oracle binary masks
reach on it. Results are appended to --output, a JSON object a line; with the same options again, a
search continues from there. The best layouts are printed at the end.
"""

import argparse
import json

import torch
from utils import scripts

from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest
from asteroid_sinudae.evaluation.layouts import Budget, Layout, choose_segments, judge, next_layout
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.locks import locked
from asteroid_sinudae.utils.progress import progress
from asteroid_sinudae.utils.provenance import provenance
from asteroid_sinudae.utils.schema import validated_json

SHOWN = 5


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders({"data_dir": "folder of prepared data"})
    parser.add_argument("--output", type=scripts.path, required=True, help="JSON lines of results")
    parser.add_argument(
        "--coefficients", type=float, default=3.125, help="coefficients per sample at most"
    )
    parser.add_argument("--strides", type=int, nargs="+", default=[256], help="hops to choose from")
    parser.add_argument("--max_window", type=int, default=2048, help="longest window in samples")
    parser.add_argument(
        "--max_parameters", type=int, help="parameters of the kernels at most; default: any number"
    )
    parser.add_argument("--candidates", type=int, default=200, help="layouts to judge in all")
    parser.add_argument(
        "--per_track", type=int, default=1, help="audible segments of one second of each song"
    )
    parser.add_argument("--start", nargs="*", default=[], help="STRIDE/BANDS to judge at first")
    parser.add_argument("--seed", type=int, default=0, help="of segments and candidates")
    args = parser.parse_args()
    for name in ("candidates", "per_track", "max_window", "coefficients", "max_parameters"):
        value = getattr(args, name)
        check(value is None or value >= 1, name, value, "at least 1")
    check(args.seed >= 0, "seed", args.seed, "0 or more")
    check(min(args.strides) >= 1, "strides", args.strides, "at least 1 each")
    with locked(args.output.with_name(f".{args.output.name}.lock")):
        search(args)


def search(args: argparse.Namespace) -> None:
    """Judge layouts until there are as many as asked for, and print the best."""
    tracks = Manifest.load(args.data_dir).subset("train")
    rate = float(SAMPLE_RATE)
    vocals, accompaniment = choose_segments(tracks, SAMPLE_RATE, args.per_track, args.seed)
    sizes = (tuple(args.strides), args.max_window, args.max_parameters)
    budget = Budget(args.coefficients, *sizes)
    asked = {
        "budget": budget._asdict(),
        "seed": args.seed,
        "segments": len(vocals),
        "start": args.start,
    }
    results = read_results(args, json.loads(json.dumps(asked)))
    starts = [
        Layout(int(stride), bands) for stride, _, bands in (s.partition("/") for s in args.start)
    ]
    device = torch.device("cpu")
    with args.output.open("a", encoding="utf-8") as file:
        if not results and file.tell() == 0:
            file.write(json.dumps({**asked, **provenance(device)}) + "\n")
        numbers = range(len(results), args.candidates)
        for number in progress(numbers, "Layouts", args.candidates, initial=len(results)):
            known = [(layout, figures["score"]) for layout, figures in results]
            is_start = number < len(starts)
            layout = starts[number] if is_start else next_layout(known, budget, rate, args.seed)
            figures = judge(layout, vocals, accompaniment, rate)
            results.append((layout, figures))
            file.write(json.dumps({**layout._asdict(), **figures}) + "\n")
            file.flush()
    for layout, figures in sorted(results, key=lambda result: -result[1]["score"])[:SHOWN]:
        n_filters = layout.arguments(rate)["n_filters"]
        print(
            f"{figures['score']:.2f} dB: {n_filters} channels, hop {layout.stride}, "
            f"{n_filters / layout.stride:.2f} coefficients per sample, {layout.bands}"
        )


def read_results(args: argparse.Namespace, asked: dict) -> list[tuple[Layout, dict]]:
    """Read the results of an interrupted search, whose options must be the same."""
    if not args.output.is_file():
        return []
    first, *lines = args.output.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    head = validated_json(dict, first or "{}", str(args.output))
    for key, value in asked.items():
        check(
            head.get(key) == value, f"{key} of {args.output}", head.get(key), f"{value}, as given"
        )
    complete = [line for line in lines if line.endswith("\n")]
    if len(complete) < len(lines):  # the last one was being written
        args.output.write_text("".join([first, *complete]), encoding="utf-8")
    rows = [validated_json(dict, line, str(args.output)) for line in complete]
    return [(Layout(row.pop("stride"), row.pop("bands")), row) for row in rows]


if __name__ == "__main__":
    scripts.run(main)
