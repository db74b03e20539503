"""Exercises for lesson 10, suppression. Replace each `raise NotImplementedError`, then run
`tinymaskrcnn learn NAME` to check it. Boxes are x1 y1 x2 y2 in continuous pixels. You may use
`box_iou` and `nms` from `tinymaskrcnn.functional` everywhere.
"""

import numpy as np


def suppress(boxes, scores, threshold):
    """Build. Non-maximum suppression: take the best box, drop all that overlap it too much, and
    repeat with what is left.

    Budget: 9 lines. You need one loop, but not a second.

    Args:
        boxes: (N, 4) float32. scores: (N,), no two equal. threshold: an IoU above it is too much.

    Returns:
        indices of the boxes that stay, best first.
    """
    raise NotImplementedError


def suppressed_by(boxes, scores, threshold):
    """Fill. Find out which box drops which. This helps when a detector has lost an object.

    Budget: 10 lines.

    Args:
        boxes: (N, 4) float32. scores: (N,), no two equal. threshold: an IoU above it is too much.

    Returns:
        (N,) integers: -1 for a box that stays; for one that goes, the index of the first kept box,
        in the order of the scores, that overlaps it too much.
    """
    raise NotImplementedError


def per_class_nms(boxes, scores, labels, threshold):
    """Fill. Suppress within each class, one class at a time, without moving boxes apart.

    Budget: 6 lines.

    Args:
        boxes: (N, 4) float32. scores: (N,), no two equal. labels: (N,) integers.
        threshold: as for `nms`.

    Returns:
        indices of the boxes that stay, all classes together, best score first.
    """
    raise NotImplementedError


def fast_nms_loops(boxes, scores, threshold):
    """What `fast_nms` should compute, in loops: correct, but slow."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        width = np.minimum(boxes[:, 2], boxes[i, 2]) - np.maximum(boxes[:, 0], boxes[i, 0])
        height = np.minimum(boxes[:, 3], boxes[i, 3]) - np.maximum(boxes[:, 1], boxes[i, 1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        too_much = shared / (areas + areas[i] - shared) > threshold
        if not any(too_much[j] and scores[j] > scores[i] for j in range(len(boxes))):
            kept.append(i)
    return np.array(kept)


def fast_nms(boxes, scores, threshold):
    """Vectorise. Fast NMS, from YOLACT (Bolya et al. 2019, https://arxiv.org/abs/1904.02689): a box
    goes if *any* better one overlaps it too much, kept or not. This drops a few more boxes, but
    breaks the chain: all boxes can be asked at the same time.

    Budget: 5 lines, no loops. If a table of IoU is sorted by score, which part of it compares boxes
    with better ones?

    Args:
        boxes: (N, 4) float32, N > 0. scores: (N,), no two equal. threshold: above it is too much.

    Returns:
        indices of the boxes that stay, best score first.
    """
    raise NotImplementedError


def box_voting_loops(kept, boxes, scores, threshold):
    """What `box_voting` should compute, in loops: correct, but slow."""
    moved = []
    for box in kept:
        total, weight = np.zeros(4), 0.0
        for other, score in zip(boxes, scores, strict=True):
            width = max(min(box[2], other[2]) - max(box[0], other[0]), 0)
            height = max(min(box[3], other[3]) - max(box[1], other[1]), 0)
            areas = (box[2] - box[0]) * (box[3] - box[1])
            areas += (other[2] - other[0]) * (other[3] - other[1])
            if width * height / (areas - width * height) >= threshold:
                total, weight = total + score * other, weight + score
        moved.append(total / weight)
    return np.array(moved)


def box_voting(kept, boxes, scores, threshold):
    """Vectorise. Box voting (Gidaris and Komodakis 2015, https://arxiv.org/abs/1505.01749): the box
    with the best score is not always the one that fits best. Move each kept box to the mean of all
    boxes that overlap it by the threshold or more, itself included, weighted by their scores.

    Budget: 4 lines, no loops. A weighted sum of rows is a matrix product.

    Args:
        kept: (K, 4) float32, the kept boxes. boxes: (N, 4) float32, all boxes, these included.
        scores: (N,) float32, above 0. threshold: 0 to 1.

    Returns:
        (K, 4) float.
    """
    raise NotImplementedError


def soft_nms(boxes, scores, sigma):
    """Extend. Soft-NMS (Bodla et al. 2017, https://arxiv.org/abs/1704.04503): no box is dropped. In
    each round take out the box with the largest score, the first of equals. Then multiply the score
    of each box that is left by exp(-iou**2 / sigma), where iou is its overlap with the box just
    taken.

    Budget: 12 lines.

    Args:
        boxes: (N, 4) float32. scores: (N,) float32. sigma: above 0.

    Returns:
        (N,) float: the score that each box had when it was taken, in the order of `boxes`.
    """
    raise NotImplementedError
