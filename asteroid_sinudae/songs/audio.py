"""Audio files of any length and rate, read and written piece by piece, see :mod:`.streams`."""

import contextlib
import itertools
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch.nn import functional as F

from ..songs import ffmpeg
from ..utils.checks import FLOATS, check, check_choice, check_dense, check_rate
from ..utils.errors import printable
from ..utils.files import atomic_path, require_file
from .containers import Data, Part, PatchedPart, find_data, find_ogg_streams, find_parts
from .streams import Stream, cut, map_blocks

logger = logging.getLogger(__name__)

MP3 = re.compile(rb"ID3|\xff[\xe0-\xff]")  # beginnings of MP3 files
PIECE = 2**16  # samples read at a time, at most
MAX_PIECE = 2**22  # bytes read at a time, if there are many channels
SHORT_PIECE = 2**10  # samples
MAX_FRAMES = 2**62  # libsndfile gives this number of frames or more if it does not know it
NO_END = "the page that ends its stream is missing"
# Samples that a codec adds at the ends and that a header counts: LAME's delay and last frames.
MAX_PADDING = 2400
MAX_DIFFERENCE = 2048  # samples between two files that go together
MAX_CHANNELS = 1024  # the limit of libsndfile
MAX_WAV = 2**32 - 2**12  # bytes of audio that the header of a WAV file can count
MAX_PERIOD = 500  # samples at the lower rate
MAX_RATIO = 50
# torchaudio's equivalent of resampy's kaiser_best: flat to 95% of the lower rate's half.
RESAMPLING = {
    "resampling_method": "sinc_interp_kaiser",
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "beta": 14.769656459379492,
}


class Format(NamedTuple):
    """A format that estimates are written in, and what libsndfile's files of it can have."""

    subtype: str
    bits: int  # of a sample
    suffix: str = "wav"
    channels: int = MAX_CHANNELS
    sample_rate: int = 2**31 - 1


FORMATS = {
    "float": Format("FLOAT", 32),
    "wav": Format("FLOAT", 32),  # another name of the same
    "wav16": Format("PCM_16", 16),
    "wav24": Format("PCM_24", 24),
    "flac": Format("PCM_24", 24, suffix="flac", channels=8, sample_rate=655_350),
}


