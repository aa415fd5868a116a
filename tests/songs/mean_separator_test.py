"""Several separators at once: the mean of their estimates, in Python and on the command line."""

from pathlib import Path

import pytest
import soundfile
import torch
from command_line import SIZES, mistake, save
from song_models import write
from songs_on_disk import RATE

import asteroid_sinudae as sinudae
from asteroid_sinudae.cli import main
from asteroid_sinudae.models.mean_separator import mean_of

# isort: split

from asteroid.models import ConvTasNet

SOURCES = ["vocals", "accompaniment"]
NAMES = ("first.pth", "second.pth", "third.pth")


@pytest.fixture
def separators(dae):
    """Files of three separators of the same sources, and a song."""
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        save(sinudae.SinuDAEConvTasNet(2, pretrained=dae, **SIZES), name, sources=SOURCES)
    return write("song.wav", 2 * RATE + 1)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_mean_of_estimates(separators, number):
    names = NAMES[:number]
    options = dict(chunk=0.6, overlap=0.1)
    parts = [sinudae.separate(name, separators, **options) for name in names]
    mean = sinudae.separate(list(names), separators, **options)
    assert list(mean) == SOURCES
    for source in SOURCES:
        expected = torch.stack([part[source] for part in parts]).mean(0)
        torch.testing.assert_close(mean[source], expected, atol=1e-6, rtol=0)
        assert number == 1 or (mean[source] - parts[0][source]).abs().max() > 1e-3


def test_models_of_every_kind_of_argument(separators):
    """Files, loaded ones and what they load to are the same."""
    by_name = sinudae.separate(NAMES[:2], separators)
    loaded = [sinudae.load_model(name) for name in NAMES[:2]]
    for models in (loaded, (NAMES[0], loaded[1]), mean_of(loaded)):
        by_loaded = sinudae.separate(models, separators)
        assert all(torch.equal(by_loaded[source], by_name[source]) for source in SOURCES)


def test_command_and_files(separators, capsys):
    assert main(["separate", *NAMES[:2], "song.wav", "-o", "out"]) == 0
    paths = {source: Path(f"out/song_{source}.wav") for source in SOURCES}
    assert capsys.readouterr().out.split() == [str(path) for path in paths.values()]
    mean = sinudae.separate(NAMES[:2], separators)
    assert sinudae.separate_file(NAMES[:2], "song.wav", "by_function") == {
        source: Path(f"by_function/song_{source}.wav") for source in SOURCES
    }
    for source, path in paths.items():
        samples, _ = soundfile.read(path, dtype="float32")
        assert torch.equal(torch.from_numpy(samples.T), mean[source])
        assert Path("by_function", path.name).read_bytes() == path.read_bytes()


def test_no_model_is_replaced(separators, capsys):
    """Its file may have a name that an estimate would have."""
    Path("first.pth").rename("song_vocals.wav")
    arguments = ["separate", "second.pth", "song_vocals.wav", "song.wav", "-o", ".", "--force"]
    assert mistake(capsys, main(arguments)).startswith("song_vocals.wav is also to be read")
    with pytest.raises(ValueError, match=r"^song_vocals\.wav is also to be read"):
        sinudae.separate_file(["second.pth", "song_vocals.wav"], "song.wav", ".", force=True)


def test_models_that_do_not_go_together(separators, dae, capsys):
    save(dae, "pair.pth")
    save(ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES), "unnamed.pth")
    slower = sinudae.STFTConvTasNet(2, n_fft=64, stride=16, sample_rate=RATE / 2, **SIZES)
    save(slower, "slower.pth", sources=SOURCES)
    save(sinudae.SinuDAEConvTasNet(2, pretrained=dae, **SIZES), "other.pth", sources=SOURCES[::-1])
    first = "a SinuDAEConvTasNet separates vocals and accompaniment at 8000 Hz, and "
    for name, message in {
        "pair.pth": "a SinuDAE encodes and decodes at 8000 Hz: expected sources with names",
        "unnamed.pth": "a ConvTasNet separates sources without names at 8000 Hz: expected sources",
        "slower.pth": f"{first}a STFTConvTasNet separates vocals and accompaniment at 4000 Hz: exp",
        "other.pth": f"{first}a SinuDAEConvTasNet separates accompaniment and vocals at 8000 Hz: e",
    }.items():
        status = main(["separate", "first.pth", name, "song.wav", "-o", "out"])
        assert mistake(capsys, status).startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (NAMES[:2], "second.pth is a model, expected a song after it"),
        (["first.pth", "missing.pth", "song.wav"], "missing.pth not found: expected a file writte"),
        (["first.pth", "secund", "song.wav"], "secund not found: expected an audio file"),
    ],
)
def test_model_that_is_missing(separators, capsys, arguments, message):
    status = main(["separate", *arguments, "-o", "out"])
    printed = capsys.readouterr()
    assert status == 1 and message in printed.err


def test_no_model_at_all(separators):
    with pytest.raises(ValueError, match=r"^models must be at least one, got \[\]$"):
        sinudae.separate([], separators)
