"""Excerpts of test tracks, chosen by seed or by name, and their players on the page."""

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import soundfile
import torch
from torch import nn

from ..data.tracks import SAMPLE_RATE, Track
from ..evaluation.estimates import check_finite, named, separated_estimates
from ..masks import decode_masked, encode_sources, make_mask
from ..metrics import is_silent, si_sdr
from ..models.representation import Representation
from ..models.sinudae import SinuDAE
from ..utils.checks import check, check_positive_int
from .page import Example, Player, PlayerGroup
from .pictures import map_pictures

logger = logging.getLogger(__name__)

INFORMED, BLIND = "mask knows the sources", "hears the mixture only"


@dataclass(frozen=True)
class Excerpt:
    """A part of a prepared track.

    Args:
        track (Track): The track.
        start (int): First sample.
        n_samples (int): Length in samples; the track may end earlier.
    """

    track: Track
    start: int
    n_samples: int

    def __str__(self) -> str:
        return f"{self.track.name} at {self.start / SAMPLE_RATE:g} s"

    def read(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Read vocals and accompaniment, each of shape `(1, 1, time)`."""
        vocals, accompaniment = (
            soundfile.read(path, frames=self.n_samples, start=self.start, dtype="float32")[0]
            for path in (self.track.vocals, self.track.accompaniment)
        )
        return torch.from_numpy(vocals)[None, None], torch.from_numpy(accompaniment)[None, None]

    def loudest_second(self) -> tuple[torch.Tensor, int]:
        """Return the second in which the voice is loudest, `(1, 1, time)`, and its first sample.

        Seconds do not overlap; of a shorter excerpt all is returned.
        """
        vocals, _ = self.read()
        seconds = vocals.split(SAMPLE_RATE, dim=-1)
        whole = [each for each in seconds if each.shape[-1] == SAMPLE_RATE] or [vocals]
        number = max(range(len(whole)), key=lambda index: whole[index].norm().item())
        return whole[number], self.start + number * SAMPLE_RATE

    def silent_signal(self) -> str | None:
        """Return ``'voice'`` or ``'mixture'`` if that is silent by :func:`.is_silent`, or None."""
        vocals, accompaniment = self.read()
        signals = {"voice": vocals, "mixture": vocals + accompaniment}
        return next((name for name, wav in signals.items() if is_silent(wav).item()), None)


MAX_SECONDS = 600  # length of an excerpt


def n_samples_of(seconds: float) -> int:
    """Convert the length of an excerpt to samples.

    Raises:
        ValueError: if it is less than a sample, or more than :data:`MAX_SECONDS`.
    """
    is_valid = 0 < seconds <= MAX_SECONDS and round(seconds * SAMPLE_RATE) >= 1
    expected = f"a positive number of seconds, at most {MAX_SECONDS}"
    check(is_valid, "example_seconds", seconds, expected)
    return round(seconds * SAMPLE_RATE)


def named_excerpt(text: str, tracks: Sequence[Track], seconds: float) -> Excerpt:
    """Find the excerpt that a user asks for.

    Args:
        text (str): The excerpt, as ``<track>@<seconds>``.
        tracks (sequence of Track): The tracks to look in.
        seconds (float): Length of the excerpt.

    Raises:
        ValueError: if there is no such track or place, or the voice or the mixture is silent there.
    """
    name, _, place = text.rpartition("@")
    try:
        start = round(float(place) * SAMPLE_RATE)
    except (ValueError, OverflowError):
        raise ValueError(f"example must be TRACK@SECONDS, got {text!r}") from None
    track = next((track for track in tracks if track.name == name), None)
    if track is None:
        known = ", ".join(sorted(track.name for track in tracks))
        raise ValueError(f"example {text!r}: no test track {name!r}, expected one of: {known}")
    duration = track.n_samples / SAMPLE_RATE
    if not 0 <= start < track.n_samples:
        raise ValueError(f"example {text!r}: expected a start from 0 to before {duration:g} s")
    excerpt = Excerpt(track, start, n_samples_of(seconds))
    silent = excerpt.silent_signal()
    if silent is not None:
        raise ValueError(f"example {text!r}: the {silent} is silent there, expected audio")
    return excerpt


def choose_excerpts(tracks: Sequence[Track], n: int, seconds: float, seed: int) -> list[Excerpt]:
    """Choose random excerpts with audible voice and mixture, from as many tracks as possible.

    Tracks are divided into adjacent excerpts; a track that is shorter than an excerpt is taken as a
    whole. If there are fewer than `n` audible excerpts, a warning is logged.

    Args:
        tracks (sequence of Track): The tracks to choose from.
        n (int): Number of excerpts.
        seconds (float): Length of an excerpt.
        seed (int): Seed of the choice, not negative.

    Raises:
        ValueError: if a number is out of its range, or there is no audible excerpt.
    """
    check_positive_int("n_examples", n)
    check(seed >= 0, "seed", seed, "0 or more")
    rng = np.random.default_rng(seed)
    waiting = deque(
        _audible_excerpts(tracks[i], n_samples_of(seconds), rng)
        for i in rng.permutation(len(tracks))
    )
    chosen: list[Excerpt] = []
    while waiting and len(chosen) < n:
        excerpts = waiting.popleft()
        excerpt = next(excerpts, None)
        if excerpt is not None:
            chosen.append(excerpt)
            waiting.append(excerpts)
    if not chosen:
        raise ValueError(f"no audible excerpt in {len(tracks)} test tracks, expected one at least")
    if len(chosen) < n:
        logger.warning(
            "%d of %d examples: no more audible excerpts of %g s", len(chosen), n, seconds
        )
    return chosen


def _audible_excerpts(track: Track, n_samples: int, rng: np.random.Generator) -> Iterator[Excerpt]:
    """Iterate over a track's audible excerpts in random order."""
    starts = range(0, max(track.n_samples - n_samples, 0) + 1, n_samples)
    excerpts = (Excerpt(track, int(start), n_samples) for start in rng.permutation(starts))
    return (excerpt for excerpt in excerpts if excerpt.silent_signal() is None)


@torch.no_grad()
def make_example(
    number: int,
    excerpt: Excerpt,
    representations: dict[str, Representation],
    threshold: float = 0.5,
    separators: Mapping[str, nn.Module] | None = None,
) -> Example:
    """Make the players of an excerpt through all representations, and heat maps of learned ones.

    Estimates of separators stand beside those of masks.

    Args:
        number (int): Number of the example on the page, which its files' names contain.
        excerpt (Excerpt): An excerpt whose voice and mixture are not silent.
        representations (dict): Representations, by their names in tables.
        threshold (float): Threshold of :func:`.binary_mask`.
        separators (mapping, optional): Separators of the :data:`SOURCES`, by their names.

    Returns:
        Example

    Raises:
        ValueError: naming the separator whose estimates are not finite.
    """
    vocals, accompaniment = excerpt.read()
    mixture = vocals + accompaniment
    length = vocals.shape[-1]
    of_mixture, of_vocals, masked, pictures = [], [], [], []
    mask = partial(make_mask, threshold=threshold)
    for name, representation in representations.items():
        encoded = encode_sources(representation, mixture, vocals, accompaniment)
        as_encoded = [encoded.mixture, encoded.vocals]
        estimates = decode_masked(representation, encoded, [mask], length, unmasked=as_encoded)
        of_mixture.append(_player(number, f"Mixture by {name}", estimates[0], mixture))
        of_vocals.append(_player(number, f"Voice by {name}", estimates[1], vocals))
        label = f"Voice masked by {name}"
        masked.append(_player(number, label, estimates[2], vocals, INFORMED))
        if isinstance(representation, SinuDAE):
            signals = {"mixture": mixture, "voice": vocals}
            pictures += map_pictures(f"{number}-{_slug(name)}", name, representation, signals)
    separated = _separated_players(number, separators or {}, mixture, vocals)
    row = [
        _player(number, "True voice", vocals),
        *masked,
        *separated,
        _player(number, "Mixture", mixture, vocals),
    ]
    return Example(
        title=str(excerpt),
        groups=[
            PlayerGroup(
                "Voice out of the mixture",
                _how(threshold, bool(separated)),
                row,
            ),
            PlayerGroup(
                "Voice without a mask",
                "Encoded and decoded; SI-SDR against the true voice.",
                of_vocals,
                is_aside=True,
            ),
            PlayerGroup(
                "Mixture without a mask",
                "Encoded and decoded; SI-SDR against the mixture.",
                of_mixture,
                is_aside=True,
            ),
        ],
        pictures=pictures,
    )


def _separated_players(
    number: int, separators: Mapping[str, nn.Module], mixture: torch.Tensor, vocals: torch.Tensor
) -> list[Player]:
    """Make a player of each separator's estimate of the vocals of a mixture."""
    players = []
    for name, separator in separators.items():
        estimates = separated_estimates(separator, mixture)
        with named(name):
            check_finite("estimates", *estimates.values())
        label = f"Voice separated by {name}"
        players.append(_player(number, label, estimates["vocals"], vocals, BLIND))
    return players


def _how(threshold: float, has_separators: bool) -> str:
    """Say how the voice was taken out of the mixture."""
    mask = f"the binary mask of the true sources at threshold {threshold:g}"
    if not has_separators:
        return f"By {mask}; SI-SDR against the true voice."
    return (
        f"Masked: by {mask}. Separated: by a trained model, from the mixture alone. SI-SDR against "
        "the true voice."
    )


def _player(
    number: int,
    label: str,
    wav: torch.Tensor,
    target: torch.Tensor | None = None,
    note: str = "",
) -> Player:
    return Player(
        f"{number}-{_slug(label)}",
        label,
        wav[0, 0],
        None if target is None else si_sdr(wav, target).item(),
        note,
    )


def _slug(text: str) -> str:
    """Make a part of a file's name out of words."""
    return re.sub("[^a-z0-9]+", "-", text.lower())
