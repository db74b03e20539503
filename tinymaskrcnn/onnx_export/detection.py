"""The two stages as nodes: proposals, crops, boxes with their classes, masks. What models/rpn.py,
models/roi_pooling.py and models/roi_heads.py do, in the same order.

There are no loops. Where an image of any size gives any number of boxes, arrays are as long as
that. In a graph of fixed shapes they have the largest length, and `valid` tells boxes from filling;
only what NonMaxSuppression returns has no fixed length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..detection.anchors import AnchorGenerator, cell_anchors
from ..detection.box_coder import LARGEST_LOG_SCALE
from ..models import rpn
from ..models.box_head import ConvFCBoxHead, TwoMLPHead
from ..models.roi_pooling import MultiScaleRoIAlign, map_scales
from .graph import INT64, Graph, Value, cast, clipped, counted_to, floats, spread
from .images import Sizes
from .layers import array_of, conv_norm, linear, run, unknown

DROPPED = -1.0  # the score of a box that a filter has dropped
SMALLEST = float(np.finfo(np.float32).tiny)  # pixels: longer than nothing
MOST = 2**31 - 1  # boxes that NonMaxSuppression may keep
UNIT_BOX = np.array([0, 0, 1, 1], np.float32)


@dataclass(frozen=True)
class Best:
    """The boxes with the highest scores.

    Args:
        boxes: (n, 4). scores: (n,), falling. rows: (n,) their places among all.
        valid: (n,) bool, false where there is only filling; None if all are valid.
        length: n, in a graph of fixed shapes.
    """

    boxes: Value
    scores: Value
    rows: Value
    valid: Value | None = None
    length: int | None = None


# Boxes


def split4(g: Graph, boxes: Value) -> list[Value]:
    """The four columns (n, 1) of boxes or offsets (n, 4)."""
    return g.Split(boxes, axis=1, num_outputs=4, outputs=4)


def decode(g: Graph, deltas: Value, boxes: Value, weights: Sequence[float]) -> Value:
    """Move boxes (n, 4) by offsets (n, 4), as `BoxCoder.decode`."""
    x1, y1, x2, y2 = split4(g, boxes)
    dx, dy, dw, dh = (d / float(w) for d, w in zip(split4(g, deltas), weights, strict=True))
    width, height = x2 - x1, y2 - y1
    new_x = dx * width + (x1 + 0.5 * width)
    new_y = dy * height + (y1 + 0.5 * height)
    half_width = 0.5 * (g.Exp(g.Min(dw, LARGEST_LOG_SCALE)) * width)
    half_height = 0.5 * (g.Exp(g.Min(dh, LARGEST_LOG_SCALE)) * height)
    corners = new_x - half_width, new_y - half_height, new_x + half_width, new_y + half_height
    return g.Concat(*corners, axis=1)


def clip(g: Graph, boxes: Value, sizes: Sizes) -> Value:
    """Clip boxes (n, 4) to the resized image."""
    return clipped(boxes, 0.0, floats(sizes.resized)[[1, 0, 1, 0]])


def large_enough(g: Graph, boxes: Value, smallest: float) -> Value:
    """Whether both sides of boxes (n, 4) are at least so long: (n,) bool."""
    smallest = max(smallest, SMALLEST)
    x1, y1, x2, y2 = split4(g, boxes)
    return g.Squeeze((x2 - x1 >= smallest) & (y2 - y1 >= smallest), [1])


def suppress(g: Graph, boxes: Value, scores: Value, threshold: float, above: float) -> Value:
    """Of overlapping boxes keep the best, group by group.

    Args:
        boxes: (groups, n, 4). scores: (groups, n), DROPPED for those that do not take part.
        threshold: overlap (IoU) above which the lower-scored box is dropped.
        above: keep scores above this only.

    Returns:
        the scores, now DROPPED for all that are not kept.
    """
    above = max(above, DROPPED / 2)
    kept = g.NonMaxSuppression(boxes, spread(scores, 1), MOST, float(threshold), float(above))
    place = g.Gather(kept, [0, 2], axis=1)  # group and box; 1 is a class, of which each has one
    dropped = g.Expand(DROPPED, g.Shape(scores))
    return g.ScatterND(dropped, place, g.GatherND(scores, place))


def best(g: Graph, boxes: Value, scores: Value, limit: Any, length: int | None) -> Best:
    """The boxes (m, 4) of the highest scores (m,), at most `limit`, without dropped ones.

    Args:
        length: m, in a graph of fixed shapes.
    """
    if length is None:
        count = g.ReduceSum(cast(scores >= 0.0, INT64), keepdims=1)
        highest, rows = g.TopK(scores, g.Min(count, limit), outputs=2)
        return Best(g.Gather(boxes, rows), highest, rows)
    length = min(limit, length)
    highest, rows = g.TopK(scores, [length], outputs=2)
    valid = highest >= 0.0
    chosen = g.Where(spread(valid, 1), g.Gather(boxes, rows), UNIT_BOX)
    return Best(chosen, highest, rows, valid, length)


# First stage


def propose(
    g: Graph, network: rpn.RegionProposalNetwork, levels: Sequence[Value], sizes: Sizes, maps: Any
) -> Best:
    """The proposals, best first.

    Args:
        levels: (1, C, H, W), finest first. maps: their sizes, if they are known.
    """
    config, all_boxes, all_scores, length = network.config, [], [], 0
    for i, level in enumerate(levels):
        with g.scope(f"level{i}"):
            logits, deltas = rpn_head(g, network.head, level)
            anchors = anchors_of(g, network.anchor_generator, i, level, sizes, maps)
            limit = sizes.limit(config.pre_nms_top_n_test)
            if maps is None:
                limit = g.Min(g.Shape(logits), limit)
            else:
                limit = np.array([min(len(anchors), limit)])
                length += int(limit[0])
            highest, rows = g.TopK(logits, limit, outputs=2)
            moved = decode(g, g.Gather(deltas, rows), g.Gather(anchors, rows), (1, 1, 1, 1))
            boxes, scores = clip(g, moved, sizes), g.Sigmoid(highest)
            ranks = scores
            if config.rank_by == "logit":  # positive, and no two logits below 100 become one
                ranks = g.Sigmoid(highest * 0.125)
            large = large_enough(g, boxes, config.min_size)
            scores = g.Where(large & (scores >= float(config.score_thresh)), ranks, DROPPED)
            group = spread(boxes, 0), spread(scores, 0)
            scores = g.Squeeze(suppress(g, *group, config.nms_thresh, DROPPED), [0])
        all_boxes.append(boxes)
        all_scores.append(scores)
    boxes, scores = g.Concat(*all_boxes, axis=0), g.Concat(*all_scores, axis=0)
    limit = sizes.limit(config.post_nms_top_n_test)
    return best(g, boxes, scores, limit, None if maps is None else length)


def rpn_head(g: Graph, head: Any, level: Value) -> tuple[Value, Value]:
    """Logits (M,) and offsets (M, 4) of a level's anchors, in the order row, column, anchor."""
    if type(head) is not rpn.RPNHead:
        raise unknown(head)
    hidden = run(g, head.conv, level)
    logits, deltas = (
        conv_norm(g, last, None, hidden) for last in (head.cls_logits, head.bbox_pred)
    )
    last_axis = [0, 2, 3, 1]  # 1, A, H, W -> 1, H, W, A
    return (
        g.Reshape(g.Transpose(logits, perm=last_axis), [-1]),
        g.Reshape(g.Transpose(deltas, perm=last_axis), [-1, 4]),
    )


