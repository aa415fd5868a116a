"""Model files that are damaged or made to harm: a model that works, or one line."""

import math
import os
import subprocess
import sys
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mutations import STRANGE, mutated_bytes, mutated_values

from asteroid_sinudae import (
    SinuDAE,
    SinuDAEConvTasNet,
    SinuDAELSTMTasNet,
    STFTConvTasNet,
    make_enc_dec,
    pretrained,
)
from asteroid_sinudae.cli import main
from asteroid_sinudae.models.authors_weights import from_state_dicts
from asteroid_sinudae.models.model_files import describe_file, load_model
from asteroid_sinudae.utils.files import load_safely

# isort: split

from asteroid.models import ConvTasNet, DCUNet, LSTMTasNet

ROOT = Path(__file__).resolve().parents[1]
SIZES = dict(n_filters=12, kernel_size=64, stride=16)
MASKER = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=6, skip_chan=4)
FILTERS = "encoder.filterbank._filters"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


def package_of_dae(**arguments):
    return SinuDAE(**{**SIZES, **arguments}).serialize()


def package_of_separator():
    return SinuDAEConvTasNet(2, pretrained=SinuDAE(**SIZES), **MASKER).serialize()


def with_arguments(package, **changes):
    return {**package, "model_args": {**package["model_args"], **changes}}


def with_weight(package, value, name=FILTERS):
    return {**package, "state_dict": {**package["state_dict"], name: value}}


def authors_state_dicts():
    encoder = {"conv_a1.weight": torch.randn(12, 1, 64), "conv_a2.weight": torch.randn(12, 12, 5)}
    decoder = {
        "freq_mat": torch.rand(12, 1, 1),
        "phi": torch.randn(12, 1, 1),
        "norm_factor": torch.randn(12, 1, 64),
    }
    return encoder, decoder


def works_or_refuses(load, *args):
    """Whether `load` gives a model that gives a waveform; otherwise it raises what it may."""
    try:
        model = load(*args)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    model = model[0] if isinstance(model, tuple) else model
    with torch.no_grad():
        assert model(torch.randn(1, 1, 200)).shape[-1] == 200
    return True


def prints_or_refuses(capsys, *argv):
    status = main([str(argument) for argument in argv])
    printed = capsys.readouterr()
    if status == 0:
        assert printed.out and printed.err == ""
    else:
        assert status == 1 and printed.out == "" and printed.err.startswith("sinudae: ")
        assert printed.err.count("\n") == 1 and "TRACEBACK" not in printed.err
    return printed.err.removeprefix("sinudae: ").rstrip("\n")


# Files with one thing changed, some hundred of each kind


@pytest.mark.parametrize("make", [package_of_dae, package_of_separator])
def test_mutated_bytes_of_model_files(folder, capsys, make):
    torch.save(make(), "model.pth")
    load = SinuDAE.from_pretrained if make is package_of_dae else SinuDAEConvTasNet.from_pretrained
    works = 0
    for data in mutated_bytes(Path("model.pth").read_bytes(), 120):
        Path("bad.pth").write_bytes(data)
        is_model = works_or_refuses(load_model, "bad.pth")
        assert works_or_refuses(load, "bad.pth") == is_model
        assert (prints_or_refuses(capsys, "info", "bad.pth") == "") == is_model
        works += is_model
    assert works < 12  # where the zip format does not care: padding and dates


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_bytes_of_the_authors_files(folder, capsys, zipped):
    for name, state_dict in zip("ed", authors_state_dicts(), strict=True):
        torch.save(state_dict, f"{name}.pth", _use_new_zipfile_serialization=zipped)
    for side in "ed":
        data = Path(f"{side}.pth").read_bytes()
        for number, damaged in enumerate(mutated_bytes(data, 60)):
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
    for number, package in enumerate(mutated_values(make(), 250)):
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
    assert 10 < works < 125


def test_mutated_state_dicts_of_the_authors():
    strange = [*STRANGE, torch.zeros(1).expand(12, 1, 64), torch.eye(3).to_sparse()]
    whole = dict(zip(("encoder", "decoder"), authors_state_dicts(), strict=True))
    variants = list(mutated_values(whole, 150))
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
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, env=env)
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


# Weights and arguments of other kinds


