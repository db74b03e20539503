"""What a trace of one image with ground truth says, in the page's terms: matching, sampling,
losses, gradients and errors; and what the weights alone say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...detection.box_coder import BoxCoder
from ...detection.cropped_masks import CroppedMasks
from ...evaluation.detection_errors import average_precision, crowds_of, overlaps, precision_recall
from ...evaluation.error_counts import SCORE
from ...gpu.array import to_host
from ...models.mask_rcnn import MaskRCNN
from ...ops.activations.reference import sigmoid
from ...tracing import Trace
from .. import colours
from ..figures.canvas import histogram
from ..figures.proposals import recalls
from ..figures.regions import found_in
from ..figures.results import errors_of, scored_detections
from ..figures.training import mask_round_trip
from ..lost_objects import why_missed
from ..weight_figures import weight_statistics
from .collect import MAP_SIDE, as_levels
from .pack import Pack, number

CLOSEST = 12  # anchors per ground-truth object whose overlaps are in the page
CHOICES = 24  # ground-truth objects that the page offers (page/learning.js)
MASK_SIDE = 320  # largest side of a ground-truth mask in the page
BINS = 32


def collect_learning(
    pack: Pack, model: MaskRCNN, t: Trace, gradients: Trace | None
) -> dict[str, Any]:
    """Everything that needs ground truth, as JSON with references into the pack.

    Args:
        t: a trace of `evaluate_losses`.
        gradients: a trace with gradients of `losses` and `backward` on the same image; the
            parameters still hold their gradients.
    """
    return {
        "truth": _truth(pack, model, t),
        "anchors": _anchor_matching(pack, t),
        "regions": _region_matching(pack, model, t),
        "losses": {name: float(value) for name, value in t["losses"].items()},
        "mistakes": _mistakes(pack, t),
        "gradients": None if gradients is None else _gradients(pack, model, gradients),
    }


def _truth(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any]:
    target = t["transform.targets"][0]
    masks = CroppedMasks.of(target["masks"])
    step = -(-max(masks.image_size) // MASK_SIDE)
    shown = masks.resampled(*(np.arange(0, side, step) for side in masks.image_size))
    pixels = [np.zeros(0, bool), *(crop.ravel() > 0 for crop in shown.crops)]
    sizes = np.array([crop.shape for crop in shown.crops], int).reshape(-1, 2)
    size = t["roi.mask_goals"].shape[1]
    small, best = mask_round_trip(masks, target["boxes"], size)
    return {
        "boxes": pack.array(target["boxes"], "f4"),
        "labels": target["labels"].tolist(),
        "crowd": crowds_of(target).astype(int).tolist(),
        "maskSize": list(shown.image_size),
        "maskPixels": pack.array(np.concatenate(pixels), "u1"),  # pixels, crop after crop
        "maskCrops": pack.array(
            np.hstack([shown.corners, sizes]), "i4"
        ),  # top, left, rows, columns
        "small": pack.array(small * 255 + 0.5, "u1"),
        "roundTrip": best.tolist(),
        "areas": masks.areas().astype(int).tolist(),
    }


def _anchor_matching(pack: Pack, t: Trace) -> dict[str, Any]:
    iou, decisions = t["rpn.match.iou"][0], t["rpn.match.decisions"][0]
    indices, is_object = t["rpn.sample.indices"][0], t["rpn.sample.is_object"][0]
    columns = np.unique(np.argsort(-iou[:CHOICES], axis=1, kind="stable")[:, :CLOSEST])
    goals = BoxCoder().decode(t["rpn.sample.goals"][0], t["rpn.anchors"][indices[is_object]])
    box_terms = np.zeros(len(indices))
    box_terms[is_object] = t["rpn.terms.box"][0]
    return {
        "decisions": pack.array(decisions, "i2"),
        "best": pack.array(iou.max(axis=0, initial=0), "f2"),
        "closest": pack.array(columns, "i4"),
        "closestBoxes": pack.array(t["rpn.anchors"][columns], "f4"),
        "iou": pack.array(iou[:, columns], "f4"),
        "counts": [int((decisions >= 0).sum()), *(int((decisions == k).sum()) for k in (-1, -2))],
        "sample": pack.array(indices, "i4"),
        "sampleBoxes": pack.array(t["rpn.anchors"][indices], "f4"),
        "sampleObject": pack.array(is_object, "u1"),
        "sampleGoals": pack.array(goals[:, 0] if len(goals) else goals, "f4"),
        "sampleScores": pack.array(sigmoid(t["rpn.objectness"][0, indices]), "f4"),
        "objectnessTerms": pack.array(t["rpn.terms.objectness"][0], "f4"),
        "boxTerms": pack.array(box_terms, "f4"),
        "recalls": {name: number(value) for name, value in recalls(t).items()},
    }


def _region_matching(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any]:
    labels, boxes = t["roi.sample.labels"][0], t["roi.sample.boxes"][0]
    objects = np.flatnonzero(labels)
    box_terms, mask_terms = np.zeros(len(labels)), np.zeros(len(labels))
    box_terms[objects] = t["roi.terms.box"]
    mask_terms[objects] = t["roi.terms.mask"].sum(axis=(1, 2))
    goals = model.roi_heads.box_coder.decode(t["roi.sample.goals"][0], boxes)[:, 0]
    pixels = t["roi.terms.mask"]
    scores = np.exp(t["roi.class_logits"] - np.logaddexp.reduce(t["roi.class_logits"], 1)[:, None])
    return {
        "candidates": pack.array(t["roi.candidates"][0], "f4"),
        "decisions": pack.array(t["roi.match.decisions"][0], "i2"),
        "iou": pack.array(t["roi.match.iou"][0], "f2"),
        "sample": pack.array(t["roi.sample.indices"][0], "i4"),
        "boxes": pack.array(boxes, "f4"),
        "labels": labels.tolist(),
        "matches": pack.array(t["roi.sample.matches"][0], "i2"),
        "goals": pack.array(goals, "f4"),
        "unique": len(np.unique(boxes, axis=0)),
        "likeliest": scores.argmax(axis=1).tolist(),
        "trueScores": pack.array(scores[np.arange(len(labels)), labels], "f4"),
        "classifierTerms": pack.array(t["roi.terms.classifier"], "f4"),
        "boxTerms": pack.array(box_terms, "f4"),
        "maskTerms": pack.array(mask_terms, "f4"),
        "maskGoals": pack.array(t["roi.mask_goals"] * 255 + 0.5, "u1"),
        "maskProbabilities": pack.array(sigmoid(t["roi.mask_logits"]) * 255 + 0.5, "u1"),
        "maskPixels": pack.array(pixels / max(float(pixels.max(initial=0)), 1e-30) * 255, "u1"),
    }


def _mistakes(pack: Pack, t: Trace) -> dict[str, Any]:
    """What is right and wrong at score 0; the page leaves out what is below its own threshold."""
    errors, found, target = errors_of(t), found_in(t), t["transform.targets"][0]
    verdicts = errors.verdicts()
    matches = {d: g for g, d in errors.found.items()}
    order = range(len(found["scores"]))
    scores, right, objects = scored_detections(t)
    recall, precision = precision_recall(scores, right, objects)
    return {
        "iou": pack.array(overlaps(found["boxes"], target), "f4"),
        "matches": [matches.get(d, -1) for d in order],
        "kinds": [verdicts[d] for d in order],
        "lost": {miss.truth: why_missed(t, miss.truth) for miss in errors.missed},
        "recall": recall.tolist(),
        "precision": precision.tolist(),
        "ap50": number(average_precision(scores, right, objects)),
        "objects": objects,
        "score": SCORE,
        "colours": colours.ERRORS,
    }


def _gradients(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any]:
    rows = [
        {"name": name, "norm": norm(p.grad), "of": norm(p.data)}
        for name, p in model.named_parameters()
        if p.grad is not None
    ]
    kinds = {"body": "backbone.body", "pyramid": "backbone.pyramid"}
    return {
        "parameters": rows,
        "maps": {
            kind: [_gradient_map(pack, grad) for grad in t.gradient(name)]
            for kind, name in kinds.items()
        },
    }


def norm(array: Any) -> float:
    return float(np.linalg.norm(to_host(array)))


def _gradient_map(pack: Pack, gradient: np.ndarray | None) -> dict[str, Any] | None:
    if gradient is None:
        return None
    size = np.sqrt((gradient[0].astype(np.float64) ** 2).sum(axis=2))
    step = -(-max(size.shape) // MAP_SIDE)
    return {"size": list(gradient.shape[1:]), **as_levels(pack, size[None, ::step, ::step])}


def collect_weights(pack: Pack, state: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row for each array of the model: statistics, what is odd, a histogram."""
    rows = []
    for row in weight_statistics(state):
        counts, _ = histogram(state[row["name"]], BINS)
        cleaned = {k: number(v) if isinstance(v, float) else v for k, v in row.items()}
        rows.append({**cleaned, "histogram": pack.array(counts, "i4")})
    return rows
