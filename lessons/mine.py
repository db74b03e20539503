"""A back end made of the learner's answers: this package's model, with its parts exchanged.

Each exercise of the kind "build" is a part of the model. `PLACES` says where the package does the
same, and how an answer is called there: answers have the simple arguments of the lessons, kernels
those of a model. `installed` exchanges some parts for a while; all others run in the package's
reference form, plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from tinymaskrcnn import autograd
from tinymaskrcnn.backend import use
from tinymaskrcnn.detection import anchors as anchor_module
from tinymaskrcnn.detection import sampler
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.boxes import clip_boxes
from tinymaskrcnn.detection.matcher import Matcher
from tinymaskrcnn.detection.sampler import BalancedSampler
from tinymaskrcnn.models import rpn
from tinymaskrcnn.models.roi_heads import Candidates, RoIHeads
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign
from tinymaskrcnn.nn import layers
from tinymaskrcnn.ops.activations import reference as activations
from tinymaskrcnn.ops.box_iou import reference as box_iou
from tinymaskrcnn.ops.conv2d import reference as conv2d
from tinymaskrcnn.ops.interpolate import reference as interpolate
from tinymaskrcnn.ops.losses import reference as losses
from tinymaskrcnn.ops.max_pool2d import reference as max_pool2d
from tinymaskrcnn.ops.nms import reference as nms
from tinymaskrcnn.ops.paste_masks import reference as paste_masks
from tinymaskrcnn.ops.roi_align import reference as roi_align
from tinymaskrcnn.ops.sgd import reference as sgd
from tinymaskrcnn.tensor import Tensor

Answer = Callable[..., Any]


@contextmanager
def installed(answers: Mapping[str, Answer]) -> Iterator[None]:
    """Within this context the package computes with these answers, and with its reference form
    where there is none.

    Args:
        answers: functions by the name of their exercise. Names that are no part are left alone.
    """
    with ExitStack() as stack:
        stack.enter_context(use("reference"))
        for name, places in PLACES.items():
            for owner, attribute, adapter in places if name in answers else ():
                replaced = partial(adapter, answers[name], getattr(owner, attribute))
                stack.enter_context(patch.object(owner, attribute, _method(replaced)))
        yield


def _method(function: Answer) -> Answer:
    """A plain function, which becomes a method where it is put into a class; a partial does not."""
    return lambda *arguments, **named: function(*arguments, **named)


# Each takes the answer, what the package does, and the package's arguments.


def _walk(answer: Answer, theirs: Answer, root: Any) -> list[Any]:
    nodes = {id(node): node for node in theirs(root)}
    name = {key: f"value {i}" for i, key in enumerate(nodes)}
    made_of = {
        name[key]: [name[id(v.node)] for v in node.inputs if v is not None and v.node is not None]
        for key, node in nodes.items()
    }
    by_name = {name[key]: node for key, node in nodes.items()}
    return [by_name[each] for each in answer(made_of, name[id(root)])] if nodes else []


def _conv2d(
    answer: Answer,
    theirs: Answer,
    x: Any,
    weight: Any,
    bias: Any,
    residual: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    relu: bool,
    kept: Any = None,
) -> Any:
    if groups > 1 or set(dilation) != {1} or stride[0] != stride[1] or padding[0] != padding[1]:
        return theirs(x, weight, bias, residual, stride, padding, dilation, groups, relu)
    bias = np.zeros(len(weight), x.dtype) if bias is None else bias
    y = _like(x, answer(x, weight, bias, stride[0], padding[0]))
    y = y if residual is None else y + residual
    return np.maximum(y, 0) if relu else y


def _max_pool(
    answer: Answer, theirs: Answer, x: Any, size: Any, stride: Any, padding: Any
) -> tuple[Any, Any]:
    y, tap = theirs(x, size, stride, padding)  # which one was the largest: for the gradient
    return _like(x, answer(x, size[0], stride[0], padding[0])).reshape(y.shape), tap


def _fold(answer: Answer, theirs: Answer, array: Any, conv: Any, norm: Any) -> Any:
    if conv.bias is not None:
        return theirs(array, conv, norm)
    parts = norm.weight, norm.bias, norm.running_mean, norm.running_var
    weight, bias = answer(array, *map(layers._array, parts), norm.eps)
    return Tensor(_like(array, weight)), Tensor(_like(array, bias)), {}


def _upsample_add(answer: Answer, theirs: Answer, top: Any, lateral: Any) -> Any:
    if lateral.shape[1:3] != (2 * top.shape[1], 2 * top.shape[2]):
        return theirs(top, lateral)
    merged = np.empty_like(lateral)
    for n, c in np.ndindex(len(top), top.shape[3]):
        merged[n, :, :, c] = answer([lateral[n, :, :, c], top[n, :, :, c]])[0]
    return merged


def _box_iou(answer: Answer, theirs: Answer, a: Any, b: Any) -> Any:
    return _like(a, answer(a, b)) if len(a) and len(b) else theirs(a, b)


def _level_anchors(
    answer: Answer,
    theirs: Answer,
    sizes: Any,
    ratios: Any,
    shape: Any,
    image_shape: Any,
    rounded: bool,
    given_stride: Any,
) -> Any:
    if len(sizes) > 1 or not rounded or given_stride:
        return theirs(sizes, ratios, shape, image_shape, rounded, given_stride)
    stride = image_shape[0] // shape[0], image_shape[1] // shape[1]
    return np.asarray(answer(*shape, stride, sizes[0], ratios), np.float32)


def _match(answer: Answer, theirs: Answer, matcher: Any, blocks: Any) -> Any:
    iou = np.concatenate(list(blocks))
    matches = answer(iou, matcher.high, matcher.low, matcher.allow_low_quality)
    return np.asarray(matches, np.int64)


def _encode(answer: Answer, theirs: Answer, coder: Any, goals: Any, boxes: Any) -> Any:
    weights = np.array(coder.weights, boxes.dtype)
    return (
        _like(boxes, answer(goals, boxes)) * weights if len(boxes) else theirs(coder, goals, boxes)
    )


def _decode(answer: Answer, theirs: Answer, coder: Any, deltas: Any, boxes: Any) -> Any:
    if not len(boxes):
        return theirs(coder, deltas, boxes)
    each = deltas.shape[1] // 4
    rows = deltas.reshape(-1, 4) / np.array(coder.weights, deltas.dtype)
    return _like(boxes, answer(rows, boxes.repeat(each, axis=0))).reshape(len(boxes), each, 4)


def _sample(answer: Answer, theirs: Answer, chosen: Any, labels: Any, rng: Any) -> tuple[Any, Any]:
    positive, negative = np.flatnonzero(labels >= 1), np.flatnonzero(labels == 0)
    counts = answer(len(positive), len(negative), chosen.batch_size, chosen.positive_fraction)
    drawn = zip((positive, negative), counts, strict=True)
    first, second = (sampler._draw(indices, int(count), rng) for indices, count in drawn)
    return first, second


def _top_k(answer: Answer, theirs: Answer, scores: Any, k: int) -> Any:
    return np.array([answer(row, k) for row in scores], np.int64)


def _binary_cross_entropy(
    answer: Answer, theirs: Answer, logits: Any, targets: Any, reduction: str
) -> Any:
    each = answer(logits.ravel(), np.asarray(targets, logits.dtype).ravel())
    return losses._reduce(_like(logits, each).reshape(logits.shape), reduction)


def _smooth_l1(
    answer: Answer, theirs: Answer, prediction: Any, target: Any, beta: float, reduction: str
) -> Any:
    return losses._reduce(_like(prediction, answer(prediction - target, beta)), reduction)


def _nms(answer: Answer, theirs: Answer, boxes: Any, scores: Any, threshold: float) -> Any:
    return (
        np.asarray(answer(boxes, scores, threshold), np.int64)
        if len(boxes)
        else theirs(boxes, scores, threshold)
    )


def _roi_align(
    answer: Answer,
    theirs: Answer,
    features: Any,
    rois: Any,
    size: Any,
    scale: float,
    sampling: int,
    aligned: bool,
) -> Any:
    if aligned or sampling < 1 or size[0] != size[1]:
        return theirs(features, rois, size, scale, sampling, aligned)
    crops = np.zeros((len(rois), *size, features.shape[3]), features.dtype)
    for crop, (index, *box) in zip(crops, rois, strict=True):
        crop[:] = answer(features[int(index)], np.array(box) * scale, size[0], sampling)
    return crops


def _reading_with(bilinear: Answer) -> Answer:
    """RoIAlign of one region that reads the map with someone's `bilinear`."""

    def roi_crop(features: Any, box: Any, size: int, samples: int) -> Any:
        steps = (np.arange(size * samples) + 0.5) / (size * samples)
        y, x = (box[k] + steps * max(box[k + 2] - box[k], 1) for k in (1, 0))
        points = np.meshgrid(y, x, indexing="ij")
        values = bilinear(features, points[0].ravel(), points[1].ravel())
        return values.reshape(size, samples, size, samples, -1).mean(axis=(1, 3))

    return roi_crop


