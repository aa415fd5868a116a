"""A run and its folder: where each file is, and readers that check what it holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pandas as pd
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from ..utils.files import load_safely
from ..utils.schema import validated, validated_json
from .conf import read_conf

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
FORMER = {"representation": "system", "costs": "systems"}  # names that files had before
Named = Annotated[dict[str, dict[str, Finite]], Field(min_length=1)]  # figures by representation


class Training(TypedDict):
    """Length of a model's training in the metrics of its evaluation; None for a baseline."""

    steps: Count | None
    epochs: Count | None
    seconds: Finite | None


class Readability(TypedDict, total=False):
    """What :func:`.readability` tells of a representation; empty if it has no carriers."""

    kernels_at_carrier: Annotated[float, Field(ge=0, le=1)]
    carriers_below_1_hz: Count


class Metrics(TypedDict):
    """Content of every `final_metrics.json`; scripts may add further keys."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    evaluated: NotRequired[str]  # added by the reader where it is missing
    medians: Named
    segments: Annotated[int, Field(ge=1)]
    test_tracks: Annotated[int, Field(ge=1)]
    conf: dict[str, dict[str, Any]]
    versions: dict[str, str | None]
    commit: NotRequired[str | None]
    device: str
    finished: str
    training: NotRequired[Training]
    readability: NotRequired[dict[str, Readability]]  # by representation; new in version 0.2
    separators: NotRequired[dict[str, dict[str, Any]]]  # trainings by front-end, of stage 7


class ModelTraining(TypedDict):
    """Training of a model, as its file describes it."""

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
    """Infos in the file of a model."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # read by pydantic

    training: NotRequired[ModelTraining]


@dataclass(frozen=True)
class Run:
    """One training with its folder; also a folder in which only a baseline was evaluated.

    What one script leaves in the folder and another one takes has its name here and nowhere else.

    Args:
        folder (Path): The folder, which need not be there yet.
    """

    folder: Path

    @property
    def conf_file(self) -> Path:
        """The configuration, as the training that wrote `model_file` had it."""
        return self.folder / "conf.yml"

    @property
    def job_file(self) -> Path:
        """The configuration that a table asks for, before anything is trained."""
        return self.folder / "job.yml"

    @property
    def checkpoint_file(self) -> Path:
        """The checkpoint that a training saves and continues from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def logs_folder(self) -> Path:
        """The losses, as CSV and for TensorBoard."""
        return self.folder / "logs"

    @property
    def model_file(self) -> Path:
        """The model after the last update."""
        return self.folder / "best_model.pth"

    @property
    def segments_file(self) -> Path:
        """The metrics of every test segment."""
        return self.folder / "segments.csv"

    @property
    def metrics_file(self) -> Path:
        """The medians of `segments_file`, and what they were made with."""
        return self.folder / "final_metrics.json"

    @property
    def museval_folder(self) -> Path:
        """The scores of whole tracks, a file each."""
        return self.folder / "museval"

    @property
    def museval_file(self) -> Path:
        """The medians of `museval_folder`."""
        return self.folder / "museval.json"

    @property
    def stereo_museval_folder(self) -> Path:
        """The scores of whole tracks in stereo, a file each."""
        return self.folder / "museval_stereo"

    @property
    def stereo_museval_file(self) -> Path:
        """The medians of `stereo_museval_folder`."""
        return self.folder / "museval_stereo.json"

    @property
    def table_file(self) -> Path:
        """The medians as Markdown."""
        return self.folder / "table.md"

    @property
    def report_folder(self) -> Path:
        """The page."""
        return self.folder / "report"

    def read_conf(self, defaults: dict, needed: Iterable[str] = ()) -> dict:
        """Read `conf_file`.

        Args:
            defaults (dict): Two-level configuration of all keys.
            needed (iterable of str): Keys that must not be missing, as `group.key`.

        Raises:
            FileNotFoundError: if it is not there.
            ValueError: naming what is wrong in it.
        """
        return read_conf(self.conf_file, defaults, needed)

    def read_training(self) -> dict:
        """Read how the model of `model_file` was trained, empty if the file does not tell.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the key, its value and what was expected, if the file tells it
                otherwise.
        """
        infos = load_safely(self.model_file).get("infos", {})
        return {**validated(Infos, infos, f"{self.model_file}: infos").get("training", {})}

    def check_trained_as(self, conf: dict) -> None:
        """Raise a ValueError if a configuration asks for another length than the model has.

        So it is where a training that is continued has written `conf_file` and was cut off.
        """
        trained = self.read_training().get("conf", {}).get("training", {})
        for key in ("epochs", "max_steps"):
            asked, there = conf.get("training", {}).get(key), trained.get(key)
            if None not in (asked, there) and asked != there:
                raise ValueError(
                    f"{self.model_file} was trained with {key}={there}, {self.conf_file} asks for "
                    f"{asked}: finish the training (stage 2)"
                )

    def read_metrics(self, kind: Any = Metrics) -> dict:
        """Read `metrics_file`.

        Its key `evaluated` is the name, in `medians`, of the model that the run is about. Files
        made before this key was written have that model first in `medians`: here, and only here,
        the key is added to what they hold.

        Args:
            kind (type): :class:`Metrics`, or one that has more.

        Raises:
            FileNotFoundError: if the run has not been evaluated.
            ValueError: naming the key, its value and what was expected, if the file is damaged,
                lacks something, or has a figure that is not finite.
        """
        path = self.metrics_file
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found: evaluate the run first (stage 3, or 7)")
        try:
            metrics: dict[str, Any] = validated_json(kind, path.read_bytes(), str(path))
            metrics.setdefault("evaluated", next(iter(metrics["medians"])))
            if metrics["evaluated"] not in metrics["medians"]:
                raise ValueError(f"{path}: medians has no {metrics['evaluated']!r}, as evaluated")
        except ValueError as error:
            raise ValueError(f"{error}: evaluate again (stage 3, or 7)") from error
        return metrics

    def read_segments(self, *columns: str) -> pd.DataFrame:
        """Read `segments_file`, which has `representation` and at least some other columns.

        In files made before that column had its name it is called `system`, and is renamed here.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file, if it is no CSV, or lacks a column.
        """
        segments = read_csv(self.segments_file, *columns)
        if "representation" not in segments:
            segments = segments.rename(columns={FORMER["representation"]: "representation"})
        check_columns(segments, ["representation"], self.segments_file)
        return segments


def check_belonging(metrics_file: Path, model_file: Path, training: dict, told: dict) -> None:
    """Raise a ValueError if an evaluation tells of another training than the model's file."""
    keys = ("steps", "epochs", "seconds")
    if not told or any(training.get(key) != told.get(key) for key in keys):
        raise ValueError(f"{metrics_file} is of another training than {model_file}: evaluate again")


def read_csv(path: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV file that must have certain columns.

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
    check_columns(table, columns, path)
    return table


def check_columns(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise a ValueError that names the first of the columns that a table of a file lacks."""
    for column in columns:
        if column not in table:
            raise ValueError(f"{path}: column {column} is missing")


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> pd.DataFrame:
    """Return columns of a file's table as floats; raises a ValueError if one holds text."""
    found = {}
    for column in columns:
        found[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
        texts = table[column][found[column].isna() & table[column].notna()]
        if len(texts):
            raise ValueError(f"{path}: {column} must be numbers, got {texts.iloc[0]!r}")
    return pd.DataFrame(found, index=table.index)
