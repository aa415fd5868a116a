"""report.py: the page of a run, and options that make no sense."""

import functools
import json

import pytest
import torch
from helpers import call
from report_pieces import METRICS, SECONDS, Elements, make_model

from asteroid_sinudae import report
from asteroid_sinudae.models.pretrained import describe_sizes


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

    def test_page_of_a_run(self, options, tmp_path, capsys, monkeypatch):
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
        (caption,) = [
            t for _, t in elements.of("figcaption") if t.startswith("A of the voice of a@b")
        ]
        assert "by STFT, mod-cos DAE, sinudae_c800_s256, in the same units" in caption
        assert [text for _, text in elements.of("caption")][-1] == "table1"
        assert len(elements.of("audio")) == 8 and "1.23" in [t for _, t in elements.of("td")]
        sizes = describe_sizes(make_model().get_model_args())
        assert "0.25 " in sizes and "16 channels" in sizes
        introduction = f"A mod-cos DAE ({sizes}) beside the short-time Fourier transform."
        assert introduction in [text for _, text in elements.of("p")]

    def test_models_beside_and_the_result(self, options, monkeypatch):
        few = functools.partial(report.kernel_pictures, n=1)
        monkeypatch.setattr(report, "kernel_pictures", few)
        baseline = {**METRICS["conf"]["baseline"], "pretrained": "sinudae_c800_s256"}
        conf = {**METRICS["conf"], "baseline": baseline}
        medians = {**METRICS["medians"], "STFT": {"si_sdr_bm_0.5": -8.0}}
        metrics = {**METRICS, "conf": conf, "medians": medians}
        (options["exp_dir"] / "final_metrics.json").write_text(json.dumps(metrics))
        call("report.py", n_examples=1, **options)
        elements = Elements((options["exp_dir"] / "report" / "index.html").read_text("utf-8"))
        assert "1.0 dB above the STFT" in elements.of("p")[0][1]
        labels = [a["aria-label"].partition(": ")[2] for a, _ in elements.of("audio")]
        names = ["mod-cos DAE", "sinudae_c800_s256", "STFT"]
        assert labels[:5] == ["True voice", *(f"Voice masked by {n}" for n in names), "Mixture"]
        assert len(labels) == 5 + 2 * 3
        captions = [text for _, text in elements.of("figcaption")]
        for name in names[:2]:
            assert sum(f" by the {name}, each channel" in text for text in captions) == 2
        assert any("by STFT, mod-cos DAE, sinudae_c800_s256, in the" in text for text in captions)

    def test_bands_are_said(self, options, monkeypatch):
        few = functools.partial(report.kernel_pictures, n=1)
        monkeypatch.setattr(report, "kernel_pictures", few)
        bands = "64x4:5000:400 32x2:22050"
        dae = make_model(n_filters=56, kernel_size=64, stride=16, init="multires", bands=bands)
        torch.save(dae.serialize(), options["exp_dir"] / "best_model.pth")
        call("report.py", n_examples=1, **options)
        html = (options["exp_dir"] / "report" / "index.html").read_text(encoding="utf-8")
        assert "by STFT, the paper&#39;s initialisation, untrained, mod-cos DAE, in the" in html
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

    def test_run_that_is_not_whole(self, options):
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
