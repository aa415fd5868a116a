"""Draw the README's pictures again: `python docs/pictures.py`.

The voice and the mixture are those of the excerpt that comes with stempeg, the model one that comes
with the package. Grounds are white, so that the pictures can be read on dark pages too.
"""

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np
import stempeg
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import asteroid_sinudae as sinudae

IMAGES = Path(__file__).resolve().parent / "images"
MODEL = "sinudae_c800_s256"
EXCERPT = (3.5, 6.0)  # seconds: a short breath, then the voice sings
BLUE, ORANGE = "#0072b2", "#d55e00"
DPI = 110


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder (default: docs/images)")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name, figure in draw_all().items():
        path = args.output / f"{name}.png"
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        palette = Image.Quantize.MAXCOVERAGE  # even steps in the colour bars, at half of the bytes
        Image.open(buffer).convert("RGB").quantize(256, palette).save(path, optimize=True)
        print(path)


@torch.no_grad()
def draw_all() -> dict[str, Figure]:
    """The figures by the names of their files."""
    dae = sinudae.SinuDAE.from_pretrained(MODEL).eval()
    mixture, vocals = read_excerpt()
    return {
        "method": draw_method(dae, mixture, vocals),
        "representation": sinudae.report.plot_representation(dae, vocals, "A of a singing voice"),
        "kernels": sinudae.report.plot_kernels(dae, n=6, columns=3),
    }


def read_excerpt() -> tuple[torch.Tensor, torch.Tensor]:
    """Mixture and vocals, mono, shape `(1, 1, time)` each."""
    stems, sample_rate = stempeg.read_stems(stempeg.example_stem_path(), dtype=np.float32)
    first, last = (round(second * sample_rate) for second in EXCERPT)
    mono = torch.from_numpy(stems.mean(axis=-1)).float()[:, None, None, first:last]
    return mono[0], mono[-1]


def draw_method(dae: sinudae.SinuDAE, mixture: torch.Tensor, vocals: torch.Tensor) -> Figure:
    """A mixture's way through encoder, mask and decoder, with what each step really gives."""
    magnitudes = [dae.encode(signal)[0].numpy() for signal in (mixture, vocals, mixture - vocals)]
    mask = sinudae.ratio_mask(*map(torch.from_numpy, magnitudes[1:]))
    estimate = dae.decode(torch.from_numpy(magnitudes[0])[None] * mask, mixture.shape[-1])

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 1.9))
        limit = mixture.abs().max().item()
        draw_wav(box(figure, 0.01), mixture, limit, "mixture")
        draw_function(box(figure, 0.177), "Encoder", "convolution,\nsmoothing, ReLU")
        draw_map(box(figure, 0.344), as_levels(magnitudes[0]), "A, non-negative")
        draw_map(box(figure, 0.511), mask.numpy(), "oracle mask")
        draw_function(box(figure, 0.678), "Decoder", "sum of modulated\ncosines")
        draw_wav(box(figure, 0.845), estimate, limit, "voice")
        for place, sign in enumerate("→→⊙→→"):
            figure.text(0.1635 + 0.167 * place, 0.46, sign, fontsize=15, ha="center", va="center")
        return figure


def box(figure: Figure, left: float) -> Axes:
    """Axes without ticks, all of one size."""
    axes = figure.add_axes((left, 0.12, 0.14, 0.72))
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def draw_wav(axes: Axes, wav: torch.Tensor, limit: float, title: str) -> None:
    """A waveform."""
    axes.plot(wav.flatten().numpy()[::8], color=BLUE, linewidth=0.4)
    axes.set_ylim(-limit, limit)
    axes.set_title(title)
    axes.set_xlabel("time")


def as_levels(magnitudes: np.ndarray) -> np.ndarray:
    """Levels from 0, 60 dB below the largest magnitude, to 1."""
    decibels = 20 * np.log10(np.maximum(magnitudes / magnitudes.max(), 1e-3))
    return 1 + decibels / 60


def draw_map(axes: Axes, values: np.ndarray, title: str) -> None:
    """Channels over frames; values are from 0 to 1."""
    axes.imshow(
        values,
        cmap="magma",
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="antialiased",
        interpolation_stage="data",
    )
    axes.set_title(title)
    axes.set_xlabel("frames")


def draw_function(axes: Axes, name: str, text: str) -> None:
    """A box with a function's name."""
    axes.set_facecolor("#fdf1e7")
    for spine in axes.spines.values():
        spine.set_color(ORANGE)
    axes.text(0.5, 0.68, name, ha="center", va="center", fontsize=11, fontweight="bold")
    axes.text(0.5, 0.35, text, ha="center", va="center")


if __name__ == "__main__":
    main()
