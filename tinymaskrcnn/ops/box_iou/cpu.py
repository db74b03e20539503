"""Box IoU on the CPU: the table is cut into blocks, which the threads share."""

import numpy as np
from numba import prange

from ... import memory
from ...jit import exact_kernel_from, exact_serial

_ROWS, _BLOCK = 32, 1024  # rows and columns per task; its columns stay in the L1 cache


def box_iou(a, b):
    """Intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M)."""
    table = memory.empty((len(a), len(b)))
    if table.size:
        _fill(np.ascontiguousarray(a), np.ascontiguousarray(b), table)
    return table


@exact_kernel_from(1 << 15, lambda a, b, table: table.size)
def _fill(a, b, table):
    """table[i, j] = IoU of a[i] and b[j].

    Each task puts the coordinates of its boxes of b into its own columns, so that the inner loop
    becomes vector code. If one thread made the columns for all, they would have to travel from its
    cache to the others'.
    """
    rows, columns = table.shape
    blocks = (columns + _BLOCK - 1) // _BLOCK
    for task in prange((rows + _ROWS - 1) // _ROWS * blocks):
        first, start = task // blocks * _ROWS, task % blocks * _BLOCK
        count = min(_BLOCK, columns - start)
        column = np.empty((5, _BLOCK), np.float32)  # x1, y1, x2, y2, area
        for j in range(count):
            x1, y1, x2, y2 = b[start + j]
            column[0, j], column[1, j], column[2, j], column[3, j] = x1, y1, x2, y2
            column[4, j] = (x2 - x1) * (y2 - y1)
        for i in range(first, min(first + _ROWS, rows)):
            _fill_row(a[i], column, table[i, start : start + count])


@exact_serial
def _fill_row(box, column, row):
    """row[j] = IoU of the box and column[:4, j]."""
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    for j in range(len(row)):
        width = max(min(x2, column[2, j]) - max(x1, column[0, j]), np.float32(0))
        height = max(min(y2, column[3, j]) - max(y1, column[1, j]), np.float32(0))
        intersection = width * height
        union = area + column[4, j] - intersection
        row[j] = intersection / (union if union != 0 else np.float32(1))
