"""Exercises for lesson 09, region proposals. Replace each `raise NotImplementedError`, then run
`tinymaskrcnn learn NAME` to check it. Boxes are x1 y1 x2 y2 in continuous pixels. You may use
`tinymaskrcnn.functional.box_iou` everywhere.
"""

import numpy as np


def best_anchors(scores, k):
    """Build. Find the k anchors with the highest scores, best first; among equals the earlier one
    comes first. If there are fewer than k, return all of them.

    Budget: 2 lines.

    Args:
        scores: (n,) float32. k: an integer.

    Returns:
        their indices, at most k of them.
    """
    raise NotImplementedError


def binary_cross_entropy(logits, targets):
    """Build. Compute what each logit costs: -log of the probability that it gives to the target.
    Logits may be as large as 1000 or as low as -1000, and nothing may overflow.

    Budget: 3 lines.

    Args:
        logits: (n,) float. targets: (n,), 0 to 1.

    Returns:
        (n,).
    """
    raise NotImplementedError


def smooth_l1(difference, beta):
    """Build. Compute what each delta costs, given how far it is off: a parabola below beta, a
    straight line beyond.

    Budget: 3 lines.

    Args:
        difference: an array of any shape. beta: above 0.

    Returns:
        an array of that shape.
    """
    raise NotImplementedError


def proposal_recall(truth, proposals, threshold):
    """Fill. Compute the recall: the share of ground-truth boxes that are found. A box is found if a
    proposal overlaps it by the threshold or more.

    Budget: 5 lines.

    Args:
        truth: (G, 4) float32, G > 0. proposals: (n, 4) float32; n may be 0. threshold: above 0.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def focal_term(logit, is_object, gamma):
    """Fill. Compute the cost of one answer in RetinaNet's focal loss (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002, without its alpha): the cross-entropy, times the gamma-th
    power of how far the network was from being sure of the right answer. Easy answers then cost
    next to nothing, so the loss can look at all anchors and needs no sampling.

    Budget: 5 lines. It must also be right for logits of 500 and -500.

    Args:
        logit: a float. is_object: bool. gamma: 0 or more.

    Returns:
        a float: -(1 - q)**gamma * log(q), where q is the probability of the right answer.
    """
    raise NotImplementedError


def objectness_map_loops(logits, shape):
    """What `objectness_map` should compute, in loops: correct, but slow."""
    per_cell = len(logits) // (shape[0] * shape[1])
    best = np.zeros(shape, np.float32)
    for i, logit in enumerate(logits):
        cell = i // per_cell
        row, column = cell // shape[1], cell % shape[1]
        best[row, column] = max(best[row, column], 1 / (1 + np.exp(-float(logit))))
    return best


def objectness_map(logits, shape):
    """Vectorise. Find the best probability among each cell's anchors, as in the lesson's first
    figure.

    Budget: 3 lines, no loops.

    Args:
        logits: (rows * columns * A,) float32 of one level, in the order of its anchors.
        shape: (rows, columns) of that level's map.

    Returns:
        (rows, columns) float32.
    """
    raise NotImplementedError


def smooth_l1_slope_loops(predicted, goals, beta):
    """What `smooth_l1_slope` should compute, in loops: correct, but slow."""
    slope = np.zeros(predicted.shape, np.float32)
    for i in range(predicted.shape[0]):
        for j in range(predicted.shape[1]):
            d = predicted[i, j] - goals[i, j]
            if abs(d) < beta:
                slope[i, j] = d / beta
            else:
                slope[i, j] = 1 if d > 0 else -1
    return slope


def smooth_l1_slope(predicted, goals, beta):
    """Vectorise. Compute the gradient of the smooth L1 loss, summed over everything, with respect
    to the predictions.

    Budget: 3 lines, no loops.

    Args:
        predicted, goals: (n, 4) float32 deltas. beta: above 0.

    Returns:
        (n, 4) float32.
    """
    raise NotImplementedError


def recall_over_ious(truth, proposals, count):
    """Extend. Put recall over all thresholds from 0.5 to 1 into one number (Hosang et al. 2015,
    https://arxiv.org/abs/1502.05082). Use the first `count` proposals, and count none of them for
    two ground-truth boxes.

    Pair them greedily. Of all pairs of a ground-truth box and a proposal, take the one that
    overlaps most, and remove both; then do the same with the rest, until one side is used up. A
    pair with IoU o counts max(o - 0.5, 0) * 2; a ground-truth box without a proposal counts 0. The
    result is the mean over the ground-truth boxes.

    Budget: 12 lines.

    Args:
        truth: (G, 4) float32, G > 0. proposals: (n, 4) float32, best first. count: 1 or more.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError
