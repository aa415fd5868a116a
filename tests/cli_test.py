"""The command `sinudae`: what it writes and says, and one line for each mistake."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from mutations import mutated_bytes

import asteroid_sinudae
from asteroid_sinudae import SinuDAE, SinuDAEConvTasNet, masks, pretrained
from asteroid_sinudae.cli import RULES, commands, main
from asteroid_sinudae.models.authors_weights import from_state_dicts
from asteroid_sinudae.songs import apply as songs
from asteroid_sinudae.utils.files import load_safely

# isort: split

from asteroid.models import ConvTasNet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The working folder, with the authors' two state dicts in it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_encoder()
    decoder = {
        "freq_mat": torch.linspace(0.5, 0.1, 12).view(12, 1, 1),
        "phi": torch.randn(12, 1, 1),
        "norm_factor": torch.randn(12, 1, 64),
    }
    torch.save(decoder, "decoder.pytorch")
    return tmp_path


def save_encoder(**changes):
    """Write `encoder.pytorch`, keyword arguments being `conv_a1` and `conv_a2`."""
    shapes = {"conv_a1": (12, 1, 64), "conv_a2": (12, 12, 5)}
    values = {name: torch.randn(shape) for name, shape in shapes.items()} | changes
    torch.save({f"{name}.weight": value for name, value in values.items()}, "encoder.pytorch")


def import_weights(*options, out="model.pth"):
    return main(
        ["import-weights", "encoder.pytorch", "decoder.pytorch", out, "--stride", "16", *options]
    )


def mistake(capsys, status):
    """The one line on stderr, without the command's name, of a call that ended with `status` 1."""
    printed = capsys.readouterr()
    assert status == 1 and printed.out == ""
    assert printed.err.startswith("sinudae: ") and printed.err.count("\n") == 1
    return printed.err.removeprefix("sinudae: ").rstrip("\n")


def test_import_weights(weights, capsys):
    assert import_weights("--sample_rate", "16000", "--smooth_dilation", "2") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out == (
        "model.pth: C=12, L=64, stride 16, carriers 160.0 to 4000.0 Hz, 2,280 parameters\n"
    )
    model = SinuDAE.from_pretrained("model.pth")
    expected = from_state_dicts(
        load_safely("encoder.pytorch"),
        load_safely("decoder.pytorch"),
        stride=16,
        sample_rate=16000.0,
        smooth_dilation=2,
    )
    assert model.get_model_args() == expected.get_model_args()
    wav = torch.randn(1, 1, 1001)
    with torch.no_grad():
        assert torch.equal(model(wav), expected(wav))


def test_file_says_where_it_comes_from(weights, capsys):
    (weights / "theirs").mkdir()
    for side in "encoder", "decoder":
        os.rename(f"{side}.pytorch", f"theirs/{side}.pytorch")
    sources = [str(weights / "theirs" / f"{side}.pytorch") for side in ("encoder", "decoder")]
    assert main(["import-weights", *sources, "new/model.pth", "--stride", "16"]) == 0
    assert load_safely("new/model.pth")["infos"]["imported_from"] == {
        side: {
            "file": f"{side}.pytorch",
            "sha256": hashlib.sha256(Path(f"theirs/{side}.pytorch").read_bytes()).hexdigest(),
        }
        for side in ("encoder", "decoder")
    }
    assert str(weights).encode() not in Path("new/model.pth").read_bytes()


def test_existing_output_needs_force(weights, capsys):
    Path("model.pth").write_text("mine")
    message = mistake(capsys, import_weights())
    assert message == "model.pth exists already, expected a new file, or --force"
    assert Path("model.pth").read_text() == "mine"
    assert import_weights("--force") == 0
    assert SinuDAE.from_pretrained("model.pth").get_model_args()["n_filters"] == 12


def test_inputs_are_never_replaced(weights, capsys):
    before = Path("decoder.pytorch").read_bytes()
    message = mistake(capsys, import_weights("--force", out=str(weights / "decoder.pytorch")))
    assert message.endswith("decoder.pytorch is also to be read, expected another file to write")
    assert Path("decoder.pytorch").read_bytes() == before


def test_missing_input(weights, capsys):
    os.unlink("decoder.pytorch")
    message = mistake(capsys, import_weights())
    assert message == "decoder.pytorch not found: expected a file written by torch.save"
    assert sorted(os.listdir()) == ["encoder.pytorch"]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("write", [torch.save, lambda _, path: Path(path).write_bytes(b"noise")])
