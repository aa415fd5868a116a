"""Pictures of representations and kernels: levels, axes, order."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import environment
from matplotlib.collections import LineCollection
from report_pieces import LENGTH, SECONDS, make_model

from asteroid_sinudae import STFT, report
from asteroid_sinudae.data.tracks import SAMPLE_RATE
from asteroid_sinudae.filterbanks.bands import Band
from asteroid_sinudae.models.gains import channel_gains
from asteroid_sinudae.report import plots


def test_plots_need_no_pyplot_and_the_package_no_matplotlib():
    code = """
import sys, torch, asteroid_sinudae as sinudae
assert not {"matplotlib", "jinja2"} & sys.modules.keys()
figure = sinudae.report.plot_representation(sinudae.STFT(), torch.randn(1, 1, 5000))
assert figure._repr_png_().startswith(b"\\x89PNG") and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


class TestRepresentation:
    def test_levels_and_time(self, model, wav):
        figure = report.plot_representation(model, wav, title="Voice")
        axes, colorbar = figure.axes
        (image,) = axes.images
        magnitude = model.encode(wav)[0].detach().double().numpy()
        shown = np.asarray(image.get_array())
        loud = magnitude > 1e-6 * magnitude.max()
        assert loud.mean() > 0.3
        expected = 20 * np.log10(magnitude[loud] / magnitude.max())
        np.testing.assert_allclose(shown[loud], expected, atol=1e-4)
        assert image.get_clim() == (-60, 0)
        assert image.get_extent() == pytest.approx(
            [-0.5 / SAMPLE_RATE, (63 * 64 - 0.5) / SAMPLE_RATE, -0.5, 15.5]
        )
        assert axes.get_xlim() == pytest.approx((0, SECONDS))
        assert axes.get_xlabel() == "Time (s)" and colorbar.get_ylabel() == "Level (dB)"
        assert axes.get_title() == "Voice"

    def test_reference_moves_all_levels(self, model, wav):
        largest = model.encode(wav).max().item()
        own, given = (
            report.plot_representation(model, wav.flatten(), reference=reference)
            for reference in (None, 10 * largest)
        )
        images = [np.asarray(figure.axes[0].images[0].get_array()) for figure in (own, given)]
        assert images[0].max() == pytest.approx(0) and images[1].max() == pytest.approx(-20)

    def test_channels_may_be_divided_by_their_gains(self, model, wav):
        gains = channel_gains(model).double().numpy()[:, None]
        assert gains.max() > 1.2 * gains.min()
        figure = report.plot_representation(model, wav, reference=0.1, signal_level=True)
        magnitude = model.encode(wav)[0].detach().double().numpy() / gains
        loud = magnitude > 1e-4
        shown = np.asarray(figure.axes[0].images[0].get_array())
        np.testing.assert_allclose(shown[loud], 20 * np.log10(magnitude[loud] / 0.1), atol=1e-4)
        assert figure.axes[1].get_ylabel() == "Level of a sinusoid (dB), A / gain"

    def test_ticks_are_where_the_carriers_are(self, wav):
        model = make_model(n_filters=100)
        axes = report.plot_representation(model, wav).axes[0]
        carriers = model.decoder.filterbank.carrier_frequencies().double().numpy()
        labels = [float(label.get_text()) for label in axes.get_yticklabels()]
        assert {10, 100, 1000, 10000} <= set(labels)
        for position, label in zip(axes.get_yticks(), labels, strict=True):
            assert carriers[int(position)] <= label <= carriers[int(np.ceil(position))]
        assert np.diff(axes.get_yticks()).min() >= 0.06 * 99 - 1e-9
        assert axes.get_ylabel() == "Channel frequency (Hz)"

    def test_unsorted_channels_are_sorted_for_display(self, model, unsorted, wav):
        expected, axes = (report.plot_representation(m, wav).axes[0] for m in (model, unsorted))
        images = [np.asarray(a.images[0].get_array()) for a in (expected, axes)]
        loud = images[0] > -60
        np.testing.assert_allclose(images[1][loud], images[0][loud], atol=1e-2)
        assert axes.get_ylabel() == "Channel frequency (Hz), sorted for display"

    def test_tied_carriers_keep_their_order(self):
        model = make_model(n_filters=200)
        with torch.no_grad():
            tied = torch.tensor([0.3, 0.1, 0.2, 0.1]).repeat(50)
            model.decoder.filterbank.frequency.copy_(tied.view(-1, 1, 1))
        order = report.plots.channel_order(model)
        expected = sorted(range(200), key=lambda channel: (tied[channel].item(), channel))
        np.testing.assert_array_equal(order, expected)

    def test_channels_without_carriers_are_counted(self, wav):
        axes = report.plot_representation(make_model(decoder="conv"), wav).axes[0]
        assert axes.get_ylabel() == "Channel"

    def test_tone_in_the_stft(self):
        stft = STFT(n_fft=256, stride=64)
        time = torch.arange(LENGTH) / SAMPLE_RATE
        axes = report.plot_representation(stft, torch.sin(2 * np.pi * 5000 * time)).axes[0]
        image = axes.images[0]
        row = np.asarray(image.get_array())[:, 30].argmax()
        labels = [float(label.get_text()) for label in axes.get_yticklabels()]
        ticks = dict(zip(labels, axes.get_yticks(), strict=True))
        assert abs(ticks[5000] - row) <= 0.5 and ticks[20000] == pytest.approx(4 * ticks[5000])
        # Frames that reach into the signal from outside are drawn where they are.
        edges = stft.encoder.edges
        assert edges > 0
        assert image.get_extent()[0] == pytest.approx((-edges * 64 - 0.5) / SAMPLE_RATE)

    def test_silence_has_no_level(self, model):
        (image,) = report.plot_representation(model, torch.zeros(1, 1, 1000)).axes[0].images
        assert (np.asarray(image.get_array()) < -60).all()

    @pytest.mark.parametrize("shape", [(2, 1, 100), (2, 100), (1, 1, 0)])
    def test_not_one_signal(self, model, shape):
        with pytest.raises(ValueError, match=r"wav must be one signal, of shape \(1, 1, time\)"):
            report.plot_representation(model, torch.zeros(shape))

    def test_no_range(self, model, wav):
        with pytest.raises(ValueError, match="range_db must be positive .dB., got 0"):
            report.plot_representation(model, wav, range_db=0)


