"""What preparation does with users' files, damaged data, strange sources, and killed processes."""

import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import RECIPE, call, environment, is_running, wait_for
from mutations import mutated_bytes, mutated_json

from asteroid_sinudae.data import musdb18
from asteroid_sinudae.data import prepare as preparation
from asteroid_sinudae.data.musdb18 import SourceTrack, download_sample, list_tracks, read_sources
from asteroid_sinudae.data.prepare import check_prepared, prepare_musdb18
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.utils.locks import locked

NAMES = ("train/A - 1", "train/B - 2", "test/C - 3")


def noise(seed, n_samples=5000, channels=2):
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (n_samples, channels))


def write_track(folder, seed=0, n_samples=5000):
    folder.mkdir(parents=True)
    for number, stem in enumerate(("vocals", "drums", "bass", "other")):
        write(folder / f"{stem}.wav", noise(10 * seed + number, n_samples))


def write(path, samples, rate=44100, **options):
    soundfile.write(os.fsencode(path), samples, rate, **options)


@pytest.fixture
def source(tmp_path):
    """A WAV tree of two train tracks and a test track."""
    for seed, name in enumerate(NAMES):
        write_track(tmp_path / "musdb18" / name, seed)
    return tmp_path / "musdb18"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def prepare(data_dir, source, **options):
    return prepare_musdb18(data_dir, source, **{"n_workers": 1, **options})


def contents(folder):
    """Every file with its bytes; links are followed."""
    return {
        os.path.join(where, name): Path(where, name).read_bytes()
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(where, name).is_file()
    }


def audio(folder):
    return {path: read for path, read in contents(folder).items() if path.endswith(".wav")}


# ------------------------------------------------------------------------ the source is kept


def subset_is_a_link_to_the_source(data_dir, source):
    data_dir.mkdir()
    (data_dir / "train").symlink_to(source / "train")


def track_is_a_link_to_the_source(data_dir, source):
    (data_dir / "train").mkdir(parents=True)
    (data_dir / "train/A - 1").symlink_to(source / "train/A - 1")


def target_is_a_link_to_the_source(data_dir, source):
    data_dir.symlink_to(source)


def target_is_a_link_into_the_source(data_dir, source):
    data_dir.symlink_to(source / "train")


def target_has_a_link_to_the_other_subset(data_dir, source):
    data_dir.mkdir()
    (data_dir / "test").symlink_to(source / "train")


def source_subset_is_a_link_to_the_target(data_dir, source):
    data_dir.mkdir()
    (source / "train").rename(data_dir / "train")
    (source / "train").symlink_to(data_dir / "train")


def source_track_is_a_link_to_the_target(data_dir, source):
    (data_dir / "test").mkdir(parents=True)
    (source / "train/A - 1").rename(data_dir / "test/other")
    (source / "train/A - 1").symlink_to(data_dir / "test/other")


def link_to_a_third_place(data_dir, source):
    data_dir.mkdir()
    (data_dir.parent / "elsewhere").mkdir()
    (data_dir / "train").symlink_to(data_dir.parent / "elsewhere")


def dangling_link(data_dir, source):
    (data_dir / "train").mkdir(parents=True)
    (data_dir / "train/A - 1").symlink_to(source / "new")


def link_of_the_lock(data_dir, source):
    data_dir.mkdir()
    (data_dir / preparation.LOCK).symlink_to(source / "train/A - 1/vocals.wav")


@pytest.mark.parametrize(
    "arrange",
    [
        subset_is_a_link_to_the_source,
        track_is_a_link_to_the_source,
        target_is_a_link_to_the_source,
        target_is_a_link_into_the_source,
        target_has_a_link_to_the_other_subset,
        source_subset_is_a_link_to_the_target,
        source_track_is_a_link_to_the_target,
        link_to_a_third_place,
        dangling_link,
        link_of_the_lock,
    ],
)
def test_links_lose_nothing(tmp_path, data_dir, source, arrange):
    arrange(data_dir, source)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="overlap, .* apart from it|is a link, through which noth"):
        prepare(data_dir, source)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "inner", ["train/prepared", "train", "prepared", "train/A - 1", ".", "x/.."]
)
def test_target_in_the_source(tmp_path, source, inner):
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="overlap, .* apart from it"):
        prepare(source / inner, source)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("outer", [".", "musdb18/..", "musdb18/train/.."])
