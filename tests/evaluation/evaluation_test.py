import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asteroid_sinudae import STFT, SinuDAE, informed_separation
from asteroid_sinudae.data.segments import TestSegments
from asteroid_sinudae.data.tracks import Track
from asteroid_sinudae.evaluation.oracle import costs, evaluate, readability, segment_metrics
from asteroid_sinudae.evaluation.segments import audible_segments
from asteroid_sinudae.evaluation.tables import (
    MIXTURE,
    SHORT,
    in_words,
    markdown_table,
    mask_intervals,
    medians,
    terminal_table,
    with_intervals,
    with_readability,
)
from asteroid_sinudae.filterbanks.kernels import peak_frequencies
from asteroid_sinudae.metrics import (
    additivity_error,
    hoyer_sparsity,
    is_silent,
    kernels_at_carrier,
    si_sdr,
    variation,
)

SEGMENT = 1000


@pytest.fixture
def tracks(tmp_path):
    """Two tracks of 3 and 2 segments; the second segment of the first track is silent."""
    rng = np.random.default_rng(0)
    result = []
    for name, n_samples in (("a", 2500), ("b", 2000)):
        track = Track(name, "test", n_samples, 0, tmp_path / name)
        track.folder.mkdir()
        vocals, accompaniment = 0.1 * rng.standard_normal((2, n_samples))
        if name == "a":
            vocals[1000:2000] = 1e-4
        soundfile.write(track.vocals, vocals, 44100, subtype="PCM_16")
        soundfile.write(track.accompaniment, accompaniment, 44100, subtype="PCM_16")
        result.append(track)
    return result


@pytest.fixture
def representations():
    torch.manual_seed(0)
    dae = SinuDAE(n_filters=8, kernel_size=64, stride=16)
    return {"DAE": dae, "STFT": STFT(n_fft=64, stride=16)}


def test_silence_is_the_authors_rule():
    def with_norm(norm):
        return torch.full((1, 1, 100), norm / 10)

    assert is_silent(with_norm(0.0999)).tolist() == [True]  # 10 log10(0.1) is -10
    assert is_silent(with_norm(0.1001)).tolist() == [False]
    assert is_silent(torch.zeros(2, 1, 10)).tolist() == [True, True]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_audible_segments_keep_their_locations(tracks, batch_size):
    batches = list(audible_segments(TestSegments(tracks, SEGMENT), batch_size))
    locations = [where for batch in batches for where in batch.locations]
    assert locations == [("a", 0), ("a", 2000), ("b", 0), ("b", 1000)]
    vocals = torch.cat([batch.vocals for batch in batches])
    expected, _ = soundfile.read(tracks[0].vocals, start=2000, dtype="float32")
    np.testing.assert_array_equal(vocals[1, 0, :500], expected)
    assert (vocals[1, 0, 500:] == 0).all()


@pytest.mark.parametrize("batch_size", [1, 8])
def test_both_representations_and_the_mixture_on_the_same_segments(
    tracks, representations, batch_size
):
    results, n_silent = evaluate(representations, tracks, SEGMENT, (0.5, 1.0), batch_size)
    assert n_silent == 1
    assert list(results.columns) == [
        "track",
        "start",
        "representation",
        "si_sdr",
        "si_sdr_bm_0.5",
        "si_sdr_bm_1",
        "si_sdr_rm",
        "additivity_error",
        "sparsity",
        "variation",
    ]
    for _, rows in results.groupby("representation"):
        pairs = list(zip(rows["track"], rows["start"], strict=True))
        assert pairs == [("a", 0), ("a", 2000), ("b", 0), ("b", 1000)]
    vocals, accompaniment = TestSegments(tracks, SEGMENT)[3]
    vocals, accompaniment = vocals[None], accompaniment[None]
    mixture = vocals + accompaniment
    here = results[(results["track"] == "b") & (results["start"] == 0)].set_index("representation")
    for name, representation in representations.items():
        with torch.no_grad():
            rebuilt = representation.decode(representation.encode(vocals), SEGMENT)
            masked = informed_separation(
                representation, mixture, vocals, accompaniment, threshold=1
            )
            soft = informed_separation(representation, mixture, vocals, accompaniment, rule="ratio")
            parts = [
                representation.magnitude(representation.encode(x))
                for x in (mixture, vocals, accompaniment)
            ]
        metrics = [*(si_sdr(estimate, vocals) for estimate in (rebuilt, masked, soft))]
        rate = representation.sample_rate / 16
        metrics += [additivity_error(*parts), hoyer_sparsity(parts[1]), variation(parts[1], rate)]
        columns = ["si_sdr", "si_sdr_bm_1", "si_sdr_rm", "additivity_error"]
        columns += ["sparsity", "variation"]
        found = here.loc[name, columns].astype(float)
        np.testing.assert_allclose(found, torch.cat(metrics), rtol=1e-4, atol=1e-4)
    without = ["si_sdr", "additivity_error", "sparsity", "variation"]
    assert here.loc[MIXTURE, without].isna().all()
    expected = pytest.approx(si_sdr(mixture, vocals).item(), abs=1e-5)
    masked = here.loc[MIXTURE, ["si_sdr_bm_0.5", "si_sdr_bm_1", "si_sdr_rm"]]
    assert list(masked) == [expected] * 3


