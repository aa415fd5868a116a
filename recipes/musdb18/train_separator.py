"""Train two separators of vocals and accompaniment, or continue where their training was cut off.

One masker, with the same arguments, objective and batches in the same order, is trained on the
frozen auto-encoder of an experiment and on its STFT. Each has a folder in --exp_dir, sinudae and
stft, with conf.yml, checkpoints/last.ckpt, logs/ and, at the end, best_model.pth.
"""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from utils import scripts, training
from utils.systems import OF_SYSTEMS, load_systems, read_run_conf, stft_conf

from asteroid_sinudae.bsseval import model_digest
from asteroid_sinudae.data import Manifest, TrainSegments
from asteroid_sinudae.separation import SOURCES, SeparatorSystem, make_separators

CONF = Path(__file__).resolve().parent / "local" / "conf_separator.yml"


def main() -> None:
    parser = scripts.Parser(__doc__)
    parser.add_argument(
        "--exp_dir", type=scripts.path, required=True, help="folder of the separators"
    )
    parser.add_argument(
        "--pair_dir",
        type=scripts.path,
        required=True,
        help="folder of the trained auto-encoder (stage 2)",
    )
    parser.add_argument(
        "--data_dir", type=scripts.path, required=True, help="folder of prepared data"
    )
    args, conf = scripts.parse_args_with_conf(parser, CONF)

    manifest = Manifest.load(args.data_dir)
    if not (args.pair_dir / "best_model.pth").is_file():
        raise FileNotFoundError(
            f"{args.pair_dir / 'best_model.pth'} not found: train the pair first (stage 2)"
        )
    pair_conf = read_run_conf(args.pair_dir, (*OF_SYSTEMS, "filterbank.kernel_size"))
    pair = next(iter(load_systems(args.pair_dir, pair_conf, manifest).values()))
    check_conf(conf, pair_conf)
    dataset = training.make_dataset(manifest, conf)

    pl.seed_everything(conf["training"]["seed"], workers=True, verbose=False)
    stft = {key.removeprefix("stft_"): value for key, value in stft_conf(pair_conf).items()}
    separators = make_separators(pair, stft, conf["masker"])
    # What a resumed run must share with its checkpoint.
    run = {"pair": model_digest(pair), "train_segments": len(dataset), **stft_conf(pair_conf)}
    for name, separator in separators.items():
        print(f"{name}: {args.exp_dir / name}")
        train(separator, dataset, conf, run, args.exp_dir / name)


def train(separator: nn.Module, dataset: TrainSegments, conf: dict, run: dict, exp_dir: Path):
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
        config={**conf, "run": {**run, "decay_steps": decay_steps}},
        **conf["objective"],
    )
    training.train(
        system,
        conf,
        exp_dir,
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
