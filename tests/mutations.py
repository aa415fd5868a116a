"""Damaged files and values, for tests of what reads them: seeded, and of every kind there is."""

import copy
import json
import math
import random
from collections.abc import Iterator

STRANGE = (None, True, -1, 2.5, 10**30, math.nan, math.inf, "", "text", [], [1, [2]], {}, {"a": {}})


def mutated_bytes(data: bytes, n: int, seed: int = 0) -> Iterator[bytes]:
    """Yields `n` variants of a file: truncated, with bytes flipped, zeroed, cut out or put in."""
    rng = random.Random(seed)
    for _ in range(n):
        damaged = bytearray(data)
        first = rng.randrange(len(data))
        size = min(rng.choice((1, 2, 4, 16, 256)), len(data) - first)
        kind = rng.choice(("truncate", "flip", "zero", "cut", "insert"))
        if kind == "truncate":
            del damaged[first:]
        elif kind == "flip":
            damaged[first] ^= 1 << rng.randrange(8)
        elif kind == "zero":
            damaged[first : first + size] = bytes(size)
        elif kind == "cut":
            del damaged[first : first + size]
        else:
            damaged[first:first] = rng.randbytes(size)
        yield bytes(damaged)


def mutated_values(content: object, n: int, seed: int = 0) -> Iterator[object]:
    """Yields `n` variants of nested dictionaries and lists, in each of which one place differs.

    A value is replaced by one of another kind, or dropped, or its key is renamed.
    """
    rng = random.Random(seed)
    places = list(_places(content))
    for _ in range(n):
        changed = copy.deepcopy(content)
        path = rng.choice(places)
        kind = rng.choice(("replace", "replace", "replace", "drop", "rename"))
        if not path:
            yield rng.choice(STRANGE)
            continue
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        if kind == "replace":
            parent[path[-1]] = rng.choice(STRANGE)
        else:
            value = parent.pop(path[-1])
            if kind == "rename" and isinstance(parent, dict):
                parent[rng.choice(("other", 7, ""))] = value
        yield changed


def mutated_json(content: object, n: int, seed: int = 0) -> Iterator[bytes]:
    """Yields `n` JSON files: half of them damaged bytes, half well-formed with values changed."""
    data = json.dumps(content).encode()
    yield from mutated_bytes(data, n // 2, seed)
    yield from (json.dumps(x).encode() for x in mutated_values(content, n - n // 2, seed))


def _places(content: object, path: tuple = ()) -> Iterator[tuple]:
    """Keys that lead to each value of nested dictionaries and lists, the whole first."""
    yield path
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))
    else:
        items = []
    for key, value in items:
        yield from _places(value, (*path, key))
