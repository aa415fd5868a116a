"""Train separators of vocals and accompaniment, or continue where their training was cut off.

One masker, with the same arguments, objective and batches in the same order, is trained on each of
the front-ends: the pair of a run, frozen or trained along, STFTs, and free filterbanks. Each is a
run of its own, in the folder of --exp_dir with its name. Mixtures are drawn from all songs, at
random places and levels.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from utils import scripts

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.segments import RemixedSegments
from asteroid_sinudae.data.tracks import SOURCES, Manifest, Track
from asteroid_sinudae.models.model_files import model_digest
from asteroid_sinudae.models.separators import PairSeparator
from asteroid_sinudae.runs import front_ends, training
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import OF_TABLE, load_representations, pair_name
from asteroid_sinudae.runs.separators import products_per_second
from asteroid_sinudae.runs.validation import Validation, split_validation
from asteroid_sinudae.training.separator_system import SeparatorSystem
from asteroid_sinudae.training.step_sizes import relative_groups
from asteroid_sinudae.utils.checks import check

CONF = Path(__file__).resolve().parent / "local" / "conf_separator.yml"


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.SEPARATOR_FOLDERS)
    args, conf = scripts.parse_args_with_conf(parser, CONF)
    with training.only_training(Run(args.exp_dir)):
        train_all(args, conf)


def train_all(args: argparse.Namespace, conf: dict) -> None:
    """Train as a configuration says, in a folder that is held."""
    manifest, pair_run = Manifest.load(args.data_dir), Run(args.pair_dir)
    if not pair_run.model_file.is_file():
        raise FileNotFoundError(f"{pair_run.model_file} not found: train the pair first (stage 2)")
    pair_conf = pair_run.read_conf(scripts.base_conf(), OF_TABLE)
    pair = load_representations(pair_run, pair_conf, manifest)[pair_name(pair_conf)]
    names = front_ends.front_ends(conf["front_end"]["front_ends"])
    initial = load_initial(names, conf, args.given)
    check_conf(conf, pair, names)
    trained, validated = split_validation(manifest.subset("train"), conf["data"]["valid_tracks"])
    loader = make_loader(trained, conf)

    pl.seed_everything(conf["training"]["seed"], workers=True, verbose=False)
    freeze = conf["optim"]["pair_lr"] == 0
    separators = {
        name: front_ends.make_separator(name, pair, conf["masker"], freeze) for name in names
    }
    # What a resumed run must share with its checkpoint.
    shared = {
        "pair": model_digest(pair),
        "train_segments": len(loader.dataset),
        "train_data": training.data_digest(trained, loader.dataset.names),
    }
    for name, separator in separators.items():
        run, facts = Run(args.exp_dir / name), {**shared, "front_end": name}
        print(f"{name}: {run.folder}, {describe(separator)}")
        if initial:
            facts["initial_model"] = model_digest(initial[name])
            start_from(initial[name], separator, conf["training"]["init_from"])
        train(separator, loader, validated, conf, facts, run)


def make_loader(tracks: list[Track], conf: dict) -> DataLoader:
    """Make the loader of mixtures that are drawn from songs."""
    data = conf["data"]
    gains = data["gain_low"], data["gain_high"]
    keep_on, seed = data["keep_on"] or None, conf["training"]["seed"]
    return training.make_loader(
        RemixedSegments(
            tracks, data["segment"], gains, seed, keep_on, data["pan"], data["semitones"]
        ),
        conf,
    )


def describe(separator: nn.Module) -> str:
    """Say how large a separator's masker is, and what a second of audio costs it."""
    millions = sum(parameter.numel() for parameter in separator.masker.parameters()) / 1e6
    rate = separator.sample_rate / separator.encoder.stride
    products = products_per_second(separator) / 1e9
    return (
        f"masker of {millions:.2f} million parameters, {rate:.0f} frames and {products:.2f} "
        "billion products a second"
    )


