"""Compare one image's detections with its ground truth: which are right, what is wrong with the
rest, and which objects were missed. `evaluate --errors`, the explain page and the figures all use
it.

The kinds of wrong detections, their thresholds and their order are those of TIDE (Bolya et al.
2020, section 2). Detections are matched as in COCO, at IoU 0.5: in order of falling score, each
takes the free object of its class that it overlaps most. IoU below is with one object; "own"
objects are of the detection's class, "other" objects are not.

location     0.1 to 0.5 with an own object
class        0.5 or more with an other object
duplicate    0.5 or more with an own object that a detection with a higher score has taken
background   0.1 or less with every object
both         the rest: 0.1 to 0.5 with an other object, so class and location are wrong

A missed object has the first of these reasons that applies:

low score    a detection below the score threshold would have found it
merged       a detection overlaps it by 0.5 or more, but has taken another object
location     an own detection overlaps it by 0.1 to 0.5
class        a detection of another class overlaps it by 0.5 or more
both         a detection of another class overlaps it by 0.1 to 0.5
nothing      no detection overlaps it by 0.1

The highest scores choose first, so detections with lower scores affect neither what a detection
takes nor the kind of a wrong one: another score threshold only changes which are counted.

Not here: errors of COCO dicts and of whole sets (error_counts.py); the stage of the model at which
an object was lost (viz/lost_objects.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..detection.boxes import covered_shares
from ..ops.box_iou.op import box_iou

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
WRONG = ("location", "class", "duplicate", "background", "both")
MISSED = ("low score", "merged", "location", "class", "both", "nothing")


@dataclass(frozen=True)
class Wrong:
    """A wrong detection.

    Its index among the image's detections, the kind of error, the object that decided the kind (the
    one with the largest overlap; None for background), and the IoU with it.
    """

    detection: int
    kind: str
    truth: int | None
    iou: float


@dataclass(frozen=True)
class Missed:
    """A missed object: its index among the image's objects, and the reason."""

    truth: int
    reason: str


@dataclass(frozen=True)
class ImageErrors:
    """All errors of one image.

    Attributes:
        found: maps each object that was found to its detection, both by index.
        ignored: detections inside a crowd of their class, which are neither right nor wrong.
    """

    found: dict[int, int]
    wrong: list[Wrong]
    missed: list[Missed]
    ignored: list[int]

    def verdicts(self) -> dict[int, str]:
        """For each detection that was counted: "right", "crowd", or the kind of its error."""
        return (
            dict.fromkeys(self.found.values(), "right")
            | dict.fromkeys(self.ignored, "crowd")
            | {wrong.detection: wrong.kind for wrong in self.wrong}
        )


def judge(
    iou: np.ndarray, own: np.ndarray, crowd: np.ndarray, scores: np.ndarray, score: float = 0.0
) -> ImageErrors:
    """Which of D detections found which of G objects, and what is wrong with the rest.

    Args:
        iou: (D, G) overlap; for a crowd the share of the detection inside it, as in COCO.
        own: (D, G) bool, whether both have the same class.
        crowd: (G,) bool.
        scores: (D,).
        score: ignore detections below this score, except when explaining a missed object.
    """
    order = [int(d) for d in np.argsort(-scores, kind="stable") if scores[d] >= score]
    taken = _match(order, np.where(own & ~crowd, iou, 0))
    right = set(taken.values())
    spare = [d for d in order if d not in right]
    in_crowd = ((iou >= FOREGROUND_IOU) & own & crowd).any(axis=1)
    used = np.zeros(len(crowd), bool)
    used[list(taken)] = True
    wrong = [_wrong(d, iou[d] * ~crowd, own[d], used) for d in spare if not in_crowd[d]]
    missed = [
        Missed(g, _reason(iou[:, g], own[:, g], scores >= score))
        for g in range(len(crowd))
        if not crowd[g] and g not in taken
    ]
    return ImageErrors(taken, wrong, missed, [d for d in spare if in_crowd[d]])


def overlaps(boxes: np.ndarray, target: Mapping[str, Any]) -> np.ndarray:
    """IoU (D, G) of boxes (D, 4) and a target's boxes; for a crowd the share of the box inside it.

    Args:
        target: boxes (G, 4), and optionally `iscrowd` (G,).
    """
    iou = box_iou(boxes, target["boxes"])
    return np.where(crowds_of(target), covered_shares(boxes, target["boxes"]), iou)


def crowds_of(target: Mapping[str, Any]) -> np.ndarray:
    """(G,) bool, whether each object of a target is a crowd."""
    return np.asarray(target.get("iscrowd", np.zeros(len(target["labels"]))), bool)


def judge_target(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    target: Mapping[str, Any],
    score: float = 0.0,
) -> ImageErrors:
    """Like `judge`, from an image's boxes (D, 4), labels (D,) and scores (D,), and its target."""
    own = labels[:, None] == np.asarray(target["labels"])
    return judge(overlaps(boxes, target), own, crowds_of(target), scores, score)


def _match(order: Sequence[int], ious: np.ndarray) -> dict[int, int]:
    """Map each matched object to its detection; `ious` are 0 where no match is allowed."""
    taken: dict[int, int] = {}
    free = ious.copy()
    for d in order:
        if free.shape[1] and free[d].max() >= FOREGROUND_IOU:
            g = int(free[d].argmax())
            taken[g] = d
            free[:, g] = 0
    return taken


def _wrong(d: int, ious: np.ndarray, own: np.ndarray, taken: np.ndarray) -> Wrong:
    """What is wrong with detection d.

    Args:
        ious: (G,) its overlap with each object.
        own, taken: (G,) bool, whether the object has its class, and whether it has been found.
    """
    if not len(ious) or ious.max() <= 0:
        return Wrong(d, "background", None, 0.0)
    of_own, of_other = ious * own, ious * ~own
    used = of_own * taken
    if BACKGROUND_IOU <= of_own.max() <= FOREGROUND_IOU:
        kind, decisive = "location", of_own
    elif of_other.max() >= FOREGROUND_IOU:
        kind, decisive = "class", of_other
    elif used.max() >= FOREGROUND_IOU:
        kind, decisive = "duplicate", used
    elif ious.max() <= BACKGROUND_IOU:
        return Wrong(d, "background", None, float(ious.max()))
    else:
        kind, decisive = "both", of_other
    return Wrong(d, kind, int(decisive.argmax()), float(decisive.max()))


def _reason(ious: np.ndarray, own: np.ndarray, made: np.ndarray) -> str:
    """Why an object was missed.

    Args:
        ious: (D,) its overlap with each detection.
        own: (D,) bool, whether the detection has its class.
        made: (D,) bool, whether the detection's score is high enough.
    """

    def largest(of: np.ndarray) -> float:
        return ious[of].max(initial=0.0)

    if largest(own & ~made) >= FOREGROUND_IOU:
        return "low score"
    if largest(own & made) >= FOREGROUND_IOU:
        return "merged"
    if largest(own & made) >= BACKGROUND_IOU:
        return "location"
    if largest(~own & made) >= FOREGROUND_IOU:
        return "class"
    return "both" if largest(~own & made) >= BACKGROUND_IOU else "nothing"


def average_precision(scores: np.ndarray, right: np.ndarray, objects: int) -> float:
    """The area under the precision-recall curve; NaN without objects.

    Precision is first made non-increasing, as in COCO and in VOC since 2010, but without COCO's 101
    points.
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
        scores: (n,).
        right: (n,) bool.
        objects: how many there are to find.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(right[order])
    return found / max(objects, 1), found / np.arange(1, len(order) + 1)
