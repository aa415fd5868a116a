"""Audio files of any length and rate, read and written piece by piece, see :mod:`.chunks`."""

import contextlib
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.nn import functional as F
from torchaudio.transforms import Resample

from ._checks import check
from .chunks import Stream, cut, map_blocks
from .files import atomic_path

PIECE = 2**16  # samples read at a time
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


class AudioFile:
    """An audio file that is open for reading.

    Args:
        path (Path): Its name in messages.
        file (soundfile.SoundFile): Open.

    Attributes:
        sample_rate (int): In Hz.
        channels (int): Their number.
        length (int): In samples.

    Raises:
        ValueError: if it has no samples.
    """

    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path = path
        self.file = file
        self.sample_rate, self.channels, self.length = file.samplerate, file.channels, file.frames
        if self.length == 0:
            raise ValueError(f"{path} has no samples, expected at least one")

    def pieces(self) -> Iterator[torch.Tensor]:
        """Stream of the samples from the beginning, float32 of shape `(channels, time)`.

        Raises:
            ValueError: naming the time, if the file cannot be read to its end, or has a NaN or
                infinite sample.
        """
        self.file.seek(0)
        position = 0
        while position < self.length:
            samples = self._read(position)
            is_finite = np.isfinite(samples).all(axis=1)
            if not is_finite.all():
                first = position + int(np.argmin(is_finite))
                raise ValueError(
                    f"{self.path} has a NaN or infinite sample at {self._time(first)}, "
                    "expected finite ones"
                )
            yield torch.from_numpy(np.ascontiguousarray(samples.T))
            position += len(samples)

    def _read(self, position: int) -> np.ndarray:
        reason = ""
        try:
            samples = self.file.read(PIECE, dtype="float32", always_2d=True)
            if len(samples):
                return samples
        except soundfile.LibsndfileError as error:
            reason = f": {error.error_string}"
        raise ValueError(
            f"{self.path} breaks off after {self._time(position)} of {self._time(self.length)}"
            f"{reason}"
        )

    def _time(self, n_samples: int) -> str:
        return f"{n_samples / self.sample_rate:.6g} s"


@contextlib.contextmanager
def open_audio(path: str | Path) -> Iterator[AudioFile]:
    """Open an audio file of any format that libsndfile or ffmpeg reads.

    What only ffmpeg reads is decoded to a temporary WAV file of 32-bit floats first.

    Args:
        path (str or Path): The file.

    Yields:
        AudioFile

    Raises:
        FileNotFoundError: if there is no such file, or it takes ffmpeg and that is not installed.
        ValueError: if it is no audio, or has no samples.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: expected an audio file")
    with contextlib.ExitStack() as stack:
        try:
            file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, TypeError):  # a TypeError is for files named *.raw
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sinudae-"))
            decoded = Path(folder) / "decoded.wav"
            _decode_by_ffmpeg(path, decoded)
            file = soundfile.SoundFile(decoded)
        yield AudioFile(path, stack.enter_context(file))


def _decode_by_ffmpeg(path: Path, wav: Path) -> None:
    if shutil.which("ffmpeg") is None:
        raise FileNotFoundError(
            f"{path} is no audio that libsndfile reads, and ffmpeg, which may read it, is not "
            "installed: expected WAV, FLAC, Ogg or MP3, or ffmpeg on PATH"
        )
    command = ["ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
    command += ["-i", f"file:{path}", "-vn", "-c:a", "pcm_f32le", "-rf64", "auto", wav]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{path} cannot be read as audio, ffmpeg says: {last_line}")


def write_wavs(paths: Sequence[Path], pieces: Stream, sample_rate: int, length: int) -> None:
    """Write a stream of several sources as WAV files that appear whole or not at all.

    Samples are 32-bit floats: estimates may exceed full scale, where integers would clip them. A
    file of more than 4 GB is an RF64, the extension of WAV for such.

    Args:
        paths (sequence of Path): A file for each source.
        pieces (iterable of :class:`torch.Tensor`): A stream, shapes `(channels, n_src, time)`.
        sample_rate (int): In Hz.
        length (int): Samples of the stream.

    Raises:
        OSError: naming the files, if one cannot be written.
    """
    pieces = iter(pieces)
    piece = next(pieces)
    channels = piece.shape[0]
    container = "WAV" if 4 * channels * length <= MAX_WAV else "RF64"
    options = dict(mode="w", channels=channels, subtype="FLOAT", format=container)
    try:
        with contextlib.ExitStack() as stack:
            files = []
            for path in paths:
                temporary = stack.enter_context(atomic_path(path))
                file = soundfile.SoundFile(temporary, samplerate=sample_rate, **options)
                files.append(stack.enter_context(file))
            while piece is not None:
                for file, samples in zip(files, piece.unbind(1), strict=True):
                    file.write(samples.T.numpy())
                piece = next(pieces, None)
    except soundfile.LibsndfileError as error:
        names = ", ".join(map(str, paths))
        reason = error.error_string.rstrip(".")
        raise OSError(f"cannot write {names}: {reason}, is the disk full?") from error


def rate_ratio(old: float, new: float) -> Fraction:
    """Ratio of two sample rates, new to old, that resampling can have.

    It is exact for all rates in common use. For others, as 48001 and 44100 Hz, it is one of a short
    period and at most 0.1% off: there and back again, that does not show.

    Args:
        old (float): In Hz.
        new (float): In Hz.

    Raises:
        ValueError: if one is more than :data:`MAX_RATIO` times the other.

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
    """Stream at another sample rate, by torchaudio in blocks: that of the whole signal.

    Args:
        pieces (iterable of :class:`torch.Tensor`): A stream of `length` samples, shapes
            `(..., time)`.
        ratio (Fraction): New sample rate to old, see :func:`rate_ratio`.
        length (int): Samples of the new stream; `ceil(ratio * old length)` at most.

    Returns:
        Iterator of :class:`torch.Tensor`.
    """
    if ratio == 1:
        return cut(pieces, length)
    old_period, new_period = ratio.denominator, ratio.numerator
    # In single precision, the kernel's times would be off by enough to show at -97 dB.
    resample = Resample(old_period, new_period, **RESAMPLING, dtype=torch.float64).float()

    def resample_periods(wav: torch.Tensor) -> torch.Tensor:
        # Of a last period that is not whole, torchaudio computes the length in single precision.
        return resample(F.pad(wav, [0, -wav.shape[-1] % old_period]).contiguous())

    margin = (math.ceil(resample.width / old_period) + 1) * old_period
    block = math.ceil(PIECE / old_period) * old_period
    return cut(map_blocks(pieces, resample_periods, block, margin, ratio), length)


def check_same(first: AudioFile, second: AudioFile) -> None:
    """Raise a ValueError if two files have not the same rate, channels and length."""
    for name, unit in {"sample_rate": "Hz", "channels": "channels", "length": "samples"}.items():
        of_first, of_second = getattr(first, name), getattr(second, name)
        expected = f"that of {first.path}, {of_first} {unit}"
        check(of_first == of_second, f"{name} of {second.path}", of_second, expected)
