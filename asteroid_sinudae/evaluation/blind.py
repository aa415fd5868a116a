"""Separation of vocals and accompaniment from the mixture alone: training, and its evaluation.

A separator is a masker between the encoder and the decoder of a representation, with Asteroid's
interface: waveforms of shape `(batch, 1, time)` in, `(batch, n_src, time)` out. Everything here is
the same for all of them.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from asteroid.engine.system import System
from torch import nn

from ..data.segments import TestSegments, Track
from ..losses import si_sdr
from ..models.separators import SinuDAEConvTasNet
from ..models.sinudae import SinuDAE
from ..models.stft_conv_tasnet import STFTConvTasNet
from ..training.dae_system import DAESystem
from ..utils.checks import check, check_choice, check_positive_int
from .oracle import MIXTURE, Segments, audible_segments, check_finite, is_silent, named

SOURCES = ("vocals", "accompaniment")  # in the order in which separators estimate them
NORMS = ("gLN", "fgLN", "cLN", "cgLN", "bN")  # of Asteroid, for signals of any length
EPS = 1e-16  # energy that is added where all is silent

# From vocals and accompaniment, each (batch, 1, time), to estimates of both by name.
Estimator = Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


def make_separators(pair: SinuDAE, stft: dict, masker: dict) -> dict[str, nn.Module]:
    """The separators to compare: one and the same masker on a trained pair, and on the STFT.

    Args:
        pair (SinuDAE): Trained; the separator keeps a copy of it as it is.
        stft (dict): Arguments of :class:`.STFT`: `n_fft`, `stride`, `window`.
        masker (dict): Arguments of Asteroid's :class:`TDConvNet` that do not depend on the
            representation: `n_blocks`, `n_repeats`, `bn_chan`, `hid_chan`, `skip_chan`,
            `conv_kernel_size`, `norm_type`, `mask_act`.

    Returns:
        dict of ``"sinudae"``, a :class:`.SinuDAEConvTasNet`, and ``"stft"``, a
        :class:`.STFTConvTasNet`, of the :data:`SOURCES`.

    Raises:
        ValueError: naming an argument that makes no sense.
    """
    check_choice("norm_type", masker["norm_type"], NORMS)
    for name in ("n_blocks", "n_repeats", "bn_chan", "hid_chan", "conv_kernel_size"):
        check_positive_int(name, masker[name])
    taps = masker["conv_kernel_size"]
    check(taps % 2 == 1, "conv_kernel_size", taps, "odd, to keep frames in place")
    check(masker["skip_chan"] >= 0, "skip_chan", masker["skip_chan"], "0 or more")
    n_src = len(SOURCES)
    return {
        "sinudae": SinuDAEConvTasNet(n_src, pretrained=pair, freeze=True, **masker),
        "stft": STFTConvTasNet(n_src, sample_rate=pair.sample_rate, **stft, **masker),
    }


def bounded_neg_snr(
    estimates: torch.Tensor, sources: torch.Tensor, snr_max: float = 30.0
) -> torch.Tensor:
    r"""Negative signal-to-noise ratio in dB, whose energies are raised by a part of the mixture's.

    .. math:: -10 \log_{10} \frac{\|s\|_2^2 + \tau \|x\|_2^2}{\|s - \hat s\|_2^2 + \tau \|x\|_2^2},
              \quad \tau = 10^{-SNR_{max} / 10}, \quad x = \sum s

    The floor under the error is that of [1]: an estimate that is good already has a small gradient.
    With the same floor under the signal the ratio also exists for a silent source, which a song
    often has for seconds; there the best estimate is silence, at 0 dB. The plain ratio is constant
    for a silent source, and teaches nothing.

    Args:
        estimates (:class:`torch.Tensor`): shape `(batch, n_src, time)`.
        sources (:class:`torch.Tensor`): of the same shape, in the same order; their sum is the
            mixture.
        snr_max (float): of a source alone, in dB.

    Returns:
        :class:`torch.Tensor` of shape `(batch, n_src)`.

    References
        [1] : "What's All the Fuss About Free Universal Sound Separation Data?". ICASSP 2021.
        Scott Wisdom et al.

    Examples
        >>> sources = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])  # energies 25 and 0
        >>> bounded_neg_snr(sources, sources, snr_max=10)  # 10 log10(2.5 / 27.5), silence kept
        tensor([[-10.4139,   0.0000]])
    """
    floor = 10 ** (-snr_max / 10) * _energy(sources.sum(dim=1, keepdim=True)) + EPS
    return 10 * torch.log10((_energy(sources - estimates) + floor) / (_energy(sources) + floor))


def _energy(signal: torch.Tensor) -> torch.Tensor:
    return signal.square().sum(dim=-1)


class SeparatorSystem(System):
    """Trains what a separator has to learn by :func:`bounded_neg_snr`, the mean over sources.

    Vocals and accompaniment were drawn independently; their sum is the mixture that the separator
    hears. Training has no randomness of its own, so that a resumed run continues as an
    uninterrupted one, and separators that are trained on the same loader's batches hear the same.

    Args:
        model (:class:`torch.nn.Module`): The separator of the :data:`SOURCES`.
        optimizer (:class:`torch.optim.Optimizer`): Of those of its parameters that are not frozen.
        train_loader (:class:`torch.utils.data.DataLoader`): Batches of vocals and accompaniment,
            each `(batch, 1, time)`, from a :class:`.SetShuffleSampler`.
        snr_max (float): See :func:`bounded_neg_snr`, in dB.
        scheduler (dict, optional): Of the learning rate, see Asteroid's :class:`System`.
        config: Anything to be saved with the checkpoints during training.

    Raises:
        ValueError: if `snr_max` is not positive.
    """

    # The order of the data, and the place in it where a continued run goes on.
    train_dataloader = DAESystem.train_dataloader
    val_dataloader = DAESystem.val_dataloader
    on_train_epoch_start = DAESystem.on_train_epoch_start
    on_load_checkpoint = DAESystem.on_load_checkpoint

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train_loader: torch.utils.data.DataLoader,
        snr_max: float = 30.0,
        scheduler: dict | None = None,
        config: dict | None = None,
    ):
        check(snr_max > 0, "snr_max", snr_max, "positive (dB)")
        super().__init__(
            model, optimizer, bounded_neg_snr, train_loader, scheduler=scheduler, config=config
        )
        self.snr_max = snr_max

    def losses(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean of :func:`bounded_neg_snr` for each of the :data:`SOURCES`."""
        sources = torch.cat(tuple(batch), dim=1)
        estimates = self.model(sources.sum(dim=1, keepdim=True))
        return self.loss_func(estimates.float(), sources, self.snr_max).mean(dim=0)

    def loss_of_batch(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """The loss of vocals and accompaniment, for timing; nothing is logged."""
        return self.losses(batch).mean()

    def training_step(self, batch, batch_nb):
        """Mean of :func:`bounded_neg_snr` on a batch; a ValueError if it is not finite."""
        by_source = self.losses(batch)
        loss = by_source.mean()
        if not loss.isfinite():  # before it is in the model, and the model in the checkpoint
            raise ValueError(
                f"loss must be finite, got {loss.item()} after {self.global_step} updates: "
                "choose a lower lr"
            )
        self.log("loss", loss, logger=True, sync_dist=True)
        for name, value in zip(SOURCES, by_source, strict=True):
            self.log(f"neg_snr_{name}", value, prog_bar=True, logger=True, sync_dist=True)
        return loss


def separator_estimator(separator: nn.Module) -> Estimator:
    """Estimator that hears the mixture only, and separates it.

    Args:
        separator (:class:`torch.nn.Module`): Of the :data:`SOURCES`.
    """

    def estimate(vocals, accompaniment):
        estimates = separator(vocals + accompaniment)
        return dict(zip(SOURCES, estimates.split(1, dim=1), strict=True))

    return estimate


def mixture_estimator(vocals: torch.Tensor, accompaniment: torch.Tensor) -> dict[str, torch.Tensor]:
    """The mixture as the estimate of both: what a separation improves on."""
    return dict.fromkeys(SOURCES, vocals + accompaniment)


@torch.no_grad()
def evaluate_separation(
    estimators: dict[str, Estimator],
    tracks: Sequence[Track],
    segment: int = 88200,
    batch_size: int = 4,
    device: torch.device | str = "cpu",
) -> tuple[pd.DataFrame, int]:
    """SI-SDR of both sources, and how much it is above that of the mixture, segment by segment.

    Args:
        estimators (dict): By the name they have in tables; the mixture comes on top.
        tracks (sequence of Track): Prepared tracks.
        segment (int): Length of a segment in samples. Segments do not overlap.
        batch_size (int): Segments at a time.
        device (:class:`torch.device` or str): Where the estimators compute.

    Returns:
        tuple of a :class:`pandas.DataFrame`, one row a segment and system with columns `track`,
        `start` (samples), `system` and, for each of the :data:`SOURCES`, `si_sdr_<source>` and
        `si_sdri_<source>` (dB), and the number of segments that were left out because one of the
        sources is silent, see :func:`.is_silent`.

    Raises:
        ValueError: if there are no tracks, or no segment has both sources; or naming the system
            whose estimates are not finite.
    """
    if not tracks:
        raise ValueError("no test tracks to evaluate, expected at least one")
    segments = TestSegments(tracks, segment)
    estimators = {**estimators, MIXTURE: mixture_estimator}
    frames = []
    for batch in map(_with_accompaniment, audible_segments(segments, batch_size, device)):
        references = dict(zip(SOURCES, (batch.vocals, batch.accompaniment), strict=True))
        unprocessed = _si_sdrs(mixture_estimator(batch.vocals, batch.accompaniment), references)
        where = pd.DataFrame(batch.locations, columns=["track", "start"])
        for name, estimator in estimators.items():
            estimates = estimator(batch.vocals, batch.accompaniment)
            with named(name):
                check_finite("estimates", *estimates.values())
            found = _si_sdrs(estimates, references)
            metrics = {f"si_sdr_{source}": found[source].tolist() for source in SOURCES}
            for source in SOURCES:
                metrics[f"si_sdri_{source}"] = (found[source] - unprocessed[source]).tolist()
            frames.append(where.assign(system=name, **metrics))
    results = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if results.empty:
        raise ValueError(f"none of {len(segments)} test segments has both sources")
    return results, len(segments) - len(results) // len(estimators)


def _with_accompaniment(batch: Segments) -> Segments:
    """The segments of a batch whose accompaniment is not silent."""
    keep = ~is_silent(batch.accompaniment)
    locations = [where for where, kept in zip(batch.locations, keep.tolist(), strict=True) if kept]
    return Segments(batch.vocals[keep], batch.accompaniment[keep], locations)


def _si_sdrs(
    estimates: dict[str, torch.Tensor], references: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    return {source: si_sdr(estimates[source], references[source]) for source in SOURCES}
