"""Models that come with the package: names and files, whatever ships, and storage in half."""

import hashlib
import re

import pytest
import torch
import yaml

import asteroid_sinudae as sinudae
from asteroid_sinudae import pretrained
from asteroid_sinudae.cli import main
from asteroid_sinudae.metrics import noise_si_sdr, si_sdr
from asteroid_sinudae.models import registry
from asteroid_sinudae.models.model_files import (
    describe_file,
    describe_task,
    in_half_precision,
    load_model,
)
from asteroid_sinudae.runs.cards import make_card, make_infos
from asteroid_sinudae.utils.files import load_safely

# isort: split

from asteroid.models import BaseModel

RATE = 8000.0
SMALL = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=RATE, decoder="cos")
CARD = "# trained\n\n10 channels; 7 updates on noise\n\n- **Licence**: none\n"


def make_dae(**arguments):
    torch.manual_seed(0)
    sizes = dict(n_filters=10, kernel_size=64, stride=16, sample_rate=RATE, smooth_dilation=3)
    return sinudae.SinuDAE(**{**sizes, **arguments}).eval()


@pytest.fixture
def names(tmp_path, monkeypatch):
    """`trained` and `start` are the only names; the working folder is empty."""
    folder, working = tmp_path / "package", tmp_path / "working"
    folder.mkdir()
    working.mkdir()
    package = in_half_precision(make_dae().serialize())
    package["infos"]["training"] = {"steps": 7}
    torch.save(package, folder / "trained.pth")
    (folder / "trained.md").write_text(CARD)
    monkeypatch.setattr(registry, "FOLDER", folder)
    monkeypatch.setattr(registry, "STRUCTURES", {"start": SMALL})
    monkeypatch.chdir(working)
    return folder


def test_names_with_a_line_each(names):
    assert pretrained.available() == {
        "trained": "encodes and decodes: 10 channels; 7 updates on noise",
        "start": "encodes and decodes: 12 channels, kernels of 64 samples, hop 16, 8000 Hz, 0.75 "
        "coefficients a sample, 0.00 million parameters; untrained",
    }
    assert pretrained.card("trained") == CARD
    assert "`SinuDAE(n_filters=12, kernel_size=64, stride=16, " in pretrained.card("start")
    with pytest.raises(ValueError, match="^'stft' is no model of this package, .* trained, start$"):
        pretrained.card("stft")


def test_trained_model_by_name(names):
    dae = make_dae()
    twin = sinudae.SinuDAE.from_pretrained("trained")
    assert twin.get_model_args() == dae.get_model_args()
    assert {value.dtype for value in twin.state_dict().values()} == {torch.float32}
    wav = torch.randn(1, 1, 1000)
    assert si_sdr(twin(wav), dae(wav)) > 60
    model, infos = load_model("trained")
    assert torch.equal(model(wav), twin(wav)) and infos["training"] == {"steps": 7}


def test_untrained_model_by_name(names):
    dae = sinudae.SinuDAE.from_pretrained("start")
    assert dae.get_model_args() == sinudae.SinuDAE(**SMALL).get_model_args()
    model, infos = load_model("start")
    assert model.get_model_args() == dae.get_model_args() and infos == {}
    assert not model.training
    assert registry.STRUCTURES == {"start": SMALL}


def test_file_goes_before_the_name(names):
    for name in "trained", "start":
        torch.save(make_dae(n_filters=5).serialize(), name)
        assert sinudae.SinuDAE.from_pretrained(name).get_model_args()["n_filters"] == 5
        assert load_model(name)[0].get_model_args()["n_filters"] == 5


@pytest.mark.parametrize("load", [sinudae.SinuDAE.from_pretrained, load_model])
def test_neither_file_nor_name(names, load):
    message = "is neither a file nor the name of a model, expected one of trained, start$"
    for name in "", "traind", "Trained", "..":
        with pytest.raises(ValueError, match=f"^'{name}' {message}"):
            load(name)
    names.joinpath("folder").mkdir()
    for path in "trained.pth", "./trained", f"{names}/start", names / "folder", "../x/trained":
        with pytest.raises(FileNotFoundError, match=f"^{path} not found: expected a file"):
            load(path)


