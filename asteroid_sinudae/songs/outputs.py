"""Where estimates are written: into a folder, or where a template of their paths says."""

import os
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..utils.checks import check
from .audio import FORMATS, check_format

FIELDS = ("song", "source")
NAME = "{song}_{source}"  # of files in a folder


class Output:
    """Paths of the estimates of songs.

    Args:
        output (str or Path): A folder, for ``SONG_<source>.wav``; or a template of paths, which
            names at least one of ``{song}``, the song's name without its suffix, and ``{source}``.
            The format's suffix is added to a template that has none. In both, other braces are
            doubled, as for :meth:`str.format`.
        format (str): Format of the files, see :data:`.audio.FORMATS`.

    Raises:
        ValueError: if there is no such format; if the folder is a file; or if the template has
            other fields, or a suffix that is not the format's.
    """

    def __init__(self, output: str | Path, format: str):
        check_format(format)
        self.text, suffix = os.fspath(output), f".{FORMATS[format].suffix}"
        fields, tail = _fields(self.text)
        self.names_song = not fields or "song" in fields
        if not fields:
            check_folder(Path(self.text.format()))
            self.template = os.path.join(self.text, NAME) + suffix
            return
        check(not tail.endswith("/"), "output", self.text, "a template of files, not of folders")
        found = Path(f"name{tail}").suffix
        expected = f"a template that ends in {suffix}, or has no suffix"
        check(found.lower() in ("", suffix), "output", self.text, expected)
        self.template = self.text if found else self.text + suffix

    def paths(
        self, song: Path, sources: Iterable[str], force: bool, inputs: Iterable[Path]
    ) -> dict[str, Path]:
        """Return the files of a song's sources, by their names.

        Args:
            song (Path): The song's file.
            sources (iterable of str): Names of the sources.
            force, inputs: see :func:`check_output`.

        Returns:
            dict from names to files.

        Raises:
            ValueError: if two files are one, if one cannot be written (see :func:`check_output`),
                or if a folder would be called ``..`` after a song or a source.
        """
        self.check_different([song], sources)
        paths = {source: self._path(song, source) for source in sources}
        for path in paths.values():
            check_output(path, force, inputs)
        return paths

    def check_different(self, songs: Iterable[Path], sources: Iterable[str]) -> None:
        """Raise a ValueError, naming both, if two estimates would be written to one file."""
        sources = dict.fromkeys(sources)
        owners: dict[Path, tuple[int, Path, str]] = {}
        for number, song in enumerate(songs):
            for source in sources:
                path = self._path(song, source)
                first, other, its_source = owners.setdefault(_real(path), (number, song, source))
                if first != number:
                    both, expected = f"{other} and {song}", "songs of different names"
                    if not self.names_song:
                        expected = "{song} in the template"
                elif its_source != source:
                    both = f"{its_source} and {source} of {song}"
                    expected = "{source} in the template, or one source"
                else:
                    continue
                raise ValueError(f"{both} would both be written to {path}, expected {expected}")

    def _path(self, song: Path, source: str) -> Path:
        values = dict(song=song.stem, source=source)
        parts = [(part, part.format(**values)) for part in self.template.split("/")]
        for part, name in parts:
            if name != part and name in ("", ".", ".."):
                expected = "a name that a folder can have"
                raise ValueError(f"{part} in {self.text} would be {name!r}, expected {expected}")
        return Path("/".join(name for _, name in parts))


def literally(text: str) -> str:
    """Double the braces of a text, so that it means itself in a template."""
    return text.replace("{", "{{").replace("}", "}}")


def _fields(text: str) -> tuple[set[str], str]:
    """Names of the fields of a template, and the text after the last one."""
    fields, tail = set(), ""
    try:
        for literal, name, specification, conversion in string.Formatter().parse(text):
            if name is None:
                tail += literal
                continue
            if name not in FIELDS or specification or conversion:
                raise ValueError(f"unknown field {name!r}")
            fields.add(name)
            tail = ""
    except ValueError as error:
        raise ValueError(
            f"output must be a folder, or a template with {{song}} and {{source}}, in which other "
            f"braces are doubled ({{{{ and }}}}), got {text!r}"
        ) from error
    return fields, tail


def check_folder(folder: Path) -> None:
    """Raise a ValueError if `folder` exists and is not a folder."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write into")


def check_output(
    out: Path, force: bool, inputs: Iterable[Path], suffixes: Sequence[str] = ("",)
) -> None:
    """Raise a ValueError if `out` cannot be written, or would replace a file.

    Args:
        out (Path): The file to write.
        force (bool): Whether to replace a file that exists.
        inputs (iterable of Path): Files that are read, which are never replaced.
        suffixes (sequence of str): The endings of the file's name that are allowed.
    """
    if not out.name.endswith(tuple(suffixes)):
        expected = f"a name that ends in {' or '.join(suffixes)}"
        raise ValueError(f"{out} is to be written, expected {expected}")
    if out.is_dir():
        raise ValueError(f"{out} is a folder, expected a file to write")
    real = _real(out)
    # A link, also a hard one, is the file itself; os.path.exists accepts links in a circle.
    if os.path.exists(real) and any(
        os.path.exists(path) and os.path.samefile(real, path) for path in inputs
    ):
        raise ValueError(f"{out} is also to be read, expected another file to write")
    if os.path.lexists(real) and not force:  # also a link that leads nowhere
        raise ValueError(f"{out} exists already, expected a new file, or --force")


def _real(path: Path) -> Path:
    """A path without `..` after folders that are still to be made; the last link is kept."""
    return Path(os.path.realpath(path.parent), path.name)
