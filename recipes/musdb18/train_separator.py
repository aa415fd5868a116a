"""Train two separators of vocals and accompaniment, or continue where their training was cut off.

One masker, with the same arguments, objective and batches in the same order, is trained on the
frozen pair of a run and on its STFT. Each is a run of its own, in the folders sinudae and stft of
--exp_dir.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from utils import scripts

from asteroid_sinudae.data.segments import TrainSegments
from asteroid_sinudae.data.tracks import SOURCES, Manifest
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.runs import training
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import (
    OF_TABLE,
    load_representations,
    pair_name,
    stft_conf,
    stft_sizes,
)
from asteroid_sinudae.training.separator_system import SEPARATORS, SeparatorSystem, make_separators

CONF = Path(__file__).resolve().parent / "local" / "conf_separator.yml"


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.SEPARATOR_FOLDERS)
    args, conf = scripts.parse_args_with_conf(parser, CONF)
    with training.only_training(Run(args.exp_dir)):
        train_both(args, conf)


def train_both(args: argparse.Namespace, conf: dict) -> None:
    """Train as a configuration says, in a folder that is held."""
    manifest, pair_run = Manifest.load(args.data_dir), Run(args.pair_dir)
    if not pair_run.model_file.is_file():
        raise FileNotFoundError(f"{pair_run.model_file} not found: train the pair first (stage 2)")
    pair_conf = pair_run.read_conf(scripts.base_conf(), (*OF_TABLE, "filterbank.kernel_size"))
    pair = load_representations(pair_run, pair_conf, manifest)[pair_name(pair_conf)]
    initial = load_initial(conf, args.given)
    check_conf(conf, pair_conf)
    dataset = training.make_dataset(manifest, conf)

    pl.seed_everything(conf["training"]["seed"], workers=True, verbose=False)
    separators = make_separators(pair, stft_sizes(pair_conf), conf["masker"])
    # What a resumed run must share with its checkpoint.
    shared = {
        "pair": model_digest(pair),
        "train_segments": len(dataset),
        "train_data": training.data_digest(manifest),
        **stft_conf(pair_conf),
    }
    for name, separator in separators.items():
        print(f"{name}: {args.exp_dir / name}")
        facts = shared
        if initial:
            facts = {**shared, "initial_model": model_digest(initial[name])}
            start_from(initial[name], separator, conf["training"]["init_from"])
        train(separator, dataset, conf, facts, Run(args.exp_dir / name))


def load_initial(conf: dict, given: set[str]) -> dict[str, nn.Module]:
    """Load the separators in the folder that `init_from` names, if any, by name.

    Their maskers' arguments become those of `conf`.

    Raises:
        ValueError: if one is refused, or an argument that was given is not theirs.
        FileNotFoundError: if one is not there.
    """
    folder = conf["training"]["init_from"]
    if not folder:
        return {}
    initial = {
        name: kind.from_pretrained(Run(Path(folder) / name).model_file)
        for name, kind in SEPARATORS.items()
    }
    for name, separator in initial.items():
        found = separator.get_model_args()
        source = Path(folder) / name
        conf["masker"] = training.take_arguments(conf["masker"], found, given, source)
        given = set(conf["masker"])  # the second has the masker of the first
    return initial


def start_from(initial: nn.Module, separator: nn.Module, folder: str) -> None:
    """Give a separator the weights of another's masker, on the same number of channels."""
    expected, found = (each.masker.get_config() for each in (separator, initial))
    for key in ("in_chan", "out_chan", "n_src"):
        if expected[key] != found[key]:
            raise ValueError(
                f"init_from={folder} has separators with {key}={found[key]}, expected "
                f"{expected[key]}, as the pair and its STFT need"
            )
    separator.masker.load_state_dict(initial.masker.state_dict())


def train(separator: nn.Module, dataset: TrainSegments, conf: dict, facts: dict, run: Run) -> None:
    """Train what is not frozen of a separator."""
    loader = training.make_loader(dataset, conf)
    decay_steps = training.decay_steps(conf, loader)
    learned = [parameter for parameter in separator.parameters() if parameter.requires_grad]
    # Not fused: Lightning refuses to clip the gradients of a fused optimiser under autocast.
    optimizer = torch.optim.Adam(learned, lr=conf["optim"]["lr"])
    system = SeparatorSystem(
        separator,
        optimizer,
        loader,
        scheduler=training.linear_decay(optimizer, decay_steps),
        config={**conf, "run": {**facts, "decay_steps": decay_steps}},
        **conf["objective"],
    )
    training.train(
        system,
        conf,
        run,
        clip_norm=conf["optim"]["clip_norm"],
        infos={"sources": list(SOURCES)},
    )


def check_conf(conf: dict, pair_conf: dict) -> None:
    """Raise a ValueError if segments and kernels do not go together, or nothing is to do."""
    longest = max(pair_conf["filterbank"]["kernel_size"], pair_conf["baseline"]["stft_n_fft"])
    if conf["data"]["segment"] < longest:
        raise ValueError(
            f"segment={conf['data']['segment']} is shorter than a kernel, expected at least "
            f"{longest}"
        )
    if conf["optim"]["clip_norm"] <= 0:
        raise ValueError(f"clip_norm must be positive, got {conf['optim']['clip_norm']}")
    training.check_training(conf)


if __name__ == "__main__":
    scripts.run(main)