@pytest.mark.parametrize(
    "value, said",
    [
        (torch.zeros(1).expand(12, 1, 64), "got (12, 1, 64) expanded from fewer numbers"),
        (torch.zeros(12, 1, 64).to_sparse(), "got torch.sparse_coo"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "got a nested one"),
        (torch.zeros(12, 1, 64, device="meta"), "got one on the meta device"),
        (torch.zeros(12, 1, 64, dtype=torch.complex64), "got torch.complex64"),
        (torch.zeros(12, 1, 64, dtype=torch.int64), "got torch.int64"),
        (torch.zeros(12, 1, 64, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(12, 1, 64).to(torch.float8_e4m3fn), "got torch.float8_e4m3fn"),
        (np.zeros((12, 1, 64)), "got <class 'numpy.ndarray'>"),
        (None, "got <class 'NoneType'>"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_weights_that_are_refused(folder, capsys, value, said):
    package = with_weight(package_of_dae(), value)
    expected = rf"^the package does not fit SinuDAE: {FILTERS} must be a tensor of .*numbers, "
    with pytest.raises(ValueError, match=expected) as caught:
        SinuDAE.from_pretrained(package)
    assert str(caught.value).endswith(said)
    torch.save(package, "bad.pth")
    assert FILTERS in prints_or_refuses(capsys, "info", "bad.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_become_single(dtype):
    package = package_of_dae()
    package["state_dict"] = {k: v.to(dtype) for k, v in package["state_dict"].items()}
    assert {v.dtype for v in SinuDAE.from_pretrained(package).parameters()} == {torch.float32}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
def test_weights_that_are_not_finite(folder, capsys, number):
    weight = torch.zeros(12, 1, 64, dtype=torch.float64)
    weight[3, 0, 5] = number
    torch.save(with_weight(package_of_dae(), weight), "bad.pth")
    said = f"{FILTERS} must be finite, got 1 NaN or infinite of 768 values"
    for load, failure in (
        (SinuDAE.from_pretrained, "does not fit SinuDAE"),
        (load_model, "cannot be loaded"),
        (lambda path: SinuDAEConvTasNet(2, pretrained=path, **MASKER), "does not fit SinuDAE"),
    ):
        with pytest.raises(ValueError) as caught:
            load("bad.pth")
        assert str(caught.value) == f"bad.pth {failure}: {said}"
    assert prints_or_refuses(capsys, "separate", "bad.pth", "song.wav", "-o", "out").endswith(said)
    assert main(["info", "bad.pth"]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    assert facts["weights that are not finite"] == {FILTERS: "1 NaN or infinite of 768 values"}
    assert "weights that are not finite" not in describe_file("sinudae_c800_s256")


def test_info_of_bands_whose_weights_are_not_finite(folder, capsys):
    package = package_of_dae(n_filters=128, init="multires")
    package["state_dict"][FILTERS][0, 0, 0] = math.nan
    torch.save(package, "bad.pth")
    assert prints_or_refuses(capsys, "info", "bad.pth") == ""


WRONG_ARGUMENTS = [
    ("n_filters", "12"),
    ("n_filters", True),
    ("n_filters", 12.0),
    ("n_filters", [12]),
    ("n_filters", None),
    ("n_filters", 10**30),
    ("kernel_size", {}),
    ("stride", 0),
    ("smooth_dilation", "ten"),
    ("smooth_groups", 2.0),
    ("exponent", "2"),
    ("encoder", None),
    ("decoder", ["mod_cos"]),
    ("frequency_init", {"mel": 1}),
    ("cover_edges", "yes"),
    ("init", []),
    ("bands", 5),
    ("bands", [["64", "4"]]),
    ("sample_rate", math.nan),
    ("sample_rate", math.inf),
    ("sample_rate", 10**400),
    ("sample_rate", 1e300),
    ("sample_rate", "44100"),
    ("sample_rate", True),
    ("sample_rate", None),
    ("sample_rate", -1),
    ("unknown", 1),
    (7, 1),
]


@pytest.mark.parametrize("name, value", WRONG_ARGUMENTS)
def test_arguments_of_other_types(folder, capsys, name, value):
    package = package_of_dae()
    package["model_args"][name] = value
    with pytest.raises(ValueError) as caught:
        SinuDAE.from_pretrained(package)
    assert str(caught.value).startswith("the package does not fit SinuDAE: ")
    assert str(name) in str(caught.value)
    torch.save(package, "bad.pth")
    assert prints_or_refuses(capsys, "info", "bad.pth").startswith("bad.pth ")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(sample_rate="44100"), "sample_rate must be positive and finite (Hz), got '44100'"),
        (dict(sample_rate=None), "sample_rate must be positive and finite (Hz), got None"),
        (dict(init="multires", n_filters=None), "n_filters must be an integer of at least 1, got"),
        (dict(init="multires", bands=5), "bands must be text, or a sequence of Band, got 5"),
        (dict(init="multires", bands=[(64, "x", 4)]), "bands must be text, or a sequence of Band,"),
        (dict(init="multires", bands=f"64x4:{'9' * 400}"), "bands must be text, or a sequence of "),
        (dict(bands=5), "bands must be empty, unless init is 'multires', got 5"),
        (dict(smooth_dilation=10**6), "frames of the smoothing must be at most 100000, got 500"),
    ],
)
def test_arguments_of_other_types_to_the_constructor(arguments, message):
    for make in SinuDAE, make_enc_dec:
        with pytest.raises(ValueError) as caught:
            make(**{**SIZES, **arguments})
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "infos, said",
    [
        ({("a", 1): 2}, None),
        ({7: [1, (2,)], None: {1, 2}, "b": b"x"}, None),
        ({"weights": torch.ones(3, 4), "loss": torch.tensor(0.5)}, None),
        ({"nested": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])}, "infos.nested"),
        ([1, 2], "infos: its content must be a valid dictionary"),
        (None, "infos: its content must be a valid dictionary"),
        ({"\ud800": "\x1b[2J"}, None),
        ({"n": 2**2000}, None),
    ],
)
def test_infos_of_other_shapes(folder, capsys, infos, said):
    torch.save({**package_of_dae(), "infos": infos}, "model.pth")
    message = prints_or_refuses(capsys, "info", "model.pth")
    assert (said is None and message == "") or said in message


