"""ReLU in Numba; sigmoid and softmax in NumPy, whose exp is vectorised, with reused buffers."""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel, kernel_from

_BLOCK = 1 << 14
_PARALLEL = 1 << 17  # with fewer values, a parallel region costs more than it gains


def relu(x):
    x = np.require(x, requirements="C")  # ascontiguousarray would add an axis to a scalar
    y = memory.empty(x.shape)
    if x.size < _PARALLEL:
        return np.maximum(x, 0, out=y)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_grad(grad, y):
    grad, y = (np.require(a, requirements="C") for a in (grad, y))
    dx = memory.empty(grad.shape)
    _relu_grad(grad.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


def sigmoid(x):
    """1 / (1 + e^-x); where the exponential overflows to infinity, this rightly gives 0."""
    y = np.negative(x, out=memory.empty(x.shape))
    with np.errstate(over="ignore"):
        np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def sigmoid_grad(grad, y):
    dx = np.subtract(1, y, out=memory.empty(y.shape))
    dx *= y
    dx *= grad
    return dx


def softmax(x, axis):
    y = np.subtract(x, x.max(axis, keepdims=True), out=memory.empty(x.shape))
    np.exp(y, out=y)
    y /= y.sum(axis, keepdims=True)
    return y


def softmax_grad(grad, y, axis):
    dx = np.multiply(grad, y, out=memory.empty(y.shape))
    total = dx.sum(axis, keepdims=True)
    dx -= y * total
    return dx


@kernel
def _relu(x, y):
    for block in prange(-(-len(x) // _BLOCK)):
        start = block * _BLOCK
        source, out = x[start : start + _BLOCK], y[start : start + _BLOCK]
        for i in range(len(out)):
            out[i] = np.float32(0) if source[i] <= 0 else source[i]


@kernel_from(_PARALLEL, lambda grad, *_: grad.size)
def _relu_grad(grad, y, dx):
    for i in prange(len(dx)):
        dx[i] = np.float32(0) if y[i] <= 0 else grad[i]
