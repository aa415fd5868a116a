import contextlib
import errno
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stempeg

from asteroid_sinudae.data import musdb18
from asteroid_sinudae.data import prepare as preparation
from asteroid_sinudae.data.musdb18 import download_sample
from asteroid_sinudae.data.prepare import prepare_musdb18
from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.data.tracks import Manifest

STEMS = ("vocals", "drums", "bass", "other")
HALF_STEP = 0.5 / 2**15


def write_track(folder, seed=0, n_samples=5000, channels=2, stems=STEMS, gain=0.2):
    """Writes a track of 20-bit noise, whose float32 sums are exact, and returns the stems."""
    rng = np.random.default_rng(seed)
    size, peak = (n_samples, channels), int(gain * 2**20)
    audio = {stem: rng.integers(-peak, peak, size) / 2**20 for stem in stems}
    folder.mkdir(parents=True)
    for stem, samples in {**audio, "mixture": sum(audio.values())}.items():
        write_stem(folder, stem, samples)
    return audio


def write_stem(folder, stem, samples, rate=44100):
    soundfile.write(folder / f"{stem}.wav", samples, rate, subtype="FLOAT")


def read(path):
    audio, rate = soundfile.read(path)
    assert rate == 44100 and audio.ndim == 1
    assert soundfile.info(path).subtype == "PCM_16"
    return audio


def prepare(tmp_path, **options):
    return prepare_musdb18(tmp_path / "data", tmp_path / "musdb18", **{"n_workers": 1, **options})


