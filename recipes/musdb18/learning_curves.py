"""Draw the learning curves of trainings, finished or not, in one figure."""

from utils import scripts

from asteroid_sinudae import report
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.files import atomic_path


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument(
        "--exp_dirs", type=scripts.path, nargs="+", required=True, help="their folders"
    )
    parser.add_argument("--labels", nargs="+", help="one a folder (default: the folders' names)")
    parser.add_argument("--output", type=scripts.path, required=True, help="PNG file to write")
    args = parser.parse_args()

    check(args.output.suffix == ".png", "output", str(args.output), "a .png file")
    labels = args.labels or [scripts.name_of(exp_dir) for exp_dir in args.exp_dirs]
    check(
        len(labels) == len(args.exp_dirs), "labels", labels, f"{len(args.exp_dirs)}, one a folder"
    )
    check(len(set(labels)) == len(labels), "labels", labels, "different from each other")
    curves = {}
    for label, exp_dir in zip(labels, args.exp_dirs, strict=True):
        curves[label] = report.read_losses(exp_dir)
        if curves[label]["neg_snr"].isna().all():
            raise FileNotFoundError(f"{exp_dir} has no logged losses, expected those of a training")
    figure = report.plot_learning_curves(curves)
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, format="png")
    print(f"{args.output}: learning curves of {', '.join(labels)}")


if __name__ == "__main__":
    scripts.run(main)
