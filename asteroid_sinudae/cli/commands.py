"""Functions behind the subcommands of `sinudae`: they call what the package offers in Python."""

import argparse
import contextlib
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..models import authors_weights, pretrained, registry
from ..models.model_files import describe_file
from ..songs.files import (
    decode_file,
    encode_file,
    find_songs,
    load_separator,
    mask_file,
    separate_file,
    wanted_sources,
)
from ..songs.outputs import Output, check_output, literally
from ..utils.errors import first_sentence, one_line
from ..utils.files import load_safely, save_atomically

STDIN = Path("-")
STDOUT = "-"
MODEL_SUFFIXES = (".pth", ".pt", ".ckpt")


def separate(args: argparse.Namespace) -> None:
    """Separate songs by a model, or the mean of several, and write one file for each source."""
    named, paths = _split_models(args.paths)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_place(args.output))
        output = Output(place, args.format)
        spooled = stack.enter_context(_spooled(paths))
        songs = find_songs(spooled.get(path, path) for path in paths)
        loaded = load_separator(named or None, args.device, args.semitones)
        sources = wanted_sources(loaded, args.sources)
        if args.output == STDOUT:
            _check_one(songs, sources)
        # A model that does not name its sources gives at least one.
        output.check_different(songs, sources or ["source1"])
        if not named and not args.quiet:
            names = " and ".join(registry.DEFAULT_SEPARATORS)
            print(f"sinudae: note: {names} separate, as no model is named", file=sys.stderr)
        options = dict(
            sources=args.sources,
            format=args.format,
            overlap=args.overlap,
            precision=args.precision,
            strict=args.strict,
            keep=[*named, *songs],
            **_options(args),
        )

        def separate_one(song: Path) -> None:
            _deliver(args, separate_file(loaded, song, place, **options).values())

        _for_each(songs, separate_one)


def _for_each(songs: list[Path], function: Callable[[Path], None]) -> None:
    """Call a function for each song. If it fails for some of several, say so, and go on."""
    n_failed = 0
    for song in songs:
        try:
            function(song)
        except BrokenPipeError:  # nobody reads what is printed
            raise
        except (ValueError, OSError) as error:
            if len(songs) == 1:
                raise
            n_failed += 1
            print(f"sinudae: {one_line(error)}", file=sys.stderr)
    if n_failed:
        n_done = len(songs) - n_failed
        raise ValueError(f"{n_failed} of {len(songs)} songs failed, {n_done} separated")


@contextlib.contextmanager
def _place(output: str) -> Iterator[str]:
    """Yield where to write: `output`, or for standard output a template in a temporary folder.

    What is on its way to standard output appears whole or not at all, too.
    """
    if output != STDOUT:
        yield output
        return
    if sys.stdout is None or sys.stdout.isatty():
        raise ValueError("standard output is a terminal or closed, expected a pipe or a file")
    with tempfile.TemporaryDirectory(prefix="sinudae-") as folder:
        yield os.path.join(literally(folder), "{song}")


def _check_one(songs: list[Path], sources: list[str] | None) -> None:
    """Raise a ValueError unless there is one source of one song, for standard output."""
    if len(songs) > 1:
        raise ValueError(f"standard output takes one song, got {len(songs)}")
    if sources is not None and len(sources) > 1:
        raise ValueError(
            "standard output takes one source, expected --sources with one of "
            f"{', '.join(sources)}"
        )


def _deliver(args: argparse.Namespace, paths: Iterable[Path]) -> None:
    """Print the paths of what was written, or copy it to standard output if it belongs there."""
    if args.output == STDOUT:
        for path in paths:
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    elif not args.quiet:
        print(*paths, sep="\n", flush=True)


