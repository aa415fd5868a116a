"""Compare separators that were trained several times, for instance from several seeds.

Each of the folders holds separators on the same front-ends, evaluated by eval_separator.py. Writes
a Markdown table, and prints it: the medians of all trainings, and the differences to the first row
with 95% intervals over songs.
"""

from utils import scripts

from asteroid_sinudae.data.tracks import SOURCES
from asteroid_sinudae.evaluation.seeds import SEGMENT, compare_seeds
from asteroid_sinudae.evaluation.tables import INFORMED, MIXTURE, terminal_text
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.utils.files import write_text


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("exp_dirs", type=scripts.path, nargs="+", help="folders of separators")
    parser.add_argument("--output", type=scripts.path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    columns = [f"si_sdr_{source}" for source in SOURCES]
    trainings = []
    for folder in args.exp_dirs:
        segments = Run(folder).read_segments(*SEGMENT, *columns)
        names = segments["representation"]  # no training changes the rows that are left out
        trainings.append(segments[(names != MIXTURE) & ~names.str.contains(INFORMED)])
    table = compare_seeds(trainings, columns)
    write_text(args.output, table.astype(object).fillna("").to_markdown() + "\n")
    for column in table:
        print(f"{terminal_text(table[[column]].reset_index(), fold=40)}\n")
    print(f"{len(trainings)} trainings; minus {table.index[0]}, on the same songs: {args.output}")


if __name__ == "__main__":
    scripts.run(main)