def anchors_of(
    g: Graph, generator: AnchorGenerator, i: int, level: Value, sizes: Sizes, maps: Any
) -> Any:
    """The anchors (M, 4) of level i, as `level_anchors` lays them."""
    if maps is not None:
        return generator([tuple(size) for size in maps], tuple(sizes.padded))[i]
    size = g.Shape(level)[2:4]
    if generator.strides is None:
        stride = sizes.padded // size
        y, x = (floats(counted_to(size[k]) * stride[k]) for k in (0, 1))
    else:
        y, x = (floats(counted_to(size[k])) * float(generator.strides[i]) for k in (0, 1))
    centres = [g.Expand(v, size) for v in (spread(x, 0), spread(y, 1))] * 2
    centres = g.Reshape(g.Concat(*(spread(c, 2) for c in centres), axis=2), [-1, 1, 4])
    cell = cell_anchors(generator.sizes[i], generator.aspect_ratios[i], generator.rounded)
    return g.Reshape(centres + cell.astype(np.float32), [-1, 4])  # H*W, A, 4 -> M, 4


# Crops


def crop(
    g: Graph,
    pool: MultiScaleRoIAlign,
    levels: Sequence[Value],
    boxes: Value,
    sizes: Sizes,
    maps: Any,
) -> Value:
    """RoIAlign of each box (n, 4) from the level that suits its size: (n, C, side, side).

    Args:
        levels, maps: without the pooled level.
    """
    powers = level_powers(g, levels, sizes, maps)
    x1, y1, x2, y2 = split4(g, boxes)
    side = g.Sqrt((x2 - x1) * (y2 - y1))
    doublings = g.Log(side / float(pool.canonical_scale)) / float(np.log(2))
    level = g.Floor(doublings + float(pool.canonical_level) + 1e-6)
    level = clipped(level, powers[0], powers[-1]) - powers[0]  # n, 1
    align = {
        "output_height": pool.output_size,
        "output_width": pool.output_size,
        "sampling_ratio": max(pool.sampling_ratio, 0),
        "coordinate_transformation_mode": "half_pixel" if pool.aligned else "output_half_pixel",
    }
    if maps is not None:
        return _crop_from_all(g, levels, boxes, level, powers, align)
    return _crop_from_each(g, levels, boxes, g.Squeeze(level, [1]), powers, align)