def test_signals_are_encoded_once(representations):
    """Kernels that are functions of parameters are costly to compute."""
    calls = []

    class Counting:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(representations["DAE"], name)

    vocals, accompaniment = torch.randn(2, 3, 1, 1000)
    metrics = segment_metrics(Counting(), vocals, accompaniment, (0.5, 1.0))
    assert calls.count("encode") == calls.count("decode") == 1
    assert {len(values) for values in metrics.values()} == {3}


def test_nothing_to_evaluate(tracks, representations):
    with pytest.raises(ValueError, match="no test tracks to evaluate, expected at least one"):
        evaluate(representations, [], SEGMENT)
    soundfile.write(tracks[1].vocals, np.zeros(2000), 44100, subtype="PCM_16")
    with pytest.raises(ValueError, match="all 2 test segments are silent, nothing to evaluate"):
        evaluate(representations, tracks[1:], SEGMENT)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("where", ["encoder.filterbank._filters", "decoder.filterbank.modulator"])
def test_a_representation_that_is_not_finite_is_named(tracks, representations, where, value):
    with torch.no_grad():
        representations["DAE"].get_parameter(where).fill_(value)
    with pytest.raises(ValueError, match="^DAE: (representation|estimates) must be finite, got"):
        evaluate(representations, tracks, SEGMENT)


def test_additivity_error():
    mixture, vocals, accompaniment = torch.rand(3, 2, 5, 7).double()
    expected = [
        np.abs(m - v - a).sum() / np.abs(m).sum()
        for m, v, a in zip(mixture.numpy(), vocals.numpy(), accompaniment.numpy(), strict=True)
    ]
    found = additivity_error(mixture, vocals, accompaniment)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (additivity_error(vocals + accompaniment, vocals, accompaniment) < 1e-12).all()


def test_sparsity_is_hoyers():
    rng = np.random.default_rng(0)
    magnitudes = np.abs(rng.standard_normal((3, 6, 8)))
    expected = [
        (np.sqrt(48) - a.sum() / np.sqrt((a**2).sum())) / (np.sqrt(48) - 1) for a in magnitudes
    ]
    found = hoyer_sparsity(torch.from_numpy(magnitudes))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    louder = hoyer_sparsity(torch.from_numpy(1000 * magnitudes))
    np.testing.assert_allclose(louder, expected, rtol=1e-12)
    twice = hoyer_sparsity(torch.from_numpy(np.concatenate([magnitudes, magnitudes], axis=1)))
    assert np.abs(twice.numpy() - expected).max() < 1 / (np.sqrt(48) - 1)
    assert hoyer_sparsity(torch.zeros(1, 6, 8)).isnan().all()


def test_variation_depends_on_neither_level_nor_hop():
    magnitudes = np.random.default_rng(0).random((3, 6, 8))
    expected = 50 * np.abs(np.diff(magnitudes)).sum((1, 2)) / magnitudes.sum((1, 2))
    for factor in (1, 1000):
        found = variation(torch.from_numpy(factor * magnitudes), frame_rate=50)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    coarse, fine = (
        variation(torch.sin(torch.pi * torch.arange(rate + 1) / rate)[None, None], rate)
        for rate in (40, 400)  # half a period in a second rises and falls by 1, mean 2 / pi
    )
    torch.testing.assert_close(coarse, torch.tensor([torch.pi]), rtol=1e-2, atol=0)
    torch.testing.assert_close(fine, torch.tensor([torch.pi]), rtol=1e-4, atol=0)
    on_and_off = torch.tensor([0.0, 1.0]).repeat(500)[None, None]
    assert variation(on_and_off, 10).item() == pytest.approx(20, rel=0.01)
    assert variation(torch.ones(1, 2, 9), 10).item() == 0


