"""Working folders of the command line."""

import shutil

import pytest
import soundfile
import torch
from command_line import SIZES, save, save_encoder
from songs_on_disk import RATE, noise

from asteroid_sinudae import SinuDAE, SinuDAEConvTasNet
from asteroid_sinudae.models import registry

# isort: split

from asteroid.models import ConvTasNet


@pytest.fixture
def weights(folder):
    """The working folder, with the authors' two state dicts in it."""
    save_encoder()
    decoder = {
        "freq_mat": torch.linspace(0.5, 0.1, 12).view(12, 1, 1),
        "phi": torch.randn(12, 1, 1),
        "norm_factor": torch.randn(12, 1, 64),
    }
    torch.save(decoder, "decoder.pytorch")
    return folder


@pytest.fixture
def songs_folder(folder):
    """The working folder, with model files, a song of 2 s and its vocals in it."""
    dae = SinuDAE(n_filters=12, kernel_size=128, stride=32, sample_rate=RATE, smooth_dilation=3)
    save(dae, "dae.pth", training={"steps": 7})
    model = SinuDAEConvTasNet(2, pretrained=dae, freeze=True, **SIZES)
    save(model, "named.pth", sources=["vocals", "accompaniment"])
    save(ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES), "asteroid.pth")
    for name in "song", "vocals":
        soundfile.write(f"{name}.wav", noise(2 * RATE), RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def separator(songs_folder, tmp_path_factory, monkeypatch):
    """The working folder, where a package with both separators and `pair` is installed."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copy("named.pth", folder / "separator_vocals.pth")
    other = SinuDAEConvTasNet(2, pretrained="dae.pth", freeze=True, **SIZES)
    save(other, folder / "separator_vocals_stft.pth", sources=["vocals", "accompaniment"])
    shutil.copy("dae.pth", folder / "pair.pth")
    monkeypatch.setattr(registry, "FOLDER", folder)
    return songs_folder
