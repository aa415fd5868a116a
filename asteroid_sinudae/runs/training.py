"""Common parts of the recipe's trainings: configuration, order of data, trainer, continuation."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, cast

import pytorch_lightning as pl
import torch
from asteroid.engine.system import System
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback, Timer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader
from typing_extensions import TypedDict

from ..data.sampler import DrawSampler, SetShuffleSampler
from ..data.segments import RemixedSegments, TrainSegments
from ..data.tracks import SOURCES, FileName, Manifest, Track
from ..training.base_system import BaseSystem
from ..training.checkpoint_state import check_finite_weights, check_state, schedulers
from ..training.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    StopAfter,
    check_resumable,
    read_checkpoint,
)
from ..training.precision import PRECISIONS, resolve_precision, time_precisions
from ..training.progress import ProgressLines
from ..utils.checks import check, check_choice
from ..utils.files import save_atomically
from ..utils.processes import die_with_parent
from ..utils.progress import is_terminal
from ..utils.provenance import provenance
from ..utils.schema import validated
from . import limits
from .conf import write_conf
from .folder import Run
from .processes import run_lock

# Environment variable by which the first process of a node tells the others the precision.
PRECISION = "SINUDAE_PRECISION"


class TimedPrecision(TypedDict):
    """A :class:`.Choice` of the precision, as it is kept."""

    precision: Literal["32", "bf16"]
    seconds: dict[str, float]


@contextlib.contextmanager
def only_training(run: Run) -> Iterator[None]:
    """Hold a run's folder for a training, see :func:`.run_lock`, in the first of its processes."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # set at Lightning's import
    if rank == 0 and LightningEnvironment().node_rank() == 0:
        with run_lock(run.folder):
            yield
    else:
        yield


def check_training(conf: dict) -> None:
    """Raise a ValueError if a length is out of its range or the batches do not fit the devices."""
    training = conf["training"]
    epochs, max_steps = training["epochs"], training["max_steps"]
    if epochs < 1 or max_steps < -1:
        raise ValueError(
            f"epochs must be at least 1 and max_steps -1 or more, got {epochs=}, {max_steps=}"
        )
    check_choice("precision", training["precision"], PRECISIONS)
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
    if keep_on == "cuda" and devices > 1:
        raise ValueError(
            f"keep_on=cuda needs devices=1, got {devices}: each process would keep all audio on "
            "the first GPU"
        )
    if batch_size % n_processes(conf):
        raise ValueError(
            f"batch_size={batch_size} must divide by the {n_processes(conf)} processes of devices "
            "and num_nodes"
        )
    limits.check_limits(conf)


def n_processes(conf: dict) -> int:
    """Return the number of processes that train together, one a device."""
    return conf["training"]["devices"] * conf["training"]["num_nodes"]


def make_dataset(manifest: Manifest, conf: dict) -> TrainSegments:
    """Make the segments of the training tracks."""
    data = conf["data"]
    tracks, hop = manifest.subset("train"), data["segment_hop"]
    limits.check_segments(tracks, hop)
    return TrainSegments(tracks, data["segment"], hop, keep_on=data["keep_on"] or None)


def data_digest(tracks: Iterable[Track], names: Iterable[FileName] = SOURCES) -> str:
    """Return the SHA-256 of the checksums of tracks' files of these names, in their order."""
    files = [track.record.files[name].sha256 for track in tracks for name in names]
    return hashlib.sha256("".join(files).encode()).hexdigest()


def make_loader(
    dataset: TrainSegments | RemixedSegments, conf: dict, matched: bool = False
) -> DataLoader:
    """Make the loader of vocals and accompaniment.

    Args:
        dataset (TrainSegments or RemixedSegments): Where they are from.
        conf (dict): Configuration with the groups `data` and `training`.
        matched (bool): Whether both of :class:`.TrainSegments` are from one place.
    """
    batch_size = conf["training"]["batch_size"]
    sampler: SetShuffleSampler | DrawSampler
    if isinstance(dataset, RemixedSegments):
        sampler = DrawSampler(dataset, batch_size)
    else:
        sampler = SetShuffleSampler(
            dataset,
            batch_size=batch_size,
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
        worker_init_fn=partial(_begin_worker, os.getpid()),
        # A fork shares the audio of keep_on; from Python 3.14 on, it is no longer the default.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available() and conf["data"]["keep_on"] != "cuda",
    )


def _begin_worker(parent: int, worker: int) -> None:
    die_with_parent(parent)


