"""Content of files that were not written by this process, checked where it is read."""

import functools
import reprlib
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def validated(kind: type[T], content: object, where: str) -> T:
    """Check plain values against a type.

    Args:
        kind (type): Anything that pydantic builds from plain values: a TypedDict, a model of
            pydantic's, ``dict[str, float]``. Values have to be of the types that it names: text is
            no number, True is none either.
        content (object): The values.
        where (str): What they are, for the message: a file, as a rule.

    Returns:
        `content` as `kind`.

    Raises:
        ValueError: ``<where>: <key> must be <expectation>, got <value>``, of the first that is
            wrong.

    Examples
        >>> validated(dict[str, int], {"n_filters": "800"}, "conf.yml")
        Traceback (most recent call last):
            ...
        ValueError: conf.yml: n_filters must be a valid integer, got '800'
    """
    try:
        return _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        raise ValueError(_describe(error, where)) from None


def validated_json(kind: type[T], text: str | bytes, where: str) -> T:
    """Parse JSON and check it against a type, as :func:`validated` does.

    Args:
        kind (type): As for :func:`validated`, or a dataclass; a list is also a tuple, and a text is
            also a path.
        text (str or bytes): The JSON; bytes are UTF-8.
        where (str): What it is, for the message.

    Returns:
        The content as `kind`.

    Raises:
        ValueError: as :func:`validated`, and if the text is no JSON.
    """
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(_describe(error, where)) from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)


def _describe(error: ValidationError, where: str) -> str:
    first: Any = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"])) or "its content"
    message = first["msg"]
    if first["type"] == "missing":
        return f"{where}: {key} is missing"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key {key}"
    if first["type"] == "json_invalid":
        return f"{where} is corrupted, expected JSON ({message.removeprefix('Invalid JSON: ')})"
    if first["type"] == "value_error":
        return f"{where}: {message.removeprefix('Value error, ')}"
    expected = message.removeprefix("Input should be ")
    return f"{where}: {key} must be {expected}, got {reprlib.repr(first['input'])}"