def test_source_in_the_target(tmp_path, source, outer):
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="overlap, .* apart from it"):
        prepare(tmp_path / outer, source)
    assert contents(tmp_path) == before


def test_script_keeps_a_linked_source(tmp_path, data_dir, source):
    subset_is_a_link_to_the_source(data_dir, source)
    with pytest.raises(SystemExit, match="^prepare.py: data_dir=[^\n]* apart from it$"):
        call("local/prepare.py", data_dir=data_dir, musdb18_dir=source)
    assert len(audio(source)) == 12


def test_a_target_behind_a_link_is_fine(tmp_path, source):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    prepare(tmp_path / "data", source)
    assert len(audio(tmp_path / "disk")) == 6


# ------------------------------------------------------------------------ users' files are kept


def test_files_of_others_are_left_alone(data_dir, source):
    foreign = [
        "x/.keep.part/precious.txt",
        "train/.A - 1.part/vocals.wav",
        "train/.x.part",
        "train/.sinudae-mine.part/track.json",
        "train/A - 1/notes.txt",
        "train/A - 1/.mine.part",
        "train/mine/vocals.wav",
        "train/mine/track.json",
        "test/track.json",
        "notes.txt",
    ]
    for name in foreign:
        (data_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / name).write_text("precious")
    manifest = prepare(data_dir, source)
    assert len(manifest.tracks) == 3
    manifest.tracks[0].vocals.write_bytes(b"")
    assert prepare(data_dir, source).tracks == manifest.tracks
    assert {(data_dir / name).read_text() for name in foreign} == {"precious"}


@pytest.mark.parametrize("name", ["vocals.wav", "accompaniment.wav", "track.json"])
def test_a_track_of_the_user_is_left_alone(data_dir, source, name):
    path = data_dir / "train/A - 1" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    manifest = prepare(data_dir, source)
    (skipped,) = manifest.skipped
    assert f"A - 1 holds {name} without a track.json of prepare's" in skipped["reason"]
    assert path.read_text() == "precious" and len(manifest.tracks) == 2
    assert os.listdir(path.parent) == [name]
    with pytest.raises(ValueError, match="without a track.json of prepare's"):
        prepare(data_dir, source, strict=True)
    path.unlink()
    assert len(prepare(data_dir, source).tracks) == 3


def test_audio_of_the_user_behind_a_record_of_the_user(data_dir, source):
    folder = data_dir / "train/A - 1"
    folder.mkdir(parents=True)
    (folder / "track.json").write_text('{"title": "A"}')
    write(folder / "vocals.wav", noise(7))
    before = contents(folder)
    assert len(prepare(data_dir, source).skipped) == 1
    assert contents(folder) == before


def test_a_file_in_the_place_of_a_track(data_dir, source):
    (data_dir / "train").mkdir(parents=True)
    (data_dir / "train/A - 1").write_text("precious")
    assert len(prepare(data_dir, source).tracks) == 2
    assert (data_dir / "train/A - 1").read_text() == "precious"


def test_a_link_in_the_place_of_audio_is_not_followed(tmp_path, data_dir, source):
    vocals = prepare(data_dir, source).tracks[0].vocals
    (tmp_path / "precious.wav").write_text("precious")
    vocals.unlink()
    vocals.symlink_to(tmp_path / "precious.wav")
    prepare(data_dir, source)
    assert (tmp_path / "precious.wav").read_text() == "precious" and not vocals.is_symlink()


@pytest.mark.parametrize("text", ["{}", '{"name": "app"}', "precious", '{"tracks": []}'])
def test_a_manifest_of_another_program_is_left_alone(data_dir, source, text):
    data_dir.mkdir()
    (data_dir / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="manifest.json.* it is left alone: move it away"):
        prepare(data_dir, source)
    assert (data_dir / "manifest.json").read_text() == text and not audio(data_dir)


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
    assert len(kept) == 4  # the files of the other tracks
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
    _, errors = process.communicate()
    wait_for(lambda: not any(map(is_running, workers)))
    if sent != signal.SIGKILL:
        assert process.returncode != 0 and b"Traceback" not in errors
        assert b"prepare.py: interrupted; run it again to continue" in errors
        assert not list(data_dir.glob("*/*/.*"))
    shutil.rmtree(source / "train/15")  # so that there is less to do
    manifest = prepare(data_dir, source)
    assert len(manifest.tracks) == 15 and check_prepared(data_dir) == []
    assert not list(data_dir.glob("train/[!2]*/.*"))


