"""The page: its examples, its elements, and its folder."""

import os
import shutil
from pathlib import Path
from signal import SIGKILL

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from helpers import forked
from PIL import Image
from prepared import write_track
from report_pieces import CONF, LENGTH, METRICS, SECONDS, Elements, make_model

from asteroid_sinudae import STFT, informed_separation, report
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Track
from asteroid_sinudae.metrics import si_sdr
from asteroid_sinudae.models.gains import channel_gains
from asteroid_sinudae.utils.files import temporary_folder


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
def representations(model):
    return {"mod-cos DAE": model, "STFT": STFT(n_fft=256, stride=64)}


@pytest.fixture(scope="module")
def example(tracks, representations):
    return report.make_example(1, report.named_excerpt("a@b@0", tracks, SECONDS), representations)


@pytest.fixture(scope="module")
def page(example, model, representations):
    audio = example.groups[0].players[0].audio[None, None]
    losses = pd.DataFrame({"neg_snr": [-1.0], "neg_snr_epoch": [np.nan], "tv": [0.5]}, index=[9])
    return report.Page(
        title="Run <one>",
        introduction="What was compared.",
        tables=[report.medians_table(METRICS)],
        examples=[example],
        comparison=report.comparison_pictures(representations, audio, "A of the voice"),
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


@pytest.fixture(scope="module")
def elements(folder):
    return Elements((folder / "index.html").read_text(encoding="utf-8"))


class TestSideBySide:
    def test_what_is_compared(self, model, representations):
        stft = representations["STFT"]
        found = report.compared_representations("mine", model, stft)
        assert list(found) == ["STFT", "mine", "sinudae_c800_s256"] and found["mine"] is model
        slow = make_model(sample_rate=16000.0)
        assert list(report.compared_representations("mine", slow, stft)) == ["STFT", "mine"]
        multires = make_model(n_filters=160, init="multires")
        found = report.compared_representations("mine", multires, stft)
        untrained = "the paper's initialisation, untrained"
        assert list(found) == ["STFT", untrained, "mine"] and found["mine"] is multires
        assert found[untrained].get_model_args()["init"] == "paper"
        again = report.compared_representations("mine", multires, stft)[untrained].state_dict()
        for name, value in found[untrained].state_dict().items():
            assert torch.equal(value, again[name])
        free = report.compared_representations("mine", make_model(decoder="conv"), stft)
        assert list(free) == ["STFT", untrained, "sinudae_c800_s256"]
        other = make_model()
        beside = {"other": other, "free": make_model(decoder="conv")}  # which has no carriers
        found = report.compared_representations("mine", multires, stft, beside)
        assert list(found) == ["STFT", untrained, "mine", "other"] and found["other"] is other
        assert report.comparison_pictures({"STFT": stft}, torch.ones(1, 1, 99), "A") == []

    def test_the_loudest_second(self, tmp_path):
        audio = 0.01 * np.ones(3 * SAMPLE_RATE + 5)
        audio[SAMPLE_RATE + 10 : SAMPLE_RATE + 5000] = 0.5
        audio[-5:] = 0.9
        track = write_track(tmp_path, "a", audio, audio, "test")
        second, start = report.Excerpt(track, 0, len(audio)).loudest_second()
        assert start == SAMPLE_RATE and second.shape == (1, 1, SAMPLE_RATE)
        np.testing.assert_allclose(second[0, 0], audio[SAMPLE_RATE : 2 * SAMPLE_RATE], atol=1e-4)
        short, start = report.Excerpt(track, 7, 500).loudest_second()
        assert start == 7 and short.shape == (1, 1, 500)


class TestExample:
    def test_players_are_the_outputs_of_the_representations(self, tracks, representations, example):
        vocals, accompaniment = report.named_excerpt("a@b@0", tracks, SECONDS).read()
        mixture = vocals + accompaniment
        expected = {"Mixture": (mixture, vocals), "True voice": (vocals, None)}
        with torch.no_grad():
            for name, representation in representations.items():
                for label, wav in (("Mixture", mixture), ("Voice", vocals)):
                    decoded = representation.decode(representation.encode(wav), LENGTH)
                    expected[f"{label} by {name}"] = (decoded, wav)
                masked = informed_separation(representation, mixture, vocals, accompaniment, 0.5)
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
        row, *others = example.groups
        assert [player.label for player in row.players] == [
            "True voice",
            "Voice masked by mod-cos DAE",
            "Voice masked by STFT",
            "Mixture",
        ]
        assert "threshold 0.5" in row.note and not row.is_aside
        assert len(others) == 2 and all(group.is_aside for group in others)

    def test_maps_say_what_is_seen(self, example):
        names = [picture.name for picture in example.pictures]
        assert names == ["1-mod-cos-dae-map-mixture", "1-mod-cos-dae-map-voice"]
        for picture in example.pictures:
            assert "16 channels" in picture.alt and "from 30 Hz to 22050 Hz" in picture.alt
        images = [np.asarray(p.figure.axes[0].images[0].get_array()) for p in example.pictures]
        assert max(image.max() for image in images) == pytest.approx(0)
        assert min(image.max() for image in images) < -0.01  # one reference for both

    def test_maps_are_in_units_of_the_signals_level(self, tracks, representations, example):
        model = representations["mod-cos DAE"]
        vocals, accompaniment = report.named_excerpt("a@b@0", tracks, SECONDS).read()
        with torch.no_grad():
            maps = [model.encode(wav)[0] for wav in (vocals + accompaniment, vocals)]
        levels = [(each / channel_gains(model)[:, None]).double().numpy() for each in maps]
        reference = max(each.max() for each in levels)
        for picture, level in zip(example.pictures, levels, strict=True):
            assert "each channel divided by its gain" in picture.caption
            shown = np.asarray(picture.figure.axes[0].images[0].get_array())
            loud = level > 1e-4 * reference
            expected = 20 * np.log10(level[loud] / reference)
            np.testing.assert_allclose(shown[loud], expected, atol=1e-3)

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
            assert f"{player.label}{value} {player.note}".strip() in captions

    def test_pictures_have_texts_and_sizes(self, elements):
        images = elements.of("img")
        assert len(images) == 2 + 1 + 5 + 1
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
        assert elements.of("title") == [({}, "Run <one>")]
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
        captions = [text for _, text in elements.of("caption")]
        assert captions == 2 * ["Medians over 93 segments of 5 test tracks"]
        heads = [a["scope"] for a, _ in elements.of("th")]
        assert heads == [*(["col"] * 3 + ["row"] * 2), *(["col"] * 2 + ["row"] * 2)]
        cells = [text for _, text in elements.of("td")]
        assert cells == ["17.81", "−7.05", "–", "−2.32 (best)", "0.25", "–"]
        assert [text for _, text in elements.of("strong")] == ["−2.32"]
        terms = [text for _, text in elements.of("dt")]
        assert terms[:3] == ["SI-SDR (dB)", "SI-SDR-BM (dB), threshold 0.5", "additivity error"]
        assert "Bold: the best of a column." in [text for _, text in elements.of("p")]
        assert "Further columns" in [text for _, text in elements.of("summary")]

    def test_intervals_are_second_lines(self, tmp_path):
        table = report.Table("c", ["Row", "SI-SDR"], [["a", "1.25\n1.00 to 1.50"]])
        report.build_page(report.Page("t", "i", tables=[table]), tmp_path / "report")
        html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        assert "<td>1.25<br><small>1.00 to 1.50</small></td>" in html
        assert "Small: the 95% interval over songs." in html and "Bold" not in html

    def test_the_result_comes_first(self, tmp_path, elements):
        assert "result" not in {a.get("class") for a, _ in elements.of("p")}
        report.build_page(report.Page("t", "i", result="What came out."), tmp_path / "report")
        page = Elements((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
        assert page.of("p")[0] == ({"class": "result"}, "What came out.")

    def test_figures_have_dark_variants(self, folder, page):
        for path in (folder / "figures").glob("*-dark.png"):
            dark, light = (
                np.asarray(Image.open(each).convert("RGB"), dtype=int)
                for each in (path, path.with_name(path.name.replace("-dark", "")))
            )
            assert dark.shape == light.shape
            assert light[0, 0].min() > 250 and dark[0, 0].max() < 40  # the page's background
            assert dark.max() > 200  # its text
        # The figures are as they were.
        figure = page.kernels[0].figure
        assert figure.get_facecolor() == (1, 1, 1, 1)
        assert figure.axes[0].title.get_color() == "black"

    def test_provenance_and_configuration(self, elements):
        ((_, footer),) = elements.of("footer")
        for text in ("2026-01-02T03:04:05+00:00", "a processor", "0123abc", "torch 2.13.0"):
            assert text in footer
        assert "musdb" not in footer
        *_, (_, details) = elements.of("details")
        assert "stft_window" in details and "hamming" in details


def build_and_die(page, output):
    shutil.copyfile = lambda *paths: os.kill(os.getpid(), SIGKILL)
    report.build_page(page, output)


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

    def test_what_a_killed_build_left_is_removed(self, tmp_path):
        """By the next one, which leaves alone what another one is building."""
        process = forked(build_and_die, self.small, tmp_path / "report")
        process.join(60)
        assert process.exitcode == -SIGKILL
        (leftover,) = tmp_path.iterdir()
        assert (leftover / "new" / "index.html").is_file()
        with temporary_folder(tmp_path) as other:
            assert not leftover.exists()
            report.build_page(self.small, tmp_path / "report")
            assert set(tmp_path.iterdir()) == {other, tmp_path / "report"}

    def test_name_as_long_as_the_file_system_allows(self, tmp_path):
        report.build_page(self.small, tmp_path / ("n" * 255))
        assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]

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
