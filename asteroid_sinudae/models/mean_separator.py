"""Several separators at once: the mean of what each estimates."""

from collections.abc import Sequence
from typing import Any

import torch
from asteroid.models.base_models import BaseModel
from torch import nn

from ..utils.checks import check
from .model_files import LoadedModel, are_names, describe_task


class MeanSeparator(BaseModel):
    """Mean of the estimates of several separators, whose errors differ.

    It is no model of its own, so that it has no file.

    Args:
        models (sequence of BaseModel): At least one separator of mono waveforms; all of the same
            sources in the same order and of one sample rate, see :func:`mean_of`.

    Raises:
        ValueError: if there is no model, and from `forward`, if the models give estimates of
            different shapes.

    Shape:
        - `(batch, 1, time)` -> `(batch, n_src, time)`
    """

    models: Any  # separators, in which nn.Module sees modules

    def __init__(self, models: Sequence[BaseModel]):
        check(len(models) > 0, "models", list(models), "at least one")
        in_channels = max(model.in_channels or 1 for model in models)
        super().__init__(sample_rate=models[0].sample_rate, in_channels=in_channels)
        self.models = nn.ModuleList(models)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        """Mean of the estimates of a waveform."""
        estimates = [model.forward_wav(wav) for model in self.models]
        if len({estimate.shape for estimate in estimates}) > 1:
            given = [
                f"{type(model).__name__} gives {tuple(estimate.shape)}"
                for model, estimate in zip(self.models, estimates, strict=True)
            ]
            raise ValueError(f"{', '.join(given)}, expected the same shape")
        return torch.stack(estimates).mean(0)


def mean_of(
    loaded: Sequence[LoadedModel], names: Sequence[str | None] | None = None
) -> LoadedModel:
    """Join separators into one, whose estimates are the mean of theirs.

    Args:
        loaded (sequence of LoadedModel): The separators, results of :func:`.load_model`. One alone
            is returned as it is; several are set to evaluation mode.
        names (sequence of str, optional): Names of their files, for errors; None for a model
            without one.

    Returns:
        LoadedModel

    Raises:
        ValueError: if there is none or one twice, or if several do not separate the same sources by
            name, in the same order and at the same sample rate: their mean would be none of these.

    Examples
        >>> from asteroid_sinudae import LoadedModel, STFTConvTasNet
        >>> sizes = dict(n_fft=64, stride=24, n_blocks=2, n_repeats=1)
        >>> infos = {"sources": ["vocals", "accompaniment"]}
        >>> mean = mean_of([LoadedModel(STFTConvTasNet(2, **sizes), infos) for _ in range(2)])
        >>> mean.model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """
    check(len(loaded) > 0, "models", list(loaded), "at least one")
    if len(loaded) == 1:
        return loaded[0]
    titles = [
        name or f"model {number}" for number, name in enumerate(names or [None] * len(loaded), 1)
    ]
    check(len(set(titles)) == len(titles), "models", titles, "different ones")
    described = [_described(title, each) for title, each in zip(titles, loaded, strict=True)]
    for each, description in zip(loaded, described, strict=True):
        if not are_names(each.infos.get("sources")):
            raise ValueError(
                f"{description}: expected sources with names, for a mean of several models"
            )
    for each, description in zip(loaded, described, strict=True):
        if _facts(each) != _facts(loaded[0]):
            raise ValueError(
                f"{described[0]}, and {description}: expected the same of all, for a mean of "
                "several models"
            )
    infos = {"sources": loaded[0].infos["sources"]}
    return LoadedModel(MeanSeparator([each.model for each in loaded]).eval(), infos)


def _facts(loaded: LoadedModel) -> tuple:
    return list(loaded.infos["sources"]), loaded.model.sample_rate


def _described(title: str, loaded: LoadedModel) -> str:
    task = describe_task(type(loaded.model).__name__, loaded.infos)
    return f"{title} {task} at {loaded.model.sample_rate:g} Hz"
