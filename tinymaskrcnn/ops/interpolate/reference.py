"""Nearest and bilinear resizing in NumPy, and their gradients: rows first, then columns."""

import numpy as np


def nearest(x, size):
    rows, columns = _nearest_index(x.shape[1], size[0]), _nearest_index(x.shape[2], size[1])
    return x[:, rows][:, :, columns]


def nearest_grad(grad, input_size):
    """Each input pixel gathers the gradients of its copies."""
    rows, columns = (
        _nearest_index(*sizes) for sizes in zip(input_size, grad.shape[1:3], strict=True)
    )
    dx = np.zeros((len(grad), *input_size, grad.shape[3]), grad.dtype)
    np.add.at(dx, np.ix_(range(len(grad)), rows, columns), grad)
    return dx


def upsample_add(top, lateral):
    return lateral + nearest(top, lateral.shape[1:3])


def bilinear(x, size):
    lower, upper, weight = _bilinear_table(x.shape[1], size[0], x.dtype)
    weight = weight[:, None, None]
    x = x[:, lower] * (1 - weight) + x[:, upper] * weight
    lower, upper, weight = _bilinear_table(x.shape[2], size[1], x.dtype)
    weight = weight[:, None]
    return x[:, :, lower] * (1 - weight) + x[:, :, upper] * weight


def bilinear_grad(grad, input_size):
    """The transpose of `bilinear`: each output shares its gradient among the pixels it blended."""
    lower, upper, weight = _bilinear_table(input_size[1], grad.shape[2], grad.dtype)
    weight = weight[:, None]
    by_column = np.zeros((*grad.shape[:2], input_size[1], grad.shape[3]), grad.dtype)
    np.add.at(by_column, np.s_[:, :, lower], grad * (1 - weight))
    np.add.at(by_column, np.s_[:, :, upper], grad * weight)
    lower, upper, weight = _bilinear_table(input_size[0], grad.shape[1], grad.dtype)
    weight = weight[:, None, None]
    dx = np.zeros((len(grad), *input_size, grad.shape[3]), grad.dtype)
    np.add.at(dx, np.s_[:, lower], by_column * (1 - weight))
    np.add.at(dx, np.s_[:, upper], by_column * weight)
    return dx


def _nearest_index(in_size, out_size):
    """floor(output * in / out), always in float32, so that ties are decided as in torch."""
    index = np.arange(out_size, dtype=np.float32) * np.float32(in_size / out_size)
    return np.minimum(index.astype(np.int64), in_size - 1)


def _bilinear_table(in_size, out_size, dtype):
    """The two inputs that each output blends, and the second's weight. Pixel centres: +0.5."""
    half, scale = dtype.type(0.5), dtype.type(in_size / out_size)
    centre = np.maximum((np.arange(out_size, dtype=dtype) + half) * scale - half, 0)
    lower = np.minimum(centre.astype(np.int64), in_size - 1)
    upper = np.minimum(lower + 1, in_size - 1)
    return lower, upper, np.clip(centre - lower, 0, 1).astype(dtype)
