"""Sizes of the audio in containers: the size that the header declares and the bytes that exist.

libsndfile silently takes the smaller of the two sizes. If a header was never finalised, it reads
no audio at all. This module finds both sizes, so that damage can be reported or mended.
"""

import io
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_CHUNKS = 10_000  # chunks before the audio; real files have a few


class Data(NamedTuple):
    """Place and size of the audio in a container.

    Attributes:
        declared (int or None): Bytes of audio according to the header; None if the header was never
            finalised, for instance because the recorder was killed or wrote to a pipe.
        available (int): Bytes from the beginning of the audio to the end of the file.
        position (int): Position in bytes of the header's field that holds the size.
        actual (bytes or None): Content of this field that would be right for the available bytes;
            None if the field cannot hold so large a number.
    """

    declared: int | None
    available: int
    position: int
    actual: bytes | None


class _Layout(NamedTuple):
    """Layout of a container that is made of chunks, each with a name, a size and content."""

    first: int  # position of the first chunk
    name: int  # bytes of a name
    size: str  # format of a size, for struct
    counted: int  # bytes of name and size, if the size includes them
    alignment: int  # chunks begin at multiples of this number of bytes
    data: bytes  # beginning of the name of the chunk of audio
    skipped: int  # bytes of that chunk before the audio
    total: int | None = None  # position of the size of all, in the format of a size


LAYOUTS = {
    b"RIFF": _Layout(12, 4, "<I", 0, 2, b"data", 0, 4),
    b"RF64": _Layout(12, 4, "<I", 0, 2, b"data", 0),
    b"BW64": _Layout(12, 4, "<I", 0, 2, b"data", 0),
    b"FORM": _Layout(12, 4, ">I", 0, 2, b"SSND", 8, 4),
    b"riff": _Layout(40, 16, "<q", 24, 8, b"data", 0, 16),
    b"caff": _Layout(8, 4, ">q", 0, 1, b"data", 4),
}


def find_data(path: Path) -> Data | None:
    """Find the audio of a WAV, RF64, AIFF, W64, CAF or AU file; None if there is none."""
    with path.open("rb") as file:
        head = file.read(40)
        if head[:4] == b".snd" and len(head) >= 12:
            return _data(file, 8, ">I", _number(file, 4, ">I"), None)
        layout = LAYOUTS.get(head[:4])
        return layout and _find_chunk(file, layout)


def _find_chunk(file: BinaryIO, layout: _Layout) -> Data | None:
    header_size = layout.name + struct.calcsize(layout.size)
    position, large = layout.first, None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(header_size)
        if len(header) < header_size:
            return None
        (size,) = struct.unpack_from(layout.size, header, layout.name)
        content = position + header_size
        if header.startswith(layout.data):
            start = content + layout.skipped
            if large is not None and size == 2**32 - 1:
                return _data(file, large + 8, "<Q", start, large)
            extra = layout.counted + layout.skipped
            return _data(file, position + layout.name, layout.size, start, layout.total, extra)
        if header.startswith(b"ds64"):  # in an RF64, the sizes that do not fit into other chunks
            large = content
        size -= layout.counted
        if size < 0:
            return None
        position = content + size + -size % layout.alignment
    return None


