"""Prepared tracks and their folders, for tests of what reads them."""

import numpy as np
import soundfile

from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest, Track

SOURCE = {"kind": "wav", "path": "music", "tracks": []}


def write_track(root, name, vocals, accompaniment, subset="train"):
    """Write two signals as a prepared track."""
    track = Track(name, subset, len(vocals), 0, root / subset / name)
    track.folder.mkdir(parents=True)
    soundfile.write(track.vocals, vocals, SAMPLE_RATE, subtype="PCM_16")
    soundfile.write(track.accompaniment, accompaniment, SAMPLE_RATE, subtype="PCM_16")
    return track


def write_data(root, tracks):
    """Write the manifest of prepared tracks, which makes a data folder of theirs."""
    Manifest(SAMPLE_RATE, SOURCE, tuple(tracks), (), {}, "today").save(root)
    return root


def write_tones(root):
    """A data folder of two train tracks and a test track: tones as vocals, noise as the other."""
    rng = np.random.default_rng(0)
    tracks = []
    for number, (subset, name) in enumerate([("train", "A"), ("train", "B"), ("test", "C")]):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 100 * number) * np.arange(30_000) / SAMPLE_RATE)
        tracks.append(write_track(root, name, tone, 0.05 * rng.standard_normal(30_000), subset))
    return write_data(root, tracks)
