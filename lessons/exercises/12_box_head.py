"""Exercises for lesson 12, the box head. Replace each `raise NotImplementedError`, then run
`tinymaskrcnn learn NAME` to check it. Class 0 is the background.
"""

import numpy as np


def keep_detections(scores, boxes, score_threshold, iou_threshold, limit):
    """Build. Find the detections of one image. Start from each proposal's box for each class except
    the background. Keep those whose score is above the threshold, suppress within each class, and
    keep the best of what is left.

    Budget: 12 lines. `nms(boxes, scores, threshold)` from `tinymaskrcnn.functional` suppresses
    within one class.

    Args:
        scores: (R, K), no two equal; column 0 is the background. boxes: (R, K, 4).
        score_threshold: a detection's score is above it. iou_threshold: for suppression.
        limit: the largest number of detections.

    Returns:
        (rows, classes), integers: the proposal and the class of each detection, best first.
    """
    raise NotImplementedError


def surprise(logits, labels):
    """Build. Compute the cross-entropy of each row: -log of the probability that softmax gives to
    the right class. Logits may be as large as 1000 or as low as -1000.

    Budget: 5 lines.

    Args:
        logits: (R, K) float. labels: (R,) integers, the right classes.

    Returns:
        (R,) float, finite.
    """
    raise NotImplementedError


def own_boxes_loops(deltas, proposals, labels):
    """What `own_boxes` should compute, in loops: correct, but slow."""
    boxes = np.zeros((len(labels), 4))
    for r in range(len(labels)):
        x1, y1, x2, y2 = proposals[r]
        dx, dy, dw, dh = deltas[r, 4 * labels[r] : 4 * labels[r] + 4]
        x, y = (x1 + x2) / 2 + dx / 10 * (x2 - x1), (y1 + y2) / 2 + dy / 10 * (y2 - y1)
        w, h = (x2 - x1) * np.exp(dw / 5), (y2 - y1) * np.exp(dh / 5)
        boxes[r] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return boxes


def own_boxes(deltas, proposals, labels):
    """Vectorise. Move each proposal by the deltas of its own class. The weights are 10, 10, 5, 5.

    Budget: 8 lines, no loops.

    Args:
        deltas: (R, 4 K) float32, one class after another. proposals: (R, 4) float32.
        labels: (R,) integers, 0 to K - 1.

    Returns:
        (R, 4) float, x1 y1 x2 y2.
    """
    raise NotImplementedError


def box_branch_loss(deltas, goals, labels):
    """Fill. Compute the box loss of one sample of proposals: smooth L1 (beta 1/9) of the four
    deltas of the true class, for objects only, divided by the number of all proposals in the
    sample. Smooth L1 of a difference d is d * d / (2 beta) if |d| is below beta, else |d| - beta /
    2.

    Budget: 8 lines.

    Args:
        deltas: (R, 4 K) float32, one class after another. goals: (R, 4) float32, the regression
            targets, zeros for background.
        labels: (R,) integers, 0 for background; R is at least 1.

    Returns:
        a float.
    """
    raise NotImplementedError


def vote(boxes, scores, kept, threshold):
    """Extend. This is lesson 10's `box_voting` as a detector calls it: with the indices that
    suppression returns. Suppression keeps the box with the best score and forgets the others on the
    same object, though each of them is a guess at where the edges are. Box voting (Gidaris and
    Komodakis 2015, https://arxiv.org/abs/1505.01749) lets them vote. A detection's box becomes the
    mean of all candidates that overlap it by the threshold or more, itself included, weighted by
    their scores.

    Budget: 8 lines. You may use `tinymaskrcnn.functional.box_iou`.

    Args:
        boxes: (N, 4) float32, candidates of one class; none has an empty area. scores: (N,)
            float32, above 0.
        kept: (M,) which of them suppression kept. threshold: above 0, up to 1.

    Returns:
        (M, 4) float.
    """
    raise NotImplementedError
