"""Names of front-ends, and the songs that separators are validated on."""

import pytest
import torch

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.runs import front_ends
from asteroid_sinudae.runs.validation import split_validation

MASKER = dict(
    masker="band_split",
    norm_type="gLN",
    mask_act="softmax",
    n_repeats=1,
    bn_chan=4,
    n_bands=3,
    tie_phases=False,
    hid_size=4,
    rnn_type="GRU",
    n_blocks=2,
    hid_chan=5,
    skip_chan=0,
    conv_kernel_size=3,
)


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return SinuDAE(n_filters=8, kernel_size=64, stride=16)


@pytest.mark.parametrize(
    "name, cls, title, kernel_size",
    [
        ("pair", "SinuDAEBandSplitRNN", "ours", 64),
        ("stft_128_32", "STFTBandSplitRNN", "STFT 128-32", 128),
        ("free_12_96_32", "FreeBandSplitRNN", "free 12-96-32", 96),
    ],
)
def test_what_a_name_means(pair, name, cls, title, kernel_size):
    separator = front_ends.make_separator(name, pair, MASKER)
    assert type(separator).__name__ == cls
    assert separator.encoder.filterbank.kernel_size == kernel_size
    assert front_ends.kernel_size(name, pair) == kernel_size
    assert front_ends.title(name, "ours") == title
    assert separator.masker.rnn_type == "GRU" and separator.sample_rate == pair.sample_rate
    frozen = {key.split(".")[0] for key, p in separator.named_parameters() if not p.requires_grad}
    assert frozen == ({"encoder", "decoder"} if name == "pair" else set())


def test_a_masker_takes_its_own_arguments(pair):
    of_tasnet = {**MASKER, "masker": "conv_tasnet", "n_bands": 0}
    for name in ("pair", "stft_64_16"):
        separator = front_ends.make_separator(name, pair, of_tasnet)
        assert separator.masker.get_config()["hid_chan"] == 5
    assert front_ends.stft_arguments("stft_64_16") == dict(n_fft=64, stride=16, window="hamming")
    assert front_ends.stft_arguments("pair") is None


@pytest.mark.parametrize(
    "names, message",
    [
        ("", "front_ends must be at least one of pair, stft_<n_fft>_<stride> or"),
        ("pair pair", "front_ends must be each name once, got 'pair'"),
        ("stft", "front_ends must be pair, stft_.*, got 'stft'"),
        ("stft_2048", "front_ends must be pair, .*, got 'stft_2048'"),
        ("stft_0_512", "front_ends must be pair, .*, got 'stft_0_512'"),
        ("stft_2048_-1", "front_ends must be pair, .*, got 'stft_2048_-1'"),
        ("pair free_8_16", "front_ends must be pair, .*, got 'free_8_16'"),
        ("../pair", "front_ends must be pair, .*, got '../pair'"),
        ("stft_2048_9999999", "front_ends must be pair, .*"),
    ],
)
def test_names_that_make_no_sense(names, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        front_ends.front_ends(names)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("pair", dict(masker="unet"), "masker must be one of 'band_split', 'conv_tasnet', got 'un"),
        ("free_8_64_16", dict(masker="conv_tasnet"), "masker=conv_tasnet is not for front_ends=fr"),
        (
            "pair",
            dict(tie_phases=True),
            "tie_phases needs a compact pair of the multi-resolution i",
        ),
        (
            "pair",
            dict(tie_phases=True, masker="conv_tasnet"),
            "tie_phases must be false, unless masker is band_split",
        ),
        ("pair", dict(norm_type="BN"), "norm_type must be one of 'gLN', 'fgLN', 'cLN', 'cgLN', "),
        ("stft_64_16", dict(n_bands=0), "n_bands must be an integer of at least 1, got 0"),
        ("pair", dict(masker="conv_tasnet", conv_kernel_size=4), "conv_kernel_size must be odd"),
        ("pair", dict(masker="conv_tasnet", skip_chan=-1), "skip_chan must be 0 or more, got -1"),
        ("stft_64_65", {}, "stride must be 1 to n_fft=64, got 65"),
    ],
)
def test_separators_that_make_no_sense(pair, name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        front_ends.make_separator(name, pair, {**MASKER, **options})


@pytest.mark.parametrize("total, number", [(94, 14), (5, 4), (3, 1), (7, 0)])
def test_songs_to_validate_on_are_spread_and_not_trained_on(total, number):
    tracks = [f"song {k}" for k in range(total)]
    trained, validated = split_validation(tracks, number)
    assert len(validated) == number and sorted([*trained, *validated]) == sorted(tracks)
    places = [tracks.index(name) for name in validated]
    steps = {later - sooner for sooner, later in zip(places, places[1:], strict=False)}
    assert all(step in (total // number, -(-total // number)) for step in steps)


@pytest.mark.parametrize("number", [-1, 3, 4])
def test_no_song_would_be_left(number):
    with pytest.raises(ValueError, match=f"^valid_tracks must be 0 to 2 songs, got {number}"):
        split_validation(["a", "b", "c"], number)
