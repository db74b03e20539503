"""What a trace of one image says, in the page's terms: the stages of inference.

Boxes are in pixels of the resized image. Where the page recomputes (score and NMS thresholds), it
gets every candidate above a low score and the same float32 numbers that the model used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autograd import no_grad
from ...detection.anchors import cell_anchors
from ...detection.boxes import clip_boxes, is_large_enough, scale_boxes
from ...models.mask_rcnn import MaskRCNN
from ...models.roi_heads import MIN_SIZE
from ...ops.activations.reference import sigmoid
from ...ops.paste_masks.op import paste_boxes
from ...tensor import Tensor
from ...tracing import Trace
from ..draw import as_bytes
from ..figures.canvas import histogram, image_of
from .layers import first_layer, pyramid_layers
from .pack import Pack

FLOOR = 0.01  # candidates below this score are not in the page
MASKS = 300  # candidates whose masks are in the page; the model's own detections come first
CLASS_MASKS = 12  # detections whose masks of all classes are in the page
CROPS = 8  # channels of the crops that are shown
MAP_SIDE, CHANNELS = 128, 8  # a map's longest side, and the channels shown
PHOTO_SIDE = 1280


def collect(
    pack: Pack, model: MaskRCNN, t: Trace, image: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Everything about inference, as JSON with references into the pack.

    Args:
        t: a trace of `model.detect([image])` or `evaluate_losses`.
        image: (C, H, W) float32 in 0..1.
    """
    return {
        "model": _model(model, t, classes),
        "input": _input(pack, t, image),
        "maps": {
            kind: [_levels(pack, level[0]) for level in t[name]]
            for kind, name in (
                ("body", "backbone.body"),
                ("laterals", "backbone.laterals"),
                ("merged", "backbone.merged"),
                ("pyramid", "backbone.pyramid"),
                ("hidden", "rpn.hidden"),
            )
        },
        "stem": first_layer(pack, model, CHANNELS),
        "sums": pyramid_layers(pack, model, t),
        "anchors": levels_of_anchors(pack, model, t),
        "rpn": _proposals(pack, t),
        "regions": _regions(pack, model, t),
        "candidates": _candidates(pack, model, t),
    }


def _model(model: MaskRCNN, t: Trace, classes: Sequence[str]) -> dict[str, Any]:
    rpn, roi = model.rpn.config, model.roi_heads.config
    room = model.transform.room(t["transform.sizes"])
    per_level, proposals = model.rpn.limits(room)
    pool: Any = model.roi_heads.box_pool
    return {
        "name": model.config["builder"],
        "classes": list(classes),
        "parameters": int(sum(p.size for p in model.parameters())),
        "rpn": {
            "perLevel": per_level,
            "limit": proposals,
            "nms": rpn.nms_thresh,
            "score": rpn.score_thresh,
            "foreground": rpn.fg_iou_thresh,
            "background": rpn.bg_iou_thresh,
        },
        "roi": {
            "score": roi.score_thresh,
            "nms": roi.nms_thresh,
            "agnostic": roi.class_agnostic_nms,
            "limit": model.roi_heads.limit(room),
            "foreground": roi.fg_iou_thresh,
            "weights": list(model.roi_heads.box_coder.weights),
            "minSize": MIN_SIZE,
        },
        "canonicalScale": pool.canonical_scale,
        "canonicalLevel": pool.canonical_level,
        "floor": min(FLOOR, roi.score_thresh),
        "exactPaste": model.transform.config.paste == "exact",
    }


