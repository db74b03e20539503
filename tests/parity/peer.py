"""torchvision's side of the comparison: models whose every stage is busy, and what each stage was
given and gave.

A freshly initialised network detects nothing (a softmax over 91 classes stays near 1/91), and
trained weights are not to be had everywhere. So the norms get the statistics of real activations,
and the predictors are scaled until scores spread over 0..1: top-k, NMS, levels, class-specific
boxes, masks and pasting all have work to do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.resnet import BasicBlock, Bottleneck, resnet18
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d

from ..golden import small
from ..golden.seeded import seeded_weights

NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d)
Values = dict[str, Any]


def build(arch: str, num_classes: int, **settings: Any) -> nn.Module:
    """torchvision's model of this name, v1 with the frozen norms of its published weights."""
    builder = getattr(detection, arch)
    model = builder(weights=None, weights_backbone=None, num_classes=num_classes, **settings)
    if not arch.endswith("_v2"):
        _freeze(model.backbone)
    return model


def build_small(**settings: Any) -> nn.Module:
    """torchvision's form of the golden files' small model."""
    body = resnet18(weights=None, norm_layer=_frozen)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], small.CHANNELS)
    pools = [
        MultiScaleRoIAlign(["0", "1", "2", "3"], size, 2, canonical_scale=small.CANONICAL_SCALE)
        for size in (7, 14)
    ]
    channels, classes, representation = small.CHANNELS, small.CLASSES, small.REPRESENTATION
    return detection.MaskRCNN(
        backbone,
        min_size=small.MIN_SIZE,
        max_size=small.MAX_SIZE,
        rpn_anchor_generator=AnchorGenerator(small.SIZES, small.RATIOS),
        box_roi_pool=pools[0],
        box_head=TwoMLPHead(channels * 49, representation),
        box_predictor=FastRCNNPredictor(representation, classes),
        mask_roi_pool=pools[1],
        mask_head=MaskRCNNHeads(channels, (channels, channels), 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes),
        **settings,
    )


def _frozen(channels: int) -> FrozenBatchNorm2d:
    return FrozenBatchNorm2d(channels, eps=0.0)


def _freeze(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _frozen(child.num_features))
        else:
            _freeze(child)


def busy(
    model: nn.Module, images: Sequence[np.ndarray], seed: int = 0, calm: bool = False
) -> nn.Module:
    """The model made busy on these images, with weights from the seed, in eval mode.

    Args:
        calm: let each residual block change its input by a little and each anchor move by a little,
            as in trained networks. Without, a random network magnifies a rounding of its input a
            thousandfold, so that two programs, or one program on two machines, differ in the third
            decimal of every score.
    """
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if v.ndim}
    weights = {k: torch.from_numpy(v) for k, v in seeded_weights(shapes, seed).items()}
    model.load_state_dict(weights, strict=False)  # counts of batches are left out
    calibrate(model.eval(), [torch.from_numpy(image) for image in images], seed, calm)
    return model


@torch.no_grad()
def calibrate(model: nn.Module, images: list[torch.Tensor], seed: int, calm: bool = False) -> None:
    """Give each norm the statistics of its input, layer after layer, and spread the scores."""
    calibrated: set[nn.Module] = set()
    blocks = [m for m in model.modules() if isinstance(m, (BasicBlock, Bottleneck))]
    ends = {block.bn3 if isinstance(block, Bottleneck) else block.bn2 for block in blocks}

    def calibrate_norm(norm: Any, arguments: tuple[torch.Tensor]) -> None:
        (x,) = arguments
        if norm in calibrated or x.shape[0] * x.shape[2] * x.shape[3] < 2:
            return
        calibrated.add(norm)
        norm.running_mean.copy_(x.mean((0, 2, 3)))
        norm.running_var.copy_(x.var((0, 2, 3)) + 1e-3)
        rng = np.random.default_rng([seed, len(calibrated)])
        norm.weight.copy_(torch.from_numpy(0.7 + 0.15 * rng.standard_normal(norm.weight.shape)))
        norm.bias.copy_(torch.from_numpy(0.2 * rng.standard_normal(norm.bias.shape)))
        if calm and norm in ends:
            norm.weight.mul_(0.25)

    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    handles = [norm.register_forward_pre_hook(calibrate_norm) for norm in norms]
    first, heads = images[:1], model.roi_heads
    model(first)  # the backbone's norms, and the box head's
    batch, _ = model.transform(images[:2])
    head = model.rpn.head
    logits, deltas = head(list(model.backbone(batch.tensors).values()))
    head.cls_logits.weight.mul_(1.5 / torch.cat([x.flatten() for x in logits]).std())
    spread = torch.cat([x.flatten() for x in deltas]).std()
    head.bbox_pred.weight.mul_(0.3 / spread if calm else 0.3)
    predictor, masks = heads.box_predictor, heads.mask_predictor
    seen: dict[str, torch.Tensor] = {}
    handles += [
        predictor.register_forward_hook(lambda _, __, y: seen.update(logits=y[0], deltas=y[1])),
        masks.register_forward_hook(lambda _, __, y: seen.update(masks=y)),
    ]
    model(first)
    _spread(predictor.cls_score, seen["logits"], 2.2)
    predictor.bbox_pred.weight.mul_(0.7 / seen["deltas"].std())
    model(first)  # now there are detections: the mask head's norms, and its logits
    model(first)
    _spread(masks.mask_fcn_logits, seen["masks"].permute(0, 2, 3, 1).flatten(0, 2), 2.0)
    for handle in handles:
        handle.remove()


