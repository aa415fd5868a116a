"""Pictures and figures of a bank of kernels."""

import numpy as np
import pytest
import torch
from report_pieces import make_model

from asteroid_sinudae import report
from asteroid_sinudae.data.tracks import SAMPLE_RATE
from asteroid_sinudae.report import bank


class TestBank:
    multires = dict(n_filters=80, kernel_size=64, stride=16, init="multires")

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

    def test_untrained_multires(self):
        dae = make_model(**self.multires)
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

    def test_trained_multires(self):
        dae = make_model(**self.multires)
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
