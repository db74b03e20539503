"""Exercises of lesson 08, matching and box deltas. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right. Boxes are x1 y1 x2 y2 in continuous pixels.
"""

import numpy as np


def match_anchors(iou, high, low, rescue):
    """Build. Which object each anchor learns, by the lesson's rules, all anchors at once.

    Budget: 8 lines.

    Args:
        iou: (G, n), G objects, n anchors, both at least 1. high: from this overlap on an anchor
            learns the object that it overlaps most (the first of equals). low: below it an anchor
            is background, between the two it is left out. rescue: whether the anchors that overlap
            an object most (all of them, if several do) also learn something, however little it is:
            the object that *they* overlap most.

    Returns:
        (n,) whole numbers: the object's index, -1 for background, -2 for left out.
    """
    raise NotImplementedError


def encode(goals, anchors):
    """Build. The deltas that take each anchor to its goal, row by row: the shift of the centre in
    the anchor's widths and heights, and the logarithms of the ratios of the sides.

    Budget: 7 lines.

    Args:
        goals, anchors: (n, 4).

    Returns:
        (n, 4): dx, dy, dw, dh.
    """
    raise NotImplementedError


def decode(deltas, anchors):
    """Build. The boxes that deltas make of anchors, row by row: `encode` undone. dw and dh count
    as log(1000 / 16) at most, so that no box explodes.

    Budget: 8 lines.

    Args:
        deltas, anchors: (n, 4).

    Returns:
        (n, 4).
    """
    raise NotImplementedError


def sample_counts(objects, background, size, fraction):
    """Build. How many objects and how much background a balanced sample has: at most the fraction
    of its size are objects, and background fills up what they leave, as far as there is any.

    Budget: 3 lines.

    Args:
        objects, background: how many of each there are. size: of the sample, where there are that
            many. fraction: 0 to 1; a part of an object is no object.

    Returns:
        two whole numbers: objects drawn, background drawn.
    """
    raise NotImplementedError


def ltrb_offsets(point, box, stride):
    """Fill. Deltas without anchors: FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355) says
    how far it is from a cell's centre to the four edges of the object that it lies in, in strides.

    Budget: 3 lines.

    Args:
        point: x, y of the centre, in pixels; it lies in the box. box: (4,). stride: in pixels.

    Returns:
        (4,) float: to the left, upper, right and lower edge, none below 0.
    """
    raise NotImplementedError


def encode_table_loops(goals, anchors):
    """What `encode_table` shall compute, with loops: it is right, and slow."""
    table = np.zeros((len(goals), len(anchors), 4), np.float32)
    for g, (x1, y1, x2, y2) in enumerate(goals):
        for n, (left, top, right, bottom) in enumerate(anchors):
            width, height = right - left, bottom - top
            table[g, n, 0] = ((x1 + x2) / 2 - (left + right) / 2) / width
            table[g, n, 1] = ((y1 + y2) / 2 - (top + bottom) / 2) / height
            table[g, n, 2] = np.log((x2 - x1) / width)
            table[g, n, 3] = np.log((y2 - y1) / height)
    return table


def encode_table(goals, anchors):
    """Vectorise. The deltas that would take every anchor to every object. Matchers that weigh a
    pair by what it would cost, as DETR's does, look at all of them before they decide.

    Budget: 8 lines, no loops.

    Args:
        goals: (G, 4) float32. anchors: (n, 4) float32. All have an area.

    Returns:
        (G, n, 4) float32: dx, dy, dw, dh.
    """
    raise NotImplementedError


def proposal_labels(iou, labels, threshold):
    """Vectorise. Which class each proposal should get in the second stage: that of the object that
    it overlaps most, if by the threshold or more, and otherwise 0, background. There is no "left
    out" here, and no rescue for objects without a proposal.

    Budget: 5 lines, no loops.

    Args:
        iou: (G, n) float32; G may be 0. labels: (G,) whole numbers from 1. threshold: above 0.

    Returns:
        (n,) whole numbers.
    """
    raise NotImplementedError


def atss(iou, distances, inside, k):
    """Extend. Adaptive sample selection (Zhang et al. 2020, https://arxiv.org/abs/1912.02424, its
    algorithm 1, for one level): every object sets its own threshold.

    The candidates of an object are the k anchors whose centres are nearest to its own, the first of
    equals (a sort of NumPy's keeps the order of equals only if it is told to be stable). Its
    threshold is the mean of their IoU with it, plus their standard deviation (over k, as NumPy's).
    A candidate learns the object if its IoU is the threshold or more and its centre lies inside.
    One that several objects want learns the one that it overlaps most, the first of equals.

    Budget: 14 lines.

    Args:
        iou: (G, n) float32, G > 0. distances: (G, n) float32, between centres.
        inside: (G, n) bool, whether the anchor's centre lies in the object. k: 1 to n.

    Returns:
        (n,) whole numbers: for each anchor the object that it learns, or -1.
    """
    raise NotImplementedError
