"""What is measured: each suite gives the rows of a table, dictionaries of plain values."""

import contextlib
import copy
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile
import torch
from asteroid_filterbanks import STFTFB, Decoder, Encoder
from pairs import PlainPair, StockPair, pad_to_hops
from stopwatch import Lap, interleaved
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.sampler import SetShuffleSampler
from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.data.tracks import SAMPLE_RATE, Track
from asteroid_sinudae.losses import neg_snr, total_variation
from asteroid_sinudae.models.registry import STRUCTURES
from asteroid_sinudae.training.cuda_graphs import CudaGraphs
from asteroid_sinudae.training.sorting import sort_channels

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHIPPED = "sinudae_c800_s256"  # the model that songs are encoded by
STFT = dict(n_filters=2048, kernel_size=2048, stride=384)  # the paper's baseline
COMPACT = ("multires_c800_s256", "multires_c2732_s512")  # the paper's size, the STFT's cost


class Setting(NamedTuple):
    """What all suites share.

    Attributes:
        sizes (dict): Arguments of :class:`.SinuDAE`.
        batch_size (int): Signals in a batch.
        seconds (float): Length of a signal of the training step.
        audio_seconds (float): Length of the audio to encode and decode.
        song_seconds (float): Length of the song that the command is given.
        rounds (int): Counted rounds of each comparison.
        device (:class:`torch.device`): Where it runs.
        precisions (tuple of str): Among `PRECISIONS`, those that the device has.
    """

    sizes: dict
    batch_size: int
    seconds: float
    audio_seconds: float
    song_seconds: float
    rounds: int
    device: torch.device
    precisions: tuple[str, ...]


def autocast(setting: Setting, precision: str) -> contextlib.AbstractContextManager:
    return torch.autocast(setting.device.type, torch.bfloat16, enabled=precision == "bf16")


def make_pairs(setting: Setting) -> dict[str, torch.nn.Module]:
    """Make our pair and others of the same function and weights, each with its own parameters."""
    torch.manual_seed(0)
    dae = SinuDAE(**setting.sizes)
    pairs = {"ours": dae, "Asteroid": StockPair(copy.deepcopy(dae)), "PyTorch": PlainPair(dae)}
    return {name: pair.to(setting.device) for name, pair in pairs.items()}


# Training


def make_step(
    pair: torch.nn.Module, setting: Setting, precision: str, may_record: bool = True
) -> Callable[[Lap], torch.Tensor]:
    """Make a step: one update by Eq. (5) on vocals and mixture as one batch; ours also sorts.

    As in a training, ours is recorded on a GPU, if it may be.
    """
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-4, fused=True)
    length = round(setting.seconds * SAMPLE_RATE)
    generator = torch.Generator().manual_seed(0)
    shape = (2, setting.batch_size, 1, length)
    vocals, mixture = (0.1 * torch.randn(shape, generator=generator)).to(setting.device)

    def loss_of(vocals: torch.Tensor, mixture: torch.Tensor) -> tuple[torch.Tensor]:
        encoded, of_mixture = pair.encode(torch.cat([vocals, mixture])).chunk(2)
        estimate = pair.decode(encoded, length)
        loss = neg_snr(estimate.float(), vocals) + 0.5 * total_variation(of_mixture.float())
        return (loss,)

    is_ours = isinstance(pair, SinuDAE)
    is_recorded = may_record and is_ours and setting.device.type == "cuda"
    compute = CudaGraphs(loss_of, pair) if is_recorded else loss_of

    def step(lap: Lap) -> torch.Tensor:
        with autocast(setting, precision):
            (loss,) = compute(vocals, mixture)
        lap("forward")
        loss.backward()
        lap("backward")
        optimizer.step()
        optimizer.zero_grad()
        lap("optimiser")
        if is_ours:
            sort_channels(pair, optimizer)
            lap("sorting")
        return loss.detach()

    return step


def step_flops(setting: Setting) -> float:
    """Count the operations of a step's convolutions in their direct form."""
    step = make_step(make_pairs(setting)["PyTorch"], setting, "fp32")
    with FlopCounterMode(display=False) as counter:
        step(lambda name: None)
    return float(counter.get_total_flops())


