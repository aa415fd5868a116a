"""Check of a checkpoint, so that a training continues from it as if it had not been interrupted.

Lightning accepts whatever it finds: if the list of optimisers is empty, Adam's moments start
afresh, and if a counter is wrong, the training continues with other data. But nearly everything in
a checkpoint follows from the system, the trainer and the number of updates. So the expected content
is computed, as a tree of :class:`Leaf`, and the checkpoint is compared with it.
"""

import math
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from asteroid.engine.system import System
from packaging.version import InvalidVersion, Version
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, Timer
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch.optim.lr_scheduler import LinearLR

MAX_CHECKED = 10**8  # numbers of a tensor that are looked at for a message
RATE_TOLERANCE = 1e-3  # of learning rates, whose last digits depend on the order of rounding


class Leaf(NamedTuple):
    """An expectation of a value.

    Attributes:
        expected (str): The expectation in words.
        is_right (callable): Function that tells whether a value is as expected.
    """

    expected: str
    is_right: Callable[[Any], bool]


def check_state(checkpoint: dict, system: System, trainer: Trainer, path: str | Path) -> None:
    """Raise a ValueError if a checkpoint is not one of this training by :class:`.LastCheckpoint`.

    Args:
        checkpoint (dict): The content of the checkpoint.
        system (System): The system that is to continue, before its training starts. Its optimiser
            is of Adam's kind, with a linear decay of the learning rate or none.
        trainer (Trainer): The trainer that is to continue, before it starts.
        path (str or Path): Path of the checkpoint, for the message.

    Raises:
        ValueError: ``<path>: <key> must be <expectation>, got <value>``, about the first value that
            is wrong, or naming the key that is missing.
    """
    step: Any = checkpoint.get("global_step")
    _check(step, _whole(1), path, "global_step")
    per_epoch = len(system.train_loader)
    epoch = (step - 1) // per_epoch
    parts: dict[str, Tree] = {
        "epoch": _exactly(epoch),
        "pytorch-lightning_version": Leaf("a version", _is_version),
        "state_dict": {name: _like(value) for name, value in system.state_dict().items()},
        "optimizer_states": [None],  # compared below, once its length is known to be right
        "lr_schedulers": [_scheduler(each, step) for each in schedulers(system)],
    }
    for key, expected in parts.items():
        _check(checkpoint.get(key, _MISSING), expected, path, key)
    found = checkpoint["optimizer_states"][0]
    _check(found, _optimizer(system, step, checkpoint), path, "optimizer_states.0")
    _check_rates(checkpoint, system, path)
    loops = _progress(trainer.fit_loop.state_dict(), step, per_epoch, bool(schedulers(system)))
    present: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    callbacks = {each.state_key: _callback(each, epoch) for each in present}
    contents: Mapping[str, Tree]
    for part, contents in (("loops", {"fit_loop": loops}), ("callbacks", callbacks)):
        found = checkpoint.get(part, _MISSING)
        _check(found, Leaf("a mapping", lambda value: isinstance(value, dict)), path, part)
        for key, expected in contents.items():
            if expected is not None:
                _check(found.get(key, _MISSING), expected, path, f"{part}.{key}")


def check_finite_weights(model: torch.nn.Module, when: str) -> None:
    """Raise a ValueError if a parameter or a buffer of a model is NaN or infinite.

    Args:
        model (:class:`torch.nn.Module`): The model in training.
        when (str): Words for the message that say when this was found.
    """
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(
                f"{name} must be finite, got NaN or infinity {when}: choose a lower lr, and "
                "another folder"
            )


def schedulers(system: System) -> list[LinearLR]:
    """Return the schedulers of a system's learning rate, which Asteroid takes in several forms."""
    given = system.scheduler if isinstance(system.scheduler, list | tuple) else [system.scheduler]
    return [each["scheduler"] for each in given if each is not None]


def stretch_decay(checkpoint: dict, system: System) -> None:
    r"""Stretch the linear decay in a checkpoint to the length of the system's decay, in place.

    A training that is continued for longer than was planned has a decay that ends too early. With
    :math:`N` the number of updates of the longer decay, the learning rate after :math:`k` updates
    becomes :math:`(1 - k / N)` times the one at the start, so that from here on the rates are those
    of a training that was planned that long. A decay that had reached zero thus rises again.

    Args:
        checkpoint (dict): A checkpoint that :func:`check_state` has accepted. It is changed.
        system (System): The system that continues it.
    """
    for scheduler, state in zip(schedulers(system), checkpoint["lr_schedulers"], strict=True):
        if state["total_iters"] == scheduler.total_iters:
            continue
        left = max(0.0, 1 - state["last_epoch"] / scheduler.total_iters)
        state["total_iters"] = scheduler.total_iters
        state["_last_lr"] = [left * rate for rate in state["base_lrs"]]
        for group, rate in zip(
            checkpoint["optimizer_states"][0]["param_groups"], state["_last_lr"], strict=True
        ):
            group["lr"] = rate


