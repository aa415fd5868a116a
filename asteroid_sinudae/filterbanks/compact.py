"""Compact kernels: parameters only inside each kernel's window, grouped by the windows' lengths.

A kernel of `kernel_size` samples that is zero outside a short window wastes most of its parameters
and products. Here, kernels whose windows have the same length form a group, and a group is one
matrix as wide as its window. The function is that of the whole kernels with zeros outside.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ..utils.checks import check, check_positive_int


class Kernels(NamedTuple):
    """Kernels that are centred in `kernel_size` samples, in groups of one window length each.

    Attributes:
        groups (list of :class:`torch.Tensor`): matrices of shape `(kernels, window)`, the longest
            windows first.
        order (:class:`torch.Tensor`, optional): shape `(n_filters,)`: the kernel of channel `c` is
            row `order[c]` of all groups' rows one below the other. If None, there is one group,
            of whole kernels, and it is row `c`.
        kernel_size (int): Length of the whole kernels in samples.
    """

    groups: list[torch.Tensor]
    order: torch.Tensor | None
    kernel_size: int

    def whole(self) -> torch.Tensor:
        """Kernels in the order of channels with zeros outside their windows.

        Returns:
            :class:`torch.Tensor` of shape `(n_filters, 1, kernel_size)`.
        """
        kernels = self.groups[0]
        if self.order is not None:
            rows = [self._with_zeros(group) for group in self.groups]
            kernels = torch.cat(rows).index_select(0, self.order)  # (n_filters, kernel_size)
        return kernels.unsqueeze(1)

    def _with_zeros(self, group: torch.Tensor) -> torch.Tensor:
        # Without F.pad, after which ONNX does not know the length.
        zeros = group.new_zeros(group.shape[0], (self.kernel_size - group.shape[1]) // 2)
        return torch.cat([zeros, group, zeros], 1)


def whole_kernels(filters: torch.Tensor) -> Kernels:
    """One group of kernels without zeros, from filters of shape `(n_filters, 1, kernel_size)`."""
    return Kernels([filters.squeeze(1)], None, filters.shape[-1])


def check_supports(
    supports: Sequence[Sequence[int]], n_filters: int, kernel_size: int
) -> tuple[tuple[int, int], ...]:
    """Check the windows of compact kernels, and return them as plain values.

    Args:
        supports (sequence of pairs): The length of a window in samples and the number of kernels
            that have it, from the longest window to the shortest.
        n_filters (int): Number of all kernels.
        kernel_size (int): Length of the whole kernels in samples.

    Returns:
        tuple of tuples of two ints

    Raises:
        ValueError: if `supports` is no sequence of pairs of positive integers, if windows are not
            in descending order, longer than the kernels or not centred in them (one length even,
            the other odd), or if the numbers do not add up to `n_filters`.
    """
    expected = "pairs of a window's length and a number of kernels, as [[2048, 300], [512, 500]]"
    try:
        pairs = tuple((window, number) for window, number in supports)
    except (TypeError, ValueError):
        raise ValueError(f"supports must be {expected}, got {supports!r}") from None
    for window, number in pairs:
        check_positive_int("window of supports", window)
        check_positive_int("number of kernels of supports", number)
        is_centred = window <= kernel_size and (kernel_size - window) % 2 == 0
        expected = f"at most {kernel_size=}, and both even or both odd"
        check(is_centred, "window of supports", window, expected)
    windows = [window for window, _ in pairs]
    is_descending = windows == sorted(set(windows), reverse=True)
    check(is_descending, "windows of supports", windows, "in descending order, each one once")
    total = sum(number for _, number in pairs)
    check(total == n_filters, "number of all kernels of supports", total, f"{n_filters=}")
    return pairs


class CompactFB(nn.Module):
    """Part of filterbanks whose kernels may be compact: their windows, and the order of channels.

    The parameters of compact kernels are kept group by group, see :class:`Kernels`. When channels
    are sorted, only `channel_order` changes.

    Attributes:
        supports (tuple of pairs, optional): see :func:`check_supports`; None for whole kernels.
        channel_order (:class:`torch.Tensor`, optional): the `order` of :class:`Kernels`, a buffer;
            None for whole kernels.
    """

    n_filters: int
    kernel_size: int
    supports: tuple[tuple[int, int], ...] | None
    channel_order: torch.Tensor | None

    def _set_supports(self, supports: Sequence[Sequence[int]] | None) -> None:
        self.supports = None
        order = None
        if supports is not None:
            self.supports = check_supports(supports, self.n_filters, self.kernel_size)
            # Computed on the CPU: on the meta device, arange imports half of PyTorch's compiler.
            order = torch.arange(self.n_filters, device="cpu").to(torch.get_default_device())
        self.register_buffer("channel_order", order)

    def _windowed(self, start: torch.Tensor) -> nn.Parameter | nn.ParameterList:
        """Hold start values: the whole tensor, or a parameter for each group inside its window.

        Args:
            start (:class:`torch.Tensor`): shape `(n_filters, 1, kernel_size)`.
        """
        if self.supports is None:
            return nn.Parameter(start)
        rows = start.split([number for _, number in self.supports])
        groups = []
        for row, (window, number) in zip(rows, self.supports, strict=True):
            group = torch.empty(number, 1, window)
            if not start.is_meta:
                group.copy_(row.narrow(2, (self.kernel_size - window) // 2, window))
            groups.append(group)
        return nn.ParameterList(groups)

    def _grouped(self, held: torch.Tensor | nn.ParameterList) -> Kernels:
        """View as :class:`Kernels` what :meth:`_windowed` returned, or what stands in for it.

        Pruning, parametrizations and :func:`torch.func.functional_call` put plain tensors in the
        place of parameters.
        """
        if isinstance(held, torch.Tensor):
            return whole_kernels(held)
        return Kernels([group.squeeze(1) for group in held], self.channel_order, self.kernel_size)

    @abstractmethod
    def kernels(self) -> Kernels:
        """The kernels in groups; a subclass defines them."""

    def filters(self) -> torch.Tensor:
        """Kernels of shape `(n_filters, 1, kernel_size)`."""
        return self.kernels().whole()

    def get_config(self) -> dict[str, Any]:
        """Returns dictionary of arguments to re-instantiate the class."""
        return {**super().get_config(), "supports": self.supports}  # type: ignore[misc]

    def _load_from_state_dict(self, state_dict, prefix, *args):
        order = state_dict.get(f"{prefix}channel_order")
        if self.supports is not None and isinstance(order, torch.Tensor) and not order.is_meta:
            numbers = torch.arange(self.n_filters, device=order.device)
            is_order = order.shape == numbers.shape and torch.equal(order.sort().values, numbers)
            found = f"{order.unique().numel()} different numbers of {order.numel()}"
            expected = f"each number from 0 to {self.n_filters - 1} once"
            check(is_order, f"{prefix}channel_order", found, expected)
        super()._load_from_state_dict(state_dict, prefix, *args)