def make_kernels(pair: SinuDAE) -> Callable[[Lap], None]:
    """Make a run that builds the decoder's kernels and their gradients, as a step does once."""
    filterbank = pair.decoder.filterbank
    gradient = torch.ones_like(filterbank.modulator)

    def build(lap: Lap) -> None:
        kernels = filterbank.filters()
        lap("forward")
        torch.autograd.grad(kernels, list(filterbank.parameters()), gradient)
        lap("backward")

    return build


def make_product(setting: Setting, precision: str) -> tuple[Callable[[Lap], None], float]:
    """Make a run of one product of square matrices, and count its operations."""
    size = 8192 if setting.device.type == "cuda" else 2048
    kwargs = dict(dtype=PRECISIONS[precision], device=setting.device)
    left, right, out = (torch.ones(size, size, **kwargs) for _ in range(3))

    def product(lap: Lap) -> None:
        torch.mm(left, right, out=out)

    return product, 2.0 * size**3


def training(setting: Setting) -> list[dict]:
    """Time the parts of a training step, beside the machine's own rate of matrix products.

    The rates are of the operations that the direct form would take, see :func:`step_flops`: with
    fewer products, a step can exceed the machine's rate.
    """
    flops = step_flops(setting)
    runs = {"kernels, fp32": make_kernels(make_pairs(setting)["ours"])}
    products = {}
    for precision in setting.precisions:
        for name, pair in make_pairs(setting).items():
            runs[f"{name}, {precision}"] = make_step(pair, setting, precision)
        product, product_flops = make_product(setting, precision)
        runs[f"matrix product, {precision}"] = product
        products[precision] = product_flops
    times = pd.DataFrame(interleaved(runs, setting.rounds, setting.device, "Training step"))
    rows = [
        {"measured": run, "part": part, **spread(group.seconds)}
        for (run, part), group in times.groupby(["run", "part"], sort=False)
    ]
    totals = {row["measured"]: row["median (ms)"] / 1e3 for row in rows if row["part"] == "total"}
    rates = {p: products[p] / totals[f"matrix product, {p}"] for p in products}
    for row in rows:
        name, precision = row["measured"].split(", ")
        if row["part"] == "total" and name != "kernels":
            is_product = name == "matrix product"
            rate = (products[precision] if is_product else flops) / totals[row["measured"]]
            row["GFLOP/s"] = rate / 1e9
            row["of the machine's rate (%)"] = 100 * rate / rates[precision]
    return rows


def memory(setting: Setting) -> list[dict]:
    """Measure what a forward pass keeps for the backward pass, parameters aside."""
    rows = []
    for precision in setting.precisions:
        for name, pair in make_pairs(setting).items():
            step = make_step(pair, setting, precision, may_record=False)
            parameters = {parameter.data_ptr() for parameter in pair.parameters()}
            kept = {}

            def keep(tensor, parameters=parameters, kept=kept):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in parameters:
                    kept[storage.data_ptr()] = storage.nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                step(lambda part: None)
            rows.append({"measured": f"{name}, {precision}", "kept (MB)": sum(kept.values()) / 1e6})
    return rows


# Encoding and decoding


@torch.no_grad()
def codec(setting: Setting) -> list[dict]:
    """Time how long it takes to encode and to decode audio."""
    length = round(setting.audio_seconds * SAMPLE_RATE)
    wav = torch.randn(1, 1, length, device=setting.device)
    pairs = make_pairs(setting)
    pairs = {
        f"{name}, {precision}": (pair.encode, lambda rep, s=pair: s.decode(rep, length))
        for precision in setting.precisions
        for name, pair in pairs.items()
    }
    stft = STFTFB(**STFT).to(setting.device)
    encoder = Encoder(stft)
    pairs["STFTFB, fp32"] = (
        lambda x: encoder(pad_to_hops(x, STFT["kernel_size"], STFT["stride"], 0)),
        Decoder(stft),
    )
    window = torch.hamming_window(STFT["kernel_size"], device=setting.device)
    options = dict(n_fft=STFT["n_filters"], hop_length=STFT["stride"], window=window)
    pairs["torch.stft, fp32"] = (
        lambda x: torch.stft(x[0], **options, return_complex=True),
        lambda rep: torch.istft(rep, **options, length=length),
    )

    def run(name: str, lap: Lap) -> None:
        encode, decode = pairs[name]
        with autocast(setting, name.split(", ")[1]):
            rep = encode(wav)
            lap("encode")
            decode(rep)
            lap("decode")

    runs = {name: lambda lap, name=name: run(name, lap) for name in pairs}
    times = pd.DataFrame(interleaved(runs, setting.rounds, setting.device, "Encode and decode"))
    times = times[times.part != "total"]
    return [
        {
            "measured": run,
            "part": part,
            **spread(group.seconds),
            "times real time": setting.audio_seconds / group.seconds.median(),
        }
        for (run, part), group in times.groupby(["run", "part"], sort=False)
    ]


