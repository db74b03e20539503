"""The models by name: torchvision's Mask R-CNNs, the same with other backbones, and a tiny one for
small images.

Keyword settings have torchvision's names (`min_size`, `rpn_post_nms_top_n_test`,
`box_score_thresh`, ...) and defaults; keywords.py has the table. A model remembers its builder and
settings in `model.config`; `build(config)` makes the same architecture again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ..detection.anchors import AnchorGenerator
from ..errors import InputError
from ..nn import Module
from .box_head import ConvFCBoxHead, FastRCNNPredictor, TwoMLPHead
from .fpn import BackboneWithFPN, FeaturePyramid
from .keywords import ModelPlan, ResNetConfig, TinyConfig, V2Config, part, plan_model
from .mask_head import MaskHead, MaskPredictor
from .mask_rcnn import MaskRCNN
from .resnet import NormMaker, ResNet, norm_maker, resnet
from .roi_heads import RoIHeads
from .roi_pooling import MultiScaleRoIAlign
from .rpn import RegionProposalNetwork, RPNHead
from .transform import Transform
from .vgg import VGG16

WIDTH = 256  # channels of the pyramid levels and of the heads' convolutions
DESCRIPTION = 1024  # numbers that describe a crop
FROZEN = {"norm": "frozen", "norm_eps": 0.0}  # as in the published COCO weights


def maskrcnn_resnet50_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Mask R-CNN with a ResNet-50 pyramid, torchvision's v1 (He et al. 2017, section 3).

    Args:
        num_classes: classes, background included.
        settings: in_channels=3; norm="frozen", "batch" or "group"; norm_eps=0.0 for frozen norms,
            as the published COCO weights want (give 1e-5 with ImageNet weights), else 1e-5;
            trainable_backbone_layers=5 (0 to 5); seed=0 for the initial weights; and torchvision's
            keywords for the transform, the RPN and the box head.

    Raises:
        InputError: an unknown setting, or a value that cannot be; names it.
    """
    return _resnet_fpn("resnet50", num_classes, settings)


def maskrcnn_resnet18_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Like maskrcnn_resnet50_fpn, with a ResNet-18."""
    return _resnet_fpn("resnet18", num_classes, settings)


def maskrcnn_resnet34_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Like maskrcnn_resnet50_fpn, with a ResNet-34."""
    return _resnet_fpn("resnet34", num_classes, settings)


def maskrcnn_resnet101_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Like maskrcnn_resnet50_fpn, with a ResNet-101."""
    return _resnet_fpn("resnet101", num_classes, settings)


def maskrcnn_resnet50_fpn_v2(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """torchvision's v2: norms that train everywhere, two RPN convolutions, a convolutional box head
    (Li et al. 2021).

    Args:
        num_classes: classes, background included.
        settings: as for maskrcnn_resnet50_fpn, with norm="batch" and norm_eps=1e-5; rpn_convs=2.

    Raises:
        InputError: an unknown setting, or a value that cannot be; names it.
    """
    return _resnet_fpn_v2("resnet50", num_classes, settings)


def maskrcnn_resnet101_fpn_v2(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Like maskrcnn_resnet50_fpn_v2, with a ResNet-101."""
    return _resnet_fpn_v2("resnet101", num_classes, settings)


