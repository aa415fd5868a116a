"""Representations, tracks and their scores."""

import shutil

import pytest
from bsseval_tracks import make_representations, write_track
from small_separators import write_separation_data

from asteroid_sinudae.data.tracks import SAMPLE_RATE
from asteroid_sinudae.evaluation.bsseval_runs import evaluate_tracks


@pytest.fixture(scope="module")
def representations():
    return make_representations()


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """3.3 s whose first second has no vocals, and 2 s; the name has dots and spaces."""
    root = tmp_path_factory.mktemp("prepared")
    first_second = ("vocals", slice(0, SAMPLE_RATE))
    return [write_track(root, "A.b - c", 3.3, first_second), write_track(root, "D - e", 2.0)]


@pytest.fixture(scope="module")
def computed(tmp_path_factory, representations, tracks):
    """A whole run and its folder."""
    folder = tmp_path_factory.mktemp("museval")
    return folder, evaluate_tracks(representations, tracks, folder, n_workers=1)


@pytest.fixture
def output_dir(tmp_path, computed):
    """A copy of that folder."""
    return shutil.copytree(computed[0], tmp_path / "museval")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Tracks of tones, on which separators train."""
    return write_separation_data(tmp_path_factory.mktemp("prepared"))