def _input(pack: Pack, t: Trace, image: np.ndarray) -> dict[str, Any]:
    pixels = as_bytes(image[:3] if len(image) >= 3 else image[:1])
    step = -(-max(pixels.shape[:2]) // PHOTO_SIDE)
    (height, width), (rows, columns) = t["transform.sizes"][0], t["transform.original_sizes"][0]
    values = t["transform.batch"][0, :height, :width]
    low, high = float(values.min()), float(values.max())
    counts = [histogram(c, 48, low, high)[0] for c in values.reshape(-1, values.shape[2]).T]
    mean, std = t["transform.normalisation"]
    return {
        "photo": pack.image(np.ascontiguousarray(pixels[::step, ::step])),
        "network": pack.image((image_of(t) * 255 + 0.5).astype(np.uint8), "png"),
        "original": [int(columns), int(rows)],
        "resized": [int(width), int(height)],
        "padded": [int(t["transform.batch"].shape[2]), int(t["transform.batch"].shape[1])],
        "mean": [float(v) for v in mean],
        "std": [float(v) for v in std],
        "range": [low, high],
        "histogram": pack.array(counts, "i4"),
    }


def _levels(pack: Pack, level: np.ndarray) -> dict[str, Any]:
    """One map (H, W, C): the mean size of its channels, and the first channels, as bytes."""
    step = -(-max(level.shape[:2]) // MAP_SIDE)
    small = level[::step, ::step]
    shown = np.concatenate(
        [np.abs(small).mean(axis=2, keepdims=True), small[:, :, :CHANNELS]], axis=2
    ).transpose(2, 0, 1)
    return {"size": list(level.shape), **as_levels(pack, shown)}


def as_levels(pack: Pack, planes: np.ndarray) -> dict[str, Any]:
    """Planes (n, h, w) as bytes, each stretched to its own range."""
    planes = np.nan_to_num(planes)
    low = planes.min(axis=(1, 2), keepdims=True) if planes.size else np.zeros((len(planes), 1, 1))
    high = planes.max(axis=(1, 2), keepdims=True) if planes.size else low
    scaled = (planes - low) / np.maximum(high - low, 1e-30) * 255
    return {
        "planes": pack.array(scaled + 0.5, "u1"),
        "low": [float(v) for v in low.ravel()],
        "high": [float(v) for v in high.ravel()],
    }


def levels_of_anchors(
    pack: Pack, model: MaskRCNN, t: Trace, with_logits: bool = True
) -> list[dict[str, Any]]:
    """Where each level's anchors lie and, by default, their objectness."""
    generator = model.rpn.anchor_generator
    padded = t["transform.batch"].shape[1:3]
    ends = np.cumsum(t["rpn.level_sizes"])
    logits = np.split(t["rpn.objectness"][0], ends[:-1])
    levels = []
    for i, level in enumerate(t["backbone.pyramid"]):
        _, height, width, _ = level.shape
        laid = {
            "rows": height,
            "columns": width,
            "stride": [padded[0] // height, padded[1] // width],
            "cell": cell_anchors(generator.sizes[i], generator.aspect_ratios[i]).tolist(),
            "sizes": list(generator.sizes[i]),
            "ratios": list(generator.aspect_ratios[i]),
        }
        if with_logits:
            laid["logits"] = pack.array(np.clip(logits[i], -6e4, 6e4), "f2")
        levels.append(laid)
    return levels


def _proposals(pack: Pack, t: Trace) -> dict[str, Any]:
    top = t["rpn.top_k"][0]
    deltas = t["rpn.deltas"][0, top]
    return {
        "anchors": pack.array(top, "i4"),
        "anchorBoxes": pack.array(t["rpn.anchors"][top], "f4"),
        "levels": pack.array(t["rpn.top_k_levels"], "u1"),
        "scores": pack.array(t["rpn.scores"][0], "f4"),
        "deltas": pack.array(deltas, "f4"),
        "moved": pack.array(t["rpn.moved"][0], "f4"),
        "clipped": pack.array(t["rpn.clipped"][0], "f4"),
        "outcomes": pack.array(t["rpn.outcomes"][0], "u1"),
        "suppressors": pack.array(t["rpn.suppressors"][0], "i4"),
        "proposals": pack.array(t["rpn.proposal_rows"][0], "i4"),
    }


def _regions(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any]:
    """The proposals as the heads see them."""
    crops = t["detect.box_pool.crops"]
    strides = [t["transform.batch"].shape[1] / level.shape[1] for level in t["backbone.pyramid"]]
    rows = np.unique(t["detect.candidates.rows"][0][t["detect.kept"][0]])
    pool: Any = model.roi_heads.box_pool
    return {
        "levels": pack.array(t["detect.box_pool.levels"], "u1"),
        "strides": [2.0 ** round(np.log2(stride)) for stride in strides],
        "pointsX": pack.array(t["detect.box_pool.points_x"], "f4"),
        "pointsY": pack.array(t["detect.box_pool.points_y"], "f4"),
        "samples": [pool.output_size, pool.sampling_ratio],
        "crops": pack.array(np.abs(crops).mean(axis=3), "f2"),
        "croppedRows": rows.tolist(),
        "channels": as_levels(
            pack, crops[rows, :, :, :CROPS].transpose(0, 3, 1, 2).reshape(-1, *crops.shape[1:3])
        ),
        "shownChannels": min(CROPS, crops.shape[3]),
        "scores": pack.array(t["detect.scores"][0], "f4"),
    }


def _candidates(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any]:
    """Every pair of a proposal and a class above the floor: what the sliders choose from."""
    heads, scores = model.roi_heads, t["detect.scores"][0]
    rows, labels = np.nonzero(scores[:, 1:] > min(FLOOR, heads.config.score_thresh))
    labels += 1
    deltas = t["detect.box_deltas"].reshape(*scores.shape, 4)[rows, labels]
    moved = heads.box_coder.decode(deltas, t["rpn.proposals"][0][rows])[:, 0]
    boxes = clip_boxes(moved, t["transform.sizes"][0])
    original = scale_boxes(boxes, t["transform.sizes"][0], t["transform.original_sizes"][0])
    own = {pair: i for i, pair in enumerate(zip(rows.tolist(), labels.tolist(), strict=True))}
    kept_rows, kept_labels = (
        t[f"detect.candidates.{name}"][0][t["detect.kept"][0]] for name in ("rows", "labels")
    )
    kept = [own[pair] for pair in zip(kept_rows.tolist(), kept_labels.tolist(), strict=True)]
    drawn = _worth_drawing(boxes, scores[rows, labels], kept)
    masks = _masks(model, t, boxes[drawn], labels[drawn], len(kept))
    return {
        "rows": pack.array(rows, "u2"),
        "labels": pack.array(labels, "u2"),
        "scores": pack.array(scores[rows, labels], "f4"),
        "deltas": pack.array(deltas, "f4"),
        "moved": pack.array(moved, "f4"),
        "boxes": pack.array(boxes, "f4"),
        "original": pack.array(original, "f4"),
        "kept": kept,
        "maskOf": drawn.tolist(),
        "masks": pack.array(masks, "f4"),
        "pasteBoxes": pasted_to(pack, original[drawn], masks, model.transform.config.paste),
        "classMasks": _class_masks(pack, t),
        "maskLevels": pack.array(t["detect.mask_pool.levels"], "u1"),
    }


def pasted_to(pack: Pack, boxes: np.ndarray, masks: np.ndarray, mode: str) -> Any:
    """The boxes (N, 4) that masks (N, M, M) are pasted to: in whole pixels, or as they are."""
    if mode == "exact":
        return pack.array(boxes, "f4")
    return pack.array(paste_boxes(boxes, masks.shape[1]), "i4")


def _worth_drawing(boxes: np.ndarray, scores: np.ndarray, kept: list[int]) -> np.ndarray:
    """The model's own detections, then the best other candidates, among those large enough."""
    others = np.argsort(-scores, kind="stable")
    others = others[is_large_enough(boxes[others], MIN_SIZE) & ~np.isin(others, kept)]
    return np.concatenate([kept, others]).astype(np.int64)[: max(MASKS, len(kept))]


def _masks(
    model: MaskRCNN, t: Trace, boxes: np.ndarray, labels: np.ndarray, known: int
) -> np.ndarray:
    """Mask probabilities (n, 28, 28): the first from the trace, the rest computed now."""
    heads = model.roi_heads
    features = [Tensor(level).to(model.device) for level in t["backbone.pyramid"][:-1]]
    done = t["detect.mask_probabilities"]
    if len(boxes) == known:
        return done
    with no_grad():
        pooled = heads.mask_pool(features, [boxes[known:]], t["transform.sizes"][:1])
        logits = heads.mask_predictor.of_labels(heads.mask_head(pooled.crops), labels[known:])
    return np.concatenate([done, sigmoid(logits.numpy())])


def _class_masks(pack: Pack, t: Trace) -> dict[str, Any]:
    logits = t["detect.mask_logits"][:CLASS_MASKS]  # n, 28, 28, K
    return pack.array(sigmoid(logits).transpose(0, 3, 1, 2) * 255 + 0.5, "u1")
