"""Answers to the exercises of lesson 02."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinymaskrcnn.functional import conv2d


def convolve(x, weight, bias, stride, padding):
    size = weight.shape[2]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), height, width, len(weight)), x.dtype) + bias
    for r in range(size):
        rows = slice(r, r + stride * (height - 1) + 1, stride)
        for s in range(size):
            columns = slice(s, s + stride * (width - 1) + 1, stride)
            y += x[:, rows, columns] @ weight[:, :, r, s].T
    return y


def output_size(size, kernel, stride, padding, dilation):
    reach = dilation * (kernel - 1) + 1
    return (size + 2 * padding - reach) // stride + 1


def receptive_field(layers):
    field, distance = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * distance
        distance *= stride
    return field


def window_columns(x, kernel):
    windows = sliding_window_view(x, (kernel, kernel))  # (H', W', kernel, kernel)
    return windows.reshape(-1, kernel * kernel)


def depthwise(x, weight):
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = sliding_window_view(padded, (3, 3), axis=(0, 1))  # (H, W, C, 3, 3)
    return np.einsum("ijcrs,crs->ijc", windows, weight)


def input_gradient(grad, weight):
    turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
    return conv2d(grad, turned, padding=weight.shape[2] - 1).data
