"""Files of encoded signals, written and read piece by piece.

They are NumPy's `.npz`, uncompressed, with the arrays

- `A`: the representation, as float32 of shape `(channels, C, frames)`;
- `frequencies`: carrier of each of its `C` channels in Hz, NaN if the decoder has none;
- `stride` (samples), `sample_rate` (Hz) and `length` (samples) of the encoded signal;
- `first_frame_time`: seconds from the signal's first sample to the centre of the first frame. It is
  negative if there are frames beyond the ends. Frame t is at `first_frame_time + t * stride /
  sample_rate`;
- `gains`, of shape `(C,)`, only in files in units of the signal's level: A was divided by them, see
  :func:`.channel_gains`. It is multiplied by them again when it is read.

A is stored in Fortran order, so that frames follow each other in the file. Arrays from
:func:`numpy.load` have the same shape as always, and neither writing nor reading takes more memory
for a longer signal.
"""

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy

from ..models.sinudae import SinuDAE
from ..utils.checks import check
from ..utils.files import atomic_path, require_file
from .audio import MAX_CHANNELS
from .streams import Stream

PIECE = 2**26  # bytes read at a time
MAX_NUMBER = 2**12  # bytes of an array that holds one number
MAX_HEADER = 2**14  # bytes of an array's header


class Signal(NamedTuple):
    """The signal that a file encodes.

    Attributes:
        channels (int): Number of channels.
        length (int): Number of samples.
        sample_rate (float): Sample rate in Hz.
    """

    channels: int
    length: int
    sample_rate: float


def write_encoded(
    path: Path,
    model: SinuDAE,
    pieces: Stream,
    signal: Signal,
    gains: torch.Tensor | None = None,
) -> None:
    """Write an encoded signal to a file that appears whole or not at all.

    Args:
        path (Path): The file to write or replace.
        model (SinuDAE): The model that encoded the signal.
        pieces (iterable of :class:`torch.Tensor`): A stream of the representation, shapes
            `(channels, C, frames)`.
        signal (Signal): The signal that was encoded.
        gains (:class:`torch.Tensor`, optional): What to divide the channels by, shape `(C,)`, noted
            in the file; the result of :func:`.channel_gains`.

    Raises:
        OSError: naming `path`, if it cannot be written.
    """
    n_filters, stride = model.encoder.filterbank.n_feats_out, model.encoder.stride
    shape = (signal.channels, n_filters, n_frames(model, signal.length))
    header = {"descr": "<f4", "fortran_order": True, "shape": shape}
    values = {
        "frequencies": carriers(model),
        "stride": np.array(stride),
        "sample_rate": np.array(signal.sample_rate),
        "length": np.array(signal.length),
        "first_frame_time": model.frame_times(1)[0].numpy(),
    }
    if gains is not None:
        values["gains"] = gains.cpu().numpy()
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w") as member:
                npy.write_array(member, value)
        with archive.open("A.npy", "w", force_zip64=True) as member:
            npy.write_array_header_2_0(member, header)
            for piece in pieces:
                if gains is not None:
                    piece = piece / gains.cpu()[:, None]  # (channels, C, frames)
                frames = piece.permute(2, 1, 0).contiguous()  # (frames, C, channels)
                member.write(frames.numpy().astype("<f4").data)


def n_frames(model: SinuDAE, length: int) -> int:
    """Number of frames of a signal of `length` samples, with those beyond its ends."""
    return math.ceil(length / model.encoder.stride) + 2 * model.encoder.edges


def carriers(model: SinuDAE) -> np.ndarray:
    """Carrier frequency of each channel in Hz, NaN if the decoder has none."""
    filterbank = model.decoder.filterbank
    if hasattr(filterbank, "carrier_frequencies"):
        return filterbank.carrier_frequencies().cpu().numpy()
    return np.full(model.encoder.filterbank.n_feats_out, np.nan, dtype=np.float32)


