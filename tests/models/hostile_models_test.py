"""Model files that are damaged or made to harm: a model that works, or one line."""

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import environment
from hostile_packages import (
    FILTERS,
    MASKER,
    SIZES,
    RunsCode,
    authors_state_dicts,
    package_of_dae,
    package_of_separator,
    prints_or_refuses,
    with_arguments,
    with_weight,
    works_or_refuses,
)
from mutations import STRANGE, mutated_bytes, mutated_values

from asteroid_sinudae import (
    SinuDAE,
    SinuDAEConvTasNet,
    SinuDAELSTMTasNet,
    STFTConvTasNet,
    pretrained,
)
from asteroid_sinudae.models.authors_weights import from_state_dicts
from asteroid_sinudae.models.model_files import describe_file, load_model
from asteroid_sinudae.utils.files import load_safely

# isort: split

from asteroid.models import ConvTasNet, DCUNet, LSTMTasNet

# Files with one thing changed, some hundred of each kind


@pytest.mark.parametrize("make", [package_of_dae, package_of_separator])
def test_mutated_bytes_of_model_files(folder, capsys, make):
    torch.save(make(), "model.pth")
    load = SinuDAE.from_pretrained if make is package_of_dae else SinuDAEConvTasNet.from_pretrained
    works = 0
    for data in mutated_bytes(Path("model.pth").read_bytes(), 60):
        Path("bad.pth").write_bytes(data)
        is_model = works_or_refuses(load_model, "bad.pth")
        assert works_or_refuses(load, "bad.pth") == is_model
        assert (prints_or_refuses(capsys, "info", "bad.pth") == "") == is_model
        works += is_model
    assert works < 6  # where the zip format does not care: padding and dates


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_bytes_of_the_authors_files(folder, capsys, zipped):
    for name, state_dict in zip("ed", authors_state_dicts(), strict=True):
        torch.save(state_dict, f"{name}.pth", _use_new_zipfile_serialization=zipped)
    for side in "ed":
        data = Path(f"{side}.pth").read_bytes()
        for number, damaged in enumerate(mutated_bytes(data, 30)):
            Path(f"{side}.pth").write_bytes(damaged)
            paths = ["e.pth", "d.pth", f"{side}{number}.pth"]
            prints_or_refuses(capsys, "import-weights", *paths, "--stride", "16")
        Path(f"{side}.pth").write_bytes(data)
    assert (
        prints_or_refuses(capsys, "import-weights", "e.pth", "d.pth", "x.pth", "--stride=16") == ""
    )


@pytest.mark.parametrize("make", [package_of_dae, package_of_separator])
def test_mutated_packages(folder, capsys, make):
    load = SinuDAE.from_pretrained if make is package_of_dae else SinuDAEConvTasNet.from_pretrained
    works = 0
    for number, package in enumerate(mutated_values(make(), 100)):
        if isinstance(package, dict):
            is_model = works_or_refuses(load, package)
            works += is_model
        torch.save(package, "bad.pth")
        if isinstance(package, dict) and isinstance(package.get("model_args"), dict):
            # load_model asks for a sample rate where the class has a default
            assert works_or_refuses(load, "bad.pth") == is_model
        if number % 4 == 0:
            is_model = works_or_refuses(load_model, "bad.pth")
            prints_or_refuses(capsys, "info", "bad.pth")
    assert 4 < works < 50


def test_mutated_state_dicts_of_the_authors():
    strange = [*STRANGE, torch.zeros(1).expand(12, 1, 64), torch.eye(3).to_sparse()]
    whole = dict(zip(("encoder", "decoder"), authors_state_dicts(), strict=True))
    variants = list(mutated_values(whole, 80))
    for side, part in whole.items():
        for key in part:
            variants += [{**whole, side: {**part, key: value}} for value in strange]
    for content in variants:
        if isinstance(content, dict) and content.keys() == whole.keys():
            works_or_refuses(lambda parts: from_state_dicts(**parts, stride=16), content)


# Sizes that are declared only


