"""Separators on the page, beside masks that know the sources."""

import functools
import json

import numpy as np
import pytest
import soundfile
import torch
from helpers import call
from report_pieces import METRICS, SECONDS, Elements
from small_separators import NAMES, PAIR, SIZES, STFT_NAME, make_both, make_pair

from asteroid_sinudae import STFT, SinuDAE, load_model, report
from asteroid_sinudae.data.tracks import SAMPLE_RATE
from asteroid_sinudae.evaluation.tables import decibels
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.models import registry
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.utils.files import save_atomically

TITLES = ("mod-cos DAE", "STFT 64-24")
TRAINING = {"steps": 4, "epochs": 1, "seconds": 2.5}
MADE_WITH = {key: METRICS[key] for key in ("versions", "device", "finished")}
MEDIANS = {
    "mod-cos DAE, separator": {"si_sdr_vocals": 4.5, "si_sdri_vocals": 9.25},
    "mod-cos DAE, informed mask 0.5": {"si_sdr_vocals": 10.0, "si_sdri_vocals": 14.75},
    "unprocessed mixture": {"si_sdr_vocals": -4.75, "si_sdri_vocals": 0.0},
}
SEPARATORS_METRICS = {
    **METRICS,
    "medians": MEDIANS,
    "separators": dict.fromkeys(NAMES, TRAINING),
}


@pytest.fixture
def options(tmp_path, tracks, monkeypatch):
    """Of report.py, for a run of a small pair and one example."""
    few = functools.partial(report.kernel_pictures, n=1)  # twelve take seconds to draw
    monkeypatch.setattr(report, "kernel_pictures", few)
    baseline = {f"stft_{key}": value for key, value in SIZES.items()}
    conf = {**METRICS["conf"], "baseline": baseline}
    save_atomically(make_pair().serialize(), tmp_path / "exp" / "best_model.pth")
    (tmp_path / "exp" / "final_metrics.json").write_text(json.dumps({**METRICS, "conf": conf}))
    return dict(
        exp_dir=tmp_path / "exp",
        data_dir=tracks[0].folder.parents[1],
        examples="a@b@0",
        example_seconds=SECONDS,
    )


def save_separator(path, separator, pair, **changes):
    """Write a separator as train_separator.py leaves it, untrained."""
    run = {"pair": model_digest(pair)}
    conf = {"front_end": {"front_ends": " ".join(NAMES)}, "run": run}
    package = separator.serialize()
    package["infos"]["sources"] = ["vocals", "accompaniment"]
    package["infos"]["training"] = {"conf": conf, **TRAINING, **MADE_WITH, **changes}
    save_atomically(package, path)


@pytest.fixture
def separators_dir(tmp_path):
    pair = make_pair()
    for name, separator in make_both(pair).items():
        save_separator(tmp_path / "separators" / name / "best_model.pth", separator, pair)
    return tmp_path / "separators"


@pytest.fixture
def mixture(tracks):
    """Mixture and true voice of the example, each `(1, 1, time)`."""
    vocals, accompaniment = report.named_excerpt("a@b@0", tracks, SECONDS).read()
    return vocals + accompaniment, vocals


def page_of(options):
    return Elements((options["exp_dir"] / "report" / "index.html").read_text("utf-8"))


