"""Files of encoded signals, written and read piece by piece.

They are NumPy's `.npz`, uncompressed, with the arrays

- `A`: the representation, float32 of shape `(channels, C, frames)`;
- `frequencies`: carrier of each of its `C` rows in Hz, NaN where the decoder has none;
- `stride` (samples), `sample_rate` (Hz) and `length` (samples): of the signal it encodes;
- `first_frame_time`: seconds from its first sample to the centre of the first frame, negative with
  frames beyond its ends. Frame t is at `first_frame_time + t * stride / sample_rate`.

A is in Fortran order, in which frames follow each other in the file: :func:`numpy.load` does not
show it, and neither writing nor reading takes more memory for a longer signal.
"""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy

from ._checks import check
from .chunks import Stream
from .files import atomic_path
from .representations import SinuDAE

PIECE = 2**12  # frames read at a time


class Signal(NamedTuple):
    """The signal that a file encodes.

    Attributes:
        channels (int): Their number.
        length (int): In samples.
        sample_rate (float): In Hz.
    """

    channels: int
    length: int
    sample_rate: float


def write_encoded(path: Path, model: SinuDAE, pieces: Stream, signal: Signal) -> None:
    """Write a file that appears whole or not at all.

    Args:
        path (Path): The file to write or replace.
        model (SinuDAE): That encodes.
        pieces (iterable of :class:`torch.Tensor`): A stream of the representation, shapes
            `(channels, C, frames)`.
        signal (Signal): What it encodes.

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
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w") as member:
                npy.write_array(member, value)
        with archive.open("A.npy", "w", force_zip64=True) as member:
            npy.write_array_header_2_0(member, header)
            for piece in pieces:
                member.write(piece.permute(2, 1, 0).contiguous().numpy().astype("<f4").data)


def n_frames(model: SinuDAE, length: int) -> int:
    """Frames of a signal of `length` samples, those beyond its ends included."""
    return math.ceil(length / model.encoder.stride) + 2 * model.encoder.edges


def carriers(model: SinuDAE) -> np.ndarray:
    """Carrier frequency of each channel in Hz, NaN where the decoder has none."""
    filterbank = model.decoder.filterbank
    if hasattr(filterbank, "carrier_frequencies"):
        return filterbank.carrier_frequencies().cpu().numpy()
    return np.full(model.encoder.filterbank.n_feats_out, np.nan, dtype=np.float32)


class EncodedFile:
    """A file of an encoded signal that is open for reading.

    Args:
        path (Path): Its name in messages.
        archive (zipfile.ZipFile): Open.

    Attributes:
        signal (Signal): What it encodes.
        stride (int): In samples.
        shape (tuple of int): Of A, `(channels, C, frames)`.

    Raises:
        ValueError: if the file is none of :func:`write_encoded`'s.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path = path
        self.archive = archive
        try:
            self.stride, length = int(self._scalar("stride")), int(self._scalar("length"))
            sample_rate = float(self._scalar("sample_rate"))
            with archive.open("A.npy") as member:
                self.shape, self.is_fortran, self.dtype = _read_header(member)
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no file of sinudae encode: {error}") from error
        check(len(self.shape) == 3, f"shape of A in {path}", self.shape, "(channels, C, frames)")
        is_real = self.dtype.kind == "f"
        check(is_real, f"A in {path}", str(self.dtype), "of real floating-point numbers")
        self.signal = Signal(self.shape[0], length, sample_rate)

    def _scalar(self, name: str) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as member:
            return npy.read_array(member, allow_pickle=False)

    def check_fits(self, model: SinuDAE) -> None:
        """Raise a ValueError if a model does not decode such files."""
        stride, rate = model.encoder.stride, self.signal.sample_rate
        check(self.stride == stride, f"stride of {self.path}", self.stride, f"the model's {stride}")
        is_rate = rate == model.sample_rate
        check(is_rate, f"sample_rate of {self.path}", rate, f"the model's {model.sample_rate} Hz")
        rows = (model.encoder.filterbank.n_feats_out, n_frames(model, self.signal.length))
        expected = f"(channels, {rows[0]}, {rows[1]}), of the model and the length"
        is_shape = self.shape[1:] == rows and min(self.shape) > 0
        check(is_shape, f"shape of A in {self.path}", self.shape, expected)

    def pieces(self) -> Iterator[torch.Tensor]:
        """Stream of the representation, float32 of shape `(channels, C, frames)`.

        An A that was replaced by an array in C order is read as a whole.

        Raises:
            ValueError: if the file cannot be read to its end, or has a NaN or infinite value.
        """
        try:
            with self.archive.open("A.npy") as member:
                if self.is_fortran:
                    _read_header(member)
                    yield from map(self._checked, self._read_frames(member))
                else:
                    whole = npy.read_array(member, allow_pickle=False)
                    yield self._checked(torch.from_numpy(whole))
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error

    def _read_frames(self, member) -> Iterator[torch.Tensor]:
        channels, n_filters, n_frames = self.shape
        for first in range(0, n_frames, PIECE):
            frames = min(PIECE, n_frames - first)
            data = member.read(frames * n_filters * channels * self.dtype.itemsize)
            array = np.frombuffer(data, self.dtype).reshape(frames, n_filters, channels)
            yield torch.from_numpy(array.astype(np.float32)).permute(2, 1, 0)

    def _checked(self, piece: torch.Tensor) -> torch.Tensor:
        if not piece.isfinite().all():
            raise ValueError("A has a NaN or infinite value, expected finite ones")
        return piece.float()


def _read_header(member) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of the array that follows."""
    version = npy.read_magic(member)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"an array of version {version}, expected 1.0 or 2.0")
    return read[version](member)


@contextlib.contextmanager
def open_encoded(path: str | Path) -> Iterator[EncodedFile]:
    """Open a file of an encoded signal.

    Args:
        path (str or Path): A file of :func:`write_encoded`, or with the same arrays.

    Yields:
        EncodedFile

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is another file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: expected a file of sinudae encode")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no file of sinudae encode: {error}") from error
    with archive:
        yield EncodedFile(path, archive)
