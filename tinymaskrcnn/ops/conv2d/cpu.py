"""Convolution on the CPU: chooses between Winograd's transforms and direct sums.

Same names, arguments and results as reference.py, for float32. cpu_direct.py and cpu_winograd.py
have the kernels, cpu_weights.py the packed weights, grad_weight.py the weight's gradient.
"""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel
from . import cpu_direct, cpu_winograd
from .cpu_weights import kept, pack
from .grad_weight import conv2d_grad_weight  # noqa: F401
from .winograd import winograd_size

GRAD_BLOCK = 256  # pixels whose bias gradient is summed in one go; fixed, so that sums are too


def conv2d(x, weight, bias, residual, stride, padding, dilation, groups, relu):
    x = _ready(x)
    outs, _, _, kernel_w = weight.shape
    y = memory.empty(_output_shape(x.shape, weight.shape, stride, padding, dilation))
    bias = cpu_direct.zeros(outs) if bias is None else np.array(bias, np.float32)
    residual = None if residual is None else _ready(residual)
    size = winograd_size()
    if cpu_winograd.suits(x.shape, weight.shape, stride, dilation, groups, size):
        form = kept(weight, size, lambda: cpu_winograd.transform_weight(pack(weight), size))
        cpu_winograd.convolve(x, form, bias, y, residual, relu, padding, size)
    elif groups == 1 and x.shape[3] < cpu_direct.NARROW and dilation[1] == 1 and kernel_w > 1:
        padded = cpu_direct.pad(x, padding) if any(padding) else x
        plan = cpu_direct.narrow_plan(padded.shape, weight.shape, stride, dilation)
        panels = kept(weight, "direct", lambda: pack(weight))
        cpu_direct.convolve(padded, panels, bias, y, residual, relu, *plan)
    else:
        for group, part in enumerate(_parts(weight, groups)):
            plan = cpu_direct.forward_plan(x.shape, weight.shape, stride, dilation, padding, group)
            panels = kept(weight, ("direct", group), lambda part=part: pack(part))
            cpu_direct.convolve(x, panels, bias, y, residual, relu, *plan)
    return y


def conv2d_grad_input(grad, weight, input_shape, stride, padding, dilation, groups):
    grad = _ready(grad)
    dx = memory.empty(input_shape)
    nothing = cpu_direct.zeros(input_shape[3])
    size = winograd_size()
    if cpu_winograd.suits(grad.shape, weight.shape, stride, dilation, groups, size):
        flipped = pack(weight, order=_FLIPPED, swap=True)
        form = cpu_winograd.transform_weight(flipped, size)
        around = 2 - padding[0], 2 - padding[1]
        cpu_winograd.convolve(grad, form, nothing, dx, None, False, around, size)
        return dx
    for group, part in enumerate(_parts(weight, groups)):
        order, plans = cpu_direct.backward_plans(
            grad.shape, weight.shape, input_shape, stride, dilation, padding, group
        )
        panels = pack(part, order=order, swap=True)
        for plan in plans:
            cpu_direct.convolve(grad, panels, nothing, dx, None, False, *plan)
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


@kernel
def _grad_output(grad, y, relu, masked, partial):
    """masked = grad where y > 0 (with relu), partial[block] = its sum over the block's pixels.

    One pass over the arrays, GRAD_BLOCK pixels to a block; the caller adds the blocks up in order,
    so the sum does not depend on the number of threads.
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


_FLIPPED = tuple(range(8, -1, -1))


def _parts(weight, groups):
    outs = weight.shape[0] // groups
    return [weight[g * outs : (g + 1) * outs] for g in range(groups)] if groups > 1 else [weight]


def _ready(array):
    """The array as kernels take it: float32, C-contiguous and, for Numba's types, writeable."""
    return np.require(array, np.float32, "CW")


def _output_shape(x_shape, weight_shape, stride, padding, dilation):
    n, height, width, _ = x_shape
    outs, _, kernel_h, kernel_w = weight_shape
    return (
        n,
        (height + 2 * padding[0] - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1,
        (width + 2 * padding[1] - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1,
        outs,
    )