class AudioFile:
    """An audio file that is open for reading.

    Args:
        path (Path): Path of the file, for messages.
        sample_rate (float): Sample rate in Hz, a whole number in files.
        channels (int): Number of channels.
        length (int): Number of samples that decode.
        read (callable): A function that returns an iterator over all samples from the beginning, as
            float32 arrays of shape `(time, channels)`.
        n_streams (int): Number of audio streams in the file; the first one is read.

    Attributes:
        peak (float): The largest absolute value among the samples that were read so far.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: float,
        channels: int,
        length: int,
        read: Callable[[], Iterator[np.ndarray]],
        n_streams: int = 1,
    ):
        self.path, self.sample_rate, self.channels, self.length = (
            path,
            sample_rate,
            channels,
            length,
        )
        self.n_streams = n_streams
        self.peak = 0.0
        self._read = read

    def pieces(self) -> Iterator[torch.Tensor]:
        """Stream the samples from the beginning, as float32 of shape `(channels, time)`.

        Raises:
            ValueError: naming the time, if the file cannot be read to its end, or has a NaN or
                infinite sample.
        """
        position = 0
        for samples in self._read():
            samples = samples[: self.length - position]
            is_finite = np.isfinite(samples).all(axis=1)
            if not is_finite.all():
                first = position + int(np.argmin(is_finite))
                raise ValueError(
                    f"{self.path} has a NaN or infinite sample at {self._time(first)}, "
                    "expected finite ones"
                )
            self.peak = max(self.peak, float(np.abs(samples).max(initial=0)))
            yield torch.from_numpy(np.ascontiguousarray(samples.T))  # (channels, time)
            position += len(samples)
        if position < self.length:
            raise ValueError(
                f"{self.path} was changed while it was read: it now ends after "
                f"{self._time(position)} of {self._time(self.length)}"
            )

    def _time(self, n_samples: int) -> str:
        return f"{n_samples / self.sample_rate:.6g} s"


@contextlib.contextmanager
def open_audio(
    path: str | Path, on_damage: Callable[[str], None] = warnings.warn
) -> Iterator[AudioFile]:
    """Open an audio file of any format that libsndfile or ffmpeg reads.

    The file is read to the end of what decodes, whatever its header says. Compressed audio is
    decoded twice, first to count its samples; this takes little time compared with a model. Formats
    of which libsndfile may read only a part are decoded by ffmpeg. Files that were joined into one
    (`cat a b > c`) are read one after the other, as one song at the rate and with the channels of
    the first, to which ffmpeg converts the others.

    Args:
        path (str or Path): The file.
        on_damage (callable): Function that is called with a message if the file ends before its
            header says, if a part does not decode, or if this cannot be determined; of joined
            files, with their numbers.

    Yields:
        AudioFile

    Raises:
        FileNotFoundError: if there is no such file, or if the file needs ffmpeg and ffmpeg is not
            installed.
        ValueError: if the file is no audio, or has no samples.
    """
    path = Path(path)
    require_file(path, "an audio file")
    parts = find_parts(path)
    audio, damage = _open_part(parts[0]) if len(parts) == 1 else _open_joined(path, parts)
    if audio.length == 0:
        raise ValueError(f"{path} has no samples, expected at least one")
    if damage:
        on_damage(f"{path} {damage}")
    yield audio


def _open_part(part: Part) -> tuple[AudioFile, str]:
    """Return a file, or one of those that were joined into it, and what is wrong with it."""
    data = find_data(part)
    audio: AudioFile | None = None
    damage, is_flac = "", False
    with contextlib.ExitStack() as stack:
        file = _open_by_libsndfile(part, data, stack)
        if file is not None and _is_uncompressed(file):
            return _uncompressed(part, file, data)
        if file is not None:
            audio, damage = _compressed(part, file)
            is_flac = file.format == "FLAC"
    is_whole = audio is not None and not damage
    # libsndfile drops Ogg pages in silence; ffmpeg does not cut the last one.
    if ffmpeg.is_installed() and not (is_whole and is_flac):
        other, damage = _by_ffmpeg(part)
        audio = audio if is_whole and not damage else other
    if audio is None:
        raise FileNotFoundError(
            f"{part.path} is no audio that libsndfile reads, and ffmpeg, which may read it, is not "
            "installed: expected WAV, FLAC, Ogg or MP3, or ffmpeg on PATH"
        )
    return audio, damage


def _open_joined(path: Path, parts: list[Part]) -> tuple[AudioFile, str]:
    """Return joined files as one, and what is wrong with them.

    Sample rate and channels are those of the first that can be read. If none can, the error of the
    last is raised.
    """
    audios: list[AudioFile] = []
    damages = []
    for number, part in enumerate(parts, 1):
        try:
            audio, damage = _open_part(part)
            audios.append(_converted(part, audio, audios[0]) if audios else audio)
        except (FileNotFoundError, ValueError) as error:
            if not audios and part is parts[-1]:
                raise
            damage = f"is not read, as {error}"
        if damage:
            damages.append(f"number {number} {damage}")
    first, length = audios[0], sum(audio.length for audio in audios)
    n_streams = max(audio.n_streams for audio in audios)
    read = partial(_read_all, audios)
    joined = AudioFile(path, first.sample_rate, first.channels, length, read, n_streams)
    found = f"is joined from {len(parts)} files: {'; '.join(damages)}"
    return joined, found if damages else ""


def _converted(part: Part, audio: AudioFile, first: AudioFile) -> AudioFile:
    """Return the audio of a part at the rate and with the channels of the first one."""
    form, found = ((one.sample_rate, one.channels) for one in (first, audio))
    if form == found:
        return audio
    if not ffmpeg.is_installed():
        raise ValueError(
            f"it is at {found[0]} Hz with {found[1]} channel(s), the first at {form[0]} Hz with "
            f"{form[1]}, and ffmpeg, which converts it, is not installed"
        )
    return _by_ffmpeg(part, form)[0]


def _read_all(audios: Sequence[AudioFile]) -> Iterator[np.ndarray]:
    """Read files one after the other, each up to its length."""
    for audio in audios:
        remaining = audio.length
        for samples in audio._read():
            yield samples[:remaining]
            remaining = max(0, remaining - len(samples))


def from_waveform(wav: torch.Tensor, sample_rate: float) -> AudioFile:
    """Let a waveform be read as a file is.

    Args:
        wav (:class:`torch.Tensor`): Floating-point numbers, shape `(time,)` or `(channels, time)`.
        sample_rate (float): Sample rate in Hz.

    Returns:
        AudioFile

    Raises:
        ValueError: if the waveform has another shape or kind of numbers, or no samples.
    """
    check_dense("the waveform", wav, FLOATS)
    check_rate(sample_rate)
    is_wav = wav.dim() in (1, 2) and wav.numel() > 0
    expected = "(time,) or (channels, time), of at least one sample"
    check(is_wav, "shape of the waveform", tuple(wav.shape), expected)
    channels = wav.detach().reshape(-1, wav.shape[-1])  # (channels, time)
    n_channels, length = channels.shape
    expected = f"at most {MAX_CHANNELS}, in (channels, time)"
    check(n_channels <= MAX_CHANNELS, "channels of the waveform", n_channels, expected)

    def read() -> Iterator[np.ndarray]:
        for piece in channels.split(_piece(n_channels), dim=-1):
            yield piece.T.float().cpu().numpy()  # (time, channels)

    return AudioFile(Path("the waveform"), sample_rate, n_channels, length, read)


def _open_by_libsndfile(
    part: Part, data: Data | None, stack: contextlib.ExitStack
) -> soundfile.SoundFile | None:
    """Open a file by libsndfile, with the size in its header mended; None if it cannot read it."""
    with part.open() as start:
        # Not by libsndfile, because its libmpg123 writes warnings to the terminal.
        if ffmpeg.is_installed() and MP3.match(start.read(4)):
            return None
    source = _source(part, stack)
    if data is not None and (data.declared is None or data.declared > data.available):
        if data.actual is None:
            return None
        source = stack.enter_context(PatchedPart(part, data.position, data.actual))
    try:
        return stack.enter_context(soundfile.SoundFile(source))
    except (soundfile.LibsndfileError, TypeError):  # a file named *.raw is a TypeError
        return None


def _source(part: Part, stack: contextlib.ExitStack) -> bytes | PatchedPart:
    """What libsndfile opens: the file's name, which is faster, or a part of the file."""
    if part == Part(part.path):
        return os.fsencode(part.path)
    return stack.enter_context(PatchedPart(part))


