"""Encoded files: what is written, what is read again, and files made to harm."""

import math
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import mutated_bytes
from song_models import decode, encode, write
from songs_on_disk import RATE

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.models.gains import channel_gains
from asteroid_sinudae.models.representation import reach
from asteroid_sinudae.songs import apply as songs
from asteroid_sinudae.songs import encoded_file as encoded
from asteroid_sinudae.songs.encoded_file import open_encoded, write_encoded


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


@pytest.mark.parametrize("order", "FC")
@torch.no_grad()
def test_a_file_in_units_of_the_signals_level(dae, order):
    """Its A is divided by gains that it holds, and decoded as any other."""
    wav = write("a.wav", 2 * RATE + 5)
    gains = channel_gains(dae)
    assert gains.max() > 1.05 * gains.min()
    encode(dae, "a.wav", chunk=0.3, gains=gains)
    content = dict(np.load("a.npz"))
    np.testing.assert_array_equal(content["gains"], gains)
    expected = dae.encode(wav[:, None]) / gains[:, None]
    torch.testing.assert_close(torch.from_numpy(content["A"]), expected, atol=1e-6, rtol=1e-5)
    content["A"] = np.asarray(content["A"], order=order)
    np.savez("b.npz", **content)
    for path in ("a.npz", "b.npz"):
        found = decode(dae, path, chunk=0.3)
        torch.testing.assert_close(found, dae(wav[:, None]), atol=1e-6, rtol=0)
    for wrong, message in (
        (gains.numpy()[:-1], r"shape of gains must be \(12,\), got \(11,\)"),
        (np.ones(12, dtype=int), "type of gains must be floating-point, got 'int64'"),
        (np.zeros(12), "gains must be positive finite numbers"),
        (np.full(12, np.inf), "gains must be positive finite numbers"),
    ):
        np.savez("c.npz", **{**content, "gains": wrong})
        with pytest.raises(ValueError, match=f"^c.npz cannot be read: {message}"):
            decode(dae, "c.npz")


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
    with pytest.raises(FileNotFoundError, match="none.npz not found: expected a file of sinudae"):
        decode(dae, "none.npz")


@pytest.mark.parametrize("order", "FC")
@pytest.mark.parametrize("member, position", [("A", 5000), ("gains", 170), ("frequencies", 170)])
def test_bit_that_is_flipped(dae, member, position, order):
    write("a.wav", RATE)
    encode(dae, "a.wav", gains=channel_gains(dae))
    content = dict(np.load("a.npz"))
    np.savez("b.npz", **{**content, "A": np.asarray(content["A"], order=order)})
    data = bytearray(Path("b.npz").read_bytes())
    with zipfile.ZipFile("b.npz") as archive:
        data[archive.getinfo(f"{member}.npy").header_offset + position] ^= 1
    Path("b.npz").write_bytes(data)
    with pytest.raises(ValueError, match=f"b.npz .*: Bad CRC-32 for file '{member}.npy'"):
        decode(dae, "b.npz")


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
        for data in mutated_bytes(Path("b.npz").read_bytes(), 60):
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