def test_kernels_that_peak_within_a_bin_of_their_carrier():
    time, window = torch.arange(256) / 1000, torch.hann_window(256)
    places = torch.tensor([100.0, 250.0, 103.7, 400.0])  # a bin has 3.9 Hz
    kernels = window * torch.cos(2 * torch.pi * places[:, None] * time)
    np.testing.assert_allclose(peak_frequencies(kernels, 1000.0), places, atol=0.3)
    carriers = torch.tensor([100.0, 253.6, 108.0, 30.0])
    assert kernels_at_carrier(kernels, carriers, 1000.0) == 0.5
    kernels[0] = 0
    assert kernels_at_carrier(kernels, carriers, 1000.0) == 0.25
    assert kernels_at_carrier(kernels[:1], torch.zeros(1), 1000.0) == 0  # a zero has no peak


def test_readability_of_each_kind(representations):
    assert readability(representations["STFT"]) == {"kernels_at_carrier": 1.0}
    assert readability(SinuDAE(n_filters=8, kernel_size=64, stride=16, decoder="conv_tanh")) == {}
    dae = SinuDAE(n_filters=8, kernel_size=64, stride=16, frequency_init="linear", exponent=1)
    before = readability(dae)
    assert before == {"kernels_at_carrier": 1.0, "carriers_below_1_hz": 0}
    with torch.no_grad():
        bank = dae.decoder.filterbank
        # A modulator that is itself a cosine moves the peak of the three lowest channels.
        bank.modulator[:3] = torch.cos(2 * torch.pi * 0.2 * torch.arange(64.0))
        bank.frequency[3] = 0.5 / dae.sample_rate
    assert readability(dae) == {"kernels_at_carrier": 5 / 8, "carriers_below_1_hz": 1}


def test_kernels_of_an_stft_peak_at_their_bin():
    """As the readability of an STFT says without computing it."""
    stft = STFT(n_fft=64, stride=24, window="hamming", sample_rate=6400.0)
    for side in (stft.encoder, stft.decoder):
        cosines, sines = side.filterbank.filters()[:, 0].double().chunk(2)
        responses = torch.fft.fft(cosines + 1j * sines, 8 * 64).abs()
        peaks = responses.argmax(dim=-1)
        bins = torch.arange(33) * 8
        near = torch.minimum((peaks - bins).abs(), (512 - peaks - bins).abs())
        assert near[1:-1].max() == 0 and len(near) == 33


def test_costs(representations):
    dae = {"coefficients_per_sample": 8 / 16, "mask_decisions_per_second": 8 * 44100 / 16}
    assert costs(representations["DAE"]) == dae
    # A complex bin is two numbers, and one decision of the mask.
    stft = {"coefficients_per_sample": 66 / 16, "mask_decisions_per_second": 33 * 44100 / 16}
    assert costs(representations["STFT"]) == stft


def test_medians_and_their_table():
    results = pd.DataFrame(
        {
            "representation": ["DAE", MIXTURE] * 3,
            "si_sdr": [1.0, None, 30.0, None, 2.0, None],
            "si_sdr_bm_0.5": [5.0, -1.0, 7.0, -2.0, 100.0, -3.0],
            "si_sdr_rm": [6.0, -1.0, 8.0, -2.0, 100.0, -3.0],
        }
    )
    table = markdown_table(medians(results)).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    titles = ["SI-SDR (dB)", "SI-SDR-BM (dB), threshold 0.5", "SI-SDR, ratio mask (dB)"]
    assert cells[0] == ["representation", *titles]
    assert cells[2:] == [["DAE", "2.00", "7.00", "8.00"], [MIXTURE, "–", "-2.00", "-2.00"]]


