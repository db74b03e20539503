"""ReLU, sigmoid and softmax on the GPU: one thread per value; for softmax, one per line.

A line of softmax holds one box's classes: at most a hundred values. One thread gets through them
faster than a block could share them.
"""

from math import prod

import numpy as np
from numba import float32

from ...gpu.array import empty
from ...gpu.launch import F1, F3, I, blocks, cuda, kernel
from ...gpu.scalars import divided, exp
from ...gpu.scalars import sigmoid as sigmoid_of

RELU_GRAD, SIGMOID_GRAD = range(2)


def relu(x):
    y = empty(x.shape)
    _relu[blocks(y.size)](x.flat, y.flat)
    return y


def relu_grad(grad, y):
    return _grad(RELU_GRAD, grad, y)


def sigmoid(x):
    y = empty(x.shape)
    _sigmoid[blocks(y.size)](x.flat, y.flat)
    return y


def sigmoid_grad(grad, y):
    return _grad(SIGMOID_GRAD, grad, y)


def softmax(x, axis):
    lines, y = _lines(x.shape, axis), empty(x.shape)
    _softmax[blocks(lines[0] * lines[2])](x.reshape(lines), y.reshape(lines))
    return y


def softmax_grad(grad, y, axis):
    lines, dx = _lines(y.shape, axis), empty(y.shape)
    arrays = (a.reshape(lines) for a in (grad, y, dx))
    _softmax_grad[blocks(lines[0] * lines[2])](*arrays)
    return dx


def _grad(function, grad, y):
    dx = empty(y.shape)
    _elementwise_grad[blocks(dx.size)](function, grad.flat, y.flat, dx.flat)
    return dx


def _lines(shape, axis):
    """(outer, n, inner), where n is the axis."""
    axis = int(np.arange(len(shape))[axis])
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


@kernel(F1, F1)
def _relu(x, y):
    """y[i] = 0 where x[i] <= 0, else x[i]: thread i, i + all threads, ... NaN stays NaN."""
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        y[i] = float32(0) if x[i] <= float32(0) else x[i]


@kernel(F1, F1)
def _sigmoid(x, y):
    """y[i] = 1 / (1 + e^-x[i]): thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        y[i] = sigmoid_of(x[i])


@kernel(I, F1, F1, F1)
def _elementwise_grad(function, grad, y, dx):
    """dx[i] = grad[i] * the slope, known from the output y: thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        if function == RELU_GRAD:
            dx[i] = float32(0) if y[i] <= float32(0) else grad[i]
        else:
            dx[i] = grad[i] * y[i] * (float32(1) - y[i])


@kernel(F3, F3, registers=64)
def _softmax(x, y):
    """y[o, :, i] = exp(x - max) / sum of these: thread (o, i) goes through its line three times."""
    inner = x.shape[2]
    for line in range(cuda.grid(1), x.shape[0] * inner, cuda.gridsize(1)):
        o, i = line // inner, line % inner
        largest = x[o, 0, i]
        for n in range(1, x.shape[1]):
            largest = max(largest, x[o, n, i])
        total = float32(0)
        for n in range(x.shape[1]):
            power = exp(x[o, n, i] - largest)
            y[o, n, i] = power
            total += power
        for n in range(x.shape[1]):
            y[o, n, i] = divided(y[o, n, i], total)


@kernel(F3, F3, F3, registers=64)
def _softmax_grad(grad, y, dx):
    """dx = y (grad - sum of grad y along the line): thread (o, i)."""
    inner = y.shape[2]
    for line in range(cuda.grid(1), y.shape[0] * inner, cuda.gridsize(1)):
        o, i = line // inner, line % inner
        total = float32(0)
        for n in range(y.shape[1]):
            total += grad[o, n, i] * y[o, n, i]
        for n in range(y.shape[1]):
            dx[o, n, i] = y[o, n, i] * (grad[o, n, i] - total)
