"""In words, the stage of the model that lost an object, read from a trace.

Not here: which objects were missed, and what the detections near them are
(evaluation/detection_errors.py).
"""

from __future__ import annotations

import numpy as np

from ..evaluation.detection_errors import FOREGROUND_IOU
from ..ops.box_iou.op import box_iou
from ..tracing import Trace
from .derived import Outcome


def why_missed(t: Trace, g: int, picture: int = 0, threshold: float = FOREGROUND_IOU) -> str:
    """Name the stage that lost object `g`: the first whose boxes no longer hold it.

    Args:
        t: a trace of `evaluate_losses`. threshold: overlap from which a box holds an object.
    """
    target = t["transform.targets"][picture]
    truth, label = target["boxes"][g : g + 1], int(target["labels"][g])

    def best(boxes: np.ndarray) -> tuple[int, float]:
        overlaps = box_iou(truth, boxes)[0]
        return (int(overlaps.argmax()), float(overlaps.max())) if len(overlaps) else (-1, 0.0)

    row, overlap = best(t["rpn.clipped"][picture])
    if overlap < threshold:
        _, anchor = best(t["rpn.anchors"])
        return (
            f"no box of the first stage came near it: the best of the top anchors overlaps it by "
            f"{overlap:.2f} (the best of all anchors by {anchor:.2f})"
        )
    proposal, covered = best(t["rpn.proposals"][picture])
    if covered < threshold:
        why = WHY_DROPPED[Outcome(int(t["rpn.outcomes"][picture][row]))]
        return f"its best box (IoU {overlap:.2f}) did not become a proposal: {why}"
    return _lost_by_heads(t, picture, truth, label, threshold, (proposal, covered))


WHY_DROPPED = {
    Outcome.KEPT: "it did",
    Outcome.SMALL: "too small",
    Outcome.LOW_SCORE: "its score was too low",
    Outcome.OVERLAP: "NMS gave way to a better-scored box",
    Outcome.BEYOND_LIMIT: "enough other boxes had better scores",
}


def _lost_by_heads(
    t: Trace,
    picture: int,
    truth: np.ndarray,
    label: int,
    threshold: float,
    nearest: tuple[int, float],
) -> str:
    rows = t["detect.candidates.rows"][picture]
    same = t["detect.candidates.labels"][picture] == label
    overlaps = box_iou(truth, t["detect.candidates.clipped"][picture])[0]
    close = np.flatnonzero(same & (overlaps >= threshold))
    scores = t["detect.scores"][picture]
    if len(close) == 0:
        proposal, covered = nearest
        named = int(scores[proposal].argmax())
        return (
            f"proposal {proposal} covers it (IoU {covered:.2f}), but its class got only "
            f"{scores[proposal, label]:.3f}; "
            + ("it was taken for background" if named == 0 else f"class {named} got most")
            + (", or its box moved away" if (same & np.isin(rows, [proposal])).any() else "")
        )
    best = close[scores[rows[close], label].argmax()]
    outcome = Outcome(int(t["detect.candidates.outcomes"][picture][best]))
    score = scores[rows[best], label]
    if outcome == Outcome.KEPT:
        return f"a box for it (score {score:.2f}) was found, but stands for another object"
    return f"a box for it (score {score:.2f}) was dropped: {WHY_DROPPED[outcome]}"
