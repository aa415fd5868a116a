"""The command `sinudae`."""

import argparse
import contextlib
import hashlib
import itertools
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import yaml
from asteroid.scripts import asteroid_cli
from torch import nn

from .masks import RULES
from .models import authors_weights
from .models.model_files import describe_file, load_model, source_names
from .models.sinudae import SinuDAE
from .models.stft import STFT
from .songs import apply as songs
from .songs.audio import AudioFile, length_difference, open_audio, write_wavs
from .songs.encoded_file import open_encoded, write_encoded
from .songs.streams import Stream, with_progress
from .utils.errors import attempt, one_line
from .utils.files import load_safely, save_atomically


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
    outcome = attempt(lambda: args.command(args))
    if outcome.line:
        print(f"sinudae: {outcome.line}", file=sys.stderr)
    return outcome.status


def make_parser() -> argparse.ArgumentParser:
    """Parser of all subcommands; each stores as `command` the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="sinudae", description="A learned, interpretable representation of the singing voice."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_separate(commands)
    add_mask(commands)
    add_encode(commands)
    add_decode(commands)
    add_info(commands)
    add_import_weights(commands)
    add_asteroid_infer(commands)
    return parser


def add_command(commands, name: str, function, summary: str) -> argparse.ArgumentParser:
    """Parser of a subcommand that `function` runs."""
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(command=function)
    return parser


def add_chunk_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommands that take a signal through a model."""
    parser.add_argument(
        "--chunk",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="what is in memory at a time, in s (default: %(default)g)",
    )
    parser.add_argument("--device", help="of PyTorch's (default: a GPU if there is one)")


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Option of the subcommands that read songs."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a song that breaks off or is damaged, which otherwise is a warning",
    )