def level_powers(g: Graph, levels: Sequence[Value], sizes: Sizes, maps: Any) -> list[Any]:
    """Per level its stride as a power of two, (1,) float32 each, as `map_scales` finds it."""
    if maps is not None:
        like: Any = [np.empty((1, *size)) for size in maps]
        scales = map_scales(like, [tuple(sizes.resized)])
        return [np.array([-np.log2(scale)], np.float32) for scale in scales]
    height = floats(sizes.resized[0:1])
    ratios = [floats(g.Shape(level)[2:3]) / height for level in levels]
    return [-g.Round(g.Log(ratio) / float(np.log(2))) for ratio in ratios]


def _on_map(g: Graph, boxes: Value, power: Any) -> Value:
    """Boxes in pixels of a level's map."""
    return boxes * g.Pow(0.5, power)


def _crop_from_each(
    g: Graph, levels: Sequence[Value], boxes: Value, level: Value, powers: Any, align: Any
) -> Value:
    """Crop from each level the boxes that belong there, and put the crops back in order."""
    crops, places = [], []
    for i, (feature, power) in enumerate(zip(levels, powers, strict=True)):
        place = g.Squeeze(g.NonZero(g.Equal(level, float(i))), [0])
        own = _on_map(g, g.Gather(boxes, place), power)
        image = g.Expand(0, g.Shape(place))  # of which each box is: the only one
        crops.append(g.RoiAlign(feature, own, image, **align))
        places.append(place)
    place = g.Concat(*places, axis=0)
    count = g.Shape(place)
    row_of_place = g.ScatterElements(g.Expand(0, count), place, counted_to(count[0]), axis=0)
    return g.Gather(g.Concat(*crops, axis=0), row_of_place)


def _crop_from_all(
    g: Graph, levels: Sequence[Value], boxes: Value, level: Value, powers: Any, align: Any
) -> Value:
    """Crop every box from every level, and take the right one: as much work again for each level,
    but no length depends on the boxes.
    """
    image = g.Expand(0, g.Shape(boxes)[0:1])
    chosen: Any = None
    for i, (feature, power) in enumerate(zip(levels, powers, strict=True)):
        crops = g.RoiAlign(feature, _on_map(g, boxes, power), image, **align)
        here = g.Reshape(g.Equal(level, float(i)), [-1, 1, 1, 1])
        chosen = crops if chosen is None else g.Where(here, crops, chosen)
    return chosen


# Second stage


