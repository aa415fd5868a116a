"""Songs through models and encoded files, for tests of both."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from songs_on_disk import RATE

from asteroid_sinudae.songs import apply as songs
from asteroid_sinudae.songs.apply import decoded, separated
from asteroid_sinudae.songs.audio import open_audio
from asteroid_sinudae.songs.encoded_file import open_encoded, write_encoded


def write(name, n_samples, channels=2, rate=RATE, seed=0):
    samples = 0.1 * np.random.default_rng(seed).standard_normal((n_samples, channels))
    soundfile.write(name, samples, rate, subtype="FLOAT")
    return torch.from_numpy(samples.T.astype(np.float32))


def collect(pieces):
    return torch.cat(list(pieces), dim=-1)


def separate(model, path, *args, **options):
    with open_audio(path) as song:
        return collect(separated(model, song, *args, **options))


# Encoded signals


def encode(model, path, chunk=10.0, gains=None):
    with open_audio(path) as song:
        pieces, signal = songs.encoded(model, song, chunk)
        write_encoded(Path("a.npz"), model, pieces, signal, gains)


def decode(model, path="a.npz", chunk=10.0):
    with open_encoded(path) as file:
        return collect(decoded(model, file, chunk))
