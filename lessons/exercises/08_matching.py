"""Exercises for lesson 08, matching and box deltas. Replace each `raise NotImplementedError`, then
run `tinymaskrcnn learn NAME` to check it. Boxes are x1 y1 x2 y2 in continuous pixels.
"""

import numpy as np


def match_anchors(iou, high, low, rescue):
    """Build. Decide which object each anchor learns, by the lesson's two rules, for all anchors at
    once.

    Budget: 8 lines.

    Args:
        iou: (G, n), G objects, n anchors, both at least 1.
        high: at this overlap or more, an anchor learns the object that it overlaps most (the first
            of equals).
        low: below this overlap an anchor is background; in between it is left out (ignored).
        rescue: whether rule 2 applies. The anchors that overlap an object most (all of them, if
            several do) then learn something too, however small the overlap: the object that *they*
            overlap most.

    Returns:
        (n,) integers: the object's index, -1 for background, -2 for left out.
    """
    raise NotImplementedError


def encode(goals, anchors):
    """Build. Compute the deltas that take each anchor to its goal, row by row: how far the centre
    moves, in anchor widths and heights, and the logarithm of the ratio of each side.

    Budget: 7 lines.

    Args:
        goals, anchors: (n, 4).

    Returns:
        (n, 4): dx, dy, dw, dh.
    """
    raise NotImplementedError


def decode(deltas, anchors):
    """Build. Move anchors by their deltas, row by row: the inverse of `encode`. Clip dw and dh at
    log(1000 / 16), so that no box explodes.

    Budget: 8 lines.

    Args:
        deltas, anchors: (n, 4).

    Returns:
        (n, 4).
    """
    raise NotImplementedError


def sample_counts(objects, background, size, fraction):
    """Build. Say how many objects and how many background anchors a balanced sample contains. At
    most the given fraction of its size are objects; background fills the rest, as far as there is
    enough of it.

    Budget: 3 lines.

    Args:
        objects, background: how many of each there are.
        size: how large the sample is if there are enough anchors.
        fraction: 0 to 1; round down, since there are no parts of objects.

    Returns:
        two integers: objects sampled, background sampled.
    """
    raise NotImplementedError


def ltrb_offsets(point, box, stride):
    """Fill. Deltas without anchors: FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355)
    predicts how far it is from a cell's centre to each of the four edges of the object around it,
    in units of the stride.

    Budget: 3 lines.

    Args:
        point: x, y of the centre, in pixels; it lies inside the box. box: (4,). stride: in pixels.

    Returns:
        (4,) float: distances to the left, top, right and bottom edge, none below 0.
    """
    raise NotImplementedError


def encode_table_loops(goals, anchors):
    """What `encode_table` should compute, in loops: correct, but slow."""
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
    """Vectorise. Compute the deltas that would take every anchor to every object. A matcher that
    weighs each pair by its cost, as DETR's does, looks at all of them before it decides.

    Budget: 8 lines, no loops.

    Args:
        goals: (G, 4) float32. anchors: (n, 4) float32. No box has an empty area.

    Returns:
        (G, n, 4) float32: dx, dy, dw, dh.
    """
    raise NotImplementedError


def proposal_labels(iou, labels, threshold):
    """Vectorise. Decide which class each proposal should get in the second stage: the class of the
    object that it overlaps most, if that overlap is the threshold or more; otherwise 0, background.
    Nothing is left out here, and no object without a proposal is rescued.

    Budget: 5 lines, no loops.

    Args:
        iou: (G, n) float32; G may be 0. labels: (G,) integers from 1. threshold: above 0.

    Returns:
        (n,) integers.
    """
    raise NotImplementedError


def atss(iou, distances, inside, k):
    """Extend. Adaptive training sample selection (ATSS; Zhang et al. 2020,
    https://arxiv.org/abs/1912.02424, algorithm 1, for one level): each object sets its own
    threshold.

    An object's candidates are the k anchors whose centres are nearest to its own, the first of
    equals (NumPy's sort keeps the order of equals only if you ask for a stable one). Its threshold
    is the mean of their IoU with it plus their standard deviation (divided by k, as in NumPy). A
    candidate learns the object if its IoU is the threshold or more and its centre lies inside the
    object. If several objects want the same anchor, it learns the one that it overlaps most, the
    first of equals.

    Budget: 14 lines.

    Args:
        iou: (G, n) float32, G > 0. distances: (G, n) float32, between centres.
        inside: (G, n) bool, whether the anchor's centre lies inside the object. k: 1 to n.

    Returns:
        (n,) integers: for each anchor the object that it learns, or -1.
    """
    raise NotImplementedError
