"""Stage 1: decode every track once into mono vocals and accompaniment."""

import sys
from pathlib import Path

from utils import scripts

from asteroid_sinudae.data.musdb18 import describe_split
from asteroid_sinudae.data.prepare import check_prepared, prepare_musdb18


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--data_dir", type=scripts.path, required=True, help="folder to write")
    parser.add_argument("--musdb18_dir", type=scripts.path, help="default: the excerpt of stempeg")
    parser.add_argument("--strict", action="store_true", help="stop at the first unusable track")
    parser.add_argument(
        "--stereo", action="store_true", help="also keep half of left minus right, for pan"
    )
    parser.add_argument("--num_workers", type=int, help="processes, default: all processors")
    parser.add_argument(
        "--check", action="store_true", help="compare what is prepared with its checksums instead"
    )
    args = parser.parse_args()
    if args.check:
        check(args.data_dir)
        return
    manifest = prepare_musdb18(
        args.data_dir,
        args.musdb18_dir,
        strict=args.strict,
        n_workers=args.num_workers,
        with_sides=args.stereo,
    )
    print(f"{args.data_dir}: {describe_split(manifest)}")


def check(data_dir: Path) -> None:
    """Say which files are damaged; a ValueError if one is."""
    faults = check_prepared(data_dir)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        n_faults = f"{len(faults)} file{'s' if len(faults) > 1 else ''}"
        raise ValueError(f"{n_faults} missing or damaged: run it without --check to mend that")
    print(f"{data_dir}: all files are as they were written")


if __name__ == "__main__":
    scripts.run(main)
