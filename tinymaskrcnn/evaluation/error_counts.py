"""The errors of detections in the form of COCO dicts: for one image, and counted over a whole set.

detection_errors.py defines the errors and their kinds; here are overlaps of boxes and masks by
pycocotools, and tables.

Not here: images of the errors (viz/error_sheet.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import rle_tools
from .detection_errors import MISSED, WRONG, ImageErrors, judge

SCORE = 0.5  # detections with lower scores do not count, as in `predict`
FIELDS = {"bbox": "bbox", "segm": "segmentation"}
Entry = Mapping[str, Any]


def image_errors(
    annotations: Sequence[Entry], results: Sequence[Entry], kind: str, score: float = SCORE
) -> ImageErrors:
    """The errors of one image's detections.

    Args:
        annotations, results: COCO dicts of that image, as `results.py` makes them.
        kind: which IoU decides, "bbox" or "segm".
        score: ignore detections below this score, except when explaining a missed object.
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
    """The errors of a whole set by class, for boxes and for masks.

    A wrong detection counts for the class that it claims, a missed object for its own.

    Returns:
        {"score": score, "bbox": {class: {objects, found, missed, "missed_because": {reason: count},
        "wrong": {kind: count}}}, "segm": the same for masks}.
    """
    tables: dict[str, Any] = {"score": score}
    for kind in FIELDS:
        table = {name: _empty_row() for name in classes}
        for truth, found in by_image(images, annotations, results):
            _add(table, image_errors(truth, found, kind, score), truth, found, classes)
        tables[kind] = table
    return tables


def by_image(
    images: Sequence[Entry], annotations: Sequence[Entry], results: Sequence[Entry]
) -> list[tuple[list[Entry], list[Entry]]]:
    """The annotations and results of each image, in the order of the images."""
    places: dict[Any, tuple[list[Entry], list[Entry]]] = {i["id"]: ([], []) for i in images}
    for side, entries in enumerate((annotations, results)):
        for entry in entries:
            places[entry["image_id"]][side].append(entry)
    return list(places.values())


def _ious(annotations: Sequence[Entry], results: Sequence[Entry], kind: str) -> np.ndarray:
    """IoU (D, G); for a crowd it is the share of the detection inside it, as COCO defines it."""
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
    errors: ImageErrors,
    annotations: Sequence[Entry],
    results: Sequence[Entry],
    classes: Sequence[str],
) -> None:
    """Add one image's errors to the table."""
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
