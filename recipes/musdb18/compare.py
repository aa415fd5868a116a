"""Write the medians of evaluated runs below each other, as Markdown, and print the main ones.

The last line says in words what the first of the runs shows.
"""

import pandas as pd
from utils import scripts

from asteroid_sinudae.evaluation.tables import (
    LEGEND,
    bm_column,
    in_words,
    markdown_table,
    short_title,
    terminal_table,
)
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import STFT_NAME
from asteroid_sinudae.runs.results import with_length
from asteroid_sinudae.utils.files import write_text


def read_medians(run: Run, metrics: dict) -> pd.DataFrame:
    """Read the medians of a run, with its name and number of segments, one row a representation."""
    table = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    table.insert(0, "run", run.folder.name)
    table["segments"] = metrics["segments"]
    return table.rename_axis("representation")


def in_full(name: str, run: Run, metrics: dict, n_runs: int) -> str:
    """Name a representation of a run with its training, and where there are several, its run."""
    if name != metrics["evaluated"]:
        return with_length(name)
    name = with_length(name, metrics.get("training", {}).get("steps"))
    return name if n_runs == 1 else f"{run.folder.name}: {name}"


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of runs")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    runs = [Run(folder) for folder in args.exp_dirs]
    metrics = [run.read_metrics() for run in runs]
    tables = [read_medians(*each) for each in zip(runs, metrics, strict=True)]
    names = [
        in_full(name, run, each, len(runs))
        for run, each, table in zip(runs, metrics, tables, strict=True)
        for name in table.index
    ]
    whole = pd.concat(tables)
    shown = whole.drop(columns=["run", "segments"]).set_axis(pd.Index(names, name=whole.index.name))
    # The STFT and the mixture are the same in all runs on the same segments.
    shown = shown.reset_index().drop_duplicates().set_index(whole.index.name)
    sentence = summary(shown, names[list(whole.index).index(metrics[0]["evaluated"])])
    write_text(args.output, "\n\n".join(filter(None, [markdown_table(whole), sentence])) + "\n")
    counts = " and ".join(dict.fromkeys(str(each["segments"]) for each in metrics))
    print(f"{terminal_table(shown.rename(columns=short_title))}\n")
    if bm_column(0.5) in shown:
        print(LEGEND)
    print(f"Medians over {counts} segments; all figures: {args.output}")
    if sentence:
        print(f"\n{sentence}")


def summary(shown: pd.DataFrame, subject: str) -> str:
    """Say in words what a representation achieves beside the STFT and the others."""
    column = bm_column(0.5)
    if column not in shown or subject == STFT_NAME:
        return ""
    return in_words(subject, STFT_NAME, shown[column].to_dict())  # of two of one name, the last


if __name__ == "__main__":
    scripts.run(main)
