"""The whole detection as one ONNX model: image in; boxes, labels, scores and masks out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import __version__
from ..autograd import no_grad
from ..detection.boxes import Size
from ..errors import InputError
from ..files import mark
from ..models.mask_rcnn import MaskRCNN
from ..tensor import Tensor
from .detection import classify, crop, draw_masks, large_enough, propose
from .graph import FLOAT, INT64, Graph, Value
from .images import Sizes, paste, prepare, restore, sizes_of
from .layers import pyramid

# Settings that the graph follows, then those that only matter in training
FOLLOWED = """
builder num_classes in_channels anchor_sizes aspect_ratios canonical_scale norm norm_eps norm_groups
stride_in_1x1 rpn_convs round_anchors anchor_strides roi_aligned roi_sampling_ratio rpn_min_size
rpn_rank_by box_min_size resize round_sides clip_detections paste
widths blocks fpn_channels box_channels representation mask_channels
min_size max_size scale object_sizes image_mean image_std size_divisor
rpn_pre_nms_top_n_test rpn_post_nms_top_n_test rpn_nms_thresh rpn_score_thresh
box_score_thresh box_nms_thresh box_detections_per_img box_reg_weights bbox_reg_weights
box_class_agnostic_nms

seed trainable_backbone_layers rpn_pre_nms_top_n_train rpn_post_nms_top_n_train
rpn_fg_iou_thresh rpn_bg_iou_thresh rpn_batch_size_per_image rpn_positive_fraction
box_fg_iou_thresh box_bg_iou_thresh box_batch_size_per_image box_positive_fraction stretch
"""


def onnx_model(model: MaskRCNN, paste_masks: bool = True, size: Size | None = None) -> Any:
    """Write a model as ONNX.

    The graph takes `image`, float32 (C, H, W) in 0..1, and gives what `model([image])[0]` gives in
    eval mode: `boxes` (n, 4), `labels` (n,), `scores` (n,), `masks` (n, 1, H, W). Its metadata has
    the model's `config` and `classes` as JSON.

    Args:
        model: of any builder. paste_masks: False for masks as the head draws them, (n, 28, 28).
        size: height and width of all images, for runtimes that want fixed shapes. Then n is always
            the largest possible number, and what follows the detections is zero, labels too.

    Returns:
        onnx.ModelProto, of opset 18, checked.

    Raises:
        InputError: onnx is not installed, or the model has a setting or a part that has no form in
            ONNX; names it.
    """
    check_settings(model.config)
    g = Graph()
    image = g.input("image")
    sizes = sizes_of(g, model.transform, image, size)
    maps = None if size is None else map_sizes(model, sizes)
    with g.scope("transform"):
        x = prepare(g, model.transform.config, image, sizes)
    with g.scope("backbone"):
        levels = pyramid(g, model.backbone, x, maps)
    with g.scope("rpn"):
        proposals = propose(g, model.rpn, levels, sizes, maps)
    heads: Any = model.roi_heads
    levels, maps = levels[:-1], maps and maps[:-1]  # nothing is cropped from the last
    with g.scope("boxes"):
        crops = crop(g, heads.box_pool, levels, proposals.boxes, sizes, maps)
        found, labels = classify(g, heads, crops, proposals, sizes)
    with g.scope("masks"):
        crops = crop(g, heads.mask_pool, levels, found.boxes, sizes, maps)
        masks, side = draw_masks(g, heads, crops, labels), 2 * heads.mask_pool.output_size
    config = model.transform.config
    boxes = restore(config, found.boxes, sizes)
    if paste_masks:
        with g.scope("paste"):
            masks = paste(g, masks, side, boxes, sizes.image, config.paste == "exact")
    scores = found.scores
    if config.clip_detections and size is None:
        kept = g.Squeeze(g.NonZero(large_enough(g, boxes, 0.0)), [0])
        boxes, labels, scores, masks = (
            g.Gather(each, kept) for each in (boxes, labels, scores, masks)
        )
    height, width = size or ("height", "width")
    count = found.length or "detections"
    ends = [1, height, width] if paste_masks else [side, side]
    results = {
        "boxes": (boxes, FLOAT, [count, 4]),
        "labels": (labels, INT64, [count]),
        "scores": (scores, FLOAT, [count]),
        "masks": (masks, FLOAT, [count, *ends]),
    }
    for name, (value, kind, shape) in results.items():
        if found.valid is not None:
            value = emptied(g, value, kind, len(shape), found.valid)
        g.output(name, value)
    return g.finish(
        {"image": (FLOAT, [model.in_channels, height, width])},
        {name: (kind, shape) for name, (_, kind, shape) in results.items()},
        {"config": json.dumps(model.config), "classes": json.dumps(model.classes)},
        producer_name="tinymaskrcnn",
        producer_version=__version__,
        doc_string=mark("export"),
    )


def check_settings(config: Mapping[str, Any]) -> None:
    """Raise InputError for a setting that the graph does not follow."""
    for name, value in config.items():
        if name not in FOLLOWED.split() and value is not None:
            raise InputError(f"export does not support the setting {name} ({value!r})")


def map_sizes(model: MaskRCNN, sizes: Sizes) -> list[np.ndarray]:
    """Height and width of each level for an image of a known size, from the backbone itself."""
    training = model.training
    model.eval()  # else norms would learn from the zeros
    try:
        with no_grad():
            x = Tensor(np.zeros((1, *sizes.padded, model.in_channels), np.float32))
            return [np.array(y.shape[1:3]) for y in model.backbone(x.to(model.device))]
    finally:
        model.train(training)


def emptied(g: Graph, value: Value, kind: int, rank: int, valid: Value) -> Value:
    """Zero in each row that is only filling."""
    rows = g.Reshape(valid, [-1] + [1] * (rank - 1))
    return g.Where(rows, value, 0.0 if kind == FLOAT else 0)
