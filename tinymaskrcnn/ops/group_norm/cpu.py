"""Group normalisation on the CPU: coefficients per image and channel, then one pass over the map.

The loops are in ops/cpu_norms.py; for them each image is a sample. Their results per channel are
combined into groups here, in float64.
"""

import numpy as np

from .. import cpu_norms
from ..activations.cpu import relu_grad


def group_norm(x, num_groups, weight, bias, residual, eps, relu):
    channel_mean, channel_var = cpu_norms.moments(_samples(x))
    mean = _group_mean(channel_mean, num_groups)
    spread = (channel_mean - _over_channels(mean, x)) ** 2
    var = _group_mean(channel_var + spread, num_groups)
    scale = weight / np.sqrt(_over_channels(var, x) + eps)
    shift = bias - _over_channels(mean, x) * scale
    residual = None if residual is None else _samples(residual)
    y = cpu_norms.apply(_samples(x), scale, shift, residual, relu).reshape(x.shape)
    return y, mean.astype(np.float32), var.astype(np.float32)


def group_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual):
    if relu and with_residual:
        grad, relu = relu_grad(grad, y), False
    maps = [_samples(a) for a in (grad, y if relu else grad, x)]
    center = _over_channels(mean, x)
    inverse_std = 1 / np.sqrt(_over_channels(var, x).astype(np.float64) + eps)
    sums, products = cpu_norms.grad_sums(*maps, center, relu)  # (N, C) each
    products *= inverse_std
    pixels = max(x.shape[1] * x.shape[2], 1)
    groups = mean.shape[1]
    mean_sum = _over_channels(_group_mean(sums * weight, groups), x) / pixels
    mean_product = _over_channels(_group_mean(products * weight, groups), x) / pixels
    coefficients = (
        weight * inverse_std,
        -mean_product * inverse_std**2,
        center,
        -mean_sum * inverse_std,
    )
    dx = cpu_norms.grad_apply(*maps, *coefficients, relu).reshape(x.shape)
    dweight, dbias = products.sum(0).astype(np.float32), sums.sum(0).astype(np.float32)
    return dx, dweight, dbias, grad if with_residual else None


def _samples(x):
    n, h, w, channels = x.shape
    return np.ascontiguousarray(x).reshape(n, h * w, channels)


def _over_channels(statistic, x):
    """(N, groups) -> (N, C): every channel gets its group's value."""
    return np.repeat(statistic, x.shape[3] // statistic.shape[1], axis=1)


def _group_mean(per_channel, num_groups):
    n, channels = per_channel.shape
    return per_channel.reshape(n, num_groups, channels // num_groups).mean(2)