class TestKernels:
    def test_waveforms(self, model):
        figure = report.plot_kernels(model, n=5, columns=2)
        kernels = model.decoder.filterbank.filters()[:, 0].detach().numpy()
        channels = [0, 4, 8, 11, 15]
        assert len(figure.axes) == 5
        for axes, channel in zip(figure.axes, channels, strict=True):
            (line,) = axes.lines
            np.testing.assert_allclose(line.get_ydata(), kernels[channel], atol=1e-7)
            assert line.get_xdata()[-1] == pytest.approx(1000 * 255 / SAMPLE_RATE)
            assert axes.get_title().startswith(f"channel {channel}: ")
        assert len({axes.get_ylim() for axes in figure.axes}) == 1
        assert figure.axes[0].get_ylim()[1] > np.abs(kernels[channels]).max()
        assert figure.get_supxlabel() == "Time (ms)" and figure.get_supylabel() == "Amplitude"

    def test_responses_peak_at_the_marked_carriers(self, model):
        figure = report.plot_responses(model, n=100)
        carriers = model.decoder.filterbank.carrier_frequencies().numpy()
        assert len(figure.axes) == len(carriers) == 16
        for axes, carrier in zip(figure.axes, carriers, strict=True):
            response, mark, triangle = axes.lines
            (marked,) = set(mark.get_xdata()) | set(triangle.get_xdata())
            assert 700 * (10 ** (marked / 2595) - 1) == pytest.approx(carrier, rel=1e-5)
            peak = response.get_xdata()[np.argmax(response.get_ydata())]
            bins = (10 ** (peak / 2595) - 10 ** (marked / 2595)) * 700 * 256 / SAMPLE_RATE
            assert abs(bins) <= 1
            assert response.get_ydata().max() == 0
        ticks = dict(zip(map(float, axes.get_xticks()), axes.get_xticklabels(), strict=True))
        tick = next(x for x, label in ticks.items() if label.get_text() == "5k")
        assert 700 * (10 ** (tick / 2595) - 1) == pytest.approx(5000)
        assert figure.get_supxlabel() == "Frequency (Hz)"
        assert figure.get_supylabel() == "Magnitude (dB)"
        assert plots.n_peaks_at_carrier(model) == 16

    def test_channels_are_taken_in_the_order_of_carriers(self, unsorted):
        carriers = unsorted.decoder.filterbank.carrier_frequencies().numpy()
        channels = plots.spread_channels(unsorted, 3)
        ascending = np.sort(carriers)
        np.testing.assert_array_equal(carriers[channels], ascending[[0, 8, 15]])

    def test_overview_rows_ascend(self, unsorted):
        axes, _ = report.plot_kernel_overview(unsorted).axes
        (image,), (line,) = axes.images, axes.lines
        peaks = np.asarray(image.get_array()).argmax(axis=1)
        assert (np.diff(peaks) > 0).all() and image.get_array().shape == (16, 480)
        left, right = image.get_extent()[:2]
        mels = left + (peaks + 0.5) * (right - left) / 480
        peaks, carriers = (700 * (10 ** (x / 2595) - 1) for x in (mels, line.get_xdata()))
        np.testing.assert_allclose(peaks, carriers, atol=SAMPLE_RATE / 256)  # a bin of the DFT

    def test_carriers_and_their_start(self, model):
        moved = make_model(exponent=1, frequency_init="linear")
        moved.decoder.filterbank.frequency.data += 100 / SAMPLE_RATE
        state = torch.get_rng_state()
        above, below = report.plot_carriers(moved).axes
        assert torch.equal(state, torch.get_rng_state())
        start, learned = (line.get_ydata() for line in above.lines)
        carriers = model.decoder.filterbank.carrier_frequencies().numpy()
        np.testing.assert_allclose(start, carriers, rtol=1e-6)
        np.testing.assert_allclose(learned, carriers + 100, rtol=1e-5)
        np.testing.assert_allclose(below.lines[1].get_ydata(), 100, rtol=1e-3)
        assert above.get_ylabel() == "Carrier (Hz)"
        assert below.get_ylabel() == "Learned − start (Hz)" and below.get_xlabel() == "Channel"

    def test_decoder_without_carriers(self):
        conv = make_model(decoder="conv")
        assert [len(axes.lines) for axes in report.plot_responses(conv, n=2).axes] == [1, 1]
        assert [picture.name for picture in report.kernel_pictures(conv, n=2)] == [
            "kernels",
            "responses",
            "overview",
        ]
        with pytest.raises(ValueError, match="decoder must be mod_cos or cos, got 'conv'"):
            report.plot_carriers(conv)

    @pytest.mark.parametrize("options", [dict(n=0), dict(n=2.5), dict(columns=0)])
    def test_numbers_that_make_no_sense(self, model, options):
        with pytest.raises(ValueError, match="must be an integer of at least 1, got"):
            report.plot_kernels(model, **options)

    def test_kernels_of_something_else(self):
        with pytest.raises(ValueError, match="model must be a SinuDAE, got 'STFT'"):
            report.plot_kernels(STFT())


