"""Batch normalisation as differentiable operations, optionally with a sum and a ReLU in the same
pass, which end a residual block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import parallel
from ...autograd import Function
from ...backend import constant
from ...errors import InputError
from ...gpu.array import to_host
from ...in_place import InPlaceFunction
from ...tensor import Tensor
from . import kernels


class BatchNorm(InPlaceFunction):
    """The training form. After the call, `mean` and `var` are the statistics of the batch, (C,)
    each: of the images of all processes, if these share their norms.
    """

    def __init__(self, eps: float, relu: bool) -> None:
        self.eps, self.relu, self.total = eps, relu, parallel.norms_total()

    def forward(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, residual: np.ndarray | None
    ) -> np.ndarray:
        forward = kernels(x).batch_norm
        settings = self.eps, self.relu, self.total
        y, self.mean, self.var = forward(x, weight, bias, residual, *settings)
        self.save(x, y if self.relu else None, weight)
        return y

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, y, weight = self.saved
        backward = kernels(grad).batch_norm_grad
        settings = self.eps, self.relu, self.needs[3], self.total
        return backward(grad, x, y, weight, self.mean, self.var, *settings)


class Affine(Function):
    """relu?(x * scale + shift + residual?), with scale and shift per channel."""

    def __init__(self, relu: bool) -> None:
        self.relu = relu

    def forward(
        self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray, residual: np.ndarray | None
    ) -> np.ndarray:
        y = kernels(x).affine(x, scale, shift, residual, self.relu)
        self.save(x if self._with_scale else None, y if self.relu else None, scale)
        return y

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, y, scale = self.saved
        backward = kernels(grad).affine_grad
        return backward(grad, x, y, scale, self.relu, self._with_scale, self.needs[3])

    @property
    def _with_scale(self) -> bool:
        return self.needs[1] or self.needs[2]


def batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Any = None,
    relu: bool = False,
) -> Tensor:
    """Normalise each channel to mean 0 and variance 1, then y = normalised * weight + bias.

    In training, normalise by the statistics of this batch, and move the running ones by `momentum`
    towards them, in place (towards the unbiased variance, as torch does). Otherwise normalise by
    the running statistics and leave them as they are. An empty batch moves nothing. If processes
    share their norms (parallel.py), the batch is that of all processes.

    Source: Ioffe & Szegedy 2015, Batch Normalization, algorithm 1.

    Args:
        x: (N, H, W, C) feature maps.
        weight, bias: (C,) scale and shift.
        running_mean, running_var: (C,) arrays.
        training: whether to use the statistics of this batch.
        momentum: weight of this batch in the running statistics, 0..1.
        eps: added to the variance.
        residual: (N, H, W, C), added to the result; or None.
        relu: whether max(., 0) follows, after the residual.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: shapes do not fit together.
        InputError: training with a single value per channel.
    """
    if not training:
        return frozen_batch_norm(x, weight, bias, running_mean, running_var, eps, residual, relu)
    _check(
        x, residual, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    count = x.shape[0] * x.shape[1] * x.shape[2]
    if total := parallel.norms_total():
        count = int(total(np.array([count]))[0])
    if count == 1:
        raise InputError(
            f"batch_norm: training needs more than one value per channel, got x of shape {x.shape}"
        )
    node = BatchNorm(eps, relu)
    y = node(x, weight, bias, residual)
    if count:
        move = kernels(running_mean).move_statistics
        move(running_mean, node.mean, momentum, 1.0)
        move(running_var, node.var, momentum, count / (count - 1))
    return y


def frozen_batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    residual: Any = None,
    relu: bool = False,
) -> Tensor:
    """Batch normalisation by fixed statistics: one multiplication and one addition per value.

    Args:
        x: (N, H, W, C) feature maps.
        weight, bias: (C,) scale and shift; Tensors among them get gradients.
        running_mean, running_var: (C,) arrays.
        eps: added to the variance; 0 for torchvision's published Mask R-CNN v1 weights.
        residual: (N, H, W, C), added to the result; or None.
        relu: whether max(., 0) follows, after the residual.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: shapes do not fit together.
    """
    inverse_std = constant(1 / np.sqrt(to_host(running_var) + eps), x)
    mean = constant(running_mean, x)
    scale = weight * inverse_std
    return affine(x, scale, bias - scale * mean, residual, relu)


def affine(x: Any, scale: Any, shift: Any, residual: Any = None, relu: bool = False) -> Tensor:
    """x * scale + shift per channel, plus a residual, then a ReLU if `relu`.

    Args:
        x: (N, H, W, C) feature maps.
        scale, shift: (C,).
        residual: (N, H, W, C) or None.
        relu: whether max(., 0) follows.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: shapes do not fit together.
    """
    _check(x, residual, scale=scale, shift=shift)
    return Affine(relu)(x, scale, shift, residual)


def _check(x: Any, residual: Any, **per_channel: Any) -> None:
    if x.ndim != 4:
        raise ValueError(f"batch_norm: expected feature maps (N, H, W, C), got shape {x.shape}")
    for name, value in per_channel.items():
        if value.shape != x.shape[3:]:
            raise ValueError(
                f"batch_norm: {name} has shape {value.shape}, expected one value per channel "
                f"of x {x.shape}"
            )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"batch_norm: the residual has shape {residual.shape}, x has {x.shape}")