_MISSING = object()
# Expected content: dictionaries and lists of it, leaves, and None for what is not compared.
Tree: TypeAlias = "Leaf | dict[Any, Any] | Sequence[Any] | None"


def _check(value: Any, expected: Tree, path: str | Path, key: str) -> None:
    """Compare a value with a tree of dictionaries and lists whose leaves are :class:`Leaf`."""
    if value is _MISSING:
        raise ValueError(f"{path}: {key} is missing")
    if expected is None:
        return
    if isinstance(expected, Leaf):
        if not expected.is_right(value):
            raise ValueError(f"{path}: {key} must be {expected.expected}, got {_in_words(value)}")
        return
    is_mapping = isinstance(expected, dict)
    if not isinstance(value, dict if is_mapping else list | tuple) or (
        not is_mapping and len(value) != len(expected)
    ):
        kind = "mapping" if is_mapping else "list"
        raise ValueError(
            f"{path}: {key} must be a {kind} of {len(expected)}, got {_in_words(value)}"
        )
    pairs: list[tuple[Any, Any, Tree]]
    if isinstance(expected, dict):
        unknown = [name for name in value if name not in expected]
        if unknown:
            raise ValueError(f"{path}: {key} has the unknown key {unknown[0]!r}")
        mapping: Any = value
        pairs = [(name, mapping.get(name, _MISSING), each) for name, each in expected.items()]
    else:
        pairs = [(number, *both) for number, both in enumerate(zip(value, expected, strict=True))]
    for name, each, wanted in pairs:
        _check(each, wanted, path, f"{key}.{name}")


def _in_words(value: object) -> str:
    if not torch.is_tensor(value):
        return reprlib.repr(value)
    if not _is_dense(value):
        return "a tensor that is not dense"
    if value.numel() == 1:
        return f"{value.item():g}"
    # An expanded tensor may be larger than any memory.
    is_finite = value.numel() > MAX_CHECKED or bool(value.isfinite().all())
    state = "" if is_finite else " with NaN or infinity"
    return f"{value.dtype} of shape {tuple(value.shape)}{state}"


def _is_dense(value: object) -> bool:
    return (
        torch.is_tensor(value)
        and value.layout == torch.strided
        and value.device.type != "meta"
        and not (value.is_nested or value.is_quantized)
    )


def _is_number(value: Any, kinds: type | tuple = (int, float)) -> bool:
    is_of_kind = isinstance(value, kinds) and not isinstance(value, bool)
    return is_of_kind and abs(value) <= sys.float_info.max  # also of integers beyond all floats


def _whole(low: int, high: float = math.inf) -> Leaf:
    expected = f"a whole number of {low} or more" if high == math.inf else f"{low} to {high}"
    return Leaf(expected, lambda value: _is_number(value, int) and low <= value <= high)


def _number() -> Leaf:
    return Leaf("a finite number of 0 or more", lambda value: _is_number(value) and value >= 0)


def _exactly(expected: object) -> Leaf:
    def is_right(value: Any) -> bool:
        if torch.is_tensor(value):
            return _is_dense(value) and value.numel() == 1 and value.item() == expected
        same_kind = type(value) is type(expected) or _is_number(value) and _is_number(expected)
        return bool(same_kind and value == expected)

    return Leaf(repr(expected), is_right)


def _like(tensor: torch.Tensor, is_finite: bool = True) -> Leaf:
    """Expect a tensor of this shape and type, without NaN, and finite if `is_finite`."""

    def is_right(value: Any) -> bool:
        if not _is_dense(value) or (value.shape, value.dtype) != (tensor.shape, tensor.dtype):
            return False
        return bool(value.isfinite().all() if is_finite else not value.isnan().any())

    return Leaf(f"a finite {tensor.dtype} of shape {tuple(tensor.shape)}", is_right)


def _as_exact(value: object) -> Any:
    """Make the tree that accepts exactly these plain values."""
    if isinstance(value, dict):
        return {key: _as_exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_exact(each) for each in value]
    return _exactly(value)


