"""Results that count as done, of other configurations or data, and damaged ones."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_results import COSTS, SOURCE, TRAINED, jobs_of, segments_of, write_baseline, write_result
from mutations import mutated_bytes, mutated_json

from asteroid_sinudae.evaluation.tables import MIXTURE
from asteroid_sinudae.runs import declaration, results

# What counts as done


def test_a_result_is_done_with_its_own_configuration_only(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path, max_steps=7)
    source = results.describe_source(SOURCE)
    assert results.read_result(job, source) is None
    write_result(job.run.folder, declaration.override(job.conf, {"num_workers": 5, "devices": 4}))
    result = results.read_result(job, source)
    assert (result.steps, result.seconds, result.parameters) == (7, 60.0, 6_476_800)
    assert result.costs == COSTS
    expected = segments_of(0).query("representation == 'conv DAE'")["si_sdr_rm"]
    np.testing.assert_allclose(result.segments["si_sdr_rm"], expected)
    for longer in ({"epochs": 11}, {"max_steps": 8}, {"max_steps": -1}):
        _, _, (job, _) = jobs_of(small, tmp_path, **{"max_steps": 7, **longer})
        assert results.read_result(job, source) is None


@pytest.mark.parametrize(
    "asked, steps, message",
    [
        ({"lr": 0.5}, 7, "lr=0.0001 there, 0.5 asked for; choose another --exp_root or delete it"),
        ({"stft_n_fft": 4096}, 7, "stft_n_fft=2048 there, 4096 asked for; "),
        ({"epochs": 9}, 7, "epochs=10 there, 9 asked for; "),
        ({"max_steps": 6}, 7, "7 updates there, 6 asked for; "),
        ({"kernel_size": 1024}, 7, "kernel_size=2048 there, 1024 asked for; "),
    ],
)
def test_a_result_of_another_configuration_is_refused(tmp_path, small, asked, steps, message):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf, steps=steps)
    _, _, (job, _) = jobs_of(small, tmp_path, **asked)
    with pytest.raises(
        ValueError, match=f"^{job.run.folder} belongs to another config.*: {message}"
    ):
        results.read_result(job, results.describe_source(SOURCE))


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"stft_stride": 512}, "stft_stride=384 there, 512 asked for; choose another --exp_root"),
        ({"segment": 22050}, "segment=44100 there, 22050 asked for; choose another --exp_root"),
    ],
)
def test_result_of_a_baseline_depends_on_little(tmp_path, small, asked, message):
    _, (job,), _ = jobs_of(small, tmp_path)
    source = results.describe_source(SOURCE)
    write_baseline(job.run.folder, job.conf)
    _, (same,), _ = jobs_of(small, tmp_path, lr=0.5, n_filters=3, max_steps=2, epochs=1)
    result = results.read_result(same, source)
    assert result.steps is None and result.costs == TRAINED["STFT"] and len(result.segments) == 5
    _, (job,), _ = jobs_of(small, tmp_path, **asked)
    with pytest.raises(
        ValueError, match=f"^{job.run.folder} belongs to another config.*: {message}"
    ):
        results.read_result(job, source)


def test_a_result_of_an_earlier_version_is_read(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    source, run = results.describe_source(SOURCE), job.run
    write_result(run.folder, job.conf)
    new = results.read_result(job, source)
    for path, name, former in (
        (run.segments_file, "representation", "system"),
        (run.metrics_file, '"costs"', '"systems"'),
    ):
        text = path.read_text()
        assert text.count(name) == 1
        path.write_text(text.replace(name, former))
    old = results.read_result(job, source)
    assert old.costs == new.costs == COSTS
    pd.testing.assert_frame_equal(old.segments, new.segments)


def test_a_result_from_before_a_key_is_one_with_its_former_value(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    source = results.describe_source(SOURCE)
    before = {group: dict(values) for group, values in job.conf.items()}
    before["optim"].pop("eps", None)
    write_result(job.run.folder, before)
    now = {**job.conf, "optim": {**job.conf["optim"], "eps": 1e-8}}
    assert results.read_result(replace(job, conf=now), source)
    now["optim"]["eps"] = 1e-2
    with pytest.raises(ValueError, match="eps=1e-08 there, 0.01 asked for"):
        results.read_result(replace(job, conf=now), source)


def test_the_evaluated_model_is_named(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    source = results.describe_source(SOURCE)
    backwards = dict(reversed(TRAINED.items()))
    write_result(job.run.folder, job.conf, representations=backwards, evaluated="conv DAE")
    result = results.read_result(job, source)
    assert result.costs == COSTS
    expected = segments_of(0).query("representation == 'conv DAE'")["si_sdr"]
    np.testing.assert_allclose(result.segments["si_sdr"], expected)
    medians = {name: {"si_sdr": 10.0} for name in (*TRAINED, MIXTURE)}
    for name, where in (("other", "medians"), (MIXTURE, "costs")):
        write_result(job.run.folder, job.conf, medians=medians, evaluated=name)
        with pytest.raises(ValueError, match=f"{where} has no '{name}', as evaluated"):
            results.read_result(job, source)


def test_a_result_on_other_data_is_refused(tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf, source={"kind": "stems", "path": "elsewhere"})
    message = "data is stems of elsewhere there, wav of music asked for; choose another"
    with pytest.raises(ValueError, match=message):
        results.read_result(job, results.describe_source(SOURCE))


@pytest.mark.parametrize(
    "name, damage, message",
    [
        (
            "final_metrics.json",
            lambda text: text[:100],
            "final_metrics.json is corrupted, expected",
        ),
        ("final_metrics.json", lambda text: "[]", "its content must be an object, got "),
        ("final_metrics.json", lambda text: text.replace('"costs"', '"s"'), "costs is missing"),
        ("final_metrics.json", lambda text: text.replace('"conf"', '"c"'), "conf is missing"),
        (
            "final_metrics.json",
            lambda text: text.replace('"seconds"', '"s"'),
            "training.seconds is missing",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"seconds": 60.0', '"seconds": null'),
            "is of a training, of which training tells nothing",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"si_sdr": 10.0', '"si_sdr": NaN'),
            "medians.conv DAE.si_sdr must be a finite number, got nan",
        ),
        (
            "final_metrics.json",
            lambda text: text.replace('"epochs": 10', '"epochs": "10"'),
            "conf: training.epochs must be a valid integer, got '10'",
        ),
        ("segments.csv", lambda text: text[: len(text) // 2], "segments.csv has [0-4] segments of"),
        (
            "segments.csv",
            lambda text: text.replace("additivity", "a"),
            "additivity_error is missing",
        ),
        (
            "segments.csv",
            lambda text: text.replace("C,0,conv DAE,", "C,0,conv DAE,x"),
            "segments.csv: si_sdr must be numbers, got 'x",
        ),
        (
            "segments.csv",
            lambda text: text.replace("C,0,conv DAE,", "C,0,conv DAE,,", 1),
            "segments.csv is no table",
        ),
        (
            "segments.csv",
            lambda text: re.sub("(C,0,conv DAE),[^,]*", r"\1,", text),
            "segments.csv: si_sdr of conv DAE is not finite everywhere",
        ),
        (
            "segments.csv",
            lambda text: re.sub("(C,0,conv DAE),[^,]*", r"\1,inf", text),
            "segments.csv: si_sdr of conv DAE is not finite everywhere",
        ),
        ("segments.csv", lambda text: text.replace("si_sdr_rm", "rm"), "si_sdr_rm is missing"),
        ("segments.csv", lambda text: "", "segments.csv is no table .CSV.: No columns"),
        ("segments.csv", lambda text: "\udcff", "segments.csv is no table .CSV.: .*utf-8"),
        ("segments.csv", None, "segments.csv not found: expected a table"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path, small, name, damage, message):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf)
    path = job.run.folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()), "utf-8", "surrogateescape")
    expected = (
        f"^{job.run.folder} holds a damaged result, delete final_metrics.json in it .*{message}"
    )
    with pytest.raises(ValueError, match=expected):
        results.read_result(job, results.describe_source(SOURCE))


@pytest.mark.parametrize("seed", range(2))
def test_damaged_results_are_read_or_refused(seed, tmp_path, small):
    _, _, (job, _) = jobs_of(small, tmp_path)
    write_result(job.run.folder, job.conf)
    refused, source = 0, results.describe_source(SOURCE)
    paths = [job.run.folder / name for name in ("final_metrics.json", "segments.csv")]
    metrics, segments = (path.read_bytes() for path in paths)
    damaged = [(paths[0], text) for text in mutated_json(json.loads(metrics), 100, seed)]
    damaged += [(paths[1], text) for text in mutated_bytes(segments, 50, seed)]
    for path, text in damaged:
        paths[0].write_bytes(metrics)
        paths[1].write_bytes(segments)
        path.write_bytes(text)
        try:
            result = results.read_result(job, source)
            assert np.isfinite(result.segments.to_numpy()).all()
        except ValueError as error:
            assert str(error).startswith(f"{job.run.folder} ")
            refused += 1
    assert 65 < refused < 150