def _roi_align_reading(answer: Answer, theirs: Answer, *given: Any) -> Any:
    return _roi_align(_reading_with(answer), theirs, *given)


def _level_of(answer: Answer, theirs: Answer, pool: Any, boxes: Any, scales: Any) -> Any:
    finest, coarsest = (int(-np.log2(scales[i])) for i in (0, -1))
    sides = boxes[:, 2:] - boxes[:, :2]
    if pool.canonical_level != 4 or not len(boxes) or (sides <= 0).any():
        return theirs(pool, boxes, scales)
    in_their_units = boxes * (224 / pool.canonical_scale)
    return np.asarray(answer(in_their_units, finest, coarsest), np.int64) - finest


def _cross_entropy(answer: Answer, theirs: Answer, logits: Any, labels: Any) -> tuple[Any, Any]:
    if not len(logits):
        return theirs(logits, labels)
    return losses._reduce(_like(logits, answer(logits, labels)), "mean"), _probabilities(
        answer, logits
    )


def _softmax(answer: Answer, theirs: Answer, x: Any, axis: int) -> Any:
    is_table = x.ndim == 2 and axis in (1, -1) and len(x)
    return _probabilities(answer, x) if is_table else theirs(x, axis)


def _probabilities(answer: Answer, logits: Any) -> Any:
    """Softmax, from what each class would cost if it were the right one."""
    classes = range(logits.shape[1])
    costs = [answer(logits, np.full(len(logits), k)) for k in classes]
    return _like(logits, np.exp(-np.stack(costs, axis=1)))


