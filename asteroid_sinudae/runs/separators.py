"""Trained separators: those in a folder of `train_separator.py`, and those of the package."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..data.tracks import SOURCES
from ..models.model_files import describe_task, load_model, model_digest
from ..models.sinudae import SinuDAE
from . import front_ends
from .folder import Run, check_belonging
from .representations import check_rate


def trained_names(folder: Path) -> list[str]:
    """Return the names of the front-ends on which a folder has separators, the pair's first.

    Other folders in it are not looked at.

    Raises:
        FileNotFoundError: if it has none.
    """
    found = (path.name for path in folder.glob("*") if Run(path).model_file.is_file())
    names = [name for name in found if front_ends.is_front_end(name)]
    if not names:
        raise FileNotFoundError(f"{folder} has no separators: train them first (stage 6)")
    return sorted(names, key=lambda name: (name != front_ends.PAIR, name))


@torch.no_grad()
def products_per_second(separator: Any) -> float:
    """Count the multiplications of numbers that a separator takes for a second of one channel.

    Those of matrix products and convolutions count, as they are computed: an STFT is a product with
    its kernels, as Asteroid's is, and zeros outside compact kernels are not multiplied.

    Args:
        separator (:class:`torch.nn.Module`): A separator of waveforms, on a CPU.

    Returns:
        float: products per second of audio.

    Examples
        >>> from asteroid_sinudae import SinuDAEConvTasNet
        >>> pair = dict(n_filters=8, kernel_size=64, stride=32, sample_rate=8000)
        >>> small = SinuDAEConvTasNet(2, n_blocks=1, n_repeats=1, **pair)
        >>> products_per_second(small) > 8000 / 32 * 3 * 8 * 64
        True
    """
    waveform = torch.zeros(1, 1, round(separator.sample_rate))
    counter, mode = FlopCounterMode(display=False), separator.training
    separator.eval()  # batch normalisation must not learn from silence
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32", UserWarning)  # of the next line, without a GPU
        with torch.backends.mkldnn.flags(enabled=False), counter:  # whose LSTM is not counted
            separator(waveform)
    separator.train(mode)
    return counter.get_total_flops() / 2  # an addition goes with each product


def load_separator(run: Run, pair: SinuDAE) -> tuple[nn.Module, dict]:
    """Load a separator, and how it was trained.

    Args:
        run (Run): The separator's own run.
        pair (SinuDAE): The pair on which, or beside a separator on which, it must have been
            trained.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is refused, is for another sample rate, or was trained beside another
            pair.
    """
    path = run.model_file
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: train separators first (stage 6)")
    model = load_model(path).model
    check_rate(path, model, pair.sample_rate)
    training = run.read_training()
    if training.get("conf", {}).get("run", {}).get("pair") != model_digest(pair):
        raise ValueError(
            f"{path} was trained beside another pair than this: train the separators again "
            "(stage 6)"
        )
    return model, training


def check_alike(folder: Path, trainings: Mapping[str, dict]) -> None:
    """Raise a ValueError unless all separators of a folder were trained in the same way.

    Args:
        folder (Path): The folder.
        trainings (mapping): How each was trained, by the name of its front-end.
    """
    (first, expected), *others = (
        (name, _shared_of(training)) for name, training in trainings.items()
    )
    for name, found in others:
        if found != expected:
            raise ValueError(
                f"the separators in {folder} were not trained alike, {first} for "
                f"{expected['steps']} updates and {name} for {found['steps']}: train both again "
                "(stage 6)"
            )


def _shared_of(training: dict) -> dict:
    """Return what separators that are compared must share of their trainings."""
    conf = {group: dict(values) for group, values in training["conf"].items()}
    conf.pop("front_end")
    conf.get("masker", {}).pop("tie_phases", None)  # of the pair only
    for key in ("front_end", "initial_model", "precision"):
        conf["run"].pop(key, None)
    return {"steps": training["steps"], **conf}


def load_all(folder: Path, pair: SinuDAE) -> tuple[dict[str, nn.Module], dict[str, dict]]:
    """Load all separators of a folder, and how each was trained, by the names of front-ends.

    Args:
        folder (Path): The folder, see :func:`trained_names`.
        pair (SinuDAE): The pair, see :func:`load_separator`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: see :func:`load_separator`; and if they were not trained alike.
    """
    models, trainings = {}, {}
    for name in trained_names(folder):
        models[name], trainings[name] = load_separator(Run(folder / name), pair)
    check_alike(folder, trainings)
    return models, trainings


def read_evaluation(folder: Path, trainings: Mapping[str, dict]) -> dict | None:
    """Read the metrics of the separators of a folder; None if they have not been evaluated.

    Args:
        folder (Path): The folder.
        trainings (mapping): How each was trained, by the name of its front-end.

    Raises:
        ValueError: if the file is damaged, or of other trainings.
    """
    run = Run(folder)
    if not run.metrics_file.is_file():
        return None
    metrics = run.read_metrics()
    for name, training in trainings.items():
        told = metrics.get("separators", {}).get(name, {})
        check_belonging(run.metrics_file, Run(folder / name).model_file, training, told)
    return metrics


def load_named(name: str, sample_rate: float) -> nn.Module:
    """Load a separator that comes with the package.

    Args:
        name (str): Its name, among :func:`.pretrained.available`.
        sample_rate (float): Rate of the data in Hz.

    Raises:
        ValueError: if there is none of that name, if it does not separate the :data:`SOURCES`, or
            is for another sample rate.
    """
    model, infos = load_model(name)
    expected, found = list(SOURCES), infos.get("sources")
    if found != expected:
        task = describe_task(type(model).__name__, infos)
        raise ValueError(f"{name} {task}, expected a separator of {' and '.join(expected)}")
    check_rate(name, model, sample_rate)
    return model
