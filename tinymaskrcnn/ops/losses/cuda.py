"""The losses on the GPU: one thread per value (or per row of logits), then a sum.

The loss stays on the device, as a zero-dimensional array, until somebody asks for the number.
"""

import numpy as np
from numba import float32

from ...gpu.array import empty, to_device
from ...gpu.launch import F1, F2, I1, F, I, blocks, cuda, kernel
from ...gpu.scalars import divided, exp, log, log1p, sigmoid
from ..cuda_sums import sum_middle


def cross_entropy(logits, labels):
    losses, probabilities = empty(len(logits)), empty(logits.shape)
    labels = to_device(labels, np.int32)
    _cross_entropy[blocks(len(logits))](logits, labels, losses, probabilities)
    return _reduce(losses, "mean"), probabilities


def cross_entropy_grad(grad, probabilities, labels):
    dlogits, labels = empty(probabilities.shape), to_device(labels, np.int32)
    _cross_entropy_grad[blocks(dlogits.size)](grad.flat, probabilities, labels, dlogits)
    return dlogits


def binary_cross_entropy(logits, targets, reduction):
    losses = empty(logits.shape)
    _binary_cross_entropy[blocks(losses.size)](logits.flat, to_device(targets).flat, losses.flat)
    return _reduce(losses, reduction)


def binary_cross_entropy_grad(grad, logits, targets, reduction):
    dlogits, share = empty(logits.shape), _share(logits, reduction)
    arguments = logits.flat, to_device(targets).flat, share, dlogits.flat
    _binary_cross_entropy_grad[blocks(dlogits.size)](grad.flat, *arguments)
    return dlogits


def smooth_l1(prediction, target, beta, reduction):
    losses = empty(prediction.shape)
    arguments = prediction.flat, to_device(target).flat, beta, losses.flat
    _smooth_l1[blocks(losses.size)](*arguments)
    return _reduce(losses, reduction)


def smooth_l1_grad(grad, prediction, target, beta, reduction):
    slope, share = empty(prediction.shape), _share(prediction, reduction)
    each = reduction == "none"  # every value then has its own gradient
    arguments = prediction.flat, to_device(target).flat, beta, share, slope.flat
    _smooth_l1_grad[blocks(slope.size)](grad.flat, each, *arguments)
    return slope


def _reduce(losses, reduction):
    if reduction == "none":
        return losses
    total = sum_middle(losses.reshape(1, losses.size, 1))
    out = empty(())
    _scale[1](total.flat, _share(losses, reduction), out.flat)
    return out


def _share(values, reduction):
    return 1 / max(values.size, 1) if reduction == "mean" else 1.0


@kernel(F1, F, F1)
def _scale(a, factor, out):
    """out[i] = factor * a[i]: thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        out[i] = factor * a[i]


@kernel(F2, I1, F1, F2, registers=64)
def _cross_entropy(logits, labels, losses, probabilities):
    """losses[r] = -log softmax(logits[r])[labels[r]], probabilities[r] = softmax: thread r.

    Subtract the largest logit first, so that no exponential overflows.
    """
    classes = logits.shape[1]
    for r in range(cuda.grid(1), logits.shape[0], cuda.gridsize(1)):
        largest = logits[r, 0]
        for k in range(1, classes):
            largest = max(largest, logits[r, k])
        total = float32(0)
        for k in range(classes):
            power = exp(logits[r, k] - largest)
            probabilities[r, k] = power
            total += power
        losses[r] = log(total) - (logits[r, labels[r]] - largest)
        for k in range(classes):
            probabilities[r, k] = divided(probabilities[r, k], total)


@kernel(F1, F2, I1, F2)
def _cross_entropy_grad(grad, probabilities, labels, dlogits):
    """dlogits[r, k] = (probability - (k is the label)) grad / rows: one thread per cell."""
    rows, classes = dlogits.shape
    for cell in range(cuda.grid(1), dlogits.size, cuda.gridsize(1)):
        r, k = cell // classes, cell % classes
        hit = float32(1) if labels[r] == k else float32(0)
        dlogits[r, k] = (probabilities[r, k] - hit) * divided(grad[0], float32(rows))


@kernel(F1, F1, F1)
def _binary_cross_entropy(logits, targets, losses):
    """losses[i] = log(1 + e^-|x|) + (max(x, 0) - t x): thread i, i + all threads, ...

    Take the difference first: added to a large x, the logarithm would lose its digits.
    """
    for i in range(cuda.grid(1), logits.size, cuda.gridsize(1)):
        x = logits[i]
        positive = float32(0) if x <= float32(0) else x
        losses[i] = log1p(exp(-abs(x))) + (positive - targets[i] * x)


@kernel(F1, F1, F1, F, F1)
def _binary_cross_entropy_grad(grad, logits, targets, share, dlogits):
    """dlogits[i] = (sigmoid - target) grad share: thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), logits.size, cuda.gridsize(1)):
        dlogits[i] = (sigmoid(logits[i]) - targets[i]) * grad[0] * share


@kernel(F1, F1, F, F1)
def _smooth_l1(prediction, target, beta, losses):
    """losses[i] = m^2 / 2 beta + |d| - m, m = min(|d|, beta): thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), prediction.size, cuda.gridsize(1)):
        distance = abs(prediction[i] - target[i])
        if distance < beta:
            losses[i] = float32(0.5) * divided(distance * distance, beta)
        else:
            losses[i] = distance - float32(0.5) * beta


@kernel(F1, I, F1, F1, F, F, F1)
def _smooth_l1_grad(grad, each, prediction, target, beta, share, slope):
    """slope[i] = (d / beta, clipped to -1 .. 1) * grad * share: thread i, ..."""
    for i in range(cuda.grid(1), prediction.size, cuda.gridsize(1)):
        difference = prediction[i] - target[i]
        if abs(difference) < beta:
            value = divided(difference, beta)
        elif difference > float32(0):
            value = float32(1)
        elif difference < float32(0):
            value = float32(-1)
        else:
            value = difference  # zero, or not a number
        slope[i] = value * share * (grad[i] if each else grad[0])