def _spread(layer: Any, logits: torch.Tensor, deviation: float) -> None:
    """Scale a layer so that its outputs (rows, classes) are centred and deviate this much."""
    centre = logits.mean(0)
    factor = deviation / (logits - centre).std()
    layer.bias.copy_((layer.bias - centre) * factor)
    layer.weight.mul_(factor)


def load_file(model: nn.Module, path: Path) -> nn.Module:
    """The model with a file's weights, as torch reads them."""
    model.load_state_dict(torch.load(path, map_location="cpu"))
    return model


def state_of(model: nn.Module) -> dict[str, np.ndarray]:
    """Its state dict as arrays."""
    return {key: tensor.numpy() for key, tensor in model.state_dict().items()}


@torch.no_grad()
def trace(
    model: Any, images: Sequence[np.ndarray], rounded: bool = False, rows: int | None = None
) -> tuple[Values, Values]:
    """What each stage was given, and what it gave.

    Args:
        model: in eval mode. images: (3, H, W).
        rounded: round what the stages are given to half precision, which takes half the space.
        rows: how many crops the heads are given; all if None.

    Returns:
        given, expected: arrays by name, maps channels-last; lists have an entry per image or level.
    """
    given: Values = {"images": list(images)}
    expected: Values = {}

    def hand_on(name: str, value: Any) -> Any:
        expected[name] = as_arrays(value)
        passed = _to_half(value) if rounded else value
        given[name] = as_arrays(passed)
        return passed

    heads = model.roi_heads
    for pool in (heads.box_roi_pool, heads.mask_roi_pool):
        pool.scales = None  # torchvision keeps those of the first batch that it sees
    batch, _ = model.transform([torch.from_numpy(image) for image in images])
    sizes = batch.image_sizes
    given["sizes"] = expected["sizes"] = np.array(sizes)
    batch.tensors = hand_on("batch", batch.tensors)
    body = hand_on("body", list(model.backbone.body(batch.tensors).values()))
    pyramid = model.backbone.fpn(OrderedDict(zip("0123", body, strict=True)))
    features = hand_on("features", list(pyramid.values()))

    expected |= _trace_rpn(model.rpn, batch, features)
    given |= {key: expected[key] for key in ("anchors", "objectness", "deltas", "best")}
    proposals = expected.pop("all_proposals")
    given["proposals"] = as_arrays(proposals)
    levels = OrderedDict(zip("0123", features[:4], strict=True))

    crops = heads.box_roi_pool(levels, proposals, sizes)
    expected["levels"] = heads.box_roi_pool.map_levels(proposals).numpy()
    logits, deltas = heads.box_predictor(heads.box_head(crops))
    given["all_class_logits"], given["all_box_deltas"] = logits.numpy(), deltas.numpy()
    boxes, scores, labels = heads.postprocess_detections(logits, deltas, proposals, sizes)
    given["boxes"] = expected["boxes"] = as_arrays(boxes)
    given["labels"] = expected["labels"] = as_arrays(labels)
    expected["scores"] = as_arrays(scores)
    crops = hand_on("crops", crops)[:rows]
    given["crops"] = given["crops"][:rows]
    logits, deltas = heads.box_predictor(heads.box_head(crops))
    expected["class_logits"], expected["box_deltas"] = logits.numpy(), deltas.numpy()

    mask_crops = heads.mask_roi_pool(levels, boxes, sizes)
    mask_logits = heads.mask_predictor(heads.mask_head(mask_crops))
    probabilities = [p[:, 0] for p in maskrcnn_inference(mask_logits, labels)]
    given["probabilities"] = as_arrays(probabilities)
    mask_crops = hand_on("mask_crops", mask_crops)[:rows]
    given["mask_crops"] = given["mask_crops"][:rows]
    mask_logits = heads.mask_predictor(heads.mask_head(mask_crops))
    expected["mask_logits"] = as_arrays(mask_logits)
    own = maskrcnn_inference(mask_logits, [torch.cat(labels)[:rows]])[0][:, 0]
    expected["own_mask_probabilities"] = own.numpy()

    found = [
        {"boxes": b, "labels": label, "scores": s, "masks": m[:, None]}
        for b, label, s, m in zip(boxes, labels, scores, probabilities, strict=True)
    ]
    final = model.transform.postprocess(found, sizes, [image.shape[1:] for image in images])
    expected["final_boxes"] = as_arrays([f["boxes"] for f in final])
    expected["masks"] = [f["masks"][:, 0].numpy() for f in final]
    return given, expected


