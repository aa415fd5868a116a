"""Compact kernels are the function of whole kernels that are zero outside their windows."""

import json

import asteroid_filterbanks
import pytest
import torch
from torch.func import functional_call, grad, jacfwd, jacrev
from torch.nn.utils import prune

from asteroid_sinudae import ConvSmoothFB, ModCosFB, SinuDAE
from asteroid_sinudae.filterbanks import fast_fir, framing
from asteroid_sinudae.filterbanks.compact import check_supports
from asteroid_sinudae.filterbanks.enc_dec import Decoder, Encoder
from asteroid_sinudae.training.sorting import sort_channels

SIZES = dict(n_filters=192, kernel_size=256, stride=32, sample_rate=16000.0, init="multires")
BANDS = "256x4:1000:400 128x4:2000:400 64x4:4000:400 64x2:8000"


def shuffled_pair(**arguments):
    """A compact pair and its whole twin, far from their start, with their channels out of order."""
    torch.manual_seed(0)
    compact = SinuDAE(**SIZES, bands=BANDS, compact=True, **arguments)
    with torch.no_grad():
        for parameter in compact.parameters():
            parameter += 0.1 * parameter.std() * torch.randn_like(parameter)
    sort_channels(compact)
    return compact, whole_twin(compact)


def whole_twin(compact):
    whole = SinuDAE(**{**compact.get_model_args(), "compact": False})
    encoder, decoder = compact.encoder.filterbank, compact.decoder.filterbank
    order = decoder.channel_order
    with torch.no_grad():
        whole.encoder.filterbank._filters.copy_(encoder.filters())
        whole.encoder.filterbank.smooth_weight.copy_(encoder.smooth_weight)
        whole.decoder.filterbank.frequency.copy_(decoder.frequency[order])
        whole.decoder.filterbank.phase.copy_(decoder.phase[order])
        whole.decoder.filterbank.modulator.copy_(decoder.modulators())
    return whole


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("smooth_groups", [1, 192])
@pytest.mark.parametrize("block", [framing.BLOCK, 40])  # frames; with 40, there are many
@pytest.mark.parametrize("shape", [(2, 1, 1001), (1, 1, 20000), (3, 2, 700), (60, 1, 40)])
def test_outputs_and_gradients_are_those_of_whole_kernels(
    shape, block, smooth_groups, pays, monkeypatch
):
    monkeypatch.setattr(fast_fir, "pays", lambda *sizes: pays)
    monkeypatch.setattr(framing, "BLOCK", block)
    pairs = shuffled_pair(smooth_groups=smooth_groups)
    order = pairs[0].decoder.filterbank.channel_order
    assert not torch.equal(order, torch.arange(192))
    wav = 0.1 * torch.randn(shape)
    results = []
    for pair in pairs:
        wav.requires_grad_().grad = None
        rep = pair.encode(wav)
        out = pair.decode(rep, shape[-1])
        weights = torch.Generator().manual_seed(1)
        loss = sum(
            (each * torch.randn(each.shape, generator=weights)).mean() for each in (rep, out)
        )
        loss.backward()
        results.append((rep, out, wav.grad.clone()))
    for found, expected in zip(*results, strict=True):
        close(found, expected)
    compact, whole = pairs
    for side, name in (("encoder", "_filters"), ("decoder", "modulator")):
        ours, theirs = (getattr(pair, side).filterbank for pair in pairs)
        of_whole = getattr(theirs, name).grad
        rows = torch.cat([each for each in of_whole.split(1)])[order.argsort()]
        for (window, number), group in zip(ours.supports, getattr(ours, name), strict=True):
            start = (256 - window) // 2
            expected, rows = rows[:number, :, start : start + window], rows[number:]
            scale = expected.abs().max()
            close(group.grad / scale, expected / scale)
    for name in ("frequency", "phase"):
        ours, theirs = (getattr(pair.decoder.filterbank, name).grad for pair in pairs)
        close(ours[order] / theirs.abs().max(), theirs / theirs.abs().max())