def test_refused_input(weights, capsys, write):
    write({"conv_a1.weight": RunsCode()}, "encoder.pytorch")
    message = mistake(capsys, import_weights())
    assert message.startswith("encoder.pytorch is ")
    assert sorted(os.listdir()) == ["decoder.pytorch", "encoder.pytorch"]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"conv_a1": torch.zeros(12, 64)},
            "encoder's conv_a1.weight must be of shape (C, 1, L), got (12, 64)",
        ),
        (
            {"conv_a1": torch.zeros(12, 1, 32)},
            "decoder's norm_factor must be of shape (12, 1, 32), got (12, 1, 64)",
        ),
        (
            {"conv_a2": torch.zeros(12, 12, 4)},
            "encoder's conv_a2.weight must be of shape (12, 12, odd L'), got (12, 12, 4)",
        ),
        (
            {"conv_a2": 1.0},
            "encoder's conv_a2.weight must be a tensor of floating-point numbers, got "
            "<class 'float'>",
        ),
        (
            {"conv_a3": torch.zeros(1)},
            "encoder must have the keys conv_a1.weight, conv_a2.weight and no other: missing none, "
            "unknown conv_a3.weight",
        ),
    ],
)
def test_input_that_does_not_fit(weights, capsys, changes, message):
    save_encoder(**changes)
    assert mistake(capsys, import_weights()) == message
    assert not Path("model.pth").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--stride", "0"), "stride must be an integer of at least 1, got 0"),
        (("--stride", "100"), "stride must be at most kernel_size=64, got 100"),
        (("--sample_rate", "0"), "sample_rate must be positive and finite (Hz), got 0.0"),
        (("--smooth_dilation", "0"), "smooth_dilation must be an integer of at least 1, got 0"),
    ],
)
def test_option_that_makes_no_sense(weights, capsys, options, message):
    assert mistake(capsys, import_weights(*options)) == message


def test_output_that_cannot_be_written(weights, capsys):
    Path("file").touch()
    message = mistake(capsys, import_weights(out="file/model.pth"))
    assert message.startswith("cannot write file/model.pth: ")