class TestSideBySide:
    """The same axes and colours for all."""

    TONE = 2000.0  # Hz, at half of full scale

    @pytest.fixture
    def compared(self):
        multires = make_model(n_filters=160, init="multires")
        return {"STFT": STFT(n_fft=256, stride=64), "start": make_model(), "pair": multires}

    @pytest.fixture
    def tone(self):
        time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
        return 0.5 * torch.sin(2 * torch.pi * self.TONE * time)[None, None]

    def test_a_tone_is_at_its_frequency_in_the_same_colour(self, compared, tone):
        del compared["start"]  # whose few channels lie far from the tone
        figure = report.plot_side_by_side(compared, tone)
        panels = figure.axes[:-1]
        assert [axes.get_title() for axes in panels] == list(compared)
        for axes in panels:
            (image,) = axes.images
            levels = np.ma.filled(image.get_array(), -np.inf)
            row = levels[:, levels.shape[1] // 4 : -levels.shape[1] // 4].max(axis=1).argmax()
            mel = (row + 0.5) * image.get_extent()[3] / len(levels)
            assert 700 * (10 ** (mel / 2595) - 1) == pytest.approx(self.TONE, abs=350)
            assert levels.max() == pytest.approx(0, abs=1.5)  # dB, of one reference
            assert axes.get_xlim() == pytest.approx((0, 1))

    def test_axes_and_labels(self, compared, tone):
        for stacked in (False, True):
            *panels, bar = report.plot_side_by_side(compared, tone, stacked=stacked).axes
            assert len({axes.get_xlim() for axes in panels}) == 1
            assert len({axes.get_ylim() for axes in panels}) == 1
            labels = [axes.get_xlabel() for axes in panels], [axes.get_ylabel() for axes in panels]
            one, all_three = (["", "", "Time (s)"], ["Frequency (Hz)"] * 3)
            expected = (
                (one, all_three) if stacked else (["Time (s)"] * 3, ["Frequency (Hz)", "", ""])
            )
            assert labels == expected
            ticks = [text.get_text() for text in panels[0].get_yticklabels()]
            assert ticks == ["0", "500", "1000", "2000", "5000", "10000", "20000"]
            assert bar.get_ylabel() == "Level of a sinusoid (dB), A / gain"

    def test_four_are_two_by_two(self, compared, tone):
        *panels, _ = report.plot_side_by_side({**compared, "other": make_model()}, tone).axes
        places = [axes.get_subplotspec() for axes in panels]
        assert [(p.rowspan.start, p.colspan.start) for p in places] == [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
        ]
        assert [axes.get_xlabel() for axes in panels] == ["", "", "Time (s)", "Time (s)"]
        five = {**compared, "other": make_model(), "another": make_model()}
        *panels, _ = report.plot_side_by_side(five, tone).axes
        assert len(panels) == 5 and panels[2].get_xlabel() == "Time (s)"  # it is the lowest there

    def test_a_row_shows_the_loudest_channel_it_covers_or_the_nearest(self):
        nan = np.nan
        frequencies = np.array([900.0, 100.0, 910.0])
        rows = np.array([[1.0, 5.0], [7.0, 7.0], [2.0, 3.0]])
        edges = 2595 * np.log10(1 + np.array([0.0, 50, 200, 400, 700, 1000, 2000]) / 700)
        found = plots._rows_of_mel(rows, frequencies, edges)
        np.testing.assert_array_equal(
            found, [[nan, nan], [7, 7], [7, 7], [1, 5], [2, 5], [nan, nan]]
        )

    def test_what_cannot_be_compared(self, compared, tone):
        free = {"free": make_model(decoder="conv")}
        with pytest.raises(ValueError, match="decoder must be mod_cos or cos, got 'conv'"):
            report.plot_side_by_side(free, tone)
        other = {**compared, "slow": STFT(n_fft=256, stride=64, sample_rate=16000.0)}
        with pytest.raises(ValueError, match="sample rates must be one for all"):
            report.plot_side_by_side(other, tone)
        with pytest.raises(ValueError, match="sample rates must be one for all"):
            report.plot_side_by_side({}, tone)
        with pytest.raises(ValueError, match="wav must be one signal"):
            report.plot_side_by_side(compared, tone.repeat(2, 1, 1))


class TestTiling:
    BANDS = [Band(2048, 1000.0, 4), Band(512, 22050.0, 2)]

    def test_rectangles(self):
        (axes,) = report.plot_tiling(self.BANDS, SAMPLE_RATE).axes
        lines = [each for each in axes.collections if isinstance(each, LineCollection)]
        low_rows, low_columns, high_rows, high_columns = (each.get_segments() for each in lines)
        mel = [segment[0][1] for segment in low_rows]
        frequencies = 700 * (10 ** (np.array(mel) / 2595) - 1)
        # Ten bins of a DFT of the window's length, up to the edge of the band.
        bins = [*(np.arange(5) * 10 * SAMPLE_RATE / 2048), 1000]
        np.testing.assert_allclose(frequencies, bins, atol=1e-6)
        window = 1000 * 512 / SAMPLE_RATE
        times = [segment[0][0] for segment in high_columns]
        np.testing.assert_allclose(times, window * np.arange(5), atol=1e-9)
        assert [segment[0][0] for segment in low_columns] == pytest.approx([0, 4 * window])
        assert len(high_rows) == 1 + np.ceil((22050 - 1000) / (10 * SAMPLE_RATE / 512))
        assert axes.get_xlim() == pytest.approx((0, 4 * window))
        texts = [text.get_text() for text in axes.texts]
        assert texts == ["46.4 ms,\n4 phases", "11.6 ms,\n2 phases"]

    def test_no_bands(self):
        with pytest.raises(ValueError, match="bands must be one band or more, got"):
            report.plot_tiling([], SAMPLE_RATE)
