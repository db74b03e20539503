"""Nine conventions that a weight file leaves open, each as a change of a loaded model, for lesson
16b."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.transform import Transform


class InclusiveCoder(BoxCoder):
    """Boxes whose right and lower ends are the last pixels, not edges."""

    def decode(self, deltas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        pixel = np.float32([0, 0, 1, 1])
        return super().decode(deltas, boxes + pixel) - pixel


class BlueFirst(Transform):
    """Takes each image for BGR."""

    def __call__(self, images: Sequence[np.ndarray], *rest: Any, **device: Any) -> Any:
        return super().__call__([image[::-1] for image in images], *rest, **device)


def blue_first(model: Any) -> None:
    model.transform = BlueFirst(model.transform.config)


def stride_in_the_second(model: Any) -> None:
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        block = getattr(model.backbone.body, stage)[0]
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def background_last(model: Any) -> None:
    layer = model.roi_heads.box_predictor.cls_score
    layer.weight.data = np.roll(layer.weight.data, -1, axis=0)
    layer.bias.data = np.roll(layer.bias.data, -1)


def widths_plus_one(model: Any) -> None:
    for part in (model.rpn, model.roi_heads):
        part.box_coder = InclusiveCoder(part.box_coder.weights)


CHANGES: dict[str, Callable[[Any], None] | dict[str, Any]] = {
    "stride in the other convolution": stride_in_the_second,
    "blue first (BGR)": blue_first,
    "resized in whole grey values": {"resize": "pillow"},
    "anchors not rounded": {"round_anchors": False},
    "RoIAlign: aligned": {"roi_aligned": True},
    "RoIAlign: a sample per pixel": {"roi_sampling_ratio": 0},
    "background last": background_last,
    "widths + 1": widths_plus_one,
    "masks pasted exactly": {"paste": "exact"},
}


def changed(name: str, kind: str) -> MaskRCNN:
    """A shipped model with one of the changes."""
    change = CHANGES[kind]
    if isinstance(change, dict):
        return tm.load_model(name, **change)
    model = tm.load_model(name)
    change(model)
    return model
