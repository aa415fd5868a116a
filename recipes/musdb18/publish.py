"""Make the model of an evaluated run one that comes with the package.

Writes NAME.pth, in half precision, and its card NAME.md into --output. No path is in them: the
training data is described by --data.
"""

import hashlib
import math
import os
import re
from pathlib import Path

from utils import scripts

from asteroid_sinudae import SinuDAE, pretrained
from asteroid_sinudae.metrics import noise_si_sdr
from asteroid_sinudae.models.model_files import in_half_precision
from asteroid_sinudae.runs.cards import make_card, make_infos
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.utils.checks import check
from asteroid_sinudae.utils.files import load_safely, save_atomically, write_text

MATTERS_UP_TO = 60.0  # dB, reconstruction above which half precision may cost more
MAY_COST = 0.5  # dB


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument("--exp_dir", type=scripts.path, required=True, help="folder of the run")
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
    package, metrics = read_run(Run(args.exp_dir))
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
    path = run.model_file
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: train the run first (stage 2)")
    SinuDAE.from_pretrained(path)
    package, metrics, training = load_safely(path), run.read_metrics(), run.read_training()
    if not training or training["steps"] == 0:
        raise ValueError(f"{path} is untrained, expected a model that train.py has trained")
    told = metrics.get("training", {})
    if not told or any(training.get(key) != value for key, value in told.items()):
        raise ValueError(
            f"{run.metrics_file} is of another training than {path}: evaluate again (stage 3)"
        )
    if "si_sdr" not in metrics["medians"][metrics["evaluated"]]:
        raise ValueError(f"{run.metrics_file}: the model has no si_sdr in medians")
    for name in metrics["medians"]:
        check("/" not in name, "name of an evaluated model", name, "one without a path")
    return package, metrics


def check_size(package: dict) -> None:
    """Raise a ValueError if the file of a package would be too large."""
    size = sum(value.nbytes for value in package["state_dict"].values())
    limit = pretrained.MAX_BYTES
    check(size <= limit, "size of the model in bytes", size, f"at most {limit}")


def check_quality(package: dict, stored: dict, metrics: dict) -> dict[str, float]:
    """Compute the figures in dB of the model in half precision, see :func:`.make_infos`.

    Its rounding errors add to the errors of the reconstruction, whose median over test segments is
    known: the sum may be `MAY_COST` larger.

    Raises:
        ValueError: if it is more.
    """
    model, half = (SinuDAE.from_pretrained(content).eval() for content in (package, stored))
    rounding = noise_si_sdr(half, reference=model)
    reconstruction = metrics["medians"][metrics["evaluated"]]["si_sdr"]
    level = min(reconstruction, MATTERS_UP_TO)
    cost = 10 * math.log10(1 + 10 ** ((level - rounding) / 10))
    check(
        cost <= MAY_COST,
        "what half precision takes from the reconstruction in dB",
        round(cost, 2),
        f"at most {MAY_COST} of {level:.1f}",
    )
    return {"rounding": rounding, "cost": cost, "noise_si_sdr": noise_si_sdr(half)}


if __name__ == "__main__":
    scripts.run(main)
