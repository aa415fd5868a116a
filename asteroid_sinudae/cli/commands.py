"""What the subcommands of `sinudae` do, and what they share."""

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

import torch
import yaml
from torch import nn

from ..models import authors_weights, pretrained
from ..models.model_files import describe_file, load_model, source_names
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..songs import apply as songs
from ..songs.audio import AudioFile, length_difference, open_audio, write_wavs
from ..songs.encoded_file import open_encoded, write_encoded
from ..songs.streams import Stream, with_progress
from ..utils.errors import one_line
from ..utils.files import load_safely, save_atomically


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


def info(args: argparse.Namespace) -> None:
    """Print what a model file holds."""
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


def asteroid_infer(args: argparse.Namespace) -> None:
    """Run `asteroid-infer`, which by itself would not import this package."""
    from asteroid.scripts import asteroid_cli  # here: it imports Lightning

    try:
        asteroid_cli.infer(args.arguments)
    except (RuntimeError, pickle.UnpicklingError) as error:  # for a wrong rate, folder, model
        raise ValueError(f"asteroid-infer fails: {one_line(error)}") from error


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
    if os.path.lexists(out) and not force:  # also a link that leads nowhere
        raise ValueError(f"{out} exists already, expected a new file, or --force")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
