"""The results page: one static folder of HTML, audio and figures, without server or network."""

import errno
import html
import io
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image

from ..data.tracks import SAMPLE_RATE
from ..evaluation.tables import decibels
from ..utils.checks import check
from ..utils.files import temporary_folder
from ..utils.progress import progress
from .colours import dark_colours

GENERATOR = "asteroid_sinudae report"  # text by which a folder is recognised as a report
TEMPLATES = Path(__file__).parent / "templates"
CONTENT = {"index.html", "style.css", "audio", "figures"}


@dataclass(frozen=True)
class Player:
    """A signal to listen to.

    Args:
        name (str): Name of its file, without ending, unique on the page.
        label (str): Words for the signal.
        audio (:class:`torch.Tensor`): shape `(time,)`; full scale is 1.
        si_sdr (float, optional): SI-SDR in dB; None if there is nothing to compare with.
        note (str): A few words on what it was made from; may be empty.
    """

    name: str
    label: str
    audio: torch.Tensor
    si_sdr: float | None = None
    note: str = ""


@dataclass(frozen=True)
class PlayerGroup:
    """Signals that are to be compared with each other.

    Args:
        heading (str): Heading of the group.
        note (str): Sentence that says what their SI-SDR refers to.
        players (sequence of Player): The signals.
        is_aside (bool): Whether a reader has to ask for the group.
    """

    heading: str
    note: str
    players: Sequence[Player]
    is_aside: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        name (str): Name of its file, without ending, unique on the page.
        figure (:class:`matplotlib.figure.Figure`): The figure.
        alt (str): Description of the figure for readers who cannot see it.
        caption (str): Text below the figure.
        narrow (:class:`matplotlib.figure.Figure`, optional): The same figure for a phone.
    """

    name: str
    figure: Figure
    alt: str
    caption: str
    narrow: Figure | None = None


@dataclass(frozen=True)
class Example:
    """An excerpt of a test track.

    Args:
        title (str): Track and place of the excerpt.
        groups (sequence of PlayerGroup): The signals to listen to.
        pictures (sequence of Picture): The figures.
    """

    title: str
    groups: Sequence[PlayerGroup]
    pictures: Sequence[Picture]

    @property
    def gain(self) -> float:
        """Factor of all players that keeps the loudest sample within full scale."""
        peaks = [float(p.audio.abs().max()) for group in self.groups for p in group.players]
        return 1 / max(1.0, *peaks)

    @property
    def note(self) -> str:
        """Sentence that says by how much the players are turned down; empty if they are not."""
        if self.gain == 1:
            return ""
        return (
            "All players of this example are turned down by the same "
            f"{decibels(-20 * math.log10(self.gain), 2)}, so that the loudest stays within full "
            "scale."
        )


@dataclass(frozen=True)
class Table:
    """A table of results.

    Args:
        caption (str): Caption of the table.
        header (sequence of str): Names of the columns.
        rows (sequence of sequence of str): Cells of each row, of which the first is its name. A
            second line in a cell is smaller.
        meanings (dict): What columns mean, by their names, to stand below the table.
        best (collection of tuple): Row and column of the cells that are marked as the best.
        further (Table, optional): The same rows in columns that a reader has to ask for.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    meanings: Mapping[str, str] = field(default_factory=dict)
    best: Collection[tuple[int, int]] = ()
    further: "Table | None" = None

    @property
    def has_intervals(self) -> bool:
        """Whether any cell has a second line."""
        return any("\n" in cell for row in self.rows for cell in row)


@dataclass(frozen=True)
class Page:
    """Content of the page.

    Args:
        title (str): Title of the page.
        introduction (str): Sentences that say what was trained and evaluated.
        tables (sequence of Table): Tables of results.
        examples (sequence of Example): Excerpts.
        comparison (sequence of Picture): Maps of several representations side by side.
        kernels (sequence of Picture): Figures of the decoder.
        training (sequence of Picture): Figures of the training; empty if nothing was logged.
        configuration (dict): Two levels of keys, as in `conf.yml`.
        provenance (dict): Names and values of what the results were made with.
        result (str): Sentence that says what came out; empty if there is nothing to say.
    """

    title: str
    introduction: str
    tables: Sequence[Table] = ()
    examples: Sequence[Example] = ()
    comparison: Sequence[Picture] = ()
    kernels: Sequence[Picture] = ()
    training: Sequence[Picture] = ()
    configuration: dict[str, dict] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    result: str = ""


