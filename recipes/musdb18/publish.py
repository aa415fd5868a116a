"""Make the model of an evaluated run one that comes with the package.

The run is that of a pair or, with --front_end, one of the separators that eval_separator.py has
evaluated. Writes NAME.pth, in half precision, and its card NAME.md into --output. No path is in
them: the training data is described by --data.
"""

import hashlib
import math
import os
import re
from pathlib import Path

from utils import scripts

from asteroid_sinudae import SinuDAE, pretrained
from asteroid_sinudae.metrics import noise_si_sdr
from asteroid_sinudae.models.base_model import SafeModel
from asteroid_sinudae.models.model_files import find_class, in_half_precision
from asteroid_sinudae.runs import front_ends
from asteroid_sinudae.runs.cards import make_card, make_infos
from asteroid_sinudae.runs.folder import Run, check_belonging
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.files import load_safely, save_atomically, write_text

MATTERS_UP_TO = 60.0  # dB, reconstruction above which half precision may cost more
MAY_COST = 0.5  # dB
SEPARATOR = ", separator"  # after the name of its front-end, in tables


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--exp_dir", type=scripts.path, required=True, help="folder of the run")
    parser.add_argument("--front_end", help="of the separator, in a folder of separators")
    parser.add_argument("--name", required=True, help="of the model, made of a-z, 0-9 and _")
    parser.add_argument("--data", required=True, help='what it was trained on, as "12 excerpts"')
    parser.add_argument(
        "--output",
        type=scripts.path,
        default=pretrained.FOLDER,
        help="folder (default: the package's)",
    )
    args = parser.parse_args()

    is_name = re.fullmatch("[a-z0-9_]+", args.name) and args.name not in pretrained.STRUCTURES
    expected = "made of a-z, 0-9 and _, and not that of an untrained model"
    check(bool(is_name), "name", args.name, expected)
    is_line = len(args.data.splitlines()) == 1 and args.data.strip() == args.data
    is_plain = is_line and not re.search(r"(^|\s)[/~]", args.data)
    check(is_plain, "data", args.data, "one line of text without a path")

    model_path = pretrained.model_path(args.output, args.name)
    card_path = pretrained.card_path(args.output, args.name)
    check_in_place(args.name, model_path, card_path)
    if args.front_end is None:
        package, metrics = read_run(Run(args.exp_dir))
    else:
        package, metrics = read_separator(Run(args.exp_dir), args.front_end)
    stored = in_half_precision(package)
    check_size(stored)
    quality = check_quality(package, stored, metrics)
    stored["infos"] = make_infos(package, metrics, args.data, quality)

    save_atomically(stored, model_path)
    sha256 = hashlib.sha256(model_path.read_bytes()).hexdigest()
    write_text(card_path, make_card(args.name, stored, sha256))
    print(model_path, card_path, sep="\n")


def check_in_place(name: str, model: Path, card: Path) -> None:
    """Raise a ValueError if a file would be replaced that is no published model, nor its card."""
    if os.path.lexists(model) and "licence" not in load_safely(model).get("infos", {}):
        raise ValueError(f"{model} is in the way: expected a published model, or none")
    if os.path.lexists(card) and not card.read_bytes().startswith(f"# {name}\n".encode()):
        raise ValueError(f"{card} is in the way: expected the card of {name}, or none")


def read_run(run: Run) -> tuple[dict, dict]:
    """Read the files of a run's model and of its evaluation, which must belong together.

    Raises:
        FileNotFoundError: if it has not been trained or evaluated.
        ValueError: if one of the files is refused, or not of a trained :class:`.SinuDAE`, or they
            do not belong together.
    """
    package = read_package(run, (SinuDAE,))
    metrics, training = run.read_metrics(), run.read_training()
    told = metrics.get("training", {})
    check_belonging(run.metrics_file, run.model_file, training, told)
    if "si_sdr" not in metrics["medians"][metrics["evaluated"]]:
        raise ValueError(f"{run.metrics_file}: the model has no si_sdr in medians")
    for name in metrics["medians"]:
        check("/" not in name, "name of an evaluated model", name, "one without a path")
    return package, metrics


def read_separator(run: Run, front_end: str) -> tuple[dict, dict]:
    """Read the file of a separator in a folder of several, and of their evaluation.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_run`.
    """
    own = Run(run.folder / front_ends.front_ends(front_end)[0])
    package = read_package(own, tuple(front_ends.CLASSES.values()))
    metrics, training = run.read_metrics(), own.read_training()
    told = metrics.get("separators", {}).get(front_end, {})
    check_belonging(run.metrics_file, own.model_file, training, told)
    of_pair = metrics["evaluated"].removesuffix(SEPARATOR)
    row = front_ends.title(front_end, of_pair) + SEPARATOR
    check(row in metrics["medians"], f"{run.metrics_file}: medians", row, "one of its rows")
    return package, {**metrics, "evaluated": row}


def read_package(run: Run, classes: tuple[type[SafeModel], ...]) -> dict:
    """Read the file of a run's trained model, which must be of one of some classes."""
    path = run.model_file
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: train the run first (stages 2 and 6)")
    package = load_safely(path)
    by_name = {cls.__name__: cls for cls in classes}
    by_name.get(package.get("model_name", ""), classes[0]).from_pretrained(path)
    training = run.read_training()
    if not training or training["steps"] == 0:
        raise ValueError(f"{path} is untrained, expected a model that the recipe has trained")
    return package


def check_size(package: dict) -> None:
    """Raise a ValueError if the file of a package would be too large."""
    size = sum(value.nbytes for value in package["state_dict"].values())
    limit = pretrained.MAX_BYTES
    check(size <= limit, "size of the model in bytes", size, f"at most {limit}")


def check_quality(package: dict, stored: dict, metrics: dict) -> dict[str, float]:
    """Compute the figures in dB of the model in half precision, see :func:`.make_infos`.

    Its rounding errors add to the errors of a pair's reconstruction, or of a separator's best
    estimates, whose median over test segments is known: the sum may be `MAY_COST` larger.

    Raises:
        ValueError: if it is more.
    """
    cls = find_class(package["model_name"], "the run")
    model, half = (cls.from_pretrained(content).eval() for content in (package, stored))
    rounding = noise_si_sdr(half, reference=model)
    figures = metrics["medians"][metrics["evaluated"]]
    best = max(value for key, value in figures.items() if not key.startswith("si_sdri"))
    level = min(figures.get("si_sdr", best), MATTERS_UP_TO)
    cost = 10 * math.log10(1 + 10 ** ((level - rounding) / 10))
    check(
        cost <= MAY_COST,
        "what half precision takes from the output in dB",
        round(cost, 2),
        f"at most {MAY_COST} of {level:.1f}",
    )
    of_noise = {"noise_si_sdr": noise_si_sdr(half)} if cls is SinuDAE else {}
    return {"rounding": rounding, "cost": cost, **of_noise}


if __name__ == "__main__":
    scripts.run(main)
