"""The command `sinudae`: what it writes and says, and one line for each mistake."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from command_line import PAIR_NOTE, mistake
from hostile_packages import RunsCode
from songs_on_disk import RATE, noise

import asteroid_sinudae
from asteroid_sinudae import SinuDAE, masks, pretrained
from asteroid_sinudae.cli import RULES, main
from asteroid_sinudae.models import registry
from asteroid_sinudae.utils.files import load_safely


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
    assert printed.out == "new/a.npz\nb.wav\nsong_reconstruction.wav\n"
    assert printed.err == f"sinudae: note: song.wav{PAIR_NOTE}\n"
    decoded, rate = soundfile.read("b.wav")
    assert rate == RATE
    np.testing.assert_allclose(decoded, soundfile.read("song_reconstruction.wav")[0], atol=1e-6)


@pytest.mark.parametrize("factor", [1.1, 1.0001])
def test_encoded_file_of_another_model_of_the_same_sizes(songs_folder, capsys, factor):
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    package = load_safely("dae.pth")
    package["state_dict"]["decoder.filterbank.frequency"] *= factor
    torch.save(package, "other.pth")
    capsys.readouterr()
    message = mistake(capsys, main(["decode", "other.pth", "a.npz", "-o", "a.wav"]))
    assert message.startswith("a.npz is not of this model: frequency of row ")
    assert "must be the model's" in message and not os.path.exists("a.wav")


def test_encoding_in_units_of_the_signals_level(songs_folder):
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    assert main(["encode", "dae.pth", "song.wav", "-o", "b.npz", "--signal_level"]) == 0
    plain, scaled = np.load("a.npz"), np.load("b.npz")
    assert "gains" not in plain
    gains = scaled["gains"][:, None]
    np.testing.assert_allclose(scaled["A"] * gains, plain["A"], rtol=1e-6, atol=1e-9)
    assert gains.max() > 1.05 * gains.min()
    for name in "ab":
        assert main(["decode", "dae.pth", f"{name}.npz", "-o", f"{name}.wav"]) == 0
    first, second = (soundfile.read(f"{name}.wav")[0] for name in "ab")
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_encoded_file_that_was_saved_in_half_precision(songs_folder):
    assert main(["encode", "dae.pth", "song.wav", "-o", "a.npz"]) == 0
    arrays = dict(np.load("a.npz"))
    arrays |= {name: arrays[name].astype(np.float16) for name in ("A", "frequencies")}
    np.savez("half.npz", **arrays)
    assert main(["decode", "dae.pth", "half.npz", "-o", "a.wav"]) == 0


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
            ["decode", "dae.pth", "song.wav", "-o", "a.mp3"],
            "a.mp3 is to be written, expected a name that ends in .wav or .flac",
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


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_to_what_is_read_are_not_replaced(songs_folder, capsys, link):
    link("song.wav", "link.npz")
    arguments = ["encode", "dae.pth", "song.wav", "-o", "link.npz", "--force"]
    message = mistake(capsys, main(arguments))
    assert message == "link.npz is also to be read, expected another file to write"
    assert os.path.samefile("song.wav", "link.npz")


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


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*address, **options):
        raise AssertionError(f"asked for {address}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("first", [True, False])
def test_asteroid_infer_by_name(separator, capsys, no_network, first):
    """The name may also come last, where Asteroid's usage has it; and a folder may be called so."""
    soundfile.write("mono.wav", noise(RATE, 1), RATE)
    Path("separator_vocals").mkdir()
    options = ["--files", "mono.wav", "-o", "separator_vocals"]
    arguments = ["separator_vocals", *options] if first else [*options, "separator_vocals"]
    assert main(["asteroid-infer", *arguments]) == 0
    assert sorted(os.listdir("separator_vocals")) == ["mono_est1.wav", "mono_est2.wav"]
    assert main(["asteroid-infer", "named.pth", "--files", "mono.wav"]) == 0
    by_file, by_name = (
        soundfile.read(f"{folder}/mono_est1.wav")[0] for folder in (".", "separator_vocals")
    )
    assert by_file.any() and np.array_equal(by_file, by_name)


@pytest.mark.parametrize("name", registry.files())
def test_asteroid_infer_with_what_comes_with_the_package(folder, no_network, name):
    soundfile.write("mono.wav", noise(10_000, 1), 44100)
    assert main(["asteroid-infer", name, "--files", "mono.wav"]) == 0
    expected = soundfile.read("mono.wav")[0]
    # Estimates of a separator are scaled one by one; each has a part of the mixture.
    for path in Path().glob("mono_est*.wav"):
        estimate = soundfile.read(path)[0]
        assert np.vdot(estimate, expected) > 0.01 * np.vdot(expected, expected)


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "multires_c800_s256",
            "multires_c800_s256 is an untrained structure, which has no file, expected a model's "
            "file or one of pair, separator_vocals",
        ),
        ("sinudae_c8", "'sinudae_c8' is neither a file nor the name of a model, expected one of "),
    ],
)
def test_names_that_asteroid_infer_has_no_file_of(separator, capsys, no_network, name, message):
    soundfile.write("mono.wav", noise(RATE, 1), RATE)
    status = main(["asteroid-infer", name, "--files", "mono.wav"])
    assert mistake(capsys, status).startswith(message)


def test_asteroid_still_gets_names_of_its_own(songs_folder, capsys, monkeypatch):
    """As they are: it looks for them elsewhere."""
    from asteroid.models import base_models

    asked = []
    monkeypatch.setattr(
        base_models, "cached_download", lambda name: asked.append(name) or "asteroid.pth"
    )
    soundfile.write("mono.wav", noise(RATE, 1), RATE)
    names = ["mpariente/ConvTasNet_WHAM!_sepclean", "https://example.org//model.pth?download=1"]
    for name in names:
        assert main(["asteroid-infer", name, "--files", "mono.wav", "-f"]) == 0
    assert asked == names


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


def test_list_of_models_that_is_not_read():
    """As by a `head` that has ended before the list comes."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "asteroid_sinudae", "models"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_models_are_listed_with_figures_and_licence(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    text = " ".join(out.split())
    for name in pretrained.available():
        assert f"{name} sizes: " in text
    assert text.count(" does: encodes and decodes ") >= 2 + len(pretrained.STRUCTURES)
    assert "reconstruction 68.9;" in text
    assert text.count("licence: non-commercial") >= 2
    both = "separator_vocals and separator_vocals_stft"
    assert text.endswith(f" Without a model, `sinudae separate` takes the mean of {both}.")
