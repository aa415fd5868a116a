"""Plots of representations, kernels and training, as matplotlib figures.

The figures use matplotlib's object-oriented interface. So they need no display, do not change
pyplot or a notebook's backend, are shown in a notebook, and are saved by ``figure.savefig``.
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..filterbanks.bands import Band
from ..filterbanks.mod_cos_fb import CosFB
from ..metrics import kernels_at_carrier
from ..models.gains import channel_gains
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..training.objectives import Reconstruction
from ..utils.checks import check, check_positive_int
from .bank import Bank, start_model
from .colours import BLUE, ORANGE
from .run_results import TERMS

DPI = 160
COLOURS = "magma"  # perceptually uniform, and readable in grey
SEVERAL = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "os^vD"
STYLE: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9, "axes.grid": False, "figure.dpi": DPI}
MEL_TICKS = (0, 500, 1000, 2000, 5000, 10000, 20000)  # Hz
FEW_MEL_TICKS = (0, 1000, 5000, 20000)  # Hz, for small axes
IN_A_ROW = 3  # maps side by side
FREQUENCIES_A_TILE = 10  # of the drawing of bands
N_ROWS = 240  # of maps on a common axis of frequency


class NotebookFigure(Figure):
    """A figure that a notebook shows even if pyplot has not been imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def _figure(width: float, height: float) -> NotebookFigure:
    """Make an empty figure of this size in inches."""
    return NotebookFigure(figsize=(width, height), layout="constrained")


def channel_frequencies(representation: SinuDAE | STFT) -> np.ndarray | None:
    """Return the frequency in Hz of each channel of a representation.

    Args:
        representation (Representation): A :class:`.SinuDAE` or :class:`.STFT`.

    Returns:
        :class:`numpy.ndarray` of shape `(freq,)`, the learned carriers or the bins of the DFT;
        None if the decoder has free kernels.
    """
    filterbank = representation.decoder.filterbank
    if isinstance(representation, STFT):
        return np.fft.rfftfreq(filterbank.kernel_size, 1 / representation.sample_rate)
    if isinstance(filterbank, CosFB):
        return filterbank.carrier_frequencies().cpu().double().numpy()
    return None


def carriers(model: SinuDAE | STFT) -> np.ndarray:
    """Return the carriers of a model in Hz, or the bins of an STFT, shape `(C,)`.

    Raises:
        ValueError: if its decoder has no carriers.
    """
    frequencies = channel_frequencies(model)
    if frequencies is None:
        assert isinstance(model, SinuDAE)  # an STFT has its bins
        decoder = model.get_model_args()["decoder"]
        raise ValueError(f"decoder must be mod_cos or cos, got {decoder!r}")
    return frequencies


def channel_order(representation: SinuDAE | STFT) -> np.ndarray:
    """Return the channels by ascending :func:`channel_frequencies`; unsorted if there are none."""
    frequencies = channel_frequencies(representation)
    if frequencies is None:
        return np.arange(representation.decoder.filterbank.n_feats_out)
    return np.argsort(frequencies, kind="stable")


def spread_channels(model: SinuDAE, n: int) -> np.ndarray:
    """Choose channels at equal distances in :func:`channel_order`, from the first to the last.

    Args:
        model (SinuDAE): A model with `C` channels.
        n (int): Number of channels; all are chosen if it exceeds `C`.

    Returns:
        :class:`numpy.ndarray` of shape `(min(n, C),)`.

    Raises:
        ValueError: if `n` is not an integer of at least 1.
    """
    check_positive_int("n", n)
    order = channel_order(model)
    return order[np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)]


@torch.no_grad()
def decoder_kernels(model: SinuDAE) -> np.ndarray:
    """Return the kernels of the decoder.

    Args:
        model (SinuDAE): A model with `C` channels and kernels of `L` samples.

    Returns:
        :class:`numpy.ndarray` of shape `(C, L)`, in double precision.

    Raises:
        ValueError: if `model` is no :class:`.SinuDAE`.
    """
    check(isinstance(model, SinuDAE), "model", type(model).__name__, "a SinuDAE")
    return model.decoder.filterbank.filters()[:, 0].cpu().double().numpy()