def _data(
    file: BinaryIO, position: int, kind: str, start: int, total: int | None, extra: int = 0
) -> Data:
    """Make the result from the size at `position`, which includes `extra` bytes of no audio."""
    end = file.seek(0, io.SEEK_END)
    available = max(0, end - start)
    size = _number(file, position, kind)
    limit = 2 ** (8 * struct.calcsize(kind) - kind.endswith("q")) - 1
    # While the size is not known, programs write 0, -1 or about the largest number.
    is_known = size > 0 and min(abs(limit - size), abs(limit // 2 - size)) >= 2**12
    if size == 0 and total is not None:  # if there is no audio, the size of the file tells it
        is_known = abs(_number(file, total, kind) + 8 - end) <= 1
    actual = struct.pack(kind, available + extra) if available + extra < limit else None
    return Data(max(0, size - extra) if is_known else None, available, position, actual)


def _number(file: BinaryIO, position: int, kind: str) -> int:
    file.seek(position)
    data = file.read(struct.calcsize(kind))
    return struct.unpack(kind, data)[0] if len(data) == struct.calcsize(kind) else 0


# How files begin that `cat` may have joined, of which readers take the first alone.
_BEGINNINGS = {
    b"fLaC": rb"fLaC[\0\x80]\0\0\x22",
    b"RIFF": rb"RIFF.{4}WAVE",
    b"RF64": rb"RF64.{4}WAVE",
    b"riff": rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",  # W64
    b"FORM": rb"FORM.{4}AIF[FC]",
    b"caff": rb"caff\0\x01..desc",
    b".snd": rb"\.snd\0{3}.{5}\0{3}.\0\0.{2}\0{3}.",
    b"TTA1": rb"TTA1[\1-\3]\0.\0.\0.{3}\0",
    b"0&\xb2u": rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",  # WMA
}


def has_successor(path: Path) -> bool:
    """Whether another file of its kind begins in a FLAC, WAV, W64, AIFF, CAF, AU, TTA or WMA."""
    with path.open("rb") as file:
        file.seek(_tag_size(file))
        pattern = _BEGINNINGS.get(file.read(4))
        if pattern is None:
            return False
        beginning, data = re.compile(pattern, re.DOTALL), b""
        while piece := file.read(2**20):
            data = data[-24:] + piece  # beginnings are shorter
            if beginning.search(data):
                return True
    return False


def _tag_size(file: BinaryIO) -> int:
    """Number of bytes of the ID3 tag that a file begins with, 0 if there is none."""
    head = file.read(10)
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    size = 0
    for byte in head[6:]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return 10 + size


class PatchedFile(io.FileIO):
    """A file, open for reading, with other bytes at one position than the disk has.

    Args:
        path (Path): The file, which is not changed.
        position (int): Position in bytes.
        patch (bytes): The bytes that are read there.
    """

    def __init__(self, path: Path, position: int, patch: bytes):
        super().__init__(path)
        self.position, self.patch = position, patch

    def readinto(self, buffer: Any) -> int:
        """Read as :class:`io.FileIO` does, and patch what was read."""
        first = self.tell()
        n_bytes = super().readinto(buffer)
        low = max(first, self.position)
        high = min(first + n_bytes, self.position + len(self.patch))
        if low < high:
            buffer[low - first : high - first] = self.patch[
                low - self.position : high - self.position
            ]
        return n_bytes


# An Ogg page that begins (2) or ends (4) a stream: its flags, the stream, the number of segments.
_PAGE = re.compile(rb"OggS\0([\x02-\x07]).{8}(.{4}).{8}(.)", re.DOTALL)
_LONGEST_HEADER = 27 + 255


class OggStreams(NamedTuple):
    """The streams in an Ogg file, which follow each other if files were joined.

    Attributes:
        number (int): Number of streams that begin.
        are_whole (bool): Whether each stream that begins also ends.
    """

    number: int
    are_whole: bool


def find_ogg_streams(path: Path) -> OggStreams | None:
    """Find the streams of an Ogg file, whose headers tell no length; None for other files."""
    begun: set[int] = set()
    unfinished: set[bytes] = set()
    with path.open("rb") as file:
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        if file.read(4) != b"OggS":
            return None
        file.seek(0)
        data, position = b"", 0
        while piece := file.read(2**20):
            position += max(0, len(data) - _LONGEST_HEADER)
            data = data[-_LONGEST_HEADER:] + piece
            for page in _PAGE.finditer(data):
                flags, stream = page[1][0], page[2]
                if flags & 2:
                    begun.add(position + page.start())
                    unfinished.add(stream)
                segments = data[page.end() : page.end() + page[3][0]]
                end = position + page.end() + page[3][0] + sum(segments)
                if flags & 4 and end <= length:
                    unfinished.discard(stream)
    return OggStreams(len(begun), not unfinished)
