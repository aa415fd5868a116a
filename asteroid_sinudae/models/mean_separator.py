"""The mean of several estimates, by several separators or of a mixture at several pitches."""

from collections.abc import Sequence
from typing import Any

import torch
from asteroid.models.base_models import BaseModel
from torch import nn
from torch.nn import functional as F

from ..utils.autocast import no_autocast
from ..utils.checks import check
from ..utils.intervals import interval
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
        estimates = [model.forward_wav(wav).to(wav.dtype) for model in self.models]
        if len({estimate.shape for estimate in estimates}) > 1:
            given = [
                f"{type(model).__name__} gives {tuple(estimate.shape)}"
                for model, estimate in zip(self.models, estimates, strict=True)
            ]
            raise ValueError(f"{', '.join(given)}, expected the same shape")
        return torch.stack(estimates).mean(0)


class TransposedSeparator(BaseModel):
    """A separator that hears the mixture higher or lower, and as much faster or slower.

    Its errors differ from those that it makes at the mixture's own pitch, so that the mean of both
    estimates is better than either. Estimates sum to the mixture if the separator's do: what is
    lost on the way up, which are the highest frequencies, is given to all sources alike. It is no
    model of its own, so that it has no file.

    Args:
        model (BaseModel): A separator of mono waveforms.
        semitones (int): Interval by which the mixture is heard higher, see :func:`.interval`.

    Raises:
        ValueError: if there is no such interval, and from `forward`, if there are no samples.

    Shape:
        - `(time,)` -> `(n_src, time)`
        - `(batch, time)` or `(batch, 1, time)` -> `(batch, n_src, time)`
    """

    def __init__(self, model: BaseModel, semitones: int):
        super().__init__(sample_rate=model.sample_rate, in_channels=model.in_channels)
        self.model, self.interval = model, interval(semitones)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        """Estimates of a waveform, at its own pitch."""
        check(wav.shape[-1] > 0, "number of samples", wav.shape[-1], "at least 1")
        up, down = self.interval
        mixture = wav if wav.ndim == 3 else wav.reshape(-1, 1, wav.shape[-1])  # (batch, 1, time)
        heard = _resample(mixture, up, down)
        estimates = self.model.forward_wav(heard).to(wav.dtype)
        returned = _resample(torch.cat([estimates, heard], dim=1), down, up)
        # Perhaps some samples longer than the mixture, or, of minutes, one sample shorter.
        returned = F.pad(returned, [0, wav.shape[-1] - returned.shape[-1]])  # (.., n_src + 1, time)
        estimates, kept = returned[:, :-1], returned[:, -1:]
        estimates = estimates + (mixture - kept) / estimates.shape[1]
        return estimates[0] if wav.ndim == 1 else estimates


def _resample(wav: torch.Tensor, up: int, down: int) -> torch.Tensor:
    """Resample from a rate of `up` to one of `down`; autocast would round what it returns."""
    from torchaudio.functional import resample  # here, since few need it

    with no_autocast(wav.device.type):
        return resample(wav, up, down)


def mean_of(
    loaded: Sequence[LoadedModel],
    names: Sequence[str | None] | None = None,
    semitones: Sequence[int] = (0,),
) -> LoadedModel:
    """Join separators, or what one hears at several pitches, into one that gives the mean.

    Args:
        loaded (sequence of LoadedModel): The separators, results of :func:`.load_model`. One alone,
            at the mixture's own pitch, is returned as it is; others are set to evaluation mode.
        names (sequence of str, optional): Names of their files, for errors; None for a model
            without one.
        semitones (sequence of int): Intervals by which each separator hears the mixture higher, see
            :class:`TransposedSeparator`; 0 is the mixture itself. It takes as long for each.

    Returns:
        LoadedModel

    Raises:
        ValueError: if there is no separator or interval or one twice, or no such interval; or if
            estimates are averaged of separators that do not separate the same sources by name, in
            the same order and at the same sample rate: their mean would be none of these.

    Examples
        >>> from asteroid_sinudae import LoadedModel, STFTConvTasNet
        >>> sizes = dict(n_fft=64, stride=24, n_blocks=2, n_repeats=1)
        >>> infos = {"sources": ["vocals", "accompaniment"]}
        >>> both = [LoadedModel(STFTConvTasNet(2, **sizes), infos) for _ in range(2)]
        >>> mean = mean_of(both, semitones=(0, 2))
        >>> mean.model(torch.randn(1, 1, 1001)).shape
        torch.Size([1, 2, 1001])
    """
    check(len(loaded) > 0, "models", list(loaded), "at least one")
    is_list = isinstance(semitones, Sequence) and not isinstance(semitones, str | bytes)
    intervals = [interval(each) for each in semitones] if is_list else []
    is_valid = 0 < len(intervals) == len(set(intervals))
    check(is_valid, "semitones", semitones, "a list of at least one interval, all different")
    if len(loaded) == 1 and list(semitones) == [0]:
        return loaded[0]
    titles = [
        name or f"model {number}" for number, name in enumerate(names or [None] * len(loaded), 1)
    ]
    check(len(set(titles)) == len(titles), "models", titles, "different ones")
    described = [_described(title, each) for title, each in zip(titles, loaded, strict=True)]
    for each, description in zip(loaded, described, strict=True):
        if not are_names(each.infos.get("sources")):
            raise ValueError(
                f"{description}: expected sources with names, for a mean or for other pitches"
            )
    for each, description in zip(loaded, described, strict=True):
        if _facts(each) != _facts(loaded[0]):
            raise ValueError(
                f"{described[0]}, and {description}: expected the same of all, for a mean of "
                "several models"
            )
    infos = {"sources": loaded[0].infos["sources"]}
    heard = [_heard_at(each.model, steps) for each in loaded for steps in semitones]
    return LoadedModel(MeanSeparator(heard).eval(), infos)


def _heard_at(model: BaseModel, semitones: int) -> BaseModel:
    return model if interval(semitones) == (1, 1) else TransposedSeparator(model, semitones)


def _facts(loaded: LoadedModel) -> tuple:
    return list(loaded.infos["sources"]), loaded.model.sample_rate


def _described(title: str, loaded: LoadedModel) -> str:
    task = describe_task(type(loaded.model).__name__, loaded.infos)
    return f"{title} {task} at {loaded.model.sample_rate:g} Hz"
