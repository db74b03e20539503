"""Exercises of lesson 17, fast on a CPU. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np


def conv_operations(shape, weight_shape, stride, padding):
    """Fill. How much arithmetic a convolution takes: the number from which every rate is computed.

    Budget: 8 lines.

    Args:
        shape: (N, H, W, C) of the input. weight_shape: (O, C, k, l) of the weight, with k rows, l
            columns and the same C. stride, padding: integers, for both axes.

    Returns:
        an int: the multiplications and additions in the sums over taps and channels, two per
        multiply-add. Products with the zeros of the padding count like any others.
    """
    raise NotImplementedError


def attainable(operations, moved, peak, bandwidth):
    """Fill. The roofline: what rate can a kernel reach at best? It has to wait for whichever takes
    longer, its arithmetic or its memory traffic.

    Budget: 4 lines.

    Args:
        operations: floating-point operations of the kernel. moved: bytes it reads and writes.
        peak: operations per second that the processor can do. bandwidth: bytes per second that its
            memory can move. All are above 0.

    Returns:
        a float: operations per second, at most `peak`.
    """
    raise NotImplementedError


def thread_ranges(rows, threads):
    """Fill. Cut the rows into neighbouring ranges, one per thread, so that no thread works longer
    than it must. Lengths differ by at most one; the longer ranges may come anywhere.

    Budget: 4 lines.

    Args:
        rows: how many there are, 0 or more. threads: at least 1, possibly more than there are rows.

    Returns:
        a list of `threads` pairs (first, end), which stand for rows first, ..., end - 1: in order,
        without gaps.
    """
    raise NotImplementedError


def box_means_loops(image, radius):
    """What `box_means` should compute, with loops: right, but slow."""
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
    """Vectorise. The mean of every square window inside the image, with work that does not grow
    with the window. Sum along one axis, then along the other, each time as the difference of two
    running sums from the border.

    Budget: 8 lines, no loops.

    Args:
        image: (H, W) float64. radius: 0 or more; the window's side is 2 * radius + 1, which is no
            larger than H or W.

    Returns:
        (H - 2 * radius, W - 2 * radius) float64.
    """
    raise NotImplementedError


def winograd_pair(d, u):
    """Extend. Compute two neighbouring outputs of a filter with three taps, with four
    multiplications instead of six (Winograd's F(2, 3)). What depends only on the filter g has been
    computed already: u = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2). Each of the four
    products is one of these times a sum or difference of two inputs. The outputs are sums and
    differences of the products.

    Budget: 6 lines. Additions and subtractions are free; the check counts multiplications.

    Args:
        d: four neighbouring numbers of a row. u: four numbers, computed from the filter.

    Returns:
        the pair d0*g0 + d1*g1 + d2*g2 and d1*g0 + d2*g1 + d3*g2.
    """
    raise NotImplementedError
