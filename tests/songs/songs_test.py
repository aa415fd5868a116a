"""Songs through models: chunks that do not show, rates, channels, level, silence."""

import itertools
import math
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from mutations import mutated_bytes
from torch import nn

from asteroid_sinudae import STFT, SinuDAE, SinuDAEConvTasNet
from asteroid_sinudae.masks import estimate_both
from asteroid_sinudae.songs import apply as songs
from asteroid_sinudae.songs import encoded_file as encoded
from asteroid_sinudae.songs.apply import decoded, masked, separated
from asteroid_sinudae.songs.audio import open_audio
from asteroid_sinudae.songs.encoded_file import open_encoded, write_encoded
from asteroid_sinudae.songs.streams import reach

# isort: split

from asteroid.models import BaseModel, ConvTasNet

RATE = 8000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", params=[False, True], ids=["paper_edges", "covered_edges"])
def dae(request):
    torch.manual_seed(0)
    sizes = dict(n_filters=12, kernel_size=128, stride=32, sample_rate=RATE)
    return SinuDAE(**sizes, smooth_dilation=3, cover_edges=request.param)


def write(name, n_samples, channels=2, rate=RATE, seed=0):
    samples = 0.1 * np.random.default_rng(seed).standard_normal((n_samples, channels))
    soundfile.write(name, samples, rate, subtype="FLOAT")
    return torch.from_numpy(samples.T.astype(np.float32))


def collect(pieces):
    return torch.cat(list(pieces), dim=-1)


def separate(model, path, *args, **options):
    with open_audio(path) as song:
        return collect(separated(model, song, *args, **options))


class Gain(BaseModel):
    """Two sources: the signal times two, and its negative. No model of PyTorch's has less to it."""

    def __init__(self, sample_rate=RATE, in_channels=1):
        super().__init__(sample_rate, in_channels)

    def forward(self, wav):
        return torch.cat([2 * wav, -wav], dim=1)


# Separation


@pytest.mark.parametrize("channels, rate", [(1, RATE), (2, RATE), (2, 2 * RATE), (3, 44100)])
def test_chunks_of_the_pair_equal_the_whole(dae, channels, rate):
    write("a.wav", 4 * rate + 77, channels, rate)
    whole = separate(dae, "a.wav", chunk=10.0)
    chunks = separate(dae, "a.wav", chunk=0.5)
    assert whole.shape == (channels, 1, 4 * rate + 77)
    torch.testing.assert_close(chunks, whole, atol=1e-6, rtol=0)
    assert whole.abs().max() > 1e-3


@torch.no_grad()
def test_file_equals_the_signal(dae):
    wav = write("a.wav", 3 * RATE + 5)
    result = separate(dae, "a.wav", chunk=0.7)
    torch.testing.assert_close(result, dae(wav[:, None]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.05, None, 0.25])
@pytest.mark.parametrize("n_samples", [1, 3999, 4000, 4001, 30_000])
def test_a_perfect_model_keeps_the_level(n_samples, overlap):
    wav = write("a.wav", n_samples)
    result = separate(Gain(), "a.wav", chunk=0.5, overlap=overlap)
    expected = torch.stack([2 * wav, -wav], dim=1)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_rates_there_and_back():
    """A tone that both rates have; the estimates are at the file's rate, with its length."""
    time = torch.arange(50_001, dtype=torch.float64) / 44100
    tone = 0.5 * torch.sin(2 * math.pi * 1000 * time).float()
    soundfile.write("a.wav", torch.stack([tone, -tone], dim=1).numpy(), 44100, subtype="FLOAT")
    result = separate(Gain(sample_rate=22050.0), "a.wav", chunk=0.3)
    assert result.shape == (2, 2, 50_001)
    inner = slice(1000, -1000)
    torch.testing.assert_close(result[0, 0, inner], 2 * tone[inner], atol=2e-6, rtol=0)
    torch.testing.assert_close(result[1, 1, inner], tone[inner], atol=2e-6, rtol=0)


