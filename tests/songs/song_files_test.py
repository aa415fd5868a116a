"""Songs from Python: what the command line does, of files and of waveforms."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command_line import SIZES, save
from song_models import write
from songs_on_disk import RATE, halve

import asteroid_sinudae as sinudae
from asteroid_sinudae.cli import main
from asteroid_sinudae.songs import audio, files
from asteroid_sinudae.songs.audio import AudioFile, write_audio
from asteroid_sinudae.utils import progress

SOURCES = ["vocals", "accompaniment"]


@pytest.fixture
def model(dae):
    """A separator on a pair, also in `model.pth`, which names its sources."""
    model = sinudae.SinuDAEConvTasNet(2, pretrained=dae, freeze=True, **SIZES).eval()
    save(model, "model.pth", sources=SOURCES)
    save(dae, "dae.pth")
    return model


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == RATE
    return torch.from_numpy(samples.T)  # (channels, time)


def joined(pieces):
    pieces = list(pieces)
    return {name: torch.cat([piece[name] for piece in pieces], dim=-1) for name in pieces[0]}


# Separation


def test_waveform_and_file_give_the_same(model):
    wav = write("a.wav", 2 * RATE + 1)
    options = dict(chunk=0.6, overlap=0.1)
    whole = sinudae.separate("model.pth", wav, **options)
    assert list(whole) == SOURCES and whole["vocals"].shape == wav.shape
    paths = sinudae.separate_file("model.pth", "a.wav", "out", **options)
    assert paths == {name: Path(f"out/a_{name}.wav") for name in SOURCES}
    pieces = joined(sinudae.separate("model.pth", Path("a.wav"), **options))
    for name in SOURCES:
        assert whole[name].any()
        assert torch.equal(pieces[name], whole[name]) and torch.equal(
            read(paths[name]), whole[name]
        )
    left, right = wav
    with torch.no_grad():  # what it hears of two channels is mid and side
        mid, side = model(torch.stack([left + right, left - right])[:, None] / 2)
    expected = torch.stack([mid + side, mid - side], dim=1)  # (source, channels, time)
    once = sinudae.separate("model.pth", wav)
    for name, estimate in zip(SOURCES, expected, strict=True):
        torch.testing.assert_close(once[name], estimate, atol=1e-6, rtol=0)


def test_command_line_gives_the_same(model, capsys):
    write("a.wav", RATE)
    paths = sinudae.separate_file("model.pth", "a.wav", "out", chunk=0.4)
    assert main(["separate", "model.pth", "a.wav", "-o", "by_command", "--chunk", "0.4"]) == 0
    for path in paths.values():
        assert torch.equal(read(path), read(f"by_command/{path.name}"))


def test_each_way_to_name_a_model(model):
    wav = write("a.wav", RATE, channels=1)
    loaded = sinudae.load_model("model.pth")
    assert loaded.infos["sources"] == SOURCES
    by_file = sinudae.separate("model.pth", wav, device="cpu")
    by_loaded = sinudae.separate(loaded, wav)
    by_object = sinudae.separate(model.train(), wav)
    assert not model.training
    assert list(by_loaded) == SOURCES and list(by_object) == ["source1", "source2"]
    for name in SOURCES:
        assert torch.equal(by_loaded[name], by_file[name])
    found = torch.stack([*by_object.values()])
    expected = torch.stack([*by_file.values()])
    torch.testing.assert_close(found.sum(0), expected.sum(0))  # in any order


@pytest.mark.parametrize("shape", [(RATE,), (1, RATE), (2, RATE), (5, RATE)])
def test_shapes_of_waveforms(model, shape):
    estimates = sinudae.separate(model, torch.randn(shape).double())
    assert {estimate.shape for estimate in estimates.values()} == {shape}


def test_waveform_at_another_rate(model):
    wav = write("a.wav", 11025, rate=11025)
    with torch.no_grad():
        estimates = sinudae.separate("model.pth", wav, sample_rate=11025)
    pieces = joined(sinudae.separate("model.pth", "a.wav"))
    for name in SOURCES:
        assert estimates[name].shape == wav.shape and torch.equal(estimates[name], pieces[name])
    same_rate = sinudae.separate("model.pth", wav)
    assert not torch.allclose(same_rate["vocals"], estimates["vocals"], atol=1e-3)


def test_long_waveform(dae, monkeypatch):
    """Longer than what is read at a time, and the pair's result does not depend on chunks."""
    monkeypatch.setattr(audio, "PIECE", 3000)
    wav = torch.randn(1, 10_000)
    (name, estimate), *others = sinudae.separate(dae, wav, chunk=1.0).items()
    assert name == "reconstruction" and not others
    with torch.no_grad():
        torch.testing.assert_close(estimate, dae(wav[None])[0], atol=1e-5, rtol=0)


