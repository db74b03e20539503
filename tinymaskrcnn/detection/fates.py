"""What became of each box that a filter looked at, and because of which other box.

Only for traces: the filters themselves keep what remains and forget the rest.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from .. import tracing
from ..ops.box_iou.op import box_iou


class Fate(IntEnum):
    """What became of a box. The filters work in this order, and the first that objects decides."""

    KEPT = 0
    SMALL = 1  # a side shorter than the least size
    UNSURE = 2  # a score below the threshold
    OVERLAP = 3  # a better box of the same group overlaps it more than NMS allows
    RANK = 4  # it passed everything, but enough better ones did too


def record_fates(
    boxes: np.ndarray,
    groups: np.ndarray,
    large: np.ndarray,
    sure: np.ndarray,
    winners: np.ndarray,
    limit: int,
    threshold: float,
) -> None:
    """Record `fates` (m,) and `suppressors` (m,) of one picture's boxes.

    Args:
        boxes: (m, 4) clipped. groups: (m,) level or class: only within one do boxes compete.
        large, sure: (m,) bool, which passed the first two filters.
        winners: which NMS left, best first. limit: how many of them may stay.
        threshold: of NMS.
    """
    fates = np.full(len(boxes), Fate.OVERLAP, np.int64)
    fates[winners[:limit]], fates[winners[limit:]] = Fate.KEPT, Fate.RANK
    fates[~sure] = Fate.UNSURE
    fates[~large] = Fate.SMALL
    tracing.record("fates", fates)
    losers = np.flatnonzero(fates == Fate.OVERLAP)
    suppressors = np.full(len(boxes), -1, np.int64)
    suppressors[losers] = _suppressors(boxes, groups, losers, winners, threshold)
    tracing.record("suppressors", suppressors)


def _suppressors(
    boxes: np.ndarray,
    groups: np.ndarray,
    losers: np.ndarray,
    winners: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """The best winner that overlaps each loser by more than the threshold: NMS visits it first.

    NMS may have shifted the boxes apart before it compared them, and so rounded otherwise; where by
    that no overlap here is above the threshold, the largest counts.
    """
    if len(losers) == 0:
        return losers
    iou = box_iou(boxes[losers], boxes[winners])  # losers, winners
    iou[groups[losers][:, None] != groups[winners][None]] = -1
    above = iou > threshold
    first = np.where(above.any(axis=1), above.argmax(axis=1), iou.argmax(axis=1))
    return winners[first]