def magnitude_responses(model: SinuDAE, oversampling: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Compute the magnitudes of the DFT of the decoder's kernels.

    Args:
        model (SinuDAE): A model with `C` channels and kernels of `L` samples.
        oversampling (int): Kernels are zero-padded to this multiple of `L`.

    Returns:
        tuple of the frequencies in Hz, shape `(bins,)`, and the magnitudes in dB relative to the
        largest one of each kernel, shape `(C, bins)`, with `bins = oversampling * L // 2 + 1`.
    """
    kernels = decoder_kernels(model)
    n_fft = oversampling * kernels.shape[-1]
    magnitudes = np.abs(np.fft.rfft(kernels, n_fft)).astype(np.float32)
    return np.fft.rfftfreq(n_fft, 1 / model.sample_rate), _decibels(magnitudes, axis=-1)


def _decibels(
    magnitudes: np.ndarray, reference: float | None = None, axis: int | None = None
) -> np.ndarray:
    """Convert magnitudes to dB relative to `reference`, or to the largest one along `axis`."""
    largest: Any = reference
    if largest is None:
        largest = magnitudes.max(axis=axis, keepdims=axis is not None)
    divisor = np.where(np.greater(largest, 0), largest, 1)
    return 20 * np.log10(np.maximum(magnitudes / divisor, 1e-10))


def n_peaks_at_carrier(model: SinuDAE) -> int:
    """Count the kernels that peak at their carrier, see :func:`.kernels_at_carrier`."""
    kernels, places = map(torch.from_numpy, (decoder_kernels(model), carriers(model)))
    share = kernels_at_carrier(kernels, places, model.sample_rate)
    return round(share * len(kernels))


@torch.no_grad()
def plot_representation(
    representation: SinuDAE | STFT,
    wav: torch.Tensor,
    title: str | None = None,
    reference: float | None = None,
    range_db: float = 60.0,
    signal_level: bool = False,
) -> Figure:
    """Plot the magnitude of a signal's representation over time (s) and frequency (Hz).

    The channels of a :class:`.SinuDAE` have rows of equal height, in ascending order of their
    learned carriers, and the axis is labelled with these carriers. If there are no carriers, the
    axis counts channels.

    Args:
        representation (Representation): A :class:`.SinuDAE` or :class:`.STFT`.
        wav (:class:`torch.Tensor`): one signal, shape `(1, 1, time)` or `(time,)`, on the
            representation's device.
        title (str, optional): Text above the map.
        reference (float, optional): Magnitude of 0 dB; if None (default), the largest one. The
            levels of maps with the same reference can be compared.
        range_db (float): Range of levels in dB; lower levels have the colour of its lower end.
        signal_level (bool): Whether to divide each channel by its gain, see
            :func:`.channel_gains`. A value is then the amplitude of a sinusoid, as is `reference`.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if `wav` is not one signal, or `range_db` is not positive.
    """
    shape = tuple(wav.shape)
    check(0 < wav.numel() == shape[-1], "wav", shape, "one signal, of shape (1, 1, time)")
    check(range_db > 0, "range_db", range_db, "positive (dB)")
    order = channel_order(representation)
    levels = _decibels(magnitudes(representation, wav, signal_level)[order], reference)
    times = representation.frame_times(levels.shape[-1]).numpy()
    half = representation.encoder.stride / representation.sample_rate / 2

    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 3.4)
        axes = figure.subplots()
        image = axes.imshow(
            levels,
            cmap=COLOURS,
            vmin=-range_db,
            vmax=0,
            origin="lower",
            aspect="auto",
            extent=(times[0] - half, times[-1] + half, -0.5, len(levels) - 0.5),
        )
        axes.set_xlim(0, wav.shape[-1] / representation.sample_rate)
        axes.set_xlabel("Time (s)")
        _label_channels(axes, representation)
        if title is not None:
            axes.set_title(title)
        label = "Level of a sinusoid (dB), A / gain" if signal_level else "Level (dB)"
        figure.colorbar(image, ax=axes, label=label, extend="min", pad=0.02)
        return figure


@torch.no_grad()
def magnitudes(
    representation: SinuDAE | STFT, wav: torch.Tensor, signal_level: bool = False
) -> np.ndarray:
    """Compute the magnitude of one signal's representation, of shape `(freq, frames)`.

    Args:
        representation (Representation): A :class:`.SinuDAE` or :class:`.STFT`.
        wav (:class:`torch.Tensor`): one signal, shape `(1, 1, time)` or `(time,)`.
        signal_level (bool): Whether to divide each channel by its gain.
    """
    rep = representation.magnitude(representation.encode(wav.reshape(1, 1, -1)))[0]
    if signal_level:
        rep = rep / channel_gains(representation)[:, None]
    return rep.cpu().double().numpy()


@torch.no_grad()
def plot_side_by_side(
    representations: dict[str, SinuDAE | STFT],
    wav: torch.Tensor,
    range_db: float = 60.0,
    stacked: bool = False,
) -> Figure:
    """Plot the same signal's maps in panels with the same axes: seconds, and Hz on a mel scale.

    Each channel is divided by its gain, see :func:`.channel_gains`, so that one colour is one level
    in all panels. A row of the picture shows the loudest of the channels whose frequencies it
    covers, or the nearest channel if there is none; it is empty beyond the last channel.

    Args:
        representations (dict): :class:`.SinuDAE` with carriers or :class:`.STFT` by name, all of
            one sample rate.
        wav (:class:`torch.Tensor`): one signal, shape `(1, 1, time)` or `(time,)`.
        range_db (float): Range of levels in dB below the largest of all panels.
        stacked (bool): Whether panels stand below each other, for narrow screens.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if there is none, `wav` is not one signal, `range_db` is not positive, sample
            rates differ, or a decoder has no carriers.
    """
    shape, n = tuple(wav.shape), len(representations)
    check(0 < wav.numel() == shape[-1], "wav", shape, "one signal, of shape (1, 1, time)")
    check(range_db > 0, "range_db", range_db, "positive (dB)")
    rates = sorted({each.sample_rate for each in representations.values()})
    check(len(rates) == 1, "sample rates", rates, "one for all representations")
    edges = np.linspace(0, float(_mel(rates[0] / 2)), N_ROWS + 1)
    maps = [
        _rows_of_mel(magnitudes(each, wav, signal_level=True), carriers(each), edges)
        for each in representations.values()
    ]
    reference = max(np.nanmax(rows) for rows in maps)
    with matplotlib.rc_context(STYLE):
        columns = 1 if stacked else n if n <= IN_A_ROW else min(-(-n // 2), IN_A_ROW)
        n_rows = -(-n // columns)
        width = 2.9 * (columns if n_rows == 1 else IN_A_ROW) + 0.7
        figure = _figure(4.6, 2.6 * n + 0.4) if stacked else _figure(width, 2.9 * n_rows + 0.3)
        grid = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.ravel()[n:]:
            axes.remove()
        panels = grid.ravel()[:n]
        for number, (axes, (name, each), rows) in enumerate(
            zip(panels, representations.items(), maps, strict=True)
        ):
            times = each.frame_times(rows.shape[-1]).numpy()
            half = each.encoder.stride / each.sample_rate / 2
            image = axes.imshow(
                _decibels(rows, reference),
                cmap=COLOURS,
                vmin=-range_db,
                vmax=0,
                origin="lower",
                aspect="auto",
                extent=(times[0] - half, times[-1] + half, 0, edges[-1]),
            )
            axes.set_title(name)
            if number + columns >= n:
                axes.set_xlabel("Time (s)")
                axes.tick_params(labelbottom=True)
            if axes.get_subplotspec().is_first_col():
                axes.set_ylabel("Frequency (Hz)")
        first = panels[0]
        first.set_xlim(0, wav.shape[-1] / rates[0])
        first.set_ylim(0, edges[-1])
        ticks = [tick for tick in MEL_TICKS if tick <= rates[0] / 2]
        first.set_yticks(_mel(ticks), [f"{tick:g}" for tick in ticks])
        label = "Level of a sinusoid (dB), A / gain"
        figure.colorbar(image, ax=list(panels), label=label, extend="min", pad=0.02)
        return figure


def _rows_of_mel(rows: np.ndarray, frequencies: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Put channels `(freq, frames)` into rows between edges in mel: `(len(edges) - 1, frames)`.

    Rows above the highest channel and below the lowest are NaN.
    """
    order = np.argsort(frequencies, kind="stable")
    places, rows = _mel(frequencies[order]), rows[order]
    limits = np.searchsorted(places, edges)
    nearest = np.abs(places - (edges[:-1, None] + edges[1:, None]) / 2).argmin(axis=1)
    found = np.stack(
        [
            rows[first:last].max(axis=0) if last > first else rows[near]
            for first, last, near in zip(limits[:-1], limits[1:], nearest, strict=True)
        ]
    )
    found[(edges[:-1] > places[-1]) | (edges[1:] < places[0])] = np.nan
    return found


def _label_channels(axes: Axes, representation: SinuDAE | STFT) -> None:
    """Label a vertical axis of channels in :func:`channel_order` with round frequencies."""
    frequencies = channel_frequencies(representation)
    if frequencies is None:
        axes.set_ylabel("Channel")
        return
    ascending = np.sort(frequencies)
    if isinstance(representation, STFT):
        ticks = np.arange(0, ascending[-1] + 1, 5000)
    else:
        ticks = _spaced_ticks(ascending)
    axes.set_yticks(
        np.interp(ticks, ascending, np.arange(len(ascending))), [f"{t:g}" for t in ticks]
    )
    is_sorted = bool((np.diff(frequencies) >= 0).all())
    axes.set_ylabel("Channel frequency (Hz)" + ("" if is_sorted else ", sorted for display"))


def _spaced_ticks(ascending: np.ndarray, distance: float = 0.06) -> np.ndarray:
    """Choose round frequencies in Hz whose distance is at least this share of all channels."""
    positions = np.linspace(0, 1, len(ascending))
    decades = 10.0 ** np.arange(-1, 5)
    kept: dict[float, float] = {}
    for tick in (*decades, *(5 * decades), *(2 * decades)):
        if ascending[0] <= tick <= ascending[-1]:
            position = float(np.interp(tick, ascending, positions))
            if all(abs(position - other) >= distance for other in kept.values()):
                kept[tick] = position
    return np.array(sorted(kept))


def _mel(hertz: ArrayLike) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _from_mel(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def _label_mel(axes: Axes, sample_rate: float, candidates: Sequence[int]) -> None:
    """Label a horizontal axis in mel with frequencies in Hz, up to half the sample rate."""
    ticks = np.array([tick for tick in candidates if tick <= sample_rate / 2])
    axes.set_xlim(0, float(_mel(sample_rate / 2)))
    axes.set_xticks(_mel(ticks), [f"{t // 1000}k" if t >= 1000 else f"{t}" for t in ticks])


def _grid_of_axes(n: int, columns: int, width: float) -> tuple[Figure, Sequence[Axes]]:
    """Make a figure of `n` small axes on common scales, with `columns` axes in a row."""
    check_positive_int("columns", columns)
    rows = -(-n // columns)
    figure = _figure(width * columns, 1.5 * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[n:]:
        axes.remove()
    for axes in grid[max(n - columns, 0) : n]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:n])


def _stacked_axes(figure: Figure, n: int) -> Sequence[Axes]:
    """Make `n` axes below each other, of which the first is the highest."""
    ratios = [3, *[2] * (n - 1)]
    return list(figure.subplots(n, sharex=True, squeeze=False, height_ratios=ratios)[:, 0])


def channel_title(model: SinuDAE, channel: int) -> str:
    """Make the title of a channel: its index and carrier."""
    frequencies = channel_frequencies(model)
    if frequencies is None:
        return f"channel {channel}"
    return f"channel {channel}: {hertz(frequencies[channel])}"


def hertz(frequency: float) -> str:
    """Format a frequency with three digits, or to the Hz from 100 Hz on."""
    return f"{frequency:.0f} Hz" if frequency >= 100 else f"{frequency:.3g} Hz"


def plot_kernels(model: SinuDAE, n: int = 12, columns: int = 4) -> Figure:
    """Plot kernels of the decoder over time (ms), spread over the range of carriers.

    All have the same scale.

    Args:
        model (SinuDAE): A model.
        n (int): Number of kernels, see :func:`spread_channels`.
        columns (int): Kernels in a row.

    Returns:
        :class:`matplotlib.figure.Figure`
    """
    kernels = decoder_kernels(model)
    time = 1000 * np.arange(kernels.shape[-1]) / model.sample_rate
    channels = spread_channels(model, n)
    with matplotlib.rc_context(STYLE):
        figure, grid = _grid_of_axes(len(channels), columns, 2.3)
        for axes, channel in zip(grid, channels, strict=True):
            axes.plot(time, kernels[channel], color=BLUE, linewidth=0.6)
            axes.set_title(channel_title(model, channel))
        largest = np.abs(kernels[channels]).max()
        if largest > 0:
            grid[0].set_ylim(-1.1 * largest, 1.1 * largest)
        grid[0].set_xlim(0, 1000 * kernels.shape[-1] / model.sample_rate)
        grid[0].yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
        figure.supxlabel("Time (ms)", fontsize="medium")
        figure.supylabel("Amplitude", fontsize="medium")
        return figure


def plot_responses(model: SinuDAE, n: int = 12, columns: int = 4, range_db: float = 60.0) -> Figure:
    """Plot DFT magnitudes (dB) of the kernels of :func:`plot_kernels` over frequency (Hz, mel).

    A dashed line under a triangle marks the carrier.

    Args:
        model (SinuDAE): A model.
        n (int): Number of kernels, see :func:`spread_channels`.
        columns (int): Kernels in a row.
        range_db (float): Depth of the plots below each kernel's largest magnitude.

    Returns:
        :class:`matplotlib.figure.Figure`
    """
    frequencies, responses = magnitude_responses(model)
    marked = channel_frequencies(model)
    channels = spread_channels(model, n)
    with matplotlib.rc_context(STYLE):
        figure, grid = _grid_of_axes(len(channels), columns, 2.3)
        for axes, channel in zip(grid, channels, strict=True):
            axes.plot(_mel(frequencies), responses[channel], color=BLUE, linewidth=0.6)
            if marked is not None:
                mark: dict[str, Any] = {"color": ORANGE, "clip_on": False, "label": "carrier"}
                position = float(_mel(marked[channel]))
                axes.axvline(position, linestyle="--", linewidth=1, **mark)
                axes.plot(position, 3, marker="v", markersize=5, **mark)
            axes.set_title(channel_title(model, channel))
            axes.set_ylim(-range_db, 3)
        _label_mel(grid[0], model.sample_rate, FEW_MEL_TICKS)
        figure.supxlabel("Frequency (Hz)", fontsize="medium")
        figure.supylabel("Magnitude (dB)", fontsize="medium")
        return figure


def plot_kernel_overview(model: SinuDAE, range_db: float = 40.0) -> Figure:
    """Plot an image of the DFT magnitudes (dB) of all kernels, in ascending order of carriers.

    The horizontal axis is frequency (Hz) on a mel scale; a line marks the carriers.

    Args:
        model (SinuDAE): A model.
        range_db (float): Range of levels in dB below each kernel's largest; lower levels have the
            colour of its lower end.

    Returns:
        :class:`matplotlib.figure.Figure`
    """
    frequencies, responses = magnitude_responses(model)
    order = channel_order(model)
    # Each column of the picture shows the largest magnitude in its range, so that no narrow peak is
    # missed.
    top = float(_mel(model.sample_rate / 2))
    edges = np.linspace(0, top, 481)
    first = np.searchsorted(frequencies, _from_mel(edges[:-1])).clip(max=len(frequencies) - 1)
    bands = np.maximum.reduceat(responses[order], first, axis=-1)
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 3.8)
        axes = figure.subplots()
        image = axes.imshow(
            bands,
            cmap=COLOURS,
            vmin=-range_db,
            vmax=0,
            origin="lower",
            aspect="auto",
            extent=(0, top, -0.5, len(bands) - 0.5),
        )
        marked = channel_frequencies(model)
        if marked is not None:
            axes.plot(_mel(marked[order]), np.arange(len(order)), "--", color="cyan", linewidth=0.9)
        _label_mel(axes, model.sample_rate, MEL_TICKS)
        _label_channels(axes, model)
        axes.set_xlabel("Frequency (Hz)")
        figure.colorbar(image, ax=axes, label="Magnitude (dB)", extend="min", pad=0.02)
        return figure


def start_frequencies(model: SinuDAE) -> np.ndarray:
    """Return the carriers in Hz, shape `(C,)`, that a model of the same arguments starts with."""
    return carriers(start_model(model))


def plot_carriers(model: SinuDAE) -> Figure:
    """Plot learned carriers and their distance from the start (Hz), both in ascending order.

    Args:
        model (SinuDAE): A model with a `cos` or `mod_cos` decoder.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if the decoder has no carriers.
    """
    learned, start = np.sort(carriers(model)), np.sort(start_frequencies(model))
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 3.8)
        above, below = _stacked_axes(figure, 2)
        above.plot(start, color=ORANGE, linestyle="--", linewidth=1.2, label="start")
        above.plot(learned, color=BLUE, linewidth=1.2, label="learned")
        above.set_yscale("symlog", linthresh=1)
        above.set_ylabel("Carrier (Hz)")
        above.legend()
        below.axhline(0, color="0.7", linewidth=0.8)
        below.plot(learned - start, color=BLUE, linewidth=0.8)
        if np.abs(learned - start).max() > 1:
            below.set_yscale("symlog", linthresh=1)
        below.set_ylabel("Learned − start (Hz)")
        below.set_xlabel("Channel")
        return figure


