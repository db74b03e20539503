"""Explain in words at which stage of the model an object was lost, read from a trace.

Not here: which objects were missed, and what the detections near them are
(evaluation/detection_errors.py).
"""

from __future__ import annotations

import numpy as np

from ..evaluation.detection_errors import FOREGROUND_IOU
from ..ops.box_iou.op import box_iou
from ..tracing import Trace
from .derived import Outcome


def why_missed(t: Trace, g: int, image: int = 0, threshold: float = FOREGROUND_IOU) -> str:
    """At which stage object `g` was lost, in words: the first whose boxes no longer cover it.

    Args:
        t: a trace of `evaluate_losses`.
        threshold: the overlap from which a box covers an object.
    """
    target = t["transform.targets"][image]
    truth, label = target["boxes"][g : g + 1], int(target["labels"][g])

    def best(boxes: np.ndarray) -> tuple[int, float]:
        overlaps = box_iou(truth, boxes)[0]
        return (int(overlaps.argmax()), float(overlaps.max())) if len(overlaps) else (-1, 0.0)

    row, overlap = best(t["rpn.clipped"][image])
    if overlap < threshold:
        _, anchor = best(t["rpn.anchors"])
        return (
            f"no box of the first stage came near it: the best of the top anchors overlaps it by "
            f"{overlap:.2f} (the best of all anchors: {anchor:.2f})"
        )
    proposal, covered = best(t["rpn.proposals"][image])
    if covered < threshold:
        why = WHY_DROPPED[Outcome(int(t["rpn.outcomes"][image][row]))]
        return f"its best box (IoU {overlap:.2f}) did not become a proposal: {why}"
    return _lost_by_heads(t, image, truth, label, threshold, (proposal, covered))


WHY_DROPPED = {
    Outcome.KEPT: "it did",
    Outcome.SMALL: "too small",
    Outcome.LOW_SCORE: "its score was too low",
    Outcome.OVERLAP: "NMS preferred a box with a better score",
    Outcome.BEYOND_LIMIT: "enough other boxes had better scores",
}


def _lost_by_heads(
    t: Trace,
    image: int,
    truth: np.ndarray,
    label: int,
    threshold: float,
    nearest: tuple[int, float],
) -> str:
    rows = t["detect.candidates.rows"][image]
    same = t["detect.candidates.labels"][image] == label
    overlaps = box_iou(truth, t["detect.candidates.clipped"][image])[0]
    close = np.flatnonzero(same & (overlaps >= threshold))
    scores = t["detect.scores"][image]
    if len(close) == 0:
        proposal, covered = nearest
        named = int(scores[proposal].argmax())
        return (
            f"proposal {proposal} covers it (IoU {covered:.2f}), but its class scored only "
            f"{scores[proposal, label]:.3f}; "
            + ("it was taken for background" if named == 0 else f"class {named} scored highest")
            + (", or its box moved away" if (same & np.isin(rows, [proposal])).any() else "")
        )
    best = close[scores[rows[close], label].argmax()]
    outcome = Outcome(int(t["detect.candidates.outcomes"][image][best]))
    score = scores[rows[best], label]
    if outcome == Outcome.KEPT:
        return f"a box for it (score {score:.2f}) was found, but it counts for another object"
    return f"a box for it (score {score:.2f}) was dropped: {WHY_DROPPED[outcome]}"
