"""The results page and its plots: axes, players, tables, and the folder that holds them."""

import csv
import functools
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from recipe_test import call, environment

from asteroid_sinudae import STFT, SinuDAE, informed_separation, report
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest, Track
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.models.pretrained import describe_sizes
from asteroid_sinudae.report import bank, plots
from asteroid_sinudae.report.experiment import TERMS
from asteroid_sinudae.training.objectives import make_objectives

SIZES = dict(n_filters=16, kernel_size=256, stride=64)
LENGTH = 4000  # samples of a track's excerpts
SECONDS = LENGTH / SAMPLE_RATE
CONF = {
    "filterbank": {"decoder": "mod_cos"},
    "baseline": {"stft_n_fft": 256, "stft_stride": 64, "stft_window": "hamming"},
}
METRICS = {
    "medians": {
        "mod-cos DAE": {"si_sdr": 17.8074, "si_sdr_bm_0.5": -7.0471, "additivity_error": 0.25},
        "unprocessed mixture": {"si_sdr_bm_0.5": -2.3234},
    },
    "segments": 93,
    "test_tracks": 5,
    "conf": CONF,
    "versions": {"torch": "2.13.0", "musdb": None},
    "commit": "0123abc",
    "device": "a processor",
    "finished": "2026-01-02T03:04:05+00:00",
}


def make_model(**arguments):
    torch.manual_seed(0)
    return SinuDAE(**{**SIZES, **arguments})


@pytest.fixture(scope="module")
def model():
    """Sorted, with carriers that are more than a bin of the DFT apart."""
    return make_model(exponent=1, frequency_init="linear")


@pytest.fixture(scope="module")
def unsorted(model):
    """`model` with its channels in another order."""
    shuffled = make_model(exponent=1, frequency_init="linear")
    order = np.random.default_rng(0).permutation(SIZES["n_filters"])
    for side in (shuffled.encoder.filterbank, shuffled.decoder.filterbank):
        for name, dims in side.channel_dims.items():
            for dim in dims:
                parameter = side.get_parameter(name)
                parameter.data = parameter.data.index_select(dim, torch.from_numpy(order))
    return shuffled


