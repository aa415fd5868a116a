"""Our filterbanks in Asteroid's models, and Asteroid's maskers on our pair."""

import inspect
import itertools
import pickle
import pydoc
import subprocess
import sys

import asteroid_sinudae as sinudae  # before the first import of asteroid

# isort: split
import asteroid.models
import pytest
import torch
from asteroid.models.base_models import BaseEncoderMaskerDecoder

from asteroid_sinudae.filterbanks.pairs import PairArguments

SIZES = dict(n_filters=8, kernel_size=16, stride=8, sample_rate=16000)
UNET = dict(n_src=2, bn_chan=4, num_blocks=1, upsampling_depth=2)
ASTEROID_MODELS = {
    "ConvTasNet": dict(n_src=2, n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=6, skip_chan=4),
    "DPRNNTasNet": dict(n_src=2, n_repeats=1, bn_chan=4, hid_size=6, chunk_size=10),
    "DPTNet": dict(n_src=2, n_repeats=1, ff_hid=6, chunk_size=10),
    "LSTMTasNet": dict(n_src=2, n_layers=1, hid_size=6, dropout=0.0),
    "SuDORMRFNet": UNET,
    "SuDORMRFImprovedNet": UNET,
    "DeMask": dict(hidden_dims=(6,)),
}
PAIR_MODELS = {f"SinuDAE{name}": args for name, args in list(ASTEROID_MODELS.items())[:4]}
SMOOTHING = dict(smooth_kernel_size=3, smooth_dilation=2)
CARRIERS = dict(exponent=1, frequency_init="linear")
FILTERBANKS = {  # with options that are not the defaults: a lost one changes the output
    "conv": dict(output_activation="tanh"),
    "conv_smooth": SMOOTHING,
    "cos": CARRIERS,
    "mod_cos": CARRIERS,
    "sinc_smooth": SMOOTHING,
    "free": {},  # Asteroid's own, whose files Asteroid 0.7.0 alone cannot load
}
ENCODERS = ("conv_smooth", "sinc_smooth")
DECODERS = ("mod_cos", "cos", "conv", "conv_tanh")
CASES = [
    (name, {**args, **SIZES, **options, "fb_name": fb_name})
    for (name, args), (fb_name, options) in itertools.product(
        ASTEROID_MODELS.items(), FILTERBANKS.items()
    )
] + [
    (name, {**args, **SIZES, **SMOOTHING, **CARRIERS, "encoder": encoder, "decoder": decoder})
    for (name, args), encoder, decoder in itertools.product(PAIR_MODELS.items(), ENCODERS, DECODERS)
]
CASE_NAMES = [
    f"{name}-{args['fb_name'] if 'fb_name' in args else args['encoder'] + '-' + args['decoder']}"
    for name, args in CASES
]

pair_models = pytest.mark.parametrize("name", PAIR_MODELS)


def make(name, arguments):
    torch.manual_seed(0)
    return asteroid.models.get(name)(**arguments)


def make_pair_model(name, **arguments):
    return make(name, {**PAIR_MODELS[name], **arguments})


def make_dae(**arguments):
    torch.manual_seed(1)
    return sinudae.SinuDAE(**{**SIZES, **arguments})


def without_gradient(name, arguments):
    """Parameters that a model of this kind does not use."""
    if "ConvTasNet" in name:  # Asteroid's, with skip connections
        yield from ("masker.TCN.1.res_conv.weight", "masker.TCN.1.res_conv.bias")
    if arguments.get("fb_name") in ENCODERS:
        yield "decoder.filterbank.smooth_weight"


@pytest.mark.parametrize("name, arguments", CASES, ids=CASE_NAMES)
def test_forward_and_training_step(name, arguments):
    model = make(name, arguments)
    wav = torch.randn(2, 1, 501)
    estimates = model(wav)
    n_src = arguments.get("n_src", 1)
    assert estimates.shape == (2, n_src, 501)
    torch.testing.assert_close(model(wav[:, 0]), estimates)
    assert model(wav[0, 0]).shape == (n_src, 501)

    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    ((estimates - torch.randn_like(estimates)) ** 2).mean().backward()
    optimizer.step()
    unused = {key for key, value in model.named_parameters() if value.grad is None}
    assert unused == set(without_gradient(name, arguments))
    unmoved = {key for key, value in model.named_parameters() if torch.equal(value, before[key])}
    assert unmoved == unused
    assert all(value.isfinite().all() for value in model.parameters())


