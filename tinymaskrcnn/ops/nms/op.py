"""Non-maximum suppression: plain arrays, no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import as_boxes, as_labels, as_scores, check_one_place
from . import kernels


def nms(boxes: Any, scores: Any, iou_threshold: float) -> np.ndarray:
    """Keep the best boxes, and drop each box that overlaps a kept one too much.

    Visit boxes by falling score, equal scores in input order. Drop a box if its IoU with a kept box
    is above the threshold, strictly. Girshick et al. 2014, "Rich feature hierarchies", section 2.2;
    decisions at the threshold are those of torchvision's CPU kernel.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        scores: (N,).
        iou_threshold: 0..1.

    Returns:
        indices of the kept boxes by falling score, int64. NaN scores come first, as in torch.sort;
        a box with a NaN coordinate is kept and suppresses nothing.

    Raises:
        ValueError: a shape is wrong, or the threshold is outside 0 .. 1.
    """
    boxes = as_boxes(boxes)
    scores = as_scores(scores, boxes)
    check_one_place(boxes=boxes, scores=scores)
    _check_threshold(iou_threshold)
    return kernels(boxes).nms(boxes, scores, float(iou_threshold))


def batched_nms(boxes: Any, scores: Any, labels: Any, iou_threshold: float) -> np.ndarray:
    """Non-maximum suppression within each label: boxes of different labels do not compete.

    As in torchvision, up to 1000 boxes are separated by adding label * (greatest coordinate + 1) to
    their coordinates. (So a box with coordinates below -1 may overlap one of another label, and
    float32 rounding can move an IoU across the threshold.) More boxes are grouped by label.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        scores: (N,).
        labels: (N,) integers.
        iou_threshold: 0..1.

    Returns:
        indices of the kept boxes by falling score, int64. NaN as in `nms`.

    Raises:
        ValueError: a shape is wrong, labels are not integers, or the threshold is outside 0 .. 1.
    """
    boxes = as_boxes(boxes)
    scores = as_scores(scores, boxes)
    check_one_place(boxes=boxes, scores=scores)
    labels = as_labels(labels, boxes)
    _check_threshold(iou_threshold)
    return kernels(boxes).batched_nms(boxes, scores, labels, float(iou_threshold))


def _check_threshold(iou_threshold: float) -> None:
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold: expected a number in 0 .. 1, got {iou_threshold}")