def test_channels_are_signals_of_their_own(dae):
    torch.manual_seed(0)
    model = SinuDAEConvTasNet(
        2, pretrained=dae, n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4
    ).eval()
    wav = write("a.wav", 2 * RATE)
    soundfile.write("b.wav", wav[1].numpy(), RATE, subtype="FLOAT")
    both, second = (separate(model, path, chunk=0.5) for path in ("a.wav", "b.wav"))
    assert both.shape == (2, 2, 2 * RATE) and torch.equal(both[1:], second)


@pytest.mark.parametrize("kind", ["pair", "on the pair", "of Asteroid"])
def test_silence_stays_silence(dae, kind):
    sizes = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4)
    model = {
        "pair": lambda: dae,
        "on the pair": lambda: SinuDAEConvTasNet(2, pretrained=dae, **sizes),
        "of Asteroid": lambda: ConvTasNet(2, n_filters=16, sample_rate=RATE, **sizes),
    }[kind]().eval()
    wav = write("a.wav", 4 * RATE)
    wav[0] = 0
    wav[1, RATE : 3 * RATE] = 0
    soundfile.write("a.wav", wav.T.numpy(), RATE, subtype="FLOAT")
    result = separate(model, "a.wav", chunk=0.5)
    assert result.isfinite().all() and not result[0].any()
    margin = reach(dae)
    inside = result[1, :, RATE + margin : 3 * RATE - margin]
    # Near sound but for the smoothing's rounding, farther away exactly.
    assert inside.abs().max() < 1e-6 * result[1, :, :RATE].abs().max()
    assert not inside[:, 3 * margin : -3 * margin].any()


def test_model_that_does_not_keep_silence():
    """0/0, and a bias."""

    class Bad(Gain):
        def forward(self, wav):
            return super().forward(wav) / wav.abs().sum() + 1

    soundfile.write("a.wav", np.zeros((RATE, 2)), RATE)
    assert not separate(Bad(), "a.wav", chunk=0.5).any()


def make(function):
    class Model(Gain):
        def forward(self, wav):
            return function(wav)

    return Model()