LOAD_ALL = """
import sys
import asteroid_sinudae
import torch
from asteroid.models import BaseModel

wav, expected = torch.load(sys.argv[1] + "/expected.pt")
for case, output in expected.items():
    model = BaseModel.from_pretrained(f"{sys.argv[1]}/{case}.pth").eval()
    equal = torch.equal(model(wav), output) and model.serialize()["model_name"] in case
    print(case, "equal" if equal else "differs")
"""


def test_a_fresh_process_loads_every_model_file(tmp_path):
    wav = torch.randn(2, 1, 501)
    expected = {}
    for case, (name, arguments) in zip(CASE_NAMES, CASES, strict=True):
        model = make(name, arguments).eval()
        torch.save(model.serialize(), tmp_path / f"{case}.pth")
        expected[case] = model(wav).detach()
    frozen = make_pair_model("SinuDAEConvTasNet", pretrained=make_dae(), freeze=True).eval()
    torch.save(frozen.serialize(), tmp_path / "SinuDAEConvTasNet-frozen.pth")
    expected["SinuDAEConvTasNet-frozen"] = frozen(wav).detach()
    torch.save((wav, expected), tmp_path / "expected.pt")

    command = [sys.executable, "-W", "ignore", "-c", LOAD_ALL, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{case} equal" for case in expected]


class Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_loading_by_asteroid_still_refuses_code(tmp_path, capsys):
    path = tmp_path / "model.pth"
    torch.save({**make(*CASES[0]).serialize(), "infos": Payload()}, path)
    with pytest.raises(pickle.UnpicklingError):
        asteroid.models.BaseModel.from_pretrained(str(path))
    assert "this code ran" not in capsys.readouterr().out


@pair_models
@pytest.mark.parametrize("n_samples", [1, 7, 8, 9, 500, 501])
def test_masks_of_one_leave_what_the_pair_reconstructs(name, n_samples):
    dae = make_dae()
    model = make_pair_model(name, pretrained=dae)
    wav = torch.randn(2, 1, n_samples)
    assert model(wav).shape == (2, 2, n_samples)
    A = dae.encode(wav)
    assert torch.equal(model.forward_encoder(wav), A)
    model.forward_masker = lambda tf_rep: torch.ones(2, 2, *tf_rep.shape[1:])
    torch.testing.assert_close(model(wav), dae(wav).expand(2, 2, n_samples))


def test_masks_are_applied_source_by_source():
    dae = make_dae()
    model = make_pair_model("SinuDAEConvTasNet", pretrained=dae)
    wav = torch.randn(1, 1, 100)
    A = dae.encode(wav)
    masks = torch.rand(1, 2, *A.shape[1:])
    model.forward_masker = lambda tf_rep: masks
    expected = torch.cat([dae.decode(masks[:, source] * A, 100) for source in (0, 1)], dim=1)
    torch.testing.assert_close(model(wav), expected)


OTHER_PAIR = dict(
    encoder="sinc_smooth",
    decoder="cos",
    n_filters=12,
    kernel_size=20,
    stride=5,
    sample_rate=8000.0,
    exponent=1,
    frequency_init="linear",
    smooth_kernel_size=3,
    smooth_dilation=2,
    smooth_groups=12,
    init="paper",
    bands="",
    cover_edges=True,
    compact=False,
)
BANDS = dict(
    n_filters=128, kernel_size=64, stride=16, init="multires", bands="64x4:22050", compact=True
)
OTHER_MASKER = {
    "SinuDAEConvTasNet": dict(
        n_src=3,
        n_blocks=2,
        n_repeats=1,
        bn_chan=4,
        hid_chan=6,
        skip_chan=5,
        conv_kernel_size=5,
        norm_type="cLN",
        mask_act="relu",
        causal=True,
    ),
    "SinuDAEDPRNNTasNet": dict(
        n_src=3,
        bn_chan=4,
        hid_size=6,
        chunk_size=10,
        hop_size=4,
        n_repeats=1,
        norm_type="cLN",
        mask_act="relu",
        bidirectional=False,
        rnn_type="GRU",
        num_layers=2,
        dropout=0.25,
        use_mulcat=True,
    ),
    "SinuDAEDPTNet": dict(
        n_src=3,
        n_heads=2,
        ff_hid=6,
        chunk_size=10,
        hop_size=4,
        n_repeats=1,
        norm_type="cLN",
        ff_activation="tanh",
        mask_act="sigmoid",
        bidirectional=False,
        dropout=0.25,
    ),
    "SinuDAELSTMTasNet": dict(
        n_src=3,
        rnn_type="gru",
        n_layers=2,
        hid_size=6,
        dropout=0.25,
        mask_act="relu",
        bidirectional=False,
    ),
}


@pair_models
def test_every_argument_takes_effect_and_survives_a_file(name, tmp_path):
    model_class = getattr(sinudae, name)
    masker, arguments = OTHER_MASKER[name], {**OTHER_MASKER[name], **OTHER_PAIR, "freeze": True}
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(model_class).parameters.items()
    }
    assert defaults.keys() == arguments.keys() | {"pretrained"}
    same = {key for key, value in arguments.items() if value == defaults[key]}
    # These go with few of the others: in the next test.
    assert same == {"init", "bands", "compact"}

    torch.save(model_class(**arguments).serialize(), tmp_path / "model.pth")
    model = model_class.from_pretrained(tmp_path / "model.pth")
    assert model.get_model_args() == arguments and model.sample_rate == 8000
    assert model.masker.get_config().items() >= masker.items()
    twin = sinudae.SinuDAE(**OTHER_PAIR)
    for side in ("encoder", "decoder"):
        filterbanks = [getattr(owner, side).filterbank for owner in (model, twin)]
        assert filterbanks[0].get_config() == filterbanks[1].get_config()


