"""Box IoU for the CPU: blocks of the table, split among the threads."""

import numpy as np
from numba import prange

from ... import memory
from ...jit import exact_kernel

_BLOCK = 4096


def box_iou(a, b):
    """Intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M)."""
    table = memory.empty((len(a), len(b)))
    if table.size:
        _fill(np.ascontiguousarray(a), np.ascontiguousarray(b.T), table)
    return table


@exact_kernel
def _fill(a, b, table):
    """table[i, j] = IoU of a[i] and b[:, j]; b is (4, M), so that the inner loop is vectors."""
    blocks = (table.shape[1] + _BLOCK - 1) // _BLOCK
    for task in prange(table.shape[0] * blocks):
        i, start = task // blocks, task % blocks * _BLOCK
        stop = min(start + _BLOCK, table.shape[1])
        x1, y1, x2, y2 = a[i]
        area = (x2 - x1) * (y2 - y1)
        row = table[i, start:stop]
        b_x1, b_y1, b_x2, b_y2 = (
            b[0, start:stop],
            b[1, start:stop],
            b[2, start:stop],
            b[3, start:stop],
        )
        for j in range(stop - start):
            width = max(min(x2, b_x2[j]) - max(x1, b_x1[j]), np.float32(0))
            height = max(min(y2, b_y2[j]) - max(y1, b_y1[j]), np.float32(0))
            intersection = width * height
            union = area + (b_x2[j] - b_x1[j]) * (b_y2[j] - b_y1[j]) - intersection
            row[j] = intersection / (union if union != 0 else np.float32(1))
