"""Tables as they are declared: the shipped ones are the paper's, mistakes are named first."""

import math
from pathlib import Path

import pytest
import torch
from made_results import BASE, SHIPPED, Runner, changed, write_yaml

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.filterbanks.bands import as_bands, n_kernels
from asteroid_sinudae.runs import declaration

# The shipped tables


@pytest.mark.parametrize("name, n_rows", [("table1", 7), ("table2", 6)])
def test_shipped_rows_have_the_papers_parameters(name, n_rows):
    table = declaration.load_table(SHIPPED, name, BASE)
    jobs = declaration.make_jobs(table, BASE, list(table.rows), [0], Path())
    assert len(jobs) == n_rows and len(table.stft) == (name == "table2")
    for job in jobs:
        with torch.device("meta"):
            model = SinuDAE(**job.conf["filterbank"])
        thousands = sum(parameter.numel() for parameter in model.parameters()) // 1000
        assert thousands / 1000 == table.rows[job.row].paper["parameters_m"], job


def test_shipped_tables_are_the_papers():
    table1 = declaration.load_table(SHIPPED, "table1", BASE)
    jobs = declaration.make_jobs(table1, BASE, list(table1.rows), [0], Path())
    for job in jobs:
        assert job.conf["objective"]["tv_weight"] == 0 and not job.conf["objective"]["sort"]
        assert job.conf["training"]["early_stop"] and job.conf["training"]["epochs"] == 10
        optim = {"lr": 1e-4, "lr_relative": False, "lr_decay": False, "eps": 1e-8}
        assert job.conf["optim"] == optim
    parts = [tuple(job.conf["filterbank"][key] for key in ("encoder", "decoder")) for job in jobs]
    assert parts == [
        *[("conv_smooth", "cos")] * 2,
        ("conv_smooth", "conv"),
        ("conv_smooth", "conv_tanh"),
        *[("conv_smooth", "mod_cos")] * 2,
        ("sinc_smooth", "mod_cos"),
    ]
    exponents = {job.row: job.conf["filterbank"]["exponent"] for job in jobs}
    assert [row for row, exponent in exponents.items() if exponent == 1] == [
        "conv_cos_linear",
        "conv_modcos_linear",
    ]
    si_sdr = [row.paper["si_sdr"] for row in table1.rows.values()]
    assert si_sdr == [20.83, 22.34, 31.25, 30.5, 28.72, 32.62, 26.82]

    table2 = declaration.load_table(SHIPPED, "table2", BASE)
    jobs = declaration.make_jobs(table2, BASE, list(table2.rows), [0], Path())
    assert [
        (job.conf["filterbank"]["n_filters"], job.conf["objective"]["tv_on"]) for job in jobs
    ] == [(c, on) for c in (400, 800, 1600) for on in ("vocals", "mixture")]
    assert all(job.conf["objective"]["sort"] for job in jobs)
    assert all(job.conf["objective"]["tv_weight"] == 0.5 for job in jobs)
    assert not any(job.conf["training"]["early_stop"] for job in jobs)
    masked = [row.paper["si_sdr_bm"] for row in table2.all_rows().values()]
    assert masked == [3.66, 5.93, 4.39, 6.28, 4.68, 6.68, 8.8]