def test_interruption(weights, capsys, monkeypatch):
    def interrupted(obj, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "save_atomically", interrupted)
    assert import_weights() == 130
    assert capsys.readouterr().err == "sinudae: interrupted\n"
    assert sorted(os.listdir()) == ["decoder.pytorch", "encoder.pytorch"]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["import"],
        ["import-weights", "a", "b", "c", "--strides"],
        ["mask", "a.wav", "b.wav", "--stft", "-o", "out", "--rule", "soft"],
    ],
)
def test_arguments_that_are_not_the_commands(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2 and "usage: sinudae" in capsys.readouterr().err


def test_help_names_the_subcommands_and_their_options(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    names = "separate", "mask", "encode", "decode", "info", "import-weights", "asteroid-infer"
    assert all(command in text for command in names)
    for command in names[:-1]:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert f"usage: sinudae {command}" in text and ("--force" in text or command == "info")
    assert "--stride STRIDE" in text and "(default: 256)" in text


def test_as_a_module(weights):
    """Everything but the last step runs, in a process of its own, without another word."""
    Path("file").touch()
    command = [sys.executable, "-m", "asteroid_sinudae", "import-weights"]
    command += ["encoder.pytorch", "decoder.pytorch", "file/model.pth", "--stride", "16"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sinudae: cannot write file/model.pth: ")
    assert done.stderr.count("\n") == 1


# Songs

RATE = 8000
SIZES = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4)


@pytest.fixture
def songs_folder(tmp_path, monkeypatch):
    """The working folder, with model files, a song of 2 s and its vocals in it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    dae = SinuDAE(n_filters=12, kernel_size=128, stride=32, sample_rate=RATE, smooth_dilation=3)
    save(dae, "dae.pth", training={"steps": 7})
    model = SinuDAEConvTasNet(2, pretrained=dae, freeze=True, **SIZES)
    save(model, "named.pth", sources=["vocals", "accompaniment"])
    save(ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES), "asteroid.pth")
    for name in "song", "vocals":
        soundfile.write(f"{name}.wav", noise(2 * RATE), RATE, subtype="FLOAT")
    return tmp_path


def save(model, path, **infos):
    package = model.serialize()
    package["infos"].update(infos)
    torch.save(package, path)


def noise(length, channels=2):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (length, channels)).astype(np.float32)


def change(path, new, **changes):
    """Another model file, with other values in it; without those that are None."""
    package = {**load_safely(path), **changes}
    torch.save({key: value for key, value in package.items() if value is not None}, new)


def test_reconstruction_by_the_pair(songs_folder, capsys):
    assert main(["separate", "dae.pth", "song.wav", "-o", "out/new", "--chunk", "0.3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out == "out/new/song_reconstruction.wav\n"
    estimate, rate = soundfile.read("out/new/song_reconstruction.wav", dtype="float32")
    dae = SinuDAE.from_pretrained("dae.pth")
    with torch.no_grad():
        expected = dae(torch.from_numpy(noise(2 * RATE).T.copy())[:, None])[:, 0].T
    assert rate == RATE and soundfile.info("out/new/song_reconstruction.wav").subtype == "FLOAT"
    np.testing.assert_allclose(estimate, expected, atol=1e-6)


@pytest.mark.parametrize(
    "model, names",
    [("named", ["vocals", "accompaniment"]), ("asteroid", ["source1", "source2"])],
)
def test_sources_of_a_model(songs_folder, capsys, model, names):
    """In files at the song's rate, with its channels and its length."""
    soundfile.write("a.b.flac", noise(22_051), 11025)
    arguments = ["separate", f"{model}.pth", "a.b.flac", "-o", "out", "--chunk", "0.4"]
    assert main([*arguments, "--overlap", "0.1"]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "sinudae: note: a.b.flac is at 11025 Hz, resampled to the model's 8000 Hz\n"
    )
    paths = [f"out/a.b_{name}.wav" for name in names]
    assert printed.out.split() == paths
    first, second = (soundfile.read(path) for path in paths)
    assert first[1] == second[1] == 11025
    assert first[0].shape == second[0].shape == (22_051, 2)
    assert first[0].any() and not np.allclose(first[0], second[0])


def test_one_sample(songs_folder, capsys):
    soundfile.write("one.wav", noise(1), RATE)
    assert main(["separate", "dae.pth", "one.wav", "-o", "out"]) == 0
    assert soundfile.info("out/one_reconstruction.wav").frames == 1
    capsys.readouterr()
    message = mistake(capsys, main(["separate", "asteroid.pth", "one.wav", "-o", "out"]))
    assert message.startswith("ConvTasNet, given 1 samples, fails: ")


def test_existing_estimates_need_force(songs_folder, capsys):
    Path("out").mkdir()
    Path("out/song_accompaniment.wav").write_text("mine")
    Path("out/other.wav").write_text("mine")
    arguments = ["separate", "named.pth", "song.wav", "-o", "out"]
    message = mistake(capsys, main(arguments))
    assert message == ("out/song_accompaniment.wav exists already, expected a new file, or --force")
    assert Path("out/song_accompaniment.wav").read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert soundfile.info("out/song_accompaniment.wav").frames == 2 * RATE
    assert sorted(os.listdir("out")) == ["other.wav", "song_accompaniment.wav", "song_vocals.wav"]


def test_song_is_never_replaced(songs_folder, capsys):
    Path("out").mkdir()
    os.symlink(songs_folder / "song.wav", "out/song_reconstruction.wav")
    before = Path("song.wav").read_bytes()
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out", "--force"]))
    assert message == (
        "out/song_reconstruction.wav is also to be read, expected another file to write"
    )
    assert Path("song.wav").read_bytes() == before


def test_folder_that_is_a_file(songs_folder, capsys):
    Path("out").touch()
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out"]))
    assert message == "out is a file, expected a folder to write into"
    message = mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "out/new"]))
    assert message.startswith("cannot write out/new/song_reconstruction.wav: ")


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros((0, 2)), "bad.wav has no samples, expected at least one"),
        (
            np.where(np.arange(2 * RATE) < 6000, 0, np.nan)[:, None].repeat(2, axis=1),
            "bad.wav has a NaN or infinite sample at 0.75 s, expected finite ones",
        ),
        (None, "bad.wav not found: expected an audio file"),
    ],
)
def test_song_that_cannot_be_used(songs_folder, capsys, command, samples, message):
    if samples is not None:
        soundfile.write("bad.wav", samples, RATE, subtype="FLOAT")
    arguments = {
        "separate": ["named.pth", "bad.wav", "-o", "out", "--chunk", "0.2"],
        "encode": ["dae.pth", "bad.wav", "-o", "out/bad.npz", "--chunk", "0.2"],
        "mask": ["song.wav", "bad.wav", "dae.pth", "-o", "out", "--chunk", "0.2"],
    }[command]
    assert mistake(capsys, main([command, *arguments])) == message
    assert not Path("out").exists() or os.listdir("out") == []


def test_song_that_is_no_audio(songs_folder, capsys):
    message = mistake(capsys, main(["separate", "dae.pth", "dae.pth", "-o", "out"]))
    assert message.startswith("dae.pth cannot be read as audio, ffmpeg says: ")