def test_pieces_come_while_the_file_is_read(model, monkeypatch):
    """So memory does not grow with the file."""
    monkeypatch.setattr(audio, "PIECE", 1000)
    wav = write("a.wav", 20_000)
    read_so_far, pieces_of = [], AudioFile.pieces

    def pieces(self):
        for piece in pieces_of(self):
            read_so_far.append(piece.shape[-1])
            yield piece

    monkeypatch.setattr(AudioFile, "pieces", pieces)
    n_samples = 0
    for piece in sinudae.separate("model.pth", "a.wav", chunk=0.5):
        n_samples += piece["vocals"].shape[-1]
        assert sum(read_so_far) <= n_samples + RATE // 2 + 1000
    assert n_samples == wav.shape[-1]


def test_wanted_sources_in_their_order(model):
    wav = write("a.wav", RATE)
    both = sinudae.separate("model.pth", wav)
    assert list(sinudae.separate("model.pth", wav, sources=SOURCES[::-1])) == SOURCES[::-1]
    (one,) = sinudae.separate("model.pth", wav, sources=["accompaniment"]).items()
    assert one[0] == "accompaniment" and torch.equal(one[1], both["accompaniment"])
    for sources in (), "vocals", ["vocals", "drums"]:
        with pytest.raises(ValueError, match="^sources must be different names among vocals, acc"):
            sinudae.separate("model.pth", wav, sources=sources)
    with pytest.raises(ValueError, match=r"^a SinuDAE .* does not separate: .*=\['vocals'\]$"):
        sinudae.separate("dae.pth", wav, sources=["vocals"])


def test_estimates_can_be_computed_with(model):
    wav = write("a.wav", RATE)
    whole = sinudae.separate(model, wav)["source1"]
    piece = next(sinudae.separate(model, "a.wav"))["source1"]
    gain = torch.ones(1, requires_grad=True)
    for estimate in whole, piece:
        (gain * estimate).square().sum().backward()
    assert gain.grad > 0


def test_model_of_another_kind():
    with pytest.raises(ValueError, match="^model must be a model, its file or its name, got 7$"):
        sinudae.separate(7, torch.randn(100))
    with pytest.raises(ValueError, match="^'vocal' is neither a file nor the name of a model"):
        sinudae.separate("vocal", torch.randn(100))


@pytest.mark.parametrize(
    "wav, message",
    [
        (torch.zeros(0), r"^shape of the waveform must be \(time,\) or .* sample, got \(0,\)$"),
        (torch.zeros(1, 2, 3), r"^shape of the waveform must be .*, got \(1, 2, 3\)$"),
        (torch.zeros(44100, 2), r"^channels of the waveform must be at most 1024, .* got 44100$"),
        (torch.zeros(9, dtype=torch.int16), "^the waveform must be a tensor of floating-point"),
        (torch.full((1, 9), torch.nan), "^the waveform has a NaN or infinite sample at 0 s"),
    ],
)
def test_waveform_that_cannot_be_used(model, wav, message):
    with pytest.raises(ValueError, match=message):
        sinudae.separate(model, wav)


def test_sample_rate_of_a_file_is_in_the_file(model):
    with pytest.raises(ValueError, match="^sample_rate must be None for a file"):
        sinudae.separate(model, "a.wav", sample_rate=RATE)


def test_files_are_not_replaced(model):
    write("a.wav", RATE)
    sinudae.separate_file("model.pth", "a.wav", "out")
    with pytest.raises(ValueError, match="^out/a_vocals.wav exists already"):
        sinudae.separate_file("model.pth", "a.wav", "out")
    sinudae.separate_file("model.pth", "a.wav", "out", force=True, sources=["vocals"])
    with pytest.raises(ValueError, match="^format must be one of 'float', 'wav', .* got 'aac'$"):
        sinudae.separate_file("model.pth", "a.wav", "new", format="aac")
    with pytest.raises(FileNotFoundError, match="^b.wav not found: expected an audio file$"):
        sinudae.separate_file("model.pth", "b.wav", "new")
    assert not Path("new").exists()


def test_existing_file_is_told_before_anything_is_computed(model, monkeypatch):
    write("a.wav", RATE)
    sinudae.separate_file("model.pth", "a.wav", "out")
    monkeypatch.setattr(files.apply, "_separate_channel", None)
    with pytest.raises(ValueError, match="exists already"):
        sinudae.separate_file("model.pth", "a.wav", "out")


# What is told