def _is_version(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(Version(value))
    except InvalidVersion:
        return False


def _optimizer(system: System, step: int, checkpoint: dict) -> dict:
    """Expect the state of Adam after some updates of a system."""
    weights, optimizer = checkpoint["state_dict"], checkpoint["optimizer_states"][0]
    has_states = isinstance(optimizer, dict) and isinstance(optimizer.get("state"), dict)
    groups = [
        {**_as_exact(group), **{key: _number() for key in ("lr", "initial_lr") if key in group}}
        for group in system.optimizer.state_dict()["param_groups"]
    ]
    states = {
        index: {"step": _exactly(float(step)), "exp_avg": _like(value), "exp_avg_sq": _like(value)}
        for index, (name, value) in enumerate(_learned(system))
        # A parameter that no gradient reaches has no moments, and has kept its value.
        if (has_states and index in optimizer["state"])
        or not torch.equal(weights[name], value.detach().to(weights[name]))
    }
    return {"state": states, "param_groups": groups}


def _learned(system: System) -> Iterator[tuple[str, torch.Tensor]]:
    """Iterate over names and parameters, in the optimiser's order."""
    names = {id(parameter): name for name, parameter in system.named_parameters()}
    for group in system.optimizer.param_groups:
        for parameter in group["params"]:
            yield names[id(parameter)], parameter


def _scheduler(scheduler: LinearLR, step: int) -> dict:
    """Expect the state of a decay after some updates."""
    rates = [_number()] * len(scheduler.base_lrs)
    return {
        **_as_exact(scheduler.state_dict()),
        "total_iters": _whole(1),
        "base_lrs": rates,
        "last_epoch": _exactly(step),
        "_step_count": _exactly(step + 1),
        "_last_lr": rates,
    }


def _check_rates(checkpoint: dict, system: System, path: str | Path) -> None:
    """Raise a ValueError if learning rates do not follow from the decay and the updates."""
    decays = checkpoint["lr_schedulers"]
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    for number, (group, fresh) in enumerate(
        zip(groups, system.optimizer.param_groups, strict=True)
    ):
        key = f"optimizer_states.0.param_groups.{number}"
        rates = {}
        start = fresh["lr"]
        left = 1.0
        for decay in decays:
            left = max(0.0, 1 - decay["last_epoch"] / decay["total_iters"])
            start = decay["base_lrs"][number]
            rates[f"{key}.initial_lr"] = (group["initial_lr"], fresh["initial_lr"])
            rates["lr_schedulers.0.base_lrs"] = (start, group["initial_lr"])
            rates["lr_schedulers.0._last_lr"] = (decay["_last_lr"][number], left * start)
        rates[f"{key}.lr"] = (group["lr"], left * start)
        for where, (found, expected) in rates.items():
            is_right = math.isclose(found, expected, rel_tol=RATE_TOLERANCE, abs_tol=1e-9 * start)
            _check(found, Leaf(f"about {expected:g}", partial(_constant, is_right)), path, where)


def _constant(is_right: bool, _: object) -> bool:
    return is_right


def _progress(fresh: dict, step: int, per_epoch: int, has_scheduler: bool) -> dict:
    """Expect the state of Lightning's loops after some updates, made from their fresh state.

    A checkpoint inside an epoch is written before its batch counts as completed.
    """
    epoch, batches = divmod(step - 1, per_epoch)
    batches += 1
    is_complete = batches == per_epoch
    pending = 0 if is_complete else 1

    def counts(total, current, pending=0, names=("ready", "completed", "started", "processed")):
        last = {"completed": pending}
        return {
            which: {name: value - last.get(name, 0) for name in names}
            for which, value in (("total", total), ("current", current))
        }

    two, three = ("ready", "completed"), ("ready", "completed", "started")
    epochs = {
        "ready": epoch + 1,
        "completed": epoch,
        "started": epoch + 1,
        "processed": epoch + is_complete,
    }
    steps = (step, batches)
    known: dict[str, Any] = {
        "epoch_loop.state_dict": {"_batches_that_stepped": step - pending},
        "epoch_loop.batch_progress": {
            **counts(*steps, pending),
            "is_last_batch": is_complete,
        },
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {
                "step": counts(*steps, names=two),
                "zero_grad": counts(*steps, names=three),
            }
        },
        "epoch_progress": {"total": epochs, "current": epochs},
    }
    if has_scheduler:
        known["epoch_loop.scheduler_progress"] = counts(*steps, names=two)
    return _as_exact({**fresh, **known})


def _callback(callback: Callback, epoch: int) -> dict | None:
    """Expect the state of a callback in some epoch; None for callbacks that are not compared."""
    state = callback.state_dict()
    if isinstance(callback, Timer):
        return {"time_elapsed": dict.fromkeys(state["time_elapsed"], _number())}
    if not isinstance(callback, EarlyStopping):
        return None
    reasons = [reason.value for reason in EarlyStoppingReason]
    return {
        "wait_count": _whole(0, callback.patience),
        "stopped_epoch": _whole(0, epoch),
        "best_score": _like(state["best_score"], is_finite=False),
        "patience": _exactly(callback.patience),
        "stopping_reason": Leaf(
            f"one of {reasons}", lambda value: _is_number(value, int) and value in reasons
        ),
        "stopping_reason_message": Leaf(
            "a text or None", lambda value: isinstance(value, str | None)
        ),
    }
