"""What the recipe's trainings share: configuration, order of the data, trainer, continuation."""

from collections.abc import Sequence
from pathlib import Path

from asteroid_sinudae.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    StopAfter,
    check_resumable,
)
from asteroid_sinudae.data import Manifest, SetShuffleSampler, TrainSegments
from asteroid_sinudae.files import load_safely, save_atomically
from asteroid_sinudae.provenance import provenance
from asteroid_sinudae.system import resolve_precision  # before asteroid, which it makes importable

# isort: split

import pytorch_lightning as pl
import torch
from asteroid.engine.system import System
from pytorch_lightning.callbacks import Callback, Timer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader

from . import limits
from .conf import write_conf


def check_training(conf: dict) -> None:
    """Raise a ValueError if a length makes no sense, or the batches do not go with the devices."""
    training = conf["training"]
    epochs, max_steps = training["epochs"], training["max_steps"]
    if epochs < 1 or max_steps < -1:
        raise ValueError(
            f"epochs must be at least 1 and max_steps -1 or more, got {epochs=}, {max_steps=}"
        )
    keep_on = conf["data"]["keep_on"]
    if keep_on not in ("", "cpu", "cuda"):
        raise ValueError(f"keep_on must be '', cpu or cuda, got {keep_on!r}")
    if keep_on == "cuda" and training["num_workers"] > 0:
        raise ValueError("keep_on=cuda needs num_workers=0, as only one process has that memory")
    devices, num_nodes, batch_size = (
        training[key] for key in ("devices", "num_nodes", "batch_size")
    )
    if devices < 1 or num_nodes < 1:
        raise ValueError(f"devices and num_nodes must be at least 1, got {devices=}, {num_nodes=}")
    if batch_size % n_processes(conf):
        raise ValueError(
            f"batch_size={batch_size} must divide by the {n_processes(conf)} processes of devices "
            "and num_nodes"
        )
    limits.check_limits(conf)


def n_processes(conf: dict) -> int:
    """Processes that train together, one a device."""
    return conf["training"]["devices"] * conf["training"]["num_nodes"]


def make_dataset(manifest: Manifest, conf: dict) -> TrainSegments:
    """Segments of the training tracks."""
    data = conf["data"]
    tracks, hop = manifest.subset("train"), data["segment_hop"]
    limits.check_segments(tracks, hop)
    return TrainSegments(tracks, data["segment"], hop, keep_on=data["keep_on"] or None)


def make_loader(dataset: TrainSegments, conf: dict, matched: bool = False) -> DataLoader:
    """Batches of vocals and accompaniment, of one place if `matched`, in the seed's order."""
    sampler = SetShuffleSampler(
        dataset,
        batch_size=conf["training"]["batch_size"],
        tracks_per_set=conf["data"]["tracks_per_set"],
        seed=conf["training"]["seed"],
        matched=matched,
    )
    num_workers = conf["training"]["num_workers"]
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available() and conf["data"]["keep_on"] != "cuda",
    )


def decay_steps(conf: dict, loader: DataLoader) -> int | None:
    """Updates in which the learning rate falls to zero, those of a whole training, if it does."""
    if not conf["optim"]["lr_decay"]:
        return None
    by_epochs = conf["training"]["epochs"] * len(loader)
    max_steps = conf["training"]["max_steps"]
    return by_epochs if max_steps < 0 else min(max_steps, by_epochs)


def linear_decay(optimizer: torch.optim.Optimizer, n_steps: int | None) -> dict | None:
    """Scheduler that takes the learning rate to zero in `n_steps` updates, if any."""
    if n_steps is None:
        return None
    scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=n_steps)
    return {"scheduler": scheduler, "interval": "step"}


def last_checkpoint(exp_dir: Path) -> Path:
    """The checkpoint that a training saves and continues from."""
    return exp_dir / "checkpoints" / "last.ckpt"


def make_trainer(
    conf: dict, exp_dir: Path, callbacks: Sequence[Callback], clip_norm: float | None
) -> pl.Trainer:
    """Trainer that logs, and saves `checkpoints/last.ckpt`."""
    training = conf["training"]
    last = LastCheckpoint(last_checkpoint(exp_dir), training["checkpoint_minutes"])
    if training["max_steps"] >= 0:
        callbacks = [*callbacks, StopAfter(training["max_steps"])]
    return pl.Trainer(
        max_epochs=training["epochs"],
        precision=resolve_precision(training["precision"]),
        callbacks=[*callbacks, last],
        logger=[
            CSVLogger(exp_dir / "logs", name="csv"),
            TensorBoardLogger(exp_dir / "logs", name="tensorboard", version=""),
        ],
        log_every_n_steps=10,
        plugins=[AtomicCheckpointIO()],
        devices=training["devices"],
        num_nodes=training["num_nodes"],
        strategy="ddp" if n_processes(conf) > 1 else "auto",
        deterministic="warn",
        gradient_clip_val=clip_norm,
        limit_val_batches=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def train(
    system: System,
    conf: dict,
    exp_dir: Path,
    callbacks: Sequence[Callback] = (),
    clip_norm: float | None = None,
    infos: dict | None = None,
) -> None:
    """Train a system, or continue where its training was cut off, and write its model.

    Writes into `exp_dir`: conf.yml, checkpoints/last.ckpt, logs/ and, at the end, best_model.pth,
    the model after the last update. With `max_steps: 0` nothing is trained, and best_model.pth is
    the model at its start.

    Args:
        system (System): Whose `config` is what a continued training must share.
        conf (dict): Two-level configuration with a group `training`.
        exp_dir (Path): Folder of the experiment.
        callbacks (sequence of Callback): Further ones of the trainer.
        clip_norm (float, optional): Norm that gradients are scaled down to.
        infos (dict, optional): What the file of the model tells besides how it was trained.

    Raises:
        ValueError: if there is a checkpoint of another training, or of one where none is wanted.
    """
    is_untrained = conf["training"]["max_steps"] == 0
    checkpoint = last_checkpoint(exp_dir) if last_checkpoint(exp_dir).exists() else None
    if checkpoint is not None and is_untrained:
        raise ValueError(f"{checkpoint} is of a training: choose another folder for max_steps=0")
    if checkpoint is not None:
        check_resumable(load_safely(checkpoint), system.config, checkpoint)
    timer = Timer()
    trainer = make_trainer(conf, exp_dir, [timer, *callbacks], clip_norm)
    if trainer.is_global_zero:
        write_conf(conf, exp_dir / "conf.yml")
    if not is_untrained:
        trainer.fit(system, ckpt_path=checkpoint)
    if trainer.is_global_zero:
        package = system.model.serialize()
        package["infos"].update(infos or {})
        package["infos"]["training"] = {
            "conf": system.config,
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "seconds": timer.time_elapsed("train"),
            **provenance(system.device),
        }
        save_atomically(package, exp_dir / "best_model.pth")
        print(f"{exp_dir / 'best_model.pth'}: the model after {trainer.global_step} updates")