@pytest.fixture(scope="module")
def wav():
    return 0.1 * torch.randn(1, 1, LENGTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Two tracks of four excerpts: of "a@b" the third's voice is silent, of "c" all but the first,
    whose accompaniment takes the voice away."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    result = []
    for name in ("a@b", "c"):
        vocals, accompaniment = 0.1 * rng.standard_normal((2, 4 * LENGTH))
        if name == "a@b":
            vocals[2 * LENGTH : 3 * LENGTH] = 0
        else:
            vocals[LENGTH:] = 0
            accompaniment[:LENGTH] = -vocals[:LENGTH]
        track = Track(name, "test", len(vocals), 0, root / "test" / name)
        track.folder.mkdir(parents=True)
        soundfile.write(track.vocals, vocals, SAMPLE_RATE, subtype="PCM_16")
        soundfile.write(track.accompaniment, accompaniment, SAMPLE_RATE, subtype="PCM_16")
        result.append(track)
    source = {"kind": "wav", "path": "nowhere", "tracks": []}
    Manifest(SAMPLE_RATE, source, tuple(result), (), {}, "").save(root)
    return result


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


class TestBank:
    structure = dict(n_filters=80, kernel_size=64, stride=16, init="multires")

    def test_effective_lengths(self):
        time = (np.arange(300) + 0.5) / 300
        sine = np.sin(np.pi * time)
        padded = np.pad(np.stack([sine, sine**2, np.ones(300), 0 * sine]), ((0, 0), (50, 74)))
        lengths = bank.effective_lengths(-3 * padded)
        # Means over the window of the second and fourth power: 1/2 and 3/8, 3/8 and 35/128.
        np.testing.assert_allclose(lengths, [200, 300 * 9 / 64 / (35 / 128), 300, 0], rtol=1e-12)

    def test_changes_of_kernels_in_another_order(self):
        start = np.random.default_rng(0).standard_normal((6, 50))
        factors = np.array([2, 1.1, 1, 0.99, 1 - 1e-9, 0])  # silent, it gets what is left over
        order = [3, 5, 1, 0, 4, 2]
        changes = bank.kernel_changes((factors[:, None] * start)[order], start)
        expected = np.array([0, -20, -140, -40, -140, 0])  # dB
        np.testing.assert_allclose(changes, expected[order], atol=1e-9)

    def test_untrained_structure(self):
        dae = make_model(**self.structure)
        own = report.learned_bank(dae)
        assert own.is_start and own.n_moved(0) == 0
        assert (own.changes == -140).all()
        # Sine windows of 64 samples below and of 32 above.
        samples = own.durations * SAMPLE_RATE / 1000
        windows = np.where(own.carriers < own.carriers[samples < 30].min(), 64, 32)
        assert set(windows) == {32, 64}
        distances = np.abs(samples[:, None] - [2 / 3 * 64, 2 / 3 * 32])
        assert distances.min(axis=1).max() < 0.01
        (axes,) = report.plot_bank(own).axes
        (dots,) = axes.lines
        np.testing.assert_array_equal(dots.get_ydata(), own.durations)
        picture = report.kernel_pictures(dae, n=1)[-1]
        assert picture.name == "bank" and "kernels, before any training. The" in picture.caption
        assert (
            "The windows are effectively 0.5 to 1.0 ms long" in picture.caption
        )  # 32 and 64 samples, 2/3 of each
        assert "0.5 to 1.0 milliseconds" in picture.alt and picture.alt.endswith(
            "before any training."
        )

    def test_trained_structure(self):
        dae = make_model(**self.structure)
        filterbank = dae.decoder.filterbank
        start = filterbank.carrier_frequencies().double().numpy()
        # Everything is a tenth larger, and most channels are in reverse order by fours.
        order = torch.cat([torch.arange(76).view(19, 4).flip(1).flatten(), torch.arange(76, 80)])
        for name in ("frequency", "phase", "modulator"):
            parameter = filterbank.get_parameter(name)
            parameter.data = parameter.data[order]
        filterbank.modulator.data *= 1.1
        moved = torch.from_numpy(start[-3:] + [0.5, 1.5, 90]) / SAMPLE_RATE
        filterbank.frequency.data[-3:] = moved.sqrt().view(3, 1, 1).float()
        state = torch.get_rng_state()
        own = report.learned_bank(dae)
        assert torch.equal(state, torch.get_rng_state())
        assert not own.is_start
        assert (own.n_moved(), own.n_moved(0.4), own.n_moved(100)) == (2, 3, 0)
        np.testing.assert_allclose(own.changes[:76], -20, atol=1e-3)
        assert own.changes[-1] > -20
        above, below = report.plot_bank(own).axes
        circles, dots = above.lines
        np.testing.assert_array_equal(circles.get_ydata(), own.start_durations)
        carriers = 700 * (10 ** (dots.get_xdata() / 2595) - 1)
        np.testing.assert_allclose(carriers, own.carriers, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(dots.get_ydata(), own.durations)
        np.testing.assert_array_equal(below.lines[0].get_ydata(), own.changes)
        assert above.get_ylabel() == "Effective window (ms)"
        assert below.get_ylabel() == "Change (dB)" and below.get_xlabel() == "Carrier (Hz)"
        labels = [label.get_text() for label in below.get_xticklabels()]
        tick = dict(zip(labels, below.get_xticks(), strict=True))["5k"]
        assert 700 * (10 ** (tick / 2595) - 1) == pytest.approx(5000)
        picture = report.kernel_pictures(dae, n=1)[-1]
        assert "moved by more than 1 Hz: 2." in picture.caption
        assert "as learned and at the start: dots and circles." in picture.caption
        assert picture.caption.endswith("−20.0 dB in the median")
        assert picture.alt.endswith("how much each kernel has changed: −20.0 dB in the median.")

    def test_random_start_has_no_kernels_to_compare_with(self):
        dae = make_model()
        untrained = report.learned_bank(dae)
        assert untrained.is_start and untrained.changes is None
        np.testing.assert_allclose(untrained.durations, 1000 * 256 / SAMPLE_RATE)
        dae.decoder.filterbank.modulator.data[:, :, 100:] = 0
        own = report.learned_bank(dae)
        assert not own.is_start and own.changes is None
        np.testing.assert_allclose(own.durations, 1000 * 100 / SAMPLE_RATE)
        np.testing.assert_allclose(own.start_durations, 1000 * 256 / SAMPLE_RATE)
        (axes,) = report.plot_bank(own).axes
        assert len(axes.lines) == 2 and axes.get_xlabel() == "Carrier (Hz)"
        picture = report.kernel_pictures(dae, n=1)[-1]
        assert picture.caption.endswith("moved by more than 1 Hz: 0")

    def test_decoders_without_windows(self):
        names = [picture.name for picture in report.kernel_pictures(make_model(decoder="cos"), 1)]
        assert names == ["kernels", "responses", "overview", "carriers"]
        with pytest.raises(ValueError, match="decoder must be mod_cos, got 'cos'"):
            report.learned_bank(make_model(decoder="cos"))


class TestLosses:
    def write(self, exp_dir, version, text):
        folder = exp_dir / "logs" / "csv" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)

    def test_later_starts_replace_earlier_ones(self, tmp_path):
        header = "epoch,loss,neg_snr,neg_snr_epoch,step,tv\n"
        first = "0,,-1,,9,0.5\n0,,-2,,19,0.4\n0,,,-1.5,19,\n1,,-3,,29,0.3\n1,,-4"
        self.write(tmp_path, 0, header + first)
        self.write(tmp_path, 2, "epoch,neg_snr,step,tv\n1,-3.5,29,0.35\n1,-4.5,39,0.2\n")
        self.write(tmp_path, 10, "neg_snr,step\n-5,39\n")
        self.write(tmp_path, 11, "")
        losses = report.read_losses(tmp_path)
        assert losses.index.tolist() == [9, 19, 29, 39]
        assert losses["neg_snr"].tolist() == [-1, -2, -3.5, -5]
        assert losses["tv"].tolist() == [0.5, 0.4, 0.35, 0.2]
        assert losses["neg_snr_epoch"].dropna().to_dict() == {19: -1.5}
        above, below = report.plot_losses(losses).axes
        every, epochs = above.lines
        assert every.get_xydata().tolist() == [[9, -1], [19, -2], [29, -3.5], [39, -5]]
        assert epochs.get_xydata().tolist() == [[19, -1.5]]
        assert below.lines[0].get_ydata().tolist() == [0.5, 0.4, 0.35, 0.2]
        assert above.get_ylabel() == "Negative SNR, Eq. (4) (dB)"
        assert below.get_ylabel() == "TV, Eq. (1)" and below.get_xlabel() == "Update"
        (picture,) = report.loss_pictures(losses)
        assert "40 updates" in picture.alt and "from -1.0 to -5.0 dB" in picture.alt

    def test_other_terms(self, tmp_path):
        self.write(tmp_path, 0, "mask,neg_snr,sinkhorn,step,tv\n-3,-1,0.5,9,\n-4,-2,0.25,19,\n")
        losses = report.read_losses(tmp_path)
        assert losses.columns.tolist() == ["neg_snr", "neg_snr_epoch", "sinkhorn", "mask"]
        _, sinkhorn, mask = report.plot_losses(losses).axes
        assert sinkhorn.lines[0].get_xydata().tolist() == [[9, 0.5], [19, 0.25]]
        assert mask.lines[0].get_ydata().tolist() == [-3, -4]
        assert (sinkhorn.get_ylabel(), mask.get_ylabel()) == ("Sinkhorn", "Masked, −SNR (dB)")
        assert (sinkhorn.get_xlabel(), mask.get_xlabel()) == ("", "Update")
        (picture,) = report.loss_pictures(losses)
        assert picture.caption == (
            "What the training lowers: the reconstruction's negative SNR, Eq. (4); the Sinkhorn "
            "distance between the representation's frames; the masked voice's negative SNR"
        )

    def test_reconstruction_alone(self, tmp_path):
        self.write(tmp_path, 0, "neg_snr,step\n-1,9\n-2,19\n")
        losses = report.read_losses(tmp_path)
        (axes,) = report.plot_losses(losses).axes
        assert axes.get_xlabel() == "Update"
        assert report.loss_pictures(losses)[0].caption.endswith("negative SNR, Eq. (4)")

    def test_terms_are_those_of_the_objectives(self):
        weights = dict(sinkhorn_weight=1.0, additivity_weight=1.0, mask_weight=1.0)
        reconstruction, *others = make_objectives(**weights)
        assert {each.name: each.label for each in others} == TERMS
        assert reconstruction.name not in TERMS

    def test_learning_curves(self, tmp_path):
        (tmp_path / "a").mkdir()
        text = "neg_snr,neg_snr_epoch,step\n-1,,9\n-2,,19\n,-1.5,19\n-3,-2.5,99\n"
        self.write(tmp_path, 0, text)
        losses = report.read_losses(tmp_path)
        figure = report.plot_learning_curves({"paper": losses, "structure": losses - 10})
        (axes,) = figure.axes
        batches, epochs, structure, structure_epochs = axes.lines
        assert batches.get_xydata().tolist() == [[10, 1], [20, 2], [100, 3]]
        assert epochs.get_xydata().tolist() == [[20, 1.5], [100, 2.5]]
        assert structure_epochs.get_ydata().tolist() == [11.5, 12.5]
        assert epochs.get_color() == batches.get_color() != structure.get_color()
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == ["paper", "structure"]
        assert (axes.get_xlabel(), axes.get_xscale()) == ("Updates", "log")
        assert axes.get_ylabel() == "SNR of the reconstruction (dB)"
        with pytest.raises(ValueError, match="losses of 'b' must be logged, got 'none'"):
            report.plot_learning_curves({"a": losses, "b": report.read_losses(tmp_path / "a")})
        with pytest.raises(ValueError, match="curves must be those of one training or more, got"):
            report.plot_learning_curves({})

    def test_learning_curves_of_folders(self, tmp_path, capsys):
        self.write(tmp_path / "one", 0, "neg_snr,step\n-1,9\n-2,19\n")
        self.write(tmp_path / "two", 0, "neg_snr_epoch,step\n-1,9\n")
        one, two, output = tmp_path / "one", tmp_path / "two", tmp_path / "new" / "curves.png"
        call(
            "learning_curves.py",
            "--exp_dirs",
            one,
            f"{two}/../one",
            "--labels",
            "a",
            "b",
            output=output,
        )
        assert f"{output}: learning curves of a, b" in capsys.readouterr().out
        assert output.read_bytes().startswith(b"\x89PNG")
        assert [path.name for path in output.parent.iterdir()] == ["curves.png"]

        other = tmp_path / "other.png"
        for arguments, message in (
            ([one, two], f"{two} has no logged losses, expected those of a training"),
            ([tmp_path], f"{tmp_path} has no logged losses, expected those of a training"),
            ([one, one], "labels must be different from each other, got ['one', 'one']"),
            ([one, "--labels", "a", "b"], "labels must be 1, one a folder, got ['a', 'b']"),
        ):
            with pytest.raises(SystemExit) as caught:
                call("learning_curves.py", "--exp_dirs", *arguments, output=other)
            assert str(caught.value) == f"learning_curves.py: {message}"
        with pytest.raises(SystemExit, match="output must be a .png file, got '.*curves.pdf'"):
            call("learning_curves.py", "--exp_dirs", one, output=tmp_path / "curves.pdf")
        assert not other.exists()

    def test_nothing_logged(self, tmp_path):
        losses = report.read_losses(tmp_path)
        assert losses.empty and report.loss_pictures(losses) == []


class TestTables:
    def test_cells(self, tmp_path):
        (tmp_path / "table1").mkdir()
        path = tmp_path / "table1" / "table.csv"
        rows = [
            ["Setup", "C", "SI-SDR (dB)"],
            ["conv, squared", "1025", "-7.0471"],
            ["x", "", "nan"],
        ]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        table = report.read_table(path)
        assert table.caption == "table1" and table.header == rows[0]
        assert table.rows == [["conv, squared", "1,025", "−7.05"], ["x", "–", "–"]]
        assert report.read_table(path.rename(tmp_path / "mine.csv")).caption == "mine"

    @pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2,3\n"])
    def test_not_a_table(self, tmp_path, text):
        (tmp_path / "table.csv").write_text(text)
        with pytest.raises(ValueError, match="table.csv is no table: expected a header, and rows"):
            report.read_table(tmp_path / "table.csv")

    def test_medians(self):
        table = report.medians_table(METRICS)
        assert table.caption == "Medians over 93 segments of 5 test tracks"
        assert table.header == [
            "System",
            "SI-SDR (dB)",
            "SI-SDR-BM (dB), threshold 0.5",
            "additivity error",
        ]
        assert table.rows == [
            ["mod-cos DAE", "17.81", "−7.05", "0.25"],
            ["unprocessed mixture", "–", "−2.32", "–"],
        ]


class TestExcerpts:
    def test_different_tracks_first(self, tmp_path):
        tracks = []
        for name in "abc":
            tracks.append(Track(name, "test", 3 * LENGTH, 0, tmp_path / name))
            tracks[-1].folder.mkdir()
            noise = 0.1 * np.random.default_rng(1).standard_normal((2, 3 * LENGTH))
            soundfile.write(tracks[-1].vocals, noise[0], SAMPLE_RATE)
            soundfile.write(tracks[-1].accompaniment, noise[1], SAMPLE_RATE)
        chosen = report.choose_excerpts(tracks, 7, SECONDS, seed=3)
        names = [excerpt.track.name for excerpt in chosen]
        assert sorted(names[:3]) == sorted(names[3:6]) == ["a", "b", "c"]
        assert len({(e.track.name, e.start) for e in chosen}) == 7
        assert {e.start for e in chosen} <= {0, LENGTH, 2 * LENGTH}
        assert report.choose_excerpts(tracks, 7, SECONDS, seed=3) == chosen
        assert report.choose_excerpts(tracks, 7, SECONDS, seed=4) != chosen

    def test_only_audible_ones(self, tracks, caplog):
        chosen = report.choose_excerpts(tracks, 9, SECONDS, seed=0)
        where = {(excerpt.track.name, excerpt.start) for excerpt in chosen}
        assert where == {("a@b", 0), ("a@b", LENGTH), ("a@b", 3 * LENGTH)}
        assert "3 of 9 examples: no more audible excerpts of 0.0907029 s" in caplog.text

    def test_short_track_is_taken_whole(self, tracks):
        (excerpt,) = report.choose_excerpts(tracks[:1], 1, 2.0, seed=0)
        assert [wav.shape for wav in excerpt.read()] == [(1, 1, 4 * LENGTH)] * 2

    def test_named(self, tracks):
        excerpt = report.named_excerpt("a@b@0.1", tracks, SECONDS)
        assert (excerpt.track, excerpt.start, str(excerpt)) == (tracks[0], 4410, "a@b at 0.1 s")
        expected, _ = soundfile.read(tracks[0].vocals, dtype="float32")
        np.testing.assert_array_equal(excerpt.read()[0][0, 0], expected[4410 : 4410 + LENGTH])

    def test_none_audible(self, tracks):
        with pytest.raises(ValueError, match="no audible excerpt in 1 test tracks, expected one"):
            report.choose_excerpts(tracks[1:], 1, SECONDS, seed=0)


@pytest.fixture(scope="module")
def systems(model):
    return {"mod-cos DAE": model, "STFT": STFT(n_fft=256, stride=64)}


@pytest.fixture(scope="module")
def example(tracks, systems):
    return report.make_example(1, report.named_excerpt("a@b@0", tracks, SECONDS), systems)


@pytest.fixture(scope="module")
def page(example, model):
    losses = pd.DataFrame({"neg_snr": [-1.0], "neg_snr_epoch": [np.nan], "tv": [0.5]}, index=[9])
    return report.Page(
        title="Experiment <one>",
        introduction="What was compared.",
        tables=[report.medians_table(METRICS)],
        examples=[example],
        kernels=report.kernel_pictures(model, n=2),
        training=report.loss_pictures(losses),
        configuration=CONF,
        provenance=report.provenance_facts(METRICS),
    )


@pytest.fixture(scope="module")
def folder(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report"
    report.build_page(page, path)
    return path


class Elements(HTMLParser):
    """Elements of a page, each a tag, its attributes and the text inside."""

    VOID = {"meta", "link", "img", "source", "br"}

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in self.VOID:
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        for element in self.open:
            element[2] += text

    def of(self, *tags):
        return [(attributes, text) for tag, attributes, text in self.found if tag in tags]


@pytest.fixture(scope="module")
def elements(folder):
    return Elements((folder / "index.html").read_text(encoding="utf-8"))


class TestExample:
    def test_players_are_the_systems_outputs(self, tracks, systems, example):
        vocals, accompaniment = report.named_excerpt("a@b@0", tracks, SECONDS).read()
        mixture = vocals + accompaniment
        expected = {"Mixture": (mixture, None), "True voice": (vocals, None)}
        with torch.no_grad():
            for name, system in systems.items():
                for label, wav in (("Mixture", mixture), ("Voice", vocals)):
                    decoded = system.decode(system.encode(wav), LENGTH)
                    expected[f"{label} by {name}"] = (decoded, wav)
                masked = informed_separation(system, mixture, vocals, accompaniment, 0.5)
                expected[f"Voice masked by {name}"] = (masked, vocals)
        players = [player for group in example.groups for player in group.players]
        assert len(players) == 8 and {player.label for player in players} == expected.keys()
        for player in players:
            wav, target = expected[player.label]
            torch.testing.assert_close(player.audio, wav[0, 0])
            if target is None:
                assert player.si_sdr is None
            else:
                assert player.si_sdr == pytest.approx(si_sdr(wav, target).item(), abs=1e-3)
        assert "threshold 0.5" in example.groups[2].note

    def test_maps_say_what_is_seen(self, example):
        assert [picture.name for picture in example.pictures] == ["1-map-mixture", "1-map-voice"]
        for picture in example.pictures:
            assert "16 channels" in picture.alt and "from 30 Hz to 22050 Hz" in picture.alt
        images = [np.asarray(p.figure.axes[0].images[0].get_array()) for p in example.pictures]
        assert max(image.max() for image in images) == pytest.approx(0)
        assert min(image.max() for image in images) < -0.01  # one reference for both

    def test_loud_players_are_turned_down_together(self, tmp_path):
        quiet, loud = torch.full((100,), 0.5), torch.linspace(-2.0, 1.0, 100)
        players = [report.Player("quiet", "Quiet", quiet), report.Player("loud", "Loud", loud)]
        example = report.Example("x", [report.PlayerGroup("h", "n", players)], [])
        page = report.Page("t", "i", examples=[example])
        report.build_page(page, tmp_path / "report")
        for name, expected in (("quiet", quiet / 2), ("loud", loud / 2)):
            samples, rate = soundfile.read(tmp_path / "report" / "audio" / f"{name}.wav")
            assert rate == SAMPLE_RATE
            np.testing.assert_allclose(samples, expected, atol=2**-14)
        html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        assert "turned down by the same 6.02 dB" in html and "No losses were logged" in html


class TestPage:
    def test_nothing_is_asked_of_a_network(self, folder, elements):
        for tag, attributes, _ in elements.found:
            for key in ("src", "href", "srcset"):
                link = attributes.get(key, "#")
                is_local = link.startswith(("#", "data:")) or (folder / link).is_file()
                assert is_local, (tag, link)
        assert "http" not in (folder / "style.css").read_text()
        named = {a.get(key) for _, a, _ in elements.found for key in ("src", "srcset")}
        written = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
        assert written == named - {None}

    def test_audio_is_what_it_says(self, folder, elements, example):
        assert len(elements.of("audio")) == 8
        players = {p.name: p for group in example.groups for p in group.players}
        for attributes, _ in elements.of("audio"):
            player = players[Path(attributes["src"]).stem]
            assert attributes["aria-label"] == f"Example 1: {player.label}"
            assert "controls" in attributes and attributes["preload"] == "metadata"
            info = soundfile.info(folder / attributes["src"])
            assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 44100, 1)
            samples, _ = soundfile.read(folder / attributes["src"])
            expected = example.gain * player.audio.numpy()
            np.testing.assert_allclose(samples, expected, atol=2**-14)
        captions = [" ".join(text.split()) for _, text in elements.of("figcaption")]
        for player in players.values():
            value = "" if player.si_sdr is None else f" {player.si_sdr:.1f} dB".replace("-", "−")
            assert player.label + value in captions

    def test_pictures_have_texts_and_sizes(self, elements):
        images = elements.of("img")
        assert len(images) == 2 + 5 + 1
        for attributes, _ in images:
            assert len(attributes["alt"]) > 40
            assert min(int(attributes["width"]), int(attributes["height"])) > 200
        texts = {Path(attributes["src"]).stem: attributes["alt"] for attributes, _ in images}
        assert "channel 0: 30 Hz" in texts["kernels"]
        assert "channel 15: 22050 Hz, largest at 22050 Hz" in texts["responses"]
        captions = " ".join(text for _, text in elements.of("figcaption"))
        assert "In 16 of 16 kernels the largest magnitude is within 172 Hz" in captions

    def test_structure(self, elements):
        assert elements.of("html")[0][0]["lang"] == "en"
        assert elements.of("title") == [({}, "Experiment <one>")]
        assert all(elements.of(landmark) for landmark in ("header", "nav", "main", "footer"))
        levels = [int(tag[1]) for tag, _, _ in elements.found if tag in {"h1", "h2", "h3", "h4"}]
        assert levels[0] == 1 and levels.count(1) == 1 and max(np.diff(levels)) == 1
        ids = [a["id"] for _, a, _ in elements.found if "id" in a]
        assert len(ids) == len(set(ids))
        pointers = [a["href"][1:] for a, _ in elements.of("a")]
        pointers += [a["aria-labelledby"] for _, a, _ in elements.found if "aria-labelledby" in a]
        assert set(pointers) <= set(ids)
        assert elements.of("a")[0] == ({"class": "skip", "href": "#main"}, "Skip to the content")

    def test_table(self, elements):
        (caption,) = elements.of("caption")
        assert caption[1] == "Medians over 93 segments of 5 test tracks"
        assert [a["scope"] for a, _ in elements.of("th")] == ["col"] * 4 + ["row"] * 2
        cells = [text for _, text in elements.of("td")]
        assert cells == ["17.81", "−7.05", "0.25", "–", "−2.32", "–"]

    def test_provenance_and_configuration(self, elements):
        ((_, footer),) = elements.of("footer")
        for text in ("2026-01-02T03:04:05+00:00", "a processor", "0123abc", "torch 2.13.0"):
            assert text in footer
        assert "musdb" not in footer
        ((_, details),) = elements.of("details")
        assert "stft_window" in details and "hamming" in details


class TestFolder:
    small = report.Page("first", "i")

    def test_replaces_a_report(self, tmp_path):
        output = tmp_path / "new" / "report"
        report.build_page(self.small, output)
        report.build_page(report.Page("second", "i"), output)
        assert "<title>second</title>" in (output / "index.html").read_text()
        assert [path.name for path in output.parent.iterdir()] == ["report"]
        assert output.stat().st_mode == output.parent.stat().st_mode

    def test_empty_folder_is_taken(self, tmp_path):
        report.build_page(self.small, tmp_path)
        assert (tmp_path / "index.html").is_file()

    @pytest.mark.parametrize("name", ["notes.txt", "index.html"])
    def test_other_folders_are_left_alone(self, tmp_path, name):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ValueError, match=f"{tmp_path} is in the way: expected a report"):
            report.build_page(self.small, tmp_path)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}

    def test_what_was_added_to_a_report_is_left_alone(self, tmp_path):
        report.build_page(self.small, tmp_path / "report")
        (tmp_path / "report" / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match="is in the way"):
            report.build_page(self.small, tmp_path / "report")
        assert (tmp_path / "report" / "notes.txt").is_file()

    @pytest.mark.parametrize("name", ["audio/take.wav", "figures/figure.png", "audio/more/a.wav"])
    def test_what_was_added_to_a_folder_of_a_report_is_left_alone(self, tmp_path, name):
        report.build_page(self.small, tmp_path / "report")
        path = tmp_path / "report" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(ValueError, match="is in the way"):
            report.build_page(self.small, tmp_path / "report")
        assert path.read_text() == "mine"

    def test_file_in_the_way(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="output must be a folder, got"):
            report.build_page(self.small, tmp_path / "file")
        with pytest.raises(OSError, match=f"cannot write {tmp_path}/file/report: "):
            report.build_page(self.small, tmp_path / "file" / "report")

    @pytest.mark.parametrize("method", ["write", "rename"])
    def test_failure_leaves_the_old_report(self, tmp_path, monkeypatch, method):
        report.build_page(self.small, tmp_path / "report")

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        rename = Path.rename
        if method == "write":
            monkeypatch.setattr(Path, "write_text", full)
        else:
            monkeypatch.setattr(
                Path, "rename", lambda a, b: full() if a.name == "new" else rename(a, b)
            )
        with pytest.raises(OSError, match="cannot write .*report: No space left on device"):
            report.build_page(report.Page("second", "i"), tmp_path / "report")
        assert "<title>first</title>" in (tmp_path / "report" / "index.html").read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.fixture
