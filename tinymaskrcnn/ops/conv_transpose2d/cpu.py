"""Transposed convolution on the CPU: convolution's kernels with input and output exchanged.

Same names, arguments and results as reference.py, for float32. A weight (C, O, kH, kW) belongs to a
convolution from O to C channels. For the usual 2x2 kernel with stride 2, the forward pass is four
matrix products, one per corner of a 2x2 square of the output, written in place.
"""

import numpy as np

from ... import memory
from ..conv2d.cpu import conv2d, conv2d_grad_output, conv2d_grad_weight, direct
from ..conv2d.cpu.geometry import Geometry
from ..conv2d.cpu.panels import pack

ONE = (1, 1)


def conv_transpose2d(x, weight, bias, stride, padding, relu):
    n, height, width, _ = x.shape
    _, outs, kernel_h, kernel_w = weight.shape
    out_h = (height - 1) * stride[0] - 2 * padding[0] + kernel_h
    out_w = (width - 1) * stride[1] - 2 * padding[1] + kernel_w
    y = memory.empty((n, out_h, out_w, outs))
    backwards = Geometry(y.shape, weight.shape, x.shape, stride, padding, ONE, 1)
    order, plans = direct.backward_plans(backwards, 0)
    panels = pack(weight, order, swap=True)
    x = np.require(x, np.float32, "CW")
    bias = direct.zeros(outs) if bias is None else np.array(bias, np.float32)
    for plan in plans:
        direct.convolve(x, panels, bias, y, None, relu, *plan)
    return y


def conv_transpose2d_grad_output(grad, y, relu):
    return conv2d_grad_output(grad, y, relu)


def conv_transpose2d_grad_input(grad, weight, input_shape, stride, padding):
    return conv2d(grad, weight, None, None, stride, padding, ONE, 1, False)


def conv_transpose2d_grad_weight(grad, x, weight_shape, stride, padding):
    return conv2d_grad_weight(x, grad, weight_shape, stride, padding, ONE, 1)
