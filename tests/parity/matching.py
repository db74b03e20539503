"""Detections of two programs side by side: which have a partner.

Rounding moves a score or an overlap across a threshold now and then, and a detection comes or goes.
So whole images are compared by partners: the same label, nearly the same box, score and mask.
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


NEAR = 1e-3  # how near to an overlap's threshold rounding can turn a decision


def explain(
    i: int, ours: dict[str, Any], theirs: dict[str, Any], score: float
) -> dict[str, str | float]:
    """Why their detection i has no partner: its kind, the margin of the decision that rounding
    turned, and both as a text.

    Three thresholds decide about a detection: its rank among the best 100, a score above 0.05, and
    the overlap with a better one of its class (0.5), which may itself have come or gone. Decisions
    about proposals are further up, and show as a detection that moved or has no likeness.
    """
    box, label, value = (theirs[key][i] for key in ("boxes", "labels", "scores"))
    same = ours["labels"] == label
    overlap = np.where(same, box_iou(box[None], ours["boxes"])[0], 0)
    last = float(theirs["scores"].min())
    beside = np.abs(overlap[same & (ours["scores"] > value - score)] - 0.5)
    if len(overlap) and overlap.max() > 0.9:
        kind, margin = "moved", 1 - float(overlap.max())
        differs = abs(float(ours["scores"][overlap.argmax()] - value))
        mask = _mask_difference(ours, theirs, int(overlap.argmax()), i)
        text = f"moved, IoU {1 - margin:.4f}, score off by {differs:.1e}, mask {mask:.1e}"
    elif len(theirs["scores"]) >= 100 and value - last < 10 * score:
        kind, margin = "last of the best 100", value - last
        text = f"{kind} by {margin:.1e}"
    elif value - 0.05 < 10 * score:
        kind, margin = "barely above the least score", value - 0.05
        text = f"above the score of 0.05 by {margin:.1e}"
    elif beside.min(initial=1) < NEAR:
        kind, margin = "overlap with a better one", float(beside.min())
        text = f"overlap with a better one {margin:.1e} from 0.5"
    else:
        kind, margin = "proposals", 1 - float(overlap.max(initial=0))
        text = f"proposals were chosen otherwise (overlap at most {1 - margin:.3f})"
    about = f"label {label}, score {value:.4f}: "
    return {"kind": kind, "margin": float(margin), "text": about + text}


def _mask_difference(ours: dict[str, Any], theirs: dict[str, Any], i: int, j: int) -> float:
    return float(np.abs(ours["masks"][i] - theirs["masks"][j]).mean())


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max(initial=0))
