"""Transposed convolution in vectorised NumPy: one matrix product per kernel tap.

Arrays are channels-last, (N, H, W, C); weights are (Cin, Cout, kH, kW). `stride` and `padding` are
(h, w) pairs. Works in float32 and float64; the output has the input's dtype. Arguments are not
checked here but in `op.py`.
"""

import numpy as np


def conv_transpose2d(x, weight, bias, stride, padding, relu):
    """y = relu?(bias + canvas without its border), where every pixel paints one kernel on a canvas:
    canvas[n, i*stride + r, j*stride + s, o] += sum over c of x[n, i, j, c] * weight[c, o, r, s].

    x (N, H, W, C), weight (C, O, kH, kW), bias (O,) or None -> y (N, outH, outW, O).
    """
    n, height, width, _ = x.shape
    _, out, kernel_h, kernel_w = weight.shape
    canvas_h = (height - 1) * stride[0] + kernel_h
    canvas_w = (width - 1) * stride[1] + kernel_w
    canvas = np.zeros((n, canvas_h, canvas_w, out), x.dtype)
    for r, s, rows, columns in _taps(x.shape, weight.shape, stride):
        canvas[:, rows, columns] += x @ weight[:, :, r, s]
    top, left = padding
    y = np.ascontiguousarray(canvas[:, top : canvas_h - top, left : canvas_w - left])
    if bias is not None:
        y += bias
    return np.maximum(y, 0) if relu else y


def conv_transpose2d_grad_output(grad, y, relu):
    """Gradient before bias and ReLU, and the bias gradient.

    grad (N, outH, outW, O), y the output (used only with relu) -> (grad where y > 0, its sum (O,)).
    """
    if relu:
        grad = grad * (y > 0)
    return grad, grad.sum(axis=(0, 1, 2))


def conv_transpose2d_grad_input(grad, weight, input_shape, stride, padding):
    """dx: every pixel gathers from what its kernel painted; this is an ordinary convolution.

    grad (N, outH, outW, O), weight (C, O, kH, kW) -> dx of shape `input_shape` (N, H, W, C).
    """
    canvas = _pad(grad, padding)
    dx = np.zeros(input_shape, grad.dtype)
    for r, s, rows, columns in _taps(input_shape, weight.shape, stride):
        dx += canvas[:, rows, columns] @ weight[:, :, r, s].T
    return dx


def conv_transpose2d_grad_weight(grad, x, weight_shape, stride, padding):
    """dw[c, o, r, s] = sum over all input pixels of x[c] * (the canvas pixel it painted)[o].

    grad (N, outH, outW, O), x (N, H, W, C) -> dw of shape `weight_shape` (C, O, kH, kW).
    """
    canvas = _pad(grad, padding)
    dw = np.zeros(weight_shape, grad.dtype)
    for r, s, rows, columns in _taps(x.shape, weight_shape, stride):
        painted = canvas[:, rows, columns]  # (N, H, W, O)
        dw[:, :, r, s] = np.tensordot(x, painted, axes=((0, 1, 2), (0, 1, 2)))
    return dw


def _pad(grad, padding):
    top, left = padding
    return np.pad(grad, ((0, 0), (top, top), (left, left), (0, 0)))


def _taps(input_shape, weight_shape, stride):
    """(r, s, rows, columns) for each kernel tap: the canvas pixels that it paints, as slices."""
    _, height, width, _ = input_shape
    for r in range(weight_shape[2]):
        rows = slice(r, r + stride[0] * (height - 1) + 1, stride[0])
        for s in range(weight_shape[3]):
            yield r, s, rows, slice(s, s + stride[1] * (width - 1) + 1, stride[1])