class TestPlayers:
    def test_they_are_the_outputs_of_the_separators(self, tracks, mixture):
        excerpt = report.named_excerpt("a@b@0", tracks, SECONDS)
        separators = {name: model.eval() for name, model in make_both().items()}
        representations = {"mine": make_pair(), "STFT": STFT(**SIZES)}
        row, *aside = report.make_example(1, excerpt, representations, separators=separators).groups
        expected = [
            ("True voice", ""),
            ("Voice masked by mine", "mask knows the sources"),
            ("Voice masked by STFT", "mask knows the sources"),
            ("Voice separated by pair", "hears the mixture only"),
            (f"Voice separated by {STFT_NAME}", "hears the mixture only"),
            ("Mixture", ""),
        ]
        assert [(player.label, player.note) for player in row.players] == expected
        assert "Separated: by a trained model, from the mixture alone. SI-SDR" in row.note
        assert "Masked: by the binary mask of the true sources at threshold 0.5." in row.note
        heard, vocals = mixture
        for player, separator in zip(row.players[3:5], separators.values(), strict=True):
            with torch.no_grad():
                estimate = separator(heard)[:, :1]  # (1, 1, time) of the vocals
            torch.testing.assert_close(player.audio, estimate[0, 0])
            assert player.si_sdr == pytest.approx(si_sdr(estimate, vocals).item(), abs=1e-3)
        assert all(player.note == "" for group in aside for player in group.players)

    def test_estimates_that_are_not_finite(self, tracks):
        class Broken(torch.nn.Module):
            def forward(self, wav):
                return torch.full((len(wav), 2, wav.shape[-1]), torch.nan)

        excerpt = report.named_excerpt("a@b@0", tracks, SECONDS)
        with pytest.raises(ValueError, match="^broken: estimates must be finite, got NaN or inf"):
            report.make_example(1, excerpt, {}, separators={"broken": Broken()})


def test_table():
    table = report.separators_table(SEPARATORS_METRICS)
    assert table.caption == (
        "Separators, which hear the mixture only, beside masks that know the sources: medians over "
        "93 segments of 5 test tracks"
    )
    assert table.header == ["Estimates", "SI-SDR vocals (dB)"] and not table.best
    assert table.rows == [
        ["mod-cos DAE, separator", "4.50"],
        ["mod-cos DAE, informed mask 0.5", "10.00"],
        ["unprocessed mixture", "−4.75"],
    ]
    assert table.further.header == ["Estimates", "SI-SDRi vocals (dB)"]
    assert set(table.meanings) == {"SI-SDR vocals (dB)"}


