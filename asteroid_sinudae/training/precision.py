"""The precision of a training: float32, or bfloat16 where that is faster, which only a clock tells.

A processor may multiply matrices in bfloat16, say so, and still take longer over a training step.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from asteroid.engine.system import System

from ..utils.checks import check_choice

# Lightning's names. bf16 is autocast: parameters, losses and optimiser stay in 32 bits.
LightningPrecision = Literal["32-true", "bf16-mixed"]
LIGHTNING: dict[str, LightningPrecision] = {"32": "32-true", "bf16": "bf16-mixed"}
PRECISIONS = (*LIGHTNING, "auto")
ROUNDS = 3


class Choice(NamedTuple):
    """A precision that was chosen by time.

    Attributes:
        precision (str): ``'32'`` or ``'bf16'``.
        seconds (dict): Time of a training step without the optimiser's part, by precision.
    """

    precision: str
    seconds: dict[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{value:.3g} s in {name}" for name, value in self.seconds.items())
        return f"precision=auto: {self.precision} (a training step takes {times})"


def resolve_precision(name: str) -> LightningPrecision:
    """Return Lightning's name of a precision.

    Args:
        name (str): ``'32'`` or ``'bf16'``.

    Raises:
        ValueError: if `name` is another.
    """
    check_choice("precision", name, LIGHTNING)
    return LIGHTNING[name]


def choose_precision(seconds_of: Callable[[str], float], rounds: int = ROUNDS) -> Choice:
    """Choose the faster precision; float32 if both take the same time.

    Args:
        seconds_of (callable): Function that runs a step in ``'32'`` or ``'bf16'`` and returns its
            seconds.
        rounds (int): Number of steps of each precision that are timed, in turns, after a first one
            that is not. The medians are compared.

    Returns:
        Choice

    Examples
        >>> choose_precision({"32": 0.32, "bf16": 0.14}.get).precision
        'bf16'
    """
    times: dict[str, list[float]] = {name: [] for name in LIGHTNING}
    for _ in range(1 + rounds):  # the first is slow: memory is allocated, kernels are chosen
        for name, found in times.items():
            found.append(seconds_of(name))
    seconds = {name: statistics.median(found[1:]) for name, found in times.items()}
    return Choice(min(seconds, key=seconds.__getitem__), seconds)


def time_precisions(system: System, batch: Sequence[torch.Tensor], device: torch.device) -> Choice:
    """Choose the precision that is faster for a model, which is not changed.

    Args:
        system (System): The system that trains the model, on the CPU. It must have a method
            `loss_of_batch`, see :meth:`.DAESystem.loss_of_batch`.
        batch (tuple of :class:`torch.Tensor`): The signals of one training step, on the CPU.
        device (:class:`torch.device`): The device on which the model will be trained.

    Returns:
        Choice
    """
    state = {name: value.clone() for name, value in system.state_dict().items()}
    was_training = system.training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        system.train().to(device)
        batch = [each.to(device) for each in batch]
        choice = choose_precision(lambda name: _seconds_of_step(system, batch, device, name))
    system.zero_grad()
    system.train(was_training).to("cpu")
    system.load_state_dict(state)  # a norm may have seen the batch
    return choice


def _seconds_of_step(system: System, batch: list, device: torch.device, name: str) -> float:
    """Time one step, forward and back."""
    system.zero_grad()
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
        loss = system.loss_of_batch(batch)
    loss.backward()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start
