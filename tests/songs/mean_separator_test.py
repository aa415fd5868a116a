"""Several separators at once: the mean of their estimates, in Python and on the command line."""

import re
from pathlib import Path

import pytest
import soundfile
import torch
from command_line import SIZES, mistake, save
from song_models import write
from songs_on_disk import RATE

import asteroid_sinudae as sinudae
from asteroid_sinudae.cli import main
from asteroid_sinudae.models.mean_separator import MeanSeparator, TransposedSeparator, mean_of

# isort: split

from asteroid.models import ConvTasNet
from asteroid.models.base_models import BaseModel

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
        for written in path, Path("by_function", path.name):
            samples, _ = soundfile.read(written, dtype="float32")
            assert torch.equal(torch.from_numpy(samples.T), mean[source])


class Halves(BaseModel):
    """Gives two halves of what it hears, and keeps that."""

    def __init__(self):
        super().__init__(sample_rate=RATE)

    def forward(self, wav):
        self.heard = wav
        return torch.cat([wav, wav], dim=1) / 2


@pytest.mark.parametrize("semitones", [-4, -2, -1, 1, 3])
def test_a_separator_hears_other_pitches(semitones):
    """It hears a tone as much higher; estimates are at the tone's own pitch and in its place."""
    times, ratio = torch.arange(RATE + 3) / RATE, 2 ** (semitones / 12)
    tone = torch.sin(2 * torch.pi * 500 * times)[None, None]
    model = Halves()
    estimates = TransposedSeparator(model, semitones)(tone)
    spectrum = torch.fft.rfft(model.heard[0, 0], 16 * RATE).abs()
    assert spectrum.argmax().item() / 16 == pytest.approx(500 * ratio, abs=1.5)
    assert estimates.shape == (1, 2, RATE + 3)
    torch.testing.assert_close(estimates[:, :1], tone / 2, atol=1e-3, rtol=0)


@pytest.mark.parametrize("semitones", [-4, 0, 4])
@pytest.mark.parametrize("length", [1, 2, 5000])
def test_estimates_sum_to_the_mixture_at_other_pitches_too(semitones, length):
    noise = torch.randn(2, 1, length, generator=torch.Generator().manual_seed(length))
    estimates = TransposedSeparator(Halves(), semitones)(noise)
    torch.testing.assert_close(estimates.sum(1, keepdim=True), noise, atol=1e-5, rtol=0)


def test_minutes_at_other_pitches():
    """torchaudio computes lengths in single precision: what returns may lack a sample."""
    pulse = torch.zeros(1, 1, 9_437_189)
    pulse[..., 5] = pulse[..., -5] = 1
    estimates = TransposedSeparator(Halves(), 2)(pulse)
    torch.testing.assert_close(estimates.sum(1, keepdim=True), pulse, atol=1e-5, rtol=0)


def test_no_samples_at_other_pitches():
    with pytest.raises(ValueError, match="^number of samples must be at least 1, got 0$"):
        TransposedSeparator(Halves(), 2)(torch.zeros(1, 1, 0))


def test_shapes_at_other_pitches():
    noise = torch.randn(2, 1, 500)
    model = TransposedSeparator(Halves(), -1)
    estimates = model(noise)
    assert torch.equal(model(noise[:, 0]), estimates)
    torch.testing.assert_close(model(noise[0, 0]), estimates[0], atol=1e-6, rtol=0)


