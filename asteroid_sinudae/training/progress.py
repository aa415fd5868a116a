"""Progress of a training where there is no terminal for Lightning's bar."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..utils.progress import Lines


class ProgressLines(Callback):
    """Writes plain lines to stderr that tell how far a training is, see :class:`.Lines`.

    Args:
        max_steps (int): Updates after which the training is stopped, whatever its epochs; -1 for no
            limit.

    Examples
        >>> ProgressLines.describe(2, 30, 40, 0.7512, 1.5)
        'Training: epoch 2, update 30/40, loss 0.75, 1.50 updates per second'
    """

    def __init__(self, max_steps: int = -1):
        self.max_steps = max_steps
        self.loss: Tensor | None = None

    @staticmethod
    def describe(epoch: int, step: int, total: float, loss: float, speed: float) -> str:
        """Describe how far a training is."""
        where = f"epoch {epoch}, update {step}/{total:g}"
        return f"Training: {where}, loss {loss:.2f}, {speed:.2f} updates per second"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.lines, self.first = Lines(), trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write a line if it is time."""
        self.loss = outputs["loss"]
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last line."""
        self._write(trainer, is_end=True)

    def _write(self, trainer: Trainer, is_end: bool = False) -> None:
        if not trainer.is_global_zero or self.loss is None:
            return
        loss, step = self.loss, trainer.global_step
        total = trainer.num_training_batches * (trainer.max_epochs or 1)
        if self.max_steps >= 0:
            total = min(total, self.max_steps)
        speed = (step - self.first) / max(self.lines.seconds, 1e-9)
        self.lines.write(
            # A loss is copied from its device only for a line.
            lambda: self.describe(trainer.current_epoch, step, total, loss.item(), speed),
            is_end,
        )
