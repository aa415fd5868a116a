"""The command `sinudae`."""

import argparse
import hashlib
import sys
from pathlib import Path

from . import authors_weights
from .files import load_safely, save_atomically


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; a mistake that its user can mend ends it with one line.

    Args:
        argv (list of str, optional): Arguments after the command's name, :data:`sys.argv`'s if
            None.

    Returns:
        int: The exit status: 0, or 1 after a mistake, or 130 after an interruption.

    Raises:
        SystemExit: from :mod:`argparse`, with status 2 for arguments that are none of the
            command's, or 0 for `--help`.
    """
    args = make_parser().parse_args(argv)
    try:
        args.command(args)
    except (ValueError, OSError) as error:
        print(f"sinudae: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sinudae: interrupted", file=sys.stderr)
        return 130
    return 0


def one_line(error: Exception) -> str:
    """Message of an exception on one line, without an OSError's number."""
    message = str(error).removeprefix(f"[Errno {getattr(error, 'errno', None)}] ")
    return " ".join(message.split())


def make_parser() -> argparse.ArgumentParser:
    """Parser of all subcommands; each stores as `command` the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="sinudae", description="A learned, interpretable representation of the singing voice."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_import_weights(commands)
    return parser


def add_import_weights(commands) -> None:
    """Subcommand `import-weights`."""
    summary = "turn a checkpoint that the paper's authors published into a SinuDAE file"
    parser = commands.add_parser(
        "import-weights",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}, for SinuDAE.from_pretrained.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("encoder", metavar="ENC", type=Path, help="state dict of the encoder")
    parser.add_argument("decoder", metavar="DEC", type=Path, help="state dict of the decoder")
    parser.add_argument("out", metavar="OUT", type=Path, help="file to write")
    parser.add_argument("--stride", type=int, default=256, help="hop in samples")
    parser.add_argument("--sample_rate", type=float, default=44100.0, help="in Hz")
    parser.add_argument("--smooth_dilation", type=int, default=10, help="of conv_a2, in frames")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(command=import_weights)


def import_weights(args: argparse.Namespace) -> None:
    """Write a :class:`.SinuDAE` file of the authors' two, whose names and hashes it notes."""
    sources = {"encoder": args.encoder, "decoder": args.decoder}
    check_output(args.out, args.overwrite, inputs=sources.values())
    state_dicts = {side: load_safely(path) for side, path in sources.items()}
    model = authors_weights.from_state_dicts(
        **state_dicts,
        stride=args.stride,
        sample_rate=args.sample_rate,
        smooth_dilation=args.smooth_dilation,
    )
    package = model.serialize()
    package["infos"]["imported_from"] = {
        side: {"file": path.name, "sha256": sha256(path)} for side, path in sources.items()
    }
    save_atomically(package, args.out)

    carriers = model.decoder.filterbank.carrier_frequencies()
    n_filters, _, kernel_size = model.decoder.filterbank.filters().shape
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{args.out}: C={n_filters}, L={kernel_size}, stride {args.stride}, carriers "
        f"{carriers.min():.1f} to {carriers.max():.1f} Hz, {n_parameters:,} parameters"
    )


def check_output(out: Path, overwrite: bool, inputs) -> None:
    """Raise a ValueError if `out` would replace a file that was not to be replaced.

    Args:
        out (Path): The file to write.
        overwrite (bool): Whether it may exist already.
        inputs (iterable of Path): What is read, which is never replaced.
    """
    if out.resolve() in [path.resolve() for path in inputs]:
        raise ValueError(f"{out} is also to be read, expected another file to write")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists already, expected a new file, or --overwrite")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
