"""Follow objects from frame to frame: which detection is the same object as one before?

Each object is expected where its velocity carries it, in its latest size, and detections are
assigned to objects so that the sum of overlaps is the largest (Bewley et al. 2016, "Simple online
and realtime tracking", with averages in place of its Kalman filter). Only boxes, classes and times
are used, so an object that was hidden for longer than `patience`, or that comes back into the
image, gets a new number.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from ..detection.boxes import Size, clip_boxes, is_large_enough, paired_iou

GROWN = 0.5  # by which share of its size a box grows on each side in the second attempt
OTHER_CLASS = 0.5  # what an overlap counts if the classes differ


class Match(NamedTuple):
    """Tracks (M,) and the detections (M,) that continue them, by their indices.

    `overlap` is the sum of the pairs' IoU, `expected` (T, 4) are the boxes of all tracks at the
    time `clock`.
    """

    overlap: float
    clock: float
    expected: np.ndarray
    tracks: np.ndarray
    found: np.ndarray


class Tracker:
    """Numbers the objects of one clip.

    - Birth: a detection that continues no track starts one, with the next number from 1.
    - Match: a detection continues a track if its box overlaps the one that is expected at this
      time. The overlap counts half if the classes differ: a detector's mind about an object that
      is half hidden may change. What is left over then gets a second attempt, with larger boxes
      and within a class, because small and fast objects may not overlap at all.
    - Time: objects move for as long as the frames' times say. But frames are also stamped late, or
      dropped, so a frame that comes after an unusual time is matched as if it were a usual one,
      too, and the better match counts.
    - Death: a track ends when it was not seen for more frames in a row than it was seen before,
      for more than `patience` frames, or when it is expected outside the image.

    Args:
        overlap: the smallest IoU of a match.
        patience: for how many frames an object may be hidden.
        smoothing: the weight of a new velocity in the average.
    """

    def __init__(self, overlap: float = 0.15, patience: int = 30, smoothing: float = 0.2) -> None:
        self.overlap, self.patience, self.smoothing = overlap, patience, smoothing
        self.count = 0  # tracks so far
        self._clock = 0.0  # the time by which objects move
        self._last: float | None = None  # the time of the latest frame
        self._steps: deque[float] = deque(maxlen=25)  # seconds between the latest frames
        self._ids = np.zeros(
            0, np.int64
        )  # this and all below: one entry per living track, (T, ...)
        self._labels = np.zeros(0, np.int64)
        self._boxes = np.zeros((0, 4))  # where it was last seen
        self._velocity = np.zeros((0, 2))  # of its centre, in pixels per second
        self._time = np.zeros(0)  # on the clock, when it was last seen
        self._seen = np.zeros(0, np.int64)  # in how many frames
        self._missed = np.zeros(0, np.int64)  # frames since

    def update(self, boxes: np.ndarray, labels: np.ndarray, time: float, size: Size) -> np.ndarray:
        """Number the detections of the next frame.

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in pixels.
            labels: (N,) classes.
            time: of the frame, in seconds, later than those before; the steps may differ.
            size: height and width of the image.

        Returns:
            (N,) int64: the number of each detection's object.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        labels = np.asarray(labels, np.int64)
        ways = [self._matches(self._clock + s, boxes, labels) for s in self._possible_steps(time)]
        _, self._clock, expected, tracks, found = max(ways, key=lambda match: match.overlap)
        self._continue(tracks, boxes[found], labels[found])
        ids = np.zeros(len(boxes), np.int64)
        ids[found] = self._ids[tracks]
        inside = is_large_enough(clip_boxes(expected, size), 1)
        seen = np.isin(np.arange(len(inside)), tracks)
        self._end(seen | (inside & (self._missed < np.minimum(self._seen, self.patience))), seen)
        new = ids == 0
        ids[new] = self._begin(boxes[new], labels[new])
        return ids

    def _possible_steps(self, time: float) -> list[float]:
        """For how long objects may have moved until the next frame, which has this time."""
        step, self._last = time - (time if self._last is None else self._last), time
        if step <= 0:  # the first frame, or a broken clock
            return [0.0]
        self._steps.append(step)
        usual = float(np.median(self._steps))
        return [step] if abs(step - usual) < 0.01 * usual else [step, usual]

    def _matches(self, clock: float, boxes: np.ndarray, labels: np.ndarray) -> Match:
        """What goes with what, if objects have moved until `clock`."""
        way = self._velocity * (clock - self._time)[:, None]
        expected = self._boxes + np.tile(way, 2)
        t, n = touching(expected, boxes)
        same = self._labels[t] == labels[n]
        overlap = np.where(same, 1.0, OTHER_CLASS) * paired_iou(expected[t], boxes[n])
        pairs = assigned(t, n, overlap, self.overlap)
        tracks, found, total = t[pairs], n[pairs], float(overlap[pairs].sum())
        larger, of_boxes = grown(expected), grown(boxes)
        t, n = touching(larger, of_boxes)
        left = (self._labels[t] == labels[n]) & ~np.isin(t, tracks) & ~np.isin(n, found)
        t, n = t[left], n[left]
        pairs = assigned(t, n, paired_iou(larger[t], of_boxes[n]), self.overlap)
        return Match(
            total, clock, expected, np.append(tracks, t[pairs]), np.append(found, n[pairs])
        )

    def _continue(self, tracks: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> None:
        """Move these tracks to where they were found."""
        passed = np.maximum(self._clock - self._time[tracks], 1e-6)[:, None]
        velocity = (centres(boxes) - centres(self._boxes[tracks])) / passed
        weight = np.where(self._seen[tracks] == 1, 1.0, self.smoothing)[:, None]
        self._velocity[tracks] += weight * (velocity - self._velocity[tracks])
        self._boxes[tracks], self._labels[tracks], self._time[tracks] = boxes, labels, self._clock
        self._seen[tracks] += 1

    def _end(self, keep: np.ndarray, seen: np.ndarray) -> None:
        """Drop all tracks but those to `keep`, and count the frames since each was seen."""
        self._missed = np.where(seen, 0, self._missed + 1)
        for name in ("_ids", "_labels", "_boxes", "_velocity", "_time", "_seen", "_missed"):
            setattr(self, name, getattr(self, name)[keep])

    def _begin(self, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Start a track per detection: their new numbers."""
        n = len(boxes)
        ids = np.arange(self.count + 1, self.count + n + 1)
        self.count += n
        self._ids = np.append(self._ids, ids)
        self._labels = np.append(self._labels, labels)
        self._boxes = np.concatenate([self._boxes, boxes])
        self._velocity = np.concatenate([self._velocity, np.zeros((n, 2))])
        self._time = np.append(self._time, np.full(n, self._clock))
        self._seen = np.append(self._seen, np.ones(n, np.int64))
        self._missed = np.append(self._missed, np.zeros(n, np.int64))
        return ids


def touching(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of boxes (T, 4) and (N, 4) that share an area, as indices (P,) and (P,), the first
    ones ascending. Only boxes whose left sides are near are compared, not all with all.
    """
    order = np.argsort(b[:, 0])
    lefts, widest = b[order, 0], (b[:, 2] - b[:, 0]).max(initial=0)
    first = np.searchsorted(lefts, a[:, 0] - widest)
    counts = np.maximum(np.searchsorted(lefts, a[:, 2]) - first, 0)
    rows = np.repeat(np.arange(len(a)), counts)
    begin = np.cumsum(counts) - counts  # of each row's pairs
    columns = order[np.arange(len(rows)) + np.repeat(first - begin, counts)]
    left, right = a[rows], b[columns]
    meet = ((left[:, 2:] > right[:, :2]) & (left[:, :2] < right[:, 2:])).all(axis=1)
    return rows[meet], columns[meet]


def assigned(
    rows: np.ndarray, columns: np.ndarray, overlap: np.ndarray, least: float
) -> np.ndarray:
    """Choose pairs so that each row and column occurs at most once and the sum of `overlap` is the
    largest possible.

    Each group of pairs that share rows or columns is solved by itself, because the work grows with
    the cube of its size.

    Args:
        rows, columns: (P,) of the pairs. overlap: (P,), above 0. least: what a chosen pair needs.

    Returns:
        Indices of pairs, ascending.
    """
    from scipy.optimize import linear_sum_assignment  # late: they are slow to load
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(rows):
        return rows
    above = rows.max() + 1  # columns come after the rows
    size = above + columns.max() + 1
    graph = coo_array((overlap, (rows, above + columns)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    chosen = []
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(part) == 1:
            chosen.append(part)
            continue
        i, j = (np.unique(side[part], return_inverse=True)[1] for side in (rows, columns))
        pair = np.full((i.max() + 1, j.max() + 1), -1)
        pair[i, j] = part
        best = pair[linear_sum_assignment(np.where(pair < 0, 0, overlap[pair]), maximize=True)]
        chosen.append(best[best >= 0])
    pairs = np.sort(np.concatenate(chosen))
    return pairs[overlap[pairs] >= least]


def centres(boxes: np.ndarray) -> np.ndarray:
    """The centres (N, 2) of boxes (N, 4)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def grown(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4), larger by a share of their size on each side."""
    margin = GROWN * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
