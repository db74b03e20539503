"""Newton and Schulz's iteration on the small side of the matrix.

Same names, arguments and results as reference.py, for float32. Every step multiplies x (m, n) from
the left by a polynomial of its Gram matrix x x' (m, m), and all these polynomials commute. So the
wide matrix is read twice only: for the Gram matrix, and for the product with the accumulated
polynomial. The products of m x m matrices in between are too small to be worth waking a second
thread for, and being symmetric they are packed into panels without a transposition.
"""

import numpy as np

from ...jit import serial
from ..linear.cpu import linear, linear_grad_input
from ..simd import PANEL, TILE_ROWS, address, row_tile

FACTORS = np.array(((3.4445, -4.7750, 2.0315),) * 5, np.float32)
SMALLEST_NORM = 1e-7  # the reason stands in reference.py


def orthogonalize(matrix):
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(np.ascontiguousarray(matrix.T)).T
    norm = float(np.sqrt(np.sum(np.square(matrix))))  # not linalg.norm: it wakes BLAS's threads
    matrix = matrix * np.float32(1 / max(norm, SMALLEST_NORM))
    return linear_grad_input(_polynomial(linear(matrix, matrix, None, False), FACTORS), matrix)


@serial
def _polynomial(gram, factors):
    """P (m, m) such that P x is the result, for gram = x x': the product of the steps' a + b gram +
    c gram^2, where every step makes gram <- step gram step.
    """
    total, step = np.eye(len(gram), dtype=np.float32), np.empty_like(gram)
    square, panels = np.empty_like(gram), np.empty((len(gram) + PANEL) * len(gram), np.float32)
    for number in range(len(factors)):
        a, b, c = factors[number]
        _multiply(gram, gram, panels, square)
        for i in range(len(gram)):
            for j in range(len(gram)):
                step[i, j] = b * gram[i, j] + c * square[i, j]
            step[i, i] += a
        _multiply(step, total, panels, square)
        total, square = square, total
        if number < len(factors) - 1:
            _multiply(step, gram, panels, square)
            _multiply(square, step, panels, gram)
    return total


@serial
def _multiply(left, right, panels, out):
    """out = left @ right, all (m, m), `right` symmetric up to rounding; `panels` is room."""
    size = len(left)
    zeros = np.zeros(PANEL, np.float32)
    tiles = (size + TILE_ROWS - 1) // TILE_ROWS
    row = np.minimum(np.arange(tiles * TILE_ROWS), size - 1)
    sources, targets = address(left) + 4 * size * row, address(out) + 4 * size * row
    for first in range(0, size, PANEL):
        columns = min(PANEL, size - first)
        for k in range(size):
            for j in range(columns):
                panels[k * PANEL + j] = right[k, first + j]
        for tile in range(tiles):
            row_tile(
                sources, tile * TILE_ROWS, 1, size, 0,
                panels, 0,
                targets, tile * TILE_ROWS, first,
                zeros, 0, columns,
                0, False, False,
            )  # fmt: skip
