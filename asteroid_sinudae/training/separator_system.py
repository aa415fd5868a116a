"""Training of separators, which hear the mixture only, an Asteroid System."""

from collections.abc import Sequence

import torch
from torch import nn

from ..data.tracks import SOURCES
from ..losses import bounded_neg_snr
from ..models.baselines import STFTConvTasNet
from ..models.separators import SinuDAEConvTasNet
from ..models.sinudae import SinuDAE
from ..utils.checks import check, check_choice, check_positive_int
from .base_system import BaseSystem

# Classes of the separators to compare, by the names of their folders.
SEPARATORS = {"sinudae": SinuDAEConvTasNet, "stft": STFTConvTasNet}
NORMS = ("gLN", "fgLN", "cLN", "cgLN", "bN")  # of Asteroid, for signals of any length


def make_separators(pair: SinuDAE, stft: dict, masker: dict) -> dict[str, nn.Module]:
    """Make the separators to compare: the same masker on a trained pair and on the STFT.

    Args:
        pair (SinuDAE): The trained pair; the separator holds a frozen copy of it.
        stft (dict): Arguments of :class:`.STFT`: `n_fft`, `stride`, `window`.
        masker (dict): Arguments of Asteroid's :class:`TDConvNet` that do not depend on the
            representation: `n_blocks`, `n_repeats`, `bn_chan`, `hid_chan`, `skip_chan`,
            `conv_kernel_size`, `norm_type`, `mask_act`.

    Returns:
        dict of ``"sinudae"``, a :class:`.SinuDAEConvTasNet`, and ``"stft"``, a
        :class:`.STFTConvTasNet`, of the :data:`SOURCES`.

    Raises:
        ValueError: naming an argument that is out of its range.
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


class SeparatorSystem(BaseSystem):
    """Trains what a separator has to learn by :func:`bounded_neg_snr`, the mean over sources.

    Vocals and accompaniment were drawn independently; their sum is the mixture that the separator
    hears. Training has no randomness of its own, so that a resumed run continues as an
    uninterrupted one, and separators that are trained on the same loader's batches hear the same.

    Args:
        model (:class:`torch.nn.Module`): The separator of the :data:`SOURCES`.
        optimizer (:class:`torch.optim.Optimizer`): Optimiser of the parameters that are not frozen.
        train_loader (:class:`torch.utils.data.DataLoader`): Batches of vocals and accompaniment,
            each `(batch, 1, time)`, from a :class:`.SetShuffleSampler`.
        snr_max (float): Bound of :func:`bounded_neg_snr`, in dB.
        scheduler (dict, optional): Scheduler of the learning rate, see Asteroid's :class:`System`.
        config: Anything to be saved with the checkpoints during training.

    Raises:
        ValueError: if `snr_max` is not positive.
    """

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
        """Compute the mean of :func:`bounded_neg_snr` for each of the :data:`SOURCES`."""
        sources = torch.cat(tuple(batch), dim=1)  # (batch, sources, time)
        estimates = self.model(sources.sum(dim=1, keepdim=True))
        return self.loss_func(estimates.float(), sources, self.snr_max).mean(dim=0)

    def loss_of_batch(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the loss of a batch, for timing; nothing is logged."""
        return self.losses(batch).mean()

    def training_step(self, batch, batch_nb):
        """Return the mean of :func:`bounded_neg_snr`; raises a ValueError if it is not finite."""
        by_source = self.losses(batch)
        loss = by_source.mean()
        by_name = {f"neg_snr_{name}": value for name, value in zip(SOURCES, by_source, strict=True)}
        self.log_losses(loss, by_name)
        return loss
