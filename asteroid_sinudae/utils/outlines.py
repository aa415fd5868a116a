"""Check of a file by :func:`torch.save` before any of it is loaded.

Such a file has two parts: the numbers of the tensors, and a pickle of everything else. A damaged or
malicious pickle may claim more than the file holds: tensors that are larger than the file or repeat
one number, objects that run code when they are made, or lists that contain themselves. This module
reads the pickle's outline: an empty stand-in (:class:`_Made`) takes the place of each object, so
that no code runs and nothing is allocated that the file does not hold.
"""

import io
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_PICKLE_BYTES = 8_000_000  # without the tensors; that of a training's checkpoint has 100,000
MAX_DEPTH = 100  # of dictionaries and lists
MAX_VALUES = 1_000_000
MAX_TUPLES = 100_000  # each may hold the one before it, and hashing them is recursive
MAX_REPEATS = 2  # bytes that the tensors show, over bytes that the file has for them
# The opcodes that torch.save writes. Others may reserve memory that a file only announces.
OPCODES = frozenset(
    "PROTO STOP MARK NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
    "SHORT_BINSTRING EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT "
    "SETITEM SETITEMS GLOBAL REDUCE NEWOBJ BUILD BINPERSID BINGET LONG_BINGET BINPUT "
    "LONG_BINPUT".split()
)
ITEM_BYTES = {
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "Short": 2,
    "Half": 2,
    "BFloat16": 2,
    "Int": 4,
    "Float": 4,
    "Long": 8,
    "Double": 8,
}
# The makers of objects that are allowed beside OrderedDict, tensors and types of numbers.
PLAIN = {
    "_codecs.encode",  # bytes
    "__builtin__.complex",
    "__builtin__.set",
    "torch.Size",
    "torch.device",
    "torch.torch_version.TorchVersion",
}
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
DTYPE = re.compile(r"torch\.(bool|(float|bfloat|int|uint|complex)\d+)")
REFUSED = (
    "is refused: it is damaged, or holds objects other than tensors and plain values, which could "
    "run code when loaded"
)
DAMAGED = "is damaged or not a file written by torch.save"


def check_outline(path: str | Path) -> None:
    """Raise a ValueError if a file holds or claims anything but dense tensors and plain values.

    Args:
        path (str or Path): The file.

    Raises:
        ValueError: naming the file and the place in it.
        OSError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            outline = _read_zip(file) if file.read(4) == b"PK\x03\x04" else _read_legacy(file)
        _check_content(outline)
    except OSError:
        raise
    except _Fault as error:
        raise ValueError(f"{path} {error}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} {REFUSED} ({_reason(error)})") from error
    except Exception as error:  # zipfile and pickle fail on noise in ways of their own
        raise ValueError(f"{path} {DAMAGED} ({_reason(error)})") from error


class _Fault(Exception):
    """A fault of the file; the message continues a sentence that begins with its name."""


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# The two formats


@dataclass(frozen=True)
class _Storage:
    """A block of numbers that tensors are views of, as the pickle declares it.

    Attributes:
        kind (str): Type of the numbers, e.g. `Float`.
        numel (int): Count of the numbers.
    """

    kind: str
    numel: int

    @property
    def n_bytes(self) -> int:
        return self.numel * ITEM_BYTES.get(self.kind, 0)


class _Outline(NamedTuple):
    """A pickle without its objects.

    Attributes:
        content (object): Plain values, with :class:`_Made` and :class:`_Storage` for the rest.
        storages (dict): The storages, by the keys that the file has for them.
        makers (set of str): All classes and functions that objects would be made by.
        n_bytes (int): Bytes that the file has for storages.
    """

    content: object
    storages: dict[str, _Storage]
    makers: set[str]
    n_bytes: int = 0


class _Made:
    """Stand-in for an object that unpickling would make; there is a subclass for each maker.

    Attributes:
        maker (str): Class or function that would be called.
        args (tuple): Arguments of that call.
    """

    __slots__ = ("args",)
    args: tuple
    maker = ""
    makers: set[str] = set()  # of the whole pickle

    def __new__(cls, *args):
        made = super().__new__(cls)
        made.args = args
        return made

    def __setstate__(self, state):
        self.makers.add(f"{self.maker} with a state")


class _Unpickler(pickle.Unpickler):
    """Unpickler that makes no objects, but notes their makers and the storages of tensors."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}
        self.makers: set[str] = set()

    def find_class(self, module_name, global_name):
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        maker = f"{module_name}.{global_name}"
        self.makers.add(maker)
        return type("_Made", (_Made,), {"__slots__": (), "maker": maker, "makers": self.makers})

    def persistent_load(self, pid):
        match pid:
            case (
                "storage",
                type() as kind,
                str() as key,
                str(),
                int() as numel,
                *view,
            ) if numel >= 0 and view in ([], [None]):
                name = getattr(kind, "maker", "").removeprefix("torch.").removesuffix("Storage")
                storage = _Storage(name, numel)
            case _:
                raise pickle.UnpicklingError("no storage of a tensor")
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"two storages {key}")
        return storage


def _read_zip(file: BinaryIO) -> _Outline:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
            if not is_plain or member.compress_size != member.file_size:
                raise _Fault(f"{DAMAGED} ({member.filename} is compressed or encrypted)")
        sizes = {member.filename: member.file_size for member in members}
        if len(sizes) < len(members) or sum(sizes.values()) > size:
            raise _Fault(f"{DAMAGED} (its members overlap)")
        folder = members[0].filename.partition("/")[0]
        if sizes[f"{folder}/data.pkl"] > MAX_PICKLE_BYTES:
            raise _Fault(f"{DAMAGED} (more than {MAX_PICKLE_BYTES} bytes beside the tensors)")
        wrong = archive.testzip()  # torch.load does not look at the checksums
        if wrong is not None:
            raise _Fault(f"{DAMAGED} (checksum of {wrong})")
        outline = _unpickle(io.BytesIO(archive.read(f"{folder}/data.pkl")))
    for key, storage in outline.storages.items():
        held = sizes.get(f"{folder}/data/{key}")
        if storage.kind in ITEM_BYTES and held != storage.n_bytes:
            raise _Fault(f"{DAMAGED} (storage {key} of {storage.n_bytes} bytes, it has {held})")
    return outline._replace(n_bytes=size)


