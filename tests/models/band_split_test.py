"""The masker over bands, and separators with it on a pair, the STFT and a free filterbank."""

import asteroid_sinudae as sinudae  # before the first import of asteroid

# isort: split
import copy
import pickle

import pytest
import torch
from asteroid.models import BaseModel

from asteroid_sinudae.models import base_model, baselines
from asteroid_sinudae.models.band_split import BandSplitMasker, mel_band_sizes

MASKER = dict(n_bands=5, bn_chan=4, hid_size=3, n_repeats=1)
PAIR = dict(n_filters=20, kernel_size=32, stride=8, sample_rate=16000)
SIZES = dict(n_fft=32, stride=8, sample_rate=16000)
MODELS = {
    "SinuDAEBandSplitRNN": {**PAIR, **MASKER},
    "STFTBandSplitRNN": {**SIZES, **MASKER},
    "FreeBandSplitRNN": {**PAIR, **MASKER},
}
models = pytest.mark.parametrize("name", MODELS)


def make(name, **options):
    torch.manual_seed(0)
    return getattr(sinudae, name)(2, **{**MODELS[name], **options})


def mel(hertz):
    return 2595 * torch.log10(1 + hertz / 700)


@pytest.mark.parametrize("n_bands", [1, 3, 24, 1000])
def test_bands_are_equally_wide_in_mel(n_bands):
    frequencies = torch.linspace(0, 22050, 513, dtype=torch.float64)
    sizes = mel_band_sizes(frequencies, n_bands)
    width = mel(frequencies[-1]) / n_bands
    numbers = (mel(frequencies) / width).floor().clamp(max=n_bands - 1)
    expected = numbers.unique(return_counts=True)[1]
    assert sum(sizes) == 513 and min(sizes) >= 1
    assert sizes == expected.tolist()


def reference_masks(masker, rep):
    """The masks, band by band and with explicit loops around the recurrent layers."""
    vectors, first = [], 0
    for size, split in zip(masker.band_sizes, masker.split, strict=True):
        band = rep[:, first : first + size]
        mean, var = band.mean((1, 2), keepdim=True), band.var((1, 2), False, keepdim=True)
        normal = (band - mean) / (var + 1e-8).sqrt()
        normal = split[0].gamma[:, None] * normal + split[0].beta[:, None]
        vectors.append(torch.einsum("nk,bkt->bnt", split[1].weight[..., 0], normal))
        vectors[-1] = vectors[-1] + split[1].bias[:, None]
        first += size
    features = masker.blocks(torch.stack(vectors, 2))
    masks = []
    for number, size in enumerate(masker.band_sizes):
        found = masker.heads[number](features[:, :, number])  # (batch, sources * size, frames)
        masks.append(torch.stack([found[:, :size], found[:, size:]], 1))
    return torch.cat(masks, 2).softmax(1)


