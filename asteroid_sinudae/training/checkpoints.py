"""Checkpoints of a training that may be killed at any moment and continued from there."""

import reprlib
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping

from ..utils.checks import check
from ..utils.errors import one_line
from ..utils.files import load_safely, save_atomically
from .checkpoint_state import check_finite_weights

# Keys of a configuration that may change when a run is continued.
MAY_CHANGE = (
    "epochs",
    "max_steps",
    "decay_steps",  # follows from those two: the decay is stretched
    "num_workers",
    "keep_on",
    "checkpoint_minutes",
    "devices",
    "num_nodes",
    "pretrained",  # models that are evaluated beside
    "front_ends",  # each is a training of its own
    "valid_every",
)
# Keys that older configurations do not have, and the values by which trainings were what they were.
SINCE = {
    "init_from": "",
    "compact": False,
    "eps": 1e-8,
    "white_noise": 0.0,
    "bandwidth_weight": 0.0,
    "tie_phases": False,
    "pan": 0.0,
    "semitones": 0,
    "pair_lr": 0.0,
}
# Facts of a run that older checkpoints do not tell, so that nothing can be said of them.
UNTOLD = ("train_data",)


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict:
    """Read a checkpoint, as :func:`.load_safely` does, and compare its checksums.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is refused or damaged.
    """
    content = load_safely(path, map_location)
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error
    if damaged is not None:
        raise ValueError(f"{path} is damaged: wrong checksum of {damaged}")
    return content


def value_of(conf: dict, group: str, key: str) -> Any:
    """Return the value of a key, or what it was, as it were, before there was such a key.

    Args:
        conf (dict): Two-level configuration, perhaps of an earlier version.
        group (str): Group of the key.
        key (str): The key.

    Returns:
        The value; None if a configuration of that time would have it.

    Examples
        >>> value_of({"optim": {"lr": 0.1}}, "optim", "lr"), value_of({"optim": {}}, "optim", "eps")
        (0.1, 1e-08)
    """
    return conf.get(group, {}).get(key, SINCE.get(key))


def check_resumable(checkpoint: dict, config: dict, path: str | Path) -> None:
    """Raise a ValueError if a checkpoint is of another model or another training.

    Args:
        checkpoint (dict): Checkpoint of a :class:`.DAESystem`.
        config (dict): Two-level configuration of the run that wants to continue it.
        path (str or Path): Path of the checkpoint, for the message.

    Raises:
        ValueError: naming the file and the first key that differs.
    """
    before = checkpoint.get("training_config")
    if not isinstance(before, dict) or not all(isinstance(each, dict) for each in before.values()):
        raise ValueError(
            f"{path} is not a checkpoint of this training: training_config must hold groups of keys"
        )
    for group, values in config.items():
        for key, value in values.items():
            if key in UNTOLD and key not in before.get(group, {}):
                continue
            old = value_of(before, group, key)
            if key not in MAY_CHANGE and not _is_same(old, value):
                raise ValueError(
                    f"{path} was trained with {key}={reprlib.repr(old)}, asked for {value!r}: "
                    "continue with the same value, or choose another folder"
                )


def _is_same(old: object, new: object) -> bool:
    """Tell whether two plain values are equal: 1 and 1.0 are, True and 1 are not."""
    numbers = all(isinstance(each, int | float) for each in (old, new))
    numbers = numbers and not any(isinstance(each, bool) for each in (old, new))
    return (numbers or type(old) is type(new)) and bool(old == new)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning checkpoints that appear whole or not at all, and are loaded without code."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        """Write to a temporary file in the same folder, then rename."""
        save_atomically(checkpoint, path)

    def load_checkpoint(self, path, map_location="cpu", weights_only=None):
        """Load tensors and plain values only, whatever `weights_only` says.

        By default they are loaded to the CPU, so that a machine without a GPU continues what one
        with a GPU began; model and optimiser take them from there.
        """
        return read_checkpoint(path, map_location)


class LastCheckpoint(Checkpoint):
    """Saves one checkpoint, and replaces it, at each epoch's end and every few minutes between.

    Lightning's own :class:`ModelCheckpoint` cannot do both in one file such that every state of it
    continues exactly: saved after an epoch's last update, the epoch's end is lost, and with it
    what early stopping would have seen; saved at an epoch's end that the last update brought about,
    the rest of that epoch is. Use it with :class:`StopAfter` instead of the trainer's `max_steps`.

    Args:
        path (str or Path): The checkpoint.
        minutes (float): The longest time between two checkpoints, up to the length of an update.

    Raises:
        ValueError: if `minutes` is not positive; in training, if a weight is not finite, instead
            of saving it.
    """

    def __init__(self, path: str | Path, minutes: float = 5.0):
        check(minutes > 0, "checkpoint_minutes", minutes, "positive")
        self.path = Path(path)
        self.minutes = minutes

    def on_train_start(self, trainer, pl_module):
        """Start counting the minutes."""
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Save in mid-epoch, if it is time or the last update."""
        # All devices save together, so they must agree that it is time.
        is_due = trainer.strategy.reduce_boolean_decision(
            time.monotonic() - self.saved >= 60 * self.minutes, all=False
        )
        if not _is_epoch_complete(trainer) and (is_due or trainer.should_stop):
            self._save(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        """Save at the end of an epoch."""
        if _is_epoch_complete(trainer):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # The one before is better.
        check_finite_weights(trainer.lightning_module, f"after {trainer.global_step} updates")
        trainer.save_checkpoint(self.path)
        self.saved = time.monotonic()


def _is_epoch_complete(trainer: Trainer) -> bool:
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


class StopAfter(Callback):
    """Ends a training after a number of updates.

    The trainer's own `max_steps` makes Lightning continue a checkpoint of an epoch's end with one
    batch more in that epoch, and so with another order of the data from there on.

    Args:
        max_steps (int): Updates of the whole training, also of what a checkpoint continues.
    """

    def __init__(self, max_steps: int):
        self.max_steps = max_steps

    def on_train_start(self, trainer, pl_module):
        """Stop at once if the checkpoint is of a training that was complete."""
        self._stop_if_done(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Stop after the last update."""
        self._stop_if_done(trainer)

    def _stop_if_done(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True


class StopAtPlateau(EarlyStopping):
    """Early stopping when an epoch no longer lowers Eq. (4), for Table 1 (Section 3).

    A training that has stopped stays stopped when it is continued.
    """

    def __init__(self):
        super().__init__("neg_snr_epoch", min_delta=0.0, patience=1)

    def on_train_start(self, trainer, pl_module):
        """Stop at once if the checkpoint is of a training that had stopped."""
        trainer.should_stop = self.stopped_epoch > 0
