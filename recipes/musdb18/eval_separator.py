"""Evaluate separators, and means of their estimates, beside masks that know the sources.

Writes the metrics of all segments and their medians into --exp_dir, with 95% intervals of the
differences between separators, and a figure; with --museval also the scores of whole tracks. Prints
the tables.
"""

import argparse
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from utils import bsseval, scripts

from asteroid_sinudae import STFT, Representation, SinuDAE, report
from asteroid_sinudae.data.tracks import SOURCES, Manifest
from asteroid_sinudae.evaluation.blind import evaluate_separation
from asteroid_sinudae.evaluation.bootstrap import median_intervals
from asteroid_sinudae.evaluation.estimates import masked_estimates, separator_estimator
from asteroid_sinudae.evaluation.tables import (
    DIFFERENCE,
    DIFFERENCE_COLUMNS,
    INFORMED,
    markdown_table,
    medians,
    metric_title,
    of_figure,
    terminal_text,
    texts,
)
from asteroid_sinudae.models.mean_separator import MeanSeparator, mean_of
from asteroid_sinudae.models.model_files import LoadedModel
from asteroid_sinudae.runs import front_ends
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.processes import run_lock
from asteroid_sinudae.runs.representations import OF_TABLE, load_representations, pair_name
from asteroid_sinudae.runs.separators import load_all
from asteroid_sinudae.utils.arguments import whole_numbers
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.files import atomic_path, write_json, write_text
from asteroid_sinudae.utils.provenance import provenance

THRESHOLDS = (0.5, 1.0)  # of the informed masks
MEAN = "mean of the separators"  # its row in tables


def short_title(column: str) -> str:
    """Return the name of a metric in a terminal."""
    title = metric_title(column).removesuffix(" (dB)")
    return title.replace("vocals", "voc.").replace("accompaniment", "acc.")


def load_separators(exp_dir: Path, pair: SinuDAE) -> tuple[dict[str, nn.Module], dict]:
    """Load the separators of a folder, and how each was trained, by the names of front-ends.

    Args:
        exp_dir (Path): Folder of the separators.
        pair (SinuDAE): The pair that one of them must have been trained on.

    Raises:
        FileNotFoundError: if there is none, or one of those that were asked for is not there.
        ValueError: if one is refused, was trained beside another pair, or not as the others.
    """
    separators, trainings = load_all(exp_dir, pair)
    first = next(iter(trainings.values()))
    for name in front_ends.front_ends(first["conf"]["front_end"]["front_ends"]):
        if name not in separators:
            path = Run(exp_dir / name).model_file
            raise FileNotFoundError(f"{path} not found: train all separators first (stage 6)")
    return separators, trainings


