"""Base of the trainings of representations and of separators, an Asteroid System."""

import contextlib
import math
import warnings

import torch
from asteroid.engine.system import System

from .checkpoint_state import stretch_decay


class BaseSystem(System):
    """Trains on all tracks, in an order that a continued training takes up where it was cut off.

    There is no validation. The batches come from a :class:`.SetShuffleSampler`, which is told the
    epoch and the update. A loss that is not finite ends the training before it is in the model.
    """

    def train_dataloader(self):
        """Return the training loader, from the batch that the next update is due to see."""
        sampler = self.train_loader.batch_sampler
        sampler.set_shard(self.global_rank, self.trainer.world_size)
        sampler.set_step(self.global_step)
        return self.train_loader

    def val_dataloader(self):
        """Return no loader: the method trains on all tracks, for a number of passes."""
        return []

    def on_fit_start(self):
        """Silence a warning: Lightning cannot see that the sampler goes on where it stopped."""
        warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")

    def on_load_checkpoint(self, checkpoint):
        """Stretch the decay of the learning rate, if the training has become longer or shorter."""
        stretch_decay(checkpoint, self)

    def final_weights(self) -> contextlib.AbstractContextManager:
        """Return a context in which the model has the weights that a training results in."""
        return contextlib.nullcontext()

    def on_train_epoch_start(self):
        """Go to the epoch's order of the data."""
        self.train_loader.batch_sampler.set_epoch(self.current_epoch)

    def log_losses(self, loss: torch.Tensor, terms: dict[str, torch.Tensor]) -> None:
        """Log what is minimised and what it is made of.

        Args:
            loss (:class:`torch.Tensor`): A scalar, logged as `loss`.
            terms (dict): Scalars by the names under which they are logged.

        Raises:
            ValueError: if the loss is not finite, before it is in the model, and the model in the
                checkpoint.
        """
        number = loss.item()  # for loss.isfinite(), a GPU starts four more operations
        if not math.isfinite(number):
            raise ValueError(
                f"loss must be finite, got {number} after {self.global_step} updates: "
                "choose a lower lr"
            )
        self.log("loss", loss, logger=True, sync_dist=True)
        for name, value in terms.items():
            self.log(name, value, prog_bar=True, logger=True, sync_dist=True)
