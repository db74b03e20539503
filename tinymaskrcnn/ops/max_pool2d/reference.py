"""Max pooling and its gradient in NumPy: one pass per tap, that is, per position in the window."""

import numpy as np


def max_pool2d(x, kernel_size, stride, padding):
    """The largest value in each window and its tap, row * kernel width + column (first of ties)."""
    out_shape = (len(x), *_output_size(x.shape, kernel_size, stride, padding), x.shape[3])
    y = np.full(out_shape, -np.inf, x.dtype)
    tap = np.full(out_shape, -1)
    for index, outputs, inputs in _taps(x.shape, out_shape, kernel_size, stride, padding):
        value, best, unset = x[inputs], y[outputs], tap[outputs] < 0
        better = unset | ~(
            np.isnan(best) | (value <= best)
        )  # a NaN replaces numbers and is never replaced
        y[outputs] = np.where(better, value, best)
        tap[outputs] = np.where(better, index, tap[outputs])
    return y, tap.astype(np.uint16)


def max_pool2d_grad(grad, tap, input_shape, kernel_size, stride, padding):
    """Each window passes its gradient to the pixel that was its maximum."""
    dx = np.zeros(input_shape, grad.dtype)
    for index, outputs, inputs in _taps(input_shape, grad.shape, kernel_size, stride, padding):
        dx[inputs] += np.where(tap[outputs] == index, grad[outputs], 0)
    return dx


def _output_size(input_shape, kernel_size, stride, padding):
    return tuple(
        (size + 2 * p - k) // s + 1
        for size, k, s, p in zip(input_shape[1:3], kernel_size, stride, padding, strict=True)
    )


def _taps(input_shape, output_shape, kernel_size, stride, padding):
    """For each tap: its number, the outputs where it falls inside the map, and its input pixels."""
    for i in range(kernel_size[0]):
        out_rows, in_rows = _overlap(i, input_shape[1], output_shape[1], stride[0], padding[0])
        for j in range(kernel_size[1]):
            out_columns, in_columns = _overlap(
                j, input_shape[2], output_shape[2], stride[1], padding[1]
            )
            index = i * kernel_size[1] + j
            yield index, np.s_[:, out_rows, out_columns], np.s_[:, in_rows, in_columns]


def _overlap(offset, in_size, out_size, stride, padding):
    """Slices of the outputs o with 0 <= o * stride + offset - padding < in_size, and of the inputs
    that they read.
    """
    first = max(0, -((offset - padding) // stride))
    last = min(out_size - 1, (in_size - 1 + padding - offset) // stride)
    count = max(0, last - first + 1)
    start = first * stride + offset - padding
    return slice(first, first + count), slice(
        start, start + count * stride, stride
    ) if count else slice(0, 0)
