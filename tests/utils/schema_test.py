import json
from dataclasses import dataclass
from typing import ClassVar

import pydantic
import pytest
from mutations import mutated_json, mutated_values

from asteroid_sinudae.utils.schema import validated, validated_json


@dataclass
class Track:
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}
    name: str
    n_samples: int
    gains: dict[str, float]

    def __post_init__(self):
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more, got {self.n_samples}")


class Plain(pydantic.BaseModel, extra="forbid"):
    name: str
    n_samples: int
    gains: dict[str, float]


GOOD = {"name": "a", "n_samples": 3, "gains": {"vocals": 1.0}}


def test_content_of_the_right_types():
    assert validated(Plain, GOOD, "f").model_dump() == GOOD
    assert vars(validated_json(Track, json.dumps(GOOD), "f")) == GOOD


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_samples": "3"}, "f: n_samples must be a valid integer, got '3'"),
        ({"n_samples": True}, "f: n_samples must be a valid integer, got True"),
        ({"gains": {"vocals": "x"}}, "f: gains.vocals must be a valid number, got 'x'"),
        ({"gains": None}, "f: gains must be a valid dictionary, got None"),
        ({"other": 1}, "f: unknown key other"),
    ],
)
def test_wrong_content_names_key_value_and_expectation(change, message):
    content = {**GOOD, **change}
    with pytest.raises(ValueError) as caught:
        validated(Plain, content, "f")
    assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:
        validated_json(Track, json.dumps(content), "f")
    assert str(caught.value) == message.replace("a valid dictionary", "an object")


def test_what_a_dataclass_refuses_itself():
    with pytest.raises(ValueError, match="^f: n_samples must be 1 or more, got 0$"):
        validated_json(Track, json.dumps({**GOOD, "n_samples": 0}), "f")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"name": "a"}', b"null"])
def test_text_that_is_no_such_json(text):
    with pytest.raises(ValueError, match="^f"):
        validated_json(Track, text, "f")


def test_mutations_are_seeded_and_differ():
    first, again = (list(mutated_json(GOOD, 50, seed=1)) for _ in range(2))
    assert first == again and len(set(first)) > 40
    changed = list(mutated_values(GOOD, 400))
    assert {type(content) for content in changed} >= {dict, list, str, type(None)}
    lengths = [x["n_samples"] for x in changed if isinstance(x, dict) and "n_samples" in x]
    assert {type(length) for length in lengths} >= {bool, int, float, str, list, dict}