def test_a_compact_pair_has_no_parameters_outside_the_windows():
    compact, whole = shuffled_pair()
    supports = compact.decoder.filterbank.supports
    assert supports == compact.encoder.filterbank.supports
    assert sum(number for _, number in supports) == 192 and supports[0][0] == 256
    inside = sum(window * number for window, number in supports)
    outside = 192 * 256 - inside
    ours, theirs = (sum(p.numel() for p in pair.parameters()) for pair in (compact, whole))
    assert theirs - ours == 2 * outside
    kernels = compact.decoder.filterbank.filters()
    assert int((kernels == 0).sum()) >= outside


def test_the_start_is_that_of_whole_kernels():
    ours, theirs = (SinuDAE(**SIZES, bands=BANDS, compact=value) for value in (True, False))
    for side in ("encoder", "decoder"):
        pair = [getattr(each, side).filterbank for each in (ours, theirs)]
        torch.testing.assert_close(*(each.filters() for each in pair), rtol=0, atol=1e-6)
    carriers = [each.decoder.filterbank.carrier_frequencies() for each in (ours, theirs)]
    assert torch.equal(*carriers) and bool((carriers[0].diff() >= 0).all())


@pytest.mark.parametrize("smooth_groups", [1, 192])
def test_sorting_keeps_the_function_and_every_later_update(smooth_groups):
    pairs = []
    for is_sorted in (True, False):
        torch.manual_seed(0)
        pair = SinuDAE(**SIZES, bands=BANDS, compact=True, smooth_groups=smooth_groups)
        optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
        with torch.no_grad():
            pair.decoder.filterbank.frequency.add_(0.02 * torch.randn(192, 1, 1))
        wav = 0.1 * torch.randn(2, 1, 2000, generator=torch.Generator().manual_seed(2))
        for _ in range(3):
            (pair(wav) - wav).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if is_sorted:
                sort_channels(pair, optimizer)
        pairs.append(pair)
    carriers = pairs[0].decoder.filterbank.carrier_frequencies()
    assert bool((carriers.diff() >= 0).all())
    assert bool((pairs[1].decoder.filterbank.carrier_frequencies().diff() < 0).any())
    torch.testing.assert_close(pairs[0](wav), pairs[1](wav), rtol=1e-4, atol=1e-5)
    assert not sort_channels(pairs[0])


def test_under_the_stock_encoder_and_decoder():
    compact, _ = shuffled_pair()
    wav = 0.1 * torch.randn(2, 1, 4096)
    sides = []
    for encoder, decoder in (
        (asteroid_filterbanks.Encoder, asteroid_filterbanks.Decoder),
        (Encoder, Decoder),
    ):
        enc, dec = encoder(compact.encoder.filterbank), decoder(compact.decoder.filterbank)
        padded = torch.nn.functional.pad(wav, (112, 112)) if encoder is not Encoder else wav
        rep = enc(padded)
        sides.append(
            (rep, dec(rep)[..., -4096 - 112 : -112] if encoder is not Encoder else dec(rep))
        )
    for found, expected in zip(*sides, strict=True):
        close(found, expected)


@pytest.mark.parametrize("strict", [False, True])
def test_trace_and_export(strict):
    compact, _ = shuffled_pair()
    wav = 0.1 * torch.randn(1, 1, 1500)
    expected = compact(wav)
    if strict:
        exported = torch.export.export(compact, (wav,)).module()
        torch.testing.assert_close(exported(wav), expected, rtol=1e-4, atol=1e-5)
    else:
        traced = torch.jit.trace(compact, torch.randn(1, 800))
        torch.testing.assert_close(traced(wav), expected, rtol=1e-4, atol=1e-5)