def maskrcnn_vgg16_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Mask R-CNN with a VGG-16 pyramid.

    Args:
        num_classes: classes, background included.
        settings: in_channels=3, seed=0, and torchvision's keywords.

    Raises:
        InputError: an unknown setting, or a value that cannot be; names it.
    """
    plan = plan_model("maskrcnn_vgg16_fpn", {"num_classes": num_classes, **settings})
    return _with_standard_heads(plan, VGG16(plan.common.in_channels, rng=plan.rng))


def maskrcnn_tiny(num_classes: int = 4, **settings: Any) -> MaskRCNN:
    """A small Mask R-CNN for small images: trains from random weights in minutes on two cores.

    The same stages as the large ones with fewer channels: a ResNet with a 3x3 stem and its own
    norms, a pyramid, and light heads. Small images are enlarged, so that the finest map has one
    cell per two pixels of a 128-pixel image. Box offsets come from convolutions, which place edges
    better than fully connected layers alone (Wu et al. 2020, "Rethinking classification and
    localization").

    Args:
        num_classes: classes, background included.
        settings: in_channels=3, norm="batch", norm_eps=1e-5, trainable_backbone_layers=5, seed=0;
            widths=(16, 32, 64, 96) and blocks=(1, 1, 1, 1) of the four stages; fpn_channels=48;
            box_channels=(64, 64) and representation=128 (box head: convolutions, then one fully
            connected layer); mask_channels=(32, 32, 32, 32, 32); anchor_sizes=(24, 48, 96, 192,
            384); canonical_scale=224 (side of a box that is pooled from level 4); min_size=256,
            max_size=256; and torchvision's other keywords, with fewer proposals and samples.

    Raises:
        InputError: an unknown setting, or a value that cannot be; names it.
    """
    settings = {"num_classes": num_classes, **TINY, **settings}
    plan = plan_model("maskrcnn_tiny", settings, ResNetConfig, TinyConfig)
    config, tiny, rng = part(ResNetConfig, settings), part(TinyConfig, settings), plan.rng
    norm, depth = norm_maker(config.norm, config.norm_eps, config.norm_groups), tiny.fpn_channels
    body = ResNet(
        tiny.blocks, False, norm, plan.common.in_channels, tiny.widths, stem="3x3", rng=rng
    )
    _freeze(body, config.trainable_backbone_layers)
    backbone = _with_pyramid(body, depth, rng=rng)
    box_head = ConvFCBoxHead(depth, tiny.box_channels, tiny.representation, rng=rng)
    mask_head = MaskHead(depth, tiny.mask_channels, rng=rng)
    return _assemble(
        plan, backbone, (box_head, tiny.representation), (mask_head, tiny.mask_channels[-1])
    )


TINY: dict[str, Any] = {
    **asdict(TinyConfig()),
    "anchor_sizes": (24, 48, 96, 192, 384),
    "canonical_scale": 224,
    "min_size": 256,
    "max_size": 256,
    "rpn_pre_nms_top_n_train": 400,
    "rpn_post_nms_top_n_train": 200,
    "rpn_pre_nms_top_n_test": 300,
    "rpn_post_nms_top_n_test": 100,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 32,
    "box_positive_fraction": 0.5,
    "box_detections_per_img": 50,
}


def build(config: dict[str, Any]) -> MaskRCNN:
    """The architecture that a config describes, with new weights.

    Args:
        config: as in `model.config`: {"builder": name, "num_classes": K, ...settings}.

    Raises:
        InputError: no such builder, or settings that it does not take.
    """
    settings = dict(config)
    name = settings.pop("builder", None)
    if not isinstance(name, str) or name not in BUILDERS:
        raise InputError(f"no model {name!r}: expected one of {', '.join(BUILDERS)}")
    return BUILDERS[name](**settings)


BUILDERS: dict[str, Callable[..., MaskRCNN]] = {
    builder.__name__: builder
    for builder in (
        maskrcnn_resnet50_fpn,
        maskrcnn_resnet50_fpn_v2,
        maskrcnn_resnet101_fpn_v2,
        maskrcnn_resnet18_fpn,
        maskrcnn_resnet34_fpn,
        maskrcnn_resnet101_fpn,
        maskrcnn_vgg16_fpn,
        maskrcnn_tiny,
    )
}


def _resnet_fpn(depth: str, num_classes: int, settings: dict[str, Any]) -> MaskRCNN:
    """torchvision's v1: only its ResNet has norms."""
    given = {"num_classes": num_classes, **settings}
    plan = plan_model(f"maskrcnn_{depth}_fpn", given, ResNetConfig)
    published = FROZEN if settings.get("norm", "frozen") == "frozen" else {}
    config = part(ResNetConfig, published | settings)
    body = _body(depth, config, plan)
    return _with_standard_heads(plan, body)


def _resnet_fpn_v2(depth: str, num_classes: int, settings: dict[str, Any]) -> MaskRCNN:
    """torchvision's v2: norms everywhere but in the RPN."""
    given = {"num_classes": num_classes, **settings}
    plan = plan_model(f"maskrcnn_{depth}_fpn_v2", given, ResNetConfig, V2Config)
    config, rng = part(ResNetConfig, settings), plan.rng
    norm = norm_maker(config.norm, config.norm_eps, config.norm_groups)
    backbone = _with_pyramid(_body(depth, config, plan), WIDTH, norm, rng=rng)
    box_head = ConvFCBoxHead(WIDTH, (WIDTH,) * 4, DESCRIPTION, norm, rng=rng)
    mask_head = MaskHead(WIDTH, (WIDTH,) * 4, norm, rng=rng)
    convs = part(V2Config, settings).rpn_convs
    return _assemble(plan, backbone, (box_head, DESCRIPTION), (mask_head, WIDTH), convs)


def _body(depth: str, config: ResNetConfig, plan: ModelPlan) -> ResNet:
    norm = norm_maker(config.norm, config.norm_eps, config.norm_groups)
    channels, stride_in_1x1 = plan.common.in_channels, config.stride_in_1x1
    body = resnet(depth, norm, channels, stride_in_1x1=stride_in_1x1, rng=plan.rng)
    _freeze(body, config.trainable_backbone_layers)
    return body


def _with_standard_heads(plan: ModelPlan, body: ResNet | VGG16) -> MaskRCNN:
    """torchvision's v1 around a body: a plain pyramid, two fully connected layers for boxes, four
    convolutions for masks.
    """
    rng = plan.rng
    backbone = _with_pyramid(body, WIDTH, rng=rng)
    box_head = TwoMLPHead(WIDTH, DESCRIPTION, rng=rng)
    mask_head = MaskHead(WIDTH, (WIDTH,) * 4, rng=rng)
    return _assemble(plan, backbone, (box_head, DESCRIPTION), (mask_head, WIDTH))


def _with_pyramid(
    body: ResNet | VGG16, depth: int, norm: NormMaker | None = None, *, rng: np.random.Generator
) -> BackboneWithFPN:
    return BackboneWithFPN(body, FeaturePyramid(body.out_channels, depth, norm, rng=rng), depth)


def _assemble(
    plan: ModelPlan,
    backbone: BackboneWithFPN,
    box_head: tuple[Module, int],
    mask_head: tuple[MaskHead, int],
    rpn_convs: int = 1,
) -> MaskRCNN:
    """Put the stages together; of each head, the network and the depth of its output."""
    rpn = _rpn(plan, backbone.out_channels, rpn_convs)
    roi_heads = _roi_heads(plan, box_head, mask_head)
    return MaskRCNN(Transform(plan.transform), backbone, rpn, roi_heads, plan.config)


def _rpn(plan: ModelPlan, depth: int, convs: int) -> RegionProposalNetwork:
    """One size of anchor per level, in every aspect ratio."""
    sizes, ratios = plan.common.anchor_sizes, tuple(plan.common.aspect_ratios)
    anchors = AnchorGenerator(
        tuple((size,) for size in sizes),
        (ratios,) * len(sizes),
        plan.common.round_anchors,
        plan.common.anchor_strides and tuple(plan.common.anchor_strides),
    )
    head = RPNHead(depth, len(ratios), convs, rng=plan.rng)
    return RegionProposalNetwork(head, anchors, plan.rpn)


def _roi_heads(
    plan: ModelPlan, box_head: tuple[Module, int], mask_head: tuple[MaskHead, int]
) -> RoIHeads:
    """Crops, heads and predictors of the second stage."""
    classes, samples = plan.common.num_classes, plan.common.roi_sampling_ratio
    scale, aligned = plan.common.canonical_scale, plan.common.roi_aligned
    (box, box_depth), (mask, mask_depth) = box_head, mask_head
    return RoIHeads(
        box_pool=MultiScaleRoIAlign(7, samples, scale, aligned=aligned),
        box_head=box,
        box_predictor=FastRCNNPredictor(box_depth, classes, rng=plan.rng),
        mask_pool=MultiScaleRoIAlign(14, samples, scale, aligned=aligned),
        mask_head=mask,
        mask_predictor=MaskPredictor(mask_depth, mask_depth, classes, rng=plan.rng),
        config=plan.roi,
    )


def _freeze(body: ResNet, trainable_layers: int) -> None:
    """Train only the last layers, counted from the top as torchvision does."""
    names = ("layer4", "layer3", "layer2", "layer1", "conv1")[:trainable_layers]
    names += ("bn1",) if trainable_layers == 5 else ()
    for name, parameter in body.named_parameters():
        parameter.requires_grad = name.startswith(tuple(names)) if names else False
