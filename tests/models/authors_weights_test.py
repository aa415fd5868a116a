"""The authors' state dicts compute here what they compute there, by a float64 reference."""

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import scipy.signal
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.filterbanks.kernels import mel_frequencies
from asteroid_sinudae.models.authors_weights import from_state_dicts
from asteroid_sinudae.training.sorting import sort_channels
from asteroid_sinudae.utils.files import load_safely

SMALL = dict(n_filters=12, kernel_size=64, taps=5)


def authors_state_dicts(n_filters, kernel_size, taps, seed=0):
    """Two state dicts of the published form, with carriers out of order and as in training."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, bound):
        return bound * (2 * torch.rand(shape, generator=generator) - 1)

    order = torch.randperm(n_filters, generator=generator)
    frequency = mel_frequencies(n_filters, 44100)[order]
    frequency[::5] *= -1  # only the square counts
    encoder = OrderedDict()
    encoder["conv_a1.weight"] = uniform(n_filters, 1, kernel_size, bound=(6 / kernel_size) ** 0.5)
    encoder["conv_a2.weight"] = uniform(
        n_filters, n_filters, taps, bound=(6 / (n_filters * taps)) ** 0.5
    )
    decoder = OrderedDict()
    decoder["norm_factor"] = uniform(
        n_filters, 1, kernel_size, bound=20 / (n_filters + kernel_size)
    )
    decoder["freq_mat"] = frequency.view(n_filters, 1, 1)
    decoder["phi"] = torch.randn(n_filters, 1, 1, generator=generator)
    return encoder, decoder


def in_double(state_dict):
    return {key: value.numpy().astype(np.float64) for key, value in state_dict.items()}


def reference_encode(encoder, wav, stride, dilation, pad):
    """ReLU(conv_a2(X) + X) with X = conv_a1(wav), `pad` zeros at both ends of the waveform."""
    weights = in_double(encoder)
    padded = np.pad(wav, pad)
    spec = np.stack(
        [
            scipy.signal.correlate(padded, kernel, mode="valid")[::stride]
            for kernel in weights["conv_a1.weight"][:, 0]
        ]
    )
    n_filters, frames = spec.shape
    half = weights["conv_a2.weight"].shape[-1] // 2
    smooth = np.zeros_like(spec)
    for tap in range(2 * half + 1):
        lag = (tap - half) * dilation
        source = np.arange(frames) + lag
        inside = (source >= 0) & (source < frames)
        smooth[:, inside] += weights["conv_a2.weight"][:, :, tap] @ spec[:, source[inside]]
    return np.maximum(smooth + spec, 0)


def reference_decode(decoder, representation, stride, pad):
    """Sum over channels and frames of shifted kernels, `pad` samples cut off at both ends."""
    weights = in_double(decoder)
    kernel_size = weights["norm_factor"].shape[-1]
    cycles = weights["freq_mat"][:, 0] ** 2 * np.arange(kernel_size)
    kernels = np.cos(2 * np.pi * cycles + weights["phi"][:, 0]) * weights["norm_factor"][:, 0]
    frames = representation.shape[-1]
    wav = np.zeros((frames - 1) * stride + kernel_size)
    for frame in range(frames):
        start = frame * stride
        wav[start : start + kernel_size] += representation[:, frame] @ kernels
    return wav[pad : len(wav) - pad]


def authors_padding(n_samples, kernel_size, stride):
    """Centres ceil(n_samples / stride) frames on the signal; of the same parity only."""
    twice = (math.ceil(n_samples / stride) - 1) * stride + kernel_size - n_samples
    assert twice % 2 == 0
    return twice // 2


@pytest.mark.parametrize(
    "sizes, stride, dilation, n_samples",
    [
        (SMALL, 16, 10, 1600),  # whole hops: the authors' frames are where ours are
        (SMALL, 16, 10, 1594),
        (dict(n_filters=5, kernel_size=48, taps=3), 10, 2, 998),  # a hop that divides nothing
        (dict(n_filters=7, kernel_size=33, taps=1), 11, 1, 500),
        (dict(n_filters=800, kernel_size=2048, taps=5), 256, 10, 44100),  # the published sizes
    ],
)
def test_equals_the_reference_away_from_the_ends(sizes, stride, dilation, n_samples):
    encoder, decoder = authors_state_dicts(**sizes)
    kernel_size, taps = sizes["kernel_size"], sizes["taps"]
    wav = 0.3 * np.random.default_rng(0).standard_normal(n_samples)
    pad = authors_padding(n_samples, kernel_size, stride)
    theirs = reference_encode(encoder, wav, stride, dilation, pad)
    rebuilt = reference_decode(decoder, theirs, stride, pad)
    assert rebuilt.shape == wav.shape and theirs.max() > 0.3 and np.abs(rebuilt).max() > 0.3

    # Our frame 0 begins (kernel_size - stride) // 2 samples before the signal, theirs `pad`.
    delay = pad - (kernel_size - stride) // 2
    assert 0 <= delay < stride
    delayed = torch.from_numpy(np.pad(wav, [delay, 0])).float().view(1, 1, -1)
    model = from_state_dicts(encoder, decoder, stride=stride, smooth_dilation=dilation)
    with torch.no_grad():
        ours = model.encode(delayed)
        output = model.decode(ours, delayed.shape[-1])[0, 0, delay:].numpy()

    # What the zeros outside reach: the smoothing's frames, and then the kernels of those.
    edge = dilation * (taps // 2) + math.ceil(kernel_size / stride)
    frames = slice(edge, theirs.shape[-1] - edge)
    samples = slice((edge + 1) * stride + kernel_size, -(edge + 1) * stride - kernel_size)
    assert theirs[:, frames].size > 0 and rebuilt[samples].size > 0
    np.testing.assert_allclose(ours[0].numpy()[:, frames], theirs[:, frames], rtol=0, atol=1e-5)
    np.testing.assert_allclose(output[samples], rebuilt[samples], rtol=0, atol=1e-5)


def test_channels_keep_their_order_until_they_are_sorted():
    encoder, decoder = authors_state_dicts(**SMALL)
    model = from_state_dicts(encoder, decoder, stride=16, sample_rate=32000)
    hz = 32000 * decoder["freq_mat"].flatten() ** 2
    torch.testing.assert_close(model.decoder.filterbank.carrier_frequencies(), hz)
    wav = 0.3 * torch.randn(1, 1, 1600, generator=torch.Generator().manual_seed(1))
    before = model(wav)
    assert sort_channels(model)
    torch.testing.assert_close(model.decoder.filterbank.carrier_frequencies(), hz.sort().values)
    torch.testing.assert_close(model(wav), before, rtol=0, atol=1e-5)


def test_arguments_and_sizes_reach_the_model():
    state_dicts = authors_state_dicts(n_filters=6, kernel_size=40, taps=7)
    model = from_state_dicts(*state_dicts, stride=20, sample_rate=8000, smooth_dilation=3)
    assert model.get_model_args() == {
        "encoder": "conv_smooth",
        "decoder": "mod_cos",
        "n_filters": 6,
        "kernel_size": 40,
        "stride": 20,
        "sample_rate": 8000,
        "exponent": 2,
        "frequency_init": "mel",
        "smooth_kernel_size": 7,
        "smooth_dilation": 3,
        "smooth_groups": 1,
        "init": "paper",
        "bands": "",
        "cover_edges": False,
        "compact": False,
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_become_single(dtype):
    state_dicts = authors_state_dicts(**SMALL)
    before = copy.deepcopy(state_dicts)
    cast = [{key: value.to(dtype) for key, value in part.items()} for part in state_dicts]
    model = from_state_dicts(*cast, stride=16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.decoder.filterbank.phase, before[1]["phi"], rtol=0, atol=2e-3)


def test_model_does_not_share_memory_with_the_state_dicts():
    encoder, decoder = authors_state_dicts(**SMALL)
    model = from_state_dicts(encoder, decoder, stride=16)
    decoder["phi"].zero_()
    assert model.decoder.filterbank.phase.abs().min() > 0


@pytest.mark.parametrize("zipped", [True, False])  # False: the only format of torch before 1.6
def test_through_files(tmp_path, zipped):
    state_dicts = authors_state_dicts(**SMALL)
    for name, state_dict in zip("ed", state_dicts, strict=True):
        torch.save(state_dict, tmp_path / name, _use_new_zipfile_serialization=zipped)
    loaded = [load_safely(tmp_path / name) for name in "ed"]
    model = from_state_dicts(*loaded, stride=16)
    torch.save(model.serialize(), tmp_path / "model.pth")
    again = SinuDAE.from_pretrained(tmp_path / "model.pth")
    wav = torch.randn(1, 1, 1001, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again(wav), from_state_dicts(*state_dicts, stride=16)(wav))


WRONG_SHAPES = [
    ("conv_a1.weight", (12, 64), "encoder's conv_a1.weight must be of shape (C, 1, L)"),
    ("conv_a1.weight", (12, 2, 64), "encoder's conv_a1.weight must be of shape (C, 1, L)"),
    ("conv_a1.weight", (0, 1, 64), "encoder's conv_a1.weight must be of shape (C, 1, L)"),
    ("conv_a1.weight", (11, 1, 64), "encoder's conv_a2.weight must be of shape (11, 11, odd L')"),
    ("conv_a1.weight", (12, 1, 48), "decoder's norm_factor must be of shape (12, 1, 48)"),
    ("conv_a2.weight", (12, 12), "encoder's conv_a2.weight must be of shape (12, 12, odd L')"),
    ("conv_a2.weight", (12, 11, 5), "encoder's conv_a2.weight must be of shape (12, 12, odd L')"),
    ("conv_a2.weight", (12, 12, 4), "encoder's conv_a2.weight must be of shape (12, 12, odd L')"),
    ("conv_a2.weight", (12, 12, 0), "encoder's conv_a2.weight must be of shape (12, 12, odd L')"),
    ("freq_mat", (12,), "decoder's freq_mat must be of shape (12, 1, 1)"),
    ("freq_mat", (1, 12, 1), "decoder's freq_mat must be of shape (12, 1, 1)"),
    ("phi", (11, 1, 1), "decoder's phi must be of shape (12, 1, 1)"),
    ("phi", (12, 1, 64), "decoder's phi must be of shape (12, 1, 1)"),
    ("norm_factor", (1, 1, 64), "decoder's norm_factor must be of shape (12, 1, 64)"),
    ("norm_factor", (12, 1, 63), "decoder's norm_factor must be of shape (12, 1, 64)"),
]


@pytest.mark.parametrize("key, shape, message", WRONG_SHAPES)
def test_wrong_shape(key, shape, message):
    encoder, decoder = authors_state_dicts(**SMALL)
    (encoder if key.startswith("conv") else decoder)[key] = torch.zeros(shape)
    with pytest.raises(ValueError) as caught:
        from_state_dicts(encoder, decoder, stride=16)
    wrong = {**encoder, **decoder}[message.split("'s ")[1].split()[0]]
    assert str(caught.value) == f"{message}, got {tuple(wrong.shape)}"


def test_sizes_of_another_model():
    encoder, _ = authors_state_dicts(**SMALL)
    _, decoder = authors_state_dicts(**{**SMALL, "n_filters": 10})
    with pytest.raises(ValueError, match=r"freq_mat must be of shape \(12, 1, 1\), got \(10, 1, 1"):
        from_state_dicts(encoder, decoder, stride=16)


def test_missing_and_unknown_keys():
    encoder, decoder = authors_state_dicts(**SMALL)
    del decoder["phi"]
    with pytest.raises(ValueError, match="^decoder must have .*: missing phi, unknown none$"):
        from_state_dicts(encoder, decoder, stride=16)
    encoder["conv_a1.bias"] = torch.zeros(12)
    encoder[3] = torch.zeros(1)
    with pytest.raises(
        ValueError,
        match="^encoder must have the keys conv_a1.weight, conv_a2.weight and no other: "
        "missing none, unknown 3, conv_a1.bias$",
    ):
        from_state_dicts(encoder, decoder, stride=16)


def test_sides_exchanged():
    encoder, decoder = authors_state_dicts(**SMALL)
    with pytest.raises(
        ValueError,
        match="^encoder must .*: missing conv_a1.weight, conv_a2.weight, unknown freq_mat, norm",
    ):
        from_state_dicts(decoder, encoder, stride=16)


@pytest.mark.parametrize("key", ["conv_a1.weight", "conv_a2.weight", "freq_mat", "norm_factor"])
@pytest.mark.parametrize(
    "value, found",
    [
        (0.5, "<class 'float'>"),
        (torch.zeros(12, 1, 1, dtype=torch.int64), "torch.int64"),
        (torch.zeros(12, 1, 1, dtype=torch.complex64), "torch.complex64"),
    ],
)
def test_value_that_is_no_real_tensor(key, value, found):
    encoder, decoder = authors_state_dicts(**SMALL)
    side, state_dict = ("encoder", encoder) if "conv" in key else ("decoder", decoder)
    state_dict[key] = value
    with pytest.raises(ValueError) as caught:
        from_state_dicts(encoder, decoder, stride=16)
    assert str(caught.value) == (
        f"{side}'s {key} must be a tensor of floating-point numbers, got {found}"
    )


@pytest.mark.parametrize("key", ["conv_a1.weight", "conv_a2.weight", "phi", "norm_factor"])
@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e300])  # the last: infinite in single
def test_values_that_are_not_finite(key, value):
    encoder, decoder = authors_state_dicts(**SMALL)
    side, state_dict = ("encoder", encoder) if "conv" in key else ("decoder", decoder)
    state_dict[key] = state_dict[key].double()
    state_dict[key][3, 0, 0] = value
    n_values = state_dict[key].numel()
    with pytest.raises(ValueError) as caught:
        from_state_dicts(encoder, decoder, stride=16)
    assert str(caught.value) == (
        f"{side}'s {key} must be finite, got 1 NaN or infinite of {n_values} values"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(stride=0), "stride must be an integer of at least 1, got 0"),
        (dict(stride=65), "stride must be at most kernel_size=64, got 65"),
        (dict(stride=16, sample_rate=-1), "sample_rate must be positive and finite (Hz), got -1"),
        (dict(stride=16, smooth_dilation=0), "smooth_dilation must be an integer of at least 1"),
    ],
)
def test_sizes_that_the_files_do_not_hold(arguments, message):
    with pytest.raises(ValueError) as caught:
        from_state_dicts(*authors_state_dicts(**SMALL), **arguments)
    assert str(caught.value).startswith(message)
