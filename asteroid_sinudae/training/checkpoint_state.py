"""What a checkpoint has to hold so that a training continues from it as if it had not been cut off.

Lightning takes what it finds: a list of optimisers that is empty starts the moments afresh, and a
counter that is off goes on with other data. Nearly all of a checkpoint is known beforehand, from
the system, the trainer and the number of updates; so it is compared with that.
"""

import math
import reprlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from asteroid.engine.system import System
from packaging.version import InvalidVersion, Version
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, Timer
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch.optim.lr_scheduler import LinearLR

MAX_CHECKED = 10**8  # numbers of a tensor that a message tells more of
RATE_TOLERANCE = 1e-3  # of a learning rate from a tensor's size, which is rounded differently


class Leaf(NamedTuple):
    """What a value has to be.

    Attributes:
        expected (str): In words.
        is_right (callable): Whether a value is so.
    """

    expected: str
    is_right: Callable[[object], bool]


def check_state(checkpoint: dict, system: System, trainer: Trainer, path: str | Path) -> None:
    """Raise a ValueError if a checkpoint is not one of this training by :class:`.LastCheckpoint`.

    Args:
        checkpoint (dict): Its content.
        system (System): That is to continue, at its start, with an optimiser of Adam's kind and a
            linear decay of the learning rate or none.
        trainer (Trainer): That is to train it, before it does.
        path (str or Path): Of the checkpoint, for the message.

    Raises:
        ValueError: ``<path>: <key> must be <expectation>, got <value>``, of the first value that is
            wrong, or naming the key that is missing.
    """
    step = checkpoint.get("global_step")
    _check(step, _whole(1), path, "global_step")
    per_epoch = len(system.train_loader)
    epoch = (step - 1) // per_epoch
    parts = {
        "epoch": _exactly(epoch),
        "pytorch-lightning_version": Leaf("a version", _is_version),
        "state_dict": {name: _like(value) for name, value in system.state_dict().items()},
        "optimizer_states": [None],  # looked at below, where its length is right
        "lr_schedulers": [_scheduler(each, step) for each in schedulers(system)],
    }
    for key, expected in parts.items():
        _check(checkpoint.get(key, _MISSING), expected, path, key)
    found = checkpoint["optimizer_states"][0]
    _check(found, _optimizer(system, step, checkpoint), path, "optimizer_states.0")
    _check_rates(checkpoint, system, path)
    loops = _progress(trainer.fit_loop.state_dict(), step, per_epoch, bool(schedulers(system)))
    callbacks = {each.state_key: _callback(each, epoch) for each in trainer.callbacks}
    for part, contents in {"loops": {"fit_loop": loops}, "callbacks": callbacks}.items():
        found = checkpoint.get(part, _MISSING)
        _check(found, Leaf("a mapping", lambda value: isinstance(value, dict)), path, part)
        for key, expected in contents.items():
            if expected is not None:
                _check(found.get(key, _MISSING), expected, path, f"{part}.{key}")


def check_finite_weights(model: torch.nn.Module, when: str) -> None:
    """Raise a ValueError if a parameter or a buffer of a model is NaN or infinite.

    Args:
        model (:class:`torch.nn.Module`): In training.
        when (str): For the message.
    """
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(
                f"{name} must be finite, got NaN or infinity {when}: choose a lower lr, and "
                "another folder"
            )


def schedulers(system: System) -> list[LinearLR]:
    """The schedulers of a system's learning rate, which Asteroid takes in several forms."""
    given = system.scheduler if isinstance(system.scheduler, list | tuple) else [system.scheduler]
    return [each["scheduler"] for each in given if each is not None]


