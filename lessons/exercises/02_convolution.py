"""Exercises of lesson 02, convolution. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def convolve(x, weight, bias, stride, padding):
    """Build. The lesson's convolution, for all images, positions and channels at once. You may loop
    over the kernel's taps; loops over pixels would take minutes in a model.

    Budget: 12 lines.

    Args:
        x: (N, H, W, C) float32. weight: (O, C, K, K). bias: (O,). stride: an int, the same in both
            directions. padding: how many rows and columns of zeros to add on each side.

    Returns:
        (N, H', W', O).
    """
    raise NotImplementedError


def output_size(size, kernel, stride, padding, dilation):
    """Fill. How many positions a kernel has along one side of an image.

    Budget: 3 lines.

    Args:
        size, kernel, stride, padding, dilation: ints; at least one position fits.

    Returns:
        an int.
    """
    raise NotImplementedError


def receptive_field(layers):
    """Fill. How many pixels of the image, along one side, a single number after these layers
    depends on. Before the first layer it is 1: the pixel itself.

    Budget: 6 lines. How far apart in the image are two neighbouring numbers of a layer?

    Args:
        layers: a list of (kernel, stride) pairs of ints, in the order in which they run.

    Returns:
        an int.
    """
    raise NotImplementedError


def window_columns_loops(x, kernel):
    """What `window_columns` has to compute, with loops."""
    height, width = x.shape[0] - kernel + 1, x.shape[1] - kernel + 1
    rows = []
    for i in range(height):
        for j in range(width):
            rows.append(x[i : i + kernel, j : j + kernel].ravel())
    return np.array(rows, x.dtype).reshape(height * width, kernel * kernel)


def window_columns(x, kernel):
    """Vectorise. Every window of an image as one row of a matrix. This turns a convolution into one
    matrix product, which is how many libraries do it. The price: each pixel is copied
    kernel * kernel times.

    Budget: 4 lines, no loops. NumPy has a view of all windows (numpy.lib.stride_tricks).

    Args:
        x: (H, W) float32. kernel: an int, at most H and W.

    Returns:
        ((H - kernel + 1) * (W - kernel + 1), kernel * kernel) float32, windows row by row.
    """
    raise NotImplementedError


def depthwise(x, weight):
    """Vectorise. A 3x3 convolution with padding 1 in which channel c of the result depends only on
    channel c of the input (groups = C), as small networks for phones use it.

    Budget: 5 lines, no loops and no conv2d. One einsum over all windows is enough.

    Args:
        x: (H, W, C) float32. weight: (C, 3, 3) float32.

    Returns:
        (H, W, C) float32.
    """
    raise NotImplementedError


def input_gradient(grad, weight):
    """Extend. The gradient of the input of a convolution with stride 1 and no padding, written as a
    convolution itself: each output sends its gradient back to all pixels under its kernel.

    Budget: 6 lines. Call `tinymaskrcnn.functional.conv2d` once. What must you do to the weight
    first, and how much padding brings back the input's size?

    Args:
        grad: (1, H', W', O) float32. weight: (O, C, K, K) float32.

    Returns:
        (1, H' + K - 1, W' + K - 1, C) float32, an array.
    """
    raise NotImplementedError
