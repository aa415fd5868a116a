import copy

import numpy as np
import pytest
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.losses import neg_snr
from asteroid_sinudae.training import sorting
from asteroid_sinudae.training.sorting import sort_channels

SMALL = dict(n_filters=10, kernel_size=64, stride=16, sample_rate=16000)


def shuffled_model(encoder, decoder, exponent, smooth_groups):
    torch.manual_seed(0)
    model = SinuDAE(encoder, decoder, exponent=exponent, smooth_groups=smooth_groups, **SMALL)
    with torch.no_grad():
        frequency = model.decoder.filterbank.frequency
        frequency.copy_(torch.rand_like(frequency) - 0.5)  # negative ones count by their size
    return model


def update(model, optimizer, wav):
    optimizer.zero_grad()
    loss = neg_snr(model(wav), wav)
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("smooth_groups, fused", [(1, False), (1, True), (10, True)])
@pytest.mark.parametrize("encoder", ["conv_smooth", "sinc_smooth"])
@pytest.mark.parametrize("decoder, exponent", [("mod_cos", 2), ("mod_cos", 1), ("cos", 2)])
def test_sorting_changes_neither_the_output_nor_later_updates(
    encoder, decoder, exponent, smooth_groups, fused
):
    model = shuffled_model(encoder, decoder, exponent, smooth_groups)
    wav = 0.1 * torch.randn(4, 1, 800)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    for _ in range(3):
        update(model, optimizer, wav)
    twin = copy.deepcopy(model)
    twin_optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3, fused=fused)
    twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    before = model.encode(wav)
    carriers = model.decoder.filterbank.carrier_frequencies()
    assert sort_channels(model, optimizer)
    order = carriers.argsort()
    assert not torch.equal(order, torch.arange(10))
    sorted_carriers = model.decoder.filterbank.carrier_frequencies()
    assert torch.equal(sorted_carriers, carriers[order]) and (sorted_carriers.diff() >= 0).all()
    torch.testing.assert_close(model.encode(wav), before[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(model(wav), twin(wav), rtol=0, atol=1e-5)

    for _ in range(3):  # moments that had stayed behind would show in the next updates
        loss, twin_loss = update(model, optimizer, wav), update(twin, twin_optimizer, wav)
        assert loss == pytest.approx(twin_loss, abs=1e-4)
    torch.testing.assert_close(model(wav), twin(wav), rtol=0, atol=2e-5)
    torch.testing.assert_close(
        model.decoder.filterbank.phase, twin.decoder.filterbank.phase[order], rtol=0, atol=1e-5
    )
    expected = twin.encoder.filterbank.smooth_weight[order]
    if smooth_groups == 1:
        expected = expected[:, order]
    torch.testing.assert_close(
        model.encoder.filterbank.smooth_weight,
        expected,
        rtol=0,
        atol=1e-5,
    )


def sorted_with_moments(model, wav):
    """Tensors of a model and its optimiser after two updates and sorting, by their names."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for _ in range(2):
        update(model, optimizer, wav)
    before = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    assert sort_channels(model, optimizer)
    return before, [*model.state_dict().values(), *moments(optimizer)]


def moments(optimizer):
    return [each for state in optimizer.state.values() for each in state.values()]


@pytest.mark.parametrize("encoder", ["conv_smooth", "sinc_smooth"])
@pytest.mark.parametrize("smooth_groups", [1, 10])
@pytest.mark.parametrize("decoder", ["mod_cos", "cos"])
def test_the_permutation_that_gpus_take(encoder, decoder, smooth_groups, monkeypatch):
    model = shuffled_model(encoder, decoder, 2, smooth_groups)
    wav = 0.1 * torch.randn(4, 1, 800)
    (twin, state), expected = sorted_with_moments(model, wav)
    optimizer = torch.optim.Adam(twin.parameters(), fused=True)
    optimizer.load_state_dict(state)
    addresses = [each.data_ptr() for each in [*twin.state_dict().values(), *moments(optimizer)]]
    monkeypatch.setattr(sorting, "_permute_moved", sorting._permute_whole)
    assert sort_channels(twin, optimizer)
    found = [*twin.state_dict().values(), *moments(optimizer)]
    assert addresses == [each.data_ptr() for each in found]  # in place
    for tensor, other in zip(found, expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=0)


def test_the_permutation_that_gpus_take_of_compact_kernels(monkeypatch):
    monkeypatch.setattr(sorting, "_permute_moved", sorting._permute_whole)
    sizes = dict(n_filters=192, kernel_size=256, stride=32, sample_rate=16000.0)
    bands = "256x4:1000:400 128x4:2000:400 64x4:4000:400 64x2:8000"
    model = SinuDAE(**sizes, init="multires", bands=bands, compact=True)
    with torch.no_grad():
        model.decoder.filterbank.frequency.copy_(torch.rand(192, 1, 1))
    wav = 0.1 * torch.randn(2, 1, 800)
    before, carriers = model.encode(wav), model.decoder.filterbank.carrier_frequencies()
    assert sort_channels(model)
    torch.testing.assert_close(model.encode(wav), before[:, carriers.argsort()])
    assert not sort_channels(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sorting_on_cuda():
    model = shuffled_model("conv_smooth", "mod_cos", 2, 1).cuda()
    wav = 0.1 * torch.randn(4, 1, 800, device="cuda")
    (twin, state), found = sorted_with_moments(model, wav)
    twin.cpu()
    optimizer = torch.optim.Adam(twin.parameters(), fused=True)
    optimizer.load_state_dict(state)
    assert sort_channels(twin, optimizer)
    expected = [*twin.state_dict().values(), *moments(optimizer)]
    for tensor, other in zip(found, expected, strict=True):
        torch.testing.assert_close(tensor.cpu(), other.cpu(), rtol=0, atol=0)


def test_sorted_channels_stay_untouched():
    model = SinuDAE(**SMALL)
    before = copy.deepcopy(model.state_dict())
    assert not sort_channels(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def tied_model(frequencies, **sizes):
    torch.manual_seed(0)
    model = SinuDAE(**{**SMALL, **sizes, "n_filters": len(frequencies)})
    with torch.no_grad():
        model.decoder.filterbank.frequency.copy_(torch.tensor(frequencies).view(-1, 1, 1))
    return model


@pytest.mark.parametrize("frequencies", [[0.1, 0.1, 0.2, 0.2], [0.0, 0.1, -0.1, 0.1, 0.3], [0.2]])
def test_tied_carriers_are_in_order(frequencies):
    model = tied_model(frequencies)
    before = copy.deepcopy(model.state_dict())
    assert not sort_channels(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_tied_carriers_keep_their_order_when_others_move():
    frequencies = np.tile([0.3, -0.1, 0.2, 0.1], 50)
    model = tied_model(frequencies.tolist(), smooth_groups=200)
    before = copy.deepcopy(model.state_dict())
    assert sort_channels(model)
    # By carrier, and by place where carriers are tied.
    order = sorted(range(200), key=lambda channel: (abs(frequencies[channel]), channel))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][order]), name
    assert not sort_channels(model)


def test_decoder_without_carriers():
    with pytest.raises(
        ValueError, match="needs a decoder with carrier frequencies .*got conv_tanh"
    ):
        sort_channels(SinuDAE(decoder="conv_tanh", **SMALL))
