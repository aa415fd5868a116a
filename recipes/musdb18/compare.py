"""Write the medians of evaluated runs below each other, as Markdown, with intervals over songs.

What is printed is a narrower form. The last line says in words what the first of the runs shows.
"""

import pandas as pd
from utils import scripts

from asteroid_sinudae.evaluation.tables import (
    bm_column,
    in_words,
    markdown_table,
    mask_intervals,
    terminal_table,
    with_intervals,
    with_readability,
)
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import STFT_NAME
from asteroid_sinudae.runs.results import with_length
from asteroid_sinudae.utils.files import write_text


def compare(run: Run, metrics: dict) -> tuple[pd.DataFrame, str, str]:
    """Make the table of a run, one row a representation, its form for the terminal, and a note."""
    medians = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    medians = with_readability(medians, metrics.get("readability"))
    medians = medians.rename_axis("representation")
    names = {name: in_full(name, metrics) for name in medians.index}
    shown = medians.rename(index=names)
    try:
        intervals = mask_intervals(run.read_segments("track"), STFT_NAME)
        table = with_intervals(medians, intervals, STFT_NAME)
        text = terminal_table(shown, intervals.rename(index=names, level=0), STFT_NAME)
        note = "Intervals, 95%: bootstrap over songs, each drawn with all its segments."
    except (ValueError, FileNotFoundError) as error:
        table, text, note = medians.copy(), terminal_table(shown), f"No intervals: {error}."
    table.insert(0, "run", run.folder.name)
    table["segments"] = metrics["segments"]
    heading = f"{run.folder.name}, medians over {metrics['segments']} segments"
    return table, f"{heading}\n\n{text}", note


def in_full(name: str, metrics: dict) -> str:
    """Name a representation of a run with its training."""
    own = name == metrics["evaluated"]
    return with_length(name, metrics.get("training", {}).get("steps") if own else None)


def summary(runs: list[Run], metrics: list[dict]) -> str:
    """Say in words what the first run's representation achieves beside the STFT and all others."""
    figures, subject = {}, ""
    for run, each in zip(runs, metrics, strict=True):
        for name, medians in each["medians"].items():
            is_own = name == each["evaluated"] != STFT_NAME
            title = in_full(name, each)
            if is_own and len(runs) > 1:
                title = f"{run.folder.name}: {title}"
            if is_own and run is runs[0]:
                subject = title
            # The STFT and the mixture are the same in all runs on the same segments.
            figures[title] = medians.get(bm_column(0.5), float("nan"))
    return in_words(subject, STFT_NAME, figures)


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of runs")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    runs = [Run(folder) for folder in args.exp_dirs]
    metrics = [run.read_metrics() for run in runs]
    compared = [compare(*each) for each in zip(runs, metrics, strict=True)]
    table = markdown_table(pd.concat([table for table, _, _ in compared]))
    notes = "\n".join(f"- {note}" for note in dict.fromkeys(note for _, _, note in compared))
    sentence = summary(runs, metrics)
    write_text(args.output, "\n\n".join(filter(None, [table, notes, sentence])) + "\n")
    for _, text, note in compared:
        print(f"{text}\n\n{note}\n")
    print(f"All columns: {args.output}")
    if sentence:
        print(f"\n{sentence}")


if __name__ == "__main__":
    scripts.run(main)