def classify(
    g: Graph, heads: Any, crops: Value, proposals: Best, sizes: Sizes
) -> tuple[Best, Value]:
    """The detections, best first, in pixels of the resized image, and their labels (n,) int64.

    Args:
        crops: of the proposals.
    """
    config, classes = heads.config, heads.num_classes
    features = box_features(g, heads.box_head, crops)
    logits = linear(g, heads.box_predictor.cls_score, features)
    deltas = linear(g, heads.box_predictor.bbox_pred, features)
    scores = g.Slice(g.Softmax(logits, axis=1), [1], [classes], [1])  # R, K-1: no background
    # one box per proposal and class, proposal by proposal: R * (K-1) rows
    deltas = g.Slice(g.Reshape(deltas, [-1, classes, 4]), [1], [classes], [1])
    repeated = g.Expand(spread(proposals.boxes, 1), [1, classes - 1, 1])
    deltas, repeated = g.Reshape(deltas, [-1, 4]), g.Reshape(repeated, [-1, 4])
    boxes = clip(g, decode(g, deltas, repeated, config.reg_weights), sizes)
    if config.min_size > 0:
        allowed = g.Reshape(large_enough(g, boxes, config.min_size), [-1, classes - 1])
        scores = g.Where(allowed, scores, DROPPED)
    if proposals.valid is not None:
        scores = g.Where(spread(proposals.valid, 1), scores, DROPPED)
    kept = _suppress_per_class(g, boxes, scores, heads)
    length = None if proposals.length is None else proposals.length * (classes - 1)
    found = best(g, boxes, kept, sizes.limit(config.detections_per_img), length)
    return found, g.Mod(found.rows, classes - 1) + 1


def box_features(g: Graph, head: Any, crops: Value) -> Value:
    """What the box head says of each crop (R, C, 7, 7): (R, representation)."""
    if type(head) is TwoMLPHead:
        hidden = linear(g, head.fc6, g.Flatten(crops), relu=True)
        return linear(g, head.fc7, hidden, relu=True)
    if type(head) is not ConvFCBoxHead:
        raise unknown(head)
    layers: list[Any] = list(head)
    for conv in layers[:-1]:
        crops = run(g, conv, crops)
    return linear(g, layers[-1], g.Flatten(crops), relu=True)


def _suppress_per_class(g: Graph, boxes: Value, scores: Value, heads: Any) -> Value:
    """The scores (R * (K-1),) after suppression among the boxes (R * (K-1), 4) of each class, or
    of all classes. Before, they are (R, K-1).
    """
    config, classes = heads.config, heads.num_classes
    if config.class_agnostic_nms:
        groups = spread(boxes, 0), g.Reshape(scores, [1, -1])
    else:  # a group per class
        by_class = g.Transpose(g.Reshape(boxes, [-1, classes - 1, 4]), perm=[1, 0, 2])
        groups = by_class, g.Transpose(scores, perm=[1, 0])
    kept = suppress(g, *groups, config.nms_thresh, config.score_thresh)
    if not config.class_agnostic_nms:
        kept = g.Transpose(kept, perm=[1, 0])
    return g.Reshape(kept, [-1])


def draw_masks(g: Graph, heads: Any, crops: Value, labels: Value) -> Value:
    """The mask probabilities (n, 28, 28) of crops (n, C, 14, 14), each for its own class (n,)."""
    predictor, side = heads.mask_predictor, 2 * heads.mask_pool.output_size
    hidden = run(g, heads.mask_head, crops)
    up, last = predictor.conv5_mask, predictor.mask_fcn_logits
    hidden = g.ConvTranspose(
        hidden, array_of(up.weight), array_of(up.bias), strides=[up.stride] * 2
    )
    depth, classes = up.weight.shape[1], heads.num_classes
    pixels = g.Reshape(g.Relu(hidden), [-1, depth, side * side])
    weight = g.Gather(array_of(last.weight).reshape(classes, 1, depth), labels)  # n, 1, depth
    bias = g.Gather(array_of(last.bias).reshape(classes, 1, 1), labels)
    return g.Reshape(g.Sigmoid(g.MatMul(weight, pixels) + bias), [-1, side, side])