@pair_models
def test_multires_takes_effect_and_survives_a_file(name, tmp_path):
    model = make_pair_model(name, **BANDS)
    torch.save(model.serialize(), tmp_path / "model.pth")
    twin = type(model).from_pretrained(tmp_path / "model.pth")
    dae = sinudae.SinuDAE(**BANDS)
    assert model.get_model_args().items() >= dae.get_model_args().items()
    assert twin.get_model_args() == model.get_model_args()
    wav = torch.randn(1, 1, 333)
    for pair in (model, twin):
        torch.testing.assert_close(pair.decoder(pair.encoder(wav), 333), wav, rtol=0, atol=1e-3)
        assert torch.equal(pair.encoder(wav), dae.encode(wav))
    masks = torch.rand(1, 2, *dae.encode(wav).shape[1:])
    model.forward_masker = lambda tf_rep: masks
    expected = torch.cat([dae.decode(masks[:, k] * dae.encode(wav), 333) for k in (0, 1)], dim=1)
    torch.testing.assert_close(model(wav), expected)


@pair_models
def test_defaults_are_those_of_asteroid_and_of_the_paper(name):
    asteroid_model = asteroid.models.get(name.removeprefix("SinuDAE"))
    own, theirs = (
        inspect.signature(cls).parameters for cls in (getattr(sinudae, name), asteroid_model)
    )
    pair = inspect.signature(sinudae.SinuDAE).parameters
    for key in own.keys() & pair.keys():
        assert own[key].default == pair[key].default
    for key in own.keys() - pair.keys() - {"pretrained", "freeze"}:
        assert own[key] == theirs[key]
    dropped = {"in_chan", "out_chan", "fb_name", "fb_kwargs", "encoder_activation"}
    assert theirs.keys() - own.keys() <= dropped


@pair_models
def test_a_frozen_pair_stays_as_it_was_trained(name, tmp_path):
    dae = make_dae(decoder="conv")
    torch.save(dae.serialize(), tmp_path / "dae.pth")
    model = make_pair_model(name, pretrained=tmp_path / "dae.pth", freeze=True)
    torch.save(model.serialize(), tmp_path / "model.pth")
    (tmp_path / "dae.pth").unlink()  # is not needed again
    loaded = asteroid.models.BaseModel.from_pretrained(str(tmp_path / "model.pth"))
    for net in (model, loaded):
        assert net.get_model_args()["freeze"] is True
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.1)
        masker = {key: value.clone() for key, value in net.masker.state_dict().items()}
        net(torch.randn(2, 1, 501)).square().mean().backward()
        optimizer.step()
        trained = {
            key.split(".")[0] for key, value in net.named_parameters() if value.grad is not None
        }
        assert trained == {"masker"}
        assert any(not torch.equal(v, masker[k]) for k, v in net.masker.state_dict().items())
        pair = {k: v for k, v in net.state_dict().items() if not k.startswith("masker.")}
        assert pair.keys() == dae.state_dict().keys()
        assert all(torch.equal(value, dae.state_dict()[key]) for key, value in pair.items())