def load_initial(names: list[str], conf: dict, given: set[str]) -> dict[str, nn.Module]:
    """Load the separators in the folder that `init_from` names, if any, by name.

    Their maskers' arguments become those of `conf`.

    Raises:
        ValueError: if one is refused, or an argument that was given is not theirs.
        FileNotFoundError: if one is not there.
    """
    folder, masker = conf["training"]["init_from"], conf["masker"]["masker"]
    if not folder:
        return {}
    initial = {
        name: front_ends.separator_class(name, masker).from_pretrained(
            Run(Path(folder) / name).model_file
        )
        for name in names
    }
    for name, separator in initial.items():
        found = {**conf["masker"], **separator.masker.get_config()}
        source = Path(folder) / name
        conf["masker"] = training.take_arguments(conf["masker"], found, given, source)
        given = set(conf["masker"])  # the others have the masker of the first
    return initial


def start_from(initial: nn.Module, separator: nn.Module, folder: str) -> None:
    """Give a separator the weights of another's masker, and of a filterbank learned with it.

    Raises a ValueError if the other has other channels.
    """
    expected, found = (each.masker.get_config() for each in (separator, initial))
    for key in ("in_chan", "n_src", "band_sizes"):
        if expected.get(key) != found.get(key):
            raise ValueError(
                f"init_from={folder} has separators with {key}={found[key]}, expected "
                f"{expected[key]}, as the front-ends need"
            )
    learned = {name for name, value in separator.named_parameters() if value.requires_grad}
    state = {
        name: value
        for name, value in initial.state_dict().items()
        if name in learned or name.startswith("masker.")
    }
    separator.load_state_dict(state, strict=False)


def train(
    separator: nn.Module,
    loader: DataLoader,
    validated: list[Track],
    conf: dict,
    facts: dict,
    run: Run,
) -> None:
    """Train what is not frozen of a separator."""
    decay_steps = training.decay_steps(conf, loader)
    optimizer = make_optimizer(separator, conf["optim"])
    system = SeparatorSystem(
        separator,
        optimizer,
        loader,
        scheduler=training.linear_decay(optimizer, decay_steps),
        ema_decay=conf["optim"]["ema_decay"],
        config={**conf, "run": {**facts, "decay_steps": decay_steps}},
        **conf["objective"],
    )
    data = conf["data"]
    callbacks = [Validation(validated, data["valid_segment"], data["valid_every"])]
    training.train(
        system,
        conf,
        run,
        callbacks if validated else [],
        clip_norm=conf["optim"]["clip_norm"],
        infos={"sources": list(SOURCES)},
    )


def make_optimizer(separator: nn.Module, optim: dict) -> torch.optim.Optimizer:
    """Make Adam; a pair that is trained along moves by a fraction of its tensors' sizes."""
    groups: list[dict] = []
    if optim["pair_lr"] and isinstance(separator, PairSeparator):
        pair = nn.ModuleList([separator.encoder, separator.decoder])
        groups = relative_groups(pair, optim["pair_lr"])
    of_pair = {parameter for group in groups for parameter in group["params"]}
    others = [p for p in separator.parameters() if p.requires_grad and p not in of_pair]
    # Not fused: Lightning refuses to clip the gradients of a fused optimiser under autocast.
    return torch.optim.Adam([{"params": others}, *groups], lr=optim["lr"])


def check_conf(conf: dict, pair: SinuDAE, names: list[str]) -> None:
    """Raise a ValueError if segments and kernels do not go together, or nothing is to do."""
    for name in names:
        front_ends.separator_class(name, conf["masker"]["masker"])
    longest = max(front_ends.kernel_size(name, pair) for name in names)
    for key in ("segment", "valid_segment"):
        if conf["data"][key] < longest:
            raise ValueError(
                f"{key}={conf['data'][key]} is shorter than a kernel, expected at least {longest}"
            )
    check(conf["optim"]["pair_lr"] >= 0, "pair_lr", conf["optim"]["pair_lr"], "0 or more")
    if conf["optim"]["clip_norm"] <= 0:
        raise ValueError(f"clip_norm must be positive, got {conf['optim']['clip_norm']}")
    training.check_training(conf)


if __name__ == "__main__":
    scripts.run(main)