def test_in_bfloat16():
    compact, whole = shuffled_pair(smooth_groups=192)
    wav = 0.1 * torch.randn(2, 1, 3000)
    results = []
    for pair in (compact, whole):
        with torch.autocast("cpu", torch.bfloat16):
            rep = pair.encode(wav)
            out = pair.decode(rep, 3000)
        assert rep.dtype == out.dtype == torch.bfloat16
        (out.float() - wav).square().sum().backward()
        of_filters = pair.encoder.filterbank._filters
        gradient = of_filters[0].grad if pair is compact else None
        results.append((rep.float(), out.float(), gradient))
    assert results[0][2].isfinite().all() and results[0][2].any()
    for found, expected in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * expected.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pays", [False, True])
def test_a_backward_pass_inside_autocast(dtype, pays, monkeypatch):
    monkeypatch.setattr(fast_fir, "pays", lambda *sizes: pays)
    torch.manual_seed(0)
    synthesis = Decoder(ModCosFB(12, 64, 8, supports=[[64, 4], [16, 8]]))
    rep = torch.rand(1, 12, 100, requires_grad=True)
    inputs = [rep, *synthesis.parameters()]
    loss = synthesis(rep).square().sum()
    expected = torch.autograd.grad(loss, inputs, retain_graph=True)
    with torch.autocast("cpu", dtype):
        found = torch.autograd.grad(loss, inputs)
    torch.testing.assert_close(found[0], expected[0])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= 0.02 * theirs.norm()  # modulators meet autocast


def test_files(tmp_path):
    compact, whole = shuffled_pair(smooth_groups=192)
    torch.save(compact.serialize(), tmp_path / "compact.pth")
    torch.save(whole.serialize(), tmp_path / "whole.pth")
    wav = 0.1 * torch.randn(1, 1, 2000)
    loaded = SinuDAE.from_pretrained(tmp_path / "compact.pth")
    assert torch.equal(loaded(wav), compact(wav))
    sizes = [(tmp_path / f"{name}.pth").stat().st_size for name in ("compact", "whole")]
    assert sizes[0] < 0.75 * sizes[1]


def test_a_file_from_before_there_were_compact_kernels_has_whole_ones():
    _, whole = shuffled_pair()
    package = whole.serialize()
    del package["model_args"]["compact"]
    loaded = SinuDAE.from_pretrained(package)
    assert loaded.get_model_args()["compact"] is False
    wav = torch.randn(1, 1, 1000)
    assert torch.equal(loaded(wav), whole(wav))


@pytest.mark.parametrize(
    "order",
    [
        torch.zeros(192, dtype=torch.int64),
        torch.arange(1, 193),
        torch.arange(191),
        torch.arange(192).float() + 0.5,
    ],
)
def test_an_order_that_is_none_is_refused(order):
    package = SinuDAE(**SIZES, bands=BANDS, compact=True).serialize()
    package["state_dict"]["encoder.filterbank.channel_order"] = order
    with pytest.raises(ValueError, match="channel_order"):
        SinuDAE.from_pretrained(package)


@pytest.mark.parametrize("fb_class", [ConvSmoothFB, ModCosFB])
def test_supports_survive_json(fb_class):
    config = fb_class(12, 64, 16, supports=[[64, 4], [16, 8]]).get_config()
    name = config.pop("fb_name")
    twin = asteroid_filterbanks.get(name)(**json.loads(json.dumps(config)))
    assert twin.supports == ((64, 4), (16, 8))


@pytest.mark.parametrize(
    "supports, message",
    [
        (3, "supports must be pairs of a window's length and a number of kernels, .*got 3"),
        ([[64]], "supports must be pairs"),
        ([[64.0, 12]], "window of supports must be"),
        ([[64, -12]], "number of kernels of supports must be"),
        ([[66, 12]], "window of supports must be at most kernel_size=64, .*got 66"),
        ([[63, 12]], "and both even or both odd, got 63"),
        ([[16, 6], [64, 6]], "windows of supports must be in descending order, .*got"),
        ([[16, 6], [16, 6]], "each one once"),
        ([[64, 6], [16, 5]], "number of all kernels of supports must be n_filters=12, got 11"),
    ],
)
def test_supports_that_do_not_fit_are_refused(supports, message):
    with pytest.raises(ValueError, match=message):
        check_supports(supports, 12, 64)
    with pytest.raises(ValueError, match=message):
        ModCosFB(12, 64, supports=supports)