def test_pretrained_is_copied_from_any_form(tmp_path):
    dae = make_dae()
    torch.save(dae.serialize(), tmp_path / "dae.pth")
    for source in (dae, dae.serialize(), tmp_path / "dae.pth", str(tmp_path / "dae.pth")):
        model = make_pair_model("SinuDAEConvTasNet", pretrained=source, freeze=True)
        assert torch.equal(model.decoder.filterbank.filters(), dae.decoder.filterbank.filters())
        assert model.get_model_args().items() >= dae.get_model_args().items()
    assert all(parameter.requires_grad for parameter in dae.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(parameter.any() for parameter in dae.parameters())


def test_pretrained_and_arguments_have_to_agree():
    dae = make_dae()
    agreeing = make_pair_model("SinuDAEConvTasNet", pretrained=dae, n_filters=8, sample_rate=16e3)
    assert agreeing.get_model_args()["n_filters"] == 8
    message = (
        r"^pretrained does not agree with decoder='conv' \(it has 'mod_cos'\), "
        r"n_filters=800 \(it has 8\)$"
    )
    with pytest.raises(ValueError, match=message):
        make_pair_model("SinuDAEConvTasNet", pretrained=dae, n_filters=800, decoder="conv")


def test_pretrained_files_that_are_refused(tmp_path, capsys):
    path = tmp_path / "dae.pth"

    def load():
        make_pair_model("SinuDAEConvTasNet", pretrained=path)

    with pytest.raises(FileNotFoundError, match=f"{path} not found: expected a file written by"):
        load()
    torch.save({**make_dae().serialize(), "infos": Payload()}, path)
    with pytest.raises(ValueError, match=f"{path} is refused: it is damaged, or holds objects"):
        load()
    assert "this code ran" not in capsys.readouterr().out
    torch.save(make_pair_model("SinuDAEConvTasNet", **SIZES).serialize(), path)
    with pytest.raises(ValueError, match="holds a model 'SinuDAEConvTasNet', expected 'SinuDAE'"):
        load()


@pair_models
def test_model_files_that_are_refused(name, tmp_path, capsys):
    package = make_pair_model(name, **SIZES).serialize()
    path = tmp_path / "model.pth"
    load = getattr(sinudae, name).from_pretrained
    with pytest.raises(FileNotFoundError, match=f"{path} not found: expected a file written by"):
        load(path)
    torch.save({**package, "infos": Payload()}, path)
    with pytest.raises(ValueError, match=f"{path} is refused: it is damaged, or holds objects"):
        load(path)
    assert "this code ran" not in capsys.readouterr().out
    torch.save(make_dae().serialize(), path)
    with pytest.raises(ValueError, match=f"{path} holds a model 'SinuDAE', expected '{name}'"):
        load(path)
    with pytest.raises(ValueError, match=f"does not fit {name}: .*size mismatch"):
        load({**package, "model_args": {**package["model_args"], "n_filters": 12}})
    with pytest.raises(ValueError, match=f"does not fit {name}: .*'n_bloks'"):
        load({**package, "model_args": {**package["model_args"], "n_bloks": 1}})


@pair_models
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(n_bloks=2), TypeError, "got an unexpected keyword argument 'n_bloks'"),
        (dict(encoder_activation="relu"), TypeError, "keyword argument 'encoder_activation'"),
        (dict(n_src=0), ValueError, "n_src must be an integer of at least 1, got 0"),
        (dict(freeze="no"), ValueError, "freeze must be True or False, got 'no'"),
        (dict(encoder="mod_cos"), ValueError, "encoder must be one of 'conv_smooth', 'sinc_"),
        (dict(decoder="conv_smooth"), ValueError, "decoder must be one of 'mod_cos', 'cos', 'co"),
        (dict(stride=17), ValueError, "stride must be at most kernel_size=16, got 17"),
        (dict(exponent=3), ValueError, "exponent must be one of 1, 2, got 3"),
    ],
)
def test_arguments_that_make_no_sense(name, arguments, error, message):
    with pytest.raises(error, match=message):
        make_pair_model(name, **{**SIZES, **arguments})


