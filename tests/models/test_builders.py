"""The builders: which parts each one puts together, and in which order they draw their weights."""

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.models.box_head import ConvFCBoxHead, FastRCNNPredictor, TwoMLPHead
from tinymaskrcnn.models.fpn import FeaturePyramid
from tinymaskrcnn.models.mask_head import MaskHead, MaskPredictor
from tinymaskrcnn.models.resnet import ResNet, norm_maker, resnet
from tinymaskrcnn.models.rpn import RPNHead


def tiny(rng):
    norm = norm_maker("group", 1e-5)
    yield "backbone.body", ResNet((1, 2, 1, 1), False, norm, 1, (8, 8, 16, 24), stem="3x3", rng=rng)
    yield "backbone.fpn", FeaturePyramid((8, 8, 16, 24), 12, rng=rng)
    yield "roi_heads.box_head", ConvFCBoxHead(12, (8, 10), 20, rng=rng)
    yield "roi_heads.mask_head", MaskHead(12, (8, 6), rng=rng)
    yield "rpn.head", RPNHead(12, 2, rng=rng)
    yield "roi_heads.box_predictor", FastRCNNPredictor(20, 3, rng=rng)
    yield "roi_heads.mask_predictor", MaskPredictor(6, 6, 3, rng=rng)


def v1(rng):
    body = resnet("resnet18", norm_maker("frozen", 0.0), rng=rng)
    yield "backbone.body", body
    yield "backbone.fpn", FeaturePyramid(body.out_channels, 256, rng=rng)
    yield "roi_heads.box_head", TwoMLPHead(256, 1024, rng=rng)
    yield "roi_heads.mask_head", MaskHead(256, (256, 256, 256, 256), rng=rng)
    yield "rpn.head", RPNHead(256, 3, rng=rng)
    yield "roi_heads.box_predictor", FastRCNNPredictor(1024, 3, rng=rng)
    yield "roi_heads.mask_predictor", MaskPredictor(256, 256, 3, rng=rng)


def v2(rng):
    norm = norm_maker("batch", 1e-5)
    body = resnet("resnet50", norm, rng=rng)
    yield "backbone.body", body
    yield "backbone.fpn", FeaturePyramid(body.out_channels, 256, norm, rng=rng)
    yield "roi_heads.box_head", ConvFCBoxHead(256, (256, 256, 256, 256), 1024, norm, rng=rng)
    yield "roi_heads.mask_head", MaskHead(256, (256, 256, 256, 256), norm, rng=rng)
    yield "rpn.head", RPNHead(256, 3, conv_depth=2, rng=rng)
    yield "roi_heads.box_predictor", FastRCNNPredictor(1024, 3, rng=rng)
    yield "roi_heads.mask_predictor", MaskPredictor(256, 256, 3, rng=rng)


TINY = {
    "norm": "group",
    "in_channels": 1,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 2, 1, 1),
    "fpn_channels": 12,
    "box_channels": (8, 10),
    "representation": 20,
    "mask_channels": (8, 6),
    "aspect_ratios": (1, 2),
}


@pytest.mark.parametrize(
    ("build", "settings", "parts"),
    [
        (tm.maskrcnn_tiny, TINY, tiny),
        (tm.maskrcnn_resnet18_fpn, {}, v1),
        (tm.maskrcnn_resnet50_fpn_v2, {}, v2),
    ],
)
def test_a_seed_gives_the_weights_of_the_parts_made_in_this_order(build, settings, parts):
    """A seed means the same weights in every version, and no part is missing or made twice."""
    found = build(num_classes=3, seed=5, **settings).state_dict()
    for prefix, part in parts(np.random.default_rng(5)):
        for name, array in part.state_dict().items():
            np.testing.assert_array_equal(found.pop(f"{prefix}.{name}"), array)
    assert found == {}


def norms_of(model):
    return {
        (type(part).__name__, part.eps)
        for _, part in model.backbone.body.named_modules()
        if hasattr(part, "eps")
    }


@pytest.mark.parametrize(
    ("build", "settings", "norm"),
    [
        (tm.maskrcnn_resnet18_fpn, {}, ("FrozenBatchNorm2d", 0.0)),
        (
            tm.maskrcnn_resnet18_fpn,
            {"norm": "frozen", "norm_eps": 1e-5},
            ("FrozenBatchNorm2d", 1e-5),
        ),
        (tm.maskrcnn_resnet18_fpn, {"norm": "batch"}, ("BatchNorm2d", 1e-5)),
        (tm.maskrcnn_tiny, {}, ("BatchNorm2d", 1e-5)),
        (tm.maskrcnn_tiny, {"norm": "frozen"}, ("FrozenBatchNorm2d", 1e-5)),
        (tm.maskrcnn_tiny, {"norm": "group", "norm_eps": 1e-3}, ("GroupNorm", 1e-3)),
    ],
)
def test_norms_and_their_epsilon(build, settings, norm):
    assert norms_of(build(num_classes=2, **settings)) == {norm}


def test_frozen_layers_of_the_tiny_model():
    body = tm.maskrcnn_tiny(trainable_backbone_layers=1).backbone.body
    assert {n.split(".")[0] for n, p in body.named_parameters() if p.requires_grad} == {"layer4"}


def test_one_channel_images_have_the_statistics_of_grey_values():
    config = tm.maskrcnn_tiny(in_channels=1).transform.config
    assert (config.image_mean, config.image_std) == ((0.449,), (0.226,))
    config = tm.maskrcnn_tiny(in_channels=1, image_mean=0.5).transform.config
    assert (config.image_mean, config.image_std) == ((0.5,), (0.226,))
