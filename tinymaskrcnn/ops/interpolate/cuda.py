"""Nearest and bilinear resizing on the GPU: one thread per value of the result.

Gradients are gathered too: each input pixel checks the few outputs around its own place that may
have read it, and adds up the gradients of those that did.
"""

import numpy as np
from numba import float32, int32

from ...gpu.array import empty
from ...gpu.launch import F4, F, I, blocks, cuda, device_function, kernel
from ...gpu.scalars import divided, place_of, product


def nearest(x, size):
    y = empty((len(x), *size, x.shape[3]))
    _nearest[blocks(y.size)](x, x, False, y, *_scales(x.shape[1:3], size))
    return y


def nearest_grad(grad, input_size):
    dx = empty((len(grad), *input_size, grad.shape[3]))
    _nearest_grad[blocks(dx.size)](grad, dx, *_scales(input_size, grad.shape[1:3]))
    return dx


def upsample_add(top, lateral):
    y = empty(lateral.shape)
    _nearest[blocks(y.size)](top, lateral, True, y, *_scales(top.shape[1:3], y.shape[1:3]))
    return y


def bilinear(x, size):
    y = empty((len(x), *size, x.shape[3]))
    _bilinear[blocks(y.size)](x, y, *_scales(x.shape[1:3], size))
    return y


def bilinear_grad(grad, input_size):
    dx = empty((len(grad), *input_size, grad.shape[3]))
    _bilinear_grad[blocks(dx.size)](grad, dx, *_scales(input_size, grad.shape[1:3]))
    return dx


def _scales(in_size, out_size):
    """Input pixels per output pixel, along each axis."""
    return tuple(np.float32(i / o) for i, o in zip(in_size, out_size, strict=True))


@device_function
def _source(i, scale, length):
    """The input pixel that output i copies."""
    return min(int32(product(float32(i), scale)), int32(length - 1))


@device_function
def _centre(i, scale):
    """Where output i lies between the inputs' centres."""
    return max(product(float32(i) + float32(0.5), scale) - float32(0.5), float32(0))


@device_function
def _share(i, h, scale, length):
    """The weight of input h in output i."""
    centre = _centre(i, scale)
    lower = min(int32(centre), int32(length - 1))
    upper = min(int32(lower + 1), int32(length - 1))
    weight = min(max(centre - float32(lower), float32(0)), float32(1))
    share = float32(1) - weight if lower == h else float32(0)
    return share + weight if upper == h else share


@device_function
def _first(h, scale):
    """An output at or before the first that reads input h."""
    guess = int32(divided(float32(h) - float32(0.5), scale) - float32(2))
    return int32(0) if h == 0 else max(guess, int32(0))


@device_function
def _last(h, scale, length, outputs):
    """An output after the last that reads input h, or the number of outputs."""
    guess = int32(divided(float32(h) + float32(1.5), scale) + float32(2))
    return int32(outputs) if h == length - 1 else min(guess, int32(outputs))


@kernel(F4, F4, I, F4, F, F, registers=64)
def _nearest(x, lateral, with_lateral, y, scale_y, scale_x):
    """y[n, i, j, c] = x at (i, j) scaled, plus lateral[n, i, j, c]: one thread per cell of y."""
    for cell in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = place_of(cell, y.shape[1], y.shape[2], y.shape[3])
        value = x[n, _source(i, scale_y, x.shape[1]), _source(j, scale_x, x.shape[2]), c]
        y[n, i, j, c] = value + lateral[n, i, j, c] if with_lateral else value


@kernel(F4, F4, F, F, registers=80)
def _nearest_grad(grad, dx, scale_y, scale_x):
    """dx[n, h, w, c] = sum of grad over the copies of (h, w): one thread per cell of dx."""
    height, width = dx.shape[1], dx.shape[2]
    for cell in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, h, w, c = place_of(cell, height, width, dx.shape[3])
        total = float32(0)
        for i in range(_first(h, scale_y), _last(h, scale_y, height, grad.shape[1])):
            if _source(i, scale_y, height) == h:
                for j in range(_first(w, scale_x), _last(w, scale_x, width, grad.shape[2])):
                    if _source(j, scale_x, width) == w:
                        total += grad[n, i, j, c]
        dx[n, h, w, c] = total


@kernel(F4, F4, F, F, registers=80)
def _bilinear(x, y, scale_y, scale_x):
    """y[n, i, j, c] = the blend of four inputs: one thread per cell of y."""
    height, width = x.shape[1], x.shape[2]
    for cell in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = place_of(cell, y.shape[1], y.shape[2], y.shape[3])
        centre_y, centre_x = _centre(i, scale_y), _centre(j, scale_x)
        h, w = min(int32(centre_y), int32(height - 1)), min(int32(centre_x), int32(width - 1))
        h2, w2 = min(int32(h + 1), int32(height - 1)), min(int32(w + 1), int32(width - 1))
        down = min(max(centre_y - float32(h), float32(0)), float32(1))
        right = min(max(centre_x - float32(w), float32(0)), float32(1))
        up, left = float32(1) - down, float32(1) - right
        above = x[n, h, w, c] * up + x[n, h2, w, c] * down
        beside = x[n, h, w2, c] * up + x[n, h2, w2, c] * down
        y[n, i, j, c] = above * left + beside * right


@kernel(F4, F4, F, F, registers=96)
def _bilinear_grad(grad, dx, scale_y, scale_x):
    """dx[n, h, w, c] = sum over outputs of grad * weight of (h, w): one thread per cell of dx."""
    height, width = dx.shape[1], dx.shape[2]
    for cell in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, h, w, c = place_of(cell, height, width, dx.shape[3])
        total = float32(0)
        for i in range(_first(h, scale_y), _last(h, scale_y, height, grad.shape[1])):
            of_row = _share(i, h, scale_y, height)
            if of_row > float32(0):
                for j in range(_first(w, scale_x), _last(w, scale_x, width, grad.shape[2])):
                    total += of_row * _share(j, w, scale_x, width) * grad[n, i, j, c]
        dx[n, h, w, c] = total
