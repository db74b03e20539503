"""Non-maximum suppression in NumPy: a greedy loop, each kept box against all boxes after it."""

import numpy as np

_SHIFT_LIMIT = 1000  # up to this many boxes torchvision separates classes by shifting them apart


def nms(boxes, scores, iou_threshold):
    """Go through the boxes (N, 4) by falling score (N,). Keep a box unless a kept one overlaps it
    with an IoU above the threshold.

    Returns:
        indices of the kept boxes, int64, by falling score.
    """
    order = _by_falling_score(scores)
    x1, y1, x2, y2 = boxes[order].T
    area = (x2 - x1) * (y2 - y1)
    suppressed = np.zeros(len(order), bool)
    for i in range(len(order)):
        if suppressed[i]:
            continue
        width = np.maximum(np.minimum(x2[i], x2[i + 1 :]) - np.maximum(x1[i], x1[i + 1 :]), 0)
        height = np.maximum(np.minimum(y2[i], y2[i + 1 :]) - np.maximum(y1[i], y1[i + 1 :]), 0)
        intersection = width * height
        with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area: NaN is fine
            iou = intersection / (area[i] + area[i + 1 :] - intersection)
        suppressed[i + 1 :] |= iou.astype(np.float64) > iou_threshold
    return order[~suppressed]


def batched_nms(boxes, scores, labels, iou_threshold):
    """Suppress boxes (N, 4) only within their own label (N,): indices by falling score, int64.

    For few boxes, shift each label's boxes to a separate region and suppress once, so that float32
    rounds where torchvision rounds. For many, go label by label.
    """
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    if len(boxes) <= _SHIFT_LIMIT:
        shift = labels.astype(boxes.dtype) * (boxes.max() + boxes.dtype.type(1))
        return nms(boxes + shift[:, None], scores, iou_threshold)
    kept = np.zeros(len(boxes), bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        kept[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    (indices,) = np.nonzero(kept)
    return indices[_by_falling_score(scores[indices])]


def _by_falling_score(scores):
    """Indices by falling score, equal scores in input order, NaN first."""
    return len(scores) - 1 - np.argsort(scores[::-1], kind="stable")[::-1]
