"""Batch normalisation on the CPU: per-channel coefficients in float64, then one pass over the map.

The loops are in ops/cpu_norms.py. Each image is summed separately, and these sums are added in
float64, so the rounding does not depend on which process has which image.
"""

import numpy as np

from .. import cpu_norms
from ..activations.cpu import relu_grad


def batch_norm(x, weight, bias, residual, eps, relu, total=None):
    x = np.ascontiguousarray(x)
    means, variances = cpu_norms.moments(_images(x))
    moments = np.stack([np.ones_like(means), means, variances + means**2]).sum(1, keepdims=True)
    count, sums, squares = moments if total is None else total(moments)
    mean = sums / np.maximum(count, 1)
    var = np.maximum(squares / np.maximum(count, 1) - mean**2, 0)
    scale = weight / np.sqrt(var + eps)
    y = _apply(x, scale, bias - mean * scale, residual, relu)
    return y, mean[0].astype(np.float32), var[0].astype(np.float32)


def batch_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual, total=None):
    grad, relu = _masked_for_residual(grad, y, relu, with_residual)
    maps = [_one_sample(a) for a in (grad, y if relu else grad, x)]
    images = [_images(a) for a in (grad, y if relu else grad, x)]
    center = np.repeat(mean[None], len(x), axis=0)
    dbias, product = cpu_norms.grad_sums(*images, center, relu).sum(1, keepdims=True)
    inverse_std = 1 / np.sqrt(var.astype(np.float64) + eps)
    dweight = product * inverse_std
    sums = np.stack([np.full_like(dbias, max(x[..., 0].size, 1)), dbias, dweight])
    count, sum_of_grad, sum_of_product = sums if total is None else total(sums)
    scale = (weight * inverse_std)[None]
    coefficients = (
        scale,
        -scale * sum_of_product * inverse_std / count,
        mean[None],
        -scale * sum_of_grad / count,
    )
    dx = cpu_norms.grad_apply(*maps, *coefficients, relu).reshape(x.shape)
    residual = grad if with_residual else None
    return dx, dweight[0].astype(np.float32), dbias[0].astype(np.float32), residual


def move_statistics(running, value, momentum, correction):
    running += momentum * (value * correction - running)


def affine(x, scale, shift, residual, relu):
    return _apply(x, scale[None], shift[None], residual, relu)


def affine_grad(grad, x, y, scale, relu, with_scale, with_residual):
    grad, _ = _masked_for_residual(grad, y, relu, True)
    dscale = dshift = None
    if with_scale:
        maps = (_one_sample(grad), None, _one_sample(x))
        dshift, dscale = cpu_norms.grad_sums(*maps, np.zeros((1, len(scale))), False)
        dscale, dshift = dscale[0].astype(np.float32), dshift[0].astype(np.float32)
    dx = _apply(grad, scale[None], np.zeros((1, len(scale))), None, False)
    return dx, dscale, dshift, grad if with_residual else None


def _apply(x, scale, shift, residual, relu):
    residual = None if residual is None else _one_sample(residual)
    return cpu_norms.apply(_one_sample(x), scale, shift, residual, relu).reshape(x.shape)


def _masked_for_residual(grad, y, relu, needed):
    """The gradient, masked if the masked array is needed, and whether it is still to be masked."""
    return (relu_grad(grad, y), False) if relu and needed else (grad, relu)


def _one_sample(x):
    return np.ascontiguousarray(x).reshape(1, -1, x.shape[-1])  # (1, N * H * W, C)


def _images(x):
    n, h, w, channels = x.shape
    return np.ascontiguousarray(x).reshape(n, h * w, channels)
