"""One picture's detections against its ground truth: which is right, and why each mistake is one.

The kinds of false positives are those of Hoiem et al. 2012 ("Diagnosing error in object detectors")
and Bolya et al. 2020 (TIDE); why an object was missed is read from a trace of the stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..detection.boxes import covered_share
from ..detection.fates import Fate
from ..ops.box_iou.op import box_iou
from ..tracing import Trace

NEAR = 0.1  # overlap below which a detection has nothing to do with an object


@dataclass(frozen=True)
class Verdicts:
    """Of one picture.

    Args:
        iou: (n, G) overlap of detections and ground truth.
        matches: (n,) the ground truth that each detection found, -1 for none.
        reasons: (n,) "right", "crowd" (lies in a crowd region, not counted), or the kind of the
            mistake: "duplicate", "class", "location", "class and location", "background".
    """

    iou: np.ndarray
    matches: np.ndarray
    reasons: list[str]


def judge(
    boxes: np.ndarray,
    labels: np.ndarray,
    truth: dict[str, Any],
    threshold: float = 0.5,
) -> Verdicts:
    """Match detections, best first, each to the free object of its class that it overlaps most.

    Args:
        boxes: (n, 4), best first. labels: (n,). truth: a target: boxes (G, 4), labels (G,), and
            maybe `iscrowd` (G,). threshold: overlap from which an object is found.
    """
    iou = box_iou(boxes, truth["boxes"])
    crowd = truth.get("iscrowd", np.zeros(len(truth["labels"]), bool))
    free, matches, reasons = ~crowd, np.full(len(boxes), -1, np.int64), []
    same = labels[:, None] == truth["labels"][None]
    in_crowd = covered_share(boxes, truth["boxes"][crowd]) >= threshold
    for i in range(len(boxes)):
        open_to = np.where(same[i] & free, iou[i], -1)
        if open_to.max(initial=-1) >= threshold:
            matches[i] = open_to.argmax()
            free[matches[i]] = False
            reasons.append("right")
        else:
            reasons.append("crowd" if in_crowd[i] else _mistake(iou[i], same[i], crowd, threshold))
    return Verdicts(iou, matches, reasons)


def _mistake(iou: np.ndarray, same: np.ndarray, crowd: np.ndarray, threshold: float) -> str:
    own = iou[same & ~crowd].max(initial=0)
    other = iou[~same & ~crowd].max(initial=0)
    if own >= threshold:
        return "duplicate"
    if other >= threshold:
        return "class"
    if own >= NEAR:
        return "location"
    return "class and location" if other >= NEAR else "background"


def average_precision(scores: np.ndarray, right: np.ndarray, objects: int) -> float:
    """The area under the precision-recall curve, precision made falling (as COCO and VOC 2010 on,
    without COCO's 101 points). NaN without objects.
    """
    recall, precision = precision_recall(scores, right, objects)
    if objects == 0:
        return float("nan")
    steps = np.diff(recall, prepend=0.0)
    return float((steps * np.maximum.accumulate(precision[::-1])[::-1]).sum())


def precision_recall(
    scores: np.ndarray, right: np.ndarray, objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision (n,) of the best 1, 2, ... n detections.

    Args:
        scores: (n,). right: (n,) bool. objects: how many there are to find.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(right[order])
    return found / max(objects, 1), found / np.arange(1, len(order) + 1)


def why_missed(
    t: Trace, g: int, verdicts: Verdicts, picture: int = 0, threshold: float = 0.5
) -> str:
    """In words, at which stage object `g` was lost: the first whose boxes do not hold it any more.

    Args:
        t: a trace of `evaluate_losses` on that picture. verdicts: of its detections.
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
        why = _FATES[Fate(int(t["rpn.fates"][picture][row]))]
        return f"its best box (IoU {overlap:.2f}) did not become a proposal: {why}"
    return _lost_by_heads(t, picture, truth, label, verdicts, threshold, (proposal, covered))


_FATES = {
    Fate.KEPT: "it did",
    Fate.SMALL: "too small",
    Fate.UNSURE: "its score was too low",
    Fate.OVERLAP: "NMS gave way to a better-scored box",
    Fate.RANK: "enough other boxes had better scores",
}


def _lost_by_heads(
    t: Trace,
    picture: int,
    truth: np.ndarray,
    label: int,
    verdicts: Verdicts,
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
    fate = Fate(int(t["detect.candidates.fates"][picture][best]))
    score = scores[rows[best], label]
    if fate == Fate.KEPT:
        return f"a box for it (score {score:.2f}) was found, but stands for another object"
    return f"a box for it (score {score:.2f}) was dropped: {_FATES[fate]}"
