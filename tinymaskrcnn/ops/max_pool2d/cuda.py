"""Max pooling on the GPU: one thread per output value; back, one per input value.

The gradient is gathered, not scattered: each input value reads the few windows that cover it, so no
two threads add to one cell.
"""

import numpy as np
from numba import float32, int32, uint32

from ...gpu.array import empty, to_device
from ...gpu.launch import F4, I4, blocks, cuda, device_function, kernel, tuple_of
from ...gpu.scalars import place_of
from ..arguments import output_size


def max_pool2d(x, kernel_size, stride, padding):
    height, width = output_size(x.shape[1:3], kernel_size, stride, padding)
    shape = (len(x), height, width, x.shape[3])
    y, tap = empty(shape), empty(shape, np.int32)
    _pool[blocks(y.size)](x, y, tap, (*kernel_size, *stride, *padding))
    return y, tap


def max_pool2d_grad(grad, tap, input_shape, kernel_size, stride, padding):
    dx, tap = empty(input_shape), to_device(tap, np.int32)
    _pool_grad[blocks(dx.size)](grad, tap, dx, (*kernel_size, *stride, *padding))
    return dx


@kernel(F4, F4, I4, tuple_of(6), registers=96)
def _pool(x, y, tap, settings):
    """y[n, i, j, c] = the window's maximum, tap = its position: one thread per cell of y.

    A NaN replaces a number and is never replaced: it is not <= anything, nor == itself.
    """
    kernel_h, kernel_w, stride_y, stride_x, pad_y, pad_x = settings
    _, height, width, _ = x.shape
    for cell in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = place_of(cell, y.shape[1], y.shape[2], y.shape[3])
        top, left = i * stride_y - pad_y, j * stride_x - pad_x
        best, place = float32(0), int32(-1)
        for h in range(max(top, 0), min(top + kernel_h, height)):
            for w in range(max(left, 0), min(left + kernel_w, width)):
                value = x[n, h, w, c]
                if place < 0 or (not value <= best and best == best):
                    best, place = value, int32((h - top) * kernel_w + w - left)
        y[n, i, j, c] = best
        tap[n, i, j, c] = place


@device_function
def _windows(place, size, stride, count):
    """The windows along one axis that cover a place of the padded map: the first, and the one after
    the last.
    """
    before = max(place - size + stride, 0)
    first = int32(uint32(uint32(before) // uint32(stride)))
    last = int32(uint32(uint32(place) // uint32(stride))) + 1
    return first, min(last, count)


@kernel(F4, I4, F4, tuple_of(6), registers=128)
def _pool_grad(grad, tap, dx, settings):
    """dx[n, h, w, c] = sum of grad over the windows whose maximum it was: one thread per cell."""
    kernel_h, kernel_w, stride_y, stride_x, pad_y, pad_x = settings
    _, rows, columns, _ = grad.shape
    for cell in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, h, w, c = place_of(cell, dx.shape[1], dx.shape[2], dx.shape[3])
        total = float32(0)
        y, x = h + pad_y, w + pad_x
        first_i, last_i = _windows(y, kernel_h, stride_y, rows)
        first_j, last_j = _windows(x, kernel_w, stride_x, columns)
        for i in range(first_i, last_i):
            for j in range(first_j, last_j):
                own = (y - i * stride_y) * kernel_w + x - j * stride_x
                if tap[n, i, j, c] == own:
                    total += grad[n, i, j, c]
        dx[n, h, w, c] = total