def stretch_decay(checkpoint: dict, system: System) -> None:
    r"""Let the linear decay in a checkpoint end where that of the system does, in place.

    After :math:`k` updates the learning rate becomes :math:`(1 - k / N)` times the one at the
    start, :math:`N` being the updates of the system's decay: from here on the rates are those of a
    training that was that long from the start. So a decay that was finished, at zero, rises again.

    Args:
        checkpoint (dict): That :func:`check_state` has accepted.
        system (System): That continues it.
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


def _check(value: object, expected: object, path: str | Path, key: str) -> None:
    """Compare a value with a tree of dictionaries and lists whose leaves are :class:`Leaf`."""
    if value is _MISSING:
        raise ValueError(f"{path}: {key} is missing")
    if expected is None:
        return
    if isinstance(expected, Leaf):
        if not expected.is_right(value):
            raise ValueError(f"{path}: {key} must be {expected.expected}, got {_in_words(value)}")
        return
    kind, name = (dict, "mapping") if isinstance(expected, dict) else (list, "list")
    if not isinstance(value, dict if kind is dict else list | tuple) or (
        kind is list and len(value) != len(expected)
    ):
        raise ValueError(
            f"{path}: {key} must be a {name} of {len(expected)}, got {_in_words(value)}"
        )
    if kind is dict:
        unknown = [name for name in value if name not in expected]
        if unknown:
            raise ValueError(f"{path}: {key} has the unknown key {unknown[0]!r}")
        pairs = [(name, value.get(name, _MISSING), each) for name, each in expected.items()]
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


def _is_number(value: object, kinds: type | tuple = (int, float)) -> bool:
    is_of_kind = isinstance(value, kinds) and not isinstance(value, bool)
    return is_of_kind and abs(value) <= sys.float_info.max  # also of integers beyond all floats


def _whole(low: int, high: float = math.inf) -> Leaf:
    expected = f"a whole number of {low} or more" if high == math.inf else f"{low} to {high}"
    return Leaf(expected, lambda value: _is_number(value, int) and low <= value <= high)


def _number() -> Leaf:
    return Leaf("a finite number of 0 or more", lambda value: _is_number(value) and value >= 0)


def _exactly(expected: object) -> Leaf:
    def is_right(value):
        if torch.is_tensor(value):
            return _is_dense(value) and value.numel() == 1 and value.item() == expected
        same_kind = type(value) is type(expected) or _is_number(value) and _is_number(expected)
        return same_kind and value == expected

    return Leaf(repr(expected), is_right)


def _like(tensor: torch.Tensor, is_finite: bool = True) -> Leaf:
    """A tensor of the same shape and type; without NaN, and without infinity if `is_finite`."""

    def is_right(value):
        if not _is_dense(value) or (value.shape, value.dtype) != (tensor.shape, tensor.dtype):
            return False
        return bool(value.isfinite().all() if is_finite else not value.isnan().any())

    return Leaf(f"a finite {tensor.dtype} of shape {tuple(tensor.shape)}", is_right)


def _as_exact(value: object) -> object:
    """The tree that is equal to plain values only."""
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
    """State of Adam after some updates of a system."""
    weights, optimizer = checkpoint["state_dict"], checkpoint["optimizer_states"][0]
    has_states = isinstance(optimizer, dict) and isinstance(optimizer.get("state"), dict)
    groups = [
        {**_as_exact(group), **{key: _number() for key in ("lr", "initial_lr") if key in group}}
        for group in system.optimizer.state_dict()["param_groups"]
    ]
    states = {
        index: {"step": _exactly(float(step)), "exp_avg": _like(value), "exp_avg_sq": _like(value)}
        for index, (name, value) in enumerate(_learned(system))
        # What no gradient reaches has no moments, and is what it was.
        if (has_states and index in optimizer["state"])
        or not torch.equal(weights[name], value.detach().to(weights[name]))
    }
    return {"state": states, "param_groups": groups}


def _learned(system: System) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters by name, in the optimiser's order."""
    names = {id(parameter): name for name, parameter in system.named_parameters()}
    for group in system.optimizer.param_groups:
        for parameter in group["params"]:
            yield names[id(parameter)], parameter


def _scheduler(scheduler: LinearLR, step: int) -> dict:
    """State of a decay after some updates."""
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
    """Raise a ValueError if learning rates are not those of the decay after so many updates."""
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
            _check(found, Leaf(f"about {expected:g}", lambda _, ok=is_right: ok), path, where)


def _progress(fresh: dict, step: int, per_epoch: int, has_scheduler: bool) -> dict:
    """State of Lightning's loops after some updates, given that at the start.

    A checkpoint in mid-epoch is written before its batch counts as completed.
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
    known = {
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
    """State of a callback in some epoch; None of those that have none, or are not known."""
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
