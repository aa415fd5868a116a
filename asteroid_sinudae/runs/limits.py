"""Bounds of a configuration's numbers: what no machine could do is refused before it is begun."""

import os
from collections.abc import Sequence

import torch

from ..data.tracks import Track
from ..utils.checks import check, check_blocks

PER_PROCESSOR = 16  # processes: more than that only wait for each other
MAX_SEGMENTS = 5_000_000  # 100 songs of four minutes have so many every 212 samples
MAX_BANDS = 1000  # of a masker, each with layers of its own
MAX_COUNT = 2**31 - 1  # of epochs and updates
MAX_SEED = 2**32 - 1  # of NumPy
BYTES = 4  # of a number
STATES = 4  # a trained number, its gradient and Adam's two moments
EVALUATED_TOGETHER = 8  # segments
GB = 1e9


def physical_memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_memory() -> int:
    """Return the bytes of memory for a training: a GPU's if there is one, else the machine's."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return physical_memory()


def check_limits(conf: dict) -> None:
    """Raise a ValueError if a number of a training's configuration is out of all bounds.

    What numbers mean, and their least values, are checked by those who take them.
    """
    training, data = conf["training"], conf["data"]
    for key in ("epochs", "max_steps"):
        check(training[key] <= MAX_COUNT, key, training[key], f"at most {MAX_COUNT}")
    check(0 <= training["seed"] <= MAX_SEED, "seed", training["seed"], f"0 to {MAX_SEED}")
    limit = PER_PROCESSOR * (os.cpu_count() or 1)
    for key in ("num_workers", "devices", "num_nodes"):
        expected = f"0 to {limit} ({PER_PROCESSOR} a processor)"
        check(0 <= training[key] <= limit, key, training[key], expected)
    if torch.cuda.is_available():
        n_gpus = torch.cuda.device_count()
        check(training["devices"] <= n_gpus, "devices", training["devices"], f"at most {n_gpus}")
    batch = training["batch_size"] // (training["devices"] * training["num_nodes"])
    sizes = {"batch_size": training["batch_size"], "segment": data["segment"]}
    _check_memory(2 * BYTES * batch * data["segment"], "a batch of two sources", sizes)
    if "filterbank" in conf:
        _check_pair(conf["filterbank"], batch, sizes)
        check_segment(data["segment"])
        check_stft(conf)
    if "masker" in conf:
        _check_masker(conf["masker"])


def check_segment(segment: int) -> None:
    """Raise a ValueError if an evaluation's segments are empty, or larger than the memory."""
    check(segment >= 1, "segment", segment, "1 or more")
    needed = 3 * BYTES * EVALUATED_TOGETHER * segment
    _check_memory(needed, "a batch of two sources and their mixture", {"segment": segment})


def check_stft(conf: dict) -> None:
    """Raise a ValueError if the STFT is longer than the segments, if any, or does not fit."""
    n_fft, segment = conf["baseline"]["stft_n_fft"], conf.get("data", {}).get("segment")
    if segment is not None:
        check(n_fft <= segment, "stft_n_fft", n_fft, f"at most {segment=}")
    needed = 2 * BYTES * n_fft * n_fft
    _check_memory(needed, "the STFT with its inverse", {"stft_n_fft": n_fft})


def _check_pair(filterbank: dict, batch: int, sizes: dict) -> None:
    """Raise a ValueError if a pair in training, or what it makes of a batch, does not fit."""
    names = ("n_filters", "kernel_size", "stride", "smooth_kernel_size", "smooth_dilation")
    channels, length, stride, taps, dilation = (max(filterbank[name], 1) for name in names)
    smoothing = channels * channels * taps // max(filterbank["smooth_groups"], 1)
    named = {name: filterbank[name] for name in ("n_filters", "kernel_size", "smooth_kernel_size")}
    needed = STATES * BYTES * (2 * channels * length + smoothing)
    _check_memory(needed, "the pair in training", named)
    frames = sizes["segment"] // stride + (taps - 1) * dilation
    named = {name: filterbank[name] for name in ("n_filters", "stride", "smooth_dilation")}
    needed = 2 * BYTES * batch * channels * frames  # of the vocals and the mixture
    _check_memory(needed, "the representation of a batch", {**sizes, **named})


def _check_masker(masker: dict) -> None:
    """Raise a ValueError if a masker has more blocks than music has frames, or does not fit."""
    names: tuple[str, ...]
    if masker["masker"] == "conv_tasnet":
        names = ("n_blocks", "n_repeats", "bn_chan", "hid_chan", "skip_chan", "conv_kernel_size")
        n_blocks, n_repeats, narrow, wide, skip, taps = (max(masker[name], 0) for name in names)
        check_blocks(n_blocks)
        numbers = n_blocks * n_repeats * wide * (2 * narrow + skip + taps)
    else:
        names = ("n_repeats", "bn_chan", "hid_size", "n_bands")
        n_repeats, narrow, wide, n_bands = (max(masker[name], 0) for name in names)
        check(n_bands <= MAX_BANDS, "n_bands", n_bands, f"at most {MAX_BANDS}")
        numbers = n_repeats * 4 * 4 * wide * (narrow + wide) + n_bands * 2 * narrow * narrow
    named = {name: masker[name] for name in names}
    _check_memory(STATES * BYTES * numbers, "the masker in training", named)


def check_segments(tracks: Sequence[Track], hop: int) -> None:
    """Raise a ValueError if segments so close to each other are too many to shuffle."""
    number = sum(track.n_samples for track in tracks) // max(hop, 1)
    if number > MAX_SEGMENTS:
        raise ValueError(
            f"segment_hop={hop} makes {number} segments of the tracks, expected at most "
            f"{MAX_SEGMENTS}: choose a larger hop"
        )


def _check_memory(needed: int, what: str, sizes: dict) -> None:
    """Raise a ValueError that names `sizes` if what they need at least is more than there is."""
    memory = device_memory()
    if needed > memory:
        named = ", ".join(f"{key}={value}" for key, value in sizes.items())
        raise ValueError(
            f"{named}: {what} needs at least {needed / GB:.1f} GB, expected at most the "
            f"{memory / GB:.1f} GB of memory"
        )