class EncodedFile:
    """A file of an encoded signal that is open for reading.

    The headers of its arrays are compared with the size of the file before any array is read.

    Args:
        path (Path): Path of the file, for messages.
        archive (zipfile.ZipFile): The open file.

    Attributes:
        signal (Signal): The signal that was encoded.
        stride (int): Hop in samples.
        shape (tuple of int): Shape of A, `(channels, C, frames)`.
        peak (float): The largest absolute value of A that was read so far.

    Raises:
        ValueError: if the file was not written by :func:`write_encoded`, or is damaged.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path = path
        self.archive = archive
        self.peak = 0.0
        with _reading(path, "is no file of sinudae encode"):
            self.stride, length = self._whole_number("stride"), self._whole_number("length")
            sample_rate = self._number("sample_rate")
            with archive.open(self._member("A")) as member:
                self.shape, self.is_fortran, self.dtype, self._start = _read_header(member)
        check(len(self.shape) == 3, f"shape of A in {path}", self.shape, "(channels, C, frames)")
        channels = self.shape[0]
        check(channels <= MAX_CHANNELS, f"channels of {path}", channels, f"at most {MAX_CHANNELS}")
        is_real = self.dtype.kind == "f"
        check(is_real, f"A in {path}", str(self.dtype), "of real floating-point numbers")
        expected = self._start + math.prod(self.shape) * self.dtype.itemsize
        size = self._member("A").file_size
        check(size == expected, f"size of A in {path}", size, f"{expected} bytes, of {self.shape}")
        self.signal = Signal(self.shape[0], length, sample_rate)

    def _member(self, name: str) -> zipfile.ZipInfo:
        info = self.archive.getinfo(f"{name}.npy")
        if info.flag_bits & 1:
            raise ValueError(f"{info.filename} is encrypted, expected a member that is not")
        check(
            info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            f"compression of {info.filename}",
            info.compress_type,
            "0 or 8, none or deflate",
        )
        return info

    def _number(self, name: str) -> float:
        """Read an array of one positive finite number."""
        info = self._member(name)
        check(info.file_size <= MAX_NUMBER, f"size of {name}", info.file_size, "that of a number")
        with self.archive.open(info) as member:
            value = npy.read_array(member, allow_pickle=False)
        check(value.shape == (), f"shape of {name}", value.shape, "that of one number, ()")
        is_real = value.dtype.kind in "iuf"
        is_valid = is_real and bool(0 < value < math.inf)
        check(is_valid, name, value.item(), "a positive finite number")
        return float(value)

    def _whole_number(self, name: str) -> int:
        value = self._number(name)
        check(value == int(value), name, value, "a whole number")
        return int(value)

    def check_fits(self, model: SinuDAE) -> None:
        """Raise a ValueError if a model does not decode such files, or another one encoded it."""
        stride, rate = model.encoder.stride, self.signal.sample_rate
        check(self.stride == stride, f"stride of {self.path}", self.stride, f"the model's {stride}")
        is_rate = rate == model.sample_rate
        check(is_rate, f"sample_rate of {self.path}", rate, f"the model's {model.sample_rate} Hz")
        rows = (model.encoder.filterbank.n_feats_out, n_frames(model, self.signal.length))
        expected = f"(channels, {rows[0]}, {rows[1]}), of the model and the length"
        is_shape = self.shape[1:] == rows and min(self.shape) > 0
        check(is_shape, f"shape of A in {self.path}", self.shape, expected)
        if "frequencies.npy" in self.archive.namelist():
            with _reading(self.path, "is not of this model"):
                self._check_frequencies(carriers(model))

    def _check_frequencies(self, expected: np.ndarray) -> None:
        """Raise a ValueError if they are not those of a model, up to the rounding of their type.

        A user who edits a file may save it in half precision, and devices differ in the last bits.
        """
        found = self._row("frequencies", expected.shape)
        rounding = max(1e-5, float(np.finfo(found.dtype).eps))
        # Below 0.01 Hz, numbers in half precision have fewer digits.
        is_same = np.isclose(found.astype(float), expected, rtol=rounding, atol=1e-6)
        is_same |= ~np.isfinite(expected)  # no carriers, or weights whose fault is told later
        if not is_same.all():
            row = int(is_same.argmin())
            name, wanted = f"frequency of row {row}", f"the model's {expected[row]:.9g} Hz"
            check(False, name, float(found[row]), wanted)

    def pieces(self) -> Iterator[torch.Tensor]:
        """Stream the representation, as float32 of shape `(channels, C, frames)`.

        It is that of the model's encoder: of a file with gains, A times the gains. If A was
        replaced by an array in C order, the file is read once for each piece.

        Raises:
            ValueError: if the file cannot be read to its end, has a NaN or infinite value, or gains
                that are not positive.
        """
        channels, n_filters, n_frames = self.shape
        n_bytes = channels * n_filters * self.dtype.itemsize
        frames = max(1, PIECE // n_bytes)
        read = self._in_fortran_order if self.is_fortran else self._in_c_order
        with _reading(self.path, "cannot be read"):
            gains = self._gains()
            for array in read(frames):
                if not np.isfinite(array).all():
                    raise ValueError("A has a NaN or infinite value, expected finite ones")
                if gains is not None:
                    array = array * gains[:, None]  # (channels, C, frames)
                self.peak = max(self.peak, float(np.abs(array).max(initial=0)))
                yield torch.from_numpy(array)

    def _gains(self) -> np.ndarray | None:
        """Read the gains of a file in units of the signal's level, None of another file."""
        if "gains.npy" not in self.archive.namelist():
            return None
        gains = self._row("gains", (self.shape[1],)).astype(np.float32)
        is_valid = bool(np.isfinite(gains).all() and (gains > 0).all())
        check(is_valid, "gains", "others", "positive finite numbers")
        return gains

    def _row(self, name: str, expected: tuple[int, ...]) -> np.ndarray:
        """Read an array of one floating-point number a channel."""
        with self.archive.open(self._member(name)) as member:
            shape, _, dtype, start = _read_header(member)
            check(shape == expected, f"shape of {name}", shape, str(expected))
            check(dtype.kind == "f", f"type of {name}", str(dtype), "floating-point")
        with self._data(name, start) as member:
            return np.frombuffer(member.read(expected[0] * dtype.itemsize), dtype)

    @contextlib.contextmanager
    def _data(self, name: str, start: int) -> Iterator[IO[bytes]]:
        """Open an array's data, of which a block reads all; the checksum is compared at its end.

        Nothing is skipped by seeking: from Python 3.12 on, zipfile then forgets the checksum.
        """
        with self.archive.open(self._member(name)) as member:
            member.read(start)
            yield member
            member.read(1)  # zipfile compares the checksum where it finds the end

    def _in_fortran_order(self, n_at_a_time: int) -> Iterator[np.ndarray]:
        channels, n_filters, n_frames = self.shape
        with self._data("A", self._start) as member:
            for first in range(0, n_frames, n_at_a_time):
                frames = min(n_at_a_time, n_frames - first)
                array = self._read(member, frames * n_filters * channels)
                array = array.reshape(frames, n_filters, channels)
                yield array.transpose(2, 1, 0)  # (channels, C, frames)

    def _in_c_order(self, n_at_a_time: int) -> Iterator[np.ndarray]:
        channels, n_filters, n_frames = self.shape
        with self._data("A", self._start) as member:  # what follows seeks in it
            while member.read(2**20):
                pass
        for first in range(0, n_frames, n_at_a_time):
            array = np.empty(
                (channels * n_filters, min(n_at_a_time, n_frames - first)), dtype=np.float32
            )
            with self.archive.open(self._member("A")) as member:
                for number, row in enumerate(array):
                    start = number * n_frames + first
                    member.seek(self._start + start * self.dtype.itemsize)
                    row[:] = self._read(member, len(row))
            yield array.reshape(channels, n_filters, -1)  # (channels, C, frames)

    def _read(self, member: IO[bytes], n_numbers: int) -> np.ndarray:
        data = member.read(n_numbers * self.dtype.itemsize)
        # Numbers that overflow float32 become infinite, which is reported elsewhere.
        with np.errstate(over="ignore"):
            return np.frombuffer(data, self.dtype, n_numbers).astype(np.float32)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Read an array's shape, whether it is in Fortran order, its type, and where it begins."""
    file = io.BytesIO(member.read(MAX_HEADER))  # a header may claim to have gigabytes
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"an array of version {version}, expected 1.0 or 2.0")
    return *read[version](file), file.tell()


@contextlib.contextmanager
def _reading(path: Path, failure: str) -> Iterator[None]:
    """Turn every exception of zipfile, zlib and NumPy for a damaged file into a ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} {failure}: {error or type(error).__name__}") from error


@contextlib.contextmanager
def open_encoded(path: str | Path) -> Iterator[EncodedFile]:
    """Open a file of an encoded signal.

    Args:
        path (str or Path): A file that :func:`write_encoded` wrote, or one with the same arrays.

    Yields:
        EncodedFile

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a file of another kind.
    """
    path = Path(path)
    require_file(path, "a file of sinudae encode")
    with contextlib.ExitStack() as stack:
        with _reading(path, "is no file of sinudae encode"):
            archive = stack.enter_context(zipfile.ZipFile(path))
        yield EncodedFile(path, archive)
