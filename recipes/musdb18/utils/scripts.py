"""What the recipe's scripts share: options, configuration, and one line for a user's mistake."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from asteroid_sinudae.utils.errors import INTERRUPTED, attempt
from asteroid_sinudae.utils.extras import require

try:  # a script's other imports come after this module's
    require("recipe")
    require("report")
except ImportError as error:
    sys.exit(f"{Path(sys.argv[0]).name}: {error}")

# ruff: noqa: E402
from asteroid_sinudae.runs.conf import from_text, read_conf, read_yaml, type_of
from asteroid_sinudae.utils.schema import validated

# Required options of several scripts, and what they are.
RUN_FOLDERS = {"exp_dir": "folder of the run", "data_dir": "folder of prepared data"}
SEPARATOR_FOLDERS = {
    "exp_dir": "folder of the separators",
    "pair_dir": "folder of the trained pair (stage 2)",
    "data_dir": "folder of prepared data",
}
LOCAL = Path(__file__).resolve().parents[1] / "local"
BASE_CONF = LOCAL / "conf.yml"


class Parser(argparse.ArgumentParser):
    """Options of a script, none of them abbreviated; a mistake ends it with one line and status 2.

    Args:
        description (str): The script's docstring.
    """

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def add_folders(self, folders: dict[str, str]) -> None:
        """Add required options that are folders, by name and with what each of them is."""
        for name, what in folders.items():
            self.add_argument(f"--{name}", type=path, required=True, help=what)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


def path(text: str) -> Path:
    """Type of an option: a path, which an empty text, the current folder to Python, is not."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def name_of(folder: Path) -> str:
    """Return a folder's own name, also of one given as `.` or by a link."""
    return os.path.basename(os.path.realpath(folder))  # Path.resolve raises for links in a circle


def base_conf() -> dict:
    """Read the configuration of all keys of a run, with their defaults."""
    return read_yaml(BASE_CONF)


def run(main: Callable[[], None]) -> None:
    """Run a script; whatever stops it ends it with one line and status 1, an interruption 130."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    # Lightning's advertisements, its advice, and its use of what torch has deprecated.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    outcome = attempt(main)
    script = Path(sys.argv[0]).name
    if outcome.status == INTERRUPTED:
        print(f"{script}: {outcome.line}; run it again to continue", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if outcome.line:
        sys.exit(f"{script}: {outcome.line}")
    if outcome.status:  # nobody reads the output any more
        sys.exit(outcome.status)


def parse_args_with_conf(
    parser: argparse.ArgumentParser, base: Path = BASE_CONF
) -> tuple[argparse.Namespace, dict]:
    """Parse the options of a training script, and make its configuration.

    The configuration is that of `base`, then that of the file given as `--conf`, which may hold
    only what differs, then the options.

    Args:
        parser (argparse.ArgumentParser): With the script's own options.
        base (Path): File of all keys and their defaults, which tell the types of their values.

    Returns:
        tuple of the script's own options and the two-level configuration. The first also has
        `given`, the set of the keys for which there were options, or other values in the file.

    Raises:
        FileNotFoundError: if the file of `--conf` does not exist.
        ValueError: naming where, the key, its value and what was expected, if the file or an
            option has a key that `base` has not, or a value of another type.
    """
    what = f"YAML file of what differs from {base.name}"
    parser.add_argument("--conf", type=path, default=base, help=what)
    defaults = read_yaml(base)
    for group, values in defaults.items():
        options = parser.add_argument_group(group)
        for key, default in values.items():
            options.add_argument(
                f"--{key}",
                default=argparse.SUPPRESS,
                dest=f"{group}.{key}",
                metavar=type(default).__name__.upper(),
                help=f"default: {str(default).replace('%', '%%') or 'empty'}",
            )
    options, plain = {group: {} for group in defaults}, argparse.Namespace(given=set())
    for name, value in vars(parser.parse_args()).items():
        group, _, key = name.partition(".")
        if key:
            options[group][key] = from_text(value, defaults[group][key])
            plain.given.add(key)
        else:
            setattr(plain, name, value)
    in_file = read_conf(plain.conf, defaults)
    options = validated(type_of(defaults), options, "options")
    conf = {
        group: {**values, **in_file.get(group, {}), **options[group]}
        for group, values in defaults.items()
    }
    for group, values in conf.items():
        plain.given |= {key for key, value in values.items() if value != defaults[group][key]}
    return plain, conf
