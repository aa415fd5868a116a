"""Write the tables of evaluated experiments side by side, as Markdown."""

from pathlib import Path

import pandas as pd
from utils import scripts

from asteroid_sinudae.evaluation.tables import markdown_table
from asteroid_sinudae.runs.files import read_metrics
from asteroid_sinudae.utils.files import write_text


def read_medians(exp_dir: Path) -> pd.DataFrame:
    """Medians of an experiment, with its name and number of segments, one row a system."""
    metrics = read_metrics(exp_dir)
    table = pd.DataFrame.from_dict(metrics["medians"], orient="index")
    table.insert(0, "experiment", exp_dir.name)
    table["segments"] = metrics["segments"]
    return table.rename_axis("system")


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of experiments")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    table = markdown_table(pd.concat([read_medians(exp_dir) for exp_dir in args.exp_dirs]))
    write_text(args.output, table + "\n")
    print(table)


if __name__ == "__main__":
    scripts.run(main)
