"""`tm.trace`, and what it derives from recorded values when it is asked for: what became of each
box, loss terms, overlaps, RoIAlign's sampling points.

The model records what it has anyway. What only a person wants to know is computed here, from the
recorded values, settings included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any

import numpy as np

from .. import tracing
from ..detection.boxes import is_large_enough
from ..models import roi_heads, rpn
from ..ops.box_iou.op import box_iou
from ..ops.losses import reference
from ..ops.paste_masks.op import paste_boxes
from ..tracing import Derived, Trace

Arrays = Sequence[np.ndarray]  # one per image


def trace(gradients: bool = False) -> AbstractContextManager[Trace]:
    """Record every intermediate of what this thread runs inside this context, in training and at
    inference.

    Args:
        gradients: also keep the gradients that `backward`, called inside the context, brings to
            what was recorded.

    Returns:
        a context that gives the Trace; it stays usable after the context. Inside another trace only
        the inner one records.

    >>> with tm.trace() as t:
    ...     detections = model.detect([image])
    >>> t["rpn.proposals"][0].shape
    """
    return tracing.open_trace(gradients, DERIVED)


class Outcome(IntEnum):
    """What became of a box. The filters work in this order, and the first that objects decides."""

    KEPT = 0
    SMALL = 1  # a side shorter than the least size
    LOW_SCORE = 2  # a score below the threshold
    OVERLAP = 3  # a better box of the same group overlaps it more than NMS allows
    BEYOND_LIMIT = 4  # it passed everything, but enough better ones did too


def outcomes(large: np.ndarray, confident: np.ndarray, keep: np.ndarray, limit: int) -> np.ndarray:
    """The Outcome of each of one image's boxes: (m,) int64.

    Args:
        large, confident: (m,) bool, which boxes pass the filters of size and score.
        keep: the boxes that NMS leaves, best first. limit: how many of these may stay.
    """
    found = np.full(len(large), Outcome.OVERLAP, np.int64)
    found[keep[:limit]], found[keep[limit:]] = Outcome.KEPT, Outcome.BEYOND_LIMIT
    found[~confident] = Outcome.LOW_SCORE
    found[~large] = Outcome.SMALL
    return found


def suppressors(
    boxes: np.ndarray, groups: np.ndarray, found: np.ndarray, keep: np.ndarray, threshold: float
) -> np.ndarray:
    """For each of one image's boxes the one that suppressed it in NMS, -1 for none: (m,) int64.

    That is the best kept box which overlaps it by more than the threshold: NMS visits it first. NMS
    may have shifted the boxes apart before it compared them, and so rounded otherwise; where no
    overlap here is above the threshold for that reason, the largest counts.

    Args:
        boxes: (m, 4) clipped. groups: (m,) level or class: only within one do boxes compete.
        found: (m,) as from `outcomes`. keep: the boxes that NMS leaves, best first.
        threshold: of NMS.
    """
    winners = np.full(len(boxes), -1, np.int64)
    losers = np.flatnonzero(found == Outcome.OVERLAP)
    if len(losers):
        iou = box_iou(boxes[losers], boxes[keep])  # losers, kept
        iou[groups[losers][:, None] != groups[keep][None]] = -1
        above = iou > threshold
        first = np.where(above.any(axis=1), above.argmax(axis=1), iou.argmax(axis=1))
        winners[losers] = keep[first]
    return winners


def sampling_points(
    start: np.ndarray, end: np.ndarray, scale: np.ndarray, bins: int, samples: int
) -> np.ndarray:
    """Where RoIAlign looks along one axis (He et al. 2017, section 3; not `aligned`).

    Args:
        start, end: (R,) edges of the boxes in image pixels. scale: (R,) map pixels per image pixel.
        bins: of the crop. samples: per bin, above 0.

    Returns:
        (R, bins * samples) float32 in image pixels: map coordinates divided by the scale.
    """
    first = start * scale
    length = np.maximum(end * scale - first, 1)  # a region is at least one map pixel wide
    share = (np.arange(bins * samples, dtype=np.float32) + 0.5) / (bins * samples)
    return (first[:, None] + length[:, None] * share) / scale[:, None]


def cross_entropy_terms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each region adds to the loss: (R,) from logits (R, K) and labels (R,)."""
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return losses / max(len(labels), 1)


