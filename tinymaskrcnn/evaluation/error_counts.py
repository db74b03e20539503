"""The errors of detections that stand as COCO dicts: of one picture, and counted over a whole set.

What an error is, and of which kind, detection_errors.py says; here are overlaps of boxes and masks
by pycocotools, and tables. Not here: pictures of them (viz/error_sheet.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from .detection_errors import MISSED, WRONG, PictureErrors, judge

SCORE = 0.5  # what is less sure counts as not found, as in `predict`
FIELDS = {"bbox": "bbox", "segm": "segmentation"}
Entry = Mapping[str, Any]


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
    return judge(_ious(annotations, results, kind), own, crowd, scores, score)


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
