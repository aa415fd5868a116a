"""Small trainings, for tests of what goes on in them and of what continues them."""

import numpy as np
import pytorch_lightning as pl
import torch
from prepared import write_track
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.sampler import SetShuffleSampler
from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.training.checkpoints import AtomicCheckpointIO
from asteroid_sinudae.training.dae_system import DAESystem

SMALL = dict(n_filters=8, kernel_size=64, stride=16, sample_rate=44100)
STEPS_PER_EPOCH = 3  # 5 tracks of 2 segments each, 4 pairs a batch


def write_tracks(root):
    """Five prepared tracks of noise, of two segments each."""
    rng = np.random.default_rng(0)
    return [write_track(root, name, *0.1 * rng.standard_normal((2, 750))) for name in "abcde"]


def make_system(tracks, model=None, matched=False, optimizer=None, **options):
    torch.manual_seed(0)
    model = model or SinuDAE(**SMALL)
    dataset = TrainSegments(tracks, segment=500, hop=250)
    sampler = SetShuffleSampler(dataset, batch_size=4, seed=1, matched=matched)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    loader = DataLoader(dataset, batch_sampler=sampler)
    return DAESystem(model, optimizer, loader, **{"seed": 1, **options})


def make_trainer(folder, callbacks=(), **options):
    return pl.Trainer(
        callbacks=list(callbacks),
        logger=CSVLogger(folder),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **{"accelerator": "cpu", "max_epochs": 3, **options},
    )


def fit(system, folder, callbacks=(), ckpt_path=None, **options):
    trainer = make_trainer(folder, callbacks, **options)
    trainer.fit(system, ckpt_path=ckpt_path)
    return trainer


def every_step(folder):
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)


def state_of(system):
    """Parameters, buffers and moments, by name."""
    moments = {
        f"{key}.{index}": value
        for index, state in system.optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    return {**system.state_dict(), **moments}


def assert_same_bits(mine, theirs):
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