@pytest.mark.parametrize(
    "options, message",
    [
        (("--chunk", "-1"), "chunk must be positive and finite (s), got -1.0"),
        (("--chunk", "1", "--overlap", "0.6"), "overlap must be between 0 and half of chunk=1.0 "),
        (("--chunk", "0.001"), "ConvTasNet, given 8 samples, fails: "),
        (("--device", "abacus"), "device 'abacus' cannot be used: "),
    ],
)
def test_option_of_separate_that_makes_no_sense(songs_folder, capsys, options, message):
    arguments = ["separate", "asteroid.pth", "song.wav", "-o", "out", *options]
    assert mistake(capsys, main(arguments)).startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(state_dict=None), "bad.pth is no serialized model of Asteroid: state_dict missing"),
        (
            dict(model_name="Demucs"),
            "bad.pth holds a model 'Demucs', expected a class of Asteroid's or asteroid_sinudae's",
        ),
        (dict(model_name="save_publishable"), "bad.pth holds a model 'save_publishable', expec"),
        (dict(model_name=["ConvTasNet"]), "bad.pth holds a model ['ConvTasNet'], expected"),
        (dict(model_args={"n_src": 2}), "bad.pth has no sample rate, expected one in its model_"),
        (dict(model_args=[]), "bad.pth has no sample rate"),
        (dict(model_args={"sample_rate": 8000, "n_sources": 2}), "bad.pth cannot be loaded: "),
        (dict(state_dict={}), "bad.pth cannot be loaded: "),
        (dict(infos={"sources": ["a/b", "c"]}), "the model's file names its sources ['a/b', 'c'],"),
        (dict(infos={"sources": ["vocals"]}), "the model's file names its sources ['vocals'], exp"),
        (dict(infos={"sources": 2}), "the model's file names its sources 2, expected 2 different"),
    ],
)
def test_model_file_that_cannot_be_used(songs_folder, capsys, changes, message):
    change("asteroid.pth", "bad.pth", **changes)
    status = main(["separate", "bad.pth", "song.wav", "-o", "out"])
    assert mistake(capsys, status).startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["separate", "encode", "decode", "mask", "info"])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"model_name": RunsCode()}, path),
        lambda path: torch.save({"conv.weight": torch.zeros(2)}, path),
        lambda path: Path(path).write_bytes(b"noise"),
        lambda path: None,
    ],
    ids=["pickle", "state dict", "noise", "none"],
)
def test_model_file_of_another_kind(songs_folder, capsys, command, write):
    write("bad.pth")
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    capsys.readouterr()
    arguments = {
        "separate": ["bad.pth", "song.wav", "-o", "out"],
        "encode": ["bad.pth", "song.wav", "-o", "out.npz"],
        "decode": ["bad.pth", "a.npz", "-o", "out.wav"],
        "mask": ["song.wav", "vocals.wav", "bad.pth", "-o", "out"],
        "info": ["bad.pth"],
    }[command]
    assert mistake(capsys, main([command, *arguments])).startswith("bad.pth ")
    assert not Path("ran").exists() and not any("out" in name for name in os.listdir())


def test_model_of_several_channels(songs_folder, capsys, monkeypatch):
    def load_model(path):
        model = ConvTasNet(2, n_filters=16, sample_rate=RATE, **SIZES)
        model.in_channels = 2
        return model, {}

    monkeypatch.setattr(commands, "load_model", load_model)
    message = mistake(capsys, main(["separate", "asteroid.pth", "song.wav", "-o", "out"]))
    assert message == "in_channels of ConvTasNet must be 1: mono signals, got 2"


def test_interrupted_separation(songs_folder, capsys, monkeypatch):
    """In the third chunk."""
    separate, calls = songs._separate_channel, []

    def interrupted(model, wav):
        calls.append(sorted(os.listdir("out")) if Path("out").exists() else [])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return separate(model, wav)

    monkeypatch.setattr(songs, "_separate_channel", interrupted)
    assert main(["separate", "named.pth", "song.wav", "-o", "out", "--chunk", "0.3"]) == 130
    assert capsys.readouterr().err == "sinudae: interrupted\n"
    assert len(calls[-1]) == 2 and all(name.endswith(".part") for name in calls[-1])
    assert os.listdir("out") == []


@pytest.mark.slow
def test_interruption_from_outside(songs_folder):
    """Ctrl-C while the files are written leaves none."""
    soundfile.write("song.wav", noise(600 * RATE), RATE)
    command = [sys.executable, "-m", "asteroid_sinudae", "separate", "named.pth", "song.wav"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = dict(stderr=subprocess.PIPE, text=True)
    with subprocess.Popen([*command, "-o", "out", "--chunk", "0.5"], env=env, **options) as process:
        for _ in range(600):
            parts = list(Path().glob("out/.sinudae-*.part"))
            if sum(part.stat().st_size for part in parts) > 100_000 or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "sinudae: interrupted\n")
    assert os.listdir("out") == []