def _candidates(
    answer: Answer, theirs: Answer, heads: Any, scores: Any, deltas: Any, proposals: Any, size: Any
) -> Any:
    if not len(proposals) or heads.config.class_agnostic_nms:
        return theirs(heads, scores, deltas, proposals, size)
    moved = heads.box_coder.decode(deltas, proposals)  # (R, K, 4)
    clipped = clip_boxes(moved.reshape(-1, 4), size).reshape(moved.shape)
    config = heads.config
    limits = config.score_thresh, config.nms_thresh, config.detections_per_img
    rows, labels = (np.asarray(part, np.int64) for part in answer(scores, clipped, *limits))
    chosen = rows, labels
    everything = np.arange(len(rows))
    return Candidates(rows, labels, scores[chosen], moved[chosen], clipped[chosen], everything)


def _paste(
    answer: Answer,
    theirs: Answer,
    probabilities: Any,
    boxes: Any,
    height: int,
    width: int,
    exact: bool,
) -> Any:
    if exact:
        return theirs(probabilities, boxes, height, width, exact)
    canvas = np.zeros((len(boxes), height, width), probabilities.dtype)
    for whole, mask, box in zip(canvas, probabilities, boxes, strict=True):
        whole[:] = answer(mask, box, height, width)
    return canvas


def _sgd(
    answer: Answer,
    theirs: Answer,
    weight: Any,
    gradient: Any,
    velocity: Any,
    lr: float,
    momentum: float,
    decay: float,
    scale: float,
) -> None:
    weight[:], velocity[:] = answer(
        weight.copy(), gradient * scale, velocity.copy(), lr, momentum, decay
    )


def _like(array: Any, result: Any) -> Any:
    """A result as kernels give it: of the array's dtype."""
    return np.ascontiguousarray(result, array.dtype)


# Of each part: the modules or classes where it is exchanged, the names there, and how it is called.
# `roi_crop` comes after `bilinear`: who has written both is asked for the crop.
PLACES: dict[str, list[tuple[Any, str, Answer]]] = {
    "walk_order": [(autograd, "_reverse_topological", _walk)],
    "convolve": [(conv2d, "conv2d", _conv2d)],
    "max_pool": [(max_pool2d, "max_pool2d", _max_pool)],
    "fold_norm": [(layers, "_fold", _fold)],
    "top_down": [(interpolate, "upsample_add", _upsample_add)],
    "iou_table": [(box_iou, "box_iou", _box_iou)],
    "lay_anchors": [(anchor_module, "level_anchors", _level_anchors)],
    "match_anchors": [(Matcher, "_match_blocks", _match)],
    "encode": [(BoxCoder, "encode", _encode)],
    "decode": [(BoxCoder, "decode", _decode)],
    "sample_counts": [(BalancedSampler, "sample", _sample)],
    "best_anchors": [(rpn, "top_k", _top_k)],
    "binary_cross_entropy": [(losses, "binary_cross_entropy", _binary_cross_entropy)],
    "smooth_l1": [(losses, "smooth_l1", _smooth_l1)],
    "suppress": [(nms, "nms", _nms)],
    "bilinear": [(roi_align, "roi_align", _roi_align_reading)],
    "roi_crop": [(roi_align, "roi_align", _roi_align)],
    "pyramid_level": [(MultiScaleRoIAlign, "level_of", _level_of)],
    "surprise": [
        (losses, "cross_entropy", _cross_entropy),
        (activations, "softmax", _softmax),
    ],
    "keep_detections": [(RoIHeads, "_candidates", _candidates)],
    "paste_mask": [(paste_masks, "paste_masks", _paste)],
    "sgd_step": [(sgd, "sgd_step", _sgd)],
}
