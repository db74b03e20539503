"""Exercises of lesson 15, measuring. Replace each `raise NotImplementedError` and ask `tinymaskrcnn
learn NAME` whether it is right.
"""

import numpy as np


def average_precision(hits, objects):
    """Build. Average precision as COCO computes it. At each of the recalls 0, 0.01, ... 1 take the
    best precision reached at this recall or a higher one (0 if none is). The result is the mean of
    these 101 numbers.

    Budget: 7 lines.

    Args:
        hits: (n,) bool, whether each detection is right, best detection first. objects: how many
            there are, at least 1 and at least as many as there are hits.

    Returns:
        a number.
    """
    raise NotImplementedError


def best_f1_score(scores, hits, objects):
    """Fill. A program must give one list of objects, not a curve. At which score should it cut off?
    One answer is: where F1 = 2 P R / (P + R) is largest.

    Budget: 8 lines.

    Args:
        scores: (n,) float64, in no order, no two equal; n is at least 1. hits: (n,) bool, whether
            each detection found an object. objects: how many there are, at least 1.

    Returns:
        a float: the score of the last detection kept where F1 is largest. If F1 is largest in
        several places, the one with the highest score. All detections that score less are dropped.
    """
    raise NotImplementedError


def eleven_points(recall, precision):
    """Fill. Average precision as in VOC 2007 and the tables of the Faster R-CNN paper: at each of
    the recalls 0, 0.1, ... 1 the best precision at that recall or a higher one, and the mean of
    these.

    Budget: 6 lines.

    Args:
        recall, precision: (n,) float64, of the best 1, 2, ... n detections; n may be 0.

    Returns:
        a float, 0 to 1. A recall that is never reached counts as precision 0. Compare recalls with
        k / 10, and allow a tolerance of 1e-8: 0.1 * 3 is not 0.3.
    """
    raise NotImplementedError


def average_recall_loops(iou):
    """What `average_recall` should compute, with loops: right, but slow."""
    total = 0.0
    for threshold in THRESHOLDS:
        for row in iou:
            best = 0.0
            for value in row:
                best = max(best, value)
            total += best >= threshold
    return total / (len(THRESHOLDS) * len(iou))


THRESHOLDS = np.arange(10, 20) / 20  # 0.50, 0.55, ... 0.95


def average_recall(iou):
    """Vectorise. How good are proposals, before anyone has given them a class? Take the share of
    objects that some proposal overlaps by at least a threshold, averaged over COCO's ten
    thresholds.

    Budget: 4 lines, no loops.

    Args:
        iou: (G, n) float64, of each object with each proposal; G and n are at least 1.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def panoptic_quality(iou):
    """Vectorise. Panoptic quality (Kirillov et al. 2019, https://arxiv.org/abs/1801.00868). If each
    pixel belongs to at most one segment, then two segments with an IoU above 0.5 are each other's
    only partner, and nothing needs sorting. Add up the IoU of all such pairs. Divide by the number
    of pairs plus half the number of segments, on both sides, that have no partner.

    Budget: 5 lines, no loops.

    Args:
        iou: (n, G) float64, of each found segment with each true one; n + G is at least 1. At most
            one entry in each row and in each column is above 0.5.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def match_with_crowds(iou, crowd, threshold):
    """Extend. COCO's matching with crowd regions, such as a stand full of people outlined as one.
    Go through the detections, best first. Each takes the free object that it overlaps most, if that
    overlap is at least the threshold. A detection that gets no object, but overlaps a crowd by the
    threshold, is not judged at all: it is neither a hit nor a false alarm. Any number of detections
    may lie in one crowd, and a crowd never counts as an object.

    Budget: 14 lines.

    Args:
        iou: (n, G) float64, rows best first; the column of a crowd holds the share of each
            detection that lies in it. crowd: (G,) bool. threshold: above 0.

    Returns:
        (n,) int: the object's index, -1 for a false alarm, -2 for not judged. Of equal overlaps the
        lowest index is taken.
    """
    raise NotImplementedError
