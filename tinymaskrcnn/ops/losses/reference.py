"""Cross-entropy, binary cross-entropy on logits and smooth L1 in NumPy, and their gradients.

A mean over nothing is 0.
"""

import numpy as np


def cross_entropy(logits, labels):
    """The mean of -log softmax(logits)[label], and the probabilities that the gradient needs."""
    shifted = logits - logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(1, keepdims=True))
    log_probability = shifted - log_sum
    losses = -log_probability[np.arange(len(labels)), labels]
    return _reduce(losses, "mean"), np.exp(log_probability)


def cross_entropy_grad(grad, probabilities, labels):
    """Probability minus one-hot label, per row."""
    dlogits = probabilities.copy()
    dlogits[np.arange(len(labels)), labels] -= 1
    return dlogits * (grad / max(len(labels), 1))


def binary_cross_entropy(logits, targets, reduction):
    """-t log s(x) - (1 - t) log(1 - s(x)), s the sigmoid, rearranged so that nothing overflows."""
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    return _reduce(losses, reduction)


def binary_cross_entropy_grad(grad, logits, targets, reduction):
    e = np.exp(-np.abs(logits))
    sigmoid = np.where(logits >= 0, 1, e) / (1 + e)
    return (sigmoid - targets) * _shared(grad, logits, reduction)


def smooth_l1(prediction, target, beta, reduction):
    """d^2 / 2 beta where |d| < beta, else |d| - beta / 2."""
    distance = np.abs(prediction - target)
    squared = distance**2 * (0.5 / beta if beta else 0)
    return _reduce(np.where(distance < beta, squared, distance - 0.5 * beta), reduction)


def smooth_l1_grad(grad, prediction, target, beta, reduction):
    difference = prediction - target
    slope = difference / beta if beta else difference
    slope = np.where(np.abs(difference) < beta, slope, np.sign(difference))
    return slope * _shared(grad, prediction, reduction)


def _reduce(losses, reduction):
    """The losses, or their sum or mean as a zero-dimensional array; summed in float64."""
    if reduction == "none":
        return losses
    total = losses.sum(dtype=np.float64)
    count = max(losses.size, 1) if reduction == "mean" else 1
    return np.asarray(total / count, dtype=losses.dtype)


def _shared(grad, values, reduction):
    """Each value's part of the reduced loss's gradient."""
    return grad / max(values.size, 1) if reduction == "mean" else grad
