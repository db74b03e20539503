"""Group normalisation as a differentiable operation, optionally with a sum and a ReLU in the same
pass, which end a residual block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...tensor import Tensor
from . import kernels


class GroupNorm(Function):
    def __init__(self, num_groups: int, eps: float, relu: bool) -> None:
        self.num_groups, self.eps, self.relu = num_groups, eps, relu

    def forward(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, residual: np.ndarray | None
    ) -> np.ndarray:
        forward = kernels(x).group_norm
        y, mean, var = forward(x, self.num_groups, weight, bias, residual, self.eps, self.relu)
        self.save(x, y if self.relu else None, weight, mean, var)
        return y

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, y, weight, mean, var = self.saved
        backward = kernels(grad).group_norm_grad
        return backward(grad, x, y, weight, mean, var, self.eps, self.relu, self.needs[3])


def group_norm(
    x: Any,
    num_groups: int,
    weight: Any,
    bias: Any,
    eps: float = 1e-5,
    residual: Any = None,
    relu: bool = False,
) -> Tensor:
    """Normalise each group of neighbouring channels of each image to mean 0 and variance 1.

    No statistics of a batch are needed: training and inference are the same, and batches may be
    small.

    Source: Wu & He 2018, Group Normalization, section 3.1.

    Args:
        x: (N, H, W, C) feature maps.
        num_groups: number of groups, each with its own mean and variance; divides C.
        weight, bias: (C,) scale and shift of the normalised values.
        eps: added to the variance.
        residual: (N, H, W, C), added to the result; or None.
        relu: whether max(., 0) follows, after the residual.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: shapes do not fit together, or num_groups does not divide C.
    """
    if x.ndim != 4:
        raise ValueError(f"group_norm: expected feature maps (N, H, W, C), got shape {x.shape}")
    channels = x.shape[3]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"group_norm: {num_groups} groups do not divide {channels} channels")
    for name, value in (("weight", weight), ("bias", bias)):
        if value.shape != (channels,):
            raise ValueError(f"group_norm: {name} has shape {value.shape}, expected ({channels},)")
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"group_norm: the residual has shape {residual.shape}, x has {x.shape}")
    return GroupNorm(num_groups, eps, relu)(x, weight, bias, residual)
