"""ReLU, sigmoid and softmax as differentiable operations. Each saves only its output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...tensor import Tensor
from . import kernels


class ReLU(Function):
    def forward(self, x: np.ndarray) -> np.ndarray:
        y = kernels(x).relu(x)
        self.save(y)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (y,) = self.saved
        return kernels(grad).relu_grad(grad, y)


class Sigmoid(Function):
    def forward(self, x: np.ndarray) -> np.ndarray:
        y = kernels(x).sigmoid(x)
        self.save(y)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (y,) = self.saved
        return kernels(grad).sigmoid_grad(grad, y)


class Softmax(Function):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = kernels(x).softmax(x, self.axis)
        self.save(y)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (y,) = self.saved
        return kernels(grad).softmax_grad(grad, y, self.axis)


def relu(x: Any) -> Tensor:
    """max(x, 0), elementwise. The gradient at 0 is 0; NaN stays NaN.

    Args:
        x: float Tensor or array of any shape.
    """
    return ReLU()(x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), elementwise, without overflow for any x.

    Args:
        x: float Tensor or array of any shape.
    """
    return Sigmoid()(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis, computed relative to the largest x.

    Args:
        x: float Tensor or array; the axis must not be empty, others may be.
        axis: the axis whose entries then sum to 1.

    Raises:
        ValueError: x has no such axis, or the axis is empty.
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"softmax: no axis {axis} in an input of shape {x.shape}")
    if x.shape[axis] == 0:
        raise ValueError(f"softmax: axis {axis} of shape {x.shape} is empty")
    return Softmax(axis)(x)
