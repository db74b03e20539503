"""Why a detection is wrong, and why an object was missed.

The kinds of wrong detections are those of TIDE (Bolya et al. 2020, section 2), and so are their
thresholds and the order in which they are tried. Detections are matched as COCO does it, at IoU
0.5: by falling score, each takes the free object of its class that it overlaps most. IoU below is
with one object; "own" objects are of the detection's class, "other" ones are not.

location     0.1 to 0.5 with an own object
class        0.5 or more with an other object
duplicate    0.5 or more with an own object that a surer detection has taken
background   0.1 or less with every object
both         what remains: 0.1 to 0.5 with an other object, so class and location are wrong

A missed object has the first of these reasons that applies:

low score    a detection below the score that is looked at would have found it
merged       a detection overlaps it by 0.5 or more, but has taken another object
location     an own detection overlaps it by 0.1 to 0.5
class        a detection of another class overlaps it by 0.5 or more
both         a detection of another class overlaps it by 0.1 to 0.5
nothing      no detection overlaps it by 0.1

Not here: pictures of them (viz/error_sheet.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
SCORE = 0.5  # what is less sure counts as not found, as in `predict`
WRONG = ("location", "class", "duplicate", "background", "both")
MISSED = ("low score", "merged", "location", "class", "both", "nothing")
FIELDS = {"bbox": "bbox", "segm": "segmentation"}
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Wrong:
    """A detection that is wrong: its index among those of its picture, the kind of error, the
    object that it overlaps most among those that decide the kind (None for background), and that
    IoU.
    """

    detection: int
    kind: str
    truth: int | None
    iou: float


@dataclass(frozen=True)
class Missed:
    """An object that was not found: its index among those of its picture, and why."""

    truth: int
    reason: str


@dataclass(frozen=True)
class PictureErrors:
    """All of one picture.

    - `found`: the detection of each object that has one, by the objects' index.
    - `ignored`: detections that lie in a crowd of their class; neither right nor wrong.
    """

    found: dict[int, int]
    wrong: list[Wrong]
    missed: list[Missed]
    ignored: list[int]


def picture_errors(
    annotations: Sequence[Entry], results: Sequence[Entry], kind: str, score: float = SCORE
) -> PictureErrors:
    """The errors of one picture's detections.

    - `annotations`, `results`: COCO dicts of that picture, as `results.py` makes them.
    - `kind`: "bbox" or "segm": which IoU.
    - `score`: detections below it are not made, except as reasons.
    """
    scores = np.array([result["score"] for result in results], float)
    labels = np.array([result["category_id"] for result in results], int)
    own = labels[:, None] == np.array([entry["category_id"] for entry in annotations], int)
    crowd = np.array([bool(entry["iscrowd"]) for entry in annotations], bool)
    ious = _ious(annotations, results, kind)  # (D, G)
    order = [d for d in np.argsort(-scores, kind="stable") if scores[d] >= score]
    taken = _match(order, np.where(own & ~crowd, ious, 0))
    spare = [d for d in order if d not in taken.values()]
    in_crowd = ((ious >= FOREGROUND_IOU) & own & crowd).any(axis=1)
    wrong = [_wrong(int(d), ious[d] * ~crowd, own[d], taken) for d in spare if not in_crowd[d]]
    missed = [
        Missed(g, _reason(ious[:, g], own[:, g], scores >= score))
        for g in range(len(annotations))
        if not crowd[g] and g not in taken
    ]
    return PictureErrors(taken, wrong, missed, [int(d) for d in spare if in_crowd[d]])


def count_errors(
    images: Sequence[Entry],
    annotations: Sequence[Entry],
    results: Sequence[Entry],
    classes: Sequence[str],
    score: float = SCORE,
) -> dict[str, Any]:
    """Errors of a whole set by class, for boxes and for masks.

    Returns {"score": score, "bbox": {class: {objects, found, missed, "missed_because": {reason:
    count}, "wrong": {kind: count}}}, "segm": the same for masks}. A wrong detection counts for the
    class that it claims, a missed object for its own.
    """
    tables: dict[str, Any] = {"score": score}
    for kind in FIELDS:
        table = {name: _empty_row() for name in classes}
        for truth, found in by_picture(images, annotations, results):
            _add(table, picture_errors(truth, found, kind, score), truth, found, classes)
        tables[kind] = table
    return tables


def by_picture(
    images: Sequence[Entry], annotations: Sequence[Entry], results: Sequence[Entry]
) -> list[tuple[list[Entry], list[Entry]]]:
    """Annotations and results of each picture, in the pictures' order and their own."""
    places: dict[Any, tuple[list[Entry], list[Entry]]] = {i["id"]: ([], []) for i in images}
    for side, entries in enumerate((annotations, results)):
        for entry in entries:
            places[entry["image_id"]][side].append(entry)
    return list(places.values())


def _ious(annotations: Sequence[Entry], results: Sequence[Entry], kind: str) -> np.ndarray:
    """(D, G); with a crowd it is the share of the detection that lies in it, as COCO has it."""
    if not annotations or not results:
        return np.zeros((len(results), len(annotations)))
    field = FIELDS[kind]
    crowd = [int(entry["iscrowd"]) for entry in annotations]
    return rle_tools.iou([r[field] for r in results], [a[field] for a in annotations], crowd)


def _match(order: Sequence[int], ious: np.ndarray) -> dict[int, int]:
    """The detection of each object that has one; `ious` are 0 where no match is allowed."""
    taken: dict[int, int] = {}
    free = ious.copy()
    for d in order:
        if free.shape[1] and free[d].max() >= FOREGROUND_IOU:
            g = int(free[d].argmax())
            taken[g] = int(d)
            free[:, g] = 0
    return taken


def _wrong(d: int, ious: np.ndarray, own: np.ndarray, taken: Mapping[int, int]) -> Wrong:
    """What is wrong with detection d, whose IoU with each object is (G,)."""
    if not len(ious) or ious.max() <= 0:
        return Wrong(d, "background", None, 0.0)
    of_own, of_other = ious * own, ious * ~own
    used = of_own * [g in taken for g in range(len(ious))]
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
    """Why an object was missed, of its IoU with each detection (D,), whether that is of its class,
    and whether its score is high enough.
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


def _empty_row() -> dict[str, Any]:
    return {
        "objects": 0,
        "found": 0,
        "missed": 0,
        "missed_because": dict.fromkeys(MISSED, 0),
        "wrong": dict.fromkeys(WRONG, 0),
    }


def _add(
    table: Mapping[str, dict[str, Any]],
    errors: PictureErrors,
    annotations: Sequence[Entry],
    results: Sequence[Entry],
    classes: Sequence[str],
) -> None:
    """Count one picture's errors in."""
    for g in errors.found:
        row = table[classes[annotations[g]["category_id"] - 1]]
        row["objects"] += 1
        row["found"] += 1
    for missed in errors.missed:
        row = table[classes[annotations[missed.truth]["category_id"] - 1]]
        row["objects"] += 1
        row["missed"] += 1
        row["missed_because"][missed.reason] += 1
    for wrong in errors.wrong:
        table[classes[results[wrong.detection]["category_id"] - 1]]["wrong"][wrong.kind] += 1