def test_mean_over_pitches_and_separators(separators, capsys):
    """In Python, into files, and by the command."""
    song, options = separators[:1, :6000], {"chunk": 0.5}
    mean = sinudae.separate(NAMES[:2], song, semitones=(0, -2), **options)
    models = [sinudae.load_model(name).model for name in NAMES[:2]]
    parts = [*models, *(TransposedSeparator(model, -2) for model in models)]
    parts = [sinudae.LoadedModel(model, {"sources": SOURCES}) for model in parts]
    for source in SOURCES:
        each = [sinudae.separate(part, song, **options)[source] for part in parts]
        torch.testing.assert_close(mean[source], torch.stack(each).mean(0), atol=1e-6, rtol=0)
    arguments = ["first.pth", "song.wav", "-o", "out", "--semitones", "0,2,-2"]
    assert main(["separate", *arguments]) == 0
    whole = sinudae.separate("first.pth", separators, semitones=[0, 2, -2])
    sinudae.separate_file("first.pth", "song.wav", "by_function", semitones=[0, 2, -2])
    for source in SOURCES:
        for folder in "out", "by_function":
            samples, _ = soundfile.read(f"{folder}/song_{source}.wav", dtype="float32")
            assert torch.equal(torch.from_numpy(samples.T), whole[source])


@pytest.mark.parametrize(
    "semitones, message",
    [
        ("0,5", "semitones must be an integer, -4 to 4, got 5"),
        ("2,2", r"semitones must be a list of at least one interval, all different, got \[2, 2\]"),
    ],
)
def test_intervals_that_are_none(separators, capsys, semitones, message):
    arguments = ["separate", "first.pth", "song.wav", "-o", "out", "--semitones", semitones]
    assert re.fullmatch(message, mistake(capsys, main(arguments)))
    assert not Path("out").exists()
    with pytest.raises(ValueError, match=message):
        sinudae.separate("first.pth", separators, semitones=[int(s) for s in semitones.split(",")])


@pytest.mark.parametrize(
    "semitones, message",
    [
        ((), r"a list of at least one interval, all different, got \(\)"),
        (2, "a list of at least one interval, all different, got 2"),
        (b"\x02", r"a list of at least one interval, all different, got b'\\x02'"),
        ([[0]], r"an integer, -4 to 4, got \[0\]"),
        ([0.0], r"an integer, -4 to 4, got 0\.0"),
        ([False], "an integer, -4 to 4, got False"),
    ],
)
def test_what_is_no_list_of_intervals(separators, semitones, message):
    with pytest.raises(ValueError, match=f"^semitones must be {message}$"):
        sinudae.separate("first.pth", separators, semitones=semitones)


def test_a_list_that_begins_with_a_minus(separators):
    assert main(["separate", "first.pth", "song.wav", "--semitones=-2,0"]) == 0
    expected = sinudae.separate("first.pth", separators, semitones=[-2, 0])
    samples, _ = soundfile.read("song_vocals.wav", dtype="float32")
    assert torch.equal(torch.from_numpy(samples.T), expected["vocals"])


def test_intervals_that_are_no_numbers(separators, capsys):
    with pytest.raises(SystemExit):
        main(["separate", "first.pth", "song.wav", "--semitones", "0,x"])
    expected = "argument --semitones: expected whole numbers between commas, got '0,x'"
    assert expected in capsys.readouterr().err


def test_a_pair_has_no_mean_over_pitches(separators, dae, capsys):
    save(dae, "pair.pth")
    message = "pair.pth encodes and decodes at 8000 Hz: expected sources with names, for a mean or"
    status = main(["separate", "pair.pth", "song.wav", "-o", "out", "--semitones", "0,2"])
    assert mistake(capsys, status).startswith(message)


def test_no_model_is_replaced(separators, capsys):
    """Its file may have a name that an estimate would have."""
    Path("first.pth").rename("song_vocals.wav")
    arguments = ["separate", "second.pth", "song_vocals.wav", "song.wav", "-o", ".", "--force"]
    assert mistake(capsys, main(arguments)).startswith("song_vocals.wav is also to be read")
    with pytest.raises(ValueError, match=r"^song_vocals\.wav is also to be read"):
        sinudae.separate_file(["second.pth", "song_vocals.wav"], "song.wav", ".", force=True)


