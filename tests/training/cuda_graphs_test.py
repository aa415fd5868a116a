"""Recorded steps of a training are those that are not recorded."""

import copy

import pytest
import torch
from torch import nn
from trainings import fit, make_system, state_of, write_tracks

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.training.cuda_graphs import CudaGraphs
from asteroid_sinudae.training.dae_system import DAESystem
from asteroid_sinudae.training.objectives import Reconstruction, Sinkhorn
from asteroid_sinudae.training.sorting import sort_channels

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SIZES = {
    "whole": dict(n_filters=64, kernel_size=256, stride=64),
    "compact": dict(
        n_filters=64, kernel_size=64, stride=16, smooth_groups=64, init="multires", compact=True
    ),
}


def scaled(model):
    return lambda values, weights: ((model(values) * weights).sum(), values.mean())


def test_each_shape_is_recorded_once_for_parameters_where_they_are(monkeypatch):
    recorded = []

    def record(module, tensors):
        assert list(module.parameters()) == list(model.parameters())
        assert torch.is_autocast_cache_enabled() is False
        recorded.append(tensors)
        return module

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    model = nn.Linear(3, 3)
    graphs = CudaGraphs(scaled(model), model)
    for length in (4, 4, 2, 4, 2):
        tensors = torch.randn(length, 3), torch.randn(length, 3)
        for found, expected in zip(graphs(*tensors), scaled(model)(*tensors), strict=True):
            torch.testing.assert_close(found, expected)
    assert [len(values) for values, _ in recorded] == [4, 2]
    values = torch.randn(2, 3)
    model.weight.data = model.weight.data.clone()  # elsewhere in memory
    graphs(values, values)
    assert len(recorded) == 3
    assert recorded[-1][0] is not values and torch.equal(recorded[-1][0], values)
    assert copy.deepcopy(graphs)._recorded == {}
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    graphs(values, values)  # in another precision, other operations are started
    graphs(values, values)
    assert len(recorded) == 4


def test_what_cannot_be_recorded(monkeypatch):
    def fail(module, tensors):
        raise torch.OutOfMemoryError("no memory\nand more")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fail)
    model = nn.Linear(3, 3)
    graphs = CudaGraphs(scaled(model), model)
    tensors = torch.randn(4, 3), torch.randn(4, 3)
    with pytest.warns(UserWarning, match="^Training without CUDA graphs.*: no memory$"):
        found = graphs(*tensors)
    assert torch.equal(found[0], scaled(model)(*tensors)[0])
    graphs(*tensors)  # warned once


def test_a_cpu_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", None)
    system = make_system(write_tracks(tmp_path / "data"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not system.replays(torch.randn(2, 1, 500))
    fit(system, tmp_path, max_epochs=1, precision="bf16-mixed")


@needs_cuda
@pytest.mark.parametrize("is_half", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_losses_and_gradients_on_cuda(size, is_half):
    torch.manual_seed(0)
    model = SinuDAE(**SIZES[size]).cuda()

    def loss_of(vocals, noise):
        return (model(vocals + noise) - vocals).float().square().mean(), noise.mean()

    graphs = CudaGraphs(loss_of, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    tolerance = 1e-3 if is_half else 1e-5
    for batch in (4, 4, 3, 4):
        vocals, noise = torch.randn(2, batch, 1, 2000, device="cuda")
        results = []
        for function in (loss_of, graphs):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=is_half):
                loss, mean = function(vocals, noise)
            loss.backward()
            gradients = [each.grad.clone() for each in model.parameters()]
            results.append([loss.detach().clone(), mean.clone(), *gradients])
            del loss  # of a loss whose gradients may still be asked for, nothing can be recorded
        for found, expected in zip(*results[::-1], strict=True):
            assert (found - expected).norm() <= tolerance * expected.norm() + 1e-6
        optimizer.step()
        with torch.no_grad():
            model.decoder.filterbank.frequency[:2] = model.decoder.filterbank.frequency[:2].flip(0)
        sort_channels(model, optimizer)


@needs_cuda
@pytest.mark.parametrize("precision, tolerance", [("bf16-mixed", 1e-2), ("32-true", 1e-4)])
@pytest.mark.filterwarnings("error:Training without CUDA graphs")
def test_a_training_on_cuda(tmp_path, monkeypatch, precision, tolerance):
    tracks = write_tracks(tmp_path / "data")
    states = []
    replays = DAESystem.replays
    for is_replayed in (True, False):
        seen = []

        def noted(self, vocals, seen=seen, is_replayed=is_replayed):
            seen.append(replays(self, vocals))
            return seen[-1] and is_replayed

        monkeypatch.setattr(DAESystem, "replays", noted)
        system = make_system(tracks)
        # Each epoch ends with a smaller batch.
        fit(system, tmp_path, precision=precision, accelerator="cuda", devices=1)
        assert len(seen) == 9 and all(seen)
        states.append(state_of(system))
    for name, value in states[0].items():
        torch.testing.assert_close(
            value, states[1][name], rtol=tolerance, atol=tolerance / 10, msg=name
        )


@needs_cuda
def test_an_objective_that_waits_for_the_gpu_is_not_recorded(tmp_path):
    objectives = [Reconstruction(), Sinkhorn(0.2)]
    system = make_system(write_tracks(tmp_path / "data"), objectives=objectives)
    fit(system, tmp_path, max_epochs=1, precision="bf16-mixed", accelerator="cuda", devices=1)
