"""Convolution on the CPU: choose the form that computes it.

Same names, arguments and results as reference.py, for float32. The forms of the forward pass and of
the input's gradient are direct.py, few_channels.py and winograd_blocks.py; those of the weight's
gradient are in grad_weight.py. geometry.py says by what they are chosen.
"""

import numpy as np
from numba import prange

from .... import memory
from ....jit import kernel_from
from . import direct, few_channels, winograd_blocks
from .geometry import Geometry
from .grad_weight import conv2d_grad_weight  # noqa: F401

FORMS = winograd_blocks, few_channels, direct  # of those that suit, the first is the fastest
GRAD_BLOCK = 256  # pixels whose bias gradient is summed in one go; fixed, so that rounding is too


def conv2d(x, weight, bias, residual, stride, padding, dilation, groups, relu, kept=None):
    x = _ready(x)
    geometry = Geometry.of(x.shape, weight.shape, stride, padding, dilation, groups)
    y = memory.empty(geometry.y)
    bias = direct.zeros(len(weight)) if bias is None else np.array(bias, np.float32)
    residual = None if residual is None else _ready(residual)
    form = next(form for form in FORMS if form.suits(geometry))
    form.forward(geometry, x, weight, bias, y, residual, relu, kept)
    return y


def conv2d_grad_input(grad, weight, input_shape, stride, padding, dilation, groups, total=None):
    grad = _ready(grad)
    dx = memory.empty(input_shape) if total is None else total
    geometry = Geometry(input_shape, weight.shape, grad.shape, stride, padding, dilation, groups)
    form = winograd_blocks if winograd_blocks.suits(geometry.turned()) else direct
    form.backward(geometry, grad, weight, dx, total)
    return dx


def conv2d_grad_output(grad, y, relu):
    grad = _ready(grad)
    channels = grad.shape[3]
    masked = memory.empty(grad.shape) if relu else grad
    pixels = grad.size // channels
    partial = np.empty((-(-pixels // GRAD_BLOCK), channels), np.float32)
    _grad_output(
        grad.reshape(pixels, channels),
        (_ready(y) if relu else grad).reshape(pixels, channels),
        relu,
        masked.reshape(pixels, channels),
        partial,
    )
    return masked, partial.sum(axis=0)


@kernel_from(1 << 16, lambda grad, *_: grad.size)
def _grad_output(grad, y, relu, masked, partial):
    """masked = grad where y > 0 (with relu), partial[block] = its sum over the block's pixels.

    One pass over the arrays, with GRAD_BLOCK pixels per block. The caller sums the blocks in order,
    so the result does not depend on the number of threads.
    """
    pixels, channels = grad.shape
    for block in prange(len(partial)):
        total = partial[block]
        total[:] = 0.0
        for m in range(block * GRAD_BLOCK, min(pixels, (block + 1) * GRAD_BLOCK)):
            if relu:
                for c in range(channels):
                    value = grad[m, c] if y[m, c] > 0 else np.float32(0)
                    masked[m, c] = value
                    total[c] += value
            else:
                for c in range(channels):
                    total[c] += grad[m, c]


def _ready(array):
    """The array as kernels need it: float32, C-contiguous and, for Numba's types, writeable."""
    return np.require(array, np.float32, "CW")