MASKER = dict(n_src=2, n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=6, skip_chan=4)
SOURCES = ["vocals", "accompaniment"]
MEDIANS = {
    "mixture": {"si_sdr_vocals": -5.0, "si_sdri_vocals": 0.0},
    "ours": {
        "si_sdr_vocals": 2.96,
        "si_sdri_vocals": 8.04,
        "si_sdr_accompaniment": 9.34,
        "si_sdri_accompaniment": 4.26,
    },
}


def make_separator(kind):
    torch.manual_seed(0)
    if kind == "SinuDAEConvTasNet":
        return sinudae.SinuDAEConvTasNet(pretrained=make_dae(), freeze=True, **MASKER).eval()
    return sinudae.STFTConvTasNet(n_fft=64, stride=24, sample_rate=RATE, **MASKER).eval()


@pytest.fixture(params=["SinuDAEConvTasNet", "STFTConvTasNet"])
def separator(request, names):
    """A separator as `separator_vocals` among the names, with the card that the package writes."""
    model = make_separator(request.param)
    package = in_half_precision(model.serialize())
    made = {"versions": {"torch": "2"}, "commit": None, "device": "CPU", "finished": "today"}
    metrics = {"medians": MEDIANS, "evaluated": "ours", "segments": 150, "test_tracks": 50, **made}
    package["infos"]["sources"] = SOURCES
    package["infos"]["training"] = {"conf": {}, "steps": 2500, "seconds": 60.0, **made}
    package["infos"] = make_infos(package, metrics, "94 songs", {"rounding": 70.0, "cost": 0.0})
    torch.save(package, names / "separator_vocals.pth")
    card = make_card("separator_vocals", package, sha256="abc")
    (names / "separator_vocals.md").write_text(card)
    return model


def test_separator_among_the_names(separator):
    assert list(pretrained.available()) == ["separator_vocals", "trained", "start"]
    facts = pretrained.facts("separator_vocals")
    bank, stride = separator.encoder.filterbank, separator.encoder.stride
    assert facts["does"] == "separates vocals and accompaniment"
    assert facts["sizes"].startswith(
        f"{bank.n_feats_out} channels, kernels of 64 samples, hop {stride}, 8000 Hz, "
    )
    assert facts["sizes"].endswith("; 2,500 updates on 94 songs")
    assert facts["figures"] == (
        "SI-SDR in dB, medians over 150 segments of 50 songs: vocals 3.0 (+8.0 from the mixture), "
        "accompaniment 9.3 (+4.3 from the mixture)"
    )
    assert facts["licence"].startswith("non-commercial")
    card = pretrained.card("separator_vocals")
    assert "- **Does**: separates vocals and accompaniment\n" in card
    assert "SI-SDRi accompaniment (dB)" in card and "white noise" not in card
    facts = describe_file("separator_vocals")
    assert facts["class"] == type(separator).__name__
    assert facts["does"] == "separates vocals and accompaniment"
    line = pretrained.available()["separator_vocals"]
    assert line.startswith("separates vocals and accompaniment: ")


def test_separator_by_name(separator):
    loaded = load_model("separator_vocals")
    wav = torch.randn(1, 1, 1000)
    assert loaded.infos["sources"] == SOURCES
    assert si_sdr(loaded.model(wav), separator(wav)).min() > 40
    twin = type(separator).from_pretrained("separator_vocals")
    assert twin.state_dict().keys() == separator.state_dict().keys()
    assert all(map(torch.equal, twin.state_dict().values(), loaded.model.state_dict().values()))


def test_name_of_another_kind_of_model(separator):
    name = type(separator).__name__
    message = f"^separator_vocals holds a model '{name}', expected 'SinuDAE'$"
    with pytest.raises(ValueError, match=message):
        sinudae.SinuDAE.from_pretrained("separator_vocals")
    with pytest.raises(ValueError, match=f"^trained holds a model 'SinuDAE', expected '{name}'$"):
        type(separator).from_pretrained("trained")
    with pytest.raises(ValueError, match=f"^'start' is a model 'SinuDAE', expected '{name}'$"):
        type(separator).from_pretrained("start")


def test_model_without_figures(names):
    assert pretrained.facts("trained") == {
        "sizes": "10 channels; 7 updates on noise",
        "does": "encodes and decodes",
        "figures": "its file does not tell",
        "licence": "its file does not tell",
    }