# Songs that are damaged


def halve(path):
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
def test_song_that_breaks_off(songs_folder, capsys, command):
    """It is a warning, or with --strict refused."""
    halve("song.wav")
    arguments = {
        "separate": ["named.pth", "song.wav", "-o", "out"],
        "encode": ["dae.pth", "song.wav", "-o", "out/a.npz"],
        "mask": ["song.wav", "song.wav", "dae.pth", "-o", "out"],
    }[command]
    message = "song.wav breaks off after 0.999 s of the 2.000 s of its header"
    assert (
        mistake(capsys, main([command, *arguments, "--strict"]))
        == f"{message}: refused by --strict"
    )
    assert not Path("out").exists()
    assert main([command, *arguments]) == 0
    printed = capsys.readouterr()
    assert set(printed.err.splitlines()) == {f"sinudae: warning: {message}"}
    if command != "encode":
        assert soundfile.info(printed.out.split()[0]).frames == pytest.approx(RATE, abs=50)


def test_several_streams_and_vocals_that_differ(songs_folder, capsys):
    ffmpeg("-i", "song.wav", "-i", "vocals.wav", "-map", "0", "-map", "1", "-c:a", "flac", "s.mka")
    ffmpeg("-i", "vocals.wav", "-c:a", "aac", "vocals.m4a")
    assert main(["mask", "s.mka", "vocals.m4a", "dae.pth", "-o", "out"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert notes[0] == "sinudae: note: s.mka has 2 audio streams, of which the first is read"
    assert notes[1].startswith("sinudae: note: vocals.m4a is ") and notes[1].endswith(
        " samples longer than s.mka, cut at the end"
    )
    assert soundfile.info("out/s_vocals.wav").frames == 2 * RATE
    soundfile.write("short.wav", noise(4 * RATE - 9), 2 * RATE)
    assert main(["mask", "song.wav", "short.wav", "dae.pth", "-o", "out"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "sinudae: note: short.wav is at 16000 Hz, resampled to the 8000 Hz of song.wav",
        "sinudae: note: short.wav is 4 samples shorter than song.wav, zeros are added",
    ]


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


@pytest.mark.parametrize(
    "value, said",
    [
        (float("nan"), ("dae.pth ", " must be finite, got 1536 NaN or infinite of 1536 values")),
        (float("inf"), ("dae.pth ", " must be finite, got 1536 NaN or infinite of 1536 values")),
        (
            1e30,
            (
                "SinuDAE gives NaN or infinite values at 0 s of ",
                ", which is finite: the model's weights are at fault",
            ),
        ),
    ],
)
def test_model_whose_weights_are_at_fault(songs_folder, capsys, value, said):
    """No command writes what is not finite."""
    assert main(["encode", "dae.pth", "song.wav", "-o", "good.npz"]) == 0
    capsys.readouterr()
    package = load_safely("dae.pth")
    for weights in package["state_dict"].values():
        weights.fill_(value)
    torch.save(package, "dae.pth")
    for command, *arguments in [
        ("separate", "dae.pth", "song.wav", "-o", "out"),
        ("encode", "dae.pth", "song.wav", "-o", "out/a.npz"),
        ("mask", "song.wav", "vocals.wav", "dae.pth", "-o", "out"),
        *([] if value == 1e30 else [("decode", "dae.pth", "good.npz", "-o", "out/a.wav")]),
    ]:
        message = mistake(capsys, main([command, *arguments]))
        assert message.startswith(said[0]) and message.endswith(said[1])
        assert not Path("out").exists() or os.listdir("out") == []


# Names


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "☃" * 3, "a" * 229])
def test_names_of_any_bytes_and_length(songs_folder, capsys, name):
    os.rename("song.wav", f"{name}.wav")
    folder = Path(os.fsdecode(b"out\xff"))
    assert main(["separate", "dae.pth", f"{name}.wav", "-o", str(folder)]) == 0
    assert main(["encode", "dae.pth", f"{name}.wav", "-o", str(folder / f"{name}.npz")]) == 0
    assert main(["mask", f"{name}.wav", "vocals.wav", "dae.pth", "-o", str(folder)]) == 0
    decoded = folder / ("b" * (251 - 10) + name[-1] + ".wav")
    assert main(["decode", "dae.pth", str(folder / f"{name}.npz"), "-o", str(decoded)]) == 0
    assert capsys.readouterr().err == ""
    ends = ["_accompaniment.wav", "_reconstruction.wav", "_vocals.wav", ".npz"]
    assert set(os.listdir(folder)) == {f"{name}{end}" for end in ends} | {decoded.name}


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_names_that_the_terminal_cannot_show(songs_folder, encoding):
    name = f"☃{os.fsdecode(bytes([255]))}.wav"
    os.rename("song.wav", name)
    done = run("separate", "dae.pth", name, "-o", "out", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.endswith(b"tion.wav\n")
    assert run("separate", "dae.pth", name, "-o", "out", PYTHONIOENCODING=encoding).returncode == 1


def run(*arguments, **environment):
    command = [sys.executable, "-m", "asteroid_sinudae", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=env, capture_output=True)


@pytest.mark.parametrize(
    "make_path", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)], ids=["d", "p", "l"]
)
def test_paths_that_are_no_files(songs_folder, capsys, make_path):
    """As song, as encoded file; a link in a circle also as output."""
    make_path("bad.wav")
    mistake(capsys, main(["separate", "dae.pth", "bad.wav", "-o", "out"]))
    mistake(capsys, main(["mask", "song.wav", "bad.wav", "dae.pth", "-o", "out"]))
    mistake(capsys, main(["decode", "dae.pth", "bad.wav", "-o", "out.wav"]))
    if os.path.islink("bad.wav"):
        mistake(capsys, main(["separate", "dae.pth", "song.wav", "-o", "bad.wav"]))


