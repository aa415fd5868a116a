"""A model of songs, and an empty working folder for every test of them."""

import pytest
import torch
from songs_on_disk import RATE

from asteroid_sinudae import SinuDAE


@pytest.fixture(scope="module", params=[False, True], ids=["paper_edges", "covered_edges"])
def dae(request):
    torch.manual_seed(0)
    sizes = dict(n_filters=12, kernel_size=128, stride=32, sample_rate=RATE)
    return SinuDAE(**sizes, smooth_dilation=3, cover_edges=request.param)


@pytest.fixture(autouse=True)
def working_folder(folder):
    return folder
