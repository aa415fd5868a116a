"""Small separators on a pair and on the STFT, and tracks that they train on."""

import numpy as np
import torch
from prepared import write_data, write_track

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import SAMPLE_RATE
from asteroid_sinudae.runs.front_ends import make_separator

PAIR = dict(n_filters=8, kernel_size=64, stride=16)
SIZES = dict(n_fft=64, stride=24, window="hamming")
MASKER = dict(
    masker="conv_tasnet",
    n_blocks=2,
    n_repeats=1,
    bn_chan=6,
    hid_chan=7,
    skip_chan=5,
    conv_kernel_size=3,
    norm_type="gLN",
    mask_act="sigmoid",
    n_bands=3,
    tie_phases=False,
    hid_size=4,
    rnn_type="LSTM",
)
CONV_TASNET = {
    key: value
    for key, value in MASKER.items()
    if key not in ("masker", "tie_phases", "n_bands", "hid_size", "rnn_type")
}
STFT_NAME = "stft_64_24"
NAMES = ("pair", STFT_NAME)


def make_pair():
    torch.manual_seed(0)
    return SinuDAE(**PAIR)


def make_both(pair=None, **options):
    pair = pair or make_pair()
    return {name: make_separator(name, pair, {**MASKER, **options}) for name in NAMES}


def write_noisy_tone(root, subset, name, n_samples, silent=None):
    """A tone and a little noise as vocals, noise as the other; `silent` is a source and a slice."""
    rng = np.random.default_rng(sum(map(ord, name)))
    tone = 0.2 * np.sin(rng.uniform(0.3, 0.6) * np.arange(n_samples))
    vocals, accompaniment = (level * rng.standard_normal(n_samples) for level in (0.01, 0.1))
    signals = {"vocals": vocals + tone, "accompaniment": accompaniment}
    if silent:
        signals[silent[0]][silent[1]] = 0
    return write_track(root, name, **signals, subset=subset)


def write_separation_data(root):
    """A prepared folder: five tracks to train on, two to test."""
    tracks = [write_noisy_tone(root, "train", name, 750) for name in "abcde"]
    tracks.append(write_noisy_tone(root, "test", "f", 2 * SAMPLE_RATE))
    tracks.append(write_noisy_tone(root, "test", "g", 2500, ("accompaniment", slice(1000, 2000))))
    return write_data(root, tracks)
