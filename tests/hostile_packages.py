"""Packages of models with one thing changed, and what may become of them."""

import os

import torch

from asteroid_sinudae import (
    SinuDAE,
    SinuDAEConvTasNet,
)
from asteroid_sinudae.cli import main

SIZES = dict(n_filters=12, kernel_size=64, stride=16)
MASKER = dict(n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=6, skip_chan=4)
FILTERS = "encoder.filterbank._filters"


class RunsCode:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def package_of_dae(**arguments):
    return SinuDAE(**{**SIZES, **arguments}).serialize()


def package_of_separator():
    return SinuDAEConvTasNet(2, pretrained=SinuDAE(**SIZES), **MASKER).serialize()


def with_arguments(package, **changes):
    return {**package, "model_args": {**package["model_args"], **changes}}


def with_weight(package, value, name=FILTERS):
    return {**package, "state_dict": {**package["state_dict"], name: value}}


def authors_state_dicts():
    encoder = {"conv_a1.weight": torch.randn(12, 1, 64), "conv_a2.weight": torch.randn(12, 12, 5)}
    decoder = {
        "freq_mat": torch.rand(12, 1, 1),
        "phi": torch.randn(12, 1, 1),
        "norm_factor": torch.randn(12, 1, 64),
    }
    return encoder, decoder


def works_or_refuses(load, *args):
    """Whether `load` gives a model that gives a waveform; otherwise it raises what it may."""
    try:
        model = load(*args)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    model = model[0] if isinstance(model, tuple) else model
    with torch.no_grad():
        assert model(torch.randn(1, 1, 200)).shape[-1] == 200
    return True


def prints_or_refuses(capsys, *argv):
    status = main([str(argument) for argument in argv])
    printed = capsys.readouterr()
    if status == 0:
        assert printed.out and printed.err == ""
    else:
        assert status == 1 and printed.out == "" and printed.err.startswith("sinudae: ")
        assert printed.err.count("\n") == 1 and "TRACEBACK" not in printed.err
    return printed.err.removeprefix("sinudae: ").rstrip("\n")