def test_package_without_infos(folder, capsys):
    package = package_of_dae()
    del package["infos"]
    torch.save(package, "model.pth")
    assert load_model("model.pth")[1] == {} and prints_or_refuses(capsys, "info", "model.pth") == ""


# Values of NumPy's


@pytest.mark.parametrize(
    "arguments",
    [
        dict(sample_rate=np.float64(16000)),
        dict(sample_rate=np.int64(16000)),
        dict(sample_rate=np.float32(16000), n_filters=np.int64(12), stride=np.int16(16)),
        dict(sample_rate=torch.tensor(16000.0), kernel_size=torch.tensor(64)),
        dict(sample_rate=Fraction(16000), cover_edges=np.bool_(True)),
        dict(sample_rate=np.array(16000.0), encoder=np.str_("conv_smooth"), exponent=np.uint8(2)),
    ],
)
def test_scalars_of_other_libraries_become_plain(folder, arguments):
    models = [
        SinuDAE(**{**SIZES, **arguments}),
        SinuDAEConvTasNet(np.int64(2), **MASKER, **{**SIZES, **arguments}),
        STFTConvTasNet(
            2, n_fft=np.int32(64), stride=16, sample_rate=arguments["sample_rate"], **MASKER
        ),
    ]
    for model in models:
        kinds = {type(value) for value in model.get_model_args().values()}
        assert kinds <= {bool, int, float, str, type(None)}
        assert model.sample_rate == 16000 and type(model.sample_rate) in (int, float)
        torch.save(model.serialize(), "model.pth")
        assert load_model("model.pth")[0].get_model_args() == model.get_model_args()
    make_enc_dec(**{**SIZES, **arguments})


def test_scalars_of_other_libraries_in_files(folder, capsys):
    torch.save(with_arguments(package_of_dae(), sample_rate=torch.tensor(16000.0)), "tensor.pth")
    assert load_model("tensor.pth")[0].sample_rate == 16000
    torch.save(with_arguments(package_of_dae(), sample_rate=np.float64(16000)), "numpy.pth")
    message = prints_or_refuses(capsys, "info", "numpy.pth")
    assert message.endswith(".scalar at model_args.sample_rate")
    package = with_arguments(package_of_dae(), sample_rate=np.float64(16000))
    assert type(SinuDAE.from_pretrained(package).sample_rate) is float


# Names, paths, devices


@pytest.mark.parametrize("name", ["", "../x", "x" * 300, "a\0b", "/etc", ".", "~", "card.md", "*"])
def test_names_that_are_no_models(folder, capsys, name):
    with pytest.raises(ValueError, match="is no model of this package, expected one of sinudae_"):
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
            ["separate", name, "song.wav", "-o", "out"],
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


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


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
