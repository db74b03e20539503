"""The losses as differentiable operations. Only predictions get gradients: targets are data.

The loss of no rows is 0 and is still part of the graph, with an empty gradient, so that a batch
without objects trains the rest of the model. NaN or infinity in the input shows in the loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...backend import constant
from ...tensor import Tensor
from . import kernels


class CrossEntropy(Function):
    def forward(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        loss, probabilities = kernels(logits).cross_entropy(logits, labels)
        self.save(probabilities, labels)
        return loss

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, None]:
        probabilities, labels = self.saved
        return kernels(grad).cross_entropy_grad(grad, probabilities, labels), None


class BinaryCrossEntropy(Function):
    def __init__(self, reduction: str) -> None:
        self.reduction = reduction

    def forward(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        self.save(logits, targets)
        return kernels(logits).binary_cross_entropy(logits, targets, self.reduction)

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, None]:
        logits, targets = self.saved
        backward = kernels(grad).binary_cross_entropy_grad
        return backward(grad, logits, targets, self.reduction), None


class SmoothL1(Function):
    def __init__(self, beta: float, reduction: str) -> None:
        self.settings = (beta, reduction)

    def forward(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        self.save(prediction, target)
        return kernels(prediction).smooth_l1(prediction, target, *self.settings)

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, None]:
        prediction, target = self.saved
        return kernels(grad).smooth_l1_grad(grad, prediction, target, *self.settings), None


def cross_entropy(logits: Any, labels: Any) -> Tensor:
    """The mean over all rows of -log softmax(logits)[label]; 0 for no rows.

    Args:
        logits: (N, K) unnormalised scores.
        labels: (N,) integers in 0..K-1; no value means "ignore".

    Returns:
        a Tensor without axes.

    Raises:
        ValueError: shapes do not fit together, or a label is outside 0..K-1.
    """
    labels = np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy: expected logits (N, K) and labels (N,), "
            f"got {logits.shape} and {labels.shape}"
        )
    labels = labels.astype(np.int64, copy=False)
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(
            f"cross_entropy: labels reach from {labels.min()} to {labels.max()}, "
            f"expected 0 to {logits.shape[1] - 1}"
        )
    return CrossEntropy()(logits, labels)


def binary_cross_entropy_with_logits(logits: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """-t log s(x) - (1 - t) log(1 - s(x)), with s the sigmoid of the logits x.

    Without overflow for any x; 0 for no elements.

    Args:
        logits: float Tensor or array of any shape.
        targets: of the same shape, 0..1; they get no gradient.
        reduction: "mean" over all elements, or "sum".

    Returns:
        a Tensor without axes.

    Raises:
        ValueError: the shapes differ, the reduction is unknown, or targets require a gradient.
    """
    targets = _constant("binary_cross_entropy_with_logits", logits, targets)
    _check_reduction("binary_cross_entropy_with_logits", reduction, ("mean", "sum"))
    return BinaryCrossEntropy(reduction)(logits, targets)


def smooth_l1(prediction: Any, target: Any, beta: float = 1.0, reduction: str = "sum") -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = prediction - target.

    Source: Girshick 2015, Fast R-CNN, equation 3 (beta 1).

    Args:
        prediction: float Tensor or array of any shape.
        target: of the same shape; it gets no gradient.
        beta: where the parabola meets the line; 0 gives the absolute difference.
        reduction: "sum" or "mean" over all elements (0 for no elements), or "none".

    Returns:
        a Tensor without axes, or of the prediction's shape for "none".

    Raises:
        ValueError: the shapes differ, beta is negative, the reduction is unknown, or the target
            requires a gradient.
    """
    target = _constant("smooth_l1", prediction, target)
    _check_reduction("smooth_l1", reduction, ("sum", "mean", "none"))
    if not beta >= 0:
        raise ValueError(f"smooth_l1: beta is {beta}, expected 0 or more")
    return SmoothL1(float(beta), reduction)(prediction, target)


def _constant(name: str, prediction: Any, target: Any) -> np.ndarray:
    """The target as an array of the prediction's dtype."""
    if isinstance(target, Tensor):
        if target.requires_grad:
            raise ValueError(f"{name}: the target requires a gradient; pass target.detach()")
        target = target.data
    array = constant(target, prediction.data if isinstance(prediction, Tensor) else prediction)
    if array.shape != prediction.shape:
        raise ValueError(
            f"{name}: the prediction has shape {prediction.shape}, the target {array.shape}"
        )
    return array


def _check_reduction(name: str, reduction: str, known: tuple[str, ...]) -> None:
    if reduction not in known:
        raise ValueError(f"{name}: reduction {reduction!r}, expected one of {', '.join(known)}")
