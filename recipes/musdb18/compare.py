"""Write the medians of evaluated runs below each other, as Markdown, with intervals over songs.

What is printed is a narrower form.
"""

import pandas as pd
from utils import scripts

from asteroid_sinudae.evaluation.tables import (
    markdown_table,
    mask_intervals,
    terminal_table,
    with_intervals,
    with_readability,
)
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import STFT_NAME
from asteroid_sinudae.utils.files import write_text


def compare(run: Run) -> tuple[pd.DataFrame, str, str]:
    """Make the table of a run, one row a representation, its form for the terminal, and a note."""
    metrics = run.read_metrics()
    medians = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    medians = with_readability(medians, metrics.get("readability"))
    medians = medians.rename_axis("representation")
    try:
        intervals = mask_intervals(run.read_segments("track"), STFT_NAME)
        table = with_intervals(medians, intervals, STFT_NAME)
        note = "Intervals, 95%: bootstrap over songs, each drawn with all its segments."
    except (ValueError, FileNotFoundError) as error:
        intervals, table, note = None, medians.copy(), f"No intervals: {error}."
    table.insert(0, "run", run.folder.name)
    table["segments"] = metrics["segments"]
    heading = f"{run.folder.name}, medians over {metrics['segments']} segments"
    return table, f"{heading}\n\n{terminal_table(medians, intervals, STFT_NAME)}", note


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of runs")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    compared = [compare(Run(folder)) for folder in args.exp_dirs]
    table = markdown_table(pd.concat([table for table, _, _ in compared]))
    notes = "\n".join(f"- {note}" for note in dict.fromkeys(note for _, _, note in compared))
    write_text(args.output, f"{table}\n\n{notes}\n")
    for _, text, note in compared:
        print(f"{text}\n\n{note}\n")
    print(f"All columns: {args.output}")


if __name__ == "__main__":
    scripts.run(main)
