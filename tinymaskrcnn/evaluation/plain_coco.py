"""COCO's comparison of detections with the ground truth, in NumPy: what the package needs of
pycocotools' `COCO` and `COCOeval`, where that is missing.

The names, the arguments and the results are pycocotools'. Not here: files, images, printing.

Source: the COCO API (https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import rle_tools

Entry = dict[str, Any]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
FIELDS = {"bbox": "bbox", "segm": "segmentation"}
NO_MATCH = -1


class COCO:
    """A data set, or results on its images: `dataset` is a dict as in COCO's files."""

    def __init__(self) -> None:
        self.dataset: dict[str, Any] = {}

    def createIndex(self) -> None:
        """Nothing: `COCOeval` sorts the annotations itself."""

    def loadRes(self, results: list[Entry]) -> COCO:
        """Results, each with a box or a mask, which gives their area."""
        loaded = COCO()
        loaded.dataset = {**self.dataset, "annotations": [_with_area(r) for r in results]}
        return loaded


def _with_area(result: Entry) -> Entry:
    if "bbox" in result:
        return {**result, "area": result["bbox"][2] * result["bbox"][3]}
    return {**result, "area": float(rle_tools.area(result["segmentation"]))}


@dataclass
class Params:
    """What is counted: at most so many detections per image and class, and objects of these areas,
    smallest and largest.
    """

    maxDets: list[int] = field(default_factory=lambda: [1, 10, 100])
    areaRng: list[list[float]] = field(
        default_factory=lambda: [[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]]
    )
    areaRngLbl: list[str] = field(default_factory=lambda: ["all", "small", "medium", "large"])


@dataclass(frozen=True)
class Matched:
    """One image and class, for objects of one range of areas; T thresholds, D detections from the
    highest score down.

    Args:
        scores: (D,). hits, ignored: (T, D) bool; what is ignored is neither right nor wrong.
        objects: how many there are to find.
    """

    scores: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    objects: int


class COCOeval:
    """The comparison: `evaluate`, then `accumulate`, then `summarize`.

    Args:
        truth, found: annotations and results. kind: "bbox" or "segm".

    Attributes:
        eval: "precision" (T, 101 recalls, classes, areas, limits) and "recall" without the second
            axis; -1 where there is nothing to find.
        stats: (12,) COCO's figures.
    """

    def __init__(self, truth: COCO, found: COCO, kind: str) -> None:
        self.params = Params()
        self.truth, self.found, self.kind = truth, found, kind
        self.labels = [category["id"] for category in truth.dataset["categories"]]
        self.matched: dict[tuple[Any, int], list[Matched]] = {}  # by label and index of the area
        self.eval: dict[str, np.ndarray] = {}
        self.stats = np.zeros(0)

    def evaluate(self) -> None:
        """Match the detections of each image and class with its objects."""
        truth, found = (_by_image_and_class(side.dataset) for side in (self.truth, self.found))
        images = sorted({image["id"] for image in self.truth.dataset["images"]})
        for label in self.labels:
            places = [(image, label) for image in images]
            both = [(truth[at], found[at]) for at in places if truth[at] or found[at]]
            tables = [self._table(*pair) for pair in both]
            for i, limits in enumerate(self.params.areaRng):
                self.matched[label, i] = [_matched(*table, limits) for table in tables]

    def _table(
        self, truth: list[Entry], found: list[Entry]
    ) -> tuple[list[Entry], list[Entry], np.ndarray]:
        """The objects, the best detections from the highest score down, and their IoU (D, G)."""
        order = np.argsort([-entry["score"] for entry in found], kind="stable")
        best = [found[i] for i in order[: self.params.maxDets[-1]]]
        shapes = ([entry[FIELDS[self.kind]] for entry in side] for side in (best, truth))
        iou = rle_tools.iou(*shapes, [int(entry["iscrowd"]) for entry in truth])
        return truth, best, np.reshape(iou, (len(best), len(truth)))

    def accumulate(self) -> None:
        """Precision at 101 recalls, and the highest recall, of each class, area and limit."""
        shape = len(self.labels), len(self.params.areaRng), len(self.params.maxDets)
        precision = np.full((len(THRESHOLDS), len(RECALLS), *shape), -1.0)
        recall = np.full((len(THRESHOLDS), *shape), -1.0)
        for k, a, m in np.ndindex(shape):
            parts = self.matched[self.labels[k], a]
            objects = sum(part.objects for part in parts)
            if objects:
                curves = _curves(parts, self.params.maxDets[m], objects)
                precision[:, :, k, a, m], recall[:, k, a, m] = curves
        self.eval = {"precision": precision, "recall": recall}

    def summarize(self) -> None:
        """COCO's twelve figures: AP, AP50, AP75, AP of three sizes, AR of three limits and of three
        sizes.
        """
        precision, recall = self.eval["precision"], self.eval["recall"]
        parts = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
        parts += [precision[..., size, -1] for size in (1, 2, 3)]
        parts += [recall[..., 0, limit] for limit in range(3)]
        parts += [recall[..., size, -1] for size in (1, 2, 3)]
        defined = [part[part > -1] for part in parts]
        self.stats = np.array([part.mean() if part.size else -1.0 for part in defined])


