"""Exercises of lesson 12, the box head. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right. Class 0 is the background.
"""

import numpy as np


def keep_detections(scores, boxes, score_threshold, iou_threshold, limit):
    """Build. The detections of one picture: each proposal's box for each class but the background,
    if its score is above the threshold; then suppression within each class; then the best of all.

    Budget: 12 lines. `nms(boxes, scores, threshold)` suppresses within one class.

    Args:
        scores: (R, K), no two equal; column 0 is the background. boxes: (R, K, 4).
        score_threshold: a detection's score is above it. iou_threshold: for suppression.
        limit: how many detections at most.

    Returns:
        (rows, classes), whole numbers: which proposal and which class each detection is, best
        first.
    """
    raise NotImplementedError


def surprise(logits, labels):
    """Build. The cross-entropy of each row: -log of the probability that softmax gives the right
    class. Logits may be as large as 1000 or as low as -1000.

    Budget: 5 lines.

    Args:
        logits: (R, K) float. labels: (R,) whole numbers, the right classes.

    Returns:
        (R,) float, finite.
    """
    raise NotImplementedError


def own_boxes_loops(deltas, proposals, labels):
    """What `own_boxes` shall compute, with loops: it is right, and slow."""
    boxes = np.zeros((len(labels), 4))
    for r in range(len(labels)):
        x1, y1, x2, y2 = proposals[r]
        dx, dy, dw, dh = deltas[r, 4 * labels[r] : 4 * labels[r] + 4]
        x, y = (x1 + x2) / 2 + dx / 10 * (x2 - x1), (y1 + y2) / 2 + dy / 10 * (y2 - y1)
        w, h = (x2 - x1) * np.exp(dw / 5), (y2 - y1) * np.exp(dh / 5)
        boxes[r] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return boxes


def own_boxes(deltas, proposals, labels):
    """Vectorise. The box that each proposal's own class makes of it. The weights are 10, 10, 5, 5.

    Budget: 8 lines, no loops.

    Args:
        deltas: (R, 4 K) float32, class after class. proposals: (R, 4) float32. labels: (R,) whole
            numbers, 0 to K - 1.

    Returns:
        (R, 4) float, x1 y1 x2 y2.
    """
    raise NotImplementedError


def box_branch_loss(deltas, goals, labels):
    """Fill. The loss of the offsets of one sample of proposals: smooth L1 (beta 1/9) of the four
    offsets of the true class, for objects only, divided by the number of all proposals in the
    sample. Smooth L1 of a difference d is d * d / (2 beta) where |d| is below beta, else |d| - beta
    / 2.

    Budget: 8 lines.

    Args:
        deltas: (R, 4 K) float32, class after class. goals: (R, 4) float32, zeros for background.
        labels: (R,) whole numbers, 0 for background; R is at least 1.

    Returns:
        a float.
    """
    raise NotImplementedError


def vote(boxes, scores, kept, threshold):
    """Extend. Lesson 10's `box_voting` as a detector calls it: with the numbers that suppression
    gives. Suppression keeps the best-scored box and forgets the others on the same object, though
    each of them is a guess of where the edges are. Box voting (Gidaris and Komodakis 2015,
    https://arxiv.org/abs/1505.01749) lets them vote: the box of a detection becomes the mean of all
    candidates that overlap it by at least the threshold, itself among them, weighted by their
    scores.

    Budget: 8 lines. `tinymaskrcnn.functional.box_iou` may be used.

    Args:
        boxes: (N, 4) float32, candidates of one class, all with an area. scores: (N,) float32,
            above 0. kept: (M,) which of them suppression kept. threshold: above 0, up to 1.

    Returns:
        (M, 4) float.
    """
    raise NotImplementedError
