"""Where frames stand in time: an impulse has most energy in the frame that is nearest to it."""

import io

import numpy as np
import pytest
import torch
from asteroid_filterbanks import FreeFB

from asteroid_sinudae import STFT, Encoder, SinuDAE, pretrained
from asteroid_sinudae.songs.encoded_file import Signal, write_encoded

RATE = 16000
LENGTH = 4000
BANDS = dict(kernel_size=256, stride=32, sample_rate=RATE, init="multires", n_filters=120)


class Windowed:
    """Kernels that are a Hann window, in our Encoder."""

    sample_rate = RATE

    def __init__(self, kernel_size, stride, cover_edges):
        filterbank = FreeFB(1, kernel_size, stride=stride, sample_rate=RATE)
        filterbank._filters.data[0, 0] = torch.hann_window(kernel_size, periodic=False)
        self.encoder = Encoder(filterbank, cover_edges=cover_edges)
        self.encode, self.frame_times = self.encoder, self.encoder.frame_times

    def magnitude(self, rep):
        return rep


def without_smoothing(**sizes):
    dae = SinuDAE(sample_rate=RATE, **sizes)
    torch.nn.init.zeros_(dae.encoder.filterbank.smooth_weight)
    return dae


SINC = dict(encoder="sinc_smooth", n_filters=40, kernel_size=256)
CASES = {
    "STFT": lambda: STFT(512, 96, sample_rate=RATE),
    "STFT, Hann, half": lambda: STFT(512, 256, "hann", RATE),
    "STFT, odd hop": lambda: STFT(512, 75, sample_rate=RATE),
    "multires": lambda: SinuDAE(**BANDS),
    "multires, no edges": lambda: SinuDAE(**BANDS, cover_edges=False),
    "sinc": lambda: without_smoothing(stride=64, **SINC),
    "sinc, edges": lambda: without_smoothing(stride=64, cover_edges=True, **SINC),
    "sinc, odd hop": lambda: without_smoothing(stride=45, cover_edges=True, **SINC),
    **{
        f"window {sizes}": lambda sizes=sizes: Windowed(*sizes)
        for sizes in [(256, 64, False), (256, 45, True), (255, 64, True), (255, 45, False)]
    },
}


@torch.no_grad()
def energies(representation, sample):
    wav = torch.zeros(1, 1, LENGTH)
    wav[..., sample] = 1
    rep = representation.encode(wav)
    return representation.magnitude(rep)[0].square().sum(0)


@pytest.mark.parametrize("case", CASES)
def test_an_impulse_is_loudest_in_the_nearest_frame(case):
    torch.manual_seed(0)
    representation = CASES[case]()
    stride = representation.encoder.stride
    samples = [0, stride // 2, 1999, 2000, LENGTH - 1, *torch.randint(LENGTH, (30,)).tolist()]
    n_checked = 0
    for sample in samples:
        energy = energies(representation, sample)
        distance = (representation.frame_times(len(energy)) - sample / RATE).abs()
        nearest, next_one = distance.argsort()[:2].tolist()
        if distance[next_one] - distance[nearest] > 4 / RATE:  # where rounding does not decide
            assert energy.argmax() == nearest
            n_checked += 1
    assert n_checked > 15


PAIRS = [name for name, line in pretrained.available().items() if line.startswith("encodes")]


@pytest.mark.parametrize("name", PAIRS)
def test_models_that_ship(name):
    dae = SinuDAE.from_pretrained(name).eval()
    rate, stride = dae.sample_rate, dae.encoder.stride
    wav = torch.zeros(1, 1, 40 * stride)
    sample = 20 * stride + stride // 2
    wav[..., sample] = 1
    energy = dae.encode(wav)[0].square().sum(0)
    times = dae.frame_times(len(energy))
    assert energy.argmax() == (times - sample / rate).abs().argmin() == 20 + dae.encoder.edges


def test_frames_are_centred_on_hops():
    for edges in (False, True):
        dae = SinuDAE(n_filters=4, kernel_size=64, stride=16, sample_rate=RATE, cover_edges=edges)
        times = dae.frame_times(10)
        assert times.dtype == torch.float64 and times.shape == (10,)
        # Hop t has the samples 16 t to 16 t + 15.
        expected = ((np.arange(10) - dae.encoder.edges) * 16 + 7.5) / RATE
        np.testing.assert_allclose(times, expected, rtol=0, atol=1e-12)
    assert dae.encoder.edges == 2
    assert dae.encode(torch.zeros(1, 1, 160)).shape[-1] == 10 + 2 * 2
    assert dae.frame_times(0).shape == (0,)
    for n_frames in (-1, 2.5, True):
        with pytest.raises(ValueError, match="n_frames must be an integer of at least 0, got"):
            dae.frame_times(n_frames)
    message = "n_frames must be at most 268435456, got 1000000000000"
    with pytest.raises(ValueError, match=message):
        dae.frame_times(10**12)


@pytest.mark.parametrize("edges", [False, True])
def test_encoded_files_tell_where_their_first_frame_is(tmp_path, edges):
    dae = SinuDAE(n_filters=4, kernel_size=64, stride=16, sample_rate=RATE, cover_edges=edges)
    A = dae.encode(torch.randn(1, 1, 100)).detach()
    write_encoded(tmp_path / "a.npz", dae, [A], Signal(1, 100, RATE))
    with np.load(io.BytesIO((tmp_path / "a.npz").read_bytes())) as content:
        step = content["stride"] / content["sample_rate"]
        times = content["first_frame_time"] + step * np.arange(content["A"].shape[-1])
        assert content["first_frame_time"].shape == ()
    np.testing.assert_allclose(times, dae.frame_times(A.shape[-1]), rtol=0, atol=1e-12)