def test_shipped_rows_of_table3_keep_their_budgets():
    table3 = declaration.load_table(SHIPPED, "table3", BASE)
    jobs = declaration.make_jobs(table3, BASE, list(table3.all_rows()), [0], Path())
    numbers = {"s256": 800 / 256, "s512": 3.15, "half": 2.66, "most": 4.37, "whole": 5.34}
    for job in jobs:
        if job.is_baseline:
            sizes = job.conf["baseline"]
            assert (sizes["stft_n_fft"] + 2) / sizes["stft_stride"] < 5.34
            assert job.row == f"stft_{sizes['stft_n_fft']}_{sizes['stft_stride']}"
            continue
        (limit,) = (numbers[name] for name in numbers if job.row.startswith(name))
        bank = job.conf["filterbank"]
        assert bank["n_filters"] / bank["stride"] <= limit
        assert bank["smooth_groups"] in (1, bank["n_filters"])
        if bank["init"] == "multires":
            sizes = {
                key: bank[key] for key in ("n_filters", "kernel_size", "stride", "sample_rate")
            }
            bands = as_bands(bank["bands"], **sizes)
            assert n_kernels(bands, bank["sample_rate"]) == bank["n_filters"], job
    trained_rows = [row for row in table3.rows if row.endswith("_tv")]
    assert len(trained_rows) == 4
    for trained_row in trained_rows:
        row, trained = trained_row.replace("_tv", "_untrained"), table3.rows[trained_row].set
        assert table3.rows[row].set == {**trained, "max_steps": 0}
    needs = ("additivity_weight", "mask_weight")
    for job in jobs[len(table3.stft) :]:
        is_needed = any(job.conf["objective"][key] > 0 for key in needs)
        assert job.conf["data"]["matched"] == is_needed


# Bad input, all of it before anything runs


ROW = ["table", "rows", "plain"]
STFT = ["table", "stft", "stft_plain"]
BAD_NAME = "name of a row must be made of a-z, 0-9 and _, and not begin with stft_, got "