def test_models_that_do_not_go_together(separators, dae, capsys):
    save(dae, "pair.pth")
    save(sinudae.SinuDAEConvTasNet(2, pretrained=dae, **SIZES), "bad.pth", sources=5)
    save(ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES), "unnamed.pth")
    slower = sinudae.STFTConvTasNet(2, n_fft=64, stride=16, sample_rate=RATE / 2, **SIZES)
    save(slower, "slower.pth", sources=SOURCES)
    save(sinudae.SinuDAEConvTasNet(2, pretrained=dae, **SIZES), "other.pth", sources=SOURCES[::-1])
    first = "first.pth separates vocals and accompaniment at 8000 Hz, and "
    for name, message in {
        "pair.pth": "pair.pth encodes and decodes at 8000 Hz: expected sources with names, for a",
        "unnamed.pth": "unnamed.pth separates sources without names at 8000 Hz: expected sources w",
        "bad.pth": "bad.pth separates sources without names at 8000 Hz: expected sources with n",
        "slower.pth": f"{first}slower.pth separates vocals and accompaniment at 4000 Hz: expected ",
        "other.pth": f"{first}other.pth separates accompaniment and vocals at 8000 Hz: expected t",
        "first.pth": "models must be different ones, got ['first.pth', 'first.pth']",
    }.items():
        status = main(["separate", "first.pth", name, "song.wav", "-o", "out"])
        assert mistake(capsys, status).startswith(message)
        with pytest.raises(ValueError) as error:
            sinudae.separate(("first.pth", name), separators)
        assert str(error.value).startswith(message)
    assert not Path("out").exists()


def test_no_separators():
    with pytest.raises(ValueError, match=r"^models must be at least one, got \[\]$"):
        MeanSeparator([])


def test_models_of_other_numbers_of_sources(separators, dae, capsys):
    """Their files may name more or fewer than they give, which only their estimates tell."""
    save(sinudae.SinuDAEConvTasNet(1, pretrained=dae, **SIZES), "one.pth", sources=SOURCES)
    message = mistake(capsys, main(["separate", "first.pth", "one.pth", "song.wav", "-o", "out"]))
    assert (
        "SinuDAEConvTasNet gives (1, 2, 16001), SinuDAEConvTasNet gives (1, 1, 16001), " in message
    )
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (NAMES[:2], "second.pth is a model, expected a song after it"),
        (["first.pth", "missing.pth", "song.wav"], "missing.pth not found: expected a file writte"),
        (["first.pth", "secund", "song.wav"], "'secund' is neither a file nor the name of a mode"),
    ],
)
def test_model_that_is_missing(separators, capsys, arguments, message):
    assert message in mistake(capsys, main(["separate", *arguments, "-o", "out"]))
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "models, message",
    [
        ([], r"models must be at least one, got \[\]"),
        ([None, "first.pth"], "model must be a model, its file or its name, got None"),
        ([["first.pth"], "second.pth"], "model must be a model, its file or its name, got "),
    ],
)
def test_what_is_no_model(separators, models, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sinudae.separate(models, separators)


def test_songs_that_may_look_like_models(separators, capsys):
    """Folders after the first model are songs, whatever they are called."""
    for folder in "separator_vocals_stft", "songs.pt":
        Path(folder).mkdir()
        soundfile.write(f"{folder}/{folder}.wav", separators.T.numpy(), RATE)
        assert main(["separate", "first.pth", folder, "-o", "out"]) == 0
        assert Path(f"out/{folder}_vocals.wav").is_file()


def test_song_that_cannot_be_opened(separators, capsys, monkeypatch):
    """It does not keep others from being separated."""
    Path("secret.wav").write_bytes(Path("song.wav").read_bytes())
    opened = Path.open

    def refuse(self, *args, **kwargs):
        if self.name == "secret.wav":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["separate", "first.pth", "secret.wav", "song.wav", "-o", "out"]) == 1
    printed = capsys.readouterr()
    assert printed.out.split() == [f"out/song_{source}.wav" for source in SOURCES]
    assert printed.err.splitlines() == [
        "sinudae: Permission denied: 'secret.wav'",
        "sinudae: 1 of 2 songs failed, 1 separated",
    ]
