"""Figures of the page, each with a caption and a text for readers who cannot see it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from ..evaluation.tables import decibels
from ..filterbanks.bands import parse_bands
from ..models import pretrained
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..report import plots
from ..training.objectives import Reconstruction
from .bank import learned_bank
from .page import Picture
from .run_results import TERMS


@torch.no_grad()
def map_pictures(
    prefix: str, name: str, dae: SinuDAE, signals: dict[str, torch.Tensor]
) -> list[Picture]:
    """Make heat maps of several signals in units of their level, with one scale for all of them.

    Args:
        prefix (str): Beginning of the files' names.
        name (str): Name of the model.
        dae (SinuDAE): The model.
        signals (dict): Signals of shape `(1, 1, time)`, by a word for each, e.g. ``'voice'``.

    Returns:
        list of Picture
    """
    encoded = {
        label: plots.magnitudes(dae, wav, signal_level=True) for label, wav in signals.items()
    }
    reference = max(float(rep.max()) for rep in encoded.values())
    pictures = []
    for label, rep in encoded.items():
        channel, frame = divmod(int(rep.argmax()), rep.shape[1])
        time = float(dae.frame_times(rep.shape[1])[frame])
        duration = signals[label].shape[-1] / dae.sample_rate
        pictures.append(
            Picture(
                f"{prefix}-map-{label}",
                plots.plot_representation(
                    dae, signals[label], reference=reference, signal_level=True
                ),
                alt=f"Heat map of {rep.shape[0]} channels over {duration:g} seconds of the "
                f"{label}, {_carrier_range(dae)}. The largest value is at {max(time, 0):.2f} "
                f"seconds in {plots.channel_title(dae, channel)}.",
                caption=f"A of the {label} by the {name}, each channel divided by its gain, the "
                "response to a sinusoid; dB below the largest value of both maps",
            )
        )
    return pictures


SHIPPED = "sinudae_c800_s256"
PAPERS = "the paper's initialisation"


def compared_representations(
    name: str, dae: SinuDAE, stft: STFT, beside: Mapping[str, SinuDAE] | None = None
) -> dict[str, SinuDAE | STFT]:
    """Choose what stands side by side: the STFT, the paper's and a multi-resolution initialisation.

    The run's pair is the one whose initialisation it has. The other is untrained, in the paper's
    size, or the model that comes with the package, if it is for that sample rate.

    Args:
        name (str): Name of the run's pair.
        dae (SinuDAE): The run's pair.
        stft (STFT): The STFT that it is compared with.
        beside (dict, optional): Other models, by their names, to stand at the end.
    """
    is_multires = dae.get_model_args()["init"] == "multires"
    found: dict[str, SinuDAE | STFT] = {"STFT": stft}
    if not is_multires and plots.channel_frequencies(dae) is not None:
        found[name] = dae
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found[f"{PAPERS}, untrained"] = SinuDAE(sample_rate=dae.sample_rate)
    if is_multires:
        found[name] = dae
    elif SHIPPED in pretrained.available():
        shipped = SinuDAE.from_pretrained(SHIPPED)
        if shipped.sample_rate == dae.sample_rate:
            found[SHIPPED] = shipped
    return found | {
        name: other
        for name, other in (beside or {}).items()
        if plots.channel_frequencies(other) is not None
    }


def comparison_pictures(
    representations: dict[str, SinuDAE | STFT], wav: torch.Tensor, what: str
) -> list[Picture]:
    """Make the figure of one signal's maps side by side; none if there is one representation only.

    Args:
        representations (dict): The result of :func:`compared_representations`.
        wav (:class:`torch.Tensor`): the signal, of shape `(1, 1, time)`.
        what (str): Words for the signal.
    """
    if len(representations) < 2:
        return []
    names = ", ".join(representations)
    return [
        Picture(
            "comparison",
            plots.plot_side_by_side(representations, wav),
            alt=f"{len(representations)} heat maps of {what} over the same seconds and "
            f"frequencies, by {names}.",
            caption=f"{what[0].upper()}{what[1:]} by {names}, in the same units: each channel is "
            "divided by its gain, the response to a sinusoid; dB below the largest of all",
            narrow=plots.plot_side_by_side(representations, wav, stacked=True),
        )
    ]


def kernel_pictures(model: SinuDAE, n: int = 12) -> list[Picture]:
    """Make the figures of a decoder: kernels, responses, an overview, carriers and windows.

    Args:
        model (SinuDAE): A model.
        n (int): Number of kernels, see :func:`.spread_channels`.

    Returns:
        list of Picture, without carriers or windows if the decoder has none.
    """
    channels = plots.spread_channels(model, n)
    titles = [plots.channel_title(model, channel) for channel in channels]
    kernel_size = model.decoder.filterbank.kernel_size
    frequencies, responses = plots.magnitude_responses(model)
    peaks = frequencies[responses.argmax(axis=-1)]
    at_peak = [
        f"{title}, largest at {plots.hertz(peaks[channel])}"
        for title, channel in zip(titles, channels, strict=True)
    ]
    carriers = plots.channel_frequencies(model)
    if carriers is None:
        mark = order = agreement = ""
    else:
        mark, order = "; the dashed line marks the carrier", ", in the order of their carriers"
        agreement = (
            f". In {plots.n_peaks_at_carrier(model)} of {len(peaks)} kernels the largest magnitude "
            f"is within {plots.hertz(model.sample_rate / kernel_size)} (1/L) of the carrier"
        )
    pictures = [
        Picture(
            "kernels",
            plots.plot_kernels(model, n),
            alt=f"{len(channels)} waveforms: {'; '.join(titles)}.",
            caption=f"{len(channels)} of the decoder's {len(peaks)} kernels, each of "
            f"{1000 * kernel_size / model.sample_rate:.1f} ms, on one scale",
            narrow=plots.plot_kernels(model, n, columns=2),
        ),
        Picture(
            "responses",
            plots.plot_responses(model, n),
            alt=f"{len(channels)} curves of magnitude over frequency: {'; '.join(at_peak)}.",
            caption=f"The DFT magnitudes of these kernels, dB below the largest{mark}",
            narrow=plots.plot_responses(model, n, columns=2),
        ),
        Picture(
            "overview",
            plots.plot_kernel_overview(model),
            alt=f"Image of the DFT magnitudes of {len(peaks)} kernels, one a row"
            f"{order}. The largest magnitudes are between {plots.hertz(peaks.min())} and "
            f"{plots.hertz(peaks.max())}.",
            caption=f"The DFT magnitudes of all kernels{order}{mark}{agreement}",
        ),
    ]
    if model.get_model_args()["init"] == "multires":
        pictures.append(_tiling_picture(model))
    if carriers is not None:
        pictures.append(_carrier_picture(model))
    if model.get_model_args()["decoder"] == "mod_cos":
        pictures.append(_bank_picture(model))
    return pictures


def _tiling_picture(model: SinuDAE) -> Picture:
    bands, rate = parse_bands(model.get_model_args()["bands"]), model.sample_rate
    ranges = [
        f"{band.window} samples ({1000 * band.window / rate:.3g} ms) in {band.phases} phases up to "
        f"{plots.hertz(band.upper)}"
        for band in bands
    ]
    return Picture(
        "tiling",
        plots.plot_tiling(bands, rate),
        alt=f"Rectangles over time and frequency in {len(bands)} bands, whose windows are "
        f"{'; '.join(ranges)}.",
        caption="The windows that the kernels of each band started from. Each rectangle is one "
        f"window long and {plots.FREQUENCIES_A_TILE} frequencies high: long windows tell "
        "frequencies apart, short ones moments",
    )


def _carrier_picture(model: SinuDAE) -> Picture:
    learned = np.sort(plots.carriers(model))
    distance = np.abs(learned - np.sort(plots.start_frequencies(model)))
    return Picture(
        "carriers",
        plots.plot_carriers(model),
        alt=f"Carriers over {len(learned)} channels as learned and at the start, and their "
        f"difference; learned, they are {_carrier_range(model)}.",
        caption="Learned carriers and their start, both in ascending order. They are "
        f"{plots.hertz(np.median(distance))} apart in the median and "
        f"{plots.hertz(distance.max())} at most",
    )


def _bank_picture(model: SinuDAE) -> Picture:
    bank = learned_bank(model)
    shortest, longest = bank.durations.min(), bank.durations.max()
    state = "before any training" if bank.is_start else "as learned and at the start"
    alt = (
        f"Effective lengths of {len(bank.durations)} windows, {shortest:.1f} to {longest:.1f} "
        f"milliseconds, over carriers {_carrier_range(model)}, {state}."
    )
    signs = "" if bank.is_start else ": dots and circles"
    caption = (
        f"Carriers and windows of all {len(bank.durations)} kernels, {state}{signs}. The windows "
        f"are effectively {shortest:.1f} to {longest:.1f} ms long, where a constant counts its "
        "whole length and a sine window two thirds"
    )
    if not bank.is_start:
        caption += f". Carriers that have moved by more than 1 Hz: {bank.n_moved()}"
        if bank.changes is not None:
            median = decibels(np.median(bank.changes))
            alt += f" Below, how much each kernel has changed: {median} in the median."
            caption += (
                ". Below, the difference between each kernel and the one it is paired with at the "
                f"start, relative to the latter: {median} in the median"
            )
    return Picture("bank", plots.plot_bank(bank), alt=alt, caption=caption)


def _carrier_range(model: SinuDAE) -> str:
    carriers = plots.channel_frequencies(model)
    if carriers is None:
        return "by their index"
    return f"from {plots.hertz(carriers.min())} to {plots.hertz(carriers.max())}"


def loss_pictures(losses: pd.DataFrame) -> list[Picture]:
    """Make the figure of the loss curves.

    Args:
        losses (:class:`pandas.DataFrame`): The result of :func:`.read_losses`.

    Returns:
        list of one Picture, or empty if nothing was logged.
    """
    logged = losses["neg_snr"].dropna()
    if logged.empty:
        return []
    terms = [term.words for name, term in TERMS.items() if name in losses]
    lowered = "; ".join([Reconstruction.label.words, *terms])
    return [
        Picture(
            "losses",
            plots.plot_losses(losses),
            alt=f"Curves over {logged.index[-1] + 1} updates: {lowered}. The negative "
            f"signal-to-noise ratio goes from {logged.iloc[0]:.1f} to {logged.iloc[-1]:.1f} dB.",
            caption=f"What the training lowers: {lowered}",
        )
    ]
