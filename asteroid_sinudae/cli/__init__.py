"""The command `sinudae`: its subcommands and their options.

The functions behind them are in :mod:`.commands`, which is imported only when one is to run, so
that `sinudae --help` and a mistyped option need not wait for torch.
"""

import argparse
import contextlib
import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import shtab

from .. import __version__
from ..utils.arguments import whole_numbers
from ..utils.errors import attempt

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
RULES = ("binary", "ratio", "energy_ratio")  # the keys of masks.RULES
PRECISIONS = ("32", "bf16")  # those of utils.autocast


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. A mistake that the user can mend is reported in one line.

    Args:
        argv (list of str, optional): Arguments after the command's name; those of :data:`sys.argv`
            if None.

    Returns:
        int: The exit status: 0, or 1 after a mistake, or 130 after an interruption.

    Raises:
        SystemExit: from :mod:`argparse`, with status 2 for arguments that the command does not
            have, or 0 for `--help`.
    """
    args = make_parser().parse_args(argv)
    outcome = attempt(lambda: _run(args, is_process=argv is None))
    if outcome.line:
        print(f"sinudae: {outcome.line}", file=sys.stderr)
    return outcome.status


def _run(args: argparse.Namespace, is_process: bool) -> None:
    """Import the commands, and run the chosen one, which may be all that the process does."""
    if args.command == "separate" and not args.quiet and "torch" not in sys.modules:
        print("sinudae: loading PyTorch and the model", file=sys.stderr, flush=True)  # seconds
    with _without_collection():
        commands = importlib.import_module(".commands", __name__)
        if is_process:
            gc.freeze()  # nor look for any among them later
    with _printing(logging.WARNING if args.quiet else logging.INFO):
        getattr(commands, args.command)(args)


class _Printer(logging.Handler):
    """Prints what is logged: notes, about what the user might not expect, and warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        print(f"sinudae: {kind}: {record.getMessage()}", file=sys.stderr)


