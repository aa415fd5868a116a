"""Whole songs from files to files, or from a waveform to waveforms: what the command line does.

The functions read, compute and write piece by piece, so that memory does not grow with the length
of a file. Nothing is printed: what a user might not expect of a song (it is resampled) is logged as
information, what is wrong with it (it breaks off) as a warning.
"""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import torch
from asteroid.models.base_models import BaseModel
from torch import nn

from ..models import registry
from ..models.gains import channel_gains
from ..models.mean_separator import mean_of
from ..models.model_files import LoadedModel, load_model, source_names
from ..models.representation import Representation
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..utils.checks import check
from ..utils.errors import first_sentence, printable
from . import apply
from .audio import (
    FORMATS,
    AudioFile,
    from_waveform,
    length_difference,
    open_audio,
    write_audio,
)
from .encoded_file import open_encoded, write_encoded
from .outputs import Output, check_output
from .streams import Progress, Stream, with_progress

# Of the audio files in a folder; files that are named one by one may have any suffix.
SUFFIXES = (
    ".wav",
    ".flac",
    ".mp3",
    ".m4a",
    ".mp4",
    ".aac",
    ".ogg",
    ".oga",
    ".opus",
    ".aif",
    ".aiff",
    ".caf",
    ".w64",
    ".wma",
)
AnyModel: TypeAlias = str | Path | BaseModel | LoadedModel
AnyModels: TypeAlias = AnyModel | Sequence[AnyModel]
M = TypeVar("M", bound=nn.Module)

logger = logging.getLogger(__name__)


@overload
def separate(
    model: AnyModels | None,
    song: torch.Tensor,
    *,
    sample_rate: float | None = None,
    sources: Sequence[str] | None = None,
    semitones: Sequence[int] = (0,),
    chunk: float = 10.0,
    overlap: float | None = None,
    precision: str = "32",
    device: str | None = None,
    strict: bool = False,
    progress: Progress = False,
) -> dict[str, torch.Tensor]: ...


@overload
def separate(
    model: AnyModels | None,
    song: str | Path,
    *,
    sources: Sequence[str] | None = None,
    semitones: Sequence[int] = (0,),
    chunk: float = 10.0,
    overlap: float | None = None,
    precision: str = "32",
    device: str | None = None,
    strict: bool = False,
    progress: Progress = False,
) -> Iterator[dict[str, torch.Tensor]]: ...


def separate(
    model,
    song,
    *,
    sample_rate=None,
    sources=None,
    semitones=(0,),
    chunk=10.0,
    overlap=None,
    precision="32",
    device=None,
    strict=False,
    progress=False,
):
    """Separate a waveform, or a file of any length piece by piece.

    Estimates have the song's sample rate, channels, length and level. Channels are separated one by
    one; but of two, a model whose sources have names hears mid and side. A pair
    (:class:`.SinuDAE`) does not separate: it gives its ``reconstruction``.

    Args:
        model (str, Path, BaseModel or LoadedModel): A separator: its file, or its name among those
            of :func:`.pretrained.available`; what :func:`.load_model` returned, for several songs;
            or any of Asteroid's models from mono waveforms to waveforms, which is then set to
            evaluation mode and whose sources have no names. A list of several, which separate the
            same sources by name, for the mean of their estimates. None for that of the separators
            that come with the package, :data:`.pretrained.DEFAULT_SEPARATORS`.
        song (:class:`torch.Tensor`, str or Path): A waveform of shape `(time,)` or `(channels,
            time)`, or an audio file.
        sample_rate (float, optional): Sample rate of a waveform in Hz; the model's if None.
        sources (sequence of str, optional): Names of the sources that are wanted; all if None.
        semitones (sequence of int): Intervals by which the song is heard higher, from -4 to 4, by
            separators whose sources have names. With ``(0, 2, -2)``, the estimates are the mean of
            those of the song and of the song a whole tone higher and lower, at three times the
            cost; see :class:`.TransposedSeparator`.
        chunk (float): Seconds that are computed at a time.
        overlap (float, optional): Seconds over which chunks fade into each other; by default a
            tenth of a chunk. A pair needs none.
        precision (str): ``'32'``, or ``'bf16'``: products are computed in bfloat16, which is faster
            where a processor has it, and slower elsewhere. Its rounding is some 45 dB below what
            is estimated.
        device (str, optional): Device of PyTorch that the model is moved to. By default, a model
            from a file and several models use a GPU if there is one, and another one stays where it
            is.
        strict (bool): Whether to refuse a file that breaks off or is damaged, instead of logging a
            warning.
        progress (bool or callable): Whether to show progress on standard error, as a bar if that is
            a terminal; or a function that is called with the seconds that are done and the seconds
            of the song.

    Returns:
        dict from names of sources to waveforms of the shape of `song`; or, of a file, an iterator
        of such dicts, the pieces of shape `(channels, time)` that follow each other. Sources
        without names are ``source1`` and so on.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming an option that is out of its range or a source that the model lacks; if
            the song is no audio, has no samples or one that is not finite; or if the model does not
            fit. Of a file, some of these are raised when its pieces are asked for.
        OSError: if the file cannot be read.

    Examples
        >>> from asteroid_sinudae import STFTConvTasNet
        >>> model = STFTConvTasNet(n_src=2, n_fft=64, stride=24, n_blocks=2, n_repeats=1)
        >>> estimates = separate(model, torch.randn(2, 44_100))
        >>> {name: estimate.shape for name, estimate in estimates.items()}
        {'source1': torch.Size([2, 44100]), 'source2': torch.Size([2, 44100])}
    """
    loaded = load_separator(model, device, semitones)
    options = dict(
        sources=sources, chunk=chunk, overlap=overlap, precision=precision, progress=progress
    )
    if not isinstance(song, torch.Tensor):
        check(sample_rate is None, "sample_rate", sample_rate, "None for a file, which tells it")
        return _pieces_of_file(loaded, Path(song), strict, **options)
    rate = loaded.model.sample_rate if sample_rate is None else sample_rate
    names, pieces = _separated(loaded, from_waveform(song, rate), **options)
    estimates = torch.cat(list(pieces), dim=-1)  # (channels, n_src, time)
    return {
        name: estimate.reshape(song.shape).to(song.device)
        for name, estimate in zip(names, estimates.unbind(1), strict=True)
    }


