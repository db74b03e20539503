"""The decisions of a training step, taken from the package and imposed on torchvision.

A gradient jumps where rounding turns a decision: a value that a ReLU lets through or stops, a value
that wins its max-pool window or nearly does. Of the millions of decisions in a step a few lie
within rounding, in anybody's float32. With the package's decisions imposed on it, torchvision
computes the same smooth function as the package, and what is left of a difference is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.nn import functional

from tinymaskrcnn.autograd import Function
from tinymaskrcnn.ops.max_pool2d.op import MaxPool2d


@dataclass
class Turned:
    """How torchvision would have decided.

    Args:
        decisions: how many there are. count: how many torchvision would have taken otherwise.
        margin: how far the farthest of those lies from its threshold, in standard deviations of
            its map.
    """

    decisions: int = 0
    count: int = 0
    margin: float = 0.0

    def note(self, otherwise: torch.Tensor, distance: torch.Tensor, spread: torch.Tensor) -> None:
        self.decisions += otherwise.numel()
        self.count += int(otherwise.sum())
        if otherwise.any():
            self.margin = max(self.margin, float(distance[otherwise].max() / spread))


@dataclass
class Decisions:
    """In the order of the forward pass: what each ReLU let through (bool, the map's shape), and the
    winner's place in each window of a max-pool (index into the window).
    """

    relus: list[np.ndarray] = field(default_factory=list)
    pools: list[np.ndarray] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[Decisions]:
    """Of every forward pass of the package within this context."""
    decisions = Decisions()
    call = Function.__call__

    def record(node: Function, *inputs: Any) -> Any:
        output = call(node, *inputs)
        if getattr(node, "relu", False):
            decisions.relus.append(output.data > 0)
        if isinstance(node, MaxPool2d) and node.settings[0] != (1, 1):
            decisions.pools.append(node.saved[0].astype(np.int64))
        return output

    with patch.object(Function, "__call__", record):
        yield decisions


@contextmanager
def imposed(decisions: Decisions) -> Iterator[Turned]:
    """On the next forward pass of torchvision within this context.

    Raises:
        AssertionError: that pass has other decisions to take, or fewer.
    """
    turned = Turned()
    relus, pools = iter(decisions.relus), iter(decisions.pools)
    own_pool = functional.max_pool2d

    def relu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        passes = torch.from_numpy(next(relus))
        passes = passes.permute(0, 3, 1, 2) if passes.ndim == 4 else passes
        assert passes.shape == x.shape
        turned.note((x > 0) != passes, x.detach().abs(), x.detach().std())
        return torch.where(passes, x, 0)

    def max_pool2d(
        x: torch.Tensor, kernel_size: int, stride: int, padding: int, *others: Any, **more: Any
    ) -> torch.Tensor:
        if kernel_size == 1:
            return own_pool(x, kernel_size, stride, padding)
        winner = torch.from_numpy(next(pools)).permute(0, 3, 1, 2)
        places = winner_places(winner, x.shape[3], kernel_size, stride, padding)
        y = x.flatten(2).gather(2, places.flatten(2)).view(winner.shape)
        best, theirs = own_pool(x.detach(), kernel_size, stride, padding, return_indices=True)
        turned.note(theirs != places, best - y.detach(), x.detach().std())
        return y

    with (
        patch.object(functional, "relu", relu),
        patch.object(functional, "max_pool2d", max_pool2d),
    ):
        yield turned
    assert next(relus, None) is None and next(pools, None) is None


def winner_places(
    winner: torch.Tensor, width: int, kernel_size: int, stride: int, padding: int
) -> torch.Tensor:
    """From places in windows (N, C, h, w) to places in the map of this width, row by row."""
    rows, columns = (torch.arange(n) * stride - padding for n in winner.shape[2:])
    row = rows[:, None] + winner // kernel_size
    column = columns + winner % kernel_size
    return row * width + column
