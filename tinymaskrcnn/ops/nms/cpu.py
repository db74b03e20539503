"""Non-maximum suppression on the CPU.

Compare each box with the kept boxes, one vector at a time, and stop at the first block that
contains an overlap. Labels are independent, so the threads share them.
"""

import numpy as np
from numba import prange

from ...jit import exact_kernel, exact_serial

_SHIFT_LIMIT = 1000  # up to this many boxes torchvision separates classes by shifting them apart
_BLOCK = 64


def nms(boxes, scores, iou_threshold):
    """Indices of the boxes (N, 4) that are kept, int64, by falling score (N,)."""
    order = _by_falling_score(scores)
    return order[_kept(boxes[order], np.array([0, len(boxes)]), iou_threshold)]


def batched_nms(boxes, scores, labels, iou_threshold):
    """Suppress boxes (N, 4) only within their own label (N,): indices by falling score, int64."""
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    if len(boxes) <= _SHIFT_LIMIT:
        shift = labels.astype(np.float32) * (boxes.max() + np.float32(1))
        return nms(boxes + shift[:, None], scores, iou_threshold)
    order = _by_falling_score(scores)
    by_label = np.argsort(labels[order], kind="stable")  # ranks, label by label
    grouped = order[by_label]
    starts = np.flatnonzero(np.diff(labels[grouped])) + 1
    bounds = np.concatenate(([0], starts, [len(boxes)]))
    kept = np.empty(len(boxes), bool)
    kept[by_label] = _kept(boxes[grouped], bounds, iou_threshold)
    return order[kept]


def _by_falling_score(scores):
    """Indices by falling score, equal scores in input order, NaN first.

    Sorts integers made of the score's bits, inverted so that a higher score gives a smaller number,
    and of the index. No two are equal, so NumPy's fastest sort will do, although it is not stable.
    """
    scores = np.where(
        np.isnan(scores), np.float32(np.nan), scores + np.float32(0)
    )  # one NaN, one 0
    bits = scores.view(np.int32)
    falling = np.where(bits < 0, bits & 0x7FFFFFFF, ~bits).astype(np.int64)
    keys = falling << 32 | np.arange(len(scores))
    keys.sort()
    return keys & 0xFFFFFFFF


def _kept(boxes, bounds, iou_threshold):
    """Which boxes (N, 4) are kept; bounds[g] .. bounds[g + 1] is a group, by falling score."""
    kept = np.zeros(len(boxes), bool)
    # the greatest float32 <= threshold: a float32 exceeds one exactly if it exceeds the other
    threshold = np.float32(iou_threshold)
    if float(threshold) > iou_threshold:
        threshold = np.nextafter(threshold, np.float32(-1))
    columns = np.ascontiguousarray(boxes.T)
    if len(bounds) == 2:  # one group: nothing to share among threads
        _suppress_group(columns, 0, len(boxes), threshold, kept)
    else:
        _suppress(columns, bounds, threshold, kept)
    return kept


@exact_kernel
def _suppress(boxes, bounds, threshold, kept):
    """kept[i] = no kept box before i in its group has an IoU with it above the threshold."""
    for group in prange(len(bounds) - 1):
        _suppress_group(boxes, bounds[group], bounds[group + 1], threshold, kept)


@exact_serial
def _suppress_group(boxes, first, last, threshold, kept):
    # x1, y1, x2, y2, area of the kept boxes; the last block ends in zeros, which overlap nothing
    winners = np.zeros((5, last - first + _BLOCK), np.float32)
    count = 0
    for i in range(first, last):
        x1, y1, x2, y2 = boxes[0, i], boxes[1, i], boxes[2, i], boxes[3, i]
        area = (x2 - x1) * (y2 - y1)
        hits = 0
        for start in range(0, count, _BLOCK):
            hits = _count_overlaps(winners, np.uint64(start), x1, y1, x2, y2, area, threshold)
            if hits:
                break
        if hits == 0:
            kept[i] = True
            winners[0, count], winners[1, count], winners[2, count] = x1, y1, x2
            winners[3, count], winners[4, count] = y2, area
            count += 1


@exact_serial
def _count_overlaps(others, start, x1, y1, x2, y2, area, threshold):
    """How many of the BLOCK others from `start` on have an IoU with the box above the threshold."""
    hits = np.int32(0)
    for k in range(start, start + np.uint64(_BLOCK)):
        width = max(min(x2, others[2, k]) - max(x1, others[0, k]), np.float32(0))
        height = max(min(y2, others[3, k]) - max(y1, others[1, k]), np.float32(0))
        intersection = width * height
        iou = intersection / (others[4, k] + area - intersection)
        hits += np.int32(iou > threshold)
    return hits
