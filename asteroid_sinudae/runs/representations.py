"""The systems that are compared: an experiment's trained auto-encoder, its STFT, and others."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from ..data.segments import Manifest
from ..models.sinudae import STFT, Representation, SinuDAE
from ..utils.checks import check
from ..utils.schema import validated
from .conf import read_conf, type_of
from .limits import check_stft

STFT_NAME = "STFT"  # in tables
# Keys of a run's configuration without which there is no STFT, and no table of its systems.
OF_STFT = ("baseline.stft_n_fft", "baseline.stft_stride", "baseline.stft_window")
OF_SYSTEMS = (*OF_STFT, "filterbank.decoder")


def read_run_conf(exp_dir: Path, defaults: dict, needed: Iterable[str] = OF_SYSTEMS) -> dict:
    """The configuration in a run's conf.yml.

    Args:
        exp_dir (Path): Folder of the run.
        defaults (dict): Two-level configuration of all keys.
        needed (iterable of str): Keys that must not be missing, as `group.key`.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: naming what is wrong in it.
    """
    return read_conf(exp_dir / "conf.yml", defaults, needed)


def check_run_conf(conf: object, defaults: dict, where: str) -> dict:
    """A configuration that another file holds, as :func:`read_run_conf` would have read it."""
    return validated(type_of(defaults, OF_SYSTEMS), conf, where)


def load_systems(
    exp_dir: Path,
    conf: dict,
    manifest: Manifest,
    device: torch.device | str = "cpu",
    pretrained: Sequence[str] = (),
) -> dict[str, Representation]:
    """Systems by the name they have in tables, the auto-encoder first and the STFT last.

    Args:
        exp_dir (Path): Folder of the experiment, with best_model.pth.
        conf (dict): Its configuration.
        manifest (Manifest): Of the prepared data to evaluate on.
        device (:class:`torch.device` or str): Where they compute.
        pretrained (sequence of str): Names of models that come with the package, to stand between.

    Raises:
        FileNotFoundError: if there is no best_model.pth.
        ValueError: if a model is refused, is for another sample rate than that of the data, or is
            named twice.
    """
    decoder = conf["filterbank"]["decoder"].replace("_", "-")
    models = {f"{decoder} DAE": exp_dir / "best_model.pth"}
    for name in pretrained:
        check(name not in models, "pretrained", name, "another name than those before it")
        models[name] = name
    systems = {name: _load_dae(source, manifest).to(device) for name, source in models.items()}
    return {**systems, **load_stft(conf, manifest, device)}


def load_stft(
    conf: dict, manifest: Manifest, device: torch.device | str = "cpu"
) -> dict[str, Representation]:
    """The STFT of a configuration alone, by its name in tables.

    Raises:
        ValueError: if it cannot be inverted, or is too large to compute.
    """
    check_stft(conf)
    sizes = {key.removeprefix("stft_"): value for key, value in stft_conf(conf).items()}
    return {STFT_NAME: STFT(**sizes, sample_rate=manifest.sample_rate).to(device)}


def stft_conf(conf: dict) -> dict:
    """What a configuration says of the STFT, by its keys there, which begin with `stft_`."""
    return {key: value for key, value in conf["baseline"].items() if key.startswith("stft_")}


def _load_dae(source: Path | str, manifest: Manifest) -> SinuDAE:
    dae = SinuDAE.from_pretrained(source)
    if dae.sample_rate != manifest.sample_rate:
        raise ValueError(
            f"{source} is for {dae.sample_rate} Hz, the data has {manifest.sample_rate} Hz"
        )
    return dae
