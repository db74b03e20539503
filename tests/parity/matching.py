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


def explain(i: int, ours: dict[str, Any], theirs: dict[str, Any], score: float) -> str:
    """Why their detection i has no partner, with the margin of the decision that rounding turned.

    Three thresholds decide about a detection: the overlap with a better one of its class (0.5), its
    rank among the best 100, and a score above 0.05. A fourth, the overlap of proposals (0.7), is
    further up and shows as a detection that moved.
    """
    box, label, value = (theirs[key][i] for key in ("boxes", "labels", "scores"))
    same = ours["labels"] == label
    overlap = np.where(same, box_iou(box[None], ours["boxes"])[0], 0)
    about = f"label {label}, score {value:.4f}"
    if len(overlap) and overlap.max() > 0.9:
        j = int(overlap.argmax())
        differs = abs(float(ours["scores"][j] - value))
        mask = _mask_difference(ours, theirs, j, i)
        return f"{about}: moved, IoU {overlap[j]:.4f}, score off by {differs:.1e}, mask {mask:.1e}"
    last = float(theirs["scores"].min())
    if len(theirs["scores"]) >= 100 and value - last < 10 * score:
        return f"{about}: last of the best 100 by {value - last:.1e}"
    if value - 0.05 < 10 * score:
        return f"{about}: above the score of 0.05 by {value - 0.05:.1e}"
    better = same & (ours["scores"] > value - score)
    if better.any():
        nearest = float(overlap[better][np.abs(overlap[better] - 0.5).argmin()])
        return (
            f"{about}: overlap {nearest:.4f} with a better one, {abs(nearest - 0.5):.1e} from 0.5"
        )
    return (
        f"{about}: a proposal was chosen otherwise (overlap at most {overlap.max(initial=0):.3f})"
    )


def _mask_difference(ours: dict[str, Any], theirs: dict[str, Any], i: int, j: int) -> float:
    return float(np.abs(ours["masks"][i] - theirs["masks"][j]).mean())


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max(initial=0))
