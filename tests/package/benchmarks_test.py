"""The benchmarks: they compare equal functions, run at any size, and refuse impossible ones."""

import json
import sys
from importlib.metadata import version

import pytest
import torch
from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import run  # noqa: E402
import suites  # noqa: E402

SIZES = dict(n_filters=12, kernel_size=40, stride=12)
OPTIONS = [f"--{name}={value}" for name, value in SIZES.items()] + ["--batch_size=2", "--rounds=1"]
OPTIONS += ["--seconds=0.1", "--audio_seconds=0.2", "--song_seconds=0.2", "--device=cpu"]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    def call(*options):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["run.py", *OPTIONS, *options])
        threads = torch.get_num_threads()
        try:
            run.main()
        finally:
            torch.set_num_threads(threads)
        return capsys.readouterr().out

    return call


def make_setting(**changes):
    setting = suites.Setting(SIZES, 2, 0.1, 0.2, 0.2, 1, torch.device("cpu"), ("fp32",))
    return setting._replace(**changes)


@pytest.mark.parametrize("smooth_groups", [1, 12])
@pytest.mark.parametrize("kernel_size, stride", [(40, 12), (40, 8), (41, 7), (16, 16)])
def test_what_is_compared_is_the_same_function(kernel_size, stride, smooth_groups):
    sizes = dict(n_filters=12, kernel_size=kernel_size, stride=stride, smooth_groups=smooth_groups)
    pairs = suites.make_pairs(make_setting(sizes=sizes))
    wav = torch.randn(2, 1, 333)
    results = {}
    for name, pair in pairs.items():
        estimate = pair.decode(pair.encode(wav), 333)
        weights = torch.linspace(-1, 1, 333)
        (weights * estimate).sum().backward()
        gradients = [parameter.grad for parameter in pair.parameters()]
        assert all(gradient.abs().max() > 0 for gradient in gradients)
        results[name] = [estimate, *sorted(gradients, key=lambda g: (g.numel(), g.norm().item()))]
    for name in ("Asteroid", "PyTorch"):
        for other, ours in zip(results[name], results["ours"], strict=True):
            atol = 1e-5 * ours.abs().max().item()
            torch.testing.assert_close(other, ours, rtol=1e-5, atol=atol)


def test_steps_of_all_pairs_lose_as_much():
    setting = make_setting(precisions=("fp32",))
    losses = {}
    for name, pair in suites.make_pairs(setting).items():
        step = suites.make_step(pair, setting, "fp32")
        losses[name] = [step(lambda part: None).item() for _ in range(3)]
    assert losses["Asteroid"] == pytest.approx(losses["ours"], rel=1e-4)
    assert losses["PyTorch"] == pytest.approx(losses["ours"], rel=1e-4)
    assert losses["ours"][0] != losses["ours"][2]


def test_operations_of_a_step_are_those_of_its_products():
    setting = make_setting()
    frames = -(-4410 // 12)
    analysis = 2 * 4 * frames * 12 * 40  # of vocals and mixture, two signals each
    smoothing = 2 * 4 * frames * 12 * 12 * 5
    synthesis = 2 * 2 * frames * 12 * 40  # of vocals
    # Backward: both operands' gradients, but none of the waveform.
    expected = 2 * analysis + 3 * smoothing + 3 * synthesis
    assert suites.step_flops(setting) == pytest.approx(expected, rel=0.05)


def test_all_suites(call, tmp_path):
    out = call("--threads=1", "--profile=trace.json", "--output=figures.json")
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["tables"].keys() == set(suites.SUITES)
    assert content["arguments"]["n_filters"] == "12" and content["threads"] == 1
    assert content["versions"]["torch"] == version("torch")
    steps = {(row["measured"], row["part"]): row for row in content["tables"]["training"]}
    parts = ["forward", "backward", "optimiser", "sorting", "total"]
    assert [part for pair, part in steps if pair == "ours, fp32"] == parts
    times = [steps["ours, fp32", part]["median (ms)"] for part in parts]
    # Medians of parts need not add up to that of the whole, but none exceeds it.
    assert 0 < min(times) and max(times) == times[-1]
    assert steps["matrix product, fp32", "total"]["of the machine's rate (%)"] == pytest.approx(100)
    assert {row["kept on"] for row in content["tables"]["loading"]} == {"disk", "cpu"}
    assert all(row["kept (MB)"] > 0 for row in content["tables"]["memory"])
    starts = {row["command"]: row for row in content["tables"]["start"]}
    needs_torch = starts['python -c "import torch"']
    memory = "peak memory (MB)"
    assert starts["sinudae --help"][memory] < needs_torch[memory] < starts["sinudae info"][memory]
    assert all(row["processor (s)"] > 0 for row in starts.values())
    assert all(row["songs a minute"] > 0 for row in content["tables"]["songs"])
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert "## codec" in out and "figures.json: what was measured" in out


def test_without_matrix_units(call, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "has_bf16_units", lambda: False)
    out = call("--suites=codec")
    left_out = "bf16, as this machine has no matrix units for it"
    assert f"Left out: {left_out}" in out
    content = json.loads((tmp_path / "benchmarks.json").read_text())
    assert left_out in content["left_out"]
    assert {row["measured"].split(", ")[1] for row in content["tables"]["codec"]} == {"fp32"}


@pytest.mark.parametrize(
    "option, message",
    [
        ("--stride=41", "stride must be at most kernel_size, got 41"),
        ("--stride=0", "stride must be an integer of at least 1, got 0"),
        ("--n_filters=0", "n_filters must be an integer of at least 1, got 0"),
        ("--batch_size=0", "batch_size must be at least 1, got 0"),
        ("--rounds=0", "rounds must be at least 1, got 0"),
        ("--threads=0", "threads must be at least 1, got 0"),
        ("--seconds=0", "seconds must be positive and less than ten hours, got 0.0"),
        ("--audio_seconds=1e9", "audio_seconds must be positive and less than ten hours"),
    ],
)
def test_impossible_sizes(call, option, message):
    with pytest.raises(ValueError, match=message):
        call(option)
