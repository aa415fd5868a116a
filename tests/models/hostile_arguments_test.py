"""Model files whose weights, arguments or notes are of other kinds: a model, or one line."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import yaml
from hostile_packages import (
    FILTERS,
    MASKER,
    SIZES,
    package_of_dae,
    prints_or_refuses,
    with_arguments,
    with_weight,
)

from asteroid_sinudae import (
    SinuDAE,
    SinuDAEConvTasNet,
    STFTConvTasNet,
    make_enc_dec,
)
from asteroid_sinudae.cli import main
from asteroid_sinudae.models.model_files import describe_file, load_model

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
        ([1, 2], "infos must be a dictionary"),
        (None, "infos must be a dictionary"),
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