def _by_image_and_class(dataset: dict[str, Any]) -> defaultdict[tuple[Any, Any], list[Entry]]:
    entries = defaultdict(list)
    for entry in dataset["annotations"]:
        entries[entry["image_id"], entry["category_id"]].append(entry)
    return entries


def _matched(truth: list[Entry], found: list[Entry], iou: np.ndarray, limits: Any) -> Matched:
    """Give each detection, best first, the object that it overlaps most among those still free; one
    that is to be ignored (a crowd, or an object of another size) only if there is no other.

    Args:
        iou: (D, G). limits: the smallest and the largest area that count.
    """
    crowd = np.array([entry["iscrowd"] for entry in truth], bool)
    extra = crowd | _outside(truth, limits)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    free = np.ones((len(THRESHOLDS), len(truth)), bool)
    owner = np.full((len(THRESHOLDS), len(found)), NO_MATCH)
    for d, overlaps in enumerate(iou):
        fits = (overlaps >= least) & (free | crowd)  # (T, G)
        for kind in (extra, ~extra):  # what is found last replaces what was found before
            best = _last_largest(np.where(fits & kind, overlaps, -1.0))
            owner[:, d] = np.where((fits & kind).any(1), best, owner[:, d])
        rows = np.flatnonzero(owner[:, d] != NO_MATCH)
        free[rows, owner[rows, d]] = False
    hits = owner != NO_MATCH
    ignored = np.where(hits, np.append(extra, False)[owner], _outside(found, limits))
    scores = np.array([entry["score"] for entry in found])
    return Matched(scores, hits & ~ignored, ignored, int((~extra).sum()))


def _outside(entries: list[Entry], limits: Any) -> np.ndarray:
    areas = np.array([entry["area"] for entry in entries], float)
    return (areas < limits[0]) | (areas > limits[1])


def _last_largest(table: np.ndarray) -> Any:
    """In each row (T, G), the last of the largest."""
    if table.shape[1] == 0:
        return NO_MATCH
    return table.shape[1] - 1 - table[:, ::-1].argmax(1)


def _curves(parts: list[Matched], most: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, 101) and the highest recall (T,), of all images together."""
    order = np.argsort(-np.concatenate([part.scores[:most] for part in parts]), kind="stable")
    hits, ignored = (
        np.concatenate([getattr(part, name)[:, :most] for part in parts], axis=1)[:, order]
        for name in ("hits", "ignored")
    )
    right, wrong = np.cumsum(hits, 1, float), np.cumsum(~hits & ~ignored, 1, float)
    recall = right / objects
    precision = right / (right + wrong + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # from there on
    best = np.pad(best, ((0, 0), (0, 1)))  # 0 where a recall is not reached
    at = [row[np.searchsorted(r, RECALLS)] for row, r in zip(best, recall, strict=True)]
    return np.array(at), recall.max(axis=1, initial=0.0)