def exp_dir(tmp_path):
    path = tmp_path / "exp"
    path.mkdir()
    torch.save(make_model().serialize(), path / "best_model.pth")
    (path / "final_metrics.json").write_text(json.dumps(METRICS))
    return path


class TestScript:
    @pytest.fixture
    def options(self, exp_dir, tracks):
        data_dir = tracks[0].folder.parents[1]
        return dict(exp_dir=exp_dir, data_dir=data_dir, example_seconds=SECONDS)

    def test_page_of_an_experiment(self, options, tmp_path, capsys, monkeypatch):
        few = functools.partial(report.kernel_pictures, n=2)  # twelve take seconds to draw
        monkeypatch.setattr(report, "kernel_pictures", few)
        (tmp_path / "table1").mkdir()
        (tmp_path / "table1" / "table.csv").write_text("Setup,SI-SDR (dB)\nmine,1.234\n")
        call("report.py", tables=tmp_path / "table1" / "table.csv", n_examples=1, **options)
        output = options["exp_dir"] / "report"
        assert f"{output / 'index.html'}: the results page" in capsys.readouterr().out
        elements = Elements((output / "index.html").read_text(encoding="utf-8"))
        assert [text for _, text in elements.of("h1")] == ["Run exp"]
        assert [text[:4] for _, text in elements.of("h3")] == ["1. a", "filt", "base"]
        assert [text for _, text in elements.of("caption")][1] == "table1"
        assert len(elements.of("audio")) == 8 and "1.23" in [t for _, t in elements.of("td")]
        sizes = describe_sizes(make_model().get_model_args())
        assert "0.25 " in sizes and "16 channels" in sizes
        introduction = f"A mod-cos DAE ({sizes}) beside the short-time Fourier transform."
        assert introduction in [text for _, text in elements.of("p")]

    def test_bands_are_said(self, options, monkeypatch):
        few = functools.partial(report.kernel_pictures, n=1)
        monkeypatch.setattr(report, "kernel_pictures", few)
        bands = "64x4:5000:400 32x2:22050"
        dae = make_model(n_filters=56, kernel_size=64, stride=16, init="multires", bands=bands)
        torch.save(dae.serialize(), options["exp_dir"] / "best_model.pth")
        call("report.py", n_examples=1, **options)
        html = (options["exp_dir"] / "report" / "index.html").read_text(encoding="utf-8")
        assert (
            "It started from windowed cosines: 64 samples in 4 phases up to 5000 Hz, 32 samples in "
            "2 phases up to 22050 Hz.</p>" in html
        )

    @pytest.mark.parametrize(
        "changes, message",
        [
            (dict(examples="a@b"), "example must be TRACK@SECONDS, got 'a@b'"),
            (dict(examples="a@b@nan"), "example must be TRACK@SECONDS, got 'a@b@nan'"),
            (dict(examples="d@0"), "example 'd@0': no test track 'd', expected one of: a@b, c"),
            (dict(examples="c@9"), "example 'c@9': expected a start from 0 to before 0.362812 s"),
            (dict(examples="c@-1"), "example 'c@-1': expected a start from 0 to before 0.362812 s"),
            (dict(examples="c@0.2"), "example 'c@0.2': the voice is silent there, expected audio"),
            (dict(examples="c@0"), "example 'c@0': the mixture is silent there, expected audio"),
            (
                dict(example_seconds=0),
                "example_seconds must be a positive number of seconds, at most 600, got 0",
            ),
            (
                dict(example_seconds=1e9),
                "example_seconds must be .*, at most 600, got 1000000000.0",
            ),
            (dict(example_seconds="nan"), "example_seconds must be a positive number of seconds"),
            (dict(n_examples=0), "n_examples must be an integer of at least 1, got 0"),
            (dict(seed=-1), "seed must be 0 or more, got -1"),
            (dict(tables="none.csv"), "none.csv not found: expected a table .CSV."),
            (dict(data_dir="none"), "none/manifest.json not found: prepare the data first"),
            (dict(exp_dir="none"), "none/final_metrics.json not found: evaluate the run"),
        ],
    )
    def test_options_that_make_no_sense(self, options, changes, message):
        with pytest.raises(SystemExit, match=f"^report.py: {message}[^\n]*$"):
            call("report.py", **{**options, **changes})
        assert not (options["exp_dir"] / "report").exists()

    def test_experiment_that_is_not_whole(self, options):
        exp_dir = options["exp_dir"]
        (exp_dir / "best_model.pth").unlink()
        with pytest.raises(SystemExit, match="^report.py: .*best_model.pth not found: expected"):
            call("report.py", **options)
        torch.save(make_model(sample_rate=16000).serialize(), exp_dir / "best_model.pth")
        with pytest.raises(SystemExit, match="^report.py: .*best_model.pth is for 16000 Hz, the"):
            call("report.py", **options)
        (exp_dir / "final_metrics.json").write_text("{}")
        with pytest.raises(SystemExit, match="^report.py: .*medians is missing: evaluate again"):
            call("report.py", **options)
        (exp_dir / "final_metrics.json").write_text('{"medians": ')
        with pytest.raises(SystemExit, match="^report.py: .*final_metrics.json is corrupted"):
            call("report.py", **options)

    def test_output_that_is_something_else(self, options, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").touch()
        message = "^report.py: .*thesis is in the way: expected a report, an empty folder, or none$"
        with pytest.raises(SystemExit, match=message):
            call("report.py", output=tmp_path / "thesis", **options)
        assert (tmp_path / "thesis" / "chapter.tex").exists()
