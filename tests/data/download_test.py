"""Stage 0: songs of musdb's sample, where they are put and what they replace."""

from pathlib import Path

import pytest
from helpers import call

from asteroid_sinudae.data import musdb18
from asteroid_sinudae.data.musdb18 import download_sample


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
