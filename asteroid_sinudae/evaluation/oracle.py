"""Evaluation of representations under oracle masks: metrics of each test segment."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from ..data.segments import TestSegments
from ..data.tracks import Track
from ..filterbanks.mod_cos_fb import CosFB
from ..masks import decode_masked, encode_sources, make_mask
from ..metrics import additivity_error, hoyer_sparsity, kernels_at_carrier, si_sdr, variation
from ..models.representation import Representation
from ..models.stft import STFT
from .estimates import check_finite, named
from .segments import audible_segments
from .tables import MIXTURE, RM_COLUMN, bm_column


@torch.no_grad()
def segment_metrics(
    representation: Representation,
    vocals: torch.Tensor,
    accompaniment: torch.Tensor,
    thresholds: Sequence[float],
) -> dict[str, list[float]]:
    """Compute the metrics of a representation on a batch of segments (Section 3).

    Args:
        representation (Representation): The representation under test.
        vocals (:class:`torch.Tensor`): shape `(batch, 1, time)`.
        accompaniment (:class:`torch.Tensor`): of the same shape; the mixture is their sum.
        thresholds (sequence of float): Thresholds of :func:`.binary_mask`.

    Returns:
        dict of lists, a value a segment: `si_sdr`, the SI-SDR of the reconstructed vocals (dB); for
        each of :func:`mask_columns` that of the vocals taken out of the mixture by this mask (dB);
        `additivity_error`, see :func:`.additivity_error`; and of the vocals' magnitudes
        `sparsity`, see :func:`.hoyer_sparsity`, and `variation`, see :func:`.variation`.

    Raises:
        ValueError: if the representation or what it decodes is not finite.
    """
    encoded = encode_sources(representation, vocals + accompaniment, vocals, accompaniment)
    magnitudes = [representation.magnitude(rep) for rep in encoded]
    check_finite("representation", *magnitudes)  # of a NaN, a binary mask would make a zero
    options = mask_columns(thresholds)
    masks = [partial(make_mask, **each) for each in options.values()]
    decoded = decode_masked(
        representation, encoded, masks, vocals.shape[-1], unmasked=[encoded.vocals]
    )
    check_finite("estimates", *decoded)
    metrics = {
        column: si_sdr(estimate, vocals).tolist()
        for column, estimate in zip(["si_sdr", *options], decoded, strict=True)
    }
    _, of_vocals, _ = magnitudes
    frame_rate = representation.sample_rate / representation.encoder.stride
    return {
        **metrics,
        "additivity_error": additivity_error(*magnitudes).tolist(),
        "sparsity": hoyer_sparsity(of_vocals).tolist(),
        "variation": variation(of_vocals, frame_rate).tolist(),
    }


def mask_columns(thresholds: Sequence[float]) -> dict[str, dict]:
    """Return the arguments of :func:`.make_mask` by the columns of SI-SDR after masking.

    Args:
        thresholds (sequence of float): Thresholds of :func:`.binary_mask`, a column each.

    Examples
        >>> mask_columns([1.0])
        {'si_sdr_bm_1': {'rule': 'binary', 'threshold': 1.0}, 'si_sdr_rm': {'rule': 'ratio'}}
    """
    binary = {bm_column(value): {"rule": "binary", "threshold": value} for value in thresholds}
    return {**binary, RM_COLUMN: {"rule": "ratio"}}


def evaluate(
    representations: dict[str, Representation],
    tracks: Sequence[Track],
    segment: int = 44100,
    thresholds: Sequence[float] = (0.5, 1.0),
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> tuple[pd.DataFrame, int]:
    """Evaluate representations and the unprocessed mixture on the same audible test segments.

    The mixture has no reconstruction, and its SI-SDR stands in every masking column.

    Args:
        representations (dict): Representations by the name they have in tables.
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment in samples.
        thresholds (sequence of float): Thresholds of :func:`.binary_mask`.
        batch_size (int): Segments at a time.
        device (:class:`torch.device` or str): Where the representations are.

    Returns:
        tuple of a :class:`pandas.DataFrame`, one row a segment and representation, and the number
        of silent segments that were left out. The columns are `track`, `start` (samples),
        `representation` (its name in tables) and what :func:`segment_metrics` returns.

    Raises:
        ValueError: if there are no tracks, or all segments are silent; or naming the representation
            that is not finite, or whose estimates are not.
    """
    if not tracks:
        raise ValueError("no test tracks to evaluate, expected at least one")
    segments = TestSegments(tracks, segment)
    frames = []
    for batch in audible_segments(segments, batch_size, device):
        where = {
            "track": [track for track, _ in batch.locations],
            "start": [start for _, start in batch.locations],
        }
        for name, representation in representations.items():
            with named(name):
                metrics = segment_metrics(
                    representation, batch.vocals, batch.accompaniment, thresholds
                )
            frames.append(pd.DataFrame({**where, "representation": name, **metrics}))
        mixture = si_sdr(batch.vocals + batch.accompaniment, batch.vocals).tolist()
        columns = dict.fromkeys(mask_columns(thresholds), mixture)
        frames.append(pd.DataFrame({**where, "representation": MIXTURE, **columns}))
    if not frames:
        raise ValueError(f"all {len(segments)} test segments are silent, nothing to evaluate")
    results = pd.concat(frames, ignore_index=True)
    n_audible = len(results) // (len(representations) + 1)
    return results, len(segments) - n_audible


@torch.no_grad()
def costs(representation: Representation, device: torch.device | str = "cpu") -> dict[str, float]:
    """Compute what a representation costs: coefficients per sample, mask decisions per second.

    Args:
        representation (Representation): Any representation.
        device (:class:`torch.device` or str): The device of the representation.

    Returns:
        dict: `coefficients_per_sample`, the real numbers of the representation for each sample of
        audio, and `mask_decisions_per_second`, the values of a mask for each second.

    Examples
        >>> from asteroid_sinudae import STFT
        >>> costs(STFT(n_fft=2048, stride=384, sample_rate=44100))["mask_decisions_per_second"]
        117714.84375
    """
    stride = representation.encoder.stride
    rep = representation.encode(torch.zeros(1, 1, stride, device=device))
    numbers = 2 if rep.is_complex() else 1
    return {
        "coefficients_per_sample": numbers * rep.shape[1] / stride,
        "mask_decisions_per_second": rep.shape[1] * representation.sample_rate / stride,
    }


@torch.no_grad()
def readability(representation: Representation) -> dict[str, float]:
    """Tell whether the channels of a representation stand for the frequencies that they are named.

    Args:
        representation (Representation): Any representation.

    Returns:
        dict: `kernels_at_carrier`, see :func:`.kernels_at_carrier`, and `carriers_below_1_hz`, the
        number of carriers there; empty if the decoder has no carriers. The kernels of an STFT are
        its window, which is positive, times the complex exponential of their bin, and the response
        of a positive window is largest at 0 Hz: `kernels_at_carrier` is 1 by construction.

    Examples
        >>> from asteroid_sinudae import STFT, SinuDAE
        >>> readability(STFT())
        {'kernels_at_carrier': 1.0}
        >>> readability(SinuDAE(n_filters=20, kernel_size=64, stride=8, decoder="conv"))
        {}
    """
    if isinstance(representation, STFT):
        return {"kernels_at_carrier": 1.0}
    filterbank = getattr(getattr(representation, "decoder", None), "filterbank", None)
    if not isinstance(filterbank, CosFB):
        return {}
    carriers = filterbank.carrier_frequencies()
    kernels = filterbank.filters()[:, 0]
    return {
        "kernels_at_carrier": kernels_at_carrier(kernels, carriers, representation.sample_rate),
        "carriers_below_1_hz": int((carriers < 1).sum()),
    }
