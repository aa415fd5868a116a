"""Sizes of the audio in containers: the size that the header declares and the bytes that exist.

libsndfile silently takes the smaller of the two sizes. If a header was never finalised, it reads
no audio at all. This module finds both sizes, so that damage can be reported or mended. And it
finds the files that were joined into one, of which readers take the first alone.
"""

import io
import itertools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_CHUNKS = 10_000  # chunks before the audio; real files have a few
SEARCHED = 2**20  # bytes searched at a time


class Part(NamedTuple):
    """A file, or one of the files that were joined into a file.

    Attributes:
        path (Path): The file.
        start (int): Position in bytes where the part begins.
        end (int or None): Position where it ends; None if it is the end of the file.
    """

    path: Path
    start: int = 0
    end: int | None = None

    def open(self) -> BinaryIO:
        """Open the part for reading, with positions that count from its beginning."""
        return io.BufferedReader(PatchedPart(self))


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


def find_data(part: Part) -> Data | None:
    """Find the audio of a WAV, RF64, AIFF, W64, CAF or AU file; None if there is none."""
    with part.open() as file:
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
_BEGINNINGS = [
    # After the size of the first block of facts: sizes of audio blocks and frames, and a rate.
    rb"fLaC[\0\x80]\0\0\x22(?:[\1-\xff].|\0[\x10-\xff]){2}.{6}(?!\0\0)",
    rb"R(?:IFF|F64).{4}WAVE",
    rb"BW64.{4}WAVE",
    rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",  # W64
    rb"FORM.{4}AIF[FC]",
    rb"caff\0\x01..desc",
    # Its sizes, the encoding, a rate and a number of channels.
    rb"\.snd\0{3}[\x18-\xff].{4}\0{3}[\1-\x1b]\0[\0-\x0f]..\0{3}[\1-\xff]",
    rb"TTA1[\1-\3]\0.\0.\0.{3}\0",
    rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",  # WMA
    rb"\0{3}.ftyp(?:M4[ABV] |mp4[12]|iso[m2-9]|avc1|dash|qt  |3gp.)",  # M4A and its kind
]
_LONGEST_BEGINNING = 40  # bytes, at most


def has_successor(path: Path) -> bool:
    """Whether another file of its kind follows in a file, see :func:`find_parts`."""
    return len(find_parts(path)) > 1


def find_parts(path: Path) -> list[Part]:
    """Find the files that were joined into one, for instance by `cat`.

    They are FLAC, WAV, W64, AIFF, CAF, AU, TTA, WMA or M4A files, all of one kind. One begins where
    the signature of the kind stands, perhaps after an ID3 tag, with a header that leads to audio.
    Audio may hold the bytes of such a beginning too. Therefore none is looked for inside of a file
    that, by the size in its header, ends where another one begins or where all ends.

    Args:
        path (Path): The file.

    Returns:
        list of Part: In their order; a single part of any other file.
    """
    with path.open("rb") as file:
        file.seek(_tag_size(file))
        head = file.read(_LONGEST_BEGINNING)
        kinds = (re.compile(pattern, re.DOTALL) for pattern in _BEGINNINGS)
        kind = next((kind for kind in kinds if kind.match(head)), None)
        if kind is None:
            return [Part(path)]
        starts, audio = [0], _skip_tag(file, 0)
        closed = _told_end(path, file, audio, kind)
        for start in _matches(file, kind, re.compile(rb"ID3[\2-\4]")):
            if start > audio and start >= closed and _begins(path, file, start, kind):
                starts.append(start)
                audio = _skip_tag(file, start)
                closed = _told_end(path, file, audio, kind)
    return [Part(path, *ends) for ends in zip(starts, [*starts[1:], None], strict=True)]


def _matches(file: BinaryIO, *patterns: re.Pattern[bytes]) -> Iterator[int]:
    """Positions in a file where one of the patterns matches, each searched alone, for speed."""
    for first in itertools.count(0, SEARCHED):
        file.seek(first)
        data = file.read(SEARCHED + _LONGEST_BEGINNING)
        found = (match.start() for pattern in patterns for match in pattern.finditer(data))
        yield from sorted(first + position for position in found if position < SEARCHED)
        if len(data) <= SEARCHED:
            return


def _begins(path: Path, file: BinaryIO, start: int, kind: re.Pattern[bytes]) -> bool:
    """Whether a file of a kind begins at a position, perhaps with a tag, and leads to audio."""
    audio = _skip_tag(file, start)
    file.seek(audio)
    head = file.read(_LONGEST_BEGINNING)
    if not kind.match(head):
        return False
    return head[:4] not in LAYOUTS or find_data(Part(path, audio)) is not None


def _told_end(path: Path, file: BinaryIO, start: int, kind: re.Pattern[bytes]) -> int:
    """Where a file ends by its header, if another one or nothing follows there; else `start`."""
    data = find_data(Part(path, start))
    if data is None or data.declared is None:
        return start
    length = file.seek(0, io.SEEK_END)
    ends = [length - data.available + data.declared]
    file.seek(start)
    layout = LAYOUTS.get(file.read(4))
    if layout is not None and layout.total is not None:  # more may follow the audio
        total = _number(file, start + layout.total, layout.size)
        ends.append(start + total + (0 if layout.counted else 8))
    for end in ends:
        for position in (end, end + 1):  # chunks are padded
            if position == length or position < length and _begins(path, file, position, kind):
                return position
    return start


def _skip_tag(file: BinaryIO, position: int) -> int:
    """The position after the ID3 tag that stands at a position; the same if there is none."""
    file.seek(position)
    return position + _tag_size(file)


def _tag_size(file: BinaryIO) -> int:
    """Number of bytes of the ID3 tag that a file begins with, 0 if there is none."""
    head = file.read(10)
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    size = 0
    for byte in head[6:]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return 10 + size


class PatchedPart(io.FileIO):
    """A file or a part of one, open for reading, with other bytes at a position than the disk has.

    Args:
        part (Part): The part. Its file is not changed.
        position (int): Position in bytes, from the beginning of the part.
        patch (bytes): The bytes that are read there.
    """

    def __init__(self, part: Part, position: int = 0, patch: bytes = b""):
        super().__init__(part.path)
        self.start, self.position, self.patch = part.start, position, patch
        length = super().seek(0, io.SEEK_END)
        self.n_bytes = min(length, length if part.end is None else part.end) - part.start
        self.seek(0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as in a file that holds nothing but the part."""
        if whence == io.SEEK_CUR:
            offset += self.tell()
        elif whence == io.SEEK_END:
            offset += self.n_bytes
        if offset < 0:
            raise OSError(f"position {offset} is before the beginning")
        return super().seek(self.start + offset) - self.start

    def tell(self) -> int:
        """Position from the beginning of the part."""
        return super().tell() - self.start

    def readinto(self, buffer: Any) -> int:
        """Read as :class:`io.FileIO` does, up to the end of the part, and patch what was read."""
        first = self.tell()
        n_bytes = super().readinto(memoryview(buffer)[: max(0, self.n_bytes - first)])
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


def find_ogg_streams(part: Part) -> OggStreams | None:
    """Find the streams of an Ogg file, whose headers tell no length; None for other files."""
    begun: set[int] = set()
    unfinished: set[bytes] = set()
    with part.open() as file:
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