def test_notes_and_warnings_are_logged(model, caplog, capfd):
    write("a.wav", 11025, rate=11025)
    halve("a.wav")
    with caplog.at_level(logging.INFO):
        sinudae.separate_file("model.pth", "a.wav", "out")
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert levels["INFO"] == "a.wav is at 11025 Hz, resampled to the model's 8000 Hz"
    assert levels["WARNING"].startswith("a.wav breaks off after ") and len(levels) == 2
    with pytest.raises(ValueError, match="^a.wav breaks off after .*: refused by --strict$"):
        list(sinudae.separate("model.pth", "a.wav", strict=True))
    assert capfd.readouterr() == ("", "")


def test_progress(model, capsys, monkeypatch):
    wav = write("a.wav", 2 * RATE)
    told = []
    options = dict(chunk=0.5, progress=lambda *seconds: told.append(seconds))
    sinudae.separate("model.pth", wav, **options)
    assert told[0] == (0, 2) and told[-1] == (2, 2) and len(told) > 4
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    for function, arguments in {
        sinudae.separate_file: ("model.pth", "a.wav", "out"),
        sinudae.encode_file: ("dae.pth", "a.wav", "a.npz"),
        sinudae.decode_file: ("dae.pth", "a.npz", "b.wav"),
        sinudae.mask_file: (None, "a.wav", "a.wav", "masked"),
    }.items():
        told.clear()
        function(*arguments, **options)
        done, seconds = told[-1]
        assert done == pytest.approx(2, abs=0.1) and seconds == pytest.approx(2, abs=0.1)
        assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "SECONDS", 0)
    sinudae.separate_file("model.pth", "a.wav", "out", force=True, progress=True)
    assert "a.wav: 100%" in capsys.readouterr().err


# Other functions


def test_encode_and_decode(model, dae):
    wav = write("a.wav", RATE)
    for pair, name in ("dae.pth", "a.npz"), (dae, "b.npz"):
        assert sinudae.encode_file(pair, "a.wav", name, chunk=0.3) == Path(name)
        arrays = np.load(name)
        with torch.no_grad():
            expected = dae.encode(wav[:, None])
        np.testing.assert_allclose(arrays["A"], expected, atol=1e-5)
    assert sinudae.decode_file(dae, "a.npz", "a2.wav") == Path("a2.wav")
    with torch.no_grad():
        torch.testing.assert_close(read("a2.wav"), dae(wav[:, None])[:, 0], atol=1e-5, rtol=0)
    sinudae.decode_file("dae.pth", "a.npz", "a2.flac")
    torch.testing.assert_close(read("a2.flac"), read("a2.wav"), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="^model.pth holds a model 'SinuDAEConvTasNet', expected"):
        sinudae.encode_file("model.pth", "a.wav", "c.npz")


@pytest.mark.parametrize("representation", ["dae.pth", "pair", "stft", None])
def test_mask(model, dae, representation):
    vocals, rest = write("vocals.wav", RATE), write("rest.wav", RATE, seed=1)
    soundfile.write("mix.wav", (vocals + rest).T.numpy(), RATE, subtype="FLOAT")
    by = {"pair": dae, "stft": sinudae.STFT(sample_rate=RATE)}.get(representation, representation)
    paths = sinudae.mask_file(by, "mix.wav", "vocals.wav", "out", threshold=0.7, chunk=0.5)
    assert paths == {name: Path(f"out/mix_{name}.wav") for name in SOURCES}
    exact = dae if representation in ("dae.pth", "pair") else sinudae.STFT(sample_rate=RATE)
    signals = (wav[:, None] for wav in (vocals + rest, vocals))
    with torch.no_grad():
        expected = sinudae.informed_separation(exact, *signals, threshold=0.7)[:, 0]
    torch.testing.assert_close(read(paths["vocals"]), expected, atol=1e-5, rtol=0)


# FLAC


def test_clipped_samples_are_told(caplog):
    wav = torch.tensor([0.5, 1.5, -1.0, -3.0]).view(1, 1, 4)
    write_audio([Path("a.flac")], [wav, -wav], RATE, 8, "flac")
    samples = soundfile.read("a.flac")[0]
    np.testing.assert_allclose(samples[:4], [0.5, 1, -1, -1], atol=1e-6)
    assert caplog.messages == ["a.flac has 4 samples beyond full scale, which are clipped"]


@pytest.mark.parametrize(
    "channels, rate, message",
    [
        (9, RATE, "channels of a.flac must be at most 8, got 9"),
        (1, 700_000, "sample_rate of a.flac must be 1 to 655350 Hz, which a FLAC file can have"),
    ],
)
def test_what_flac_cannot_hold(channels, rate, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        write_audio([Path("a.flac")], [torch.zeros(channels, 1, 4)], rate, 4, "flac")
    assert not Path("a.flac").exists()
