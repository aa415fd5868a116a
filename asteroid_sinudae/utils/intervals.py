"""Musical intervals as ratios of small integers, by which signals are resampled.

They are those of equal temperament, because songs are tuned so, and separators learn the tuning.
"""

from .checks import check

# 0 to 4 semitones up, at most 4 cents (hundredths of a semitone) from equal temperament.
RATIOS = ((1, 1), (18, 17), (9, 8), (25, 21), (63, 50))
MAX_SEMITONES = len(RATIOS) - 1


def interval(semitones: int) -> tuple[int, int]:
    """Return an interval as a ratio of frequencies, numerator and denominator.

    A signal that is resampled from the rate of the first number to that of the second, and played
    at the rate that it had, is this interval higher and as much faster.

    Args:
        semitones (int): Number of semitones, negative for an interval down.

    Raises:
        ValueError: if `semitones` is no integer from -4 to 4.

    Examples
        >>> interval(2), interval(-2)
        ((9, 8), (8, 9))
    """
    is_known = type(semitones) is int and abs(semitones) <= MAX_SEMITONES
    check(is_known, "semitones", semitones, f"an integer, {-MAX_SEMITONES} to {MAX_SEMITONES}")
    up, down = RATIOS[abs(semitones)]
    return (up, down) if semitones >= 0 else (down, up)