@pytest.mark.parametrize("name", ["SinuDAEDPRNNTasNet", "SinuDAEDPTNet"])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(chunk_size=0), "chunk_size must be an integer of at least 1, got 0"),
        (dict(chunk_size=1), "chunk_size must be 2 to 16384 frames, got 1"),
        (dict(chunk_size=10**9), "chunk_size must be 2 to 16384 frames, got 1000000000"),
        (dict(hop_size=0), "hop_size must be an integer of at least 1, got 0"),
        (dict(hop_size=11), "hop_size must be chunk_size=10 at most, .*, got 11"),
        (dict(chunk_size=101, hop_size=1), "hop_size must be .* no less than 1/100 of it, got 1"),
    ],
)
def test_chunks_that_would_fill_memory_or_lose_frames(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_pair_model(name, **arguments)
    package = make_pair_model(name).serialize()
    package["model_args"].update(arguments)
    with pytest.raises(ValueError, match=f"does not fit {name}: {message}"):
        asteroid.models.get(name).from_pretrained(package)


@pytest.mark.parametrize("name", ["SinuDAEConvTasNet", "STFTConvTasNet"])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_blocks=0), "n_blocks must be an integer of at least 1, got 0"),
        (dict(n_repeats=0), "n_repeats must be an integer of at least 1, got 0"),
        (dict(n_blocks=40), "n_blocks must be at most 20, as block k has dilation 2.k frames"),
    ],
)
def test_blocks_that_would_do_nothing_or_fill_memory(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        asteroid.models.get(name)(2, **arguments)
    package = asteroid.models.get(name)(2, n_blocks=1, n_repeats=1).serialize()
    package["model_args"].update(arguments)
    with pytest.raises(ValueError, match=f"does not fit {name}: {message}"):
        asteroid.models.get(name).from_pretrained(package)


def test_errors_of_arguments_name_the_model():
    with pytest.raises(TypeError, match="^SinuDAEDPTNet: missing a required argument: 'n_src'$"):
        sinudae.SinuDAEDPTNet()
    with pytest.raises(TypeError, match="^SinuDAELSTMTasNet: too many positional arguments$"):
        sinudae.SinuDAELSTMTasNet(2, "lstm", 1, 6, 0.0, "relu", True, "conv_smooth")


@pair_models
def test_waveforms_that_make_no_sense(name):
    model = make_pair_model(name, **SIZES)
    with pytest.raises(ValueError, match=r"expected one channel, .*pass the channels as a batch"):
        model(torch.randn(2, 2, 501))
    with pytest.raises(ValueError, match="expected a waveform of at least one sample, got none"):
        model(torch.randn(2, 1, 0))


@pair_models
def test_models_can_be_copied_and_subclassed(name):
    model = make_pair_model(name, **SIZES).eval()
    assert isinstance(model, BaseEncoderMaskerDecoder)
    wav = torch.randn(1, 1, 100)
    assert torch.equal(pickle.loads(pickle.dumps(model))(wav), model(wav))

    class Vocals(type(model)):
        def __init__(self, hidden=None):
            super().__init__(n_src=1, **{**SIZES, "decoder": "cos"})

    assert list(inspect.signature(Vocals).parameters) == ["hidden"]
    assert Vocals().get_model_args()["decoder"] == "cos"


@pair_models
def test_arguments_of_the_pair_are_written_down_once_and_shown_everywhere(name):
    pair = inspect.signature(PairArguments).parameters
    separator = inspect.signature(getattr(sinudae, name)).parameters
    for shown in (sinudae.SinuDAE, sinudae.make_enc_dec):
        assert inspect.signature(shown).parameters == pair
    assert [(key, separator[key].default) for key in list(separator)[-len(pair) :]] == [
        (key, parameter.default) for key, parameter in pair.items()
    ]
    assert "smooth_groups: int = 1" in pydoc.render_doc(getattr(sinudae, name))


def test_pair_by_place():
    enc, dec = sinudae.make_enc_dec("sinc_smooth", "cos", 8, 16, 8)
    assert (enc.filterbank.n_filters, enc.stride, dec.stride) == (8, 8, 8)
    assert sinudae.SinuDAE("sinc_smooth", "cos", 8).get_model_args()["n_filters"] == 8
    for function, word in ((sinudae.make_enc_dec, "make_enc_dec"), (sinudae.SinuDAE, "SinuDAE")):
        with pytest.raises(TypeError, match=f"^{word}: got an unexpected .* 'n_filter'$"):
            function(n_filter=8)
