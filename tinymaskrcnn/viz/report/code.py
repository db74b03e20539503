"""The functions that compute each step of the page, as text: what "show the code" shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...detection.anchors import cell_anchors
from ...detection.box_coder import BoxCoder
from ...detection.matcher import Matcher
from ...detection.sampler import BalancedSampler
from ...evaluation.detection_errors import judge
from ...models.box_head import FastRCNNPredictor
from ...models.fpn import FeaturePyramid
from ...models.mask_head import MaskPredictor
from ...models.mask_rcnn import MaskRCNN
from ...models.resnet import ResNet
from ...models.roi_heads import mask_goals
from ...models.roi_pooling import MultiScaleRoIAlign
from ...models.rpn import RPNHead
from ...ops.losses.reference import binary_cross_entropy
from ...ops.nms.reference import batched_nms, nms
from ...ops.paste_masks.reference import paste_masks
from ...ops.resize_normalize.reference import resize_normalize

STEPS: dict[str, Callable[..., Any]] = {  # by the step's id in page/
    "overview": MaskRCNN.forward,
    "picture": resize_normalize,
    "backbone": ResNet.forward,
    "pyramid": FeaturePyramid.forward,
    "anchors": cell_anchors,
    "objectness": RPNHead.forward,
    "refine": BoxCoder.decode,
    "proposals": nms,
    "levels": MultiScaleRoIAlign.level_of,
    "classes": FastRCNNPredictor.forward,
    "filters": batched_nms,
    "masks": MaskPredictor.forward,
    "result": paste_masks,
    "matching": Matcher.match,
    "sampling": BalancedSampler.sample,
    "regions": mask_goals,
    "losses": binary_cross_entropy,
    "mistakes": judge,
}


def code_of_steps() -> dict[str, dict[str, str]]:
    """Name, file and source of each step's function, by the step's id; empty without sources."""
    try:
        return {step: _code(function) for step, function in STEPS.items()}
    except OSError:
        return {}


def _code(function: Callable[..., Any]) -> dict[str, str]:
    return {
        "name": function.__qualname__,
        "file": function.__module__.replace(".", "/") + ".py",
        "source": inspect.cleandoc("\n" + inspect.getsource(function)),
    }
