"""Resizing in Numba, parallel over rows of the result, vectorised over channels.

Every gradient is gathered, never scattered: each input pixel adds up the gradients of the outputs
that read it, so that no two threads write to the same cell.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel, serial

_PARALLEL = 1 << 16  # if the larger map has fewer values, a parallel region costs too much


def nearest(x, size):
    return _nearest(x, size, None)


def nearest_grad(grad, input_size):
    return _grad(grad, input_size, _nearest_table)


def upsample_add(top, lateral):
    return _nearest(top, lateral.shape[1:3], np.ascontiguousarray(lateral))


def bilinear(x, size):
    x = np.ascontiguousarray(x)
    y = memory.empty((len(x), *size, x.shape[3]))
    rows, columns = _bilinear_table(x.shape[1], size[0]), _bilinear_table(x.shape[2], size[1])
    run = _bilinear if y.size >= _PARALLEL else _bilinear_rows
    run(x, *rows[:2], *columns[:2], y, 0, len(x) * size[0])
    return y


def bilinear_grad(grad, input_size):
    return _grad(grad, input_size, _bilinear_table)


def _nearest(x, size, lateral):
    x = np.ascontiguousarray(x)
    y = memory.empty((len(x), *size, x.shape[3]))
    added = y if lateral is None else lateral
    rows, columns = _nearest_table(x.shape[1], size[0]), _nearest_table(x.shape[2], size[1])
    run = _copy if y.size >= _PARALLEL else _copy_rows
    run(x, rows[0], columns[0], added, lateral is not None, y, 0, len(x) * size[0])
    return y


def _grad(grad, input_size, table):
    dx = memory.empty((len(grad), *input_size, grad.shape[3]))
    rows, columns = (table(*sizes) for sizes in zip(input_size, grad.shape[1:3], strict=True))
    run = _gather if grad.size >= _PARALLEL else _gather_rows
    run(np.ascontiguousarray(grad), *rows, *columns, dx, 0, len(grad) * input_size[0])
    return dx


@lru_cache(maxsize=256)  # the same few sizes recur in every step
def _nearest_table(in_size, out_size):
    """As `_bilinear_table`, for outputs that read one input each."""
    index = np.arange(out_size, dtype=np.float32) * np.float32(in_size / out_size)
    index = np.minimum(index.astype(np.int64), in_size - 1)
    bounds = np.searchsorted(index, np.arange(in_size + 1))
    return index, np.ones((out_size, 2), np.float32), bounds[:-1], bounds[1:]


@lru_cache(maxsize=256)
def _bilinear_table(in_size, out_size):
    """For each output: its lower input, and the weights of that and the next input (out_size, 2).

    For each input: the first output that reads it, and the one after the last.
    """
    center = np.arange(out_size, dtype=np.float32) + np.float32(0.5)
    center = np.maximum(center * np.float32(in_size / out_size) - np.float32(0.5), 0)
    lower = np.minimum(center.astype(np.int64), in_size - 1)
    far = np.where(lower < in_size - 1, center - lower, 0).astype(np.float32)
    bounds = np.searchsorted(lower, np.arange(-1, in_size + 1))
    return lower, np.stack([1 - far, far], 1), bounds[:-2], bounds[2:]


@serial
def _copy_rows(x, rows, columns, lateral, add, y, first, last):
    for row in range(first, last):
        n, i = row // y.shape[1], row % y.shape[1]
        for j in range(y.shape[2]):
            h, w = rows[i], columns[j]
            if add:
                for c in range(y.shape[3]):
                    y[n, i, j, c] = x[n, h, w, c] + lateral[n, i, j, c]
            else:
                y[n, i, j] = x[n, h, w]


@kernel
def _copy(x, rows, columns, lateral, add, y, first, last):
    for row in prange(first, last):
        _copy_rows(x, rows, columns, lateral, add, y, row, row + 1)


@serial
def _bilinear_rows(x, rows, row_weights, columns, column_weights, y, first, last):
    for row in range(first, last):
        n, i = row // y.shape[1], row % y.shape[1]
        upper, lower = rows[i], min(rows[i] + 1, x.shape[1] - 1)
        for j in range(y.shape[2]):
            left, right = columns[j], min(columns[j] + 1, x.shape[2] - 1)
            near_row, far_row = row_weights[i, 0], row_weights[i, 1]
            near, far = column_weights[j, 0], column_weights[j, 1]
            for c in range(y.shape[3]):
                above = near * x[n, upper, left, c] + far * x[n, upper, right, c]
                below = near * x[n, lower, left, c] + far * x[n, lower, right, c]
                y[n, i, j, c] = near_row * above + far_row * below


@kernel
def _bilinear(x, rows, row_weights, columns, column_weights, y, first, last):
    for row in prange(first, last):
        _bilinear_rows(x, rows, row_weights, columns, column_weights, y, row, row + 1)


@serial
def _gather_rows(
    grad, rows, row_weights, row_first, row_last,
    columns, column_weights, column_first, column_last, dx, first, last,
):  # fmt: skip
    for row in range(first, last):
        n, h = row // dx.shape[1], row % dx.shape[1]
        for w in range(dx.shape[2]):
            dx[n, h, w] = 0
            for i in range(row_first[h], row_last[h]):
                row_weight = row_weights[i, 0 if rows[i] == h else 1]
                for j in range(column_first[w], column_last[w]):
                    weight = row_weight * column_weights[j, 0 if columns[j] == w else 1]
                    for c in range(dx.shape[3]):
                        dx[n, h, w, c] += weight * grad[n, i, j, c]


@kernel
def _gather(
    grad, rows, row_weights, row_first, row_last,
    columns, column_weights, column_first, column_last, dx, first, last,
):  # fmt: skip
    for row in prange(first, last):
        _gather_rows(
            grad, rows, row_weights, row_first, row_last,
            columns, column_weights, column_first, column_last, dx, row, row + 1,
        )  # fmt: skip
