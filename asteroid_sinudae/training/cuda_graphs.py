"""Losses and gradients whose operations a GPU starts at once, as CUDA graphs.

A training step of the paper's size has about 150 operations, each of which takes a GPU ten
microseconds and Python fifty. Recorded once, they are started together from then on.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

Function = Callable[..., tuple[torch.Tensor, ...]]
WARM_UPS = 3  # runs before a recording, in which libraries choose what they do
_one_at_a_time = threading.Lock()  # PyTorch records one graph at a time in a process


class CudaGraphs:
    """A function of tensors on a GPU, recorded with its gradients for each shape and precision.

    Later calls replay a recording on the tensors that they are given. It reads the parameters where
    they were; if there are others, they have moved, or others need gradients, it is made anew. If a
    function waits for the GPU, or there is too little memory, nothing is recorded from then on, and
    a warning says so.

    A function in float16 is not recorded, since a loss must be scaled before its gradients.

    Args:
        function (callable): It is given one or more tensors, of which none needs a gradient, and
            returns a tuple of tensors, of which the first, a scalar, has one. It must start the
            same operations whatever the tensors hold.
        model (:class:`torch.nn.Module`): The parameters that the gradients are for.
    """

    def __init__(self, function: Function, model: nn.Module):
        self.function = function
        self.model = model
        self._may_record = True
        self._parameters: list[tuple[int, int, bool]] = []
        self._recorded: dict[tuple, Function] = {}

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the function; call it inside autocast, if at all.

        The gradients must be asked for before the next call, or a RuntimeError is raised.
        """
        half = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        if not self._may_record or half == torch.float16 or not torch.is_grad_enabled():
            return self.function(*tensors)
        parameters = [
            (id(each), each.data_ptr(), each.requires_grad) for each in self.model.parameters()
        ]
        if parameters != self._parameters:
            self._recorded, self._parameters = {}, parameters
        kind = half, *((each.shape, each.dtype) for each in tensors)
        if kind not in self._recorded:
            try:
                self._recorded[kind] = self._record(tensors, half)
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                message = f"Training without CUDA graphs, which is slower: {reason}"
                warnings.warn(message, stacklevel=2)
                self._may_record, self._recorded = False, {}
        # Not in the exception's block, which holds the memory of what failed.
        return self._recorded.get(kind, self.function)(*tensors)

    def __getstate__(self) -> dict:
        return {**vars(self), "_parameters": [], "_recorded": {}}  # recordings cannot be copied

    def _record(self, tensors: Sequence[torch.Tensor], half: torch.dtype | None) -> "_Recording":
        # Weights that autocast has rounded before would not be rounded again by a recording.
        with (
            torch.autocast("cuda", half, half is not None, cache_enabled=False),
            torch.cuda.device_of(tensors[0]),
            _one_at_a_time,
        ):
            return _Recording(self.function, self.model, tensors)


class _Recording:
    """A recorded function, and the gradients of its first result."""

    def __init__(self, function: Function, model: nn.Module, tensors: Sequence[torch.Tensor]):
        self.replays = 0
        self.inputs = [each.clone() for each in tensors]  # the memory that a replay reads
        compute = _Gradients(function, model)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            for number in range(WARM_UPS):
                with _refusing_to_wait() if number else contextlib.nullcontext():
                    compute(self.inputs)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, as one that loads data, may allocate memory meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            results, gradients = compute(self.inputs)
        self.loss, *self.others = results
        pairs = zip(compute.leaves, gradients, strict=True)
        used = [pair for pair in pairs if pair[1] is not None]
        self.parameters, self.gradients = ([pair[place] for pair in used] for place in (0, 1))

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch._foreach_copy_(self.inputs, tensors)
        self.graph.replay()
        self.replays += 1
        loss = _WithGradients.apply(self, *self.parameters)
        return loss, *(each.clone() for each in self.others)


class _Gradients:
    """Computes a function of a model, and the gradients of its first result.

    The parameters are replaced by others in the same memory, so that gradients of theirs that are
    still to be computed elsewhere do not become part of a recording.
    """

    def __init__(self, function: Function, model: nn.Module):
        self.module = _Calls(model, function)
        self.leaves = {
            parameter: parameter.detach().requires_grad_()
            for parameter in model.parameters()
            if parameter.requires_grad
        }
        # By all their names, but each module once: functional_call would lose those of its others.
        self.replaced = {
            f"{prefix}.{name}": self.leaves[parameter]
            for prefix, module in self.module.named_modules()
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if parameter in self.leaves
        }

    def __call__(
        self, inputs: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], tuple[torch.Tensor | None, ...]]:
        results = torch.func.functional_call(
            self.module, self.replaced, tuple(inputs), tie_weights=False
        )
        leaves = list(self.leaves.values())
        gradients = torch.autograd.grad(results[0], leaves, allow_unused=True)
        return [each.detach() for each in results], gradients


class _Calls(nn.Module):
    """A function as a module: parameters can be replaced for a call of a module only."""

    def __init__(self, model: nn.Module, function: Function):
        super().__init__()
        self.model = model
        self.functions = [function]  # which may be a module, but is not one of this one's

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.functions[0](*tensors)


class _WithGradients(torch.autograd.Function):
    """A copy of the loss of a recording, with the gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, recording: _Recording, *parameters: torch.Tensor):
        ctx.recording, ctx.replays = recording, recording.replays
        return recording.loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor):
        if ctx.replays != ctx.recording.replays:
            raise RuntimeError("the gradients of this loss are gone: a later loss was computed")
        return None, *torch._foreach_mul(ctx.recording.gradients, of_loss)


@contextlib.contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Raise a RuntimeError where the CPU waits for the GPU: a failed recording breaks PyTorch.

    So it does in all threads, which PyTorch cannot tell apart.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
