"""Transposed convolution on the GPU: convolution's kernels with input and output exchanged.

A weight (C, O, kH, kW) belongs to a convolution from O to C channels.
"""

from ...gpu.array import empty
from ..conv2d.cuda import (
    backward_reading,
    conv2d,
    conv2d_grad_output,
    conv2d_grad_weight,
    gather,
    pack_backward,
)

ONE = (1, 1)


def conv_transpose2d(x, weight, bias, stride, padding, relu):
    height, width = (
        (size - 1) * s - 2 * p + k
        for size, s, p, k in zip(x.shape[1:3], stride, padding, weight.shape[2:], strict=True)
    )
    y = empty((len(x), height, width, weight.shape[1]))
    reading = backward_reading(weight.shape[3], stride, padding, ONE)
    gather(x, pack_backward(weight, 1), bias, None, y, reading, relu)
    return y


def conv_transpose2d_grad_output(grad, y, relu):
    return conv2d_grad_output(grad, y, relu)


def conv_transpose2d_grad_input(grad, weight, input_shape, stride, padding):
    return conv2d(grad, weight, None, None, stride, padding, ONE, 1, False)


def conv_transpose2d_grad_weight(grad, x, weight_shape, stride, padding):
    return conv2d_grad_weight(x, grad, weight_shape, stride, padding, ONE, 1)