def test_compact_needs_bands():
    with pytest.raises(ValueError, match="compact must be False, unless init is 'multires', got"):
        SinuDAE(n_filters=12, kernel_size=64, stride=16, compact=True)


def test_a_subclass_with_filters_of_its_own_is_heard():
    class Loud(ModCosFB):
        def filters(self):
            return 2 * super().filters()

    torch.manual_seed(0)
    loud = Loud(12, 64, 16, supports=[[64, 4], [16, 8]])
    plain = ModCosFB(12, 64, 16, supports=[[64, 4], [16, 8]])
    plain.load_state_dict(loud.state_dict())
    rep = torch.rand(1, 12, 9)
    close(Decoder(loud)(rep), 2 * Decoder(plain)(rep))


TINY = dict(n_filters=16, kernel_size=16, stride=4, sample_rate=16000.0, init="multires")
TINY_BANDS = "16x4:2000:400 8x2:8000:400"


@pytest.fixture(params=[(c, g) for c in (False, True) for g in (1, 16)], ids=str)
def tiny(request):
    compact, smooth_groups = request.param
    torch.manual_seed(0)
    pair = SinuDAE(**TINY, bands=TINY_BANDS, compact=compact, smooth_groups=smooth_groups)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return pair


@pytest.mark.parametrize("pays", [False, True])
def test_batched_gradients(tiny, pays, monkeypatch):
    """As many as there are gradients of the waveform, at once and one after the other."""
    monkeypatch.setattr(fast_fir, "pays", lambda *sizes: pays)
    out = tiny(torch.randn(2, 1, 50))
    gradients = torch.randn(3, *out.shape)
    inputs = list(tiny.parameters())
    found = torch.autograd.grad(out, inputs, gradients, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(out, inputs, g, retain_graph=True) for g in gradients]
    for ours, expected in zip(found, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.stack(expected))


def test_plain_tensors_in_the_place_of_parameters(tiny):
    wav = torch.randn(2, 1, 50)
    expected = tiny(wav)
    tensors = {name: value.detach().clone() for name, value in tiny.named_parameters()}
    close(functional_call(tiny, tensors, (wav,)), expected)
    found = grad(lambda tensors: functional_call(tiny, tensors, (wav,)).square().sum())(tensors)
    expected.square().sum().backward()
    for name, parameter in tiny.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-4)


def test_pruned_kernels(tiny):
    held = tiny.decoder.filterbank.modulator
    is_whole = isinstance(held, torch.nn.Parameter)
    owner, name = (tiny.decoder.filterbank, "modulator") if is_whole else (held, "1")
    prune.l1_unstructured(owner, name, amount=0.3)
    wav = torch.randn(1, 1, 50)
    out = tiny(wav)
    prune.remove(owner, name)
    assert torch.equal(out, tiny(wav))


@pytest.mark.parametrize("pays", [False, True])
def test_jacobians_of_each_parameter(tiny, pays, monkeypatch):
    monkeypatch.setattr(fast_fir, "pays", lambda *sizes: pays)
    wav = torch.randn(1, 1, 9)
    for name, parameter in tiny.named_parameters():

        def of(value, name=name):
            return functional_call(tiny, {name: value}, (wav,))

        value = parameter.detach()
        forward, backward = (jacobian(of)(value) for jacobian in (jacfwd, jacrev))
        torch.testing.assert_close(forward, backward, rtol=1e-3, atol=1e-4)
