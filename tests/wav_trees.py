"""Trees of users' WAV files, and their preparation, for tests of both."""

import os
from pathlib import Path

import numpy as np
from songs_on_disk import write

from asteroid_sinudae.data.musdb18 import SourceTrack, read_sources
from asteroid_sinudae.data.prepare import prepare_musdb18

NAMES = ("train/A - 1", "train/B - 2", "test/C - 3")


def noise(seed, n_samples=5000, channels=2):
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (n_samples, channels))


def write_track(folder, seed=0, n_samples=5000):
    folder.mkdir(parents=True)
    for number, stem in enumerate(("vocals", "drums", "bass", "other")):
        write(folder / f"{stem}.wav", noise(10 * seed + number, n_samples))


def prepare(data_dir, source, **options):
    return prepare_musdb18(data_dir, source, **{"n_workers": 1, **options})


def contents(folder):
    """Every file with its bytes; links are followed."""
    return {
        os.path.join(where, name): Path(where, name).read_bytes()
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(where, name).is_file()
    }


def audio(folder):
    return {path: read for path, read in contents(folder).items() if path.endswith(".wav")}


def read_folder(folder):
    return read_sources(SourceTrack("train/A - 1", folder))
