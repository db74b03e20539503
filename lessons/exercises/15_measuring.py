"""Exercises of lesson 15, measuring. Replace each `raise NotImplementedError` and ask `tinymaskrcnn
learn NAME` whether it is right.
"""

import numpy as np


def average_precision(hits, objects):
    """Build. Average precision as COCO counts it: at each of the recalls 0, 0.01, ... 1 the best
    precision that is reached at this recall or a higher one (0 where none is), and the mean of
    these 101 numbers.

    Budget: 7 lines.

    Args:
        hits: (n,) bool, best detection first: whether it is right. objects: how many there are, at
            least 1 and no fewer than hits.

    Returns:
        a number.
    """
    raise NotImplementedError


def best_f1_score(scores, hits, objects):
    """Fill. At which score shall a program cut off, that has to give one list of objects and no
    curve? One answer: where F1 = 2 P R / (P + R) is largest.

    Budget: 8 lines.

    Args:
        scores: (n,) float64, in no order, no two equal; n is at least 1. hits: (n,) bool, whether
            each detection found an object. objects: how many there are, at least 1.

    Returns:
        a float: the score of the last detection that is kept when F1 is largest; of several such
        places the one with the highest score. All that score less are dropped.
    """
    raise NotImplementedError


def eleven_points(recall, precision):
    """Fill. Average precision as VOC 2007 and the Faster R-CNN paper's tables have it: the mean
    over the recalls 0, 0.1, ... 1 of the best precision at that recall or a higher one.

    Budget: 6 lines.

    Args:
        recall, precision: (n,) float64 of the best 1, 2, ... n detections; n may be 0.

    Returns:
        a float, 0 to 1. A recall that is never reached counts as precision 0. Compare recalls with
        k / 10 and a hundred-millionth to spare: 0.1 * 3 is not 0.3.
    """
    raise NotImplementedError


def average_recall_loops(iou):
    """What `average_recall` shall compute, with loops: it is right, and slow."""
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
    """Vectorise. How good are proposals, before anyone has named them? The share of objects that
    some proposal overlaps by a threshold, averaged over COCO's ten thresholds.

    Budget: 4 lines, no loops.

    Args:
        iou: (G, n) float64 of every object with every proposal; both at least 1.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def panoptic_quality(iou):
    """Vectorise. Panoptic quality (Kirillov et al. 2019, https://arxiv.org/abs/1801.00868). Where
    every pixel belongs to one segment at most, two segments that overlap by more than 0.5 are each
    other's only partner, so nothing needs to be sorted. Sum the IoU of all such pairs, and divide
    by the number of pairs plus half of all segments, on both sides, that have no partner.

    Budget: 5 lines, no loops.

    Args:
        iou: (n, G) float64 of every found segment with every true one; n + G is at least 1. At most
            one entry of each row and each column is above 0.5.

    Returns:
        a float, 0 to 1.
    """
    raise NotImplementedError


def match_with_crowds(iou, crowd, threshold):
    """Extend. COCO's matching with crowd regions (a stand full of people, outlined as one). Go
    through the detections, best first. Each takes the free object with the largest overlap, if
    that is at least the threshold. One that gets none and overlaps a crowd by the threshold is not
    judged at all: neither a hit nor a false alarm. Any number of detections may lie in one crowd,
    and a crowd is never an object.

    Budget: 14 lines.

    Args:
        iou: (n, G) float64, rows best first; a crowd's column holds the share of the detection that
            lies in it. crowd: (G,) bool. threshold: above 0.

    Returns:
        (n,) int: the object's number, -1 for a false alarm, -2 for not judged. Of equal overlaps
        the lowest number is taken.
    """
    raise NotImplementedError
