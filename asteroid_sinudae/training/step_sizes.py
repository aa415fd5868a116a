"""Step sizes of Adam that are a fraction of each tensor's size."""

import math

import torch
from torch import nn

from ..models.sinudae import SinuDAE
from ..utils.checks import check

FREQUENCIES = ("frequency", "low", "band")


def relative_groups(model: SinuDAE, lr: float) -> list[dict]:
    """Groups of parameters for an optimiser of Adam's kind, one a tensor, by :func:`natural_unit`.

    An update of Adam moves a number by about its learning rate. With one rate for all tensors, the
    one that suits a modulator of 0.001 does not move a phase, and the one that suits a phase
    destroys the modulator.

    Args:
        model (SinuDAE): At its start: the rates are a function of its parameters' present values.
        lr (float): Fraction of a tensor's unit that an update may move it by, e.g. 0.004.

    Returns:
        list of dict: each with `params`, a list of one parameter, and `lr`.

    Raises:
        ValueError: if `lr` makes no sense, or naming a tensor that has no unit: it is not finite,
            or all zero.
    """
    check(0 <= lr < math.inf, "lr", lr, "0 or more and finite")
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"{name} is not finite: lr_relative needs its size")
        owner, _, leaf = name.rpartition(".")
        unit = natural_unit(model.get_submodule(owner), leaf)
        if unit == 0:
            raise ValueError(f"{name} is all zero: lr_relative needs its size")
        groups.append({"params": [parameter], "lr": lr * unit})
    return groups


@torch.no_grad()
def natural_unit(filterbank: nn.Module, name: str) -> float:
    r"""Size by which a filterbank's parameter is measured, at its present value.

    It is the tensor's root mean square (RMS), except for

    - a phase: one radian;
    - a carrier frequency :math:`f^p`, and an edge or a bandwidth of sinc kernels: what turns the
      phase of the fastest carrier by one radian over half a kernel, that is
      :math:`1 / (\pi L p f^{p-1})` at the largest :math:`f`;
    - a smoothing convolution that is all zero: the RMS of PyTorch's own start of a convolution,
      :math:`1 / \sqrt{3 \cdot \text{fan-in}}`.

    Args:
        filterbank (:class:`torch.nn.Module`): With the parameter.
        name (str): Of the parameter.

    Returns:
        float: in the unit of the parameter; zero if the parameter has no size.
    """
    parameter = filterbank.get_parameter(name)
    if name == "phase":
        return 1.0
    if name in FREQUENCIES:
        exponent = getattr(filterbank, "exponent", 1)  # sinc kernels have none
        slope = exponent * parameter.abs().max().item() ** (exponent - 1)
        return 1 / (math.pi * filterbank.kernel_size * slope) if slope else 0.0
    if name == "smooth_weight" and not parameter.any():
        fan_in = parameter[0].numel()
        return 1 / math.sqrt(3 * fan_in)
    return parameter.square().mean().sqrt().item()