def decay_steps(conf: dict, loader: DataLoader) -> int | None:
    """Return the updates in which the learning rate falls to zero; None if it is constant."""
    return n_updates(conf, loader) if conf["optim"]["lr_decay"] else None


def n_updates(conf: dict, loader: DataLoader) -> int:
    """Return the updates of a whole training that does not stop early."""
    by_epochs = conf["training"]["epochs"] * len(loader)
    max_steps = conf["training"]["max_steps"]
    return by_epochs if max_steps < 0 else min(max_steps, by_epochs)


def linear_decay(optimizer: torch.optim.Optimizer, n_steps: int | None) -> dict | None:
    """Make a scheduler that takes the learning rate to zero in `n_steps` updates, if not None."""
    if n_steps is None:
        return None
    scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=n_steps)
    return {"scheduler": scheduler, "interval": "step"}


def take_arguments(wanted: dict, found: dict, given: set[str], source: str | Path) -> dict:
    """Take the arguments of a model whose weights a training starts from.

    Args:
        wanted (dict): Arguments in the configuration.
        found (dict): Arguments of the model, and perhaps others.
        given (set of str): Keys that the model has to agree with.
        source (str or Path): The model, for the message.

    Raises:
        ValueError: naming the first key that it does not agree with.
    """
    for key in given.intersection(wanted):
        if wanted[key] != found[key]:
            raise ValueError(
                f"{key} must be that of init_from={source}, {found[key]!r}, or left out, got "
                f"{wanted[key]!r}"
            )
    return {key: found[key] for key in wanted}


