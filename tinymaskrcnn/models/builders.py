"""The models by name: torchvision's Mask R-CNNs, other backbones, and a tiny one for small
pictures.

Keyword settings have torchvision's names (`min_size`, `rpn_post_nms_top_n_test`,
`box_score_thresh`, ...) and defaults. A model remembers its builder and settings in `model.config`;
`build(config)` makes the same architecture again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from ..detection.anchors import AnchorGenerator
from ..errors import InputError
from ..nn import Module
from .box_head import ConvFCBoxHead, FastRCNNPredictor, TwoMLPHead
from .fpn import BackboneWithFPN, FeaturePyramid
from .mask_head import MaskHead, MaskPredictor
from .mask_rcnn import MaskRCNN
from .resnet import ResNet, norm_maker, resnet
from .roi_heads import RoIConfig, RoIHeads
from .roi_pooling import MultiScaleRoIAlign
from .rpn import RegionProposalNetwork, RPNConfig, RPNHead
from ..settings import check_settings
from .transform import Transform, TransformConfig
from .vgg import VGG16

ANCHOR_SIZES = (32, 64, 128, 256, 512)
ASPECT_RATIOS = (0.5, 1.0, 2.0)


def maskrcnn_resnet50_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Mask R-CNN with a ResNet-50 pyramid, torchvision's v1 (He et al. 2017, section 3).

    Args:
        num_classes: classes, background included.
        settings: in_channels=3; norm="frozen", "batch" or "group"; norm_eps=0.0 for frozen norms,
            as the published COCO weights want (give 1e-5 with ImageNet weights);
            trainable_backbone_layers=5 (0 to 5); seed=0 for the initial weights; and torchvision's
            keywords for transform, rpn and box settings.

    Raises:
        InputError: an unknown setting, or a value that cannot be; names it.
    """
    return _resnet_fpn("maskrcnn_resnet50_fpn", "resnet50", num_classes, settings)


def maskrcnn_resnet18_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """As maskrcnn_resnet50_fpn, on a ResNet-18."""
    return _resnet_fpn("maskrcnn_resnet18_fpn", "resnet18", num_classes, settings)


def maskrcnn_resnet34_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """As maskrcnn_resnet50_fpn, on a ResNet-34."""
    return _resnet_fpn("maskrcnn_resnet34_fpn", "resnet34", num_classes, settings)


def maskrcnn_resnet101_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """As maskrcnn_resnet50_fpn, on a ResNet-101."""
    return _resnet_fpn("maskrcnn_resnet101_fpn", "resnet101", num_classes, settings)


