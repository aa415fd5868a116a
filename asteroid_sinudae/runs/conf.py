"""Configurations: YAML files of two levels, with the keys and types of a file of defaults."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Required

import yaml
from asteroid.utils.parser_utils import str2bool
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from ..utils.checks import check
from ..utils.files import write_text
from ..utils.schema import validated

MAX_BYTES = 1_000_000  # of a file
LARGEST = 3.4e38  # in float32
TYPES = {
    bool: bool,
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    float: Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)],
    str: str,
}
# Numbers as people and JSON write them. YAML 1.1 reads 1e-4 as text, 010 as 8 and 1:30 as 90.
NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z"),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
    ),
}


class _Loader(yaml.SafeLoader):
    """Plain values, with our :data:`NUMBERS`, no dates, and no key twice."""

    yaml_implicit_resolvers = {
        first: [
            pair for pair in pairs if pair[0].rsplit(":")[-1] not in ("int", "float", "timestamp")
        ]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        known = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in known:
                message = f"the key {key.value} is there twice"
                raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
            known.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes that looks like a number to any of YAML's versions."""


for _tag, _pattern in NUMBERS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def read_yaml(path: str | Path) -> object:
    """Read a YAML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no YAML, too large, or has a key twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: expected a YAML configuration")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is no configuration: it has more than {MAX_BYTES} bytes")
    try:
        return yaml.load(path.read_bytes(), _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path} is not YAML: line {line}: {error.problem}") from error
    except OSError:
        raise
    except Exception as error:  # constructors of tags, and deep nesting, fail in ways of their own
        raise ValueError(f"{path} is not YAML: {error}") from error


def write_conf(content: object, path: str | Path) -> None:
    """Write plain values as YAML, whole or not at all."""
    write_text(path, yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def type_of(defaults: dict, needed: Iterable[str] = ()) -> Any:
    """Make the type of mappings that have some keys of `defaults`, with values of the types there.

    Args:
        defaults (dict): Booleans, integers, finite numbers and texts by key, or mappings of them.
        needed (iterable of str): Keys that must not be missing, of inner mappings as `group.key`.
    """
    needed = set(needed)
    fields = {}
    for key, default in defaults.items():
        kind = TYPES.get(type(default))
        if kind is None:
            check(isinstance(default, dict), f"default of {key}", default, "a plain value")
            inner = {name.removeprefix(f"{key}.") for name in needed if name.startswith(f"{key}.")}
            kind = type_of(default, inner)
            needed |= {key} if inner else set()
        fields[key] = Required[kind] if key in needed else kind
    return mapping_type(fields)


def mapping_type(fields: dict[str, Any]) -> Any:
    """Make the type of mappings with keys of `fields` only, and all those that are `Required`."""
    make: Any = TypedDict  # type checkers know no types that are made at run time
    mapping = make("mapping", fields, total=False)
    mapping.__pydantic_config__ = ConfigDict(extra="forbid")
    return mapping


def read_conf(path: str | Path, defaults: dict, needed: Iterable[str] = ()) -> dict:
    """Read a two-level configuration from a YAML file.

    Args:
        path (str or Path): The file, which may hold only some of the keys.
        defaults (dict): Two-level configuration of all keys.
        needed (iterable of str): Keys that must not be missing, as `group.key`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, the key, its value and what was expected, if a key is unknown
            or missing, or a value is not of the type of its default.
    """
    return validated(type_of(defaults, needed), read_yaml(path), str(path))


def from_text(text: str, default: object) -> object:
    """Convert a word of the command line to the value that it would be in a file.

    Examples
        >>> from_text("1e-4", 1.0), from_text("no", True), from_text("32", "32"), from_text("x", 1)
        (0.0001, False, '32', 'x')
    """
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        return str2bool(text)
    is_int, is_float = (pattern.match(text) for pattern in NUMBERS.values())
    if is_int or is_float:
        return yaml.load(text, _Loader)
    return text
