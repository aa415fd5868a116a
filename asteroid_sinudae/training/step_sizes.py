"""Relative step sizes: learning rates of Adam that are a fraction of each tensor's size.

An update of Adam moves each number by about the learning rate, whatever the size of the gradient.
The parameters of a pair differ in size by a factor of a thousand: modulators are about 0.001,
phases about 1. So with one rate for all, either the phases hardly move or the modulators are
destroyed. Here each tensor gets a rate that is the same fraction of its natural unit.
"""

import math
from typing import Any

import torch
from torch import nn

from ..utils.checks import check

FREQUENCIES = ("frequency", "low", "band")


def relative_groups(model: nn.Module, lr: float) -> list[dict]:
    """Make one group of parameters for each tensor, with a learning rate in its natural unit.

    Args:
        model (:class:`torch.nn.Module`): A pair before training, or its two parts in a module,
            because the rates depend on the present values of its parameters, see
            :func:`natural_unit`.
        lr (float): Fraction of a tensor's unit that an update may move it by, e.g. 0.004.

    Returns:
        list of dict: each with `params`, a list of one parameter, and `lr`.

    Raises:
        ValueError: if `lr` is negative or not finite, or naming a tensor that has no unit because
            it is not finite or all zero.
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
    r"""Compute the natural unit of a filterbank's parameter, at its present value.

    This is the tensor's root mean square (RMS), except for

    - a phase: one radian;
    - a carrier frequency :math:`f^p`, or an edge or a bandwidth of sinc kernels: the change that
      turns the phase of the fastest carrier by one radian over half a kernel, which is
      :math:`1 / (\pi L p f^{p-1})` at the largest :math:`f`;
    - a smoothing convolution that is all zero: the RMS of PyTorch's start values of a convolution,
      :math:`1 / \sqrt{3 \cdot \text{fan-in}}`.

    Args:
        filterbank (:class:`torch.nn.Module`): The filterbank that has the parameter.
        name (str): Name of the parameter.

    Returns:
        float: in the unit of the parameter; zero if the parameter has no size.
    """
    parameter = filterbank.get_parameter(name)
    if name == "phase":
        return 1.0
    if name in FREQUENCIES:
        exponent = getattr(filterbank, "exponent", 1)  # sinc kernels have none
        slope = exponent * parameter.abs().max().item() ** (exponent - 1)
        kernel_size: Any = filterbank.kernel_size
        return 1 / (math.pi * kernel_size * slope) if slope else 0.0
    if name == "smooth_weight" and not parameter.any():
        fan_in = parameter[0].numel()
        return 1 / math.sqrt(3 * fan_in)
    return parameter.square().mean().sqrt().item()
