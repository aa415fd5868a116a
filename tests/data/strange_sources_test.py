"""Sources of other kinds, rates and lengths, bombs, and names that systems do not take."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
import soundfile
from helpers import call
from songs_on_disk import write
from wav_trees import noise, prepare, read_folder, write_track

from asteroid_sinudae.data import musdb18
from asteroid_sinudae.data import prepare as preparation
from asteroid_sinudae.data.musdb18 import list_tracks
from asteroid_sinudae.data.tracks import Manifest

# ------------------------------------------------------------------------ sources of other kinds


def test_flac_and_names_in_any_case(tmp_path, track):
    expected = read_folder(track).audio
    samples, _ = soundfile.read(track / "drums.wav", dtype="int16")
    (track / "drums.wav").unlink()
    write(track / "Drums.FLAC", samples, subtype="PCM_16")
    (track / "vocals.wav").rename(track / "Vocals.WAV")
    (track / "._vocals.wav").write_bytes(b"metadata of a file system")
    (track / "vocals.txt").write_bytes(b"notes")
    found = read_folder(track).audio
    for name in ("vocals", "accompaniment"):
        assert np.abs(found[name].astype(int) - expected[name]).max() <= 1
    (manifest,) = prepare(tmp_path / "data", tmp_path / "musdb18").tracks
    assert manifest.n_samples == 5000


def test_a_tree_of_flac_alone(tmp_path, track):
    for path in track.glob("*.wav"):
        write(path.with_suffix(".flac"), soundfile.read(path)[0])
        path.unlink()
    kind, (found,) = list_tracks(tmp_path / "musdb18")
    assert kind == "wav" and len(found.files()) == 4
    assert len(prepare(tmp_path / "data", tmp_path / "musdb18").tracks) == 1


def test_two_files_of_a_stem(tmp_path, track):
    shutil.copy(track / "vocals.wav", track / "Vocals.wav")
    with pytest.raises(ValueError, match="A - 1 holds Vocals.wav and vocals.wav: expected one"):
        read_folder(track)
    write_track(tmp_path / "musdb18/train/B", seed=2)
    manifest = prepare(tmp_path / "data", tmp_path / "musdb18")
    assert len(manifest.tracks) == 1 and "expected one" in manifest.skipped[0]["reason"]


@pytest.mark.parametrize("rate", [48000, 22050, 96000])
def test_other_rates_are_resampled_with_a_line(tmp_path, track, caplog, rate):
    seconds = np.arange(rate) / rate
    for stem, frequency in {"vocals": 440, "drums": 1000, "bass": 100, "other": 3000}.items():
        tone = 0.2 * np.sin(2 * np.pi * frequency * seconds)
        write(track / f"{stem}.wav", np.stack([tone, tone], axis=1), rate, subtype="FLOAT")
    (prepared,) = prepare(tmp_path / "data", tmp_path / "musdb18").tracks
    assert f"1 tracks resampled from {rate} Hz to 44100 Hz" in caplog.text
    assert prepared.n_samples == 44100
    found = soundfile.read(prepared.vocals)[0][2000:-2000]
    expected = 0.2 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)[2000:-2000]
    assert np.abs(found - expected).max() < 1e-4


def test_one_stem_of_another_rate(track):
    write(track / "bass.wav", noise(1, 5442), 48000)
    sources = read_folder(track)
    assert sources.rates == {48000} and len(sources.audio["vocals"]) == 5000


@pytest.mark.parametrize("missing, accepted", [(1, True), (2048, True), (2049, False)])
def test_lengths_that_differ(track, missing, accepted):
    write(track / "drums.wav", soundfile.read(track / "drums.wav")[0][: 5000 - missing])
    if accepted:
        sources = read_folder(track)
        assert {len(samples) for samples in sources.audio.values()} == {5000 - missing}
    else:
        with pytest.raises(ValueError, match="drums.wav has 2951 samples where .* at most 2048"):
            read_folder(track)


@pytest.mark.parametrize("stem, gain", [("vocals", -1), ("vocals", -0.99), ("drums", -1)])
def test_channels_that_cancel(track, stem, gain):
    samples = noise(0, channels=1)
    write(track / f"{stem}.wav", np.concatenate([samples, gain * samples], axis=1))
    with pytest.raises(
        ValueError, match=f"{stem}.wav: the channels cancel, as one is the other in"
    ):
        read_folder(track)


def test_channels_that_are_almost_opposite_are_taken(track):
    samples = noise(0, channels=1)
    write(track / "vocals.wav", np.concatenate([samples, -0.9 * samples], axis=1))
    assert read_folder(track).audio["vocals"].any()


def test_samples_beyond_reason(track):
    for stem in ("drums", "bass", "other"):
        write(track / f"{stem}.wav", np.full((5000, 1), 3e38), subtype="FLOAT")
    with pytest.raises(ValueError, match="accompaniment has samples that are too large"):
        read_folder(track)


def sparse(path):
    """A WAV of four hours of zeros that takes no place."""
    n_bytes = 4 * 3600 * 44100 * 4
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + n_bytes) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 2, 44100, 4 * 44100, 4, 16))
        file.write(b"data" + struct.pack("<I", n_bytes))
        file.truncate(44 + n_bytes)


def flac_that_claims_years(path):
    """A FLAC file whose header tells 2**36 - 1 samples."""
    write(path, noise(0), format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)


def wav_that_claims_more(path):
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data[:1000])


def many_channels(path):
    write(path, np.zeros((5000, 9)))


def absurd_channels(path):
    data = bytearray(path.read_bytes())
    data[22:24] = struct.pack("<H", 1024)
    data[32:34] = struct.pack("<H", 2048)
    path.write_bytes(data)


def absurd_rate(path):
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(data)


def rate_of_zero(path):
    data = bytearray(path.read_bytes())
    data[24:28] = bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (sparse, "vocals.wav lasts 14400 s, expected at most 3600 s a track"),
        (flac_that_claims_years, "vocals.wav lasts 1558265 s, expected at most 3600 s a track"),
        (wav_that_claims_more, "vocals.wav has .* samples where .* has 5000: truncated"),
        (many_channels, "vocals.wav has 9 channels, expected 1 to 8"),
        (absurd_channels, "vocals.wav has 1024 channels, expected 1 to 8"),
        (absurd_rate, "vocals.wav has a sample rate of 2147483647 Hz, expected 8000 to 192000 Hz"),
        (rate_of_zero, "vocals.wav "),
    ],
)
def test_bombs_are_refused_before_they_are_read(track, spoil, message, monkeypatch):
    spoil(track / "vocals.wav")
    searched = []
    monkeypatch.setattr(musdb18, "has_successor", lambda path: searched.append(path.name))
    with pytest.raises(ValueError, match=message):
        read_folder(track)
    if "expected" in message:  # by the header alone, without searching all of the file
        assert "drums.wav" in searched and "vocals.wav" not in searched


# ------------------------------------------------------------------------ names


def test_names_as_long_as_file_systems_allow(data_dir, tmp_path):
    source = tmp_path / "musdb18"
    names = ["n" * 255, "é" * 127]
    for seed, name in enumerate(names):
        write_track(source / "train" / name, seed)
    manifest = prepare(data_dir, source)
    assert sorted(track.name for track in manifest.tracks) == sorted(names)
    assert Manifest.load(data_dir) == manifest


def test_a_name_that_the_target_does_not_take_skips_one_track(data_dir, source, monkeypatch):
    atomic_path = preparation.atomic_path

    def short_names_only(path):
        if "B - 2" in str(path):
            raise OSError(36, "File name too long")
        return atomic_path(path)

    monkeypatch.setattr(preparation, "atomic_path", short_names_only)
    manifest = prepare(data_dir, source)
    assert len(manifest.tracks) == 2 and "File name too long" in manifest.skipped[0]["reason"]


def test_names_that_are_not_utf8_are_skipped_with_a_line(data_dir, source, caplog, capsys):
    name = os.fsdecode(b"caf\xe9")
    write_track(source / "train" / name, seed=5)
    call("local/prepare.py", data_dir=data_dir, musdb18_dir=source, num_workers=1)
    assert "2 train and 1 test tracks prepared" in capsys.readouterr().out
    assert r"caf\xe9: its name is not UTF-8, rename it" in caplog.text
    manifest = Manifest.load(data_dir)
    assert manifest.skipped[0]["name"] == r"caf\xe9" and len(manifest.tracks) == 3
    content = json.loads((data_dir / "manifest.json").read_bytes().decode("utf-8"))
    json.dumps(content, ensure_ascii=False).encode("utf-8")  # has no half of a character either
    assert len(prepare(data_dir, source).tracks) == 3


def test_a_source_and_a_target_whose_paths_are_not_utf8(tmp_path, source):
    moved = source.rename(tmp_path / os.fsdecode(b"mus\xff"))
    data_dir = tmp_path / os.fsdecode(b"data\xff")
    manifest = prepare(data_dir, moved)
    assert manifest.source["path"].endswith(r"mus\xff") and len(manifest.tracks) == 3
    assert prepare(data_dir, moved) == manifest == Manifest.load(data_dir)


def test_names_that_are_one_on_some_file_systems(data_dir, source):
    write_track(source / "train/a - 1", seed=5)
    write_track(source / "train/e\u0301", seed=6)
    write_track(source / "train/\u00e9", seed=7)
    manifest = prepare(data_dir, source)
    assert [track.name for track in manifest.tracks] == ["A - 1", "B - 2", "e\u0301", "C - 3"]
    reasons = [skipped["reason"] for skipped in manifest.skipped]
    assert "a - 1: its name is that of train/A - 1 but for case or accents" in reasons[0]
    assert "its name is that of train/e\u0301 but for" in reasons[1]


def test_a_name_of_two_lines(data_dir, source):
    write_track(source / "train/a\nb", seed=5)
    assert len(prepare(data_dir, source).tracks) == 4 and Manifest.load(data_dir)
