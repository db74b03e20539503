"""A small Mask R-CNN on a ResNet-18 with torchvision's names: few channels after the backbone, so
that the NumPy kernels get through it in seconds, and crops from every level for small images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymaskrcnn.detection.anchors import AnchorGenerator
from tinymaskrcnn.models.box_head import FastRCNNPredictor, TwoMLPHead
from tinymaskrcnn.models.fpn import BackboneWithFPN, FeaturePyramid
from tinymaskrcnn.models.mask_head import MaskHead, MaskPredictor
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.resnet import norm_maker, resnet
from tinymaskrcnn.models.roi_heads import RoIConfig, RoIHeads
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign
from tinymaskrcnn.models.rpn import RegionProposalNetwork, RPNConfig, RPNHead
from tinymaskrcnn.models.transform import Transform, TransformConfig

CLASSES, CHANNELS, REPRESENTATION, CANONICAL_SCALE = 5, 32, 64, 40
SIZES = tuple((s,) for s in (8, 16, 32, 64, 128))  # of anchors, level by level
RATIOS = ((0.5, 1.0, 2.0),) * 5
MIN_SIZE, MAX_SIZE = 96, 128
TESTING = {
    "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_test": 60,
    "box_detections_per_img": 10,
}
EVERYTHING = {  # samplers that leave nothing to chance
    "rpn_batch_size_per_image": 10**6,
    "box_batch_size_per_image": 10**6,
    "rpn_positive_fraction": 0.5,
    "box_positive_fraction": 0.5,
    "rpn_pre_nms_top_n_train": 60,
    "rpn_post_nms_top_n_train": 20,
}


def small_model() -> MaskRCNN:
    """The package's; weights are to be loaded."""
    rng = np.random.default_rng(0)
    settings = TESTING | EVERYTHING
    rpn_config = RPNConfig(**_part(settings, "rpn_"))
    roi_config = RoIConfig(**_part(settings, "box_"))
    body = resnet("resnet18", norm_maker("frozen", 0.0), rng=rng)
    pyramid = FeaturePyramid(body.out_channels, CHANNELS, rng=rng)
    heads = RoIHeads(
        MultiScaleRoIAlign(7, 2, CANONICAL_SCALE),
        TwoMLPHead(CHANNELS, REPRESENTATION, rng=rng),
        FastRCNNPredictor(REPRESENTATION, CLASSES, rng=rng),
        MultiScaleRoIAlign(14, 2, CANONICAL_SCALE),
        MaskHead(CHANNELS, (CHANNELS, CHANNELS), rng=rng),
        MaskPredictor(CHANNELS, CHANNELS, CLASSES, rng=rng),
        roi_config,
    )
    rpn_head = RPNHead(CHANNELS, 3, rng=rng)
    return MaskRCNN(
        Transform(TransformConfig(MIN_SIZE, MAX_SIZE)),
        BackboneWithFPN(body, pyramid, CHANNELS),
        RegionProposalNetwork(rpn_head, AnchorGenerator(SIZES, RATIOS), rpn_config),
        heads,
        {},
    )


def _part(settings: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
