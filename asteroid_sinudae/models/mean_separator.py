"""Several separators at once: the mean of what each estimates."""

from collections.abc import Sequence
from typing import Any

import torch
from asteroid.models.base_models import BaseModel
from torch import nn

from ..utils.checks import check
from .model_files import LoadedModel, describe_task


class MeanSeparator(BaseModel):
    """Mean of the estimates of several separators, whose errors differ.

    It is no model of its own, so that it has no file.

    Args:
        models (sequence of BaseModel): Separators of mono waveforms, of the same sources in the
            same order and of one sample rate, see :func:`mean_of`.

    Shape:
        - `(batch, 1, time)` -> `(batch, n_src, time)`
    """

    models: Any  # separators, in which nn.Module sees modules

    def __init__(self, models: Sequence[BaseModel]):
        in_channels = max(model.in_channels or 1 for model in models)
        super().__init__(sample_rate=models[0].sample_rate, in_channels=in_channels)
        self.models = nn.ModuleList(models)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        """Mean of the estimates of a waveform."""
        # One after the other: the memory of one model is enough.
        total, *others = (model.forward_wav(wav) for model in self.models)
        for estimates in others:
            total = total + estimates
        return total / len(self.models)


def mean_of(loaded: Sequence[LoadedModel]) -> LoadedModel:
    """Join separators into one, whose estimates are the mean of theirs.

    Args:
        loaded (sequence of LoadedModel): The separators, results of :func:`.load_model`. One alone
            is returned as it is.

    Returns:
        LoadedModel

    Raises:
        ValueError: if there is none, or if several do not separate the same sources by name, in the
            same order and at the same sample rate: their mean would be none of these.

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
    first = _facts(loaded[0])
    for each in loaded:
        if "sources" not in each.infos:
            raise ValueError(
                f"{_described(each)}: expected sources with names, for a mean of several models"
            )
        if _facts(each) != first:
            raise ValueError(
                f"{_described(loaded[0])}, and {_described(each)}: expected the same of all, for a "
                "mean of several models"
            )
    infos = {"sources": loaded[0].infos["sources"]}
    return LoadedModel(MeanSeparator([each.model for each in loaded]).eval(), infos)


def _facts(loaded: LoadedModel) -> tuple:
    return list(loaded.infos.get("sources", [])), loaded.model.sample_rate


def _described(loaded: LoadedModel) -> str:
    name = type(loaded.model).__name__
    return f"a {name} {describe_task(name, loaded.infos)} at {loaded.model.sample_rate:g} Hz"
