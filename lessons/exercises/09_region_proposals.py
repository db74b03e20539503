"""Exercises of lesson 09, region proposals. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right. Boxes are x1 y1 x2 y2 in continuous pixels;
`tinymaskrcnn.functional.box_iou` may be used everywhere.
"""

import numpy as np


def best_anchors(scores, k):
    """Build. The k anchors with the highest scores, best first; of equal ones the first comes
    first. If there are fewer than k, all of them.

    Budget: 2 lines.

    Args:
        scores: (n,) float32. k: a whole number.

    Returns:
        their indices, at most k.
    """
    raise NotImplementedError


def binary_cross_entropy(logits, targets):
    """Build. What each logit costs: -log of the probability that it gives to the truth. Logits may
    be as large as 1000 or as low as -1000, and nothing overflows.

    Budget: 3 lines.

    Args:
        logits: (n,) float. targets: (n,), 0 to 1.

    Returns:
        (n,).
    """
    raise NotImplementedError


def smooth_l1(difference, beta):
    """Build. What each delta costs that is off by `difference`: a parabola where it is off by less
    than beta, a straight line beyond.

    Budget: 3 lines.

    Args:
        difference: an array of any shape. beta: above 0.

    Returns:
        an array of that shape.
    """
    raise NotImplementedError


def proposal_recall(truth, proposals, threshold):
    """Fill. Recall: which share of the true boxes is found, that is, has a proposal that overlaps
    it by the threshold or more.

    Budget: 5 lines.

    Args:
        truth: (G, 4) float32, G > 0. proposals: (n, 4) float32; n may be 0. threshold: above 0.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def focal_term(logit, is_object, gamma):
    """Fill. The cost of one answer in RetinaNet's focal loss (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002, without its alpha): the cross-entropy times the gamma-th power
    of how far the network was from being sure of the right answer. What is easily right then costs
    next to nothing, and all anchors can be judged; nothing needs to be sampled.

    Budget: 5 lines. It must be right for logits of 500 and -500, too.

    Args:
        logit: a float. is_object: bool. gamma: 0 or more.

    Returns:
        a float: -(1 - q)**gamma * log(q), where q is the probability given to the right answer.
    """
    raise NotImplementedError


def objectness_map_loops(logits, shape):
    """What `objectness_map` shall compute, with loops: it is right, and slow."""
    per_cell = len(logits) // (shape[0] * shape[1])
    best = np.zeros(shape, np.float32)
    for i, logit in enumerate(logits):
        cell = i // per_cell
        row, column = cell // shape[1], cell % shape[1]
        best[row, column] = max(best[row, column], 1 / (1 + np.exp(-float(logit))))
    return best


def objectness_map(logits, shape):
    """Vectorise. The best probability of any anchor of each cell, as the lesson's first figure
    shows it for every level.

    Budget: 3 lines, no loops.

    Args:
        logits: (rows * columns * A,) float32, one level's, in the order of its anchors.
        shape: (rows, columns) of its map.

    Returns:
        (rows, columns) float32.
    """
    raise NotImplementedError


def smooth_l1_slope_loops(predicted, goals, beta):
    """What `smooth_l1_slope` shall compute, with loops: it is right, and slow."""
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
    """Vectorise. The gradient of the smooth L1 loss, summed over everything, by the predictions.

    Budget: 3 lines, no loops.

    Args:
        predicted, goals: (n, 4) float32 deltas. beta: above 0.

    Returns:
        (n, 4) float32.
    """
    raise NotImplementedError


def recall_over_ious(truth, proposals, count):
    """Extend. Recall over all thresholds from 0.5 to 1 in one number (Hosang et al. 2015,
    https://arxiv.org/abs/1502.05082), with the first `count` proposals, and no proposal counted for
    two true boxes.

    Pairs are made greedily: the pair of a true box and a proposal that overlap most, of all, is
    taken, and both are out; then of the others the pair that overlaps most; until one side is used
    up. An IoU o counts max(o - 0.5, 0) * 2, a true box without a proposal counts 0, and the mean
    over the true boxes is the result.

    Budget: 12 lines.

    Args:
        truth: (G, 4) float32, G > 0. proposals: (n, 4) float32, best first. count: 1 or more.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError
