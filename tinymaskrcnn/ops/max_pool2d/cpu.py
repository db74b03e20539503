"""Max pooling in Numba, parallel over rows of the result, vectorised over channels."""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel, serial
from ..arguments import output_size

_PARALLEL = 1 << 16  # if the larger map has fewer values, a parallel region costs too much


def max_pool2d(x, kernel_size, stride, padding):
    x = np.ascontiguousarray(x)
    height, width = output_size(x.shape[1:3], kernel_size, stride, padding)
    shape = (len(x), height, width, x.shape[3])
    y, tap = memory.empty(shape), memory.empty(shape, np.uint16)
    run = _pool if x.size >= _PARALLEL else _pool_rows
    run(x, kernel_size, stride, padding, y, tap, 0, shape[0] * height)
    return y, tap


def max_pool2d_grad(grad, tap, input_shape, kernel_size, stride, padding):
    dx = memory.empty(input_shape)
    run = _pool_grad if dx.size >= _PARALLEL else _pool_grad_rows
    rows = input_shape[0] * input_shape[1]
    run(np.ascontiguousarray(grad), tap, kernel_size, stride, padding, dx, 0, rows)
    return dx


@serial
def _pool_rows(x, kernel_size, stride, padding, y, tap, first, last):
    """For each tap inside the map and each channel: keep the larger value and its tap.

    A NaN replaces a number and is never replaced: it is not <= anything, nor == itself.
    """
    _, height, width, channels = x.shape
    for row in range(first, last):
        n, i = row // y.shape[1], row % y.shape[1]
        top = i * stride[0] - padding[0]
        for j in range(y.shape[2]):
            left = j * stride[1] - padding[1]
            unset = True
            for h in range(max(top, 0), min(top + kernel_size[0], height)):
                for w in range(max(left, 0), min(left + kernel_size[1], width)):
                    index = np.uint16((h - top) * kernel_size[1] + w - left)
                    for c in range(channels):
                        value, best = x[n, h, w, c], y[n, i, j, c]
                        better = unset | ((not value <= best) & (best == best))
                        y[n, i, j, c] = value if better else best
                        tap[n, i, j, c] = index if better else tap[n, i, j, c]
                    unset = False


@kernel
def _pool(x, kernel_size, stride, padding, y, tap, first, last):
    for row in prange(first, last):
        _pool_rows(x, kernel_size, stride, padding, y, tap, row, row + 1)


@serial
def _pool_grad_rows(grad, tap, kernel_size, stride, padding, dx, first, last):
    """Each input row gathers from the windows that cover it; no two threads write to one cell."""
    _, height, width, channels = dx.shape
    for row in range(first, last):
        n, h = row // height, row % height
        dx[n, h] = 0
        lowest = -(-max(h + padding[0] - kernel_size[0] + 1, 0) // stride[0])
        for i in range(lowest, min((h + padding[0]) // stride[0] + 1, grad.shape[1])):
            base = (h + padding[0] - i * stride[0]) * kernel_size[1]
            for j in range(grad.shape[2]):
                left = j * stride[1] - padding[1]
                for w in range(max(left, 0), min(left + kernel_size[1], width)):
                    index = np.uint16(base + w - left)
                    for c in range(channels):
                        won = tap[n, i, j, c] == index
                        dx[n, h, w, c] += grad[n, i, j, c] if won else np.float32(0)


@kernel
def _pool_grad(grad, tap, kernel_size, stride, padding, dx, first, last):
    for row in prange(first, last):
        _pool_grad_rows(grad, tap, kernel_size, stride, padding, dx, row, row + 1)
