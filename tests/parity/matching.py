"""Detections of two programs side by side: which have a partner.

Rounding moves a score or an overlap across a threshold now and then, and a detection comes or goes.
So whole pictures are compared by partners: the same label, nearly the same box, score and mask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymaskrcnn.functional import box_iou

OVERLAP = 0.99  # IoU of partners is above this
MASK = 0.01  # mean absolute difference of partners' masks


class Match(NamedTuple):
    """Pairs of (ours, theirs), theirs without a partner, and the largest differences of pairs."""

    pairs: list[tuple[int, int]]
    lonely: list[int]
    box: float
    score: float
    mask: float


def match(ours: dict[str, Any], theirs: dict[str, Any], score: float) -> Match:
    """Find for each of their detections, best first, the nearest of ours that is free.

    Args:
        ours, theirs: boxes, labels, scores, masks (N, 1, H, W). score: the largest difference of
            partners' scores.
    """
    overlap = box_iou(theirs["boxes"], ours["boxes"])
    fits = (overlap > OVERLAP) & (theirs["labels"][:, None] == ours["labels"])
    fits &= np.abs(theirs["scores"][:, None] - ours["scores"]) <= score
    pairs: list[tuple[int, int]] = []
    lonely: list[int] = []
    for i in range(len(theirs["boxes"])):
        candidates = np.flatnonzero(fits[i])
        best = candidates[np.argmax(overlap[i, candidates])] if len(candidates) else -1
        if best >= 0 and _mask_difference(ours, theirs, best, i) <= MASK:
            pairs.append((int(best), i))
            fits[:, best] = False
        else:
            lonely.append(i)
    a, b = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    return Match(
        pairs,
        lonely,
        _largest(ours["boxes"][a], theirs["boxes"][b]),
        _largest(ours["scores"][a], theirs["scores"][b]),
        max((_mask_difference(ours, theirs, i, j) for i, j in pairs), default=0.0),
    )


def _mask_difference(ours: dict[str, Any], theirs: dict[str, Any], i: int, j: int) -> float:
    return float(np.abs(ours["masks"][i] - theirs["masks"][j]).mean())


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max(initial=0))