def _split_models(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Tell the models that come first, if there are any, from the songs.

    A model is the name of one that comes with the package, is called as a model's file is, or is
    such a file. What is nothing at all, before songs, may be a mistyped name, and is a model too.
    """
    models: list[Path] = []
    songs = list(paths)
    while songs and _is_model(songs[0]) and not (models and songs[0].is_dir()):
        models.append(songs.pop(0))
    if len(songs) > 1 and _may_be_mistyped(songs[0]):
        models.append(songs.pop(0))
    if not songs:
        raise ValueError(f"{models[-1]} is a model, expected a song after it")
    return models, songs


def _is_model(path: Path) -> bool:
    """Tell whether a path is the name of a model, or called or written as a model's file."""
    if str(path) in registry.names() or path.suffix in MODEL_SUFFIXES:
        return True
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"  # as torch.save begins, and no audio
    except OSError:  # it is reported with the song
        return False


def _may_be_mistyped(path: Path) -> bool:
    is_name = path.name == str(path) and not path.suffix and path != STDIN
    return is_name and not os.path.lexists(path)


@contextlib.contextmanager
def _spooled(paths: list[Path]) -> Iterator[dict[Path, Path]]:
    """Keep standard input, if it is among the songs, in a file `stdin` as long as it is needed."""
    if STDIN not in paths:
        yield {}
        return
    if sys.stdin.isatty():
        raise ValueError("standard input is a terminal, expected audio")
    with tempfile.TemporaryDirectory(prefix="sinudae-") as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if path.stat().st_size == 0:
            raise ValueError("standard input ended before its first byte, expected audio")
        yield {STDIN: path}


def mask(args: argparse.Namespace) -> None:
    """Separate a mixture by a mask that knows the vocals, and write both sources."""
    if args.stft == (args.model is not None):
        raise ValueError("expected either MODEL or --stft")
    if args.output == STDOUT:
        raise ValueError(
            "standard output takes one source, expected a folder or a template for vocals and "
            "accompaniment"
        )
    estimates = mask_file(
        args.model,
        args.mixture,
        args.vocals,
        args.output,
        rule=args.rule,
        threshold=args.threshold,
        format=args.format,
        device=args.device,
        strict=args.strict,
        **_options(args),
    )
    _deliver(args, estimates.values())


def encode(args: argparse.Namespace) -> None:
    """Encode a song, and write its representation."""
    options = dict(device=args.device, strict=args.strict, **_options(args))
    options["signal_level"] = args.signal_level
    _deliver(args, [encode_file(args.model, args.song, args.output, **options)])


def decode(args: argparse.Namespace) -> None:
    """Decode a representation, and write its waveform."""
    options = dict(device=args.device, **_options(args))
    _deliver(args, [decode_file(args.model, args.file, args.output, **options)])


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of all commands on songs."""
    return dict(chunk=args.chunk, force=args.force, progress=not args.quiet)


def info(args: argparse.Namespace) -> None:
    """Print a description of a model file."""
    import yaml  # here, since no other command needs it

    print(yaml.safe_dump(describe_file(args.model), sort_keys=False), end="")


def models(args: argparse.Namespace) -> None:
    """List the models that come with the package."""
    for name in registry.names():
        print(name)
        for key, line in pretrained.facts(name).items():
            print(
                textwrap.fill(f"{key}: {line}", 100, initial_indent="  ", subsequent_indent="    ")
            )
    names = " and ".join(registry.DEFAULT_SEPARATORS)
    print(f"Without a model, `sinudae separate` takes the mean of {names}.")


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

    original = asteroid_cli.BaseModel
    # Only Asteroid's parser knows which of the arguments is the model.
    asteroid_cli.BaseModel = _ModelByName
    try:
        asteroid_cli.infer(args.arguments)
    except (NotImplementedError, AssertionError) as error:  # a device that there is not
        raise ValueError(f"asteroid-infer fails: {first_sentence(error)}") from error
    except (RuntimeError, pickle.UnpicklingError) as error:  # a wrong rate, folder or model
        raise ValueError(f"asteroid-infer fails: {one_line(error)}") from error
    finally:
        asteroid_cli.BaseModel = original


class _ModelByName:
    """Stands in for Asteroid's BaseModel, which would look for our names on the network."""

    @staticmethod
    def from_pretrained(pretrained_model_conf_or_path: str) -> Any:
        # Here, because it imports all of Asteroid.
        from asteroid.models.base_models import BaseModel

        name = pretrained_model_conf_or_path
        source = registry.resolve(name)
        if isinstance(source, dict):
            raise ValueError(
                f"{name} is an untrained structure, which has no file, expected a model's file or "
                f"one of {', '.join(registry.files())}"
            )
        return BaseModel.from_pretrained(str(source))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