def _read_legacy(file: BinaryIO) -> _Outline:
    """Read the format of torch before 1.6: several pickles, then the numbers of the tensors."""
    file.seek(0)
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    for _ in range(3):  # magic number, protocol, machine
        _unpickle(head)
    outline = _unpickle(head)
    _unpickle(head)  # keys of the storages
    n_bytes = os.fstat(file.fileno()).st_size - head.tell()
    if sum(storage.n_bytes for storage in outline.storages.values()) > n_bytes:
        raise _Fault(f"{DAMAGED} (its tensors are larger than it)")
    return outline._replace(n_bytes=n_bytes)


def _unpickle(file: io.BytesIO) -> _Outline:
    """Read the next pickle of a file, without making its objects."""
    start = file.tell()
    n_memo = n_tuples = 0
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"opcode {opcode.name}")
        n_tuples += opcode.name.startswith("TUPLE")
        if opcode.name.endswith("BINPUT"):
            if argument is None or argument > n_memo:  # the memo would grow to that length
                raise pickle.UnpicklingError(f"index {argument} out of order")
            n_memo = max(n_memo, argument + 1)
    if n_tuples > MAX_TUPLES:
        raise pickle.UnpicklingError(f"more than {MAX_TUPLES} tuples")
    file.seek(start)
    unpickler = _Unpickler(file)
    return _Outline(unpickler.load(), unpickler.storages, unpickler.makers)


# The content


class _Place(NamedTuple):
    """A value and the way to it, from the top of the file."""

    value: object
    key: object
    depth: int
    parent: "_Place | None"

    def __str__(self) -> str:
        keys, place = [], self
        while place.parent is not None:
            keys.append(str(place.key)[:60])
            place = place.parent
        return ".".join(reversed(keys)) or "its top"


def _check_content(outline: _Outline) -> None:
    n_bytes = sum(_check_value(place, place.value) for place in _places(outline.content))
    if n_bytes > MAX_REPEATS * outline.n_bytes:
        raise _Fault(f"{DAMAGED} (its tensors show {n_bytes} bytes, it has {outline.n_bytes})")
    for maker in outline.makers:  # includes objects that no place holds, e.g. hooks of tensors
        name = maker.removeprefix("torch.").removesuffix("Storage")
        is_known = maker in PLAIN | {TENSOR, PARAMETER} or name in ITEM_BYTES
        if not is_known and not DTYPE.fullmatch(maker):
            raise _Fault(f"{REFUSED}: {maker}")


def _places(content: object) -> Iterator[_Place]:
    """Iterate over every value in dictionaries, lists and plain objects."""
    stack, n_values = [_Place(content, "", 0, None)], 0
    while stack:
        place = stack.pop()
        yield place
        items = _items(place.value)
        n_values += len(items)
        if place.depth >= MAX_DEPTH or n_values > MAX_VALUES:
            raise _Fault(
                f"{DAMAGED} (deeper than {MAX_DEPTH} lists, or more than {MAX_VALUES} values)"
            )
        stack.extend(_Place(value, key, place.depth + 1, place) for key, value in items)


def _items(value: object) -> list[tuple]:
    """Return the keys and values of a container, and nothing for other values."""
    if isinstance(value, dict):
        return list(dict.items(value))
    if isinstance(value, _Made) and value.maker in PLAIN:
        value = value.args
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _check_value(place: _Place, value: object) -> int:
    """Raise a fault if a value is not allowed; return how many bytes it shows if it is a tensor."""
    if isinstance(value, dict):
        for key in dict.keys(value):
            parts = key if isinstance(key, tuple) else (key,)
            if not all(isinstance(part, str | int | float | None) for part in parts):
                raise _Fault(f"{REFUSED}: a key that is no plain value in {place}")
    if isinstance(value, _Made):
        while value.maker == PARAMETER and isinstance(value.args[0], _Made):
            value = value.args[0]
        if value.maker == TENSOR:
            return _check_tensor(place, *value.args[:4])
        is_bytes = value.maker == "_codecs.encode" and value.args[1:] == ("latin1",)
        if value.maker not in PLAIN or value.maker == "_codecs.encode" and not is_bytes:
            raise _Fault(f"{REFUSED}: {value.maker} at {place}")
    maker = getattr(value, "maker", "") if isinstance(value, type) else None
    if isinstance(value, _Storage) or maker is not None and not DTYPE.fullmatch(maker):
        raise _Fault(f"{REFUSED}: {maker or 'no tensor'} at {place}")
    return 0


def _check_tensor(place: _Place, storage: _Storage, offset: int, shape: tuple, strides) -> int:
    item_bytes = ITEM_BYTES.get(storage.kind)
    if item_bytes is None:
        raise _Fault(f"{REFUSED}: a tensor of {storage.kind or 'unknown'} numbers at {place}")
    if min([*shape, *strides, offset]) < 0:
        raise _Fault(f"{DAMAGED} (shape of {place})")
    numel = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if numel and (numel > storage.numel or last >= storage.numel):
        raise _Fault(
            f"holds {storage.numel} numbers for {place} of shape {shape}, expected {numel}"
        )
    return numel * item_bytes
