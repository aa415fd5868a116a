"""Intervals by which sources are transposed."""

import math

import pytest

from asteroid_sinudae.utils.intervals import interval


@pytest.mark.parametrize("semitones", range(-4, 5))
def test_intervals_are_in_tune(semitones):
    up, down = interval(semitones)
    assert 1200 * math.log2(up / down) == pytest.approx(100 * semitones, abs=4)


@pytest.mark.parametrize("semitones", [5, -5, 1.0, True, "2"])
def test_other_intervals_are_refused(semitones):
    with pytest.raises(ValueError, match="semitones must be an integer, -4 to 4, got "):
        interval(semitones)