def _is_uncompressed(file: soundfile.SoundFile) -> bool:
    return file.format not in ("FLAC", "OGG", "MP3") and not file.subtype.startswith("MPEG_")


def _uncompressed(
    part: Part, file: soundfile.SoundFile, data: Data | None
) -> tuple[AudioFile, str]:
    """Return the file, and what is wrong with it."""
    read, length = partial(_read_by_libsndfile, part, data), file.frames
    if file.format == "W64" and data is not None and (data.declared or 0) < data.available:
        # libsndfile takes what follows the audio for more of it.
        length = math.ceil(length * (data.declared or data.available) / data.available)
    audio = AudioFile(part.path, file.samplerate, file.channels, length, read)
    if data is None or data.declared is None or data.declared <= data.available:
        return audio, ""
    told = audio.length / audio.sample_rate * data.declared / max(1, data.available)
    return audio, _damage(audio, told, is_short=True)


def _read_by_libsndfile(part: Part, data: Data | None) -> Iterator[np.ndarray]:
    """Open a file and read it; joined files may be more than can be open at a time."""
    position = 0
    with contextlib.ExitStack() as stack:
        file = _open_by_libsndfile(part, data, stack)
        if file is None:
            return  # the file was changed, as its reader tells
        try:
            n_samples = _piece(file.channels)
            while len(samples := file.read(n_samples, dtype="float32", always_2d=True)):
                yield samples
                position += len(samples)
        except soundfile.LibsndfileError as error:
            time, reason = f"{position / file.samplerate:.6g} s", error.error_string
            raise ValueError(f"{part.path} cannot be read after {time}: {reason}") from error


