"""Train the denoising auto-encoder, or continue a training that was cut off.

Writes into --exp_dir: conf.yml, checkpoints/last.ckpt, logs/ and, at the end, best_model.pth, the
model after the last update.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader
from utils import scripts

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    StopAfter,
    StopAtPlateau,
    check_resumable,
)
from asteroid_sinudae.data import Manifest, SetShuffleSampler, TrainSegments
from asteroid_sinudae.files import load_safely, save_atomically
from asteroid_sinudae.provenance import provenance
from asteroid_sinudae.system import DAESystem, resolve_precision


def last_checkpoint(exp_dir: Path) -> Path:
    """The checkpoint that a training saves and continues from."""
    return exp_dir / "checkpoints" / "last.ckpt"


def make_loader(dataset: TrainSegments, conf: dict) -> DataLoader:
    """Batches of vocals and accompaniment in the order of the run's seed."""
    sampler = SetShuffleSampler(
        dataset,
        batch_size=conf["training"]["batch_size"],
        tracks_per_set=conf["data"]["tracks_per_set"],
        seed=conf["training"]["seed"],
    )
    num_workers = conf["training"]["num_workers"]
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def n_updates(conf: dict, loader: DataLoader) -> int:
    """Updates of a whole training."""
    by_epochs = conf["training"]["epochs"] * len(loader)
    max_steps = conf["training"]["max_steps"]
    return by_epochs if max_steps < 0 else min(max_steps, by_epochs)


def n_processes(conf: dict) -> int:
    """Processes that train together, one a device."""
    return conf["training"]["devices"] * conf["training"]["num_nodes"]


def linear_decay(optimizer: torch.optim.Optimizer, n_steps: int) -> dict:
    """Scheduler that takes the learning rate to zero in `n_steps` updates."""
    scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=n_steps)
    return {"scheduler": scheduler, "interval": "step"}


def make_trainer(conf: dict, exp_dir: Path, timer: Timer) -> pl.Trainer:
    """Trainer that logs, and saves `checkpoints/last.ckpt`."""
    training = conf["training"]
    callbacks = [timer, LastCheckpoint(last_checkpoint(exp_dir), training["checkpoint_minutes"])]
    if training["max_steps"] >= 0:
        callbacks.append(StopAfter(training["max_steps"]))
    if training["early_stop"]:
        callbacks.append(StopAtPlateau())
    return pl.Trainer(
        max_epochs=training["epochs"],
        precision=resolve_precision(training["precision"]),
        callbacks=callbacks,
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
        limit_val_batches=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of prepared data")
    args, conf = scripts.parse_args_with_conf(parser)

    manifest = Manifest.load(args.data_dir)
    dataset = TrainSegments(
        manifest.subset("train"), conf["data"]["segment"], conf["data"]["segment_hop"]
    )
    check_conf(conf, manifest)
    loader = make_loader(dataset, conf)
    decay_steps = n_updates(conf, loader) if conf["optim"]["lr_decay"] else None
    # What a resumed run must share with its checkpoint.
    run = {
        "train_tracks": len(manifest.subset("train")),
        "train_segments": len(dataset),
        "decay_steps": decay_steps,
    }
    config = {**conf, "run": run}

    pl.seed_everything(conf["training"]["seed"], workers=True, verbose=False)
    model = SinuDAE(**conf["filterbank"])
    optimizer = torch.optim.Adam(model.parameters(), lr=conf["optim"]["lr"], fused=True)
    system = DAESystem(
        model,
        optimizer,
        loader,
        scheduler=linear_decay(optimizer, decay_steps) if decay_steps else None,
        seed=conf["training"]["seed"],
        config=config,
        **conf["objective"],
    )

    last = last_checkpoint(args.exp_dir)
    checkpoint = last if last.exists() else None
    if checkpoint is not None:
        check_resumable(load_safely(checkpoint), config, checkpoint)
    timer = Timer()
    trainer = make_trainer(conf, args.exp_dir, timer)
    if trainer.is_global_zero:
        scripts.write_conf(conf, args.exp_dir / "conf.yml")
    trainer.fit(system, ckpt_path=checkpoint)
    if trainer.is_global_zero:
        package = model.serialize()
        package["infos"]["training"] = {
            "conf": config,
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "seconds": timer.time_elapsed("train"),
            **provenance(system.device),
        }
        save_atomically(package, args.exp_dir / "best_model.pth")
        print(f"{args.exp_dir / 'best_model.pth'}: the model after {trainer.global_step} updates")


def check_conf(conf: dict, manifest: Manifest) -> None:
    """Raise a ValueError if segments, kernels and data do not go together, or nothing is to do."""
    if conf["data"]["segment"] < conf["filterbank"]["kernel_size"]:
        raise ValueError(
            f"segment={conf['data']['segment']} is shorter than a kernel, expected at least "
            f"kernel_size={conf['filterbank']['kernel_size']}"
        )
    if conf["filterbank"]["sample_rate"] != manifest.sample_rate:
        raise ValueError(
            f"sample_rate={conf['filterbank']['sample_rate']} differs from that of the prepared "
            f"data, {manifest.sample_rate} Hz"
        )
    epochs, max_steps = conf["training"]["epochs"], conf["training"]["max_steps"]
    if epochs < 1 or max_steps < -1 or max_steps == 0:
        raise ValueError(
            f"epochs must be at least 1 and max_steps -1 or at least 1, got {epochs=}, {max_steps=}"
        )
    batch_size, processes = conf["training"]["batch_size"], n_processes(conf)
    if conf["training"]["devices"] < 1 or conf["training"]["num_nodes"] < 1:
        raise ValueError(
            f"devices and num_nodes must be at least 1, got devices={conf['training']['devices']}, "
            f"num_nodes={conf['training']['num_nodes']}"
        )
    if batch_size % processes:
        raise ValueError(
            f"batch_size={batch_size} must divide by the {processes} processes of devices and "
            "num_nodes"
        )


if __name__ == "__main__":
    scripts.run(main)
