"""The two systems that are compared: an experiment's trained auto-encoder and its STFT."""

from pathlib import Path

import torch

from asteroid_sinudae import STFT, Representation, SinuDAE
from asteroid_sinudae.data import Manifest


def load_systems(
    exp_dir: Path, conf: dict, manifest: Manifest, device: torch.device | str = "cpu"
) -> dict[str, Representation]:
    """Systems by the name they have in tables, the auto-encoder first.

    Args:
        exp_dir (Path): Folder of the experiment, with best_model.pth.
        conf (dict): Its configuration.
        manifest (Manifest): Of the prepared data to evaluate on.
        device (:class:`torch.device` or str): Where they compute.

    Raises:
        FileNotFoundError: if there is no best_model.pth.
        ValueError: if it is refused, or for another sample rate than that of the data.
    """
    path = exp_dir / "best_model.pth"
    dae = SinuDAE.from_pretrained(path)
    if dae.sample_rate != manifest.sample_rate:
        raise ValueError(
            f"{path} is for {dae.sample_rate} Hz, the data has {manifest.sample_rate} Hz"
        )
    stft = STFT(
        n_fft=conf["baseline"]["stft_n_fft"],
        stride=conf["baseline"]["stft_stride"],
        window=conf["baseline"]["stft_window"],
        sample_rate=manifest.sample_rate,
    )
    decoder = conf["filterbank"]["decoder"].replace("_", "-")
    return {f"{decoder} DAE": dae.to(device), "STFT": stft.to(device)}