def contents(folder):
    """Every file with its bytes and modification time, except what the manifest says of today."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in files
    }


def audio_bytes(folder):
    return {path: read for path, (read, _) in contents(folder).items() if path.suffix == ".wav"}


@pytest.fixture
def tree(tmp_path):
    """A WAV tree of three train tracks and a test track."""
    root = tmp_path / "musdb18"
    for seed, name in enumerate(("train/A - 1", "train/B - 2", "train/C - 3", "test/D - 4")):
        write_track(root / name, seed)
    return root


# ------------------------------------------------------------------------ preparation, WAV tree


def test_downmix_and_accompaniment_equal_the_sums(tmp_path):
    stems = write_track(tmp_path / "musdb18/train/A - 1")
    mono = write_track(tmp_path / "musdb18/test/B - 2", channels=1)
    manifest = prepare(tmp_path)
    for track, audio in zip(manifest.tracks, (stems, mono), strict=True):
        assert track.n_samples == 5000 and track.n_clipped == 0
        accompaniment = (audio["drums"] + audio["bass"] + audio["other"]).mean(axis=1)
        assert np.abs(read(track.vocals) - audio["vocals"].mean(axis=1)).max() <= HALF_STEP
        assert np.abs(read(track.accompaniment) - accompaniment).max() <= HALF_STEP


def test_manifest_records_the_preparation_and_can_be_moved(tmp_path, tree):
    manifest = prepare(tmp_path)
    assert [(t.subset, t.name) for t in manifest.tracks] == [
        ("train", "A - 1"),
        ("train", "B - 2"),
        ("train", "C - 3"),
        ("test", "D - 4"),
    ]
    assert manifest.subset("test") == manifest.tracks[3:]
    assert manifest.sample_rate == 44100 and manifest.skipped == ()
    keys = ["train/A - 1", "train/B - 2", "train/C - 3", "test/D - 4"]
    assert manifest.source == {"kind": "wav", "path": str(tree.resolve()), "tracks": keys}
    assert set(manifest.versions) == {"musdb", "stempeg", "soundfile"}
    assert Manifest.load(tmp_path / "data") == manifest
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = Manifest.load(tmp_path / "moved")
    assert moved.tracks[0].vocals == tmp_path / "moved/train/A - 1/vocals.wav"
    with pytest.raises(ValueError, match="subset must be train or test, got 'valid'"):
        moved.subset("valid")


def test_second_run_changes_nothing_and_decodes_nothing(tmp_path, tree, monkeypatch):
    first = prepare(tmp_path)
    before = contents(tmp_path / "data")
    monkeypatch.setattr(preparation, "_prepare_track", None)
    assert prepare(tmp_path) == first
    assert contents(tmp_path / "data") == before


def test_two_workers_write_what_one_writes(tmp_path, tree):
    prepare(tmp_path)
    prepare_musdb18(tmp_path / "other", tree, n_workers=2)
    assert audio_bytes(tmp_path / "other") == audio_bytes(tmp_path / "data")
    assert len(audio_bytes(tmp_path / "data")) == 8


def test_interrupted_run_continues(tmp_path, tree, monkeypatch):
    prepare_musdb18(tmp_path / "whole", tree, n_workers=1)
    atomic_path, written = preparation.atomic_path, []

    @contextlib.contextmanager
    def interrupted(path):
        with atomic_path(path) as temporary:
            yield temporary
            written.append(path.name)
            if len(written) == 5:  # the record of the second track is there, its audio not yet
                raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "atomic_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path)
    names = ["track.json", "accompaniment.wav", "vocals.wav"]
    assert written == [*names, *names[:2]]
    assert os.listdir(tmp_path / "data/train/B - 2") == ["track.json"]
    with pytest.raises(FileNotFoundError, match="manifest.json not found: prepare the data first"):
        Manifest.load(tmp_path / "data")

    monkeypatch.setattr(preparation, "atomic_path", atomic_path)
    stale = tmp_path / "data/train/B - 2/.sinudae-abcdefgh.part"  # as a killed process leaves it
    stale.write_bytes(b"RIFF")
    before = contents(tmp_path / "data/train/A - 1")
    manifest = prepare(tmp_path)
    assert len(manifest.tracks) == 4 and not stale.exists()
    assert contents(tmp_path / "data/train/A - 1") == before
    assert audio_bytes(tmp_path / "data") == audio_bytes(tmp_path / "whole")


def test_new_tracks_and_lost_files_are_prepared_further(tmp_path, tree):
    first = prepare(tmp_path)
    write_track(tree / "test/E - 5", seed=5)
    first.tracks[1].vocals.unlink()
    before = contents(tmp_path / "data/train/A - 1")
    manifest = prepare(tmp_path)
    assert [track.name for track in manifest.subset("test")] == ["D - 4", "E - 5"]
    assert first.tracks[1].vocals.is_file()
    assert contents(tmp_path / "data/train/A - 1") == before


def test_another_source_is_refused(tmp_path, tree):
    prepare(tmp_path)
    message = (
        f"was prepared from wav {tree.resolve()}, not from stempeg .* remove .*/data or choose"
    )
    with pytest.raises(ValueError, match=message):
        prepare_musdb18(tmp_path / "data", n_workers=1)
    with pytest.raises(ValueError, match="data_dir=.*expected another folder than musdb18_dir"):
        prepare_musdb18(tree, tree)


def test_accompaniment_from_the_mixture(tmp_path):
    folder = tmp_path / "musdb18/train/A - 1"
    stems = write_track(folder)
    for stem in ("drums", "bass", "other"):
        (folder / f"{stem}.wav").unlink()
    (track,) = prepare(tmp_path).tracks
    expected = (stems["drums"] + stems["bass"] + stems["other"]).mean(axis=1)
    assert np.abs(read(track.accompaniment) - expected).max() <= HALF_STEP


def test_some_accompaniment_stems_that_add_up_to_the_mixture(tmp_path):
    stems = write_track(tmp_path / "musdb18/train/A - 1", stems=("vocals", "other"))
    (track,) = prepare(tmp_path).tracks
    expected = stems["other"].mean(axis=1)
    assert np.abs(read(track.accompaniment) - expected).max() <= HALF_STEP


def test_clipped_samples_are_counted(tmp_path, caplog):
    folder = tmp_path / "musdb18/train/A - 1"
    stems = write_track(folder, gain=0.9)
    (track,) = prepare(tmp_path).tracks
    steps = np.rint((stems["drums"] + stems["bass"] + stems["other"]).mean(axis=1) * 2**15)
    n_clipped = np.count_nonzero((steps > 2**15 - 1) | (steps < -(2**15)))
    assert track.n_clipped == n_clipped > 100
    assert f"{n_clipped} samples exceeded 16-bit full scale and were clipped" in caplog.text
    assert read(track.accompaniment).max() == 1 - 2**-15


# ------------------------------------------------------------------------ preparation, bad input


def missing(folder, stems):
    (folder / "drums.wav").unlink()
    return "B - 2: missing stem(s) drums.wav, and the mixture is not the sum of the others"


def missing_and_no_mixture(folder, stems):
    (folder / "drums.wav").unlink()
    (folder / "mixture.wav").unlink()
    return "B - 2: missing stem(s) drums.wav, and there is no mixture.wav"


def missing_vocals(folder, stems):
    (folder / "vocals.wav").unlink()
    return "B - 2: missing stem(s) vocals.wav"


def truncated(folder, stems):
    """All files alike, so that none is shorter than the others."""
    for path in folder.iterdir():
        n_header = path.stat().st_size - 5000 * 2 * 4
        path.write_bytes(path.read_bytes()[: n_header + 3000 * 2 * 4])
    return "mixture.wav breaks off after 24000 of 40000 bytes: truncated"


def followed(folder, stems):
    content = (folder / "vocals.wav").read_bytes()
    (folder / "vocals.wav").write_bytes(content + content)
    return "vocals.wav is followed by another file in it: expected one file"


def incomplete(folder, stems):
    write_stem(folder, "vocals", stems["vocals"][:1000])
    return f"vocals.wav has 1000 samples where {folder}/mixture.wav has 5000: truncated or"


def unreadable(folder, stems):
    (folder / "bass.wav").write_bytes(b"no audio")
    return f"{folder}/bass.wav cannot be read, expected a WAV or FLAC file"


def wrong_rate(folder, stems):
    write_stem(folder, "other", stems["other"], rate=7999)
    return "other.wav has a sample rate of 7999 Hz, expected 8000 to 192000 Hz"


def not_finite(folder, stems):
    stems["bass"][7, 1] = np.inf
    write_stem(folder, "bass", stems["bass"])
    return "bass.wav has NaN or infinite samples, expected finite ones"


def silent_vocals(folder, stems):
    write_stem(folder, "vocals", np.full((5000, 2), 0.4 / 2**15))
    return "B - 2: silent vocals, expected a sample other than zero"


def silent_accompaniment(folder, stems):
    for stem in ("drums", "bass", "other"):
        write_stem(folder, stem, np.zeros((5000, 2)))
    return "B - 2: silent accompaniment, expected a sample other than zero"


def too_short(folder, stems):
    for stem in (*STEMS, "mixture"):
        write_stem(folder, stem, np.full((2047, 2), 0.1))
    return "B - 2 has 2047 samples, expected 2048 or more"


BAD_TRACKS = [
    missing,
    missing_and_no_mixture,
    missing_vocals,
    truncated,
    followed,
    incomplete,
    unreadable,
    wrong_rate,
    not_finite,
    silent_vocals,
    silent_accompaniment,
    too_short,
]


@pytest.mark.parametrize("spoil", BAD_TRACKS)
def test_bad_track_is_reported_and_skipped(tmp_path, caplog, spoil):
    write_track(tmp_path / "musdb18/train/A - 1")
    folder = tmp_path / "musdb18/train/B - 2"
    reason = spoil(folder, write_track(folder))
    manifest = prepare(tmp_path)
    assert [track.name for track in manifest.tracks] == ["A - 1"]
    (skipped,) = manifest.skipped
    assert (skipped["subset"], skipped["name"]) == ("train", "B - 2")
    assert reason in skipped["reason"] and "\n" not in skipped["reason"]
    assert skipped["reason"] in caplog.text and "1 of 2 tracks skipped" in caplog.text
    with pytest.raises(ValueError) as error:
        prepare(tmp_path, strict=True)
    assert str(error.value) == skipped["reason"]

    shutil.rmtree(folder)  # once it is good, the next run takes it
    write_track(folder)
    assert len(prepare(tmp_path).tracks) == 2 and Manifest.load(tmp_path / "data").skipped == ()


def test_no_usable_train_track(tmp_path):
    folder = tmp_path / "musdb18/train/A - 1"
    write_track(tmp_path / "musdb18/test/B - 2")
    with pytest.raises(ValueError, match="no train tracks under .*musdb18: expected some in"):
        prepare(tmp_path)
    missing_vocals(folder, write_track(folder))
    with pytest.raises(ValueError, match="no usable train track in .*: missing stem"):
        prepare(tmp_path)
    assert not (tmp_path / "data/manifest.json").exists()


def test_no_tracks(tmp_path, tree):
    message = r"no tracks found under .*: expected {train,test}/\*.stem.mp4 or {train,test}/<track>"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_musdb18(tmp_path / "data", tmp_path / "absent")
    (tmp_path / "empty/train/A - 1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=message):
        prepare_musdb18(tmp_path / "data", tmp_path / "empty")
    shutil.copy(stempeg.example_stem_path(), tree / "train")
    with pytest.raises(ValueError, match="both stem files and WAV folders: expected one of them"):
        prepare(tmp_path)
    assert not (tmp_path / "data").exists()


def test_full_disk_keeps_what_is_prepared(tmp_path, tree, monkeypatch):
    write_bytes, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) > 3:  # the accompaniment of the second track
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=f"cannot write prepared data in {tmp_path}/data: .*No space"):
        prepare(tmp_path)
    assert {path.parent.name for path in audio_bytes(tmp_path / "data")} == {"A - 1"}
    assert list(tmp_path.glob("data/*/*/.*")) == []
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert len(prepare(tmp_path).tracks) == 4


def test_data_dir_that_cannot_be_written(tmp_path, tree):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="cannot write prepared data in .*/file/data"):
        prepare_musdb18(tmp_path / "file/data", tree)


def test_number_of_workers(tmp_path, tree):
    with pytest.raises(ValueError, match="n_workers must be 1 or more, or None, got 0"):
        prepare(tmp_path, n_workers=0)


# ------------------------------------------------------------------------ preparation, stem files


@pytest.fixture(scope="module")
def excerpt():
    """The mono vocals and accompaniment of stempeg's excerpt."""
    stems, _ = stempeg.read_stems(stempeg.example_stem_path())
    drums, bass, other, vocals = stems[1:].mean(axis=-1)
    return vocals, drums + bass + other