def separate_file(
    model: AnyModels | None,
    song: str | Path,
    output: str | Path,
    *,
    sources: Sequence[str] | None = None,
    semitones: Sequence[int] = (0,),
    format: str = "float",
    chunk: float = 10.0,
    overlap: float | None = None,
    precision: str = "32",
    device: str | None = None,
    strict: bool = False,
    force: bool = False,
    keep: Iterable[Path] = (),
    progress: Progress = False,
) -> dict[str, Path]:
    """Separate an audio file of any length into a file for each source, as `sinudae separate` does.

    Args:
        model, sources, semitones, chunk, overlap, precision, device, strict, progress: see
            :func:`separate`.
        song (str or Path): The audio file.
        output (str or Path): Folder for ``SONG_<source>.wav``; or a template of paths, such as
            ``"out/{song}/{source}"``, to which the format's suffix is added if it has none. Other
            braces are doubled in both. Folders are made if need be.
        format (str): ``'float'``, WAV of 32-bit floats, which is also called ``'wav'``; ``'wav16'``
            or ``'wav24'``, WAV of integers; or ``'flac'``, of 24-bit integers. In integers, what
            exceeds full scale is clipped.
        force (bool): Whether to replace files that exist.
        keep (iterable of Path): Files that are never replaced, beside the model's and the song.

    Returns:
        dict from names of sources to files. They appear whole or not at all.

    Raises:
        FileNotFoundError, ValueError, OSError: as :func:`separate` does; also for files that exist
            or cannot be written.
    """
    song, where = Path(song), Output(output, format)
    loaded = load_separator(model, device, semitones)
    inputs = [song, *keep, *_files(model)]
    with _open(song, strict) as audio:
        names, pieces = _separated(loaded, audio, sources, chunk, overlap, precision, progress)
        paths = where.paths(song, names, force, inputs)
        write_audio([*paths.values()], pieces, round(audio.sample_rate), audio.length, format)
    return paths


