"""Manifests, records and sources with one thing changed, some hundred of each."""

import json
import os
import pickle

import numpy as np
import pytest
import soundfile
from mutations import mutated_bytes, mutated_json
from songs_on_disk import write
from wav_trees import prepare, read_folder, write_track

from asteroid_sinudae.data.tracks import Manifest

STRANGE_JSON = [b"null", b"[]", b"{}", b"1e999", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b""]


@pytest.mark.parametrize("seed", range(3))
def test_mutated_manifests(seed, data_dir, source):
    prepare(data_dir, source)
    path = data_dir / "manifest.json"
    content = json.loads(path.read_text())
    content["skipped"] = [{"name": "x", "subset": "train", "reason": "y"}]
    n_refused = 0
    for damaged in [*STRANGE_JSON, *mutated_json(content, 100, seed)]:
        path.write_bytes(damaged)
        try:
            assert isinstance(Manifest.load(data_dir), Manifest)
        except (ValueError, OSError) as error:
            n_refused += 1
            assert str(data_dir) in str(error) and "\n" not in str(error)
    assert n_refused > 70
    assert len(prepare(data_dir, source).tracks) == 3


@pytest.mark.parametrize("seed", range(3))
def test_mutated_records(seed, tmp_path, data_dir):
    source = tmp_path / "musdb18"
    write_track(source / "train/A - 1", n_samples=2048)
    expected = prepare(data_dir, source).tracks
    path = data_dir / "train/A - 1/track.json"
    content = json.loads(path.read_text())
    for damaged in [*STRANGE_JSON, *mutated_json(content, 80, seed)]:
        path.write_bytes(damaged)
        try:
            found = prepare(data_dir, source).tracks
        except (ValueError, OSError) as error:
            assert "\n" not in str(error)
        else:
            same = [(t.name, t.n_samples, t.files) for t in found]
            assert same == [(t.name, t.n_samples, t.files) for t in expected]


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_mutated_sources(track, ending):
    for path in track.glob("*.wav"):
        samples = soundfile.read(path)[0][:2200]
        path.unlink()
        write(path.with_suffix(f".{ending}"), samples)
    path = track / f"vocals.{ending}"
    data = path.read_bytes()
    n_read = 0
    head = [damaged + data[200:] for damaged in mutated_bytes(data[:200], 80, seed=1)]
    for damaged in [b"", b"\0", *head, *mutated_bytes(data, 50)]:
        path.write_bytes(damaged)
        try:
            sources = read_folder(track)
        except (ValueError, OSError) as error:
            assert str(track) in str(error)
        else:
            n_read += 1
            assert sources.audio["vocals"].dtype == np.int16
    assert 0 < n_read


def test_a_manifest_of_a_terabyte(data_dir, source):
    prepare(data_dir, source)
    for path in (data_dir / "manifest.json", data_dir / "train/A - 1/track.json"):
        os.truncate(path, 2**33)
    with pytest.raises(ValueError, match="manifest.json has 8589934592 bytes, expected JSON of at"):
        Manifest.load(data_dir)
    assert len(prepare(data_dir, source).tracks) == 3


def test_tracks_are_small_to_send_to_workers(data_dir, source):
    assert len(pickle.dumps(prepare(data_dir, source).tracks)) < 5000