@pytest.mark.parametrize(
    "infos, does",
    [
        ({}, "separates sources without names"),
        ({"sources": []}, "separates sources without names"),
        ({"sources": "vocals"}, "separates sources without names"),
        ({"sources": ["vocals"]}, "separates vocals"),
        ({"sources": ("a", "b", "c")}, "separates a, b and c"),
    ],
)
def test_what_a_separator_does(infos, does):
    assert describe_task("ConvTasNet", infos) == does


def test_separator_on_a_pair_by_name(names):
    model = sinudae.SinuDAEConvTasNet(pretrained="trained", freeze=True, **MASKER)
    dae = sinudae.SinuDAE.from_pretrained("trained")
    assert torch.equal(model.decoder.filterbank.filters(), dae.decoder.filterbank.filters())
    assert sinudae.SinuDAEConvTasNet(pretrained="start", **MASKER).get_model_args()["stride"] == 16
    with pytest.raises(ValueError, match="^pretrained does not agree with n_filters=11 "):
        sinudae.SinuDAEConvTasNet(pretrained="trained", n_filters=11, **MASKER)
    with pytest.raises(ValueError, match="^'other' is neither a file nor the name of a model, "):
        sinudae.SinuDAEConvTasNet(pretrained="other", **MASKER)


@pytest.mark.parametrize("name", ["trained", "start"])
def test_commands_take_names(names, capsys, name):
    soundfile = pytest.importorskip("soundfile")
    for path in "song.wav", "vocals.wav":
        soundfile.write(path, torch.randn(2000, 1).mul(0.1).numpy(), int(RATE))
    assert main(["info", name]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    assert facts["class"] == "SinuDAE" and facts["hop (samples)"] == 16
    assert main(["separate", name, "song.wav", "-o", "out"]) == 0
    assert main(["encode", name, "song.wav", "-o", "song.npz"]) == 0
    assert main(["decode", name, "song.npz", "-o", "song2.wav"]) == 0
    assert main(["mask", "song.wav", "vocals.wav", name, "-o", "masked"]) == 0
    assert soundfile.info("out/song_reconstruction.wav").frames == 2000
    assert soundfile.info("masked/song_vocals.wav").frames == 2000


def test_command_with_an_unknown_name(names, capsys):
    assert main(["info", "traind"]) == 1
    assert capsys.readouterr().err == (
        "sinudae: 'traind' is neither a file nor the name of a model, expected one of trained, "
        "start\n"
    )


# Half precision


@pytest.mark.parametrize("encoder", ["conv_smooth", "sinc_smooth"])
def test_half_precision_keeps_one_number_a_channel(encoder):
    package = make_dae(encoder=encoder).serialize()
    stored = in_half_precision(package)
    kept = {name for name, value in stored["state_dict"].items() if value.dtype == torch.float32}
    pair = {"decoder.filterbank.frequency", "decoder.filterbank.phase"}
    edges = {"encoder.filterbank.low", "encoder.filterbank.band"}
    assert kept == pair | (edges if encoder == "sinc_smooth" else set())
    for name, value in stored["state_dict"].items():
        whole = package["state_dict"][name]
        assert torch.equal(value, whole if name in kept else whole.half())
        assert whole.dtype == torch.float32
    assert {**stored, "state_dict": None} == {**package, "state_dict": None}


def test_half_precision_loses_little_and_asteroid_loads_it(tmp_path):
    dae = make_dae(n_filters=80, kernel_size=256)
    torch.save(in_half_precision(dae.serialize()), tmp_path / "half.pth")
    half = sinudae.SinuDAE.from_pretrained(tmp_path / "half.pth")
    # Rounding to 11 bits is an error of -74 dB on either side.
    assert 68 < noise_si_sdr(half, reference=dae) < 90
    carriers = [model.decoder.filterbank.carrier_frequencies() for model in (half, dae)]
    assert torch.equal(*carriers)
    by_asteroid = BaseModel.from_pretrained(str(tmp_path / "half.pth"))
    assert noise_si_sdr(by_asteroid) == noise_si_sdr(half)


@pytest.mark.parametrize("number, said", [(7e4, "70000"), (float("nan"), "nan")])
def test_half_precision_of_numbers_that_do_not_fit(number, said):
    dae = make_dae()
    with torch.no_grad():
        dae.decoder.filterbank.modulator[3, 0, 5] = number
    message = f"^largest number of decoder.filterbank.modulator must be up to 65504, got {said}"
    with pytest.raises(ValueError, match=message):
        in_half_precision(dae.serialize())


def test_noise_is_measured_by_si_sdr():
    dae = make_dae(decoder="conv")
    dae.decode = lambda rep, length=None: rep
    dae.encode = lambda wav: wav + 0.01 * torch.randn(wav.shape)
    assert noise_si_sdr(dae) == pytest.approx(20, abs=0.2)


# What ships

TRAINED = sorted(pretrained.FOLDER.glob("*.pth"))
PAIRS = [
    name for name in pretrained.available() if pretrained.facts(name)["does"].startswith("encodes")
]


def test_shipped_files_come_in_pairs():
    names = {path.name for path in pretrained.FOLDER.glob("*")}
    assert names == {f"{path.stem}{suffix}" for path in TRAINED for suffix in (".pth", ".md")}
    assert list(pretrained.available()) == [p.stem for p in TRAINED] + list(pretrained.STRUCTURES)
    assert not {path.stem for path in TRAINED} & pretrained.STRUCTURES.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_shipped_model_encodes_and_reconstructs(name):
    dae, infos = load_model(name)
    args = dae.get_model_args()
    wav = 0.1 * torch.randn(1, 1, 20_001, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        A = dae.encode(wav)
        estimate = dae.decode(A, 20_001)
    assert A.shape[:2] == (1, args["n_filters"]) and A.min() == 0
    assert A.shape[2] >= -(-20_001 // args["stride"])
    assert estimate.shape == wav.shape
    level = infos["half_precision"]["noise_si_sdr"] if infos else 30.0
    assert noise_si_sdr(dae) > level - 0.1
    twin = sinudae.SinuDAE.from_pretrained(name)
    assert all(
        torch.equal(value, dae.state_dict()[key]) for key, value in twin.state_dict().items()
    )


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_shipped_file_and_its_card(path):
    assert path.stat().st_size <= pretrained.MAX_BYTES == 16_000_000
    text = pretrained.card(path.stem)
    package = load_safely(path)
    assert text.startswith(f"# {path.stem}\n\n")
    assert f"- **Licence**: {package['infos']['licence']}\n" in text
    assert f"- **Data**: {package['infos']['data']}\n" in text
    assert f"- **SHA-256**: {hashlib.sha256(path.read_bytes()).hexdigest()}\n" in text
    for row in package["infos"]["evaluation"]["medians"].values():
        assert all(f"{value:.2f}" in text for value in row.values())
    if path.stem in PAIRS:
        assert package["state_dict"]["decoder.filterbank.frequency"].dtype == torch.float32
    else:
        assert package["infos"]["sources"]


SEPARATORS = [name for name in pretrained.available() if name not in PAIRS]


@pytest.mark.parametrize("semitones", [(0,), (0, 1)])
def test_default_separators(semitones):
    """They ship, and together are what separates if no model is named."""
    assert set(pretrained.DEFAULT_SEPARATORS) <= set(SEPARATORS)
    wav = torch.randn(1, 44100, generator=torch.Generator().manual_seed(0))
    by_default, *each = (
        sinudae.separate(model, wav, semitones=semitones)
        for model in (None, *pretrained.DEFAULT_SEPARATORS)
    )
    for source, estimate in by_default.items():
        expected = torch.stack([one[source] for one in each]).mean(0)
        torch.testing.assert_close(estimate, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SEPARATORS)
def test_shipped_separator_separates(name):
    facts = pretrained.facts(name)
    assert facts["does"] == "separates vocals and accompaniment"
    assert re.search(
        r"vocals \d\.\d \(\+\d\.\d from the mixture\), accompaniment ", facts["figures"]
    )
    model, infos = load_model(name)
    wav = 0.1 * torch.randn(1, 1, 20_001, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        estimates = model(wav)
    assert estimates.shape == (1, 2, 20_001) and estimates.std() > 1e-3
    # The masks of both sources sum to one.
    assert si_sdr(estimates.sum(1, keepdim=True), wav) > 40
    assert infos["sources"] == ["vocals", "accompaniment"]
