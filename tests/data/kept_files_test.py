"""Preparation loses none of the user's files, whatever links and names stand in its way."""

import os

import pytest
from helpers import call
from songs_on_disk import write
from wav_trees import audio, contents, noise, prepare

from asteroid_sinudae.data import prepare as preparation


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
