"""What the recipe's scripts share: configuration, and one line for a user's mistake."""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from asteroid_sinudae.errors import INTERRUPTED, attempt
from asteroid_sinudae.files import atomic_path  # before asteroid, which it makes importable

# isort: split

import yaml
from asteroid.utils import parse_args_as_dict, prepare_parser_from_dict

BASE_CONF = Path(__file__).resolve().parents[1] / "local" / "conf.yml"


def run(main: Callable[[], None]) -> None:
    """Run a script; a mistake that its user can mend ends it with one line and status 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    # Lightning's advertisements, and its use of what torch has deprecated.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")
    outcome = attempt(main)
    if outcome.line:
        hint = "; run it again to continue" if outcome.status == INTERRUPTED else ""
        sys.exit(f"{Path(sys.argv[0]).name}: {outcome.line}{hint}")


def parse_args_with_conf(
    parser: argparse.ArgumentParser, base: Path = BASE_CONF
) -> tuple[argparse.Namespace, dict]:
    """Options of a training script, and its configuration.

    The configuration is that of `base`, then that of the file given as `--conf`, which may hold
    only what differs, then the options.

    Args:
        parser (argparse.ArgumentParser): With the script's own options.
        base (Path): File of all keys and their defaults.

    Returns:
        tuple of the script's own options, and the two-level configuration.

    Raises:
        FileNotFoundError: if the file of `--conf` does not exist.
        ValueError: if it is no configuration, or has a key that `base` has not.
    """
    what = f"YAML file of what differs from {base.name}"
    parser.add_argument("--conf", default=base, help=what)
    no_help = [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    path = parser.parse_known_args(no_help)[0].conf
    conf = read_conf(base)
    for group, values in read_conf(path).items():
        for key, value in values.items():
            if key not in conf.get(group, {}):
                raise ValueError(
                    f"{path}: unknown key {group}.{key}, expected those of {base.name}"
                )
            conf[group][key] = value
    parser = prepare_parser_from_dict(conf, parser)
    arguments, plain = parse_args_as_dict(parser, return_plain_args=True)
    return plain, {group: arguments[group] for group in conf}


def given_keys(conf: dict, base: Path = BASE_CONF) -> set[str]:
    """Keys of a configuration that options gave, or the file of `--conf` with other values."""
    options = {word.removeprefix("--").split("=")[0] for word in sys.argv[1:] if word[:2] == "--"}
    defaults = read_conf(base)
    return {
        key
        for group, values in conf.items()
        for key, value in values.items()
        if key in options or value != defaults[group][key]
    }


def read_conf(path: str | Path) -> dict:
    """Two-level configuration of a YAML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not hold two levels of keys.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found: expected a YAML configuration")
    try:
        conf = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(conf, dict) or not all(isinstance(group, dict) for group in conf.values()):
        raise ValueError(f"{path} must hold groups of keys, as local/conf.yml does")
    return conf


def write_conf(conf: dict, path: str | Path) -> None:
    """Write a configuration as YAML, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(conf, sort_keys=False))
