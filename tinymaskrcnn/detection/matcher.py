"""Which ground truth each anchor or proposal is matched to (Faster R-CNN, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..ops.box_iou.op import box_iou
from .boxes import covered_share

BELOW, BETWEEN = -1, -2  # background; neither background nor object, hence ignored
PAIRS = 1 << 24  # overlaps that are in memory at once


@dataclass(frozen=True)
class Matcher:
    """Matches boxes to ground truth by overlap (IoU).

    Args:
        high: match a box to the ground truth that it overlaps most, if by at least this.
        low: a box whose best overlap is less than this is background; between the two it is
            ignored.
        allow_low_quality: also match the boxes that overlap a ground truth most, however little, so
            that none goes without. Such a box is matched to the ground truth that *it* overlaps
            most, which may be another one.

    Raises:
        InputError: low is above high.
    """

    high: float
    low: float
    allow_low_quality: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(
                f"IoU thresholds: background below {self.low} is above objects from {self.high}"
            )

    def match(self, iou: np.ndarray) -> np.ndarray:
        """From overlaps (G, n), G > 0, find for each box the index of its ground truth, BELOW (-1)
        or BETWEEN (-2): (n,) int64.

        The first of equally good ground truths wins. "Most overlap" is exact equality, so all ties
        count.
        """
        return self._match_blocks([iou])

    def _match_blocks(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """As `match`, from blocks (g, n) of a few ground truths each."""
        rows = (row for iou in blocks for row in iou)  # one at a time: they are long
        best_overlap = next(rows).copy()
        best = np.zeros(len(best_overlap), np.int64)
        closest = best_overlap == best_overlap.max(initial=0)
        for g, row in enumerate(rows, start=1):
            best[row > best_overlap] = g
            np.maximum(best_overlap, row, out=best_overlap)
            if self.allow_low_quality:
                closest |= row == row.max(initial=0)
        matches = np.where(best_overlap < self.high, BETWEEN, best)
        matches[best_overlap < self.low] = BELOW
        if self.allow_low_quality:
            matches[closest] = best[closest]
        return matches

    def match_boxes(
        self, boxes: np.ndarray, ground_truth: np.ndarray, iscrowd: np.ndarray | None = None
    ) -> np.ndarray:
        """As `match`, for boxes (n, 4) and ground_truth (G, 4). With G = 0 all are background.

        Args:
            iscrowd: (G,) bool. A crowd region stands for many objects. Nothing is matched to it,
                and a box is ignored instead of background if one covers at least `low` of its area.
                This is pycocotools' overlap with a crowd, and just enough: a box can overlap an
                object inside the crowd, of whatever size, by no more than that share.
        """
        if iscrowd is None or not iscrowd.any():
            return self._match_objects(boxes, ground_truth)
        objects = np.flatnonzero(~iscrowd)
        matches = self._match_objects(boxes, ground_truth[objects])
        matched = matches >= 0
        matches[matched] = objects[matches[matched]]
        crowded = covered_share(boxes, ground_truth[iscrowd]) >= self.low
        matches[crowded & (matches == BELOW)] = BETWEEN
        return matches

    def _match_objects(self, boxes: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
        if len(ground_truth) == 0:
            return np.full(len(boxes), BELOW, np.int64)
        at_once = max(1, PAIRS // max(1, len(boxes)))
        starts = range(0, len(ground_truth), at_once)
        return self._match_blocks(box_iou(ground_truth[i : i + at_once], boxes) for i in starts)