# Compact kernels


def compact(setting: Setting) -> list[dict]:
    """Time pairs of compact kernels beside the same pairs of whole ones."""
    length, rows = round(setting.audio_seconds * SAMPLE_RATE), []
    wav = torch.randn(1, 1, length, device=setting.device)
    for name in COMPACT:
        pairs = {
            kind: SinuDAE(**{**STRUCTURES[name], "compact": kind == "compact"}).to(setting.device)
            for kind in ("compact", "whole")
        }
        runs = {}
        for kind, pair in pairs.items():
            step = make_step(pair, setting, "fp32")
            runs[kind] = partial(_encode_decode_and_step, pair, wav, step)
        times = pd.DataFrame(interleaved(runs, setting.rounds, setting.device, name))
        medians = times.groupby(["part", "run"], sort=False).seconds.median().unstack()
        for part in ("encode", "decode", "step"):
            compact, whole = (1e3 * medians.loc[part, kind] for kind in ("compact", "whole"))
            rows.append(
                {
                    "model": name,
                    "part": part,
                    "compact (ms)": compact,
                    "whole (ms)": whole,
                    "whole / compact": whole / compact,
                }
            )
        numbers = [sum(p.numel() for p in pairs[kind].parameters()) for kind in pairs]
        rows.append(
            {"model": name, "part": "parameters", "whole / compact": numbers[1] / numbers[0]}
        )
    return rows


def _encode_decode_and_step(
    pair: SinuDAE, wav: torch.Tensor, step: Callable[[Lap], torch.Tensor], lap: Lap
) -> None:
    with torch.no_grad():
        rep = pair.encode(wav)
        lap("encode")
        pair.decode(rep, wav.shape[-1])
        lap("decode")
    step(lambda part: None)
    lap("step")


# Growth


