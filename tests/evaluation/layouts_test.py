"""The search for bands: candidates, budgets, and a search that was interrupted."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch
from helpers import RECIPE
from prepared import SOURCE, write_tones, write_track

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Manifest
from asteroid_sinudae.evaluation import layouts
from asteroid_sinudae.evaluation.layouts import (
    Budget,
    Layout,
    choose_segments,
    fit,
    judge,
    next_layout,
)
from asteroid_sinudae.filterbanks.bands import band_supports, check_bands, n_kernels, parse_bands

RATE = 44100.0
BUDGET = Budget(3.125, (256, 512), 4096)


def search(number, seed, score=lambda layout: float(len(layout.bands))):
    results = []
    for _ in range(number):
        layout = next_layout(results, BUDGET, RATE, seed)
        results.append((layout, score(layout)))
    return results


@pytest.fixture(scope="module")
def candidates():
    return [layout for layout, _ in search(40, seed=0)]


def test_candidates_are_layouts_within_the_budget(candidates):
    assert len(set(candidates)) == 40
    for layout in candidates:
        bands = parse_bands(layout.bands)
        number = n_kernels(bands, RATE)
        assert 2 <= number / layout.stride <= 3.125
        assert layout.stride in BUDGET.strides
        kernel_size = max(band.window for band in bands)
        assert kernel_size <= BUDGET.max_window
        check_bands(bands, kernel_size, layout.stride, RATE)
        assert layout.arguments(RATE)["n_filters"] == number
    assert {layout.stride for layout in candidates} == {256, 512}


def test_few_parameters_leave_long_windows_less():
    layout = Layout(256, "2048x4:700 512x2:22050")
    wide = fit(layout, BUDGET, RATE)
    few = fit(layout, BUDGET._replace(parameters=1_500_000), RATE)
    parameters = [
        2 * sum(w * n for w, n in band_supports(parse_bands(found.bands), RATE))
        for found in (wide, few)
    ]
    assert parameters[0] > 1_600_000
    assert 1_400_000 < parameters[1] <= 1_500_000
    assert fit(layout, BUDGET._replace(parameters=1000), RATE) is None


def test_most_candidates_use_the_budget(candidates):
    used = [layout.arguments(RATE)["n_filters"] / layout.stride for layout in candidates]
    assert np.median(used) > 3.0


def test_a_candidate_follows_from_the_seed_and_the_results_before_it():
    results = search(12, seed=3)
    assert search(12, seed=3) == results
    assert search(12, seed=4) != results
    for number in (0, 5, 11):
        assert next_layout(results[:number], BUDGET, RATE, 3) == results[number][0]


def test_the_search_climbs():
    """Towards an edge at 3 kHz, which the first candidates, all at random, miss by more."""

    def score(layout):
        edge = parse_bands(layout.bands)[0].upper
        return -abs(np.log(edge / 3000))

    scores = [value for _, value in search(60, seed=0, score=score)]
    assert max(scores) > max(scores[:4]) and max(scores) > -0.05


def test_edges_are_scaled_to_the_budget():
    layout = fit(Layout(256, "2048x4:100:50 512x2:22050:500"), BUDGET, RATE)
    one_more = layout.bands.replace(layout.bands.split(":")[1], "2500", 1)
    assert 796 <= n_kernels(parse_bands(layout.bands), RATE) <= 800
    assert n_kernels(parse_bands(one_more), RATE) > 800
    assert fit(Layout(256, "2048x4:22050"), BUDGET, RATE) is None


def test_no_layout_fits(monkeypatch):
    with pytest.raises(ValueError, match="coefficients must be at least 2, an MDCT's, got 1.5"):
        next_layout([], Budget(1.5, (256,), 2048), RATE, 0)
    monkeypatch.setattr(layouts, "MAX_TRIES", 5)
    with pytest.raises(ValueError, match="no layout of bands was found for Budget"):
        next_layout([(Layout(256, "512x2:22050"), 0.0)], Budget(2.0, (256,), 512), RATE, 0)


def test_segments_are_audible_and_the_same_for_a_seed(tmp_path):
    silence, tone = np.zeros(SAMPLE_RATE), 0.3 * np.sin(np.arange(3 * SAMPLE_RATE) / 20)
    vocals = np.concatenate([silence, tone])
    tracks = [write_track(tmp_path, name, vocals, 0.1 * vocals) for name in "AB"]
    found = choose_segments(tracks, SAMPLE_RATE, 2, seed=0)
    assert [tuple(each.shape) for each in found] == [(4, 1, SAMPLE_RATE)] * 2
    assert (found[0].square().sum(-1) > 100).all()
    assert all(map(torch.equal, found, choose_segments(tracks, SAMPLE_RATE, 2, seed=0)))
    mute = [write_track(tmp_path, "mute", silence, vocals[: len(silence)])]
    with pytest.raises(ValueError, match="number of audible segments must be at least 1, got 0"):
        choose_segments(mute, SAMPLE_RATE, 2, seed=0)
    with pytest.raises(ValueError, match="number of train songs must be at least 1, got 0"):
        choose_segments([], SAMPLE_RATE, 2, seed=0)


def test_figures_are_those_of_the_evaluation():
    torch.manual_seed(0)
    vocals, accompaniment = 0.1 * torch.randn(2, 5, 1, 11025)
    layout = Layout(256, "1024x4:2000 512x2:22050")
    figures = judge(layout, vocals, accompaniment, RATE)
    assert figures["score"] == (figures["si_sdr_bm_0.5"] + figures["si_sdr_bm_1"]) / 2
    alike = judge(layout, vocals, accompaniment, RATE, batch_size=2)
    np.testing.assert_allclose(list(alike.values()), list(figures.values()), rtol=1e-4)
    model = SinuDAE(**layout.arguments(RATE))
    error = model(vocals) - vocals
    ratios = 10 * torch.log10(vocals.square().sum(-1) / error.square().sum(-1))
    assert abs(figures["si_sdr"] - ratios.median()) < 0.1


@pytest.fixture
def search_script(tmp_path, monkeypatch, capsys):
    """Run the script in this process; a mistake is a SystemExit with its line."""
    monkeypatch.chdir(tmp_path)
    write_tones(tmp_path / "data")

    def run(*options):
        argv = ["search_layouts.py", "--data_dir", "data", "--output", "found.jsonl"]
        monkeypatch.setattr(sys, "argv", [*argv, "--max_window", "1024", *options])
        monkeypatch.syspath_prepend(RECIPE)
        runpy.run_path(str(RECIPE / "search_layouts.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_an_interrupted_search_continues(search_script, tmp_path):
    start = ["--start", "256/1024x4:2000 512x2:22050"]
    assert "coefficients per sample" in search_script("--candidates", "3", *start)
    whole = (tmp_path / "found.jsonl").read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert rows[0]["segments"] == 2 and {"commit", "versions"} <= rows[0].keys()
    assert rows[1]["bands"] == "1024x4:2000 512x2:22050" and len(rows) == 4
    # The last line was being written.
    (tmp_path / "found.jsonl").write_text("".join(whole.splitlines(keepends=True)[:3]) + '{"str')
    search_script("--candidates", "3", *start)
    assert (tmp_path / "found.jsonl").read_text() == whole


def test_another_search_is_refused(search_script):
    search_script("--candidates", "1")
    said = "search_layouts.py: seed of found.jsonl must be 1, as given, got 0"
    with pytest.raises(SystemExit, match=said):
        search_script("--candidates", "2", "--seed", "1")


def test_no_train_songs(search_script, tmp_path):
    Manifest(SAMPLE_RATE, SOURCE, (), (), {}, "today").save(tmp_path / "data")
    with pytest.raises(SystemExit, match="train"):
        search_script("--candidates", "1")
    assert not (tmp_path / "found.jsonl").exists()
