"""COCO's twelve metrics for boxes and masks, AP per class, and AP beyond 100 detections.

Matching and averaging are pycocotools', or, where that is missing, those of plain_coco.py. This
file prepares their input: annotation ids start at 1 (pycocotools takes 0 for "no match"), both
kinds use the ground truth's own area, and boxes and masks of the detections are compared separately
(a result with both would use its box's area in the mask metrics).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import plain_coco

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

FIGURES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
AREAS = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
CAP = 100  # detections of each class that COCO counts per image
KINDS = {"bbox": "bbox", "segm": "segmentation"}  # kind of metric -> field of a result


def coco_metrics(
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The metrics of `results` against `annotations`, where category k is `classes[k - 1]`.

    Args:
        images: dicts with id, height and width.
        annotations, results: of these images, as `results.py` makes them.

    Returns:
        {"bbox": the twelve FIGURES, "segm": the same for masks, "per_class": {name: objects,
        bbox_AP, bbox_AP50, segm_AP, segm_AP50}, "undefined": {figure: why it is -1}, "uncapped":
        what `uncapped` returns}. A class without objects has -1.
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
        "uncapped": uncapped(truth, scores, annotations, results),
    }


def index(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], classes: Sequence[str]
) -> COCO:
    """The annotations in the form that pycocotools wants."""
    coco = _tool("COCO")()
    coco.dataset = {
        "images": list(images),
        "annotations": [{**entry, "id": id_} for id_, entry in enumerate(annotations, start=1)],
        "categories": [{"id": id_, "name": name} for id_, name in enumerate(classes, start=1)],
    }
    with quiet():
        coco.createIndex()
    return coco


def compare(
    truth: COCO, results: Sequence[dict[str, Any]], kind: str, most: int | None = None
) -> COCOeval:
    """pycocotools' comparison of the results' boxes or masks with the ground truth.

    Args:
        most: how many detections count per image and class, for objects of any size. By default
            COCO's own limits and size ranges apply, and the twelve metrics are computed.
    """
    fields = ("image_id", "category_id", "score", KINDS[kind])
    found = [{field: result[field] for field in fields} for result in results]
    with quiet():
        # loadRes cannot take an empty list
        dataset = truth.dataset
        loaded = truth.loadRes(found) if found else index(dataset["images"], [], [])
        evaluation = _tool("COCOeval")(truth, loaded, kind)
        evaluation.evaluateImg = partial(match_image, evaluation)  # plain_coco has its own
        if most is not None:
            evaluation.params.maxDets = [most]
            evaluation.params.areaRng = evaluation.params.areaRng[:1]
            evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        evaluation.accumulate()
        if most is None:
            evaluation.summarize()
    return evaluation


def _tool(name: str) -> Any:
    """One of pycocotools' classes; imported late, because predicting needs none."""
    try:
        return getattr(importlib.import_module(f"pycocotools.{name.lower()}"), name)
    except ModuleNotFoundError:
        return getattr(plain_coco, name)


def match_image(
    evaluation: COCOeval, image: Any, label: Any, area: Sequence[float], most: int
) -> dict[str, Any] | None:
    """What pycocotools' `evaluateImg` returns, without comparing each detection with each object at
    each threshold: only objects that it overlaps by the lowest threshold are looked at. In an image
    of 2,000 objects those are one or two.

    Args:
        area: smallest and largest; objects beyond are ignored. most: how many detections count.
    """
    truth, found = evaluation._gts[image, label], evaluation._dts[image, label]
    if not truth and not found:
        return None
    for entry in truth:
        entry["_ignore"] = int(entry["ignore"] or not area[0] <= entry["area"] <= area[1])
    order = np.argsort([entry["_ignore"] for entry in truth], kind="stable")
    truth = [truth[i] for i in order]
    best = np.argsort([-entry["score"] for entry in found], kind="stable")[:most]
    found = [found[i] for i in best]
    thresholds, overlaps = evaluation.params.iouThrs, evaluation.ious[image, label]
    ignored = np.array([entry["_ignore"] for entry in truth])
    crowd = [bool(entry["iscrowd"]) for entry in truth]
    of_truth = np.zeros((len(thresholds), len(truth)))
    of_found = np.zeros((len(thresholds), len(found)))
    ignores = np.zeros_like(of_found)
    near = np.array(overlaps)[: len(found), order] if len(overlaps) else np.zeros((0, 0))
    rows = [
        [(g, row[g]) for g in np.flatnonzero(row >= np.min(thresholds)).tolist()] for row in near
    ]
    for t, threshold in enumerate(thresholds):
        for d, row in enumerate(rows):
            g = _best_match(row, min(threshold, 1 - 1e-10), of_truth[t], crowd, ignored)
            if g is not None:
                ignores[t, d] = ignored[g]
                of_found[t, d], of_truth[t, g] = truth[g]["id"], found[d]["id"]
    outside = np.array([not area[0] <= entry["area"] <= area[1] for entry in found], bool)
    return {
        "image_id": image,
        "category_id": label,
        "aRng": area,
        "maxDet": most,
        "dtIds": [entry["id"] for entry in found],
        "gtIds": [entry["id"] for entry in truth],
        "dtMatches": of_found,
        "gtMatches": of_truth,
        "dtScores": [entry["score"] for entry in found],
        "gtIgnore": ignored,
        "dtIgnore": (ignores > 0) | ((of_found == 0) & outside),
    }


