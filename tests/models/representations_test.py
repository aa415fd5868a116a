import functools
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import torch

import asteroid_sinudae as sinudae
from asteroid_sinudae.metrics import si_sdr

SMALL = dict(n_filters=10, kernel_size=64, stride=16, sample_rate=16000)


@functools.cache  # the large one takes seconds
def make_stft(n_fft, stride, window):
    return sinudae.STFT(n_fft=n_fft, stride=stride, window=window, sample_rate=44100)


@pytest.mark.parametrize(
    "n_fft, stride, window",
    [(2048, 384, "hamming"), (4096, 768, "hamming"), (64, 24, "hann"), (64, 64, "boxcar")],
)
@pytest.mark.parametrize("n_samples", [1, 100, 10_001])
def test_stft_reconstructs_exactly_to_the_ends(n_fft, stride, window, n_samples):
    torch.manual_seed(0)
    stft = make_stft(n_fft, stride, window)
    wav = torch.randn(2, 1, n_samples)
    estimate = stft.decode(stft.encode(wav), n_samples)
    assert estimate.shape == wav.shape
    assert si_sdr(estimate, wav).min() > 110
    torch.testing.assert_close(estimate, wav, rtol=0, atol=1e-5)  # the level too


def test_stft_magnitudes_equal_scipy():
    torch.manual_seed(0)
    stft = sinudae.STFT(n_fft=64, stride=24)
    wav = torch.randn(1, 1, 24 * 20)
    ours = stft.magnitude(stft.encode(wav))[0].numpy()
    window = scipy.signal.get_window("hamming", 64)
    left = (64 - 24) // 2
    starts = 24 * np.arange(22) - left  # the frames from the first hop on
    padded = np.pad(wav[0, 0].double().numpy(), (left, 200))
    expected = np.stack(
        [np.abs(np.fft.rfft(padded[s + left : s + left + 64] * window)) for s in starts]
    )
    scale = 2 / 64 * 24**0.5  # STFTFB's 1 / (0.5 sqrt(L N / S))
    expected *= scale
    expected[:, [0, -1]] /= 2**0.5
    edges = stft.encoder.edges
    np.testing.assert_allclose(ours[:, edges : edges + 20], expected[:20].T, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_fft=63), "n_fft must be even and at least 2, got 63"),
        (dict(n_fft=64, stride=65), "stride must be 1 to n_fft=64, got 65"),
        (dict(n_fft=64, stride=0), "stride must be 1 to n_fft=64, got 0"),
    ],
)
def test_stft_that_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        sinudae.STFT(**arguments)


def test_magnitude_of_the_auto_encoder_is_the_representation():
    dae = sinudae.SinuDAE(**SMALL)
    rep = dae.encode(torch.randn(2, 1, 1000))
    assert dae.magnitude(rep) is rep and rep.min() == 0 and rep.dtype == torch.float32
    assert rep.shape == (2, 10, 63)


def test_representations_share_a_protocol():
    wav = torch.randn(1, 1, 1000)
    for representation in (sinudae.SinuDAE(**SMALL), sinudae.STFT(n_fft=64, stride=16)):
        representation: sinudae.Representation
        rep = representation.encode(wav)
        magnitude = representation.magnitude(rep)
        assert magnitude.shape == rep.shape and not magnitude.is_complex()
        assert representation.decode(rep * (magnitude > 0), 1000).shape == wav.shape


OTHER_ARGUMENTS = dict(
    encoder="sinc_smooth",
    decoder="cos",
    n_filters=9,
    kernel_size=60,
    stride=20,
    sample_rate=8000.0,
    exponent=1,
    frequency_init="linear",
    smooth_kernel_size=3,
    smooth_dilation=2,
    smooth_groups=9,
    cover_edges=True,
)
BANDS = dict(SMALL, n_filters=40, init="multires", bands="64x4:500:200 32x2:8000:200")


@pytest.mark.parametrize("arguments", [SMALL, OTHER_ARGUMENTS, BANDS])
def test_package_round_trip_through_a_file(tmp_path, arguments):
    torch.manual_seed(0)
    dae = sinudae.SinuDAE(**arguments)
    path = tmp_path / "model.pth"
    torch.save(dae.serialize(), path)
    wav = torch.randn(1, 1, 1000)
    for source in (path, str(path), dae.serialize()):
        twin = sinudae.SinuDAE.from_pretrained(source)
        assert twin.get_model_args() == dae.get_model_args()
        assert torch.equal(twin(wav), dae(wav))
    assert dae.get_model_args().items() >= arguments.items()


class Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_model_files_that_are_refused(tmp_path, capsys):
    package = sinudae.SinuDAE(**SMALL).serialize()
    path = tmp_path / "model.pth"
    load = sinudae.SinuDAE.from_pretrained

    with pytest.raises(FileNotFoundError, match=f"{path} not found: expected a file written by"):
        load(path)
    torch.save({**package, "infos": Payload()}, path)
    with pytest.raises(ValueError, match=f"{path} is refused: it is damaged, or holds objects"):
        load(path)
    assert "this code ran" not in capsys.readouterr().out
    path.write_bytes(b"RIFF....WAVE")
    with pytest.raises(ValueError, match=f"{path} is "):
        load(path)
    torch.save(package, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=f"{path} is "):
        load(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=f"{path} holds a list, expected a dictionary"):
        load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="no serialized model: model_args, model_name missing"):
        load(path)
    with pytest.raises(ValueError, match="holds a model 'ConvTasNet', expected 'SinuDAE'"):
        load({**package, "model_name": "ConvTasNet"})
    with pytest.raises(ValueError, match="does not fit SinuDAE: .*size mismatch"):
        load({**package, "model_args": {**package["model_args"], "stride": 8, "n_filters": 11}})
    with pytest.raises(ValueError, match="does not fit SinuDAE: .*n_filtres"):
        load({**package, "model_args": {"n_filtres": 10}})


def test_import_makes_asteroid_importable_and_registers_once():
    code = """
import importlib
import asteroid_sinudae
import asteroid
import asteroid_filterbanks
asteroid_sinudae = importlib.reload(asteroid_sinudae)
enc, dec = asteroid_filterbanks.make_enc_dec("ModCosFB", n_filters=4, kernel_size=16)
print(type(dec.filterbank).__name__, asteroid.__version__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ModCosFB ")
