"""Group normalisation and its gradient in NumPy. Sums are taken in float64."""

import numpy as np


def group_norm(x, num_groups, weight, bias, residual, eps, relu):
    """Normalise each image's groups of channels by their mean and variance, both (N, groups)."""
    grouped = _split(x, num_groups)
    mean = grouped.mean((1, 3), dtype=np.float64) if x.size else np.zeros((len(x), num_groups))
    var = ((grouped - mean[:, None, :, None]) ** 2).mean((1, 3)) if x.size else mean
    y = _normalised(x, mean, var, eps) * weight + bias
    if residual is not None:
        y = y + residual
    y = np.maximum(y, 0) if relu else y
    return y.astype(x.dtype), mean.astype(x.dtype), var.astype(x.dtype)


def group_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual):
    """Gradients of x, weight, bias and residual (None without one); means are per group."""
    grad = np.where(y <= 0, 0, grad) if relu else grad
    normalised = _normalised(x, mean, var, eps)
    dbias = grad.sum((0, 1, 2), dtype=np.float64)
    dweight = (grad * normalised).sum((0, 1, 2))
    dnormalised = grad * weight
    dx = (
        dnormalised
        - _group_mean(dnormalised, mean)
        - normalised * _group_mean(dnormalised * normalised, mean)
    )
    inverse_std = _over_channels(1 / np.sqrt(var.astype(np.float64) + eps), x)
    dtype = x.dtype
    return (
        (dx * inverse_std).astype(dtype),
        dweight.astype(dtype),
        dbias.astype(dtype),
        grad if with_residual else None,
    )


def _split(x, num_groups):
    n, h, w, c = x.shape
    return x.reshape(
        n, h * w, num_groups, c // num_groups
    )  # (N, pixels, groups, channels of a group)


def _over_channels(statistic, x):
    """(N, groups) -> (N, 1, 1, C): every channel gets its group's value."""
    return np.repeat(statistic, x.shape[3] // statistic.shape[1], axis=1)[:, None, None]


def _normalised(x, mean, var, eps):
    return (x - _over_channels(mean.astype(np.float64), x)) / _over_channels(
        np.sqrt(var.astype(np.float64) + eps), x
    )


def _group_mean(values, statistic):
    grouped = _split(values, statistic.shape[1])
    count = max(grouped.shape[1] * grouped.shape[3], 1)
    return _over_channels(grouped.sum((1, 3), dtype=np.float64) / count, values)
