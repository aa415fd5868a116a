"""Functions behind the subcommands of `sinudae`, and the helpers that they share."""

import argparse
import contextlib
import hashlib
import itertools
import os
import pickle
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ..models import authors_weights, pretrained
from ..models.gains import channel_gains
from ..models.model_files import describe_file, load_model, source_names
from ..models.representation import Representation
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..songs import apply as songs
from ..songs.audio import AudioFile, length_difference, open_audio, write_wavs
from ..songs.encoded_file import open_encoded, write_encoded
from ..songs.streams import Stream, with_progress
from ..utils.errors import one_line
from ..utils.files import load_safely, save_atomically

M = TypeVar("M", bound=nn.Module)


def separate(args: argparse.Namespace) -> None:
    """Separate a song by a model, and write one file for each source."""
    check_folder(args.output)
    model, infos = load_model(args.model)
    model = on_device(model, args.device)
    with open_song(args.song, args.strict) as song:
        # Sources without names may come in any order.
        keep_order = "sources" not in infos
        pieces = songs.separated(model, song, args.chunk, args.overlap, keep_order)
        first = next(pieces)  # tells the number of sources, which a model need not tell
        names = source_names(model, infos, first.shape[1])
        paths = output_paths(args, song, names, inputs=[args.model, args.song])
        note_resampling(song, model)
        write_sources(paths, itertools.chain([first], pieces), song)


def mask(args: argparse.Namespace) -> None:
    """Separate a mixture by a mask that knows the vocals, and write both sources."""
    if args.stft == (args.model is not None):
        raise ValueError("expected either MODEL or --stft")
    check_folder(args.output)
    with (
        open_song(args.mixture, args.strict) as mixture,
        open_song(args.vocals, args.strict) as vocals,
    ):
        representation: STFT | SinuDAE
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


def encode(args: argparse.Namespace) -> None:
    """Encode a song, and write its representation."""
    check_output(args.output, args.force, [args.model, args.song], suffix=".npz")
    model = on_device(SinuDAE.from_pretrained(args.model).eval(), args.device)
    with open_song(args.song, args.strict) as song:
        pieces, signal = songs.encoded(model, song, args.chunk)
        note_resampling(song, model)
        stride = model.encoder.stride
        pieces = with_progress(
            pieces, song.path.name, signal.length / stride, signal.sample_rate / stride
        )
        gains = channel_gains(model) if args.signal_level else None
        write_encoded(args.output, model, pieces, signal, gains)
    print(args.output)


def decode(args: argparse.Namespace) -> None:
    """Decode a representation, and write its waveform."""
    check_output(args.output, args.force, [args.model, args.file], suffix=".wav")
    model = on_device(SinuDAE.from_pretrained(args.model).eval(), args.device)
    with open_encoded(args.file) as file:
        length, sample_rate = file.signal.length, round(file.signal.sample_rate)
        pieces = songs.decoded(model, file, args.chunk)
        pieces = with_progress(pieces, file.path.name, length, sample_rate)
        write_wavs([args.output], pieces, sample_rate, length)
    print(args.output)


def info(args: argparse.Namespace) -> None:
    """Print a description of a model file."""
    import yaml  # here, since no other command needs it

    print(yaml.safe_dump(describe_file(args.model), sort_keys=False), end="")


def models(args: argparse.Namespace) -> None:
    """List the models that come with the package."""
    for name in pretrained.available():
        print(name)
        for key, line in pretrained.facts(name).items():
            print(
                textwrap.fill(f"{key}: {line}", 100, initial_indent="  ", subsequent_indent="    ")
            )


def import_weights(args: argparse.Namespace) -> None:
    """Convert the authors' two files to a :class:`.SinuDAE` file, which notes their hashes."""
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


def asteroid_infer(args: argparse.Namespace) -> None:
    """Run `asteroid-infer` with this package's models, which it would not import by itself."""
    from asteroid.scripts import asteroid_cli  # imported here, because it imports Lightning

    try:
        asteroid_cli.infer(args.arguments)
    except (RuntimeError, pickle.UnpicklingError) as error:  # a wrong rate, folder or model
        raise ValueError(f"asteroid-infer fails: {one_line(error)}") from error


def on_device(model: M, device: str | None) -> M:
    """Move a model to a device; by default, to a GPU if there is one.

    Raises ValueError if the device cannot be used.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()  # fails on a device that cannot compute
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {one_line(error)}") from error


@contextlib.contextmanager
def open_song(path: Path, strict: bool) -> Iterator[AudioFile]:
    """Open a song. If it is damaged, warn, or raise a ValueError if `strict`."""

    def warn(message: str) -> None:
        if strict:
            raise ValueError(f"{message}: refused by --strict")
        print(f"sinudae: warning: {message}", file=sys.stderr)

    with open_audio(path, warn) as song:
        if song.n_streams > 1:
            note(f"{path} has {song.n_streams} audio streams, of which the first is read")
        yield song


def note(message: str) -> None:
    """Print a remark about something that the user might not expect."""
    print(f"sinudae: note: {message}", file=sys.stderr)


def note_resampling(song: AudioFile, model: Representation) -> None:
    """Print a remark if a song is resampled to the sample rate of a model."""
    if song.sample_rate != model.sample_rate:
        note(
            f"{song.path} is at {song.sample_rate} Hz, resampled to the model's "
            f"{model.sample_rate:g} Hz"
        )


def note_differences(vocals: AudioFile, mixture: AudioFile) -> None:
    """Print remarks about what is changed in the vocals so that they fit the mixture."""
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
    """Return the file of each source of a song, in the output folder."""
    paths = [args.output / f"{song.path.stem}_{name}.wav" for name in names]
    for path in paths:
        check_output(path, args.force, inputs)
    return paths


def write_sources(paths: list[Path], pieces: Stream, song: AudioFile) -> None:
    """Write the sources of a song, with a progress bar, and print the paths."""
    pieces = with_progress(pieces, song.path.name, song.length, song.sample_rate)
    write_wavs(paths, pieces, song.sample_rate, song.length)
    print(*paths, sep="\n")


def check_folder(folder: Path) -> None:
    """Raise a ValueError if `folder` exists and is not a folder."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write into")


def check_output(out: Path, force: bool, inputs: Iterable[Path], suffix: str = "") -> None:
    """Raise a ValueError if `out` cannot be written, or would replace a file.

    Args:
        out (Path): The file to write.
        force (bool): Whether to replace a file that exists.
        inputs (iterable of Path): Files that are read, which are never replaced.
        suffix (str): The required ending of the file's name.
    """
    if not out.name.endswith(suffix):
        raise ValueError(f"{out} is to be written, expected a name that ends in {suffix}")
    if out.is_dir():
        raise ValueError(f"{out} is a folder, expected a file to write")
    # A link, also a hard one, is the file itself; os.path.exists accepts links in a circle.
    if os.path.exists(out) and any(
        os.path.exists(path) and os.path.samefile(out, path) for path in inputs
    ):
        raise ValueError(f"{out} is also to be read, expected another file to write")
    if os.path.lexists(out) and not force:  # also a link that leads nowhere
        raise ValueError(f"{out} exists already, expected a new file, or --force")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