def mask_file(
    representation: str | Path | Representation | None,
    mixture: str | Path,
    vocals: str | Path,
    output: str | Path,
    *,
    rule: str = "binary",
    threshold: float | None = None,
    format: str = "float",
    chunk: float = 10.0,
    device: str | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Progress = False,
) -> dict[str, Path]:
    """Separate an audio file by a mask that knows its vocals, as `sinudae mask` does.

    Args:
        representation (str, Path or Representation): A pair or its file or name, or any other
            representation; None for :class:`.STFT` at the mixture's rate.
        mixture, vocals (str or Path): The audio files, of as many channels. The vocals may have
            another rate, and be up to 2048 samples longer or shorter.
        output (str or Path): Folder for ``MIX_vocals.wav`` and ``MIX_accompaniment.wav``, or a
            template, in which the song is the mixture.
        rule (str): ``'binary'``, ``'ratio'`` or ``'energy_ratio'``.
        threshold (float, optional): Threshold of the rule, 0.5 by default; `ratio` has none.
        chunk (float): Seconds that are computed at a time; does not affect the result.
        format, device, strict, force, progress: see :func:`separate_file`.

    Returns:
        dict from ``'vocals'`` and ``'accompaniment'`` to files.

    Raises:
        FileNotFoundError, ValueError, OSError: as :func:`separate_file` does; also if the files do
            not belong together.
    """
    mixture, vocals, where = Path(mixture), Path(vocals), Output(output, format)
    with _open(mixture, strict) as audio, _open(vocals, strict) as other:
        inputs = [mixture, vocals]
        by: Representation
        if representation is None:
            by = on_device(STFT(sample_rate=audio.sample_rate), best_device(device))
        elif isinstance(representation, str | Path):
            inputs.append(Path(representation))
            by = _load_pair(representation, device)
        else:
            by = representation
            if isinstance(by, nn.Module):
                on_device(by.eval(), device)
        pieces: Stream = apply.masked(by, audio, other, threshold, chunk, rule)
        names = ("vocals", "accompaniment")
        paths = where.paths(mixture, names, force, inputs)
        _note_resampling(audio, by)
        _note_differences(other, audio)
        rate = round(audio.sample_rate)
        pieces = with_progress(pieces, mixture.name, audio.length, rate, progress)
        write_audio([*paths.values()], pieces, rate, audio.length, format)
    return paths


def encode_file(
    model: str | Path | SinuDAE,
    song: str | Path,
    output: str | Path,
    *,
    signal_level: bool = False,
    chunk: float = 10.0,
    device: str | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Progress = False,
) -> Path:
    """Write the representation of an audio file of any length, as `sinudae encode` does.

    Args:
        model (str, Path or SinuDAE): A pair, its file, or its name.
        song (str or Path): The audio file. At another rate than the model's, it is resampled.
        output (str or Path): File to write, whose name ends in ``.npz``: the map A of shape
            `(channels, C, frames)`, its frequencies in Hz, and what :func:`decode_file` needs.
        signal_level (bool): Whether to write A in units of the signal's level, each channel divided
            by its gain, see :func:`.channel_gains`. The file holds the gains, and decoding undoes
            it.
        chunk (float): Seconds that are computed at a time; does not affect the result.
        device, strict, force, progress: see :func:`separate_file`.

    Returns:
        Path of the file, which appears whole or not at all.

    Raises:
        FileNotFoundError, ValueError, OSError: as :func:`separate_file` does.
    """
    song, output = Path(song), Path(output)
    check_output(output, force, [song, *_files(model)], (".npz",))
    pair = _load_pair(model, device)
    with _open(song, strict) as audio:
        pieces, signal = apply.encoded(pair, audio, chunk)
        _note_resampling(audio, pair)
        stride = pair.encoder.stride
        frames, rate = signal.length / stride, signal.sample_rate / stride
        pieces = with_progress(pieces, song.name, frames, rate, progress)
        gains = channel_gains(pair) if signal_level else None
        write_encoded(output, pair, pieces, signal, gains)
    return output


def decode_file(
    model: str | Path | SinuDAE,
    encoded: str | Path,
    output: str | Path,
    *,
    chunk: float = 10.0,
    device: str | None = None,
    force: bool = False,
    progress: Progress = False,
) -> Path:
    """Turn a file of :func:`encode_file`, perhaps edited, into audio, as `sinudae decode` does.

    Args:
        model (str, Path or SinuDAE): The pair that encoded, its file, or its name.
        encoded (str or Path): The file.
        output (str or Path): File to write, at the model's sample rate. Its name ends in ``.wav``,
            for 32-bit floats, or ``.flac``.
        chunk (float): Seconds that are computed at a time; does not affect the result.
        device, force, progress: see :func:`separate_file`.

    Returns:
        Path of the file, which appears whole or not at all.

    Raises:
        FileNotFoundError, ValueError, OSError: as :func:`separate_file` does; also if another model
            encoded.
    """
    encoded, output = Path(encoded), Path(output)
    suffixes = tuple(dict.fromkeys(f".{format.suffix}" for format in FORMATS.values()))
    check_output(output, force, [encoded, *_files(model)], suffixes)
    pair = _load_pair(model, device)
    with open_encoded(encoded) as file:
        length, rate = file.signal.length, round(file.signal.sample_rate)
        pieces: Stream = apply.decoded(pair, file, chunk)
        pieces = with_progress(pieces, encoded.name, length, rate, progress)
        write_audio([output], pieces, rate, length, output.suffix.removeprefix("."))
    return output