def add_output(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    """Where to write, and whether over what is there."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=text)
    add_force(parser)


def add_force(parser: argparse.ArgumentParser) -> None:
    """Option to replace files."""
    parser.add_argument("--force", action="store_true", help="replace files that exist")


# Subcommands


def add_separate(commands) -> None:
    """Subcommand `separate`."""
    summary = "separate a song of any length by a model (a SinuDAE alone gives its reconstruction)"
    parser = add_command(commands, "separate", separate, summary)
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="file of an Asteroid model, or name of one that comes with the package",
    )
    parser.add_argument("song", metavar="SONG", type=Path, help="audio file")
    add_output(parser, "DIR", "folder for SONG_<source>.wav")
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="SECONDS",
        help="over which chunks fade into each other, in s (default: a tenth of a chunk); those of "
        "a SinuDAE alone do not",
    )
    add_chunk_options(parser)
    add_strict(parser)


def separate(args: argparse.Namespace) -> None:
    """Write what a model makes of a song, a file for each source."""
    check_folder(args.output)
    model, infos = load_model(args.model)
    model = on_device(model, args.device)
    with open_song(args.song, args.strict) as song:
        # Sources without names may be in any order.
        keep_order = "sources" not in infos
        pieces = songs.separated(model, song, args.chunk, args.overlap, keep_order)
        first = next(pieces)  # how many sources there are, the model itself need not say
        names = source_names(model, infos, first.shape[1])
        paths = output_paths(args, song, names, inputs=[args.model, args.song])
        note_resampling(song, model)
        write_sources(paths, itertools.chain([first], pieces), song)


def add_mask(commands) -> None:
    """Subcommand `mask`."""
    summary = "separate a mixture by a mask that knows the vocals"
    parser = add_command(commands, "mask", mask, summary)
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
    add_output(parser, "DIR", "folder for MIX_vocals.wav and MIX_accompaniment.wav")
    parser.add_argument(
        "--rule",
        choices=list(RULES),
        default="binary",
        help="binary: vocals are where |v| > threshold * |rest|; ratio: weigh by |v| / (|v| + "
        "|rest|); energy_ratio: vocals are where v^2 / (v^2 + rest^2) > threshold (default: "
        "%(default)s)",
    )
    parser.add_argument("--threshold", type=float, help="of the rule (default: 0.5; ratio: none)")
    add_chunk_options(parser)
    add_strict(parser)


def mask(args: argparse.Namespace) -> None:
    """Write the vocals and the accompaniment of the informed separation."""
    if args.stft == (args.model is not None):
        raise ValueError("expected either MODEL or --stft")
    check_folder(args.output)
    with (
        open_song(args.mixture, args.strict) as mixture,
        open_song(args.vocals, args.strict) as vocals,
    ):
        if args.stft:
            representation = STFT(sample_rate=mixture.sample_rate)
        else:
            representation = SinuDAE.from_pretrained(args.model).eval()
        representation = on_device(representation, args.device)
        pieces = songs.masked(
            representation, mixture, vocals, args.threshold, args.chunk, args.rule
        )
        inputs = [path for path in (args.mixture, args.vocals, args.model) if path is not None]
        paths = output_paths(args, mixture, ["vocals", "accompaniment"], inputs)
        note_resampling(mixture, representation)
        note_differences(vocals, mixture)
        write_sources(paths, pieces, mixture)


def add_encode(commands) -> None:
    """Subcommand `encode`."""
    summary = "write the representation of a song and its frequencies to a .npz file"
    parser = add_command(commands, "encode", encode, summary)
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
    add_chunk_options(parser)
    add_strict(parser)


def encode(args: argparse.Namespace) -> None:
    """Write the representation of a song."""
    check_output(args.output, args.force, [args.model, args.song], suffix=".npz")
    model = on_device(SinuDAE.from_pretrained(args.model).eval(), args.device)
    with open_song(args.song, args.strict) as song:
        pieces, signal = songs.encoded(model, song, args.chunk)
        note_resampling(song, model)
        stride = model.encoder.stride
        pieces = with_progress(
            pieces, song.path.name, signal.length / stride, signal.sample_rate / stride
        )
        write_encoded(args.output, model, pieces, signal)
    print(args.output)


def add_decode(commands) -> None:
    """Subcommand `decode`."""
    summary = "turn a .npz file of `sinudae encode`, perhaps edited, into audio"
    parser = add_command(commands, "decode", decode, summary)
    parser.add_argument("model", metavar="MODEL", type=Path, help="file or name of the SinuDAE")
    parser.add_argument("file", metavar="FILE.npz", type=Path, help="file of sinudae encode")
    add_output(parser, "OUT.wav", "file to write, at the model's sample rate")
    add_chunk_options(parser)


def decode(args: argparse.Namespace) -> None:
    """Write the waveform of a representation."""
    check_output(args.output, args.force, [args.model, args.file], suffix=".wav")
    model = on_device(SinuDAE.from_pretrained(args.model).eval(), args.device)
    with open_encoded(args.file) as file:
        length, sample_rate = file.signal.length, round(file.signal.sample_rate)
        pieces = songs.decoded(model, file, args.chunk)
        pieces = with_progress(pieces, file.path.name, length, sample_rate)
        write_wavs([args.output], pieces, sample_rate, length)
    print(args.output)


def add_info(commands) -> None:
    """Subcommand `info`."""
    parser = add_command(commands, "info", info, "print what a model file holds, as YAML")
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="file of an Asteroid model, or name of one that comes with the package",
    )


def info(args: argparse.Namespace) -> None:
    """Print what a model file holds."""
    print(yaml.safe_dump(describe_file(args.model), sort_keys=False), end="")


def add_import_weights(commands) -> None:
    """Subcommand `import-weights`."""
    summary = "turn a checkpoint that the paper's authors published into a SinuDAE file"
    parser = add_command(commands, "import-weights", import_weights, summary)
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
        help="of conv_a2, in frames (default: %(default)d)",
    )
    add_force(parser)


def import_weights(args: argparse.Namespace) -> None:
    """Write a :class:`.SinuDAE` file of the authors' two, whose names and hashes it notes."""
    sources = {"encoder": args.encoder, "decoder": args.decoder}
    check_output(args.out, args.force, inputs=sources.values())
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


def add_asteroid_infer(commands) -> None:
    """Subcommand `asteroid-infer`."""
    parser = commands.add_parser(
        "asteroid-infer",
        help="run Asteroid's own asteroid-infer, which then knows the models of this package",
        prefix_chars="\0",  # every option, --help too, is Asteroid's
        add_help=False,
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(command=asteroid_infer)


def asteroid_infer(args: argparse.Namespace) -> None:
    """Run `asteroid-infer`, which by itself would not import this package."""
    try:
        asteroid_cli.infer(args.arguments)
    except (RuntimeError, pickle.UnpicklingError) as error:  # for a wrong rate, folder, model
        raise ValueError(f"asteroid-infer fails: {one_line(error)}") from error


# What they share


def on_device(model: nn.Module, device: str | None) -> nn.Module:
    """Move a model to a device, or to a GPU if there is one; a ValueError if that cannot be."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()  # fails on a device that does not compute
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {one_line(error)}") from error


@contextlib.contextmanager
def open_song(path: Path, strict: bool) -> Iterator[AudioFile]:
    """Open a song; one that is damaged is a warning, or if `strict` a ValueError."""

    def warn(message: str) -> None:
        if strict:
            raise ValueError(f"{message}: refused by --strict")
        print(f"sinudae: warning: {message}", file=sys.stderr)

    with open_audio(path, warn) as song:
        if song.n_streams > 1:
            note(f"{path} has {song.n_streams} audio streams, of which the first is read")
        yield song


def note(message: str) -> None:
    """Say what is done otherwise than one might expect."""
    print(f"sinudae: note: {message}", file=sys.stderr)


def note_resampling(song: AudioFile, model: nn.Module) -> None:
    """Say that a song is resampled, if it is."""
    if song.sample_rate != model.sample_rate:
        note(
            f"{song.path} is at {song.sample_rate} Hz, resampled to the model's "
            f"{model.sample_rate:g} Hz"
        )


def note_differences(vocals: AudioFile, mixture: AudioFile) -> None:
    """Say how vocals are made to go with a mixture, if they are."""
    if vocals.sample_rate != mixture.sample_rate:
        note(
            f"{vocals.path} is at {vocals.sample_rate} Hz, resampled to the "
            f"{mixture.sample_rate} Hz of {mixture.path}"
        )
    difference = length_difference(vocals, mixture)
    if difference > 0:
        note(f"{vocals.path} is {difference} samples longer than {mixture.path}, cut at the end")
    if difference < 0:
        note(f"{vocals.path} is {-difference} samples shorter than {mixture.path}, zeros are added")


def output_paths(
    args: argparse.Namespace, song: AudioFile, names: list[str], inputs: list[Path]
) -> list[Path]:
    """File for each source of a song, in the folder that was asked for."""
    paths = [args.output / f"{song.path.stem}_{name}.wav" for name in names]
    for path in paths:
        check_output(path, args.force, inputs)
    return paths


def write_sources(paths: list[Path], pieces: Stream, song: AudioFile) -> None:
    """Write the sources of a song, with progress, and say where they are."""
    pieces = with_progress(pieces, song.path.name, song.length, song.sample_rate)
    write_wavs(paths, pieces, song.sample_rate, song.length)
    print(*paths, sep="\n")


def check_folder(folder: Path) -> None:
    """Raise a ValueError if `folder` is something else."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write into")


def check_output(out: Path, force: bool, inputs: Iterable[Path], suffix: str = "") -> None:
    """Raise a ValueError if `out` would replace a file that was not to be replaced.

    Args:
        out (Path): The file to write.
        force (bool): Whether it may exist already.
        inputs (iterable of Path): What is read, which is never replaced.
        suffix (str): With which its name has to end.
    """
    if not out.name.endswith(suffix):
        raise ValueError(f"{out} is to be written, expected a name that ends in {suffix}")
    if out.is_dir():
        raise ValueError(f"{out} is a folder, expected a file to write")
    # Unlike Path.resolve, realpath takes links that lead in a circle.
    if os.path.realpath(out) in map(os.path.realpath, inputs):
        raise ValueError(f"{out} is also to be read, expected another file to write")
    if out.exists() and not force:
        raise ValueError(f"{out} exists already, expected a new file, or --force")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
