"""What preparation does with users' files, damaged data, strange sources, and killed processes."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import soundfile
from helpers import RECIPE, call, environment, is_running, wait_for
from songs_on_disk import write
from wav_trees import audio, noise, prepare, write_track

from asteroid_sinudae.data import prepare as preparation
from asteroid_sinudae.data.prepare import check_prepared
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.utils.locks import locked

# ------------------------------------------------------------------------ damage


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1000])


def header_only(path):
    path.write_bytes(path.read_bytes()[:44])


def empty(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


def longer(path):
    path.write_bytes(path.read_bytes() + bytes(2))


def another_rate(path):
    samples, _ = soundfile.read(path)
    write(path, samples, 48000, subtype="PCM_16")


def another_rate_in_the_header(path):
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 22050)
    path.write_bytes(data)


def two_channels(path):
    samples, _ = soundfile.read(path)
    write(path, samples.reshape(-1, 2), subtype="PCM_16")


def another_subtype(path):
    samples, _ = soundfile.read(path)
    write(path, samples[: len(samples) // 2], subtype="PCM_32")


def text(path):
    path.write_bytes(b"x" * path.stat().st_size)


def one_bit(path):
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


BY_SIZE_AND_HEADER = [
    truncated,
    header_only,
    empty,
    removed,
    longer,
    another_rate,
    another_rate_in_the_header,
    two_channels,
    another_subtype,
    text,
]


@pytest.mark.parametrize("spoil", [*BY_SIZE_AND_HEADER, one_bit])
@pytest.mark.parametrize("name", ["vocals", "accompaniment"])
def test_damage_is_noticed_and_mended(data_dir, source, caplog, capsys, spoil, name):
    manifest = prepare(data_dir, source)
    before = audio(data_dir)
    times = {path: os.stat(path).st_mtime_ns for path in before}
    path = getattr(manifest.tracks[1], name)
    spoil(path)
    if spoil is not one_bit:
        with pytest.raises(
            (ValueError, FileNotFoundError), match=f"{path} .* prepare the data aga"
        ):
            Manifest.load(data_dir)
    (fault,) = check_prepared(data_dir)
    assert fault.startswith(f"{path} ")
    with pytest.raises(SystemExit, match="^prepare.py: 1 file missing or damaged: run it without"):
        call("local/prepare.py", "--check", data_dir=data_dir)
    assert str(path) in capsys.readouterr().err

    assert prepare(data_dir, source).tracks == manifest.tracks
    assert f"prepared again: train/B - 2: {path} " in caplog.text
    assert audio(data_dir) == before and Manifest.load(data_dir).tracks == manifest.tracks
    kept = [p for p in before if os.stat(p).st_mtime_ns == times[p]]
    assert len(kept) == 5  # all files but the spoilt one
    assert check_prepared(data_dir) == []
    call("local/prepare.py", "--check", data_dir=data_dir)
    assert "all files are as they were written" in capsys.readouterr().out


def test_damage_that_shows_in_the_checksum_alone(data_dir, source):
    """Nothing but reading all of it can tell; prepare mends what a check has found."""
    manifest = prepare(data_dir, source)
    before, path = audio(data_dir), manifest.tracks[1].vocals
    stat = path.stat()
    one_bit(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare(data_dir, source) == manifest and audio(data_dir) != before
    assert len(check_prepared(data_dir)) == 1
    prepare(data_dir, source)
    assert audio(data_dir) == before and check_prepared(data_dir) == []


def test_a_copied_folder_is_not_decoded_again(tmp_path, data_dir, source, monkeypatch):
    prepare(data_dir, source)
    shutil.copytree(data_dir, tmp_path / "copy", copy_function=shutil.copy)  # new times
    monkeypatch.setattr(preparation, "read_sources", None)
    os.utime(tmp_path / "copy/train/A - 1/vocals.wav")
    manifest = prepare(tmp_path / "copy", source)
    assert len(manifest.tracks) == 3 and manifest.skipped == ()
    monkeypatch.setattr(preparation, "_prepare_track", None)  # not looked at twice either
    assert prepare(tmp_path / "copy", source) == manifest


def times_ten(content):
    content["tracks"][0]["n_samples"] *= 10


def absurd(content):
    content["tracks"][0]["n_samples"] = 10**11


def consistently_absurd(content):
    content["tracks"][0]["n_samples"] = 10**8
    for record in content["tracks"][0]["files"].values():
        record["size"] = 44 + 2 * 10**8


def another_checksum(content):
    content["tracks"][0]["files"]["vocals"]["sha256"] = "0" * 64


def twice(content):
    content["tracks"].append(content["tracks"][0])


def out_of_the_folder(content):
    content["tracks"][0]["name"] = "../../../etc"


def dotted(content):
    content["tracks"][0]["name"] = ".."


@pytest.mark.parametrize(
    "change, message",
    [
        (
            times_ten,
            "A - 1/vocals.wav is damaged, it has 10044 bytes, expected 10044 for 50000 sam",
        ),
        (absurd, "tracks.0.n_samples must be less than or equal to 158760000, got 100000000000"),
        (consistently_absurd, "vocals.wav is damaged, it has 10044 bytes, expected 200000044 for"),
        (another_checksum, ""),
        (twice, "tracks must be each listed once, got "),
        (out_of_the_folder, "name must be that of a folder, got '../../../etc'"),
        (dotted, "name must be that of a folder, got '..'"),
    ],
)
def test_a_damaged_manifest_is_noticed_and_mended(data_dir, source, change, message):
    manifest = prepare(data_dir, source)
    path = data_dir / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if message:
        with pytest.raises(ValueError, match=message):
            Manifest.load(data_dir)
    else:
        assert check_prepared(data_dir) != []
    assert prepare(data_dir, source).tracks == manifest.tracks == Manifest.load(data_dir).tracks
    assert check_prepared(data_dir) == []


def test_a_damaged_record_is_written_again(data_dir, source, caplog):
    manifest = prepare(data_dir, source)
    record = data_dir / "train/A - 1/track.json"
    for damaged in (b"", b"{", b"null", record.read_bytes()[:100]):
        record.write_bytes(damaged)
        assert prepare(data_dir, source).tracks == manifest.tracks
        assert "prepared again: train/A - 1: " in caplog.text
    manifest.tracks[0].vocals.unlink()  # now nothing tells whose the rest is
    record.write_bytes(b"")
    assert "without a track.json" in prepare(data_dir, source).skipped[0]["reason"]


def test_a_source_that_changed_is_prepared_again(data_dir, source, caplog):
    manifest = prepare(data_dir, source)
    before = audio(data_dir)
    write(source / "train/A - 1/drums.wav", noise(99))
    again = prepare(data_dir, source)
    assert f"prepared again: train/A - 1: {source}/train/A - 1 has changed" in caplog.text
    changed = [path for path, read in audio(data_dir).items() if read != before[path]]
    assert changed == [str(manifest.tracks[0].accompaniment)]
    assert again.tracks[1:] == manifest.tracks[1:] and check_prepared(data_dir) == []
    write(source / "train/A - 1/mixture.wav", noise(3, 100))  # it has a new file, that is wrong
    (skipped,) = prepare(data_dir, source).skipped
    assert "mixture.wav has 100 samples where" in skipped["reason"]


def as_former(data_dir):
    """Makes records and manifest those of former versions."""
    path = data_dir / "manifest.json"
    content = json.loads(path.read_text())
    origin = {key: content["source"][key] for key in ("kind", "path")}
    del content["format"]
    for track in content["tracks"]:
        del track["files"]
        track["folder"] = f"{track['subset']}/{track['name']}"
        record = {key: track[key] for key in ("n_samples", "n_clipped")} | {"source": origin}
        (data_dir / track["folder"] / "track.json").write_text(json.dumps(record))
    path.write_text(json.dumps(content))


def test_data_of_a_former_version_is_kept(data_dir, source, monkeypatch):
    manifest = prepare(data_dir, source)
    before = audio(data_dir)
    as_former(data_dir)
    with pytest.raises(
        ValueError, match="of a former version: prepare the data again .stage 1., wh"
    ):
        Manifest.load(data_dir)
    monkeypatch.setattr(preparation, "read_sources", None)  # nothing is decoded
    assert prepare(data_dir, source).tracks == manifest.tracks
    assert Manifest.load(data_dir).tracks == manifest.tracks and audio(data_dir) == before


def test_damaged_data_of_a_former_version_is_prepared_again(data_dir, source):
    manifest = prepare(data_dir, source)
    before = audio(data_dir)
    as_former(data_dir)
    truncated(manifest.tracks[0].vocals)
    assert prepare(data_dir, source).tracks == manifest.tracks and audio(data_dir) == before


# ------------------------------------------------------------------------ processes


def test_one_process_at_a_time(data_dir, source, monkeypatch):
    monkeypatch.setattr(preparation, "locked", partial(locked, seconds=0.2))
    with locked(data_dir / preparation.LOCK):
        with pytest.raises(BlockingIOError, match=f"is held by process {os.getpid()} on .* since"):
            prepare(data_dir, source)
    manifest = prepare(data_dir, source)
    with locked(data_dir / preparation.LOCK):  # what is finished needs no lock, nor to be writable
        assert prepare(data_dir, source) == manifest


def kill_yourself(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed(data_dir, source, monkeypatch):
    monkeypatch.setattr(preparation, "_prepare_track", kill_yourself)
    message = "^a process that decodes was killed, .* run it again .* .num_workers, 2 now.$"
    with pytest.raises(OSError, match=message):
        prepare(data_dir, source, n_workers=2)
    monkeypatch.undo()
    assert len(prepare(data_dir, source).tracks) == 3


def start(data_dir, source):
    argv = [sys.executable, RECIPE / "local/prepare.py", "--num_workers", "2"]
    argv += ["--data_dir", data_dir, "--musdb18_dir", source]
    return subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_workers_do_not_outlive_a_killed_preparation(tmp_path, data_dir, sent):
    source = tmp_path / "musdb18"
    for seed in range(16):
        write_track(source / f"train/{seed}", seed, n_samples=300_000)
    process = start(data_dir, source)
    # some tracks are done, and both workers are at work
    wait_for(lambda: len(list(data_dir.glob("train/*/vocals.wav"))) > 1)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(sent)
    process.wait(60)
    try:
        wait_for(lambda: not any(map(is_running, workers)), 30)
    finally:
        for worker in filter(is_running, workers):
            os.kill(int(worker), signal.SIGKILL)
    _, errors = process.communicate()  # which would wait for workers that were left
    if sent != signal.SIGKILL:
        assert process.returncode != 0 and b"Traceback" not in errors
        assert b"prepare.py: interrupted; run it again to continue" in errors
        assert not list(data_dir.glob("*/*/.*"))
    shutil.rmtree(source / "train/15")  # so that there is less to do
    manifest = prepare(data_dir, source)
    assert len(manifest.tracks) == 15 and check_prepared(data_dir) == []
    assert not list(data_dir.glob("train/[!2]*/.*"))