def find_songs(paths: Iterable[Path]) -> list[Path]:
    """Replace folders by the audio files in them, in alphabetical order, without those deeper down.

    Raises:
        ValueError: if a folder has no audio files, by their suffixes.
    """
    songs: list[Path] = []
    for path in paths:
        if not path.is_dir():
            songs.append(path)
            continue
        found = [song for song in sorted(path.iterdir()) if _is_song(song)]
        if not found:
            raise ValueError(
                f"{path} has no audio files, expected names that end in {', '.join(SUFFIXES)}"
            )
        songs.extend(found)
    return songs


def _is_song(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def wanted_sources(loaded: LoadedModel, sources: Sequence[str] | None) -> list[str] | None:
    """Names of the sources that are wanted of a model, all of them if `sources` is None.

    Returns None if only the model's output tells how many they are. Raises ValueError if the model
    is known to lack one.
    """
    names = _known_sources(loaded)
    if names is None:
        return None if sources is None else list(sources)
    return _wanted(loaded, names, sources)


def _known_sources(loaded: LoadedModel) -> list[str] | None:
    """Names of what a model gives, None if only its output tells how many they are."""
    if isinstance(loaded.model, SinuDAE):
        return source_names(loaded.model, loaded.infos, 1)
    names = loaded.infos.get("sources")
    if not isinstance(names, list | tuple):
        return None
    return source_names(loaded.model, loaded.infos, len(names))


def _separated(
    loaded: LoadedModel,
    audio: AudioFile,
    sources: Sequence[str] | None,
    chunk: float,
    overlap: float | None,
    precision: str,
    progress: Progress,
) -> tuple[list[str], Iterator[torch.Tensor]]:
    """Names of the wanted sources, and their stream, shapes `(channels, n_src, time)`.

    Nothing is computed or logged before the stream is read; only a model without names of its
    sources computes the first piece, which tells how many they are.
    """
    model, infos = loaded
    # Sources without names may come in any order.
    keep_order = "sources" not in infos
    pieces = apply.separated(model, audio, chunk, overlap, keep_order, precision)
    names = _known_sources(loaded)
    if names is None:
        first = next(pieces)
        names = source_names(model, infos, first.shape[1])
        pieces = itertools.chain([first], pieces)
    wanted = _wanted(loaded, names, sources)
    return wanted, _only_wanted(loaded, audio, pieces, wanted, progress)


def _only_wanted(
    loaded: LoadedModel, audio: AudioFile, pieces: Stream, wanted: list[str], progress: Progress
) -> Iterator[torch.Tensor]:
    """Pass on the wanted sources of a stream, and tell what there is to tell of it."""
    model, infos = loaded
    if isinstance(model, SinuDAE):
        logger.info(
            "%s is reconstructed, not separated: the model is a pair", printable(audio.path)
        )
    _note_resampling(audio, model)
    name, length, rate = audio.path.name, audio.length, audio.sample_rate
    for piece in with_progress(pieces, name, length, rate, progress):
        names = source_names(model, infos, piece.shape[1])
        numbers = [names.index(name) for name in wanted]
        # Tensors of inference mode, which others could not compute gradients with, are copied.
        yield piece[:, numbers].clone()


def _wanted(loaded: LoadedModel, names: list[str], sources: Sequence[str] | None) -> list[str]:
    """Names of the sources that are wanted, among those that a model gives."""
    if sources is None:
        return names
    if isinstance(loaded.model, SinuDAE):
        raise ValueError(
            f"a SinuDAE encodes and decodes, it does not separate: expected a separator for "
            f"sources={sources!r}"
        )
    is_list = isinstance(sources, list | tuple) and 0 < len(sources) == len(set(sources))
    is_known = is_list and set(sources) <= set(names)
    check(is_known, "sources", sources, f"different names among {', '.join(names)}")
    return list(sources)


def _pieces_of_file(
    loaded: LoadedModel, song: Path, strict: bool, **options
) -> Iterator[dict[str, torch.Tensor]]:
    with _open(song, strict) as audio:
        names, pieces = _separated(loaded, audio, **options)
        for piece in pieces:
            yield dict(zip(names, piece.unbind(1), strict=True))


def load_separator(
    models: AnyModels | None, device: str | None, semitones: Sequence[int]
) -> LoadedModel:
    """Load a model, or the mean of what several hear, and move it to a device.

    Args:
        models, device, semitones: see :func:`separate`.

    Raises:
        FileNotFoundError, ValueError: if one cannot be loaded, they do not go together, or the
            device cannot be used.
    """
    if models is None:
        models = registry.DEFAULT_SEPARATORS
    each = _each(models)
    names = [str(model) if isinstance(model, str | Path) else None for model in each]
    loaded = mean_of([_load_one(model) for model in each], names, semitones)
    if len(each) > 1 or _files(models):
        device = best_device(device)
    on_device(loaded.model.eval(), device)
    return loaded


def _load_one(model: AnyModel) -> LoadedModel:
    if isinstance(model, str | Path):
        return load_model(model)
    if isinstance(model, LoadedModel):
        return model
    check(isinstance(model, BaseModel), "model", model, "a model, its file or its name")
    return LoadedModel(model, {})


def _load_pair(model: str | Path | SinuDAE, device: str | None) -> SinuDAE:
    if isinstance(model, SinuDAE):
        return on_device(model.eval(), device)
    return on_device(SinuDAE.from_pretrained(model).eval(), best_device(device))


def _each(models: Any) -> list:
    """The models of a sequence, or the one model."""
    is_one = isinstance(models, str | LoadedModel) or not isinstance(models, Sequence)
    return [models] if is_one else list(models)


def _files(models: AnyModels | None) -> list[Path]:
    """Files of one model or several; or names, which are none."""
    return [Path(model) for model in _each(models) if isinstance(model, str | Path)]


def best_device(device: str | None) -> str:
    """Return `device`, or if it is None that of models from files: a GPU if there is one."""
    if device is not None:
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def on_device(model: M, device: str | None) -> M:
    """Move a model to a device; it stays where it is if `device` is None.

    Raises ValueError if the device cannot be used.
    """
    if device is None:
        return model
    try:
        torch.zeros(1, device=device).item()  # fails on a device that cannot compute
        return model.to(device)
    except (RuntimeError, AssertionError, ImportError) as error:
        gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        expected = " or ".join(["cpu", *(name for name, is_here in gpus.items() if is_here)])
        reason = first_sentence(error)
        message = f"device {device!r} cannot be used: {reason}; expected {expected}"
        raise ValueError(message) from error


@contextlib.contextmanager
def _open(path: Path, strict: bool) -> Iterator[AudioFile]:
    """Open a song. If it is damaged, log a warning, or raise a ValueError if `strict`."""

    def tell(message: str) -> None:
        if strict:
            raise ValueError(f"{message}: refused by --strict")
        logger.warning("%s", printable(message))

    with open_audio(path, tell) as audio:
        if audio.n_streams > 1:
            logger.info(
                "%s has %d audio streams, of which the first is read",
                printable(path),
                audio.n_streams,
            )
        yield audio


def _note_resampling(song: AudioFile, model: Representation | BaseModel) -> None:
    if song.sample_rate != model.sample_rate:
        logger.info(
            "%s is at %s Hz, resampled to the model's %g Hz",
            printable(song.path),
            song.sample_rate,
            model.sample_rate,
        )


def _note_differences(vocals: AudioFile, mixture: AudioFile) -> None:
    """Log what is changed in the vocals so that they fit the mixture."""
    if vocals.sample_rate != mixture.sample_rate:
        logger.info(
            "%s is at %s Hz, resampled to the %s Hz of %s",
            printable(vocals.path),
            vocals.sample_rate,
            mixture.sample_rate,
            printable(mixture.path),
        )
    number = length_difference(vocals, mixture)
    names = printable(vocals.path), abs(number), printable(mixture.path)
    if number > 0:
        logger.info("%s is %d samples longer than %s, cut at the end", *names)
    if number < 0:
        logger.info("%s is %d samples shorter than %s, zeros are added", *names)