class TestScript:
    def test_separators_of_a_folder(self, options, separators_dir, mixture):
        (separators_dir / "final_metrics.json").write_text(json.dumps(SEPARATORS_METRICS))
        (separators_dir / "museval").mkdir()
        call("report.py", separators=separators_dir, **options)
        page, (heard, vocals) = page_of(options), mixture
        labels = [a["aria-label"].partition(": ")[2] for a, _ in page.of("audio")]
        separated = [f"Voice separated by {title}" for title in TITLES]
        masked = [f"Voice masked by {title}" for title in ("mod-cos DAE", "STFT")]
        assert labels[:6] == ["True voice", *masked, *separated, "Mixture"]
        captions = [" ".join(text.split()) for _, text in page.of("figcaption")]
        sources = [a["src"] for a, _ in page.of("audio")]
        for number, name in enumerate(NAMES, start=3):
            with torch.no_grad():
                model = load_model(separators_dir / name / "best_model.pth").model
                estimate = model(heard)[:, :1]
            figure = decibels(si_sdr(estimate, vocals).item())
            assert f"{labels[number]} {figure} hears the mixture only" in captions
            samples, rate = soundfile.read(options["exp_dir"] / "report" / sources[number])
            assert rate == SAMPLE_RATE
            np.testing.assert_allclose(samples, estimate[0, 0], atol=2**-14)
        tables = [text for _, text in page.of("caption")]
        assert sum(text.startswith("Separators, which hear the mixture only") for text in tables)
        assert "mod-cos DAE, separator" in [text for _, text in page.of("th")]

    @pytest.mark.slow
    def test_separators_that_are_there_without_an_evaluation(self, options, separators_dir):
        (separators_dir / "pair" / "best_model.pth").unlink()
        call("report.py", separators=separators_dir, **options)
        page = page_of(options)
        labels = [a["aria-label"].partition(": ")[2] for a, _ in page.of("audio")]
        assert labels[3] == "Voice separated by STFT 64-24" and len(labels) == 5 + 4
        assert all(text.startswith("Medians over") for _, text in page.of("caption"))

    def test_a_separator_of_the_package(self, options, separators_dir, tmp_path, monkeypatch):
        models = tmp_path / "models"
        models.mkdir()
        monkeypatch.setattr(registry, "FOLDER", models)
        (separators_dir / "pair" / "best_model.pth").rename(models / "separator_new.pth")
        (models / "separator_new.md").write_text("# separator_new\n\nsmall\n")
        call("report.py", separators="separator_new", **options)
        labels = [a["aria-label"].partition(": ")[2] for a, _ in page_of(options).of("audio")]
        assert labels[3] == "Voice separated by separator_new" and len(labels) == 5 + 4

    def refused(self, options, *places):
        with pytest.raises(SystemExit) as caught:
            call("report.py", "--separators", *places, **options)
        assert not (options["exp_dir"] / "report").exists()
        line = str(caught.value)
        assert line.startswith("report.py: ") and "\n" not in line
        return line.removeprefix("report.py: ")

    def test_places_without_separators(self, options, separators_dir, tmp_path):
        (tmp_path / "empty" / "logs").mkdir(parents=True)
        none = "has no separators: train them first (stage 6)"
        assert self.refused(options, tmp_path / "empty") == f"{tmp_path / 'empty'} {none}"
        exp_dir = options["exp_dir"]
        assert self.refused(options, exp_dir) == f"{exp_dir} {none}"
        missing = tmp_path / "missing"
        assert self.refused(options, missing).startswith(f"{missing} not found: expected a file")
        assert "'no_name' is neither a file nor" in self.refused(options, "no_name")
        assert self.refused(options, "sinudae_c800_s256") == (
            "sinudae_c800_s256 encodes and decodes, expected a separator of vocals and "
            "accompaniment"
        )
        twice = self.refused(options, separators_dir, separators_dir)
        assert twice == f"separators must be each front-end only once, got '{separators_dir}'"

    def test_separators_that_are_refused(self, options, separators_dir):
        path = separators_dir / "pair" / "best_model.pth"
        slow = SinuDAE(**PAIR, sample_rate=16000)
        save_separator(path, make_both(slow)["pair"], make_pair())
        line = self.refused(options, separators_dir)
        assert line == f"{path} is for 16000 Hz, the data has 44100 Hz"

        other = SinuDAE(**PAIR)  # of other random numbers
        save_separator(path, make_both(other)["pair"], other)
        line = self.refused(options, separators_dir)
        assert line.startswith(f"{path} was trained beside another pair than this: train the sepa")

        save_separator(path, make_both()["pair"], make_pair(), steps=5)
        line = self.refused(options, separators_dir)
        assert "were not trained alike, pair for 5 updates and stft_64_24 for 4: train" in line

        separator = make_both()["pair"]
        next(separator.masker.parameters()).data.fill_(torch.nan)
        save_separator(path, separator, make_pair())
        line = self.refused(options, separators_dir)
        assert str(path) in line and "masker" in line and "finite" in line

    def test_evaluations_that_are_refused(self, options, separators_dir):
        path = separators_dir / "final_metrics.json"
        of_one = {**SEPARATORS_METRICS, "separators": {"pair": TRAINING}}
        longer = {name: {**TRAINING, "steps": 9} for name in NAMES}
        for metrics in (of_one, {**SEPARATORS_METRICS, "separators": longer}, METRICS):
            path.write_text(json.dumps(metrics))
            line = self.refused(options, separators_dir)
            assert line.startswith(f"{path} is of another training than {separators_dir}")
        path.write_text(json.dumps({**SEPARATORS_METRICS, "separators": []}))
        line = self.refused(options, separators_dir)
        assert line.startswith(f"{path}: separators must be an object, got []: evaluate again")