@contextlib.contextmanager
def _printing(level: int) -> Iterator[None]:
    """Print what is logged of songs in the block, from a level on."""
    logger, printer = logging.getLogger("asteroid_sinudae.songs"), _Printer()
    before = logger.level
    logger.addHandler(printer)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.setLevel(before)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Do not look for garbage while modules are made, which are none: it is a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all subcommands; each one stores its function's name as `command`."""
    parser = argparse.ArgumentParser(
        prog="sinudae", description="A learned, interpretable representation of the singing voice."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(quiet=False)  # of the subcommands without this option
    shtab.add_argument_to(parser, help="print what completes the command in this shell, and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_separate(commands)
    add_mask(commands)
    add_encode(commands)
    add_decode(commands)
    add_info(commands)
    add_command(commands, "models", "list the models that come with the package")
    add_import_weights(commands)
    add_asteroid_infer(commands)
    return parser


def add_command(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    """Add the parser of a subcommand, which a function of that name in :mod:`.commands` runs."""
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(command=name.replace("-", "_"))
    return parser


def add_chunk_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommands that apply a model to a signal."""
    parser.add_argument(
        "--chunk",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="length of audio that is in memory at a time, in s (default: %(default)g)",
    )
    parser.add_argument("--device", help="device of PyTorch (default: a GPU if there is one)")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print warnings and errors only: no progress, no notes, no paths of what is written",
    )


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add the option of the subcommands that read songs."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a song that breaks off or is damaged, instead of warning",
    )


def add_output(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    """Add the options for the output and for replacing existing files."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=text)
    add_force(parser)


def add_folder(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    """Add the options for where estimates are written, and for their format."""
    parser.add_argument(
        "-o",
        "--output",
        required=default is None,
        default=default,
        metavar="DIR",
        help=f"{text}; or a template of paths, as in 'out/{{song}}/{{source}}', in which other "
        "braces are doubled",
    )
    parser.add_argument(
        "--format",
        default="float",
        help="float (WAV of 32-bit floats, also called wav), wav16 or wav24 (WAV of integers) or "
        "flac (24-bit integers); integers clip at full scale (default: %(default)s)",
    )
    add_force(parser)


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the option to replace files."""
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def add_separate(commands: Commands) -> None:
    """Add the subcommand `separate`."""
    parser = add_command(commands, "separate", "separate songs of any length by a model")
    parser.usage = "%(prog)s [options] [MODEL ...] SONG [SONG ...]"
    parser.description = (
        "Separate songs of any length by a model, or by the mean of what several estimate. The "
        "first arguments are MODELs as long as they are names of those that come with the package "
        "(`sinudae models` lists them) or models' files; if none is, both separators that come "
        "with the package are used. "
        "A pair (a SinuDAE) does not separate: it gives its reconstruction."
    )
    parser.add_argument(
        "paths",
        metavar="SONG",
        type=Path,
        nargs="+",
        help="audio file, folder of audio files, or - for one on standard input; the first ones "
        "may be MODELs: files of Asteroid models, or names",
    )
    output = (
        "folder for SONG_<source>.wav (default: the current folder); - writes one source of one "
        "song to standard output"
    )
    add_folder(parser, output, default=".")
    parser.add_argument(
        "--sources",
        "--stems",
        type=lambda text: text.split(","),
        metavar="NAMES",
        help="sources to write, as in `--sources vocals` (default: all; a pair has none)",
    )
    parser.add_argument(
        "--semitones",
        type=whole_numbers,
        default=[0],
        metavar="NUMBERS",
        help="intervals, -4 to 4, by which the song is heard higher; with 0,2,-2 the mean of three "
        "estimates is written, which is better and takes three times as long; a list that begins "
        "with a minus is given as --semitones=-2,0 (default: 0)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="32",
        help="bf16 computes products in bfloat16, which is faster where a processor has it "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="SECONDS",
        help="time over which chunks fade into each other, in s (default: a tenth of a chunk); a "
        "SinuDAE alone needs none",
    )
    add_chunk_options(parser)
    add_strict(parser)


def add_mask(commands: Commands) -> None:
    """Add the subcommand `mask`."""
    summary = "separate a mixture by a mask that knows the vocals"
    parser = add_command(commands, "mask", summary)
    parser.add_argument("mixture", metavar="MIX", type=Path, help="audio file")
    parser.add_argument("vocals", metavar="VOCALS", type=Path, help="the vocals in it")
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        nargs="?",
        help="file of a SinuDAE, or name of one that comes with the package",
    )
    parser.add_argument("--stft", action="store_true", help="use Asteroid's STFT instead")
    add_folder(parser, "folder for MIX_vocals.wav and MIX_accompaniment.wav")
    parser.add_argument(
        "--rule",
        choices=RULES,
        default="binary",
        help="binary: vocals are where |v| > threshold * |rest|; ratio: weigh by |v| / (|v| + "
        "|rest|); energy_ratio: vocals are where v^2 / (v^2 + rest^2) > threshold (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--threshold", type=float, help="threshold of the rule (default: 0.5; ratio has none)"
    )
    add_chunk_options(parser)
    add_strict(parser)


def add_encode(commands: Commands) -> None:
    """Add the subcommand `encode`."""
    summary = "write the representation of a song and its frequencies to a .npz file"
    parser = add_command(commands, "encode", summary)
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="file of a SinuDAE, or name of one that comes with the package",
    )
    parser.add_argument("song", metavar="SONG", type=Path, help="audio file")
    add_output(
        parser,
        "FILE.npz",
        "file of A (channels, C, frames), frequencies (Hz), stride, sample_rate and length",
    )
    parser.add_argument(
        "--signal_level",
        action="store_true",
        help="write A in units of the signal's level: 1 is a sinusoid of full scale, as loud in "
        "every channel; gains, by which decode multiplies again, are in the file",
    )
    add_chunk_options(parser)
    add_strict(parser)


def add_decode(commands: Commands) -> None:
    """Add the subcommand `decode`."""
    summary = "turn a .npz file of `sinudae encode`, perhaps edited, into audio"
    parser = add_command(commands, "decode", summary)
    parser.add_argument("model", metavar="MODEL", type=Path, help="file or name of the SinuDAE")
    parser.add_argument("file", metavar="FILE.npz", type=Path, help="file of sinudae encode")
    add_output(parser, "OUT.wav", "file to write, at the model's sample rate (or OUT.flac)")
    add_chunk_options(parser)


def add_info(commands: Commands) -> None:
    """Add the subcommand `info`."""
    parser = add_command(commands, "info", "print what a model file holds, as YAML")
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="file of an Asteroid model, or name of one that comes with the package",
    )


def add_import_weights(commands: Commands) -> None:
    """Add the subcommand `import-weights`."""
    summary = "turn a checkpoint that the paper's authors published into a SinuDAE file"
    parser = add_command(commands, "import-weights", summary)
    parser.add_argument("encoder", metavar="ENC", type=Path, help="state dict of the encoder")
    parser.add_argument("decoder", metavar="DEC", type=Path, help="state dict of the decoder")
    parser.add_argument("out", metavar="OUT", type=Path, help="file to write")
    parser.add_argument(
        "--stride", type=int, default=256, help="hop in samples (default: %(default)d)"
    )
    parser.add_argument(
        "--sample_rate", type=float, default=44100.0, help="in Hz (default: %(default)g)"
    )
    parser.add_argument(
        "--smooth_dilation",
        type=int,
        default=10,
        help="dilation of conv_a2, in frames (default: %(default)d)",
    )
    add_force(parser)


def add_asteroid_infer(commands: Commands) -> None:
    """Add the subcommand `asteroid-infer`."""
    parser = commands.add_parser(
        "asteroid-infer",
        help="run Asteroid's own asteroid-infer, which then knows the models of this package",
        prefix_chars="\0",  # so that every option, even --help, is passed on to Asteroid
        add_help=False,
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(command="asteroid_infer")