def _best_match(
    row: Sequence[tuple[int, float]],
    least: float,
    taken: np.ndarray,
    crowd: Sequence[bool],
    ignored: np.ndarray,
) -> int | None:
    """The free object that a detection overlaps most, by `least` or more; of equal ones the last.
    One that counts goes before all that are ignored, which come last.

    Args:
        row: objects near the detection, each with its overlap.
    """
    best = None
    for g, overlap in row:
        if taken[g] > 0 and not crowd[g]:
            continue
        if best is not None and not ignored[best] and ignored[g]:
            break
        if overlap >= least:
            best, least = g, overlap
    return best


def uncapped(
    truth: COCO,
    scores: dict[str, COCOeval],
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The metrics that COCO's limit hides.

    Returns:
        {"images": how many have more than 100 objects of a class, "AP_at_most": the AP of perfect
        results under that limit, "bbox": {AP, AP50, AP75, AR} of all detections, "segm": the same
        for masks}.
    """
    objects = per_image_and_class(not_crowd(annotations))
    over = {image for (image, _), count in objects.items() if count > CAP}
    most = max(per_image_and_class(results).values(), default=0)
    all_scores = scores
    if most > CAP:
        all_scores = {kind: compare(truth, results, kind, most) for kind in KINDS}
    figures = {}
    for kind, score in all_scores.items():
        precision, recall = (score.eval[name][..., 0, -1] for name in ("precision", "recall"))
        parts = precision, precision[0], precision[5], recall  # at thresholds 0.5, 0.55, ...
        figures[kind] = dict(
            zip(("AP", "AP50", "AP75", "AR"), map(defined_mean, parts), strict=True)
        )
    return {"images": len(over), "AP_at_most": highest_ap(objects), **figures}


def per_image_and_class(entries: Iterable[dict[str, Any]]) -> Counter[tuple[Any, Any]]:
    """How many entries there are for each image and class."""
    return Counter((entry["image_id"], entry["category_id"]) for entry in entries)


def highest_ap(objects: Counter[tuple[Any, Any]]) -> float:
    """COCO's AP of perfect results; -1 without objects.

    For each class it is the share of the 101 recalls that can be reached with 100 detections per
    image.
    """
    reached: Counter[Any] = Counter()
    total: Counter[Any] = Counter()
    for (_, label), count in objects.items():
        reached[label] += min(count, CAP)
        total[label] += count
    recalls = np.linspace(0, 1, 101)
    shares = [np.mean(recalls <= reached[label] / total[label]) for label in total]
    return float(np.mean(shares)) if shares else -1.0


def per_class(
    scores: dict[str, COCOeval], annotations: Sequence[dict[str, Any]], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """AP and AP50 of each class, and its number of objects; -1 for a class without objects."""
    table: dict[str, dict[str, float]] = {}
    objects = Counter(entry["category_id"] for entry in not_crowd(annotations))
    for label, name in enumerate(classes, start=1):
        row: dict[str, float] = {"objects": objects[label]}
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
    """The mean of the defined cells; -1 if there are none."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def undefined(annotations: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Why metrics are -1: there are no objects of that kind to find."""
    areas = [entry["area"] for entry in not_crowd(annotations)]
    if not areas:
        return dict.fromkeys(FIGURES, "no ground truth at all")
    reasons: dict[str, str] = {}
    for suffix, (low, high) in AREAS.items():
        if not any(low <= area <= high for area in areas):
            span = f"{low} pixels or more" if suffix == "l" else f"{low} to {high} pixels"
            reasons |= {f"A{x}{suffix}": f"no ground truth with an area of {span}" for x in "PR"}
    return reasons


def not_crowd(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations that a detection can match."""
    return [entry for entry in annotations if not entry["iscrowd"]]


def quiet() -> contextlib.redirect_stdout:
    """Hides the progress that pycocotools prints."""
    return contextlib.redirect_stdout(io.StringIO())
