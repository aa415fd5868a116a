"""Losses and tables of a run's folder, for the page."""

import csv

import pandas as pd
import pytest
from helpers import call
from report_pieces import METRICS

from asteroid_sinudae import report
from asteroid_sinudae.report.columns import kind_of
from asteroid_sinudae.report.run_results import TERMS
from asteroid_sinudae.training.objectives import make_objectives


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
        names = ("sinkhorn", "additivity", "mask", "bandwidth")
        weights = {f"{name}_weight": 1.0 for name in names}
        reconstruction, *others = make_objectives(**weights)
        assert {each.name: each.label for each in others} == TERMS
        assert reconstruction.name not in TERMS

    def test_learning_curves(self, tmp_path):
        (tmp_path / "a").mkdir()
        text = "neg_snr,neg_snr_epoch,step\n-1,,9\n-2,,19\n,-1.5,19\n-3,-2.5,99\n"
        self.write(tmp_path, 0, text)
        losses = report.read_losses(tmp_path)
        figure = report.plot_learning_curves({"paper": losses, "multires": losses - 10})
        (axes,) = figure.axes
        batches, epochs, multires, multires_epochs = axes.lines
        assert batches.get_xydata().tolist() == [[10, 1], [20, 2], [100, 3]]
        assert epochs.get_xydata().tolist() == [[20, 1.5], [100, 2.5]]
        assert multires_epochs.get_ydata().tolist() == [11.5, 12.5]
        assert epochs.get_color() == batches.get_color() != multires.get_color()
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == ["paper", "multires"]
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
        assert table.caption == "table1" and table.header == ["Setup", "SI-SDR (dB)"]
        assert table.rows == [["conv, squared", "−7.05"], ["x", "–"]] and not table.best
        assert table.further.header == ["Setup", "C"]
        assert table.further.rows == [["conv, squared", "1,025"], ["x", "–"]]
        assert report.read_table(path.rename(tmp_path / "mine.csv")).caption == "mine"

    @pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2,3\n"])
    def test_not_a_table(self, tmp_path, text):
        (tmp_path / "table.csv").write_text(text)
        with pytest.raises(ValueError, match="table.csv is no table: expected a header, and rows"):
            report.read_table(tmp_path / "table.csv")

    def test_medians(self):
        table = report.medians_table(METRICS)
        assert table.caption == "Medians over 93 segments of 5 test tracks"
        titles = ["SI-SDR (dB)", "SI-SDR-BM (dB), threshold 0.5"]
        assert table.header == ["Representation", *titles] and list(table.meanings) == titles
        assert table.rows == [
            ["mod-cos DAE", "17.81", "−7.05"],
            ["unprocessed mixture", "–", "−2.32"],
        ]
        assert table.best == {(1, 2)}  # of one figure there is no best
        assert table.further.header == ["Representation", "additivity error"]
        assert table.further.rows == [["mod-cos DAE", "0.25"], ["unprocessed mixture", "–"]]

    def test_medians_with_intervals(self):
        names, songs = ["mod-cos DAE", "STFT"], [f"song {number}" for number in range(9)]
        gains = {"mod-cos DAE": 2.0, "STFT": 0.0}
        segments = pd.DataFrame(
            [
                {"track": song, "representation": name, "si_sdr_bm_0.5": place + gains[name]}
                for name in names
                for place, song in enumerate(songs)
            ]
        )
        medians = {name: {"si_sdr_bm_0.5": 4.0 + gains[name]} for name in names}
        table = report.medians_table({**METRICS, "medians": medians}, segments)
        title = "SI-SDR-BM (dB), threshold 0.5"
        assert table.header == ["Representation", title, f"{title}, minus STFT"]
        (_, own, difference), (_, stft, none) = table.rows
        assert own.startswith("6.00\n") and stft.startswith("4.00\n")
        low, high = map(float, own.split("\n")[1].split(" to "))
        assert 2 <= low < 6 < high <= 10
        assert difference == "2.00\n2.00 to 2.00" and none == "–"
        assert table.best == {(0, 1)} and table.further is None
        one = report.medians_table({**METRICS, "medians": medians}, segments[:1])
        assert one.rows == [["mod-cos DAE", "6.00"], ["STFT", "4.00"]]

    def test_intervals_of_a_file(self, tmp_path):
        stem = "SI-SDR-BM 0.5"
        header = ["Setup", f"{stem} (dB)", f"{stem} IQR (dB)", f"{stem} low (dB)"]
        header += [f"{stem} high (dB)", f"{stem} difference (dB)"]
        header += [f"{stem} difference low (dB)", f"{stem} difference high (dB)"]
        rows = ["a,9,3,8,10.5,1,-0.5,2", "b,8,4,7,9,,,"]
        (tmp_path / "t.csv").write_text("\n".join([",".join(header), *rows, ""]))
        table = report.read_table(tmp_path / "t.csv")
        assert table.header == ["Setup", f"{stem} (dB)", f"{stem} difference (dB)"]
        assert table.rows == [
            ["a", "9\n8 to 10.50", "1\n−0.50 to 2"],
            ["b", "8\n7 to 9", "–"],
        ]
        assert table.best == {(0, 1)} and table.has_intervals
        assert table.further.header == ["Setup", f"{stem} IQR (dB)"]
        assert not table.further.best  # a spread is neither good nor bad

    @pytest.mark.parametrize(
        "title, better",
        [
            ("additivity error", -1),
            ("Additivity error", -1),
            ("SI-SDR-RM (dB)", 1),
            ("SI-SDR, ratio mask (dB)", 1),
            ("SI-SDR-RM difference (dB)", 1),
            ("SI-SDR-BM in paper (dB)", 0),
            ("SI-SDR-BM 1 IQR (dB)", 0),
            ("Updates", 0),
            ("something else", None),
        ],
    )
    def test_kinds_of_columns(self, title, better):
        kind = kind_of(title)
        assert (kind and kind.better) == better

    def test_columns_that_are_not_known(self, tmp_path):
        (tmp_path / "t.csv").write_text("name,size\na,1\nb,2\n")
        table = report.read_table(tmp_path / "t.csv")
        assert table == report.Table("t", ["name", "size"], [["a", "1"], ["b", "2"]], {}, set())

    def test_result_in_words(self):
        assert report.result_in_words(METRICS) == ""  # without an STFT
        medians = {**METRICS["medians"], "STFT": {"si_sdr_bm_0.5": -8.0}}
        sentence = report.result_in_words({**METRICS, "medians": medians})
        assert "come out at −7.0 dB (mod-cos DAE), 1.0 dB above the STFT (−8.0 dB);" in sentence