def at_pitches(separators: dict[str, nn.Module], intervals: list[list[int]]) -> dict:
    """Make means of what separators hear at several pitches, and the mean of these means.

    Args:
        separators (dict): Separators by their names in tables.
        intervals (list): Semitones by which they hear the mixture higher: a list for all of them,
            or one for each.

    Returns:
        dict by their names in tables, without those that hear the mixture itself only.

    Raises:
        ValueError: if there are other numbers of lists, or no such interval, or one twice.
    """
    is_for_all = len(intervals) in (1, len(separators))
    expected = f"one list for all separators, or one for each of the {len(separators)}"
    check(is_for_all, "semitones", intervals, expected)
    if all(semitones == [0] for semitones in intervals):
        return {}
    each = intervals * (len(separators) // len(intervals))
    words = [", ".join(map(str, semitones)) for semitones in each]
    heard = [
        mean_of([LoadedModel(model, {"sources": SOURCES})], semitones=semitones).model
        for model, semitones in zip(separators.values(), each, strict=True)
    ]
    named = {
        f"{name}, at {at} semitones": model
        for name, at, model in zip(separators, words, heard, strict=True)
        if at != "0"
    }
    if len(heard) > 1:
        named[f"{MEAN}, at {' and '.join(dict.fromkeys(words))} semitones"] = MeanSeparator(heard)
    return named


def estimators_by_name(
    representations: dict[str, Representation], separators: dict[str, nn.Module]
) -> dict:
    """Make all estimators, by the names that they have in tables."""
    blind = {name: separator_estimator(separator) for name, separator in separators.items()}
    informed = {
        f"{name}, {INFORMED} {threshold:g}": partial(
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
    """Write the metrics of all segments and the tables; returns what the medians' file says."""
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
    comparison = compare(results, table, list(separators), run.folder / "separation.png")
    text = "\n\n".join(filter(None, [markdown_table(table), comparison]))
    write_text(run.table_file, text + "\n")
    n_segments = len(results) // len(table)
    print(f"{terminal_text(table.rename(columns=short_title).reset_index())}\n")
    print(f"Medians over {n_segments} segments; test tracks: {len(tracks)}")
    print(f"Segments without vocals or accompaniment left out: {n_left_out}")
    if comparison:
        print(f"\n{comparison}")
    return {
        "medians": table.to_dict(orient="index"),
        "medians_by_track": {name: rows.to_dict(orient="index") for name, rows in tracks.items()},
        "segments": n_segments,
        "silent_segments": n_left_out,
        **provenance(device),
    }


def intervals_of(results: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return :func:`.median_intervals` of the SI-SDR of both sources, with differences to a row."""
    columns = [f"si_sdr_{source}" for source in SOURCES]
    rows = {
        str(name): own.set_index("track")[columns]
        for name, own in results.groupby("representation", sort=False)
    }
    return median_intervals(rows, reference)


def differences(intervals: pd.DataFrame, names: list[str]) -> str:
    """Write the differences of separators to the first of them, with their intervals."""
    others = pd.Index(names[1:], name="")
    table = pd.DataFrame(index=others)
    for column in (f"si_sdr_{source}" for source in SOURCES):
        own = of_figure(intervals, column, others)
        table[metric_title(column)] = texts(DIFFERENCE, own[DIFFERENCE_COLUMNS])
    return (
        f"{table.to_markdown()}\n\nMinus {names[0]}, with 95% intervals of a bootstrap over songs, "
        "the same for all."
    )


def compare(results: pd.DataFrame, table: pd.DataFrame, names: list[str], figure_file: Path) -> str:
    """Draw the medians with 95% intervals, and write how separators differ from the first of them.

    Args:
        results (:class:`pandas.DataFrame`): The result of :func:`.evaluate_separation`.
        table (:class:`pandas.DataFrame`): Its medians.
        names (list of str): Names of the separators.
        figure_file (Path): File of the figure, which is not written if there are no intervals.

    Returns:
        str: Markdown, or the reason why there are no intervals.
    """
    try:
        intervals = intervals_of(results, names[0])
    except ValueError as error:
        return f"No intervals: {error}."
    with atomic_path(figure_file) as temporary:
        report.plot_separation(table, intervals).savefig(temporary, format="png")
    return differences(intervals, names) if len(names) > 1 else ""


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.SEPARATOR_FOLDERS)
    parser.add_argument("--museval", action="store_true", help="also score whole tracks")
    parser.add_argument(
        "--semitones",
        type=whole_numbers,
        nargs="+",
        default=[[0]],
        metavar="NUMBERS",
        help="intervals, -4 to 4, as in 0,2,-2: also evaluate the mean of what a separator hears "
        "of mixtures so much higher; one list for all separators, or one for each; a list that "
        "begins with a minus is given as ' -2,0', with a space",
    )
    args = bsseval.parse_args(parser)
    with run_lock(args.exp_dir):
        evaluate_run(args)


def evaluate_run(args: argparse.Namespace) -> None:
    """Evaluate the separators that the options name."""
    manifest, run, pair_run = Manifest.load(args.data_dir), Run(args.exp_dir), Run(args.pair_dir)
    pair_conf = pair_run.read_conf(scripts.base_conf(), OF_TABLE)
    of_pair = pair_name(pair_conf)
    pair = load_representations(pair_run, pair_conf, manifest)[of_pair]
    separators, trainings = load_separators(run.folder, pair)
    representations = {of_pair: pair}
    for name in separators:
        if arguments := front_ends.stft_arguments(name):
            stft = STFT(**arguments, sample_rate=manifest.sample_rate)
            representations[front_ends.title(name, of_pair)] = stft
    named = {
        f"{front_ends.title(name, of_pair)}, separator": model for name, model in separators.items()
    }
    transposed = at_pitches(named, args.semitones)
    if len(separators) > 1:
        named[MEAN] = MeanSeparator([*separators.values()])
    named |= transposed
    facts = {
        "evaluated": f"{of_pair}, separator",
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
        "conf": trainings[front_ends.PAIR]["conf"],
    }
    segment = facts["conf"]["data"]["valid_segment"]
    segments = evaluate_segments(representations, named, manifest, segment, run)
    write_json(run.metrics_file, {**segments, **facts})
    if args.museval:
        informed = {f"{name}, {INFORMED}": each for name, each in representations.items()}
        bsseval.score_tracks({**named, **informed}, manifest, args, facts)


if __name__ == "__main__":
    scripts.run(main)