def binary_cross_entropy_terms(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What each logit adds to the mean, in the logits' shape."""
    targets = np.asarray(targets, logits.dtype)
    return reference.binary_cross_entropy(logits, targets, "none") / max(logits.size, 1)


def smooth_l1_terms(deltas: np.ndarray, goals: np.ndarray, beta: float) -> np.ndarray:
    """The four distances of each box together, undivided: (n,) from offsets (n, 4)."""
    return reference.smooth_l1(deltas, goals, beta, "none").sum(axis=1)


def _rpn_outcomes(
    boxes: Arrays, scores: np.ndarray, keep: Arrays, rows: Arrays, config: Mapping[str, Any]
) -> list[np.ndarray]:
    confident = scores >= config["score_thresh"]
    return [
        outcomes(is_large_enough(b, rpn.MIN_SIZE), c, k, len(r))
        for b, c, k, r in zip(boxes, confident, keep, rows, strict=True)
    ]


def _rpn_suppressors(
    boxes: Arrays,
    scores: np.ndarray,
    keep: Arrays,
    rows: Arrays,
    config: Mapping[str, Any],
    levels: np.ndarray,
) -> list[np.ndarray]:
    found = _rpn_outcomes(boxes, scores, keep, rows, config)
    return [
        suppressors(b, levels, f, k, config["nms_thresh"])
        for b, f, k in zip(boxes, found, keep, strict=True)
    ]


def _detect_outcomes(boxes: Arrays, keep: Arrays, kept: Arrays) -> list[np.ndarray]:
    """Of candidates, which all have a score above the threshold."""
    return [
        outcomes(is_large_enough(b, roi_heads.MIN_SIZE), np.ones(len(b), bool), k, len(n))
        for b, k, n in zip(boxes, keep, kept, strict=True)
    ]


def _detect_suppressors(
    boxes: Arrays, keep: Arrays, kept: Arrays, labels: Arrays, config: Mapping[str, Any]
) -> list[np.ndarray]:
    found = _detect_outcomes(boxes, keep, kept)
    agnostic = config["class_agnostic_nms"]
    return [
        suppressors(b, np.zeros_like(own) if agnostic else own, f, k, config["nms_thresh"])
        for b, own, f, k in zip(boxes, labels, found, keep, strict=True)
    ]


def _overlaps(targets: Sequence[Mapping[str, Any]], boxes: Arrays) -> list[np.ndarray]:
    """Of each image's ground truth, crowds left out, and its boxes (n, 4): (G, n)."""
    truth = (t["boxes"][~t["iscrowd"]] if "iscrowd" in t else t["boxes"] for t in targets)
    return [box_iou(own, b) for own, b in zip(truth, boxes, strict=True)]


def _anchor_overlaps(targets: Sequence[Mapping[str, Any]], anchors: np.ndarray) -> list[np.ndarray]:
    return _overlaps(targets, [anchors] * len(targets))


def _objectness_terms(logits: np.ndarray, indices: Arrays, is_object: Arrays) -> list[np.ndarray]:
    judged = np.concatenate([own[i] for own, i in zip(logits, indices, strict=True)])
    terms = binary_cross_entropy_terms(judged, np.concatenate(is_object))
    return np.split(terms, np.cumsum([len(i) for i in indices])[:-1])


def _rpn_box_terms(
    deltas: np.ndarray, indices: Arrays, is_object: Arrays, goals: Arrays
) -> list[np.ndarray]:
    count = max(sum(map(len, indices)), 1)
    return [
        smooth_l1_terms(own[i[o]], g, rpn.SMOOTH_L1_BETA) / count
        for own, i, o, g in zip(deltas, indices, is_object, goals, strict=True)
    ]


def _classifier_terms(logits: np.ndarray, labels: Arrays) -> np.ndarray:
    return cross_entropy_terms(logits, np.concatenate(labels))


def _box_terms(deltas: np.ndarray, labels: Arrays, goals: Arrays) -> np.ndarray:
    label = np.concatenate(labels)
    objects = np.flatnonzero(label)
    own = deltas.reshape(len(label), -1, 4)[objects, label[objects]]
    terms = smooth_l1_terms(own, np.concatenate(goals)[objects], roi_heads.SMOOTH_L1_BETA)
    return terms / max(len(label), 1)


def _points(pool: str) -> dict[str, Derived]:
    """The sampling points of one pool, along both axes."""

    def along(low: int, high: int) -> Derived:
        def make(
            rois: np.ndarray, levels: np.ndarray, scales: Any, samples: int, crops: np.ndarray
        ) -> np.ndarray:
            scale = np.array(scales, np.float32)[levels]
            return sampling_points(rois[:, low], rois[:, high], scale, crops.shape[1], samples)

        parts = ("rois", "levels", "scales", "sampling_ratio", "crops")
        return Derived(tuple(f"{pool}.{part}" for part in parts), make)

    return {f"{pool}.points_x": along(1, 3), f"{pool}.points_y": along(2, 4)}


def _names(prefix: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{part}" for part in parts)


_FIRST = _names("rpn", "clipped", "scores", "keep", "proposal_rows", "config")
_SECOND = ("detect.candidates.clipped", "detect.candidates.keep", "detect.kept")
_SAMPLE = _names("rpn.sample", "indices", "is_object")
DERIVED: Mapping[str, Derived] = {
    "rpn.outcomes": Derived(_FIRST, _rpn_outcomes),
    "rpn.suppressors": Derived((*_FIRST, "rpn.top_k_levels"), _rpn_suppressors),
    "rpn.match.iou": Derived(("transform.targets", "rpn.anchors"), _anchor_overlaps),
    "rpn.terms.objectness": Derived(("rpn.objectness", *_SAMPLE), _objectness_terms),
    "rpn.terms.box": Derived(("rpn.deltas", *_SAMPLE, "rpn.sample.goals"), _rpn_box_terms),
    "roi.match.iou": Derived(("transform.targets", "roi.candidates"), _overlaps),
    "roi.terms.classifier": Derived(("roi.class_logits", "roi.sample.labels"), _classifier_terms),
    "roi.terms.box": Derived(
        ("roi.box_deltas", "roi.sample.labels", "roi.sample.goals"), _box_terms
    ),
    "roi.terms.mask": Derived(("roi.mask_logits", "roi.mask_goals"), binary_cross_entropy_terms),
    "detect.candidates.outcomes": Derived(_SECOND, _detect_outcomes),
    "detect.candidates.suppressors": Derived(
        (*_SECOND, "detect.candidates.labels", "detect.config"), _detect_suppressors
    ),
    "detections.paste_boxes": Derived(
        ("detections.boxes", "detections.mask_probabilities"),
        lambda boxes, masks: [
            paste_boxes(b, m.shape[1]) for b, m in zip(boxes, masks, strict=True)
        ],
    ),
    **{
        name: points
        for pool in ("roi.box_pool", "roi.mask_pool", "detect.box_pool", "detect.mask_pool")
        for name, points in _points(pool).items()
    },
}