def plot_bank(bank: Bank) -> Figure:
    """Plot the effective lengths of the kernels' windows (ms) over their carriers (Hz, mel scale).

    Dots are learned kernels, circles are those of the start. A second plot below shows how much
    each kernel has changed (dB), if that is known. Without any training there are no circles.

    Args:
        bank (Bank): The result of :func:`.learned_bank`.

    Returns:
        :class:`matplotlib.figure.Figure`
    """
    changes = None if bank.is_start else bank.changes
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 3.8)
        above, *below = _stacked_axes(figure, 1 if changes is None else 2)
        if not bank.is_start:
            ring: dict[str, Any] = {"markersize": 5, "markeredgewidth": 0.6, "fillstyle": "none"}
            start = _mel(bank.start_carriers)
            above.plot(start, bank.start_durations, "o", color=ORANGE, label="start", **ring)
        positions = _mel(bank.carriers)
        above.plot(positions, bank.durations, "o", color=BLUE, markersize=1.5, label="learned")
        above.set_ylim(bottom=0)
        above.set_ylabel("Effective window (ms)")
        if not bank.is_start:
            above.legend()
        for axes in below:
            assert changes is not None  # or there would be no axes for them
            axes.plot(positions, changes, "o", color=BLUE, markersize=1.5)
            axes.set_ylabel("Change (dB)")
        lowest = [above, *below][-1]
        _label_mel(lowest, bank.sample_rate, MEL_TICKS)
        lowest.set_xlabel("Carrier (Hz)")
        return figure