def _trace_rpn(rpn: Any, batch: Any, features: list[torch.Tensor]) -> Values:
    """From the pyramid to proposals."""
    objectness, deltas = rpn.head(features)
    anchors = rpn.anchor_generator(batch, features)
    level_sizes = [level[0].numel() for level in objectness]
    logits, offsets = concat_box_prediction_layers(objectness, deltas)
    count = len(anchors)
    decoded = rpn.box_coder.decode(offsets, anchors).view(count, -1, 4)
    best = rpn._get_top_n_idx(logits.reshape(count, -1), level_sizes)
    proposals, scores = rpn.filter_proposals(decoded, logits, batch.image_sizes, level_sizes)
    candidates = logits.reshape(count, -1).gather(1, best).sigmoid()
    return {
        "anchors": anchors[0].numpy(),
        "level_sizes": np.array(level_sizes),
        "objectness": logits.reshape(count, -1).numpy(),
        "deltas": offsets.reshape(count, -1, 4).numpy(),
        "best": best.numpy(),
        "moved": decoded.gather(1, best[..., None].expand(-1, -1, 4)).numpy(),
        "all_proposals": proposals,
        "proposals": [
            _without_ties(*image, rpn.post_nms_top_n())
            for image in zip(as_arrays(proposals), scores, candidates, strict=True)
        ],
    }


def _without_ties(
    boxes: np.ndarray, scores: torch.Tensor, candidates: torch.Tensor, most: int
) -> np.ndarray:
    """NaN for those boxes whose place another could take: where there are `most`, those that are as
    good as the last one if there are more candidates like that.
    """
    last = scores[-1:]
    free = scores == last
    if len(scores) == most and int((candidates == last).sum()) > int(free.sum()):
        boxes = np.where(free.numpy()[:, None], np.float32(np.nan), boxes)
    return boxes


def as_arrays(value: Any) -> Any:
    """Tensors as arrays, maps channels-last."""
    if isinstance(value, list):
        return [as_arrays(v) for v in value]
    value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
    return np.ascontiguousarray(value.detach().numpy())


def _to_half(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_half(v) for v in value]
    return value.half().float()


def predict(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """torchvision's detections of one image."""
    with torch.no_grad():
        (prediction,) = model([torch.from_numpy(image)])
    return {key: tensor.numpy() for key, tensor in prediction.items()}


def train_step(
    model: Any,
    batch: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    targets: Sequence[dict[str, Any]],
    proposals: Sequence[np.ndarray] | None = None,
) -> tuple[list[np.ndarray], dict[str, float], dict[str, np.ndarray]]:
    """torchvision's proposals, losses and gradients.

    Args:
        model: in training mode, in the dtype of `batch`. batch, sizes, targets: as for
            training.train_step. proposals: take the place of the model's own, if not None.
    """
    model.zero_grad()
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()
    images = ImageList(pixels, list(sizes))
    given = [{k: torch.from_numpy(np.asarray(v)) for k, v in target.items()} for target in targets]
    features = model.backbone(pixels)
    chosen, losses = model.rpn(images, features, given)
    if proposals is not None:
        chosen = [torch.from_numpy(p) for p in proposals]
    _, more = model.roi_heads(features, chosen, images.image_sizes, given)
    losses |= more
    sum(losses.values()).backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    values = {name: loss.item() for name, loss in losses.items()}
    return [p.detach().numpy() for p in chosen], values, gradients
