"""What tests of the command line share: models and state dicts in files, and its one line."""

import torch

from asteroid_sinudae.cli import main
from asteroid_sinudae.utils.files import load_safely

PAIR_NOTE = " is reconstructed, not separated: the model is a pair"
SIZES = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=8, skip_chan=4)


def save_encoder(**changes):
    """Write `encoder.pytorch`, keyword arguments being `conv_a1` and `conv_a2`."""
    shapes = {"conv_a1": (12, 1, 64), "conv_a2": (12, 12, 5)}
    values = {name: torch.randn(shape) for name, shape in shapes.items()} | changes
    torch.save({f"{name}.weight": value for name, value in values.items()}, "encoder.pytorch")


def import_weights(*options, out="model.pth"):
    return main(
        ["import-weights", "encoder.pytorch", "decoder.pytorch", out, "--stride", "16", *options]
    )


def mistake(capsys, status):
    """The one line on stderr, without the command's name, of a call that ended with `status` 1.

    The note that a pair does not separate may stand before it.
    """
    printed = capsys.readouterr()
    assert status == 1 and printed.out == "" and printed.err.endswith("\n")
    lines = [line for line in printed.err.splitlines() if not line.endswith(PAIR_NOTE)]
    assert len(lines) == 1 and lines[0].startswith("sinudae: ")
    return lines[0].removeprefix("sinudae: ")


def save(model, path, **infos):
    package = model.serialize()
    package["infos"].update(infos)
    torch.save(package, path)


def change(path, new, **changes):
    """Another model file, with other values in it; without those that are None."""
    package = {**load_safely(path), **changes}
    torch.save({key: value for key, value in package.items() if value is not None}, new)
