"""Box IoU on the GPU: one thread per pair.

A block of 16 x 16 threads needs only 32 boxes for its 256 pairs. The cache keeps them, so shared
memory would gain nothing.
"""

from numba import float32

from ...gpu.array import empty
from ...gpu.launch import F2, cuda, device_function, kernel
from ...gpu.scalars import divided, product

SIDE = 16


def box_iou(a, b):
    table = empty((len(a), len(b)))
    _table[-(-len(b) // SIDE), -(-len(a) // SIDE)](a, b, table)
    return table


@device_function
def overlap(a, i, b, j):
    """Intersection and union of boxes a[i] and b[j]. Every product is rounded separately: a fused
    one would decide some ties differently from the CPU.
    """
    width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
    height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
    intersection = product(max(width, float32(0)), max(height, float32(0)))
    area_a = product(a[i, 2] - a[i, 0], a[i, 3] - a[i, 1])
    area_b = product(b[j, 2] - b[j, 0], b[j, 3] - b[j, 1])
    return intersection, area_a + area_b - intersection


@kernel(F2, F2, F2, threads=(SIDE, SIDE))
def _table(a, b, table):
    """table[i, j] = IoU of a[i] and b[j], 0 where neither has an area: thread (j, i)."""
    j, i = cuda.grid(2)
    if i < table.shape[0] and j < table.shape[1]:
        intersection, union = overlap(a, i, b, j)
        table[i, j] = divided(intersection, union if union != float32(0) else float32(1))
