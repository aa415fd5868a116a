"""What a page shows."""

import numpy as np
import pytest
import torch
from prepared import write_data, write_track
from report_pieces import LENGTH, SIZES, make_model


@pytest.fixture(scope="module")
def model():
    """Sorted, with carriers that are more than a bin of the DFT apart."""
    return make_model(exponent=1, frequency_init="linear")


@pytest.fixture(scope="module")
def unsorted(model):
    """`model` with its channels in another order."""
    shuffled = make_model(exponent=1, frequency_init="linear")
    order = np.random.default_rng(0).permutation(SIZES["n_filters"])
    for side in (shuffled.encoder.filterbank, shuffled.decoder.filterbank):
        for name, dims in side.channel_dims.items():
            for dim in dims:
                parameter = side.get_parameter(name)
                parameter.data = parameter.data.index_select(dim, torch.from_numpy(order))
    return shuffled


@pytest.fixture(scope="module")
def wav():
    return 0.1 * torch.randn(1, 1, LENGTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Two tracks of four excerpts: of "a@b" the third's voice is silent, of "c" all but the first,
    whose accompaniment takes the voice away."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    result = []
    for name in ("a@b", "c"):
        vocals, accompaniment = 0.1 * rng.standard_normal((2, 4 * LENGTH))
        if name == "a@b":
            vocals[2 * LENGTH : 3 * LENGTH] = 0
        else:
            vocals[LENGTH:] = 0
            accompaniment[:LENGTH] = -vocals[:LENGTH]
        result.append(write_track(root, name, vocals, accompaniment, "test"))
    write_data(root, result)
    return result
