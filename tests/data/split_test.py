"""What the preparation says of the official split."""

from pathlib import Path

import pytest
from helpers import call

from asteroid_sinudae.data.musdb18 import describe_split
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest, Track


def manifest_of(n_train, n_test, seconds=200.0, kind="stems"):
    n_samples = round(seconds * SAMPLE_RATE)
    tracks = [
        Track(f"{subset} {number}", subset, n_samples, 0, Path(f"{subset}/{number}"))
        for subset, n in (("train", n_train), ("test", n_test))
        for number in range(n)
    ]
    source = {"kind": kind, "path": "music", "tracks": []}
    return Manifest(SAMPLE_RATE, source, tuple(tracks), (), {}, "today")


@pytest.mark.parametrize(
    "made, expected",
    [
        ((100, 50), "100 train and 50 test tracks prepared, of 100 and 50 in MUSDB18"),
        (
            (99, 50),
            "99 train and 50 test tracks prepared, of 100 and 50 in MUSDB18: 1 train track missing",
        ),
        (
            (86, 48),
            "86 train and 48 test tracks prepared, of 100 and 50 in MUSDB18: "
            "14 train tracks and 2 test tracks missing",
        ),
        (  # somebody's own songs beside them
            (110, 50),
            "110 train and 50 test tracks prepared, of 100 and 50 in MUSDB18",
        ),
        (
            (94, 50, 6.8),
            "94 train and 50 test tracks prepared, of 94 and 50 in musdb's 7-second sample",
        ),
        (
            (94, 49, 6.8),
            "94 train and 49 test tracks prepared, of 94 and 50 in musdb's 7-second sample: "
            "1 test track missing",
        ),
        ((1, 1, 4.0, "stempeg"), "1 train and 1 test tracks prepared"),
    ],
)
def test_what_is_there_and_what_the_split_has(made, expected):
    assert describe_split(manifest_of(*made)) == expected


def test_missing_songs_are_one_line_and_no_failure(source, data_dir, capsys):
    for _ in range(2):  # prepared, and prepared before
        call("local/prepare.py", data_dir=data_dir, musdb18_dir=source, num_workers=1)
        assert capsys.readouterr().out == (
            f"{data_dir}: 2 train and 1 test tracks prepared, of 94 and 50 in musdb's 7-second "
            "sample: 92 train tracks and 49 test tracks missing\n"
        )