@pytest.mark.parametrize(
    "model, message",
    [
        (Gain(in_channels=2), "in_channels of Gain must be 1: mono signals, got 2"),
        (
            make(lambda wav: nn.functional.conv1d(wav, torch.ones(1, 1, 9000))),
            r"Model, given 4000 samples, fails: .*[Kk]ernel size",
        ),
        (
            make(lambda wav: wav[..., 1:]),
            r"gives the shape \(1, 1, 3999\), expected \(1, sources, 4000\)",
        ),
        (make(lambda wav: (wav, wav)), r"gives the shape \(\), expected"),
        (
            make(lambda wav: wav / 0),
            "Model gives NaN or infinite values at 0 s of a.wav, which is finite: the model's "
            "weights are at fault",
        ),
    ],
)
def test_model_that_does_not_fit(model, message):
    write("a.wav", RATE)
    with pytest.raises(ValueError, match=message):
        separate(model, "a.wav", chunk=0.5)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(chunk=-1.0), r"chunk must be positive and finite \(s\), got -1.0"),
        (dict(chunk=0.0), "chunk must be positive"),
        (dict(chunk=math.nan), "chunk must be positive"),
        (dict(chunk=math.inf), "chunk must be positive"),
        (dict(chunk=1e-5), "chunk must be at least one sample, 0.00013 s, got 1e-05"),
        (dict(overlap=-0.1), r"overlap must be between 0 and half of chunk=10.0 \(s\), got -0.1"),
        (dict(overlap=5.1), "overlap must be between 0 and half of chunk=10.0"),
        (dict(overlap=math.nan), "overlap must be between 0 and half of chunk=10.0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    write("a.wav", 100)
    with pytest.raises(ValueError, match=message):
        separate(Gain(), "a.wav", **options)


# Informed separation


@pytest.mark.parametrize("name", ["DAE", "STFT"])
@torch.no_grad()
def test_chunks_under_a_mask_equal_the_whole(dae, name):
    system = dae if name == "DAE" else STFT(n_fft=128, stride=48, sample_rate=RATE)
    mixture = write("m.wav", 3 * RATE)
    write("v.wav", 3 * RATE, seed=1)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        whole, chunks, other = (
            collect(masked(system, first, second, threshold, chunk))
            for threshold, chunk in ((0.5, 10.0), (0.5, 0.4), (1.0, 10.0))
        )
    torch.testing.assert_close(chunks, whole, atol=1e-5, rtol=0)
    assert not torch.allclose(other, whole, atol=1e-3)
    both = system.decode(system.encode(mixture[:, None]), 3 * RATE)
    torch.testing.assert_close(whole.sum(1, keepdim=True), both, atol=1e-5, rtol=0)


def test_mask_of_files_that_differ(dae):
    write("m.wav", 100)
    write("v.wav", 2149)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        with pytest.raises(
            ValueError, match="length of v.wav must be at most 2048 samples from th"
        ):
            masked(dae, first, second)
        with pytest.raises(ValueError, match="threshold must be finite and not negative, got -1"):
            masked(dae, first, first, threshold=-1)
        with pytest.raises(ValueError, match="rule must be one of 'binary', 'ratio', 'energy_rati"):
            masked(dae, first, first, rule="soft")
        with pytest.raises(ValueError, match="the ratio mask has no threshold, got threshold=0.5"):
            masked(dae, first, first, threshold=0.5, rule="ratio")


@torch.no_grad()
def test_mask_of_files_that_differ_a_little(dae):
    """Vocals of another rate and with what a codec adds."""
    mixture = write("m.wav", RATE)
    write("v.wav", 2 * RATE, rate=2 * RATE)
    vocals = write("w.wav", RATE, seed=1)
    soundfile.write("long.wav", np.pad(vocals.T, [(0, 900), (0, 0)]), RATE, subtype="FLOAT")
    with open_audio("m.wav") as first:
        found = {}
        for name in ("v", "w", "long"):
            with open_audio(f"{name}.wav") as second:
                found[name] = collect(masked(dae, first, second, chunk=0.4))
    assert found["v"].shape == (2, 2, RATE) and found["v"].isfinite().all()
    assert torch.equal(found["long"], found["w"]) and mixture.shape == (2, RATE)


@torch.no_grad()
def test_rule_of_a_mask(dae):
    mixture, vocals = write("m.wav", RATE), write("v.wav", RATE, seed=1)
    with open_audio("m.wav") as first, open_audio("v.wav") as second:
        found = collect(masked(dae, first, second, chunk=0.4, rule="ratio"))
    signals = mixture[:, None], vocals[:, None], (mixture - vocals)[:, None]
    expected = torch.cat(estimate_both(dae, *signals, None, "ratio"), dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# Values that are not finite


@pytest.mark.parametrize(
    "command, value",
    [
        *itertools.product(["separate", "encode", "mask"], [math.nan, math.inf, 1e38]),
        ("decode", math.nan),
        ("decode", math.inf),
    ],
)
def test_weights_at_fault(dae, command, value):
    write("a.wav", RATE)
    encode(dae, "a.wav")
    os.rename("a.npz", "good.npz")
    model = SinuDAE.from_pretrained(dae.serialize())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    with pytest.raises(ValueError, match=r"at 0 s of (a.wav|good.npz), which is finite: the model"):
        run(command, model)
    assert not Path("a.npz").exists()


@pytest.mark.parametrize("command", ["separate", "encode", "mask"])
def test_song_at_fault(dae, command):
    """From half a second on."""
    wav = write("a.wav", RATE)
    wav[:, RATE // 2 :] = 1e38
    soundfile.write("a.wav", wav.T.numpy(), RATE, subtype="FLOAT")
    message = (
        r"SinuDAE gives NaN or infinite values at 0.4\d+ s of a.wav: a.wav has values up to 1e\+38"
    )
    with pytest.raises(ValueError, match=message):
        run(command, dae)
    assert not Path("a.npz").exists()


def run(command, model):
    with open_audio("a.wav") as song:
        if command == "separate":
            collect(separated(model, song, chunk=0.3))
        elif command == "encode":
            encode(model, "a.wav", chunk=0.3)
        elif command == "decode":
            decode(model, "good.npz")
        else:
            collect(masked(model, song, song, chunk=0.3))


# Encoded signals


def encode(model, path, chunk=10.0):
    with open_audio(path) as song:
        pieces, signal = songs.encoded(model, song, chunk)
        write_encoded(Path("a.npz"), model, pieces, signal)


def decode(model, path="a.npz", chunk=10.0):
    with open_encoded(path) as file:
        return collect(decoded(model, file, chunk))


@pytest.mark.parametrize("n_samples", [1, 31, 32, 33, 3 * RATE + 5])
@pytest.mark.parametrize("channels", [1, 2])
@torch.no_grad()
def test_encoded_file(dae, n_samples, channels):
    wav = write("a.wav", n_samples, channels)
    encode(dae, "a.wav", chunk=0.3)
    expected = dae.encode(wav[:, None])
    content = np.load("a.npz")
    assert content["A"].dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(content["A"]), expected, atol=1e-6, rtol=0)
    carriers = dae.decoder.filterbank.carrier_frequencies().numpy()
    assert np.array_equal(content["frequencies"], carriers)
    values = {key: content[key].item() for key in ("stride", "sample_rate", "length")}
    assert values == {"stride": 32, "sample_rate": RATE, "length": n_samples}
    torch.testing.assert_close(decode(dae, chunk=0.3), dae(wav[:, None]), atol=1e-6, rtol=0)


def test_encoded_file_of_another_rate(dae):
    write("a.wav", 44100, rate=44100)
    encode(dae, "a.wav")
    content = np.load("a.npz")
    assert content["length"] == RATE and content["A"].shape == (2, 12, 250 + 2 * dae.encoder.edges)
    assert decode(dae).shape == (2, 1, RATE)


def test_encoded_without_carriers():
    model = SinuDAE(decoder="conv", n_filters=4, kernel_size=64, stride=16, sample_rate=RATE)
    write("a.wav", 100)
    encode(model, "a.wav")
    assert np.isnan(np.load("a.npz")["frequencies"]).all()
    assert decode(model).shape == (2, 1, 100)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", "FC")
@torch.no_grad()
def test_edited_file(dae, save, order, monkeypatch):
    """Every way in which NumPy writes it again."""
    monkeypatch.setattr(encoded, "PIECE", 40_000)
    wav = write("a.wav", 3 * RATE + 5)
    encode(dae, "a.wav")
    content = dict(np.load("a.npz"))
    content["A"] = np.asarray(0.5 * content["A"].astype(np.float64), order=order)
    save("b.npz", **content)
    expected = 0.5 * dae(wav[:, None])
    torch.testing.assert_close(decode(dae, "b.npz", chunk=0.3), expected, atol=1e-6, rtol=0)


def test_writing_takes_no_more_memory_for_longer_songs(dae):
    """Pieces are written as they come, and a file appears whole or not at all."""
    sizes = []

    def pieces():
        for _ in range(20):
            yield torch.ones(2, 12, 1000)
            (part,) = Path().glob(".sinudae-*.part")
            sizes.append(part.stat().st_size)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_encoded(Path("a.npz"), dae, pieces(), encoded.Signal(2, 640_000, RATE))
    assert np.diff(sizes).min() > 0.9 * 4 * 2 * 12 * 1000 and os.listdir() == []


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(stride=16), "stride of b.npz must be the model's 32, got 16"),
        (dict(sample_rate=44100), "sample_rate of b.npz must be the model's 8000 Hz, got 44100.0"),
        (
            dict(length=100),
            r"shape of A in b.npz must be \(channels, 12, (4|8)\), of the model and the length, "
            r"got \(2, 12, (250|254)\)",
        ),
        (dict(A=np.zeros((2, 250))), r"shape of A in b.npz must be \(channels, C, frames\), got"),
        (dict(A=np.zeros((2000, 12, 250), "f4")), "channels of b.npz must be at most 1024, got"),
        (dict(A=np.zeros((0, 12, 250))), r"shape of A in b.npz .* got \(0, 12, 250\)"),
        (dict(A=np.zeros((2, 11, 250))), r"shape of A in b.npz .* got \(2, 11, 250\)"),
        (dict(A=np.zeros((2, 12, 250), complex)), "A in b.npz must be of real floating-point num"),
        (dict(A=np.nan), "b.npz cannot be read: A has a NaN"),
        (dict(A=np.full((2, 12, 250), object())), "A in b.npz must be of real"),
        (dict(A=None), "b.npz is no file of sinudae encode: .*A.npy"),
        (dict(length=None), "b.npz is no file of sinudae encode: .*length.npy"),
        (dict(length="ten"), "b.npz is no file of sinudae encode: "),
    ],
)
def test_file_that_does_not_fit(dae, changes, message):
    write("a.wav", RATE)
    encode(dae, "a.wav")
    content = dict(np.load("a.npz"))
    if changes.get("A") is np.nan:
        content["A"][0, 5, 100] = np.nan
    else:
        content |= changes
    np.savez("b.npz", **{key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        decode(dae, "b.npz")


def test_file_that_is_damaged(dae):
    write("a.wav", RATE)
    encode(dae, "a.wav")
    data = bytearray(Path("a.npz").read_bytes())
    Path("cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cut.npz is no file of sinudae encode: "):
        decode(dae, "cut.npz")
    with zipfile.ZipFile("a.npz") as archive:
        data[archive.getinfo("A.npy").header_offset + 5000] ^= 1
    Path("flipped.npz").write_bytes(data)
    with pytest.raises(ValueError, match="flipped.npz cannot be read: Bad CRC"):
        decode(dae, "flipped.npz")
    with pytest.raises(FileNotFoundError, match="none.npz not found: expected a file of sinudae"):
        decode(dae, "none.npz")


# Bombs


def content_of(model):
    write("a.wav", RATE)
    encode(model, "a.wav")
    return dict(np.load("a.npz"))


def write_members(path, content, header=None, compression=zipfile.ZIP_DEFLATED, n_bytes=None):
    """The arrays of an encoded file, of which A is one header and as many zeros."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in content.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if name == "A" and header is not None:
                    np.lib.format.write_array_header_2_0(member, header)
                    for _ in range(n_bytes // 2**20):
                        member.write(bytes(2**20))
                    member.write(bytes(n_bytes % 2**20))
                else:
                    np.lib.format.write_array(member, value)


def peak_memory(function):
    """Bytes that NumPy and Python allocate at most."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_fortran", [True, False])
def test_large_arrays_take_little_memory(dae, is_fortran, monkeypatch):
    """Compressed: 40 MB of zeros in a file of 40 kB, read in pieces of 1 MB."""
    monkeypatch.setattr(encoded, "PIECE", 2**20)
    content = content_of(dae)
    shape = (2, 12, 400_000)
    header = {"descr": "<f4", "fortran_order": is_fortran, "shape": shape}
    write_members("b.npz", content, header, n_bytes=4 * 2 * 12 * 400_000)
    assert os.path.getsize("b.npz") < 100_000

    def read():
        with open_encoded("b.npz") as file:
            assert sum(piece.shape[-1] for piece in file.pieces()) == 400_000

    assert peak_memory(read) < 2**23


@pytest.mark.parametrize(
    "shape", [(2, 12, 10**11), (1000, 12, 250), (2, 12, 249), (1000, 2**40, 2**40)]
)
def test_header_that_tells_of_more_or_less(dae, shape):
    header = {"descr": "<f4", "fortran_order": True, "shape": shape}
    write_members("b.npz", content_of(dae), header, n_bytes=2 * 12 * 250 * 4)
    with pytest.raises(ValueError, match=r"size of A in b.npz must be \d+ bytes, of \("):
        decode(dae, "b.npz")


@pytest.mark.parametrize("name", ["stride", "sample_rate", "length"])
def test_number_that_is_an_array(dae, name):
    content = content_of(dae)
    content[name] = np.zeros(10**6)
    np.savez_compressed("b.npz", **content)
    with pytest.raises(
        ValueError, match=f"b.npz is no .*: size of {name} must be that of a number"
    ):
        decode(dae, "b.npz")


def test_header_of_gigabytes(dae):
    """An array's header has a length of its own."""
    content_of(dae)
    with zipfile.ZipFile("a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["A.npy"] = b"\x93NUMPY\2\0" + (2**31).to_bytes(4, "little") + bytes(10**7)
    with zipfile.ZipFile("b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)

    def read():
        with pytest.raises(ValueError, match="b.npz is no file of sinudae encode: "):
            decode(dae, "b.npz")

    assert peak_memory(read) < 2**22


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("stride", np.float64(math.inf), "stride must be a positive finite number, got inf"),
        ("length", np.float64(math.nan), "length must be a positive finite number, got nan"),
        ("sample_rate", np.float64(-1), "sample_rate must be a positive finite number, got -1.0"),
        ("sample_rate", np.array([1.0, 2.0]), "shape of sample_rate must be that of one number"),
        ("length", np.float64(10.5), "length must be a whole number, got 10.5"),
        ("stride", np.complex64(1), "stride must be a positive finite number, got"),
        ("length", np.datetime64("2020-01-01"), "length must be a positive finite number, got"),
        ("A", np.zeros((2, 12, 250), dtype="i4"), "A in b.npz must be of real floating-point"),
        ("A", np.zeros((2, 12, 250), dtype=[("x", "f4")]), "A in b.npz must be of real"),
    ],
)
def test_numbers_that_make_no_sense(dae, name, value, message):
    np.savez("b.npz", **{**content_of(dae), name: value})
    with pytest.raises(ValueError, match=message):
        decode(dae, "b.npz")


def test_values_beyond_single_precision(dae):
    content = content_of(dae)
    content["A"] = content["A"].astype(np.float64)
    content["A"][0, 0, 0] = 1e300
    np.savez("b.npz", **content)
    with pytest.raises(ValueError, match="b.npz cannot be read: A has a NaN or infinite value"):
        decode(dae, "b.npz")


@pytest.mark.parametrize("kind", ["encrypted", "lzma", "unknown", "stream"])
def test_members_that_cannot_be_read(dae, kind):
    content = content_of(dae)
    methods = {"lzma": zipfile.ZIP_LZMA, "stream": zipfile.ZIP_DEFLATED}
    write_members("b.npz", content, compression=methods.get(kind, zipfile.ZIP_STORED))
    data = bytearray(Path("b.npz").read_bytes())
    start = data.rindex(b"PK\1\2")  # A is the last in the directory
    with zipfile.ZipFile("b.npz") as archive:
        name = archive.namelist()[-1]
        local = archive.getinfo(name).header_offset
    if kind == "encrypted":
        data[start + 8] |= 1
        data[local + 6] |= 1
    if kind == "unknown":
        data[start + 10] = data[local + 8] = 77
    if kind == "stream":
        data[local + 2000 : local + 2100] = bytes(100)
    Path("b.npz").write_bytes(data)
    with pytest.raises(ValueError, match="^b.npz (cannot be read|is no file of sinudae encode): "):
        decode(dae, "b.npz")


def test_damaged_encoded_files(dae):
    """Each is decoded, or is a ValueError or OSError."""
    content = {**content_of(dae)}
    content["A"] = content["A"][..., :10]
    content["length"] = np.array(32 * (10 - 2 * dae.encoder.edges) or 32)
    for save in (np.savez, np.savez_compressed):
        save("b.npz", **content)
        for data in mutated_bytes(Path("b.npz").read_bytes(), 150):
            Path("c.npz").write_bytes(data)
            try:
                decode(dae, "c.npz")
            except (ValueError, OSError) as error:
                assert "c.npz" in str(error)


def test_many_channels_are_decoded_in_shorter_blocks(dae, monkeypatch):
    monkeypatch.setattr(songs, "MAX_BLOCK", 4 * 2 * 12 * 20)  # bytes of 20 frames
    content_of(dae)
    expected = decode(dae, chunk=0.08)
    lengths = []
    decode_chunk = songs._decode_chunk

    def counted(model, rep):
        lengths.append(rep.shape[-1])
        return decode_chunk(model, rep)

    monkeypatch.setattr(songs, "_decode_chunk", counted)
    torch.testing.assert_close(decode(dae), expected, atol=1e-6, rtol=0)
    assert max(lengths) <= 20 + 2 * reach(dae) // 32
