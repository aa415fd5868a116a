"""Songs that are separated in bfloat16."""

import pytest
import soundfile
import torch
from command_line import SIZES, save
from song_models import write
from songs_on_disk import RATE

import asteroid_sinudae as sinudae
from asteroid_sinudae import cli
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.models.mean_separator import TransposedSeparator
from asteroid_sinudae.utils import autocast

SOURCES = ["vocals", "accompaniment"]


@pytest.fixture
def song(dae):
    """A separator's file, `separator.pth`, and a song."""
    torch.manual_seed(0)
    save(sinudae.SinuDAEConvTasNet(2, pretrained=dae, **SIZES), "separator.pth", sources=SOURCES)
    return write("song.wav", 2 * RATE + 1)


@pytest.mark.parametrize("semitones", ["0", "0,2"])
def test_bfloat16_rounds_and_no_more(song, semitones):
    options = dict(semitones=[int(number) for number in semitones.split(",")])
    single = sinudae.separate("separator.pth", song, **options)
    half = sinudae.separate("separator.pth", song, precision="bf16", **options)
    arguments = ["separator.pth", "song.wav", "--semitones", semitones, "--precision", "bf16"]
    assert cli.main(["separate", *arguments]) == 0
    for source in SOURCES:
        assert half[source].dtype == torch.float32
        assert 25 < si_sdr(half[source][:1, None], single[source][:1, None]).item() < 70
        samples, _ = soundfile.read(f"song_{source}.wav", dtype="float32")
        assert torch.equal(torch.from_numpy(samples.T), half[source])


def test_what_is_resampled_is_not_rounded():
    class Nothing(sinudae.SinuDAE):
        def forward_wav(self, wav):
            return torch.zeros_like(wav)

    model = TransposedSeparator(Nothing(n_filters=4, kernel_size=16, stride=8), 2)
    noise = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0))
    with autocast.in_precision("bf16", "cpu"):
        in_half = model(noise)
    assert torch.equal(in_half, model(noise))


def test_precisions(song, capsys):
    assert cli.PRECISIONS == autocast.PRECISIONS
    with pytest.raises(ValueError, match="precision must be one of '32', 'bf16', got '16'"):
        sinudae.separate("separator.pth", song, precision="16")
    with pytest.raises(SystemExit):
        cli.main(["separate", "separator.pth", "song.wav", "--precision", "16"])
    assert "argument --precision: invalid choice: '16'" in capsys.readouterr().err
