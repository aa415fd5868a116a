"""Learning rates that are fractions of each tensor's size."""

import math

import numpy as np
import pytest
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.training.sorting import sort_channels
from asteroid_sinudae.training.step_sizes import relative_groups

SMALL = dict(n_filters=12, kernel_size=64, stride=16, sample_rate=44100)


def rates(model, lr=0.004):
    """Learning rates by the names of tensors."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = relative_groups(model, lr)
    assert all(len(group["params"]) == 1 for group in groups)
    by_name = {names[group["params"][0]].split(".")[-1]: group["lr"] for group in groups}
    assert len(groups) == len(names) == len(by_name) or "conv" in model.get_model_args()["decoder"]
    return by_name


def rms(parameter):
    return np.sqrt((parameter.detach().double().numpy() ** 2).mean())


def test_rates_are_fractions_of_the_size():
    torch.manual_seed(0)
    model = SinuDAE(**SMALL)
    found = rates(model)
    for name in ("_filters", "smooth_weight"):
        parameter = model.encoder.filterbank.get_parameter(name)
        assert found[name] == pytest.approx(0.004 * rms(parameter), rel=1e-5)
    assert found["modulator"] == pytest.approx(0.004 / (12 + 64))
    assert found["phase"] == 0.004
    assert rates(model, 0.008) == pytest.approx({name: 2 * lr for name, lr in found.items()})


def test_rates_of_each_tensor_of_an_unmodulated_pair():
    model = SinuDAE("sinc_smooth", "conv", **SMALL)
    assert len(relative_groups(model, 0.1)) == len(list(model.parameters()))
    found = rates(model)
    assert found["window"] == pytest.approx(0.004 * rms(model.encoder.filterbank.window))
    # An edge of one more radian at the ends of a kernel, which is counted from its centre.
    assert found["low"] == found["band"] == pytest.approx(0.004 / (2 * math.pi * 64 / 2))


@pytest.mark.parametrize("exponent", [1, 2])
def test_one_step_turns_the_middle_of_no_kernel_by_more_than_lr(exponent):
    lr = 0.01
    model = SinuDAE(exponent=exponent, **SMALL)
    decoder = model.decoder.filterbank
    before = decoder.frequency.detach().double().flatten()
    step = rates(model, lr)["frequency"]
    turned = 2 * math.pi * 32 * ((before + step) ** exponent - before**exponent)
    assert turned.max().item() == pytest.approx(lr, rel=1e-3)  # 2 L/2: the step's square is small
    assert (turned > 0).all()


def test_smoothing_of_zeros_has_the_size_of_pytorch_s_start():
    torch.manual_seed(0)
    model = SinuDAE(n_filters=200, kernel_size=16, stride=8, sample_rate=44100)
    usual = rates(model)["smooth_weight"]
    with torch.no_grad():
        model.encoder.filterbank.smooth_weight.zero_()
    found = rates(model)["smooth_weight"]
    assert found == pytest.approx(0.004 / math.sqrt(3 * 200 * 5))
    assert found == pytest.approx(usual, rel=0.01)


def test_depthwise_smoothing_of_zeros():
    model = SinuDAE(**SMALL)
    model.encoder.filterbank.smooth_weight = torch.nn.Parameter(torch.zeros(12, 1, 5))
    assert rates(model)["smooth_weight"] == pytest.approx(0.004 / math.sqrt(3 * 5))


def test_an_update_of_adam_moves_each_tensor_by_its_rate():
    torch.manual_seed(0)
    model = SinuDAE(**SMALL)
    found = rates(model, lr=0.01)
    optimizer = torch.optim.Adam(relative_groups(model, 0.01), fused=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wav = 10 * torch.randn(4, 1, 800)
    (model(wav) - wav).square().sum().backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        moved = (value - before[name]).abs().max().item()
        assert moved == pytest.approx(found[name.split(".")[-1]], rel=0.01), name


def test_sorting_permutes_the_moments_of_all_groups():
    torch.manual_seed(0)
    model = SinuDAE(**SMALL)
    with torch.no_grad():
        model.decoder.filterbank.frequency.copy_(torch.rand(12, 1, 1))
    optimizer = torch.optim.Adam(relative_groups(model, 0.01), fused=True)
    model(torch.randn(2, 1, 800)).square().sum().backward()
    optimizer.step()
    phase = model.decoder.filterbank.phase
    order = model.decoder.filterbank.carrier_frequencies().argsort()
    before = optimizer.state[phase]["exp_avg"].clone()
    assert sort_channels(model, optimizer)
    assert torch.equal(optimizer.state[phase]["exp_avg"], before[order])
    assert len(optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("decoder.filterbank.modulator", 0.0, "decoder.*modulator is all zero: lr_relative needs"),
        ("decoder.filterbank.frequency", 0.0, "decoder.*frequency is all zero: lr_relative needs"),
        ("encoder.filterbank._filters", 0.0, "encoder.*_filters is all zero: lr_relative needs"),
        ("encoder.filterbank._filters", np.nan, "encoder.*_filters is not finite: lr_relative"),
        ("decoder.filterbank.phase", np.inf, "decoder.*phase is not finite: lr_relative"),
    ],
)
def test_tensors_without_a_size(name, value, message):
    model = SinuDAE(**SMALL)
    with torch.no_grad():
        model.get_parameter(name).fill_(value)
    with pytest.raises(ValueError, match=message):
        relative_groups(model, 0.004)


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_fractions_that_make_no_sense(lr):
    with pytest.raises(ValueError, match="lr must be 0 or more and finite, got "):
        relative_groups(SinuDAE(**SMALL), lr)
