"""The representations that are compared: a run's trained pair, its STFT, and others."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..data.tracks import Manifest
from ..models.representation import Representation
from ..models.sinudae import SinuDAE
from ..models.stft import STFT
from ..utils.checks import check
from .folder import Run
from .limits import check_stft

STFT_NAME = "STFT"  # in tables
# Keys of a run's configuration without which there is no STFT, and no table of its representations.
OF_STFT = ("baseline.stft_n_fft", "baseline.stft_stride", "baseline.stft_window")
OF_TABLE = (*OF_STFT, "filterbank.decoder")


def pair_name(conf: dict) -> str:
    """Return the name in tables of the pair that a configuration trains.

    Examples
        >>> pair_name({"filterbank": {"decoder": "mod_cos"}})
        'mod-cos DAE'
    """
    return f"{conf['filterbank']['decoder'].replace('_', '-')} DAE"


def pretrained_names(conf: dict) -> list[str]:
    """Return the names of the models of the package that a configuration wants to stand beside.

    Examples
        >>> pretrained_names({"baseline": {"pretrained": "one two"}}), pretrained_names({})
        (['one', 'two'], [])
    """
    return conf.get("baseline", {}).get("pretrained", "").split()


def load_representations(
    run: Run,
    conf: dict,
    manifest: Manifest,
    device: torch.device | str = "cpu",
    pretrained: Sequence[str] = (),
) -> dict[str, Representation]:
    """Load representations, by the name that they have in tables, in the order of their rows.

    Args:
        run (Run): The run of the trained pair, whose name is :func:`pair_name`.
        conf (dict): Its configuration, whose STFT has the name `STFT_NAME`.
        manifest (Manifest): Manifest of the prepared data to evaluate on.
        device (:class:`torch.device` or str): Where they compute.
        pretrained (sequence of str): Names of models that come with the package, to stand between.

    Raises:
        FileNotFoundError: if the run has no model.
        ValueError: if a model is refused, is for another sample rate than that of the data, or is
            named twice.
    """
    models: dict[str, Path | str] = {pair_name(conf): run.model_file}
    for name in pretrained:
        check(name not in models, "pretrained", name, "another name than those before it")
        models[name] = name
    pairs = {name: _load_dae(source, manifest).to(device) for name, source in models.items()}
    return {**pairs, **load_stft(conf, manifest, device)}


def load_stft(
    conf: dict, manifest: Manifest, device: torch.device | str = "cpu"
) -> dict[str, Representation]:
    """Make the STFT of a configuration alone, by its name in tables.

    Raises:
        ValueError: if it cannot be inverted, or is too large to compute.
    """
    check_stft(conf)
    return {STFT_NAME: STFT(**stft_sizes(conf), sample_rate=manifest.sample_rate).to(device)}


def stft_conf(conf: dict) -> dict:
    """Select the values of a configuration whose keys begin with `stft_`."""
    return {key: value for key, value in conf["baseline"].items() if key.startswith("stft_")}


def stft_sizes(conf: dict) -> dict:
    """Return the same by the names that arguments have: `n_fft`, `stride`, `window`."""
    return {key.removeprefix("stft_"): value for key, value in stft_conf(conf).items()}


def _load_dae(source: Path | str, manifest: Manifest) -> SinuDAE:
    dae = SinuDAE.from_pretrained(source)
    check_rate(source, dae, manifest.sample_rate)
    return dae


def check_rate(source: Path | str, model: nn.Module, sample_rate: float) -> None:
    """Raise a ValueError that names `source` if its model is for another rate than the data's."""
    if model.sample_rate != sample_rate:
        raise ValueError(
            f"{source} is for {model.sample_rate:.10g} Hz, the data has {sample_rate:.10g} Hz"
        )
