"""Exercises of lesson 17, fast on a CPU. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def conv_operations(shape, weight_shape, stride, padding):
    """Fill. How much arithmetic a convolution is: the number that every rate is computed from.

    Budget: 8 lines.

    Args:
        shape: (N, H, W, C) of the input. weight_shape: (O, C, k, l) of the weight, k rows and l
            columns; the same C. stride, padding: whole numbers, for both axes.

    Returns:
        an int: multiplications and additions of the sums over taps and channels, two to each
        multiply-add. Products with the padding's zeros are counted like any others.
    """
    raise NotImplementedError


def attainable(operations, moved, peak, bandwidth):
    """Fill. The roofline: which rate can a kernel reach, if it reaches anything at all? It has to
    wait for whichever takes longer, its arithmetic or its traffic to memory.

    Budget: 4 lines.

    Args:
        operations: floating-point operations of the kernel. moved: bytes it reads and writes.
        peak: operations a second that the processor can do. bandwidth: bytes a second that its
            memory can move. All above 0.

    Returns:
        a float: operations a second, at most `peak`.
    """
    raise NotImplementedError


def thread_ranges(rows, threads):
    """Fill. Cut rows into neighbouring ranges, one a thread, so that none works longer than it
    must: the lengths differ by one at most, the longer ones may come anywhere.

    Budget: 4 lines.

    Args:
        rows: how many there are, 0 or more. threads: at least 1, maybe more than rows.

    Returns:
        a list of `threads` pairs (first, end): rows first, ..., end - 1, in order, without gaps.
    """
    raise NotImplementedError


def box_means_loops(image, radius):
    """What `box_means` shall compute, with loops: it is right, and slow."""
    side = 2 * radius + 1
    height, width = image.shape
    out = np.zeros((height - side + 1, width - side + 1))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total = 0.0
            for dy in range(side):
                for dx in range(side):
                    total += image[y + dy, x + dx]
            out[y, x] = total / side**2
    return out


def box_means(image, radius):
    """Vectorise. The mean of every square window that lies inside the picture, with work that does
    not grow with the window: sum along one axis, then along the other, each as a difference of two
    sums from the border.

    Budget: 8 lines, no loops.

    Args:
        image: (H, W) float64. radius: 0 or more; the window's side is 2 * radius + 1, and no larger
            than H or W.

    Returns:
        (H - 2 * radius, W - 2 * radius) float64.
    """
    raise NotImplementedError


def winograd_pair(d, u):
    """Extend. Two neighbouring outputs of a filter with three taps, with four multiplications
    instead of six (Winograd's F(2, 3)). What depends on the filter g alone was computed before:
    u = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2). Each of the four products is one of these
    times a sum or difference of two of the inputs; the outputs are sums and differences of the
    products.

    Budget: 6 lines. Additions and subtractions are free. The check counts multiplications.

    Args:
        d: four numbers, neighbours in a row. u: four numbers, of the filter.

    Returns:
        the pair d0*g0 + d1*g1 + d2*g2 and d1*g0 + d2*g1 + d3*g2.
    """
    raise NotImplementedError