def test_masks_against_a_reference():
    torch.manual_seed(0)
    masker = BandSplitMasker(9, 2, band_sizes=[2, 3, 4], bn_chan=5, hid_size=3, n_repeats=2)
    for parameter in masker.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    rep = torch.rand(3, 9, 11)
    masks = masker(rep)
    assert masks.shape == (3, 2, 9, 11)
    torch.testing.assert_close(masks, reference_masks(masker, rep), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(masks.sum(1), torch.ones(3, 9, 11))
    twin = BandSplitMasker(**masker.get_config())
    twin.load_state_dict(masker.state_dict())
    assert torch.equal(twin(rep), masks)


def test_every_band_hears_every_band_and_all_frames():
    masker = BandSplitMasker(4, 2, band_sizes=[1, 3], bn_chan=5, hid_size=3, n_repeats=1)
    rep = torch.rand(1, 4, 6, requires_grad=True)
    masker(rep)[0, 0, 0, 2].backward()
    assert (rep.grad[0] != 0).all()


@models
@pytest.mark.parametrize("mask_act", ["softmax", "sigmoid", "relu"])
def test_a_model_from_its_file(tmp_path, name, mask_act):
    model = make(name, mask_act=mask_act).eval()
    torch.save(model.serialize(), tmp_path / "model.pth")
    for loaded in (
        sinudae.load_model(tmp_path / "model.pth").model,
        BaseModel.from_pretrained(str(tmp_path / "model.pth")).eval(),
    ):
        assert loaded.get_model_args() == model.get_model_args()
        for shape in ((500,), (2, 500), (2, 1, 500)):
            wav = torch.randn(shape)
            assert torch.equal(loaded(wav), model(wav))
            assert loaded(wav).shape == (*shape[:1][: len(shape) - 1], 2, 500)


@models
def test_a_model_for_another_process(name):
    """Pickled, as the processes are given it that score songs by museval."""
    model = make(name).eval()
    wav = torch.randn(1, 1, 300)
    for received in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(received(wav), model(wav))


@models
def test_everything_learns(name):
    model = make(name)
    model(torch.randn(2, 1, 500))[:, 0].square().mean().backward()
    assert {key for key, value in model.named_parameters() if value.grad is None} == set()


@models
def test_traces(name):
    model = make(name).eval()
    traced = torch.jit.trace(model, torch.randn(2, 500))
    for shape in ((500,), (3, 700), (1, 1, 123)):
        wav = torch.randn(shape)
        torch.testing.assert_close(traced(wav), model(wav))


def test_bands_of_a_pair_are_those_of_its_carriers(tmp_path):
    pair = sinudae.SinuDAE(**PAIR)
    model = sinudae.SinuDAEBandSplitRNN(2, pretrained=pair, freeze=True, **MASKER)
    expected = mel_band_sizes(pair.decoder.filterbank.carrier_frequencies(), 5)
    assert model.get_model_args()["band_sizes"] == expected == model.masker.band_sizes
    given = sinudae.SinuDAEBandSplitRNN(2, band_sizes=[10, 10], pretrained=pair, **MASKER)
    assert given.masker.band_sizes == [10, 10]
    without = dict(pretrained=sinudae.SinuDAE(**PAIR, decoder="conv"), **MASKER)
    assert sinudae.SinuDAEBandSplitRNN(2, band_sizes=[20], **without).masker.band_sizes == [20]
    with pytest.raises(ValueError, match="^band_sizes must be given, as the pair's decoder has no"):
        sinudae.SinuDAEBandSplitRNN(2, **without)


# Tied phases

TIED = dict(
    n_filters=88,
    kernel_size=64,
    stride=16,
    sample_rate=16000,
    init="multires",
    bands="64x4:4000:800 32x2:8000",
    compact=True,
)


def trained_pair():
    """A pair whose channels are in another order than their parameters, and off their carriers."""
    torch.manual_seed(3)
    pair = sinudae.SinuDAE(**TIED)
    for parameter in pair.parameters():
        parameter.data += 1e-3 * torch.randn_like(parameter)
    order = torch.randperm(TIED["n_filters"])
    for side in (pair.encoder, pair.decoder):
        side.filterbank.channel_order.copy_(side.filterbank.channel_order[order])
    return pair


def test_channels_of_one_frequency_have_one_mask(tmp_path):
    model = sinudae.SinuDAEBandSplitRNN(
        2, pretrained=trained_pair(), freeze=True, tie_phases=True, **MASKER
    ).eval()
    start = sinudae.SinuDAE(**TIED).decoder.filterbank  # the frequency and window of each row
    windows = [window for window, number in start.supports for _ in range(number)]
    hertz = start.frequency.detach().flatten().square() * 16000
    keys = [(round(f), w) for f, w in zip(hertz.tolist(), windows, strict=True)]
    keys = [keys[row] for row in model.encoder.filterbank.channel_order.tolist()]
    rep = torch.rand(3, len(keys), 7)
    with torch.no_grad():
        masks = model.forward_masker(rep)
        groups = sorted(set(keys))
        members = [[c for c, key in enumerate(keys) if key == group] for group in groups]
        energy = torch.stack([rep[:, own].square().sum(1) for own in members], 1)
        of_groups = model.masker(energy.sqrt())
    assert masks.shape == (3, 2, len(keys), 7) and {len(own) for own in members} == {2, 4}
    for number, own in enumerate(members):
        for channel in own:
            torch.testing.assert_close(masks[:, :, channel], of_groups[:, :, number])

    torch.save(model.serialize(), tmp_path / "model.pth")
    wav = torch.randn(2, 1, 500)
    for loaded in (
        sinudae.load_model(tmp_path / "model.pth").model,
        BaseModel.from_pretrained(str(tmp_path / "model.pth")).eval(),
    ):
        assert loaded.get_model_args()["tie_phases"] is True
        assert torch.equal(loaded(wav), model(wav))
    traced = torch.jit.trace(model, torch.randn(2, 500))
    torch.testing.assert_close(traced(wav), model(wav))


def test_tied_phases_learn_with_their_pair():
    model = sinudae.SinuDAEBandSplitRNN(2, tie_phases=True, **TIED, **MASKER)
    wav = torch.randn(1, 1, 500)
    wav[..., :250] = 0  # energies of zero, at which a root has no gradient
    model(wav)[:, 0].square().mean().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize(
    "name, is_tied, dynamo",
    [
        *((name, False, False) for name in MODELS),
        ("SinuDAEBandSplitRNN", True, False),
        ("SinuDAEBandSplitRNN", True, True),
        *(pytest.param(name, False, True, marks=pytest.mark.slow) for name in MODELS),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path, name, is_tied, dynamo):
    onnxruntime = pytest.importorskip("onnxruntime")
    tied = {**TIED, "tie_phases": True} if is_tied else {}
    model, path = make(name, **tied).eval(), tmp_path / "model.onnx"
    wav = torch.randn(2, 400)
    options = {} if dynamo else {"dynamic_axes": {"wav": {0: "batch", 1: "time"}}}
    torch.onnx.export(model, (wav,), path, input_names=["wav"], dynamo=dynamo, **options)
    session = onnxruntime.InferenceSession(path)
    for other in (wav, torch.randn(2, 400), *([] if dynamo else [torch.randn(3, 711)])):
        (found,) = session.run(None, {"wav": other.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(other), rtol=0, atol=1e-4)


def test_phases_that_cannot_be_tied():
    for arguments in (PAIR, {**TIED, "compact": False}):
        with pytest.raises(ValueError, match="^tie_phases needs a compact pair of the multi-resol"):
            sinudae.SinuDAEBandSplitRNN(2, tie_phases=True, **arguments, **MASKER)
    with pytest.raises(ValueError, match="^tie_phases must be True or False, got 1"):
        sinudae.SinuDAEBandSplitRNN(2, tie_phases=1, **TIED, **MASKER)


@pytest.mark.parametrize("n_fft, is_kept", [(256, False), (258, True)])
def test_a_transform_is_not_in_the_file(tmp_path, monkeypatch, n_fft, is_kept):
    for module in (baselines, base_model):
        monkeypatch.setattr(module, "MAX_COMPUTED", 256)
    model = make("STFTBandSplitRNN", n_fft=n_fft, stride=n_fft // 4).eval()
    state = model.serialize()["state_dict"]
    assert any(not key.startswith("masker.") for key in state) == is_kept
    path = tmp_path / "model.pth"
    torch.save(model.serialize(), path)
    assert (path.stat().st_size < 100_000) != is_kept
    wav = torch.randn(1, 1, 900)
    assert torch.equal(sinudae.load_model(path).model(wav), model(wav))


def test_a_long_transform_that_a_file_does_not_hold_is_refused():
    package = make("STFTBandSplitRNN").serialize()
    package["model_args"]["n_fft"] = 2 * base_model.MAX_COMPUTED
    with pytest.raises(ValueError, match="the transform's length must be that of"):
        sinudae.STFTBandSplitRNN.from_pretrained(package)


def test_transforms_in_older_files_are_dropped():
    model = make("STFTBandSplitRNN")
    package = model.serialize()
    for side in ("encoder", "decoder"):
        for name, buffer in getattr(model, side).filterbank.named_buffers():
            package["state_dict"][f"{side}.filterbank.{name}"] = buffer.clone()
    loaded = sinudae.STFTBandSplitRNN.from_pretrained(package)
    wav = torch.randn(1, 1, 300)
    assert torch.equal(loaded.eval()(wav), model.eval()(wav))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("SinuDAEBandSplitRNN", dict(n_bands=0), "n_bands must be an integer of at least 1, got 0"),
        ("SinuDAEBandSplitRNN", dict(n_src=0), "n_src must be an integer of at least 1, got 0"),
        ("SinuDAEBandSplitRNN", dict(band_sizes=[7, 7]), "sum of band_sizes must be in_chan=20, g"),
        ("STFTBandSplitRNN", dict(band_sizes=[18, -1]), "size in band_sizes must be an integer of"),
        ("STFTBandSplitRNN", dict(hid_size=0), "hid_size must be an integer of at least 1, got 0"),
        ("FreeBandSplitRNN", dict(n_bands=21), "n_bands must be at most n_filters=20, got 21"),
        ("FreeBandSplitRNN", dict(n_repeats=1.5), "n_repeats must be an integer of at least 1, "),
    ],
)
def test_arguments_that_make_no_sense(name, options, message):
    arguments = {"n_src": 2, **MODELS[name], **options}
    with pytest.raises(ValueError, match=f"^{message}"):
        getattr(sinudae, name)(**arguments)
