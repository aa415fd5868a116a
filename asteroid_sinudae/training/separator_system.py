"""Training of separators, which hear the mixture only, an Asteroid System."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.tracks import SOURCES
from ..losses import bounded_neg_snr
from ..utils.checks import check
from .base_system import BaseSystem


class SeparatorSystem(BaseSystem):
    """Trains what a separator has to learn by :func:`bounded_neg_snr`, the mean over sources.

    Vocals and accompaniment were drawn independently; their sum is the mixture that the separator
    hears. Training has no randomness of its own, so that a resumed run continues as an
    uninterrupted one, and separators that are trained on the same loader's batches hear the same.
    It results in the exponential moving average of the weights.

    Args:
        model (:class:`torch.nn.Module`): The separator of the :data:`SOURCES`.
        optimizer (:class:`torch.optim.Optimizer`): Optimiser of the parameters that are not frozen.
        train_loader (:class:`torch.utils.data.DataLoader`): Batches of vocals and accompaniment,
            each `(batch, 1, time)`, from a sampler of :mod:`.sampler`.
        snr_max (float): Bound of :func:`bounded_neg_snr`, in dB.
        ema_decay (float): Share of the average that each update keeps, 0 for no average.
        scheduler (dict, optional): Scheduler of the learning rate, see Asteroid's :class:`System`.
        config: Anything to be saved with the checkpoints during training.

    Raises:
        ValueError: if `snr_max` is not positive, or `ema_decay` not below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train_loader: torch.utils.data.DataLoader,
        snr_max: float = 30.0,
        ema_decay: float = 0.0,
        scheduler: dict | None = None,
        config: dict | None = None,
    ):
        check(snr_max > 0, "snr_max", snr_max, "positive (dB)")
        check(0 <= ema_decay < 1, "ema_decay", ema_decay, "at least 0 and below 1")
        super().__init__(
            model, optimizer, bounded_neg_snr, train_loader, scheduler=scheduler, config=config
        )
        self.snr_max = snr_max
        self.averaged = AveragedModel(
            _learned(model), multi_avg_fn=get_ema_multi_avg_fn(ema_decay)
        ).requires_grad_(False)

    def losses(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the mean of :func:`bounded_neg_snr` for each of the :data:`SOURCES`."""
        sources = torch.cat(tuple(batch), dim=1)  # (batch, sources, time)
        estimates = self.model(sources.sum(dim=1, keepdim=True))
        return self.loss_func(estimates.float(), sources, self.snr_max).mean(dim=0)

    def loss_of_batch(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the loss of a batch, for timing; nothing is logged."""
        return self.losses(batch).mean()

    def training_step(self, batch, batch_nb):
        """Return the mean of :func:`bounded_neg_snr`; raises a ValueError if it is not finite."""
        by_source = self.losses(batch)
        loss = by_source.mean()
        by_name = {f"neg_snr_{name}": value for name, value in zip(SOURCES, by_source, strict=True)}
        self.log_losses(loss, by_name)
        return loss

    def optimizer_step(self, *args, **kwargs):
        """Take the weights after an update into their average, before a checkpoint is saved."""
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(_learned(self.model))

    @contextlib.contextmanager
    def final_weights(self) -> Iterator[None]:
        """Put the averaged weights in the place of the model's for a block."""
        parameters = list(_learned(self.model))
        kept = [parameter.detach().clone() for parameter in parameters]
        _assign(parameters, self.averaged.module.parameters())
        try:
            yield
        finally:
            _assign(parameters, kept)


def _learned(model: nn.Module) -> nn.ParameterList:
    """Parameters that are not frozen."""
    return nn.ParameterList(p for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def _assign(parameters: Iterable[nn.Parameter], values: Iterable[torch.Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