# ------------------------------------------------------------------------ sources of other kinds


@pytest.fixture
def track(tmp_path):
    """The folder of the only track of a tree."""
    folder = tmp_path / "musdb18/train/A - 1"
    write_track(folder)
    return folder


def read_folder(folder):
    return read_sources(SourceTrack("train/A - 1", folder))


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
def test_bombs_are_refused_before_they_are_read(track, spoil, message):
    spoil(track / "vocals.wav")
    with pytest.raises(ValueError, match=message):
        read_folder(track)


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


# ------------------------------------------------------------------------ mutations


STRANGE_JSON = [b"null", b"[]", b"{}", b"1e999", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b""]


def test_mutated_manifests(data_dir, source):
    prepare(data_dir, source)
    path = data_dir / "manifest.json"
    content = json.loads(path.read_text())
    content["skipped"] = [{"name": "x", "subset": "train", "reason": "y"}]
    n_refused = 0
    for damaged in [*STRANGE_JSON, *mutated_json(content, 300)]:
        path.write_bytes(damaged)
        try:
            assert isinstance(Manifest.load(data_dir), Manifest)
        except (ValueError, OSError) as error:
            n_refused += 1
            assert str(data_dir) in str(error) and "\n" not in str(error)
    assert n_refused > 200
    assert len(prepare(data_dir, source).tracks) == 3


def test_mutated_records(tmp_path, data_dir):
    source = tmp_path / "musdb18"
    write_track(source / "train/A - 1", n_samples=2048)
    expected = prepare(data_dir, source).tracks
    path = data_dir / "train/A - 1/track.json"
    content = json.loads(path.read_text())
    for damaged in [*STRANGE_JSON, *mutated_json(content, 200)]:
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
    head = [damaged + data[200:] for damaged in mutated_bytes(data[:200], 150, seed=1)]
    for damaged in [b"", b"\0", *head, *mutated_bytes(data, 150)]:
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


# ------------------------------------------------------------------------ stage 0


def give_songs(n_train, n_test):
    def download(db):
        for subset, n in (("train", n_train), ("test", n_test)):
            for number in range(n):
                path = Path(db.root, subset, f"{number}.stem.mp4")
                path.parent.mkdir(exist_ok=True)
                path.touch()

    return download


@pytest.mark.parametrize("n_train, n_test", [(94, 50), (93, 50), (94, 1)])
def test_songs_of_the_sample_are_counted(tmp_path, monkeypatch, capsys, n_train, n_test):
    monkeypatch.setattr(musdb18.musdb.DB, "download", give_songs(n_train, n_test))
    call("local/get_data.py", "--download", musdb18_dir=tmp_path / "sample")
    line = f"{n_train} of 94 train and {n_test} of 50 test songs of musdb's sample are there"
    assert line in capsys.readouterr().out
    call("local/get_data.py", musdb18_dir=tmp_path / "sample")
    assert "musdb's" not in capsys.readouterr().out


def test_a_download_replaces_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(musdb18.musdb.DB, "download", give_songs(1, 1))
    for name in ("test/mine.wav", "train"):
        root = tmp_path / name.replace("/", "_")
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("precious")
        with pytest.raises(ValueError, match="is there already, and the download would replace it"):
            download_sample(root)
        assert (root / name).read_text() == "precious"


def test_what_a_killed_download_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(musdb18.musdb.DB, "download", give_songs(1, 1))
    part = tmp_path / ".sinudae-download"
    part.mkdir()
    (part / "precious.txt").write_text("precious")
    with pytest.raises(ValueError, match="was not made by a download, and is in its way: move it"):
        download_sample(tmp_path)
    assert (part / "precious.txt").read_text() == "precious"
    (part / "precious.txt").rename(part / musdb18.OURS)
    download_sample(tmp_path)
    assert not part.exists() and (tmp_path / "train/0.stem.mp4").is_file()
