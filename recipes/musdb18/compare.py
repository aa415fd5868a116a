"""Write the medians of evaluated runs below each other, as Markdown."""

import pandas as pd
from utils import scripts

from asteroid_sinudae.evaluation.tables import markdown_table
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.utils.files import write_text


def read_medians(run: Run) -> pd.DataFrame:
    """Read the medians of a run, with its name and number of segments, one row a representation."""
    metrics = run.read_metrics()
    table = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    table.insert(0, "run", run.folder.name)
    table["segments"] = metrics["segments"]
    return table.rename_axis("representation")


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of runs")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    table = markdown_table(pd.concat([read_medians(Run(folder)) for folder in args.exp_dirs]))
    write_text(args.output, table + "\n")
    print(table)


if __name__ == "__main__":
    scripts.run(main)
