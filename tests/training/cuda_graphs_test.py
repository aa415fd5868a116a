"""Recorded steps of a training are those that are not recorded."""

import contextlib
import copy
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from trainings import fit, make_system, state_of, write_tracks

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.training import cuda_graphs
from asteroid_sinudae.training.cuda_graphs import CudaGraphs
from asteroid_sinudae.training.dae_system import DAESystem
from asteroid_sinudae.training.objectives import (
    Additivity,
    Bandwidth,
    MaskAware,
    Reconstruction,
    Sinkhorn,
    TotalVariation,
)
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


def test_each_kind_is_recorded_once_for_parameters_where_they_are(monkeypatch):
    recorded = []

    def record(function, model, tensors):
        assert torch.is_autocast_cache_enabled() is False
        recorded.append(tensors)
        return function

    monkeypatch.setattr(cuda_graphs, "_Recording", record)
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
    model.bias.requires_grad_(False)
    graphs(values, values)
    assert len(recorded) == 4
    model.weight = nn.Parameter(model.weight.data)  # another in the same memory
    graphs(values, values)
    assert len(recorded) == 5
    graphs(values, values[:1])
    assert len(recorded) == 6
    with torch.no_grad():
        graphs(values[:1], values[:1])
    assert len(recorded) == 6
    assert copy.deepcopy(graphs)._recorded == {}
    for dtype, number in ((torch.bfloat16, 7), (torch.float16, 7)):  # other operations
        with cuda_autocast(dtype):
            graphs(values, values)
            graphs(values, values)
        assert len(recorded) == number
    assert not torch.is_autocast_enabled("cuda")


