"""A user's music, and the place of its preparation."""

import pytest
from wav_trees import NAMES, write_track


@pytest.fixture
def source(tmp_path):
    """A WAV tree of two train tracks and a test track."""
    for seed, name in enumerate(NAMES):
        write_track(tmp_path / "musdb18" / name, seed)
    return tmp_path / "musdb18"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def track(tmp_path):
    """The folder of the only track of a tree."""
    folder = tmp_path / "musdb18/train/A - 1"
    write_track(folder)
    return folder
