"""Files that scripts leave in a run's folder, checked where they are read."""

from pathlib import Path
from typing import Annotated, Any, NotRequired

import pandas as pd
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from ..utils.files import load_safely
from ..utils.schema import validated, validated_json

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Named = Annotated[dict[str, dict[str, Finite]], Field(min_length=1)]  # figures by system


class Training(TypedDict):
    """How a model was trained, as far as an evaluation tells it; nothing of a baseline."""

    steps: Count | None
    epochs: Count | None
    seconds: Finite | None


class Metrics(TypedDict):
    """What every `final_metrics.json` holds; what more there is depends on the script."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    medians: Named
    segments: Annotated[int, Field(ge=1)]
    test_tracks: Annotated[int, Field(ge=1)]
    conf: dict[str, dict[str, Any]]
    versions: dict[str, str | None]
    commit: NotRequired[str | None]
    device: str
    finished: str
    training: NotRequired[Training]


class ModelTraining(TypedDict):
    """How a model was trained, as its file tells it."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    conf: dict[str, dict[str, Any]]
    steps: Count
    epochs: Count
    seconds: Finite
    versions: dict[str, str | None]
    commit: NotRequired[str | None]
    device: str
    finished: str


class Infos(TypedDict):
    """What the file of a model tells besides the model."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    training: NotRequired[ModelTraining]


def read_training(path: Path) -> dict:
    """How the model of a file was trained, empty if the file does not tell.

    Args:
        path (Path): File of a model, as :func:`.save_atomically` writes it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the key, its value and what was expected, if the file tells it otherwise.
    """
    infos = load_safely(path).get("infos", {})
    return {**validated(Infos, infos, f"{path}: infos").get("training", {})}


def read_metrics(exp_dir: Path, kind: type = Metrics) -> dict:
    """Content of an experiment's `final_metrics.json`.

    Args:
        exp_dir (Path): Folder of the experiment.
        kind (type): :class:`Metrics`, or one that has more.

    Raises:
        FileNotFoundError: if the experiment has not been evaluated.
        ValueError: naming the key, its value and what was expected, if the file is damaged, lacks
            something, or has a figure that is not finite.
    """
    path = exp_dir / "final_metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: evaluate the experiment first (stage 3)")
    try:
        return validated_json(kind, path.read_bytes(), str(path))
    except ValueError as error:
        raise ValueError(f"{error}: evaluate again (stage 3)") from error


def read_csv(path: Path, *columns: str) -> pd.DataFrame:
    """A CSV file that has at least some columns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is no CSV, or lacks a column.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: expected a table (CSV)")
    try:
        table = pd.read_csv(path, low_memory=False)
    except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
        raise ValueError(f"{path} is no table (CSV): {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path} is no table (CSV): its rows are longer than its header")
    for column in columns:
        if column not in table:
            raise ValueError(f"{path}: column {column} is missing")
    return table


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> pd.DataFrame:
    """The columns of a table of a file as floats; raises a ValueError if one holds text."""
    found = {}
    for column in columns:
        found[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
        texts = table[column][found[column].isna() & table[column].notna()]
        if len(texts):
            raise ValueError(f"{path}: {column} must be numbers, got {texts.iloc[0]!r}")
    return pd.DataFrame(found, index=table.index)
