"""Validation of separators in training, on songs that they are not trained on."""

from collections.abc import Sequence

import pandas as pd
import torch
from pytorch_lightning import Callback

from ..data.tracks import SOURCES, Track
from ..evaluation.blind import evaluate_separation
from ..evaluation.estimates import separator_estimator
from ..utils.checks import check, check_positive_int

NAME = "separator"


def split_validation(
    tracks: Sequence[Track], number: int
) -> tuple[Sequence[Track], Sequence[Track]]:
    """Divide the train songs into those to train on and those to validate on.

    The latter are evenly spread over the songs in the order of the manifest, so that which they are
    depends on nothing else.

    Args:
        tracks (sequence of Track): The songs.
        number (int): Number of songs to validate on, which may be 0.

    Raises:
        ValueError: if no song would be left to train on.
    """
    check(0 <= number < len(tracks), "valid_tracks", number, f"0 to {len(tracks) - 1} songs")
    chosen = {(2 * k + 1) * len(tracks) // (2 * number) for k in range(number)}
    kept = [track for place, track in enumerate(tracks) if place not in chosen]
    return kept, [tracks[place] for place in sorted(chosen)]


class Validation(Callback):
    """Logs the median SI-SDR of each source on songs, with the weights that training results in.

    Args:
        tracks (sequence of Track): The songs.
        segment (int): Length of their segments in samples, which do not overlap.
        every (int): Updates from one evaluation to the next; the last update is evaluated too.

    Attributes:
        history (list of dict): What was found in this process: `step`, and `si_sdr_<source>`.
    """

    def __init__(self, tracks: Sequence[Track], segment: int, every: int):
        check_positive_int("valid_every", every)
        self.tracks, self.segment, self.every = tracks, segment, every
        self.history: list[dict] = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        """Evaluate after every so many updates."""
        if trainer.global_step % self.every == 0:
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        """Evaluate the result."""
        if not self.history or self.history[-1]["step"] != trainer.global_step:
            self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer, pl_module):
        if not trainer.is_global_zero:
            return
        with pl_module.final_weights():
            found = self.medians(pl_module.model, pl_module.device)
        pl_module.model.train()
        self.history.append({"step": trainer.global_step, **found})
        for logger in trainer.loggers:
            logger.log_metrics({f"valid_{k}": v for k, v in found.items()}, trainer.global_step)
        words = ", ".join(f"{name.removeprefix('si_sdr_')} {v:.2f}" for name, v in found.items())
        print(f"Update {trainer.global_step}, validation songs, SI-SDR in dB: {words}")

    def medians(self, model: torch.nn.Module, device: torch.device | str) -> dict[str, float]:
        """Return the median SI-SDR in dB over the segments of all songs, by `si_sdr_<source>`."""
        estimators = {NAME: separator_estimator(model.eval())}
        results, _ = evaluate_separation(estimators, self.tracks, self.segment, device=device)
        rows: pd.DataFrame = results[results["representation"] == NAME]
        return {f"si_sdr_{name}": float(rows[f"si_sdr_{name}"].median()) for name in SOURCES}