BOMBS = {
    "pair": lambda: with_arguments(package_of_dae(), n_filters=20_000),
    "long kernels": lambda: with_arguments(package_of_dae(), kernel_size=10**8),
    "longer than memory": lambda: with_arguments(package_of_dae(), kernel_size=10**15),
    "wide smoothing": lambda: with_arguments(package_of_dae(), smooth_kernel_size=99_999),
    "far smoothing": lambda: with_arguments(package_of_dae(), smooth_dilation=10**9),
    "bands": lambda: with_arguments(
        package_of_dae(), init="multires", n_filters=2**20, kernel_size=2**20
    ),
    "separator": lambda: with_arguments(package_of_separator(), n_filters=20_000),
    "masker": lambda: with_arguments(package_of_separator(), hid_chan=10**6),
    "blocks": lambda: with_arguments(package_of_separator(), n_blocks=10**9),
    "repeats": lambda: with_arguments(package_of_separator(), n_repeats=10**9),
    "repeats of nothing": lambda: with_arguments(
        package_of_separator(), n_blocks=0, n_repeats=10**12
    ),
    "another model": lambda: with_arguments(
        package_of_separator(), pretrained="multires_c2764_s1024"
    ),
    "STFT": lambda: with_arguments(
        STFTConvTasNet(2, n_fft=64, stride=16, **MASKER).serialize(), n_fft=20_000
    ),
    "Asteroid's STFT": lambda: with_arguments(
        ConvTasNet(2, fb_name="stft", n_filters=64, kernel_size=32, **MASKER).serialize(),
        n_filters=20_000,
    ),
    "Asteroid's layers": lambda: with_arguments(
        LSTMTasNet(2, n_filters=16, n_layers=1, hid_size=4, sample_rate=8000).serialize(),
        n_layers=10**9,
    ),
    "an STFT by default": lambda: {
        "model_name": "DeMask",
        "model_args": {"n_filters": 20_000, "sample_rate": 8000},
        "state_dict": {},
    },
    "Asteroid's sincs": lambda: {
        "model_name": "ConvTasNet",
        "model_args": {
            "n_src": 2,
            "fb_name": "param_sinc",
            "n_filters": 2 * 10**8,
            "kernel_size": 17,
            "sample_rate": 8000,
        },
        "state_dict": {"weight": torch.zeros(3)},
    },
    "Asteroid's gammatones": lambda: {
        "model_name": "ConvTasNet",
        "model_args": {
            "n_src": 2,
            "fb_name": "mpgtf",
            "n_filters": 512,
            "kernel_size": 10**6,
            "sample_rate": 8000,
        },
        "state_dict": {"weight": torch.zeros(3)},
    },
    "DCUNet": lambda: {
        "model_name": "DCUNet",
        "model_args": {
            "architecture": "DCUNet-10",
            "stft_n_filters": 20_000,
            "sample_rate": 8000,
        },
        "state_dict": {},
    },
    "expanded": lambda: with_arguments(
        with_weight(package_of_dae(), torch.zeros(1).expand(20_000, 1, 64)), n_filters=20_000
    ),
}
MEASURE = """
import resource, sys, warnings
warnings.simplefilter("ignore")
from asteroid_sinudae.cli import main

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, 2 * (8_000_000_000,))
for path in sys.argv[1:]:
    print(main(["info", path]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_sizes_that_are_declared_only_take_no_memory(folder):
    for name, make in BOMBS.items():
        torch.save(make(), name)
    command = [sys.executable, "-c", MEASURE, *BOMBS]
    run = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [status for status, _ in lines] == ["1"] * len(BOMBS), run.stderr
    assert all(int(kilobytes) < 150_000 for _, kilobytes in lines), lines
    assert run.stderr.count("\n") == len(BOMBS) and "allocate" not in run.stderr


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_every_reader(folder, name):
    package = BOMBS[name]()
    torch.save(package, "bad.pth")
    for load, source in (
        (load_model, "bad.pth"),
        (SinuDAE.from_pretrained, "bad.pth"),
        (SinuDAEConvTasNet.from_pretrained, "bad.pth"),
        (lambda source: SinuDAEConvTasNet(2, pretrained=source, **MASKER), package),
    ):
        assert not works_or_refuses(load, source)


def test_size_that_differs_is_named():
    with pytest.raises(ValueError, match=r"does not fit SinuDAE: size mismatch for .*20000, 1, 64"):
        SinuDAE.from_pretrained(with_arguments(package_of_dae(), n_filters=20_000))


def test_honest_files_of_all_kinds(folder):
    """The same output, whatever the way a model is loaded; the weights are the model's own."""
    wav = torch.randn(1, 1, 333)
    models = [
        SinuDAE(**SIZES),
        SinuDAE(**SIZES, encoder="sinc_smooth", decoder="cos", smooth_groups=12),
        SinuDAE(n_filters=128, kernel_size=64, stride=16, init="multires"),
        SinuDAEConvTasNet(2, pretrained=SinuDAE(**SIZES), freeze=True, **MASKER),
        SinuDAELSTMTasNet(2, n_layers=2, hid_size=6, dropout=0.0, **SIZES),
        STFTConvTasNet(2, n_fft=64, stride=16, **MASKER),
        ConvTasNet(2, fb_name="param_sinc", n_filters=16, kernel_size=17, **MASKER),
        ConvTasNet(2, fb_name="stft", n_filters=64, kernel_size=32, norm_type="bN", **MASKER),
        DCUNet("DCUNet-10", stft_n_filters=64, stft_kernel_size=64, stft_stride=16),
    ]
    for model in models:
        model.eval()
        torch.save(model.serialize(), "model.pth")
        state = torch.get_rng_state()
        loaded, infos = load_model("model.pth")
        with torch.no_grad():
            assert torch.equal(loaded(wav), model(wav))
        assert infos["software_versions"] and describe_file("model.pth")["parameters"] > 0
        frozen = [parameter.requires_grad for parameter in model.parameters()]
        assert [parameter.requires_grad for parameter in loaded.parameters()] == frozen
        if hasattr(type(model), "_model_args") or "asteroid_sinudae" in type(model).__module__:
            package = model.serialize()
            twin = type(model).from_pretrained(package).eval()
            assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn for a start
            with torch.no_grad():
                for value in package["state_dict"].values():
                    value.add_(1)
                assert torch.equal(twin(wav), loaded(wav))


