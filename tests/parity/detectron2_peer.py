"""detectron2's side of the comparison: its Mask R-CNN with seeded weights, what its stages give,
and its answers.

Random weights are made busy by a few numbers (`Busy`), found once by `busy` and stored with what
detectron2 then answers: which is enough for the tests to make the same weights without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import mask_head
from detectron2.structures import Boxes

from ..golden.seeded import Busy, detectron2_weights


def build(min_size: int = 800, max_size: int = 1333, **limits: int) -> tuple[Any, Any]:
    """R-50 with a pyramid, as its model zoo has it, and how it resizes images."""
    config = get_cfg()
    config.MODEL.MASK_ON = True
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    config.MODEL.RESNETS.DEPTH = 50
    config.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    config.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    config.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    config.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    config.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    config.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    config.MODEL.RPN.PRE_NMS_TOPK_TEST = 1000
    config.MODEL.RPN.POST_NMS_TOPK_TEST = limits.get("rpn_post_nms_top_n_test", 1000)
    config.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    config.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    config.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    config.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    config.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    config.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    config.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    config.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    config.TEST.DETECTIONS_PER_IMAGE = limits.get("box_detections_per_img", 100)
    return build_model(config).eval(), ResizeShortestEdge([min_size, min_size], max_size)


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def load(model: Any, path: Path) -> None:
    """Load a file by detectron2's own loader, and refuse it if anything is left over."""
    missing = DetectionCheckpointer(model).load(str(path))
    assert set(missing) <= {"model", "__author__", "matching_heuristics"}, missing


def set_weights(model: Any, busy: Busy, seed: int = 0) -> None:
    state = detectron2_weights(shapes_of(model), busy, seed)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})


def given(image: np.ndarray, resize: Any) -> dict[str, Any]:
    """What detectron2 is given of an image (3, H, W) in 0..1, as its DefaultPredictor does."""
    pixels = np.rint(255 * image).astype(np.uint8).transpose(1, 2, 0)[..., ::-1]
    resized = resize.get_transform(pixels).apply_image(pixels).astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    return {"image": tensor, "height": pixels.shape[0], "width": pixels.shape[1]}


@torch.no_grad()
def busy(model: Any, image: np.ndarray, resize: Any, seed: int = 0) -> Busy:
    """Find the numbers that spread a model's logits; the model gets its weights by them."""
    values = Busy()
    seen: dict[str, Any] = {}
    heads = model.roi_heads
    hooks = [
        model.proposal_generator.rpn_head.objectness_logits.register_forward_hook(
            lambda m, i, o: seen.setdefault("objectness", []).append(o.flatten())
        ),
        heads.box_predictor.register_forward_hook(lambda m, i, o: seen.update(boxes=o)),
        heads.mask_head.predictor.register_forward_hook(lambda m, i, o: seen.update(masks=o)),
    ]

    def look() -> None:
        seen.clear()
        set_weights(model, values, seed)
        model([given(image, resize)])

    look()
    logits = torch.cat(seen["objectness"])
    values = values._replace(objectness=float(1.5 / logits.std()))
    look()
    scores, deltas = seen["boxes"]
    spread = float(2.2 / (scores - scores.mean(0)).std())
    values = values._replace(
        scores=spread,
        score_bias=(-spread * scores.mean(0)).numpy(),
        deltas=float(0.7 / deltas.std()),
    )
    look()
    masks = seen["masks"]
    spread = float(2.0 / (masks - masks.mean((0, 2, 3), keepdim=True)).std())
    values = values._replace(masks=spread, mask_bias=(-spread * masks.mean((0, 2, 3))).numpy())
    for hook in hooks:
        hook.remove()
    set_weights(model, values, seed)
    return values


@torch.no_grad()
def predict(model: Any, image: np.ndarray, resize: Any) -> dict[str, np.ndarray]:
    """boxes (n, 4), labels (n,) from 1, scores (n,), probabilities (n, 28, 28), and masks (n, H, W)
    bool.
    """
    drawn: list[Any] = []
    plain = mask_head.mask_rcnn_inference

    def keep(logits: Any, instances: Sequence[Any]) -> None:
        plain(logits, instances)
        drawn.extend(each.pred_masks[:, 0].numpy() for each in instances)

    mask_head.mask_rcnn_inference = keep
    try:
        found = model([given(image, resize)])[0]["instances"]
    finally:
        mask_head.mask_rcnn_inference = plain
    return {
        "boxes": found.pred_boxes.tensor.numpy(),
        "labels": found.pred_classes.numpy() + 1,
        "scores": found.scores.numpy(),
        "probabilities": drawn[0],
        "masks": found.pred_masks.numpy(),
    }


@torch.no_grad()
def trace(model: Any, image: np.ndarray, resize: Any) -> dict[str, Any]:
    """What each stage gives, in this package's layouts: maps (N, H, W, C), colours as RGB, the
    background first.
    """
    images = model.preprocess_image([given(image, resize)])
    features = model.backbone(images.tensor)
    rpn, heads = model.proposal_generator, model.roi_heads
    levels = [features[name] for name in rpn.in_features]
    logits, deltas = rpn.rpn_head(levels)
    (proposals,), _ = rpn(images, features)
    cropped = [features[name] for name in heads.box_in_features]
    crops = heads.box_pooler(cropped, [proposals.proposal_boxes])
    scores, offsets = heads.box_predictor(heads.box_head(crops))
    (found,), _ = heads.box_predictor.inference((scores, offsets), [proposals])
    mask_crops = heads.mask_pooler(cropped, [found.pred_boxes])
    mask_logits = heads.mask_head.layers(mask_crops)
    own = torch.arange(len(found))
    probabilities = mask_logits[own, found.pred_classes].sigmoid()
    size = image.shape[1:]
    return {
        "size": tuple(images.image_sizes[0]),
        "batch": channels_last(images.tensor)[..., ::-1],
        "features": [channels_last(level) for level in levels],
        "anchors": [level.tensor.numpy() for level in rpn.anchor_generator(levels)],
        "logits": [channels_last(level) for level in logits],
        "deltas": [channels_last(level) for level in deltas],
        "proposals": proposals.proposal_boxes.tensor.numpy(),
        "crops": channels_last(crops),
        "class_logits": torch.cat([scores[:, -1:], scores[:, :-1]], 1).numpy(),
        "box_deltas": offsets.numpy(),
        "boxes": found.pred_boxes.tensor.numpy(),
        "scores": found.scores.numpy(),
        "labels": found.pred_classes.numpy() + 1,
        "mask_crops": channels_last(mask_crops),
        "probabilities": probabilities.numpy(),
        "pasted": paste_masks_in_image(
            probabilities, Boxes(found.pred_boxes.tensor * _scale(images, size)), size
        ).numpy(),
    }


def channels_last(maps: Any) -> np.ndarray:
    return maps.permute(0, 2, 3, 1).contiguous().numpy()


def _scale(images: Any, size: Sequence[int]) -> Any:
    (height, width), (new_height, new_width) = images.image_sizes[0], size
    x, y = new_width / width, new_height / height
    return torch.tensor([x, y, x, y])
