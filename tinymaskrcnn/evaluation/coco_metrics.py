"""COCO's twelve figures for boxes and for masks, and the first two of them per class.

The matching and the averages are pycocotools'. This file gives it what it needs: annotation ids
from 1 (it takes 0 for "no match"), the ground truth's own area for both kinds, and boxes and masks
of the detections apart (a result with both would have its box's area in the mask figures).
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FIGURES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
AREAS = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
KINDS = {"bbox": "bbox", "segm": "segmentation"}  # kind of figure -> the field of a result it is of


def coco_metrics(
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The figures of `results` against `annotations`, category k being `classes[k - 1]`.

    - `images`: dicts with id, height and width. `annotations`, `results`: as `results.py` makes
      them, of these images.

    Returns {"bbox": the twelve FIGURES, "segm": the same for masks, "per_class": {name: objects,
    bbox_AP, bbox_AP50, segm_AP, segm_AP50}, "undefined": {figure: why it is -1}}. A class is -1
    where it has no objects.
    """
    truth = index(images, annotations, classes)
    scores = {kind: compare(truth, results, kind) for kind in KINDS}
    figures = {
        kind: dict(zip(FIGURES, map(float, score.stats), strict=True))
        for kind, score in scores.items()
    }
    return {
        **figures,
        "per_class": per_class(scores, annotations, classes),
        "undefined": undefined(annotations),
    }


def index(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], classes: Sequence[str]
) -> COCO:
    """The annotations as pycocotools wants them."""
    coco = COCO()
    coco.dataset = {
        "images": list(images),
        "annotations": [{**entry, "id": id_} for id_, entry in enumerate(annotations, start=1)],
        "categories": [{"id": id_, "name": name} for id_, name in enumerate(classes, start=1)],
    }
    with quiet():
        coco.createIndex()
    return coco


def compare(truth: COCO, results: Sequence[dict[str, Any]], kind: str) -> COCOeval:
    """pycocotools' comparison of the results' boxes or masks with the truth."""
    fields = ("image_id", "category_id", "score", KINDS[kind])
    found = [{field: result[field] for field in fields} for result in results]
    with quiet():
        # loadRes cannot take an empty list
        dataset = truth.dataset
        loaded = truth.loadRes(found) if found else index(dataset["images"], [], [])
        evaluation = COCOeval(truth, loaded, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def per_class(
    scores: dict[str, COCOeval], annotations: Sequence[dict[str, Any]], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """AP and AP50 of each class, and how many objects they stand on; -1 where there is none."""
    table: dict[str, dict[str, float]] = {}
    for label, name in enumerate(classes, start=1):
        row: dict[str, float] = {"objects": len(not_crowd(annotations, label))}
        for kind, score in scores.items():
            # (thresholds, recalls, classes, areas, maximum detections): all areas, 100 detections
            precision = score.eval["precision"][:, :, label - 1, 0, -1]
            row[f"{kind}_AP"], row[f"{kind}_AP50"] = (
                defined_mean(precision),
                defined_mean(precision[0]),
            )
        table[name] = row
    return table


def defined_mean(precision: Any) -> float:
    """The mean of the cells that are defined, -1 without any."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def undefined(annotations: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Why figures are -1: there is nothing of that kind that could be found."""
    areas = [entry["area"] for entry in not_crowd(annotations)]
    if not areas:
        return dict.fromkeys(FIGURES, "no ground truth at all")
    reasons: dict[str, str] = {}
    for suffix, (low, high) in AREAS.items():
        if not any(low <= area <= high for area in areas):
            span = f"{low} pixels or more" if suffix == "l" else f"{low} to {high} pixels"
            reasons |= {f"A{x}{suffix}": f"no ground truth with an area of {span}" for x in "PR"}
    return reasons


def not_crowd(
    annotations: Sequence[dict[str, Any]], label: int | None = None
) -> list[dict[str, Any]]:
    """The annotations that a detection can match, of one label or of all."""
    return [
        entry
        for entry in annotations
        if not entry["iscrowd"] and label in (None, entry["category_id"])
    ]


def quiet() -> contextlib.redirect_stdout:
    """pycocotools prints its progress; nobody asked for it."""
    return contextlib.redirect_stdout(io.StringIO())
