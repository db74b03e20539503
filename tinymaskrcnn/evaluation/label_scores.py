"""Scores of label images, as StarDist's papers and the Data Science Bowl of 2018 count: per IoU
threshold TP / (TP + FP + FN), where each pixel belongs to one object at most.

Sources: Caicedo et al., Nucleus segmentation across imaging experiments, 2019; Schmidt et al., Cell
Detection with Star-convex Polygons, 2018 (https://arxiv.org/abs/1806.03535).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.run_lengths import masks_from_rles
from ..detection.boxes import Size
from .error_counts import Entry, by_image
from .evaluator import Findings

THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)  # np.arange(0.5, 1, 0.05) is off by a last digit
SCORES = tuple(np.arange(1, 10) / 10)
RESAMPLED = 2000  # how often the images are drawn anew for an interval


@dataclass(frozen=True)
class LabelScores:
    """Counts per image and threshold, (N, T) int: objects found, false ones, missed ones."""

    right: np.ndarray
    false: np.ndarray
    missed: np.ndarray

    def pooled(self) -> np.ndarray:
        """TP / (TP + FP + FN) per threshold, (T,), counted over all images (StarDist)."""
        return _ratio(self.right.sum(0), self.false.sum(0), self.missed.sum(0))

    def per_image(self) -> np.ndarray:
        """The mean over the thresholds per image, (N,). Its mean is the Bowl's metric. An image in
        which nothing is and nothing was found counts 1.
        """
        return _ratio(self.right, self.false, self.missed).mean(1)

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """The middle 95 % of the Bowl's metric, if the images are drawn anew with replacement."""
        values = self.per_image()
        drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLED, len(values)))
        low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
        return float(low), float(high)


def label_figures(found: Findings, score: float) -> dict[str, Any]:
    """What `evaluate --labels` reports.

    Returns:
        {"score": score, "pooled": {IoU: TP / (TP + FP + FN) over all images}, "mean": the Bowl's
        metric, "interval": of it, 95 %, "per_score": {score: the Bowl's metric at that score}}.
    """
    counts = label_scores(found, score)
    pooled = zip(THRESHOLDS, counts.pooled().tolist(), strict=True)
    others = {s: float(label_scores(found, s).per_image().mean()) for s in SCORES}
    return {
        "score": score,
        "pooled": {f"{threshold:g}": value for threshold, value in pooled},
        "mean": float(counts.per_image().mean()),
        "interval": counts.interval(),
        "per_score": {f"{score:g}": value for score, value in others.items()},
    }


def label_scores(
    found: Findings, score: float, thresholds: Sequence[float] = THRESHOLDS
) -> LabelScores:
    """Compare label images. Where objects overlap, the better score is on top, and what is left of
    the other counts; classes do not matter, and crowds count as objects.

    Args:
        score: detections below do not count.
        thresholds: an object is found by a detection of at least this IoU with it.
    """
    counts = []
    sizes = [(image["height"], image["width"]) for image in found.images]
    images = by_image(found.images, found.annotations, found.results)
    for size, (truth, results) in zip(sizes, images, strict=True):
        kept = sorted((r for r in results if r["score"] >= score), key=lambda r: -r["score"])
        overlaps = label_overlaps(labels_of(truth, size), labels_of(kept, size))
        right = np.array([matches(overlaps >= threshold) for threshold in thresholds])
        counts.append((right, overlaps.shape[1] - right, overlaps.shape[0] - right))
    right, false, missed = np.array(counts).transpose(1, 0, 2)
    return LabelScores(right, false, missed)


def labels_of(entries: Sequence[Entry], size: Size) -> np.ndarray:
    """The label image (H, W) of COCO dicts, best first: that one is on top."""
    return masks_from_rles([entry["segmentation"] for entry in entries], size).label_image()


def label_overlaps(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """IoU (G, D) of the objects that can be seen in two label images of one size."""
    first, a = np.unique(truth, return_inverse=True)
    second, b = np.unique(found, return_inverse=True)
    shape = len(first), len(second)
    shared = np.bincount(a.ravel() * shape[1] + b.ravel(), minlength=shape[0] * shape[1])
    shared = shared.reshape(shape)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    return (shared / union)[int(first[0] == 0) :, int(second[0] == 0) :]


def matches(allowed: np.ndarray) -> int:
    """How many pairs one-to-one matching makes of the allowed ones, (G, D) bool."""
    from scipy.optimize import linear_sum_assignment  # late: it is slow to load

    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return int(allowed[rows, columns].sum())


def _ratio(right: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    everything = right + false + missed
    return np.where(everything, right / np.maximum(everything, 1), 1.0)
