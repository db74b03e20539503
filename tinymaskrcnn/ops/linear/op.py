"""The fully connected layer as a differentiable operation, plain and fused with a ReLU.

Users call `linear`, `nn` calls `linear_fused`. The arithmetic is in reference.py, cpu.py and
cuda.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...in_place import InPlaceFunction
from ...tensor import Tensor
from . import kernels


class Linear(InPlaceFunction):
    """relu?(x weight^T + bias) as one node; backward reads the ReLU's mask from the output."""

    def __init__(self, relu: bool = False) -> None:
        self.relu = relu

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        y = kernels(x).linear(x, weight, bias, self.relu)
        self.save(x, weight, y if self.relu else None)
        return y

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, weight, y = self.saved
        needs_x, needs_weight, needs_bias = self.needs
        run = kernels(grad)
        dx = dw = dbias = None
        if self.relu or needs_bias:
            grad, dbias = run.linear_grad_output(grad, y, self.relu)
        if needs_x:
            dx = run.linear_grad_input(grad, weight)
        if needs_weight:
            dw = run.linear_grad_weight(grad, x)
        return dx, dw, dbias if needs_bias else None


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x weight^T + bias, the fully connected layer.

    Args:
        x: (M, In) float32 or float64, M may be 0.
        weight: (Out, In), as in torchvision.
        bias: (Out,) or None.

    Returns:
        (M, Out).

    Raises:
        ValueError: shapes do not fit.
    """
    return linear_fused(x, weight, bias, relu=False)


def linear_fused(x: Any, weight: Any, bias: Any = None, relu: bool = False) -> Tensor:
    """`linear`, then a ReLU if `relu`, in one pass over the output.

    Other arguments, the result and errors are those of `linear`.
    """
    if len(x.shape) != 2 or len(weight.shape) != 2:
        raise ValueError(
            "linear: expected x (M, In) and weight (Out, In), "
            f"got shapes {x.shape} and {weight.shape}"
        )
    if x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"linear: x has shape {x.shape}, so {x.shape[1]} features, "
            f"but weight {weight.shape} expects {weight.shape[1]}"
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"linear: bias has shape {bias.shape}, expected ({weight.shape[0]},)")
    return Linear(relu)(x, weight, bias)