@pytest.mark.parametrize(
    "path, value, message",
    [
        ([], None, "its content must be a valid dictionary, got None"),
        ([], [1], r"its content must be a valid dictionary, got \[1\]"),
        (["table"], [], r"table must be a valid dictionary, got \[\]"),
        (["table", "colour"], 1, "unknown key table.colour"),
        (["table", "title"], None, "table.title is missing"),
        (["table", "title"], 1, "table.title must be a valid string, got 1"),
        (["table", "base", "n_filtres"], 8, "unknown key table.base.n_filtres"),
        (["table", "base", "seed"], 8, "unknown key table.base.seed"),
        (
            ["table", "base", "n_filters"],
            "8",
            "table.base.n_filters must be a valid integer, got '8'",
        ),
        (
            ["table", "base", "n_filters"],
            True,
            "table.base.n_filters must be a valid integer, got T",
        ),
        (["table", "base", "lr"], True, "table.base.lr must be a valid number, got True"),
        (["table", "base", "lr"], math.inf, "table.base.lr must be a finite number, got inf"),
        (["table", "base", "sort"], "no", "table.base.sort must be a valid boolean, got 'no'"),
        (["table", "base"], [1], r"table.base must be a valid dictionary, got \[1\]"),
        (["table", "rows"], [1], r"table.rows must be a valid dictionary, got \[1\]"),
        (["table", "rows"], {}, "table.rows must be .* at least 1 item.*, got {}"),
        (["table", "rows", "A row"], {}, f"{BAD_NAME}'A row'"),
        (["table", "rows", "stft_b"], {}, f"{BAD_NAME}'stft_b'"),
        (["table", "rows", 1], {}, "table.rows.1.*must be a valid string, got 1"),
        (ROW, 3, "table.rows.plain must be a valid dictionary, got 3"),
        ([*ROW, "lable"], "", "unknown key table.rows.plain.lable"),
        ([*ROW, "label"], None, "table.rows.plain.label is missing"),
        ([*ROW, "set", "decodr"], "", "unknown key table.rows.plain.set.decodr"),
        ([*ROW, "set", "stft_n_fft"], 64, "unknown key table.rows.plain.set.stft_n_fft"),
        ([*ROW, "paper", "sdr"], 1, "unknown key table.rows.plain.paper.sdr"),
        (
            [*ROW, "paper", "si_sdr"],
            "x",
            "table.rows.plain.paper.si_sdr must be a valid number, got",
        ),
        (["table", "stft"], {}, "table.stft must be .* at least 1 item.*, got {}"),
        (["table", "stft"], 3, "table.stft must be a valid dictionary, got 3"),
        (
            ["table", "stft", "plain"],
            {},
            "name of a row must be .*, and begin with stft_, got 'plain'",
        ),
        ([*STFT, "set"], {"n_filters": 8}, "unknown key table.stft.stft_plain.set.n_filters"),
        ([*STFT, "set"], {"pretrained": "a"}, "unknown key table.stft.stft_plain.set.pretrained"),
        (
            [*STFT, "set"],
            {"stft_n_fft": 2.5},
            "table.stft.stft_plain.set.stft_n_fft must be a valid integer, got 2.5",
        ),
        ([*STFT, "label"], None, "table.stft.stft_plain.label is missing"),
        (["other"], {}, "other.title is missing"),
        (["table", "report_row"], 1, "table.report_row must be a valid string, got 1"),
        *[
            (
                ["table", "report_row"],
                row,
                "table.report_row must be one of the table's rows that are trained, got",
            )
            for row in ("curved", "stft_plain")
        ],
    ],
)
def test_tables_that_make_no_sense(tmp_path, run_tables, path, value, message):
    file = write_yaml(tmp_path / "bad.yml", changed(*path, value=value))
    runner = Runner()
    with pytest.raises(SystemExit, match=f"^tables.py: {file}: {message}[^\n]*$"):
        run_tables(tables=file, runner=runner)
    assert runner.calls == [] and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ([], dict(table="tabel"), "table must be one of 'table', got 'tabel'"),
        ([], dict(tables="none.yml"), "none.yml not found: expected a YAML configuration"),
        ([], dict(data_dir="none"), "none/manifest.json not found: prepare the data first"),
        (
            ["--rows", "plain", "curved"],
            {},
            "row must be one of 'plain', 'squared', 'stft_plain', got 'curved'",
        ),
        (["--rows", "plain", "plain"], {}, "row must be given once, got 'plain'"),
        (["--seeds", "0", "x"], {}, "seed must be an integer, 0 or more, got 'x'"),
        (["--seeds", "4294967296"], {}, "seed must be at most 4294967295, got 4294967296"),
        (["--seeds=-1"], {}, "seed must be an integer, 0 or more, got '-1'"),
        (["--seeds", "1", "01"], {}, "seed must be given once, got 1"),
        (["--shard", "3/2"], {}, "shard must be i/n with i from 1 to n, got '3/2'"),
        (["--shard", "0/2"], {}, "shard must be i/n with i from 1 to n, got '0/2'"),
        (["--shard", "1"], {}, "shard must be i/n with i from 1 to n, got '1'"),
        (["--shard", "x"], {}, "shard must be i/n with i from 1 to n, got 'x'"),
        (["--decoder", "cos"], {}, "decoder cannot be given: rows of table set it"),
        (["--seed", "0"], {}, "seed cannot be given: --seeds gives it"),
        (
            ["--num_nodes", "2"],
            {},
            "num_nodes must be 1: over several nodes, start train.py on each",
        ),
    ],
)
def test_options_that_make_no_sense(tmp_path, run_tables, arguments, options, message):
    runner = Runner()
    with pytest.raises(SystemExit, match=f"^tables.py: {message}[^\n]*$"):
        run_tables(*arguments, runner=runner, **options)
    assert runner.calls == [] and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "conf, message",
    [
        ({"filterbank": {"decoder": "cos"}}, "decoder cannot be given: rows of table set it"),
        ({"optim": {"lr": "fast"}}, ".*conf.yml: optim.lr must be a valid number, got 'fast'"),
    ],
)
def test_configuration_that_does_not_go_with_the_table(tmp_path, run_tables, conf, message):
    with pytest.raises(SystemExit, match=f"^tables.py: {message}[^\n]*$"):
        run_tables(conf=write_yaml(tmp_path / "conf.yml", conf))