def build_page(page: Page, output: str | Path) -> None:
    """Write the page as a folder with `index.html`, which appears whole or not at all.

    An older report in `output` is replaced. Audio is 16-bit WAV at 44.1 kHz, figures are PNG.

    Args:
        page (Page): Content of the page.
        output (str or Path): The folder.

    Raises:
        ValueError: if `output` is neither a report nor an empty folder.
        OSError: naming `output`, if it cannot be written.
    """
    with _replacing_folder(Path(output)) as folder:
        (folder / "audio").mkdir()
        (folder / "figures").mkdir()
        for example in page.examples:
            for player in (player for group in example.groups for player in group.players):
                _write_audio(player, example.gain, folder / "audio")
        pictures = [*page.comparison, *page.kernels, *page.training]
        pictures += [picture for example in page.examples for picture in example.pictures]
        sizes: dict[str, tuple[int, int]] = {}
        for picture in progress(pictures, "Figures", unit="figure"):
            sizes |= _write_picture(picture, folder / "figures")
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["decibels"] = decibels
        text = environment.get_template("index.html").render(
            page=page, sizes=sizes, generator=GENERATOR
        )
        (folder / "index.html").write_text(text, encoding="utf-8")
        shutil.copyfile(TEMPLATES / "style.css", folder / "style.css")


def check_output(output: str | Path) -> None:
    """Raise a ValueError if :func:`build_page` would have to delete something other than a report.

    Args:
        output (str or Path): A folder, which need not exist.
    """
    output = Path(output)
    if not output.exists():
        return
    check(output.is_dir(), "output", str(output), "a folder")
    found = {path.name for path in output.iterdir()}
    if found and not (found <= CONTENT and _is_report(output)):
        raise ValueError(f"{output} is in the way: expected a report, an empty folder, or none")


def _is_report(folder: Path) -> bool:
    """Tell whether a folder has a page of ours, and beside it only what that page shows."""
    index = folder / "index.html"
    if not index.is_file():
        return False
    page = html.unescape(index.read_text(encoding="utf-8", errors="replace"))
    shown = [*folder.glob("audio/*"), *folder.glob("figures/*")]
    return GENERATOR in page and all(f'"{each.parent.name}/{each.name}"' in page for each in shown)


@contextmanager
def _replacing_folder(output: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `output` when the block ends without an error."""
    check_output(output)
    output = Path(os.path.realpath(output))  # Path.resolve would raise for links in a circle
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(output.parent) as temporary:
            new, old = temporary / "new", temporary / "old"
            new.mkdir()
            yield new
            check_output(output)  # to which a file may have come meanwhile
            try:
                if output.exists():
                    output.rename(old)
                new.rename(output)
            except BaseException:
                if old.exists():
                    old.rename(output)
                raise
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, f"cannot write {output}: {error.strerror or error}") from error


def _write_audio(player: Player, gain: float, folder: Path) -> None:
    samples = (gain * player.audio).cpu().numpy()
    soundfile.write(folder / f"{player.name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")


def _write_picture(picture: Picture, folder: Path) -> dict[str, tuple[int, int]]:
    """Write a picture's figures, and return the width and height of each file in pixels."""
    sizes = {}
    for name, figure in (
        (picture.name, picture.figure),
        (f"{picture.name}-narrow", picture.narrow),
    ):
        if figure is not None:
            sizes[name] = _write_figure(figure, folder / f"{name}.png")
            with dark_colours(figure):
                _write_figure(figure, folder / f"{name}-dark.png")
    return sizes


def _write_figure(figure: Figure, path: Path) -> tuple[int, int]:
    """Write a figure as a PNG, and return its width and height in pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    # A palette takes a quarter of the space of true colours, without a visible difference. Other
    # methods than FASTOCTREE spend it on frequent colours: colour bars get steps.
    image = Image.open(buffer).convert("RGB")
    image = image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    return image.size
