"""Train the denoising auto-encoder, or continue a training that was cut off.

Writes its configuration, checkpoint, logs and, at the end, the model after the last update into
--exp_dir; with max_steps 0, the model at its start.
"""

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from utils import scripts

from asteroid_sinudae import SinuDAE
from asteroid_sinudae.data.tracks import Manifest
from asteroid_sinudae.models.model_files import model_digest, pair_bounds
from asteroid_sinudae.models.pretrained import describe_sizes
from asteroid_sinudae.runs import training
from asteroid_sinudae.runs.folder import Run
from asteroid_sinudae.runs.representations import load_stft
from asteroid_sinudae.training.checkpoints import StopAtPlateau
from asteroid_sinudae.training.dae_system import DAESystem
from asteroid_sinudae.training.objectives import make_objectives
from asteroid_sinudae.training.step_sizes import relative_groups
from asteroid_sinudae.utils.checks import check

# Keys of the group `objective` that are the system's own; the others are those of the objectives.
OF_SYSTEM = ("noise_std", "white_noise", "sort")


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_folders(scripts.RUN_FOLDERS)
    args, conf = scripts.parse_args_with_conf(parser)
    run, given = Run(args.exp_dir), args.given
    if args.conf.resolve() in (run.conf_file.resolve(), run.job_file.resolve()):
        # A run's own configuration is a whole one, in which nothing was left to a default.
        given = {key for values in conf.values() for key in values}
    with training.only_training(run):
        train(run, args.data_dir, conf, given)


def train(run: Run, data_dir: Path, conf: dict, given: set[str]) -> None:
    """Train as a configuration says, of which some keys were given, in a folder that is held."""
    manifest = Manifest.load(data_dir)
    initial = load_initial(conf, given)
    check_conf(conf, manifest)
    dataset = training.make_dataset(manifest, conf)
    loader = training.make_loader(dataset, conf, conf["data"]["matched"])
    decay_steps = training.decay_steps(conf, loader)
    # What a resumed run must share with its checkpoint.
    facts = {
        "train_tracks": len(manifest.subset("train")),
        "train_segments": len(dataset),
        "train_data": training.data_digest(manifest.subset("train")),
        "decay_steps": decay_steps,
    }
    if initial is not None:
        facts["initial_model"] = model_digest(initial)

    pl.seed_everything(conf["training"]["seed"], workers=True, verbose=False)
    model = SinuDAE(**conf["filterbank"]) if initial is None else initial
    describe(model)
    optimizer = make_optimizer(model, conf["optim"])
    objective = dict(conf["objective"])
    of_system = {key: objective.pop(key) for key in OF_SYSTEM}
    system = DAESystem(
        model,
        optimizer,
        loader,
        scheduler=training.linear_decay(optimizer, decay_steps),
        seed=conf["training"]["seed"],
        config={**conf, "run": facts},
        objectives=make_objectives(**objective),
        **of_system,
    )
    callbacks = [StopAtPlateau()] if conf["training"]["early_stop"] else []
    training.train(system, conf, run, callbacks)


def load_initial(conf: dict, given: set[str]) -> SinuDAE | None:
    """Load the model that `init_from` names, if any; its arguments become those of `conf`.

    Raises:
        ValueError: if there is no such model, or an argument that was given is not the model's.
        FileNotFoundError: if what looks like a path is no file.
    """
    source = conf["training"]["init_from"]
    if not source:
        return None
    model = SinuDAE.from_pretrained(source)
    found = model.get_model_args()
    conf["filterbank"] = training.take_arguments(conf["filterbank"], found, given, source)
    return model


@rank_zero_only
def describe(model: SinuDAE) -> None:
    """Print a model's sizes, and how far it is from exact reconstruction."""
    print(describe_sizes(model.get_model_args()))
    if model.get_model_args()["init"] == "multires":
        lower, upper = pair_bounds(model)
        print(f"Gains before training from {lower:.4f} to {upper:.4f}, 1 is exact")


def make_optimizer(model: SinuDAE, optim: dict) -> torch.optim.Optimizer:
    """Make Adam with one learning rate, or one a tensor that is a fraction of the tensor's size."""
    check(optim["eps"] > 0, "eps", optim["eps"], "more than 0")
    groups = relative_groups(model, optim["lr"]) if optim["lr_relative"] else model.parameters()
    return torch.optim.Adam(groups, lr=optim["lr"], eps=optim["eps"], fused=True)


def check_conf(conf: dict, manifest: Manifest) -> None:
    """Raise a ValueError if segments, kernels and data do not go together."""
    if conf["data"]["segment"] < conf["filterbank"]["kernel_size"]:
        raise ValueError(
            f"segment={conf['data']['segment']} is shorter than a kernel, expected at least "
            f"kernel_size={conf['filterbank']['kernel_size']}"
        )
    if conf["filterbank"]["sample_rate"] != manifest.sample_rate:
        raise ValueError(
            f"sample_rate={conf['filterbank']['sample_rate']} differs from that of the prepared "
            f"data, {manifest.sample_rate} Hz"
        )
    training.check_training(conf)
    load_stft(conf, manifest)  # the evaluation will need it


if __name__ == "__main__":
    scripts.run(main)