# Processes


SLOW_FFMPEG = """#!{python}
import os, sys, time
open("pid", "w").write(str(os.getpid()))
os.write(1, b".snd" + b"".join(n.to_bytes(4, "big") for n in (24, 2**32 - 1, 6, 8000, 2)))
while True:
    os.write(1, bytes(8000))
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ffmpeg_ends_with_its_caller(songs_folder, number):
    """In the decoding stage, here of a song without an end."""
    Path("bin").mkdir()
    Path("bin/ffmpeg").write_text(SLOW_FFMPEG.format(python=sys.executable))
    Path("bin/ffmpeg").chmod(0o755)
    Path("song.mp3").write_bytes(b"ID3")
    command = [sys.executable, "-m", "asteroid_sinudae", "separate", "dae.pth", "song.mp3"]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path('bin').resolve()}",
        "TMPDIR": "/no",
    }
    with subprocess.Popen([*command, "-o", "out"], env=env, stderr=subprocess.PIPE) as process:
        wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
        pid = int(Path("pid").read_text())
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    wait_for(lambda: not is_running(pid))
    if number != signal.SIGKILL:
        assert (process.returncode, err) == (130, b"sinudae: interrupted\n")
    assert not Path("out").exists()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it does not come about")


def test_leftovers_are_removed(songs_folder, capsys):
    """By the next call, which writes into the same folder."""
    code = (
        "import os; from asteroid_sinudae.utils.files import atomic_path\n"
        "with atomic_path('out/song_reconstruction.wav'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert len(os.listdir("out")) == 1
    assert main(["separate", "dae.pth", "song.wav", "-o", "out"]) == 0
    assert os.listdir("out") == ["song_reconstruction.wav"]


@pytest.mark.parametrize("command", ["separate", "encode"])
def test_full_disk(songs_folder, capsys, command):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limit[1]))
    try:
        name = "out" if command == "separate" else "out/a.npz"
        status = main([command, "dae.pth", "song.wav", "-o", name])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert mistake(capsys, status).startswith("cannot write out/")
    assert os.listdir("out") == []


def test_damaged_songs_and_encoded_files(songs_folder, capsys):
    """Of each there is a result or one line."""
    soundfile.write("song.wav", noise(300), RATE)
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    for data in mutated_bytes(Path("song.wav").read_bytes(), 60):
        Path("bad.wav").write_bytes(data)
        assert_result_or_line(capsys, ["separate", "dae.pth", "bad.wav", "-o", "out", "--force"])
    for data in mutated_bytes(Path("a.npz").read_bytes(), 100):
        Path("bad.npz").write_bytes(data)
        assert_result_or_line(capsys, ["decode", "dae.pth", "bad.npz", "-o", "b.wav", "--force"])


def assert_result_or_line(capsys, arguments):
    capsys.readouterr()
    status = main(arguments)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors and "unexpected" not in errors
    lines = [line for line in errors.splitlines() if not line.startswith("sinudae: warning")]
    assert (status, len(lines)) in [(0, 0), (0, 1), (1, 1)]  # a note that it is resampled


# Informed separation


@pytest.mark.parametrize("system", ["dae.pth", "--stft"])
def test_mask(songs_folder, capsys, system):
    vocals, rest = 0.5 * noise(2 * RATE), 0.5 * noise(2 * RATE)[::-1]
    soundfile.write("vocals.wav", vocals, RATE, subtype="FLOAT")
    soundfile.write("song.wav", vocals + rest, RATE, subtype="FLOAT")
    arguments = ["mask", "song.wav", "vocals.wav", system, "-o", "out", "--chunk", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out == "out/song_vocals.wav\nout/song_accompaniment.wav\n"
    first, second = (soundfile.read(path, dtype="float32")[0] for path in printed.out.split())
    if system == "--stft":
        np.testing.assert_allclose(first + second, vocals + rest, atol=1e-5)
        assert np.vdot(first, vocals) > 3 * np.vdot(second, vocals) > 0
    assert main([*arguments, "--force", "--threshold", "1000"]) == 0
    assert not np.allclose(soundfile.read("out/song_vocals.wav")[0], first, atol=1e-3)
    # The energy ratio of a fifth is the threshold 0.5, which is the default.
    assert main([*arguments, "--force", "--rule", "energy_ratio", "--threshold", "0.2"]) == 0
    np.testing.assert_allclose(soundfile.read("out/song_vocals.wav")[0], first, atol=1e-6)
    assert main([*arguments, "--force", "--rule", "ratio"]) == 0
    assert not np.allclose(soundfile.read("out/song_vocals.wav")[0], first, atol=1e-3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["song.wav", "vocals.wav"], "expected either MODEL or --stft"),
        (["song.wav", "vocals.wav", "dae.pth", "--stft"], "expected either MODEL or --stft"),
        (
            ["song.wav", "mono.wav", "dae.pth"],
            "channels of mono.wav must be that of song.wav, 2 channels, got 1",
        ),
        (
            ["song.wav", "vocals.wav", "--stft", "--threshold", "nan"],
            "threshold must be finite and not negative, got nan",
        ),
        (
            ["song.wav", "vocals.wav", "--stft", "--rule", "ratio", "--threshold", "0.5"],
            "the ratio mask has no threshold, got threshold=0.5",
        ),
        (
            ["song.wav", "vocals.wav", "--stft", "--rule", "energy_ratio", "--threshold", "1"],
            "threshold must be at least 0 and below 1, got 1.0",
        ),
        (
            ["song.wav", "vocals.wav", "named.pth"],
            "named.pth holds a model 'SinuDAEConvTasNet', expected 'SinuDAE'",
        ),
    ],
)
def test_mask_that_makes_no_sense(songs_folder, capsys, arguments, message):
    soundfile.write("mono.wav", noise(2 * RATE, 1), RATE)
    assert mistake(capsys, main(["mask", *arguments, "-o", "out"])) == message


# Encoding


def test_encode_and_decode(songs_folder, capsys):
    assert main(["encode", "dae.pth", "song.wav", "-o", "new/a.npz", "--chunk", "0.3"]) == 0
    assert main(["decode", "dae.pth", "new/a.npz", "-o", "b.wav", "--chunk", "0.4"]) == 0
    assert main(["separate", "dae.pth", "song.wav", "-o", "."]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("new/a.npz\nb.wav\nsong_reconstruction.wav\n", "")
    decoded, rate = soundfile.read("b.wav")
    assert rate == RATE
    np.testing.assert_allclose(decoded, soundfile.read("song_reconstruction.wav")[0], atol=1e-6)


def test_link_that_leads_nowhere_needs_force(songs_folder, capsys):
    os.symlink("unmounted/a.npz", "a.npz")
    message = mistake(capsys, main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]))
    assert message.startswith("a.npz exists already") and os.path.islink("a.npz")


def test_existing_encoded_file_needs_force(songs_folder, capsys):
    arguments = ["encode", "dae.pth", "song.wav", "-o", "a.npz"]
    assert main(arguments) == main([*arguments, "--force"]) == 0
    capsys.readouterr()
    assert mistake(capsys, main(arguments)).startswith("a.npz exists already")
    assert main(["decode", "dae.pth", "a.npz", "-o", "a.wav"]) == 0
    capsys.readouterr()
    message = mistake(capsys, main(["decode", "dae.pth", "a.npz", "-o", "a.wav"]))
    assert message.startswith("a.wav exists already")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["encode", "dae.pth", "song.wav", "-o", "a.wav"],
            "a.wav is to be written, expected a name that ends in .npz",
        ),
        (
            ["decode", "dae.pth", "song.wav", "-o", "a.flac"],
            "a.flac is to be written, expected a name that ends in .wav",
        ),
        (
            ["decode", "dae.pth", "song.wav", "-o", "song.wav", "--force"],
            "song.wav is also to be read, expected another file to write",
        ),
        (
            ["decode", "dae.pth", "song.wav", "-o", "a.wav"],
            "song.wav is no file of sinudae encode: File is not a zip file",
        ),
        (
            ["encode", "dae.pth", "song.wav", "-o", "song.wav/a.npz"],
            "cannot write song.wav/a.npz: ",
        ),
        (["encode", "dae.pth", "song.wav", "-o", "d.npz"], "d.npz is a folder, expected a file"),
    ],
)
def test_encoded_file_that_makes_no_sense(songs_folder, capsys, arguments, message):
    Path("d.npz").mkdir()
    assert mistake(capsys, main(arguments)).startswith(message)
    assert not Path("a.wav").exists()


# Model files


def test_info(songs_folder, capsys):
    assert main(["info", "dae.pth"]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    dae = SinuDAE.from_pretrained("dae.pth")
    carriers = dae.decoder.filterbank.carrier_frequencies()
    assert facts["class"] == "SinuDAE" and facts["sample rate (Hz)"] == RATE
    assert facts["parameters"] == sum(parameter.numel() for parameter in dae.parameters())
    sizes = [facts[key] for key in ("channels", "kernel (samples)", "hop (samples)")]
    assert sizes == [12, 128, 32] and facts["coefficients a sample"] == 12 / 32
    assert facts["carriers (Hz)"] == [carriers.min().item(), carriers.max().item()]
    assert facts["arguments"] == dae.get_model_args()
    assert facts["infos"]["training"] == {"steps": 7}


def test_info_of_other_models(songs_folder, capsys):
    assert main(["info", "named.pth"]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    assert facts["infos"]["sources"] == ["vocals", "accompaniment"]
    assert facts["class"] == "SinuDAEConvTasNet" and "carriers (Hz)" in facts
    assert main(["info", "asteroid.pth"]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    assert facts["class"] == "ConvTasNet" and "carriers (Hz)" not in facts
    assert facts["arguments"]["n_src"] == 2 and facts["coefficients a sample"] == 2.0


# Asteroid's own command


@pytest.mark.parametrize("model, n_sources", [("dae", 1), ("named", 2), ("asteroid", 2)])
def test_asteroid_infer(songs_folder, capsys, model, n_sources):
    soundfile.write("mono.wav", noise(RATE, 1), RATE)
    Path("out").mkdir()
    assert main(["asteroid-infer", f"{model}.pth", "--files", "mono.wav", "-o", "out"]) == 0
    estimates = [f"mono_est{number}.wav" for number in range(1, n_sources + 1)]
    assert sorted(os.listdir("out")) == estimates
    assert soundfile.info("out/mono_est1.wav").frames == RATE


def test_asteroid_infer_by_overlap_add(songs_folder, capsys):
    song = noise(RATE, 1)
    soundfile.write("mono.wav", song, RATE)
    Path("out").mkdir()
    options = ["--files", "mono.wav", "-o", "out", "--ola-window", "2000"]
    assert main(["asteroid-infer", "named.pth", *options]) == 0
    assert soundfile.info("out/mono_est2.wav").frames == RATE
    message = mistake(
        capsys, main(["asteroid-infer", "named.pth", *options, "-f", "--ola-window-type", "door"])
    )
    assert "door" in message


def test_mistakes_that_asteroid_infer_finds(songs_folder, capsys):
    soundfile.write("mono.wav", noise(100, 1), 11025)
    message = mistake(capsys, main(["asteroid-infer", "named.pth", "--files", "mono.wav"]))
    assert "a sampling rate of 11025Hz for a model of 8000Hz" in message
    torch.save({"model_name": RunsCode()}, "bad.pth")
    message = mistake(capsys, main(["asteroid-infer", "bad.pth", "--files", "mono.wav"]))
    assert message.startswith("asteroid-infer fails: ") and not Path("ran").exists()


def test_help_of_asteroid_infer(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["asteroid-infer", "--help"])
    assert caught.value.code == 0 and "--ola-window" in capsys.readouterr().out


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from asteroid_sinudae.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'asteroid', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "print('imported', sorted(heavy))"
    )
    for option in ("--version", "--help", "--print-completion=bash"):
        run = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True)
        assert run.stdout.endswith("imported []\n"), (run.stdout, run.stderr)


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"sinudae {asteroid_sinudae.__version__}\n"


def test_rules_of_mask_are_those_of_the_masks():
    assert list(RULES) == list(masks.RULES)


def test_models_are_listed_with_figures_and_licence(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    text = " ".join(out.split())
    assert text.count(" does: encodes and decodes ") == len(pretrained.available())
    assert all(name in text for name in pretrained.available())
    assert "reconstruction 70.1;" in text and text.count("licence: non-commercial") == 2
