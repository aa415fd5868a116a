"""Stage 1: decode every track once into mono vocals and accompaniment."""

from utils import scripts

from asteroid_sinudae.preparation import prepare_musdb18


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--data_dir", type=scripts.path, required=True, help="folder to write")
    parser.add_argument("--musdb18_dir", type=scripts.path, help="default: the excerpt of stempeg")
    parser.add_argument("--strict", action="store_true", help="stop at the first unusable track")
    parser.add_argument("--num_workers", type=int, help="processes, default: all processors")
    args = parser.parse_args()
    manifest = prepare_musdb18(
        args.data_dir, args.musdb18_dir, strict=args.strict, n_workers=args.num_workers
    )
    n_train, n_test = len(manifest.subset("train")), len(manifest.subset("test"))
    print(f"{args.data_dir}: {n_train} train and {n_test} test tracks prepared")


if __name__ == "__main__":
    scripts.run(main)
