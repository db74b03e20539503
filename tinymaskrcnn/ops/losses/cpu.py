"""The losses on the CPU: NumPy, in as few passes as possible, writing to reused buffers.

NumPy's exp and log are vectorised; Numba would call the C library for each value. The inputs are
small: a few hundred thousand values at most, for the masks.
"""

import numpy as np

from ... import memory


def cross_entropy(logits, labels):
    shifted = np.subtract(logits, logits.max(1, keepdims=True), out=memory.empty(logits.shape))
    chosen = shifted[np.arange(len(labels)), labels]
    probabilities = np.exp(shifted, out=shifted)
    total = probabilities.sum(1, keepdims=True)
    loss = _reduce(np.log(total[:, 0]) - chosen, "mean")
    probabilities /= total
    return loss, probabilities


def cross_entropy_grad(grad, probabilities, labels):
    share = np.float32(grad / max(len(labels), 1))
    dlogits = np.multiply(probabilities, share, out=memory.empty(probabilities.shape))
    dlogits[np.arange(len(labels)), labels] -= share
    return dlogits


def binary_cross_entropy(logits, targets, reduction):
    """log(1 + e^-|x|) + max(x, 0) - t x."""
    losses = np.abs(logits, out=memory.empty(logits.shape))
    np.negative(losses, out=losses)
    np.exp(losses, out=losses)
    np.log1p(losses, out=losses)
    # Take the difference first: added to a large x, the logarithm would lose its digits.
    losses += np.maximum(logits, 0) - targets * logits
    return _reduce(losses, reduction)


def binary_cross_entropy_grad(grad, logits, targets, reduction):
    """Sigmoid minus target; where e^-x overflows to infinity, the sigmoid is rightly 0."""
    dlogits = np.negative(logits, out=memory.empty(logits.shape))
    with np.errstate(over="ignore"):
        np.exp(dlogits, out=dlogits)
    dlogits += 1
    np.reciprocal(dlogits, out=dlogits)
    dlogits -= targets
    dlogits *= _share(grad, logits, reduction)
    return dlogits


def smooth_l1(prediction, target, beta, reduction):
    """m^2 / 2 beta + |d| - m with m = min(|d|, beta): no branch."""
    distance = np.subtract(prediction, target, out=memory.empty(prediction.shape))
    np.abs(distance, out=distance)
    if beta:
        near = np.minimum(distance, beta)
        distance -= near
        near *= near
        near *= 0.5 / beta
        distance += near
    return _reduce(distance, reduction)


def smooth_l1_grad(grad, prediction, target, beta, reduction):
    """The difference over beta, clipped to -1 .. 1."""
    slope = np.subtract(prediction, target, out=memory.empty(prediction.shape))
    if beta:
        slope /= beta
        np.clip(slope, -1, 1, out=slope)
    else:
        np.sign(slope, out=slope)
    slope *= _share(grad, prediction, reduction)
    return slope


def _reduce(losses, reduction):
    """The losses, or their sum or mean as a zero-dimensional array; NumPy sums in pairs."""
    if reduction == "none":
        return losses
    count = max(losses.size, 1) if reduction == "mean" else 1
    return np.asarray(losses.sum() / np.float32(count))


def _share(grad, values, reduction):
    return grad / np.float32(max(values.size, 1)) if reduction == "mean" else grad
