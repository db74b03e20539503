"""Batch normalisation in NumPy: training form, affine (frozen) form, and their gradients.

Both forms can add a residual and apply ReLU. The gradient then passes where y > 0, and this masked
gradient is also the residual's. Sums over pixels are in float64: over a map of a million pixels,
float32 would lose five digits. `total` sums arrays over the processes that share their norms; it is
None if there is only one process.
"""

import numpy as np


def batch_norm(x, weight, bias, residual, eps, relu, total=None):
    """Normalise every channel by its own mean and (biased) variance over N, H and W."""
    count = max(x[..., 0].size, 1)
    mean = x.sum((0, 1, 2), dtype=np.float64) / count
    var = ((x - mean) ** 2).sum((0, 1, 2)) / count
    if total is not None:
        counts, sums, squares = total(count * np.stack([np.ones_like(mean), mean, var + mean**2]))
        mean = sums / counts
        var = np.maximum(squares / counts - mean**2, 0)
    normalised = (x - mean) / np.sqrt(var + eps)
    y = _epilogue(normalised * weight + bias, residual, relu)
    return y.astype(x.dtype), mean.astype(x.dtype), var.astype(x.dtype)


def batch_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual, total=None):
    """Gradients of x, weight, bias and residual (None without one).

    The statistics depend on x too; that is why two means are subtracted in dx.
    """
    grad = _masked(grad, y, relu)
    inverse_std = 1 / np.sqrt(var.astype(np.float64) + eps)
    normalised = (x - mean) * inverse_std
    dbias = grad.sum((0, 1, 2), dtype=np.float64)
    dweight = (grad * normalised).sum((0, 1, 2))
    sums = np.stack([np.full_like(dbias, max(x[..., 0].size, 1)), dbias, dweight])
    count, sum_of_grad, sum_of_product = sums if total is None else total(sums)
    means = sum_of_grad / count + normalised * (sum_of_product / count)
    dx = weight * inverse_std * (grad - means)
    dtype = x.dtype
    return (
        dx.astype(dtype),
        dweight.astype(dtype),
        dbias.astype(dtype),
        grad if with_residual else None,
    )


def move_statistics(running, value, momentum, correction):
    """running += momentum * (correction * value - running)."""
    running += momentum * (value * correction - running)


def affine(x, scale, shift, residual, relu):
    return _epilogue(x * scale + shift, residual, relu)


def affine_grad(grad, x, y, scale, relu, with_scale, with_residual):
    """Gradients of x, scale, shift and residual. Without `with_scale`, those of scale and shift are
    None, and x may be None.
    """
    grad = _masked(grad, y, relu)
    dscale = dshift = None
    if with_scale:
        dscale = (grad * x).sum((0, 1, 2), dtype=np.float64).astype(grad.dtype)
        dshift = grad.sum((0, 1, 2), dtype=np.float64).astype(grad.dtype)
    return grad * scale, dscale, dshift, grad if with_residual else None


def _epilogue(y, residual, relu):
    if residual is not None:
        y = y + residual
    return np.maximum(y, 0) if relu else y


def _masked(grad, y, relu):
    return np.where(y <= 0, 0, grad) if relu else grad