def maskrcnn_resnet50_fpn_v2(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """torchvision's v2: norms that train everywhere, two RPN convolutions, a convolutional box head
    (Li et al. 2021).

    Args:
        num_classes: classes, background included.
        settings: as for maskrcnn_resnet50_fpn, with norm="batch" and norm_eps=1e-5.
    """
    config = _config("maskrcnn_resnet50_fpn_v2", num_classes, settings)
    common = _Common(settings, norm="batch", norm_eps=1e-5)
    norm = norm_maker(common.norm, common.norm_eps)
    body = resnet("resnet50", norm, common.in_channels, rng=common.rng)
    _freeze(body, common.trainable_backbone_layers)
    backbone = BackboneWithFPN(
        body, FeaturePyramid(body.out_channels, 256, norm, rng=common.rng), 256
    )
    box_head = ConvFCBoxHead(256, (256, 256, 256, 256), 1024, norm=norm, rng=common.rng)
    mask_head = MaskHead(256, (256, 256, 256, 256), norm=norm, rng=common.rng)
    return _assemble(
        config,
        common,
        settings,
        backbone,
        num_classes,
        box_head,
        1024,
        mask_head,
        256,
        conv_depth=2,
    )


def maskrcnn_vgg16_fpn(num_classes: int = 91, **settings: Any) -> MaskRCNN:
    """Mask R-CNN with a VGG-16 pyramid.

    Args:
        num_classes: classes, background included.
        settings: in_channels=3, seed=0, and torchvision's keywords.
    """
    config = _config("maskrcnn_vgg16_fpn", num_classes, settings)
    common = _Common(settings, norm="frozen", norm_eps=0.0)
    body = VGG16(common.in_channels, rng=common.rng)
    backbone = BackboneWithFPN(body, FeaturePyramid(body.out_channels, 256, rng=common.rng), 256)
    return _standard_heads(config, common, settings, backbone, num_classes)


def maskrcnn_tiny(num_classes: int = 4, **settings: Any) -> MaskRCNN:
    """A small Mask R-CNN for small pictures: trains from random weights in minutes on two cores.

    The same stages as the large ones with fewer channels: a ResNet with a 3x3 stem and its own
    norms, a pyramid, and light heads. Small pictures are enlarged, so that the finest map has a
    cell for every two pixels of a picture of 128; box offsets come from convolutions, which place
    edges better than fully connected layers alone (Wu et al. 2020, "Rethinking classification and
    localization").

    Args:
        num_classes: classes, background included.
        settings: in_channels=3, norm="batch", norm_eps=1e-5, seed=0; widths=(16, 32, 64, 96) and
            blocks=(1, 1, 1, 1) of the four stages; fpn_channels=48; box_channels=(64, 64) and
            representation=128 (box head: convolutions, then one fully connected layer);
            mask_channels=(32, 32, 32, 32, 32); anchor_sizes=(24, 48, 96, 192, 384);
            canonical_scale=224 (side of a box that pools from level 4); min_size=256, max_size=256;
            and torchvision's other keywords, with smaller numbers of proposals and samples.
    """
    settings = TINY | settings
    config = _config("maskrcnn_tiny", num_classes, settings)
    common = _Common(settings, norm="batch", norm_eps=1e-5)
    norm = norm_maker(common.norm, common.norm_eps)
    rng = common.rng
    body = ResNet(
        settings.pop("blocks"),
        False,
        norm,
        common.in_channels,
        settings.pop("widths"),
        stem="3x3",
        rng=rng,
    )
    depth, size = settings.pop("fpn_channels"), settings.pop("representation")
    mask_channels = tuple(settings.pop("mask_channels"))
    backbone = BackboneWithFPN(body, FeaturePyramid(body.out_channels, depth, rng=rng), depth)
    box_head = ConvFCBoxHead(depth, settings.pop("box_channels"), size, rng=rng)
    mask_head = MaskHead(depth, mask_channels, rng=rng)
    return _assemble(
        config,
        common,
        settings,
        backbone,
        num_classes,
        box_head,
        size,
        mask_head,
        mask_channels[-1],
    )


TINY: dict[str, Any] = {
    "widths": (16, 32, 64, 96),
    "blocks": (1, 1, 1, 1),
    "fpn_channels": 48,
    "box_channels": (64, 64),
    "representation": 128,
    "mask_channels": (32, 32, 32, 32, 32),
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
    """The architecture that a config describes, with fresh weights.

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
        maskrcnn_resnet18_fpn,
        maskrcnn_resnet34_fpn,
        maskrcnn_resnet101_fpn,
        maskrcnn_vgg16_fpn,
        maskrcnn_tiny,
    )
}


class _Common:
    """What every builder takes, removed from `settings` and checked."""

    def __init__(self, settings: dict[str, Any], norm: str, norm_eps: float) -> None:
        self.in_channels: int = settings.pop("in_channels", 3)
        self.norm: str = settings.pop("norm", norm)
        default_eps = norm_eps if self.norm == norm else 1e-5
        self.norm_eps: float = settings.pop("norm_eps", default_eps)
        self.trainable_backbone_layers: int = settings.pop("trainable_backbone_layers", 5)
        self.rng = np.random.default_rng(settings.pop("seed", 0))


def _resnet_fpn(builder: str, name: str, num_classes: int, settings: dict[str, Any]) -> MaskRCNN:
    config = _config(builder, num_classes, settings)
    common = _Common(settings, norm="frozen", norm_eps=0.0)
    body = resnet(
        name, norm_maker(common.norm, common.norm_eps), common.in_channels, rng=common.rng
    )
    _freeze(body, common.trainable_backbone_layers)
    backbone = BackboneWithFPN(body, FeaturePyramid(body.out_channels, 256, rng=common.rng), 256)
    return _standard_heads(config, common, settings, backbone, num_classes)


def _standard_heads(
    config: dict[str, Any],
    common: _Common,
    settings: dict[str, Any],
    backbone: Module,
    num_classes: int,
) -> MaskRCNN:
    """torchvision's v1 heads: two fully connected layers of 1024, four mask convolutions of 256."""
    box_head = TwoMLPHead(256, 1024, rng=common.rng)
    mask_head = MaskHead(256, (256, 256, 256, 256), rng=common.rng)
    return _assemble(
        config, common, settings, backbone, num_classes, box_head, 1024, mask_head, 256
    )


def _assemble(
    config: dict[str, Any],
    common: _Common,
    settings: dict[str, Any],
    backbone: Any,
    num_classes: int,
    box_head: Module,
    representation: int,
    mask_head: Module,
    mask_channels: int,
    conv_depth: int = 1,
) -> MaskRCNN:
    """Put the stages together from torchvision's keyword settings.

    Raises:
        InputError: a setting is left over, which only another builder has.
    """
    rng = common.rng
    sizes = settings.pop("anchor_sizes", ANCHOR_SIZES)
    ratios = settings.pop("aspect_ratios", ASPECT_RATIOS)
    scale = settings.pop("canonical_scale", 224)
    anchors = AnchorGenerator(tuple((s,) for s in sizes), (tuple(ratios),) * len(sizes))
    if common.in_channels != 3:  # no published statistics: those of ImageNet's grey values
        settings.setdefault("image_mean", (0.449,) * common.in_channels)
        settings.setdefault("image_std", (0.226,) * common.in_channels)
    if "bbox_reg_weights" in settings:  # the one name of torchvision's without the prefix
        settings["box_reg_weights"] = settings.pop("bbox_reg_weights")
    transform = Transform(_part(TransformConfig, settings, ""))
    rpn_config, roi_config = _part(RPNConfig, settings, "rpn_"), _part(RoIConfig, settings, "box_")
    if settings:
        raise InputError(f"{config['builder']} has no setting {', '.join(map(repr, settings))}")
    rpn_head = RPNHead(backbone.out_channels, len(ratios), conv_depth, rng=rng)
    roi_heads = RoIHeads(
        box_pool=MultiScaleRoIAlign(7, 2, canonical_scale=scale),
        box_head=box_head,
        box_predictor=FastRCNNPredictor(representation, num_classes, rng=rng),
        mask_pool=MultiScaleRoIAlign(14, 2, canonical_scale=scale),
        mask_head=mask_head,
        mask_predictor=MaskPredictor(mask_channels, mask_channels, num_classes, rng=rng),
        config=roi_config,
    )
    rpn = RegionProposalNetwork(rpn_head, anchors, rpn_config)
    return MaskRCNN(transform, backbone, rpn, roi_heads, config)


def _part(kind: type, settings: dict[str, Any], prefix: str) -> Any:
    """The configuration of one part from the settings whose names begin with its prefix; they are
    removed.
    """
    names = [f.name for f in fields(kind) if prefix + f.name in settings]
    return kind(**{name: settings.pop(prefix + name) for name in names})


def _config(builder: str, num_classes: int, settings: dict[str, Any]) -> dict[str, Any]:
    """What `build` needs, once it is sure that all settings can be. The seed is left out: it is not
    part of the architecture.

    Raises:
        InputError: a setting cannot be; names it.
    """
    check_settings(builder, {"num_classes": num_classes, **settings})
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items() if k != "seed"}
    return {"builder": builder, "num_classes": num_classes, **kept}


def _freeze(body: ResNet, trainable_layers: int) -> None:
    """Stop training all but the last layers, counted from the top as torchvision does."""
    names = ("layer4", "layer3", "layer2", "layer1", "conv1")[:trainable_layers]
    names += ("bn1",) if trainable_layers == 5 else ()
    for name, parameter in body.named_parameters():
        parameter.requires_grad = name.startswith(tuple(names)) if names else False
