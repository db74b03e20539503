"""Intersection over union of boxes: plain arrays, no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import as_boxes, check_one_place
from . import kernels


def box_iou(a: Any, b: Any) -> np.ndarray:
    """Intersection over union of each box of `a` with each box of `b`.

    Coordinates are continuous: the area of a box is (x2 - x1) (y2 - y1), without adding one.

    Args:
        a: (N, 4) float32, x1 y1 x2 y2.
        b: (M, 4) float32, likewise.

    Returns:
        (N, M) in 0..1. Two boxes without area have IoU 0 (torchvision: NaN). A NaN coordinate
        gives NaN; a box with x2 < x1 or y2 < y1 gives a meaningless number.

    Raises:
        ValueError: a shape is not (N, 4).
    """
    a, b = as_boxes(a, "a"), as_boxes(b, "b")
    check_one_place(a=a, b=b)
    if a.dtype != b.dtype:  # one of them is float64
        a, b = a.astype(np.float64), b.astype(np.float64)
    return kernels(a).box_iou(a, b)