def _piece(channels: int) -> int:
    """Number of samples to read at a time from a file of so many channels."""
    return max(1, min(PIECE, MAX_PIECE // (4 * max(1, channels))))


def _compressed(part: Part, file: soundfile.SoundFile) -> tuple[AudioFile, str]:
    """Return the file as libsndfile reads it, and why that may not be all of it."""
    complaints: list[str] = []
    read = partial(_read_what_decodes, part, complaints)
    length = sum(map(len, read()))
    audio = AudioFile(part.path, file.samplerate, file.channels, length, read)
    told = file.frames / file.samplerate if file.frames < MAX_FRAMES else None
    streams = find_ogg_streams(part)
    if complaints:
        complaint = f"libsndfile says: {complaints[0]}"
    elif streams is not None and not streams.are_whole:
        told, complaint = None, NO_END
    elif told is None or file.format not in ("FLAC", "OGG") or streams and streams.number > 1:
        complaint = "libsndfile may read a part of it, and ffmpeg, which reads all, is missing"
    else:
        complaint = ""
    return audio, _damage(audio, told, length < file.frames, complaint)


def _read_what_decodes(part: Part, complaints: list[str]) -> Iterator[np.ndarray]:
    """Read short pieces, because a piece that does not decode is lost as a whole."""
    try:
        with contextlib.ExitStack() as stack:  # after a failure, seeking fails too
            file = stack.enter_context(soundfile.SoundFile(_source(part, stack)))
            while len(samples := file.read(SHORT_PIECE, dtype="float32", always_2d=True)):
                yield samples
    except soundfile.LibsndfileError as error:
        complaints.append(error.error_string.rstrip("."))


def _by_ffmpeg(part: Part, form: tuple[float, int] | None = None) -> tuple[AudioFile, str]:
    """Return the file as ffmpeg reads it, perhaps converts it, and what is wrong with it."""
    facts = ffmpeg.probe(part)
    with ffmpeg.decoding(part, form) as decoder:
        messages = decoder.messages
        sample_rate, channels = decoder.sample_rate, decoder.channels
        length = sum(map(len, decoder.pieces(_piece(channels))))
    if length == 0 and messages.first:
        raise ValueError(f"{part.path} cannot be read as audio, ffmpeg says: {messages.first}")
    read = partial(_read_by_ffmpeg, part, form)
    audio = AudioFile(part.path, sample_rate, channels, length, read, facts.n_streams)
    told = None if messages.is_estimate else facts.seconds
    complaint = ""
    if messages.first:
        more = messages.n_complaints - 1
        complaint = f"ffmpeg says: {messages.first}" + f", and {more} more" * (more > 0)
    elif (streams := find_ogg_streams(part)) is not None and not streams.are_whole:
        told, complaint = None, NO_END
    missing = 0 if told is None else told * sample_rate - length
    return audio, _damage(audio, told, missing > MAX_PADDING, complaint)


def _read_by_ffmpeg(part: Part, form: tuple[float, int] | None) -> Iterator[np.ndarray]:
    with ffmpeg.decoding(part, form) as decoder:
        yield from decoder.pieces(_piece(decoder.channels))


def _damage(audio: AudioFile, told: float | None, is_short: bool, complaint: str = "") -> str:
    """Say what is wrong with a file of `told` seconds by its header; empty if it is whole."""
    if not is_short and not complaint:
        return ""
    seconds = audio.length / audio.sample_rate
    if told is None:
        damage = f"is damaged: {seconds:.3f} s of it decode, its header does not tell its duration"
    elif complaint:
        damage = f"is damaged: {seconds:.3f} s decode of the {told:.3f} s of its header"
    else:
        damage = f"breaks off after {seconds:.3f} s of the {told:.3f} s of its header"
    return f"{damage} ({complaint})" if complaint else damage


def check_format(format: str) -> None:
    """Raise a ValueError if estimates cannot be written in a format."""
    check_choice("format", format, FORMATS)


def write_audio(
    paths: Sequence[Path], pieces: Stream, sample_rate: int, length: int, format: str = "float"
) -> None:
    """Write a stream of several sources as audio files that appear whole or not at all.

    Estimates may exceed full scale, where integers clip and 32-bit floats do not; it is logged if
    samples are clipped. Integers are the nearest ones, without dither. A WAV file of more than 4 GB
    is written as RF64, the extension of WAV for large files.

    Args:
        paths (sequence of Path): One file for each source.
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(channels, n_src, time)`.
        sample_rate (int): Sample rate in Hz.
        length (int): Number of samples of the stream.
        format (str): A key of :data:`FORMATS`.

    Raises:
        ValueError: if there is no such format, or if its files cannot have such a rate or so many
            channels.
        OSError: naming the files, if one cannot be written.
    """
    check_format(format)
    form = FORMATS[format]
    remaining = iter(pieces)
    first = next(remaining)
    channels = first.shape[0]
    names = ", ".join(map(str, paths))
    check(channels <= form.channels, f"channels of {names}", channels, f"at most {form.channels}")
    kind = form.suffix.upper()
    expected = f"1 to {form.sample_rate} Hz, which a {kind} file can have"
    check(1 <= sample_rate <= form.sample_rate, f"sample_rate of {names}", sample_rate, expected)
    is_large = kind == "WAV" and form.bits // 8 * channels * length > MAX_WAV
    container = "RF64" if is_large else kind
    options: dict[str, Any] = dict(channels=channels, subtype=form.subtype, format=container)
    n_clipped = dict.fromkeys(paths, 0)
    try:
        with contextlib.ExitStack() as stack:
            files = []
            for path in paths:
                temporary = stack.enter_context(atomic_path(path))
                name = os.fsencode(temporary)
                file = soundfile.SoundFile(name, "w", samplerate=sample_rate, **options)
                files.append(stack.enter_context(file))
            for piece in itertools.chain([first], remaining):
                for path, file, samples in zip(paths, files, piece.unbind(1), strict=True):
                    if form.subtype != "FLOAT":
                        n_clipped[path] += int((samples.abs() > 1).sum())
                        samples = _rounded(samples, form.bits)
                    file.write(samples.T.numpy())  # (time, channels)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise OSError(f"cannot write {names}: {reason}, is the disk full?") from error
    for path, number in n_clipped.items():
        if number:
            message = "%s has %d samples beyond full scale, which are clipped"
            logger.warning(message, printable(path), number)


def _rounded(samples: torch.Tensor, bits: int) -> torch.Tensor:
    """Round to the nearest integers, in units of full scale; libsndfile rounds down in WAV files.

    It still clips the one step that integers lack at the positive end.
    """
    scale = 2.0 ** (bits - 1)
    return (samples.clamp(-1, 1) * scale).round() / scale


def rate_ratio(old: float, new: float) -> Fraction:
    """Ratio of two sample rates, new to old, as a fraction that is short enough for resampling.

    It is exact for all rates in common use. For others, as 48001 and 44100 Hz, it is a short
    fraction which is at most 0.1% off. If a signal is resampled there and back, the errors cancel.

    Args:
        old (float): Old sample rate in Hz.
        new (float): New sample rate in Hz.

    Raises:
        ValueError: if one rate is more than :data:`MAX_RATIO` times the other.

    Examples
        >>> rate_ratio(48000, 44100), rate_ratio(44100, 44101)
        (Fraction(147, 160), Fraction(1, 1))
    """
    low, high = sorted([Fraction(old), Fraction(new)])
    if not 0 < high <= MAX_RATIO * low:
        raise ValueError(
            f"audio at {old:g} Hz cannot be resampled to {new:g} Hz: expected rates of which "
            f"neither is more than {MAX_RATIO} times the other"
        )
    ratio = (high / low).limit_denominator(MAX_PERIOD)
    return ratio if new > old else 1 / ratio


def resampled(pieces: Stream, ratio: Fraction, length: int) -> Iterator[torch.Tensor]:
    """Resample a stream by torchaudio, block by block, with the same result as for the whole.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream of `length` samples, shapes
            `(..., time)`.
        ratio (Fraction): New sample rate to old, see :func:`rate_ratio`.
        length (int): Number of samples of the new stream, at most `ceil(ratio * old length)`.

    Returns:
        Iterator of :class:`torch.Tensor`.
    """
    if ratio == 1:
        return cut(pieces, length)
    from torchaudio.transforms import Resample  # here, since few songs need it

    old_period, new_period = ratio.denominator, ratio.numerator
    # The kernel is computed in double precision: in single precision its errors are at -97 dB.
    resample = Resample(old_period, new_period, **RESAMPLING, dtype=torch.float64).float()

    def resample_periods(wav: torch.Tensor) -> torch.Tensor:
        # torchaudio computes the output length of an incomplete period in single precision.
        return resample(F.pad(wav, [0, -wav.shape[-1] % old_period]).contiguous())

    margin = (math.ceil(resample.width / old_period) + 1) * old_period
    block = math.ceil(PIECE / old_period) * old_period
    return cut(map_blocks(pieces, resample_periods, block, margin, ratio), length)


def like(audio: AudioFile, other: AudioFile) -> Iterator[torch.Tensor]:
    """Read a file at the sample rate and length of another file that belongs to the same song.

    Codecs change the length by some samples. Differences up to :data:`MAX_DIFFERENCE` are made up
    for by zeros at the end, or by leaving out the end.

    Args:
        audio (AudioFile): The file to read.
        other (AudioFile): The file that it has to match.

    Returns:
        Iterator of :class:`torch.Tensor`, a stream of shapes `(channels, time)`.

    Raises:
        ValueError: if the numbers of channels differ, if the lengths differ by more, or if the
            ratio of the rates is not exact, so that one file would drift against the other.
    """
    expected = f"that of {other.path}, {other.channels} channels"
    check(audio.channels == other.channels, f"channels of {audio.path}", audio.channels, expected)
    ratio = rate_ratio(audio.sample_rate, other.sample_rate)
    is_exact = ratio == Fraction(other.sample_rate) / Fraction(audio.sample_rate)
    expected = f"that of {other.path}, {other.sample_rate} Hz, or one in a simple ratio to it"
    check(is_exact, f"sample_rate of {audio.path}", audio.sample_rate, expected)
    difference = length_difference(audio, other)
    check(
        abs(difference) <= MAX_DIFFERENCE,
        f"length of {audio.path}",
        other.length + difference,
        f"at most {MAX_DIFFERENCE} samples from that of {other.path}, {other.length}",
    )
    pieces = resampled(audio.pieces(), ratio, other.length + difference)
    silence = torch.zeros(audio.channels, max(0, -difference))
    return cut(itertools.chain(pieces, [silence]), other.length)


def length_difference(audio: AudioFile, other: AudioFile) -> int:
    """Number of samples, at the rate of `other`, by which `audio` is longer."""
    ratio = rate_ratio(audio.sample_rate, other.sample_rate)
    return math.ceil(audio.length * ratio) - other.length