def plot_tiling(bands: Sequence[Band], sample_rate: float) -> Figure:
    """Plot bands of the multi-resolution initialisation as a tiling of time (ms) and frequency.

    Each rectangle is one window long and ten of the band's frequencies high, which are as far apart
    as bins of a DFT of the window's length. Hops, by which windows overlap, are not drawn.

    Args:
        bands (sequence of Band): The bands, from low to high frequencies.
        sample_rate (float): Sample rate in Hz.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if there are no bands.
    """
    check(len(bands) > 0, "bands", bands, "one band or more")
    longest = 1000 * max(band.window for band in bands) / sample_rate  # ms
    lowers = [0.0, *(band.upper for band in bands[:-1])]
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 3.8)
        axes = figure.subplots()
        for number, (band, lower) in enumerate(zip(bands, lowers, strict=True)):
            colour = SEVERAL[number % len(SEVERAL)]
            times = np.arange(0, longest, 1000 * band.window / sample_rate)
            height = FREQUENCIES_A_TILE * sample_rate / band.window
            edges = _mel([*np.arange(lower, band.upper, height), band.upper])
            axes.fill_between([0, longest], edges[0], edges[-1], color=colour, alpha=0.2, lw=0)
            axes.hlines(edges, 0, longest, colors=colour, linewidth=0.8)
            axes.vlines([*times, longest], edges[0], edges[-1], colors=colour, linewidth=0.8)
            label = f"{1000 * band.window / sample_rate:.3g} ms,\n{band.phases} phases"
            axes.text(1.02 * longest, edges[[0, -1]].mean(), label, va="center", fontsize=8)
        axes.set_xlim(0, longest)
        axes.set_ylim(0, float(_mel(bands[-1].upper)))
        ticks = [tick for tick in MEL_TICKS if tick <= bands[-1].upper]
        axes.set_yticks(_mel(ticks), [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("Time (ms)")
        axes.set_ylabel("Frequency (Hz)")
        return figure


def plot_losses(losses: pd.DataFrame) -> Figure:
    """Plot the losses of a training over its updates, with one plot for each loss.

    Args:
        losses (:class:`pandas.DataFrame`): The result of :func:`.read_losses`.

    Returns:
        :class:`matplotlib.figure.Figure`
    """
    terms = [name for name in TERMS if name in losses]
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 2.4 + 1.4 * len(terms))
        above, *below = _stacked_axes(figure, 1 + len(terms))
        every = losses["neg_snr"].dropna()
        above.plot(every.index, every, color=BLUE, linewidth=0.6, alpha=0.6, label="single batches")
        epochs = losses["neg_snr_epoch"].dropna()
        above.plot(epochs.index, epochs, color=ORANGE, marker=".", label="means of epochs")
        above.set_ylabel(Reconstruction.label.axis)
        above.legend()
        for name, axes in zip(terms, below, strict=True):
            logged = losses[name].dropna()
            axes.plot(logged.index, logged, color=BLUE, linewidth=0.8)
            axes.set_ylabel(TERMS[name].axis)
        [above, *below][-1].set_xlabel("Update")
        return figure


def plot_learning_curves(curves: dict[str, pd.DataFrame]) -> Figure:
    """Plot the SNR (dB) of the reconstruction, Eq. (4), over the updates of several trainings.

    Means of epochs are dots on a line; single batches are drawn below them in a pale colour.

    Args:
        curves (dict): Results of :func:`.read_losses`, by the name of each training.

    Returns:
        :class:`matplotlib.figure.Figure`

    Raises:
        ValueError: if there is no training, or if one has no logged losses.
    """
    check(len(curves) > 0, "curves", curves, "those of one training or more")
    with matplotlib.rc_context(STYLE):
        figure = _figure(6.4, 3.8)
        axes = figure.subplots()
        for number, (name, losses) in enumerate(curves.items()):
            snr = -losses["neg_snr"].dropna()
            check(len(snr) > 0, f"losses of {name!r}", "none", "logged")
            colour = SEVERAL[number % len(SEVERAL)]
            epochs = -losses["neg_snr_epoch"].dropna()
            axes.plot(1 + snr.index, snr, color=colour, linewidth=0.8, alpha=0.4)
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(1 + epochs.index, epochs, color=colour, marker=marker, ms=3, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Updates")
        axes.set_ylabel("SNR of the reconstruction (dB)")
        axes.legend()
        return figure
