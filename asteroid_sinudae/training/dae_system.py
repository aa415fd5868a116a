"""Training of the denoising auto-encoder, an Asteroid System."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..models.sinudae import SinuDAE
from ..utils.checks import check
from .base_system import BaseSystem
from .cuda_graphs import CudaGraphs
from .objectives import OBJECTIVES, EncodedBatch, Objective, Reconstruction, TotalVariation
from .sorting import sort_channels


def step_generator(seed: int, epoch: int, step: int, device: torch.device) -> torch.Generator:
    """Make a random generator that depends on its arguments and on nothing before.

    Args:
        seed (int): Seed of the run, not negative.
        epoch (int): Passes over the data so far.
        step (int): Updates so far.
        device (:class:`torch.device`): Where numbers will be drawn.

    Returns:
        :class:`torch.Generator`
    """
    state = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


class DAESystem(BaseSystem):
    r"""Trains a :class:`.SinuDAE` by a weighted sum of objectives, :math:`\sum_k \lambda_k L_k`.

    Vocals with Gaussian noise are encoded; the mixture, vocals plus accompaniment, and the
    accompaniment are encoded as far as the objectives need them. By default the objectives are
    those of Eq. (5) of [1]: the reconstruction of the clean vocals by its negative SNR, Eq. (4),
    and the total variation of the mixture's representation with :math:`\lambda = 0.5`. All
    randomness is a function of `(seed, epoch, step)`, so that a resumed run continues as an
    uninterrupted one.

    Args:
        model (SinuDAE): Instance of model.
        optimizer (:class:`torch.optim.Optimizer`): Optimiser of the model's parameters.
        train_loader (:class:`torch.utils.data.DataLoader`): Batches of vocals and accompaniment,
            each `(batch, 1, time)`, from a :class:`.SetShuffleSampler`.
        seed (int): Seed of the noise.
        noise_std (float): Standard deviation of the Gaussian noise, full scale being 1.
        white_noise (float): Share of the vocals' segments that are replaced by white noise of the
            same level, so that kernels are heard where songs have no energy.
        objectives (sequence of Objective): Each with its weight, see :mod:`.objectives`. The
            :class:`.Reconstruction` is among them.
        sort (bool): Whether to sort the channels after each update, see :func:`.sort_channels`.
        scheduler (dict, optional): Scheduler of the learning rate, see Asteroid's :class:`System`.
        config: Anything to be saved with the checkpoints during training.

    Raises:
        ValueError: naming the argument that is out of its range, if `sort` is asked of a decoder
            without carriers, if there is no reconstruction among the objectives, or if one needs
            accompaniment that the loader does not give.

    References
        [1] : "Unsupervised Interpretable Representation Learning for Singing Voice Separation".
        EUSIPCO 2020. Stylianos I. Mimilakis, Konstantinos Drossos, Gerald Schuller.
    """

    def __init__(
        self,
        model: SinuDAE,
        optimizer: torch.optim.Optimizer,
        train_loader: torch.utils.data.DataLoader,
        seed: int = 0,
        noise_std: float = 1e-4,
        white_noise: float = 0.0,
        objectives: Sequence[Objective] = (Reconstruction(), TotalVariation(0.5)),
        sort: bool = True,
        scheduler: dict | None = None,
        config: dict | None = None,
    ):
        check(seed >= 0, "seed", seed, "0 or more")
        check(noise_std >= 0, "noise_std", noise_std, "0 or more")
        check(0 <= white_noise <= 1, "white_noise", white_noise, "from 0 to 1")
        sampler: Any = train_loader.batch_sampler  # a SetShuffleSampler
        check_objectives(objectives, is_matched=sampler.matched)
        super().__init__(
            model,
            optimizer,
            loss_func=None,  # the objectives are the loss
            train_loader=train_loader,
            scheduler=scheduler,
            config=config,
        )
        self.seed = seed
        self.noise_std = noise_std
        self.white_noise = white_noise
        self.objectives = tuple(objectives)
        self.sort = sort
        self._graphs: CudaGraphs | None = None
        self._recorded_settings: tuple | None = None  # what a recording of steps depends on
        if sort:
            sort_channels(model, optimizer)
        # Sum of Eq. (4) over this epoch's signals, and their number. In the checkpoint, so that
        # the mean over an interrupted epoch is the mean over the whole of it.
        self.register_buffer("epoch_neg_snr", torch.zeros(2))

    def noise_like(self, vocals: torch.Tensor) -> torch.Tensor:
        """Draw this device's share of the noise for one update of all devices.

        Args:
            vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.

        Returns:
            :class:`torch.Tensor` of the same shape, standard normal.
        """
        generator = step_generator(self.seed, self.current_epoch, self.global_step, vocals.device)
        batch = vocals.shape[0]
        shape = (batch * self.trainer.world_size, *vocals.shape[1:])
        noise = torch.randn(shape, generator=generator, device=vocals.device, dtype=vocals.dtype)
        return noise[batch * self.global_rank : batch * (self.global_rank + 1)]

    def with_white_noise(self, vocals: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Replace some of the vocals by white noise of their level, -60 dB if they are silent.

        Args:
            vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
            noise (:class:`torch.Tensor`): standard normal, of the same shape.
        """
        level = vocals.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-3)  # (batch, 1, 1)
        # A standard normal number is a draw: its distribution function is uniform.
        draw = torch.special.ndtr(noise[..., :1])  # (batch, 1, 1)
        # Another signal than the noise that is added to the input: it would tell the answer.
        return torch.where(draw < self.white_noise, level * noise.flip(-1), vocals)

    def encode(
        self, vocals: torch.Tensor, accompaniment: torch.Tensor, noise: torch.Tensor
    ) -> EncodedBatch:
        """Encode the vocals with noise, and what the objectives need besides, in one pass.

        Args:
            vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
            accompaniment (:class:`torch.Tensor`): of the same shape.
            noise (:class:`torch.Tensor`): standard normal, of the same shape.
        """
        needed = {name for objective in self.objectives for name in objective.needs}
        signals = {"vocals": vocals}
        if "mixture" in needed:
            signals["mixture"] = vocals + accompaniment
        if "accompaniment" in needed:
            signals["accompaniment"] = accompaniment
        inputs = {**signals, "vocals": vocals + self.noise_std * noise}
        # One pass has larger matrix products, and builds the kernels once.
        encoded = self.model.encode(torch.cat(list(inputs.values())))
        parts = encoded.chunk(len(inputs))  # (batch, n_filters, frames) each
        return EncodedBatch(self.model, signals, dict(zip(inputs, parts, strict=True)))

    def losses(
        self, vocals: torch.Tensor, accompaniment: torch.Tensor, noise: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compute the objectives, by their names, without their weights.

        Args:
            vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
            accompaniment (:class:`torch.Tensor`): of the same shape.
            noise (:class:`torch.Tensor`): standard normal, of the same shape.

        Returns:
            dict of scalars
        """
        batch = self.encode(vocals, accompaniment, noise)
        return {each.name: each(batch) for each in self.objectives}

    def weighted_sum(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum the losses that :meth:`losses` returns with their weights: this is minimised."""
        total: Any = sum(each.weight * losses[each.name] for each in self.objectives)
        return total

    def sum_and_losses(
        self, vocals: torch.Tensor, accompaniment: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute what is minimised, and what it is made of.

        Args:
            vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
            accompaniment (:class:`torch.Tensor`): of the same shape.
            noise (:class:`torch.Tensor`): standard normal, of the same shape.

        Returns:
            tuple: the weighted sum, and the objectives, shape `(objectives,)`, without gradients.
        """
        losses = self.losses(vocals, accompaniment, noise)
        return self.weighted_sum(losses), torch.stack([each.detach() for each in losses.values()])

    def replays(self, vocals: torch.Tensor) -> bool:
        """Tell whether a step is recorded as a CUDA graph: on one GPU.

        Objectives of others may change with time, which a recording would not.
        """
        is_alone = self._trainer is None or self.trainer.world_size == 1
        is_ours = all(type(objective) in OBJECTIVES for objective in self.objectives)
        return vocals.is_cuda and is_alone and is_ours

    def loss_of_step(self, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute :meth:`sum_and_losses`, by a CUDA graph where there can be one."""
        if not self.replays(batch[0]):
            return self.sum_and_losses(*batch)
        settings = self.model, self.objectives, self.noise_std
        if self._graphs is None or self._recorded_settings != settings:
            self._graphs = CudaGraphs(self.sum_and_losses, self.model)
            self._recorded_settings = settings
        loss, losses = self._graphs(*batch)
        return loss, losses

    def loss_of_batch(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the loss of a batch without noise, for timing; nothing is logged."""
        vocals, accompaniment = batch
        return self.loss_of_step(vocals, accompaniment, torch.zeros_like(vocals))[0]

    def training_step(self, batch, batch_nb):
        """Return the weighted sum of the objectives; raises a ValueError if it is not finite."""
        vocals, accompaniment = batch
        noise = self.noise_like(vocals)
        if self.white_noise:
            vocals = self.with_white_noise(vocals, noise)
        loss, values = self.loss_of_step(vocals, accompaniment, noise)
        names = [each.name for each in self.objectives]
        losses = dict(zip(names, values.unbind(), strict=True))
        self.log_losses(loss, losses)
        snr = losses[Reconstruction.name].clone()
        snr_of_all = self.trainer.strategy.reduce(snr, reduce_op="mean")
        self.epoch_neg_snr += torch.stack([snr_of_all, torch.ones_like(snr_of_all)]) * len(vocals)
        return loss

    def optimizer_step(self, *args, **kwargs):
        """Update, then put the channels in order."""
        super().optimizer_step(*args, **kwargs)
        if self.sort:
            sort_channels(self.model, self.optimizer)

    def on_fit_start(self):
        """Refuse objectives that are not the mean of what each device computes."""
        super().on_fit_start()
        self._graphs = None  # those of a precision that was only timed would hold their memory
        if self.trainer.world_size > 1:
            for objective in self.objectives:
                if not objective.is_mean:
                    raise ValueError(
                        f"{objective} is not a mean over signals, as several devices need it"
                    )

    def on_train_batch_start(self, batch, batch_idx):
        """Start a new mean of Eq. (4) with an epoch; a continued one may not report its start."""
        if batch_idx == 0:
            self.epoch_neg_snr.zero_()

    def on_train_epoch_end(self):
        """Log the mean of Eq. (4) over the epoch's signals, which early stopping watches."""
        total, number = self.epoch_neg_snr.tolist()
        self.log("neg_snr_epoch", total / number, prog_bar=True, logger=True)


def check_objectives(objectives: Sequence[Objective], is_matched: bool) -> None:
    """Raise a ValueError if objectives share a name, none reconstructs, or one needs other data.

    Args:
        objectives (sequence of Objective): Those of a training.
        is_matched (bool): Whether the accompaniment is from the same place as the vocals.
    """
    names = [objective.name for objective in objectives]
    check(len(set(names)) == len(names), "names of objectives", names, "different from each other")
    expected = f"{Reconstruction.name!r}, the reconstruction, and others"
    check(Reconstruction.name in names, "names of objectives", names, expected)
    for objective in objectives:
        if objective.needs_matched and not is_matched:
            raise ValueError(
                f"{objective.name}_weight={objective.weight} needs the accompaniment of the same "
                "place as the vocals: use matched=True"
            )