@contextlib.contextmanager
def cuda_autocast(dtype):
    """Autocast of CUDA devices, without one, too."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    try:
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", dtype)
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def test_what_cannot_be_recorded(monkeypatch):
    recorded = []

    def record(function, model, tensors):
        if len(recorded) == 1:
            raise torch.OutOfMemoryError("no memory\nand more")
        recorded.append(tensors)
        return lambda *tensors: pytest.fail("a recording that should be gone")

    monkeypatch.setattr(cuda_graphs, "_Recording", record)
    model = nn.Linear(3, 3)
    graphs = CudaGraphs(scaled(model), model)
    with pytest.raises(pytest.fail.Exception):
        graphs(torch.randn(2, 3), torch.randn(2, 3))
    tensors = torch.randn(4, 3), torch.randn(4, 3)
    with pytest.warns(UserWarning, match="^Training without CUDA graphs.*: no memory$"):
        found = graphs(*tensors)
    assert torch.equal(found[0], scaled(model)(*tensors)[0])
    graphs(*tensors)  # warned once, and what was recorded before has given back its memory
    graphs(torch.randn(2, 3), torch.randn(2, 3))
    assert copy.deepcopy(graphs)(*tensors)[0] == found[0]


def test_gradients_that_are_recorded():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[0].bias.requires_grad_(False)
    of_first = scaled(model[0])  # the last layer has no gradient
    values, weights = torch.randn(2, 4, 3)
    compute = cuda_graphs._Gradients(of_first, model)
    weight = model[0].weight
    leaf = compute.leaves[weight]
    assert leaf is not weight and leaf.data_ptr() == weight.data_ptr()
    for _ in range(2):
        loss, _ = of_first(values, weights)
        (expected,) = torch.autograd.grad(loss, [model[0].weight], retain_graph=True)
        (found, mean), gradients = compute([values, weights])
        assert torch.equal(found, loss.detach()) and not found.requires_grad
        assert torch.equal(mean, values.mean())
        assert torch.equal(gradients[0], expected) and gradients[1:] == (None,)
        recording = SimpleNamespace(loss=found, gradients=[gradients[0]], replays=1)
        loss = cuda_graphs._WithGradients.apply(recording, model[0].weight)
        (2 * loss).backward(retain_graph=True)
        assert torch.equal(model[0].weight.grad, 2 * expected)
        model[0].weight.grad = None
        with torch.no_grad():
            model[0].weight.mul_(1.5)  # which the next call sees
    recording.replays += 1
    with pytest.raises(RuntimeError, match="a later loss was computed"):
        loss.backward()


def test_gradients_of_modules_with_several_names():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = self.first
            self.third = nn.Linear(3, 3)
            self.third.weight = self.first.weight

        def forward(self, values):
            return (self.third(self.second(self.first(values))).square().sum(),)

    model = Twice()
    parameters = list(model.parameters())
    values = torch.randn(4, 3)
    expected = torch.autograd.grad(model(values)[0], parameters)
    _, gradients = cuda_graphs._Gradients(model, model)([values])
    torch.testing.assert_close(gradients, expected)
    assert all(now is before for now, before in zip(model.parameters(), parameters, strict=True))
    assert model.second is model.first and model.third.weight is model.first.weight


def test_a_cpu_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_Recording", None)
    system = make_system(write_tracks(tmp_path / "data"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not system.replays(torch.randn(2, 1, 500))
    fit(system, tmp_path, max_epochs=1, precision="bf16-mixed")


def test_what_a_recording_of_steps_depends_on(tmp_path, monkeypatch):
    class Other(Reconstruction):
        """Its weight may change."""

    on_gpu = SimpleNamespace(is_cuda=True)
    tracks = write_tracks(tmp_path / "data")
    assert not make_system(tracks, objectives=[Other()]).replays(on_gpu)
    system = make_system(tracks)
    assert system.replays(on_gpu)
    system._trainer = SimpleNamespace(world_size=2)
    assert not system.replays(on_gpu)
    system._trainer = None
    monkeypatch.setattr(cuda_graphs, "_Recording", lambda function, *_: function)
    monkeypatch.setattr(DAESystem, "replays", lambda *_: True)
    batch = torch.randn(3, 4, 1, 500)
    seen = []
    for noise_std in (0.0, 0.0, 0.5, 0.0):
        system.noise_std = noise_std
        loss, _ = system.loss_of_step(*batch)
        assert loss == system.sum_and_losses(*batch)[0]
        seen.append(system._graphs)
    assert len(set(seen)) == 3 and seen[0] is seen[1]
    monkeypatch.undo()
    fit(system, tmp_path, max_epochs=1)
    assert system._graphs is None  # what was recorded before has given back its memory


@needs_cuda
@pytest.mark.parametrize("is_half", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.filterwarnings("error")
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
            (2 * loss).backward()
            gradients = [each.grad.clone() for each in model.parameters()]
            results.append([loss, mean, *gradients])
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
        options = dict(accelerator="cuda", devices=1, accumulate_grad_batches=2)
        fit(system, tmp_path, precision=precision, **options)
        assert len(seen) == 9 and all(seen)
        states.append(state_of(system))
    for name, value in states[0].items():
        expected = states[1][name]
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance / 10, msg=name)


@needs_cuda
@pytest.mark.parametrize("objective", [TotalVariation(0.5), MaskAware(1.0), Additivity(1.0)])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.filterwarnings("error")
def test_objectives_on_cuda(tmp_path, objective, norm):
    objectives = [Reconstruction(), TotalVariation(0.5, norm=norm), Bandwidth(0.1)]
    objectives += [objective] if objective.needs_matched else []
    tracks = write_tracks(tmp_path / "data")
    system = make_system(tracks, matched=True, objectives=objectives).cuda()
    graphs = CudaGraphs(system.sum_and_losses, system.model)
    for is_silent in (False, True, False):
        batch = torch.randn(3, 4, 1, 500, device="cuda")
        batch[:, 0] *= not is_silent
        results = []
        for function in (system.sum_and_losses, graphs):
            system.zero_grad()
            loss, losses = function(*batch)
            loss.backward()
            results.append([loss, losses, *(each.grad for each in system.model.parameters())])
        for found, expected in zip(*results[::-1], strict=True):
            assert (found - expected).norm() <= 1e-4 * expected.norm()


@needs_cuda
def test_what_waits_for_the_gpu_is_not_recorded(tmp_path):
    objectives = [Reconstruction(), Sinkhorn(0.2)]
    system = make_system(write_tracks(tmp_path / "data"), objectives=objectives)
    options = dict(max_epochs=1, precision="bf16-mixed", accelerator="cuda", devices=1)
    with pytest.warns(UserWarning, match="Training without CUDA graphs.*: called a synchronizing"):
        fit(system, tmp_path, **options)
    assert torch.randn(3, device="cuda").isfinite().all()  # PyTorch is as it was
    assert torch.cuda.get_sync_debug_mode() == 0


@needs_cuda
@pytest.mark.filterwarnings("error")
def test_other_threads_may_take_memory_meanwhile():
    model = SinuDAE(**SIZES["whole"]).cuda()
    taken = []

    def take_memory():
        taken.append(torch.empty(2**20 * (1 + len(taken))).pin_memory())  # more than there is

    def loss_of(wav):
        other = threading.Thread(target=take_memory)
        other.start()
        other.join()
        return (model(wav).square().mean(),)

    wav = torch.randn(2, 1, 2000, device="cuda")
    (loss,) = CudaGraphs(loss_of, model)(wav)
    torch.testing.assert_close(loss, loss_of(wav)[0])
    assert len(taken) == cuda_graphs.WARM_UPS + 2