def test_default_source_is_the_excerpt_of_stempeg_split_in_time(tmp_path, excerpt):
    manifest = prepare_musdb18(tmp_path, n_workers=1)
    train, test = manifest.tracks
    name = "The Easton Ellises - Falcon 69"
    assert (train.name, train.subset, test.name, test.subset) == (name, "train", name, "test")
    assert train.n_samples == len(excerpt[0]) * 2 // 3
    for part, expected in zip(("vocals", "accompaniment"), excerpt, strict=True):
        prepared = np.concatenate([read(getattr(track, part)) for track in (train, test)])
        clipped = np.clip(expected, -1, 1 - 2**-15)
        assert np.abs(prepared - clipped).max() <= HALF_STEP * 1.01
    assert prepare_musdb18(tmp_path, n_workers=1) == manifest


def test_stem_files(tmp_path, excerpt, caplog):
    train = tmp_path / "musdb18/train"
    train.mkdir(parents=True)
    content = Path(stempeg.example_stem_path()).read_bytes()
    (train / "Whole.stem.mp4").write_bytes(content)
    (train / "Cut.stem.mp4").write_bytes(content[: len(content) // 2])
    (train / "._Whole.stem.mp4").write_bytes(b"metadata of a file system")
    (train / "Noise.stem.mp4").write_bytes(b"no audio")
    stempeg.write_audio(str(train / "One.stem.mp4"), np.zeros((44100, 2)), 44100)
    manifest = prepare(tmp_path)
    (track,) = manifest.tracks
    assert manifest.source["kind"] == "stems" and track.name == "Whole"
    assert np.abs(read(track.vocals) - excerpt[0]).max() <= HALF_STEP * 1.01
    reasons = {skipped["name"]: skipped["reason"] for skipped in manifest.skipped}
    assert set(reasons) == {"Cut", "Noise", "One"}
    assert "Cut.stem.mp4 (drums) has" in reasons["Cut"]
    assert "samples where its header has 268288: truncated or incomplete" in reasons["Cut"]
    assert "Noise.stem.mp4 cannot be read, expected a stem file" in reasons["Noise"]
    assert "One.stem.mp4 has 1 audio stream(s), expected 5: mixture, drums" in reasons["One"]


def test_stem_files_need_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="ffmpeg not found: expected ffmpeg and ffprobe on PATH"):
        prepare_musdb18(tmp_path / "data")


def test_download(tmp_path, monkeypatch):
    def download(db):
        os.makedirs(f"{db.root}/test")
        os.makedirs(f"{db.root}/train")
        shutil.copy(stempeg.example_stem_path(), f"{db.root}/train")

    def no_network(db):
        raise OSError("Name or service not known")

    root = tmp_path / "musdb18-7"
    monkeypatch.setattr(musdb18.musdb.DB, "download", no_network)
    with pytest.raises(OSError, match="cannot be downloaded to .*/musdb18-7 .Name or service"):
        download_sample(root)
    assert os.listdir(root) == [".sinudae-download.lock"]
    monkeypatch.setattr(musdb18.musdb.DB, "download", download)
    download_sample(root)
    assert sorted(os.listdir(root)) == [".sinudae-download.lock", "test", "train"]
    monkeypatch.setattr(musdb18.musdb.DB, "download", no_network)
    download_sample(root)
    assert len(prepare_musdb18(tmp_path / "data", root, n_workers=1).tracks) == 1


def test_preparation_then_segments(tmp_path, tree, caplog):
    caplog.set_level(logging.INFO)
    manifest = prepare(tmp_path)
    assert caplog.records == []
    dataset = TrainSegments(manifest.subset("train"), segment=2048, hop=1024)
    vocals, accompaniment = dataset[0, 4]
    np.testing.assert_array_equal(vocals[0], read(manifest.tracks[0].vocals)[:2048])
    second = read(manifest.tracks[1].accompaniment)[:2048]  # of 4 segments a track
    np.testing.assert_array_equal(accompaniment[0], second)