def test_intervals_beside_the_medians_of_a_run():
    rng = np.random.default_rng(0)
    songs = np.repeat([f"song {number}" for number in range(12)], 5)
    easy = np.repeat(rng.normal(8, 4, 12), 5)
    columns = ["si_sdr_bm_0.5", "si_sdr_rm"]
    frames = [
        pd.DataFrame({column: easy + gain for column in columns}).assign(
            track=songs, start=0, representation=name, si_sdr=30.0, sparsity=0.5
        )
        for name, gain in (("mod-cos DAE", 1.5), ("STFT", 0.0), (MIXTURE, -30.0))
    ]
    results = pd.concat(frames, ignore_index=True)
    results.loc[results["representation"] == MIXTURE, ["si_sdr", "sparsity"]] = np.nan
    summary = medians(results)
    intervals = mask_intervals(results, "STFT")
    table = with_intervals(summary, intervals, "STFT")
    title = "SI-SDR, ratio mask (dB)"
    assert table[f"{title}, minus STFT"].tolist() == [
        "+1.50 (+1.50 to +1.50)",
        None,
        "-30.00 (-30.00 to -30.00)",
    ]
    low, high = intervals.loc[("STFT", "si_sdr_rm"), ["low", "high"]]
    assert low < summary.loc["STFT", "si_sdr_rm"] < high
    assert table.loc["STFT", f"{title}, 95%"] == f"{low:.2f} to {high:.2f}"
    assert list(table["SI-SDR (dB)"][:2]) == [30, 30]

    facts = {"mod-cos DAE": {"kernels_at_carrier": 0.75}, "STFT": {"kernels_at_carrier": 1.0}}
    known = with_readability(summary, facts)
    assert (
        list(known["kernels_at_carrier"][:2]) == [75, 100] and known.isna().loc[MIXTURE].sum() == 3
    )
    for nothing in (None, {}, {"mod-cos DAE": {}}):
        assert with_readability(summary, nothing) is summary
    for column in SHORT:  # with as many characters as they may have
        known[column] = known.get(column, 123.45)
    for column in ("si_sdr", "kernels_at_carrier", "variation"):
        known[column] = 123.45
    known["si_sdr_bm_1"] = -12.34
    intervals = pd.concat(
        [
            intervals,
            intervals.xs("si_sdr_rm", level=1, drop_level=False).rename(
                {"si_sdr_rm": "si_sdr_bm_1"}
            ),
        ]
    )
    text = terminal_table(known, intervals, "STFT")
    assert max(map(len, text.splitlines())) <= 100 and "nan" not in text and "None" not in text
    assert f"±{(high - low) / 2:.2f}" in text and "+1.50 (+1.50 to +1.50)" in text
    full = pd.DataFrame({column: [-123.45] for column in SHORT}, ["unprocessed mixture"])
    assert max(map(len, terminal_table(full).splitlines())) <= 100


@pytest.mark.parametrize(
    "own, stft, than",
    [
        (9.71, 8.27, "at 9.7 dB (DAE), 1.4 dB above the STFT (8.3 dB)."),
        (-0.22, 8.27, "at −0.2 dB (DAE), 8.5 dB below the STFT (8.3 dB)."),
        (8.31, 8.27, "at 8.3 dB (DAE), level with the STFT (8.3 dB)."),
        (-0.04, 0.04, "at 0.0 dB (DAE), level with the STFT (0.0 dB)."),
    ],
)
def test_in_words(own, stft, than):
    sentence = in_words("DAE", "STFT", {"DAE": own, "STFT": stft})
    assert sentence.startswith("With a binary mask that knows the sources (threshold 0.5), vocals ")
    assert sentence.endswith(f" come out {than}")


def test_in_words_with_others():
    figures = {"a": 1.0, "DAE": 2.0, "b": float("nan"), "STFT": 1.5, "c": -3.0}
    assert in_words("DAE", "STFT", figures).endswith("; for comparison: 1.0 dB (a), −3.0 dB (c).")
    figures = {f"row {number}": float(number) for number in range(9)}
    assert in_words("row 3", "row 8", figures).endswith(
        "5.0 dB below the row 8 (8.0 dB); the other 7 from 0.0 dB (row 0) to 7.0 dB (row 7)."
    )


@pytest.mark.parametrize("missing", ["DAE", "STFT"])
def test_without_a_figure_there_is_no_sentence(missing):
    figures = {"DAE": 2.0, "STFT": 1.5, "other": 1.0}
    assert in_words("DAE", "STFT", {**figures, missing: float("nan")}) == ""
    del figures[missing]
    assert in_words("DAE", "STFT", figures) == ""