def make_trainer(
    conf: dict,
    run: Run,
    callbacks: Sequence[Callback],
    clip_norm: float | None,
    precision: str,
) -> pl.Trainer:
    """Make a trainer in a precision, `32` or `bf16`, that logs and saves into a run's folder."""
    training = conf["training"]
    last = LastCheckpoint(run.checkpoint_file, training["checkpoint_minutes"])
    if training["max_steps"] >= 0:
        callbacks = [*callbacks, StopAfter(training["max_steps"])]
    has_bar = is_terminal(sys.stdout)  # where Lightning draws it
    if not has_bar:
        callbacks = [*callbacks, ProgressLines(training["max_steps"])]
    return pl.Trainer(
        max_epochs=training["epochs"],
        precision=resolve_precision(precision),
        callbacks=[*callbacks, last],
        logger=[
            CSVLogger(run.logs_folder, name="csv"),
            TensorBoardLogger(run.logs_folder, name="tensorboard", version=""),
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
        enable_progress_bar=has_bar,
        use_distributed_sampler=False,
    )


def train(
    system: BaseSystem,
    conf: dict,
    run: Run,
    callbacks: Sequence[Callback] = (),
    clip_norm: float | None = None,
    infos: dict | None = None,
) -> None:
    """Train a system, or continue where its training was cut off, and write its model.

    Writes into the run's folder its configuration, checkpoint, logs and, at the end, the model
    after the last update. With `max_steps: 0` nothing is trained, and that is the model at its
    start.

    A training that is given more epochs or updates than it had goes on; where its learning rate
    falls, it falls over the new length, see :func:`.stretch_decay`, and a line says so.

    Args:
        system (BaseSystem): The system, whose `config` a continued training must share.
        conf (dict): Two-level configuration with a group `training`.
        run (Run): Where it is written.
        callbacks (sequence of Callback): Further callbacks of the trainer.
        clip_norm (float, optional): Norm that gradients are scaled down to.
        infos (dict, optional): What the file of the model tells besides how it was trained.

    Raises:
        ValueError: if there is a checkpoint that is damaged, of another or of a longer training, or
            of one where none is wanted; if a loss or a weight is not finite.
        OSError: if a process that reads segments fails or is killed, or a file cannot be written.
    """
    is_untrained = conf["training"]["max_steps"] == 0
    path = run.checkpoint_file if run.checkpoint_file.exists() else None
    if path is not None and is_untrained:
        raise ValueError(f"{path} is of a training: choose another folder for max_steps=0")
    checkpoint = {} if path is None else read_checkpoint(path)
    if path is not None:
        check_resumable(checkpoint, system.config, path)
    precision = "32" if is_untrained else _precision(system, conf, checkpoint, path)
    timer = Timer()
    trainer = make_trainer(conf, run, [timer, *callbacks], clip_norm, precision)
    if path is not None:
        check_state(checkpoint, system, trainer, path)
        _check_length(checkpoint["global_step"], conf, system, path)
    if trainer.is_global_zero:
        if path is not None:
            _tell_stretching(checkpoint, system)
        write_conf(conf, run.conf_file)
    del checkpoint  # which is as large as model and optimiser
    if not is_untrained:
        _fit(trainer, system, path)
    with system.final_weights():  # what is serialized shares their memory
        check_finite_weights(system.model, f"after {trainer.global_step} updates")
        if trainer.is_global_zero:
            package = system.model.serialize()
            package["infos"].update(infos or {})
            package["infos"]["training"] = {
                "conf": system.config,
                "steps": trainer.global_step,
                "epochs": trainer.current_epoch,
                "seconds": timer.time_elapsed("train"),
                # Lightning has moved the model back to the CPU by now.
                **provenance(trainer.strategy.root_device),
            }
            save_atomically(package, run.model_file)
            print(f"{run.model_file}: the model after {trainer.global_step} updates")


def _precision(system: System, conf: dict, checkpoint: dict, path: Path | None) -> str:
    """Return the precision to train in; one chosen by time is noted in the system's `config`.

    It is that of the checkpoint, or of the process that started this one, where there are such.
    """
    name = conf["training"]["precision"]
    if name != "auto":
        return name
    known = checkpoint.get("training_config", {}).get("run", {}).get("precision")
    if known is not None:
        known = validated(TimedPrecision, known, f"{path}: training_config.run.precision")
    elif n_processes(conf) == 1:
        known = _time_precisions(system, conf)
    else:
        # They have to agree, and one can tell those that it starts.
        check(conf["training"]["num_nodes"] == 1, "precision", name, "32 or bf16 on several nodes")
        if "LOCAL_RANK" not in os.environ:
            os.environ[PRECISION] = json.dumps(_time_precisions(system, conf))
        told = os.environ.get(PRECISION)
        check(told is not None, "precision", name, "32 or bf16 where another program starts ranks")
        assert told is not None
        known = json.loads(told)
    system.config["run"]["precision"] = known
    return known["precision"]


def _time_precisions(system: System, conf: dict) -> TimedPrecision:
    """Time a process's share of the first batch, and print what was found."""
    loader = system.train_loader
    pairs = next(iter(loader.batch_sampler))
    share = pairs[: max(1, len(pairs) // n_processes(conf))]
    batch = loader.collate_fn([loader.dataset[pair] for pair in share])
    choice = time_precisions(system, batch, _device())
    print(choice)
    return cast(TimedPrecision, choice._asdict())


def _device() -> torch.device:
    """Return the device that Lightning trains on by default."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _check_length(trained: int, conf: dict, system: System, path: Path) -> None:
    """Raise a ValueError if a checkpoint is of a longer training than is asked for."""
    asked = n_updates(conf, system.train_loader)
    if asked < trained:
        raise ValueError(
            f"{path} has {trained} updates, more than the {asked} that epochs and max_steps ask "
            "for: ask for as many or more, or choose another folder"
        )


def _tell_stretching(checkpoint: dict, system: System) -> None:
    """Print that a decay is stretched, if it is."""
    for scheduler, state in zip(schedulers(system), checkpoint["lr_schedulers"], strict=True):
        before, now, step = state["total_iters"], scheduler.total_iters, checkpoint["global_step"]
        if before != now:
            left = max(0.0, 1 - step / now)
            print(
                f"The decay of the learning rate is stretched from {before} to {now} updates: "
                f"after {step} it goes on at {left:.3g} times its start"
            )


def _fit(trainer: pl.Trainer, system: System, path: Path | None) -> None:
    """Train; raise a KeyboardInterrupt also where Lightning turns it into an exit."""
    try:
        trainer.fit(system, ckpt_path=path)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    except Exception as error:  # of any type, with the worker's traceback in its message
        # Not str(error): some exceptions of a worker fail there, made anew of their message alone.
        message = " ".join(map(str, error.args))
        if "DataLoader worker" not in message:
            raise
        raise OSError(_reason_of_worker(message, system.train_loader.num_workers)) from error


def _reason_of_worker(message: str, num_workers: int) -> str:
    """Say in one line why a process that reads segments ended."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines[0].startswith("Caught "):  # an exception of its own
        return f"cannot read the training data: {lines[-1]}"
    return (
        f"one of the num_workers={num_workers} processes that read segments was killed, as happens "
        f"where memory runs out ({lines[0].rstrip('. ')}): run it again to continue, with a lower "
        "num_workers"
    )
