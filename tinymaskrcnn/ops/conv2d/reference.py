"""Convolution in vectorised NumPy: one matrix product per kernel tap.

Arrays are channels-last, (N, H, W, C); weights are (Cout, Cin/groups, kH, kW). `stride`, `padding`
and `dilation` are (h, w) pairs. Works in float32 and float64; the output has the input's dtype.
Arguments are not checked here but in `op.py`.
"""

import numpy as np


def conv2d(x, weight, bias, residual, stride, padding, dilation, groups, relu, kept=None):
    """y[n, i, j, o] = relu?(bias[o] + residual[n, i, j, o] + sum over c, r, s of
    x[n, i*stride + r*dilation - padding, j*stride + s*dilation - padding, c] * weight[o, c, r, s]).

    x (N, H, W, C), weight (O, C/groups, kH, kW), bias (O,) or None, residual shaped like y or None
    -> y (N, outH, outW, O). Nothing is derived from the weight here, so `kept` is not used.
    """
    padded = _pad(x, padding)
    y = np.zeros(_output_shape(padded.shape, weight.shape, stride, dilation), x.dtype)
    for r, s, rows, columns in _taps(y.shape, weight.shape, stride, dilation):
        pixels = padded[:, rows, columns]  # (N, outH, outW, C)
        for inside, outside in _group_slices(weight.shape, groups):
            y[..., outside] += pixels[..., inside] @ weight[outside, :, r, s].T
    if bias is not None:
        y += bias
    if residual is not None:
        y += residual
    return np.maximum(y, 0) if relu else y


def conv2d_grad_output(grad, y, relu):
    """Gradient before bias, residual and ReLU, and the bias gradient.

    grad (N, outH, outW, O), y the output (used only with relu) -> (grad where y > 0, its sum (O,)).
    """
    if relu:
        grad = grad * (y > 0)
    return grad, grad.sum(axis=(0, 1, 2))


def conv2d_grad_input(grad, weight, input_shape, stride, padding, dilation, groups, total=None):
    """dx: every tap sends grad back to the pixel that it read.

    grad (N, outH, outW, O), weight (O, C/groups, kH, kW) -> dx of shape `input_shape` (N, H, W, C).
    If a total of that shape is given, dx is added to it in place, and the total is returned.
    """
    n, height, width, channels = input_shape
    top, left = padding
    padded = np.zeros((n, height + 2 * top, width + 2 * left, channels), grad.dtype)
    for r, s, rows, columns in _taps(grad.shape, weight.shape, stride, dilation):
        for inside, outside in _group_slices(weight.shape, groups):
            padded[:, rows, columns, inside] += grad[..., outside] @ weight[outside, :, r, s]
    dx = padded[:, top : top + height, left : left + width]
    return np.ascontiguousarray(dx) if total is None else np.add(total, dx, out=total)


def conv2d_grad_weight(grad, x, weight_shape, stride, padding, dilation, groups):
    """dw[o, c, r, s] = sum over all output pixels of grad[o] * (the pixel that tap (r, s) read)[c].

    grad (N, outH, outW, O), x (N, H, W, C) -> dw of shape `weight_shape` (O, C/groups, kH, kW).
    """
    padded = _pad(x, padding)
    dw = np.zeros(weight_shape, grad.dtype)
    for r, s, rows, columns in _taps(grad.shape, weight_shape, stride, dilation):
        pixels = padded[:, rows, columns]
        for inside, outside in _group_slices(weight_shape, groups):
            dw[outside, :, r, s] = np.tensordot(
                grad[..., outside], pixels[..., inside], axes=((0, 1, 2), (0, 1, 2))
            )
    return dw


def _pad(x, padding):
    top, left = padding
    return np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))


def _output_shape(padded_shape, weight_shape, stride, dilation):
    n, height, width, _ = padded_shape
    out, _, kernel_h, kernel_w = weight_shape
    return (
        n,
        (height - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1,
        (width - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1,
        out,
    )


def _taps(output_shape, weight_shape, stride, dilation):
    """(r, s, rows, columns) for each kernel tap: what it reads of the padded map, as slices."""
    _, out_h, out_w, _ = output_shape
    for r in range(weight_shape[2]):
        top = r * dilation[0]
        rows = slice(top, top + stride[0] * (out_h - 1) + 1, stride[0])
        for s in range(weight_shape[3]):
            left = s * dilation[1]
            yield r, s, rows, slice(left, left + stride[1] * (out_w - 1) + 1, stride[1])


def _group_slices(weight_shape, groups):
    """(input channels, output channels) of each group, as slices."""
    ins, outs = weight_shape[1], weight_shape[0] // groups
    for g in range(groups):
        yield slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs)
