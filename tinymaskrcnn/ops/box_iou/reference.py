"""Box IoU in NumPy."""

import numpy as np


def box_iou(a, b):
    """Intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M)."""
    top_left = np.maximum(a[:, None, :2], b[:, :2])  # (N, M, 2)
    bottom_right = np.minimum(a[:, None, 2:], b[:, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(a)[:, None] + _area(b) - intersection
    return intersection / np.where(union == 0, union.dtype.type(1), union)


def _area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