def test_weights_that_share_memory_in_a_file_do_not_in_the_model(folder):
    package = package_of_dae(decoder="conv")
    package["state_dict"]["decoder.filterbank._filters"] = package["state_dict"][FILTERS]
    torch.save(package, "tied.pth")
    dae = SinuDAE.from_pretrained("tied.pth")
    with torch.no_grad():
        dae.encoder.filterbank._filters.zero_()
    assert dae.decoder.filterbank._filters.abs().min() > 0


# Names, paths, devices


@pytest.mark.parametrize("name", ["", "../x", "x" * 300, "a\0b", "/etc", ".", "~", "card.md", "*"])
def test_names_that_are_no_models(folder, capsys, name):
    with pytest.raises(ValueError, match="is no model of this package, expected one of separator_"):
        pretrained.card(name)
    assert not works_or_refuses(SinuDAE.from_pretrained, name)
    assert not works_or_refuses(load_model, name)
    assert prints_or_refuses(capsys, "info", name)


@pytest.mark.parametrize("name", [None, 5, [], {}, b"sinudae_c800_s256"])
def test_names_that_are_no_text(name):
    with pytest.raises(ValueError, match="^name must be text, got "):
        pretrained.card(name)
    for read in pretrained.resolve, load_model:
        with pytest.raises(ValueError, match="^model must be the name of a model, or its file, go"):
            read(name)


def test_links_in_a_circle(folder, capsys):
    Path("circle").symlink_to("circle")
    Path("folder").mkdir()
    torch.save(package_of_dae(), "model.pth")
    for name in "circle", "folder":
        for arguments in (
            ["info", name],
            ["separate", "model.pth", name, "-o", "out"],
            ["encode", name, "song.wav", "-o", "a.npz"],
            ["decode", "model.pth", name, "-o", "a.wav"],
            ["import-weights", name, "model.pth", "out.pth"],
            ["import-weights", "model.pth", name, "out.pth"],
        ):
            assert prints_or_refuses(capsys, *arguments)
    assert prints_or_refuses(capsys, "import-weights", "model.pth", "model.pth", "circle")


@pytest.mark.parametrize("device", ["meta", "cuda:99", "xpu", "mps:7", "", "cpu:x", "fpga", "lazy"])
def test_devices_that_cannot_compute(folder, capsys, device):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write("song.wav", np.zeros(2000, np.float32), 44100)
    torch.save(package_of_dae(), "model.pth")
    arguments = ["separate", "model.pth", "song.wav", "-o", "out", "--device", device]
    message = prints_or_refuses(capsys, *arguments)
    assert message.startswith(f"device {device!r} cannot be used: ") and not Path("out").exists()


def test_no_code_runs_from_any_place_in_a_file(folder, capsys):
    hidden = OrderedDict(a=torch.ones(2))
    hidden.attribute = RunsCode()
    tensor = torch.nn.Parameter(torch.ones(2))
    package = package_of_dae()
    for number, content in enumerate(
        [
            RunsCode(),
            {"infos": hidden},
            {**package, "infos": {"a": [RunsCode()]}},
            {**package, "model_name": RunsCode()},
            with_arguments(package, sample_rate=RunsCode()),
            with_weight(package, RunsCode()),
            {**package, "infos": {"a": OrderedDict(b=tensor, c=RunsCode())}},
        ]
    ):
        for zipped in True, False:
            torch.save(content, f"{number}.pth", _use_new_zipfile_serialization=zipped)
            message = prints_or_refuses(capsys, "info", f"{number}.pth")
            assert "posix.mkdir" in message and not Path("ran").exists()
            with pytest.raises(ValueError):
                load_safely(f"{number}.pth")
    assert not Path("ran").exists()