def growth(setting: Setting) -> list[dict]:
    """Time a step in fp32 against sizes, batch and length, each halved and doubled."""
    rows = []
    for label, changed in _variations(setting):
        pairs = make_pairs(changed)
        del pairs["PyTorch"]
        runs = {name: make_step(pair, changed, "fp32") for name, pair in pairs.items()}
        rounds = -(-setting.rounds // 2)
        times = pd.DataFrame(interleaved(runs, rounds, setting.device, f"Growth: {label}"))
        medians = times[times.part == "total"].groupby("run").seconds.median()
        rows.append(
            {
                "sizes": label,
                "GFLOP": step_flops(changed) / 1e9,
                **{f"{name} (ms)": 1e3 * medians[name] for name in pairs},
                "ours / Asteroid": medians["ours"] / medians["Asteroid"],
            }
        )
    return rows


def _variations(setting: Setting) -> Iterator[tuple[str, Setting]]:
    yield "as given", setting
    for factor in (0.5, 2):
        for key in ("n_filters", "kernel_size", "stride"):
            sizes = {**setting.sizes, key: round(factor * setting.sizes[key])}
            if sizes["stride"] <= sizes["kernel_size"]:
                yield f"{key}={sizes[key]}", setting._replace(sizes=sizes)
        batch_size = max(1, round(factor * setting.batch_size))
        yield f"batch_size={batch_size}", setting._replace(batch_size=batch_size)
        yield f"seconds={factor * setting.seconds:g}", setting._replace(
            seconds=factor * setting.seconds
        )


# Loading


def loading(setting: Setting) -> list[dict]:
    """Count the pairs of segments a second, from a folder of noise as large as a few songs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        dataset_args = dict(tracks=_noise_tracks(Path(folder)), segment=SAMPLE_RATE, hop=22050)
        for keep_on in (None, "cpu"):
            for num_workers in (0, 2):
                dataset = TrainSegments(**dataset_args, keep_on=keep_on)
                sampler = SetShuffleSampler(dataset, setting.batch_size)
                loader = DataLoader(
                    dataset,
                    batch_sampler=sampler,
                    num_workers=num_workers,
                    persistent_workers=num_workers > 0,
                    pin_memory=setting.device.type == "cuda",
                )
                for _ in loader:  # starts the workers, and fills the operating system's cache
                    pass
                start = time.perf_counter()
                n_pairs = sum(len(vocals) for vocals, _ in loader)
                seconds = time.perf_counter() - start
                rows.append(
                    {
                        "kept on": keep_on or "disk",
                        "num_workers": num_workers,
                        "pairs a second": n_pairs / seconds,
                        "ms a batch": 1e3 * seconds / len(loader),
                    }
                )
    return rows


# Commands


def start(setting: Setting) -> list[dict]:
    """Processor time and memory of commands that have little to do but to start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        song = _noise_song(folder, 1.0)
        encode = _command(setting, "encode", [SHIPPED, song], folder / "song.npz")
        commands = {
            'python -c "import torch"': ["-c", "import torch"],
            'python -c "import asteroid_sinudae"': ["-c", "import asteroid_sinudae"],
            "sinudae --help": ["-m", "asteroid_sinudae", "--help"],
            "sinudae info": ["-m", "asteroid_sinudae", "info", SHIPPED],
            "sinudae encode, a song of 1 s": encode,
        }
        return _best(commands, setting.rounds)


def songs(setting: Setting) -> list[dict]:
    """Songs a minute of the command, its start included; stereo noise stands for a song."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        song = _noise_song(folder, setting.song_seconds)
        commands = {
            "sinudae encode": _command(setting, "encode", [SHIPPED, song], folder / "song.npz"),
            "sinudae separate": _command(setting, "separate", [song], folder),
            "sinudae separate separator_vocals": _command(
                setting, "separate", ["separator_vocals", song], folder
            ),
        }
        rows = _best(commands, setting.rounds)
    return [{**row, "songs a minute": 60 / row["wall (s)"]} for row in rows]


def _command(setting: Setting, name: str, inputs: Sequence[str | Path], output: Path) -> list[str]:
    """Arguments of Python for a subcommand that turns a song into other files."""
    options = ["-o", str(output), "--force", "--device", setting.device.type]
    return ["-m", "asteroid_sinudae", name, *map(str, inputs), *options]


def _best(commands: dict[str, list[str]], rounds: int) -> list[dict]:
    """The least of each figure over the rounds, each in an order of chance."""
    figures: dict[str, list[dict]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in random.sample(list(commands.items()), len(commands)):
            command = [sys.executable, str(Path(__file__).with_name("child.py"))]
            run = subprocess.run(
                [*command, sys.executable, *arguments], stdout=subprocess.PIPE, check=True
            )
            figures[name].append(json.loads(run.stdout))
    return [
        {
            "command": name,
            "processor (s)": min(each["processor"] for each in runs),
            "wall (s)": min(each["wall"] for each in runs),
            "peak memory (MB)": min(each["memory"] for each in runs),
        }
        for name, runs in figures.items()
    ]


def _noise_song(folder: Path, seconds: float) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, (round(seconds * SAMPLE_RATE), 2))
    path = folder / "song.wav"
    soundfile.write(path, noise, SAMPLE_RATE)
    return path


def _noise_tracks(folder: Path, n_tracks: int = 8, seconds: int = 30) -> list[Track]:
    tracks = []
    generator = np.random.default_rng(0)
    for number in range(n_tracks):
        n_samples = seconds * SAMPLE_RATE
        track = Track(f"noise {number}", "train", n_samples, 0, folder / str(number))
        track.folder.mkdir()
        for path in (track.vocals, track.accompaniment):
            noise = generator.integers(-3000, 3000, n_samples, dtype=np.int16)
            soundfile.write(path, noise, SAMPLE_RATE, subtype="PCM_16")
        tracks.append(track)
    return tracks


def spread(seconds: pd.Series) -> dict[str, float]:
    """Return the median and the quartiles in ms."""
    quartiles = 1e3 * seconds.quantile([0.5, 0.25, 0.75])
    keys = ("median (ms)", "quartile 1 (ms)", "quartile 3 (ms)")
    return dict(zip(keys, quartiles.tolist(), strict=True))


SUITES = {
    "training": training,
    "memory": memory,
    "codec": codec,
    "compact": compact,
    "growth": growth,
    "loading": loading,
    "start": start,
    "songs": songs,
}
