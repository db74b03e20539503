"""The layers that the page computes itself, to say how a number came about: the first convolution,
and those from the backbone's maps to objectness.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.mask_rcnn import MaskRCNN
from ...tracing import Trace
from .pack import Pack

MOST = 500_000  # numbers from the backbone's maps to objectness; a page has no more of them
LARGEST = 6e4  # what float16 can hold


def first_layer(pack: Pack, model: MaskRCNN, channels: int) -> dict[str, Any] | None:
    """The first convolution with its norm as a scale and a shift: the page computes it from the
    image. None where it has another form.
    """
    state, body = model.state_dict(), "backbone.body"
    weight, spread = state.get(f"{body}.conv1.weight"), state.get(f"{body}.bn1.running_var")
    if weight is None or spread is None or weight.shape[1] not in (1, 3):
        return None
    backbone: Any = model.backbone
    scale = state[f"{body}.bn1.weight"] / np.sqrt(spread + backbone.body.bn1.eps)
    shift = state[f"{body}.bn1.bias"] - state[f"{body}.bn1.running_mean"] * scale
    return {
        "channels": len(weight),
        "weight": pack.array(weight[:channels], "f4"),  # channels, image channels, rows, columns
        "scale": pack.array(scale[:channels], "f4"),
        "shift": pack.array(shift[:channels], "f4"),
        "stride": 2,
    }


def pyramid_layers(pack: Pack, model: MaskRCNN, t: Trace) -> dict[str, Any] | None:
    """The backbone's maps with all channels, and the convolutions from there to objectness. None
    where the network has other layers or is too large.
    """
    state = model.state_dict()
    maps = [level[0] for level in t["backbone.body"]]
    inner, layer = (
        [f"backbone.fpn.{kind}.{i}.0" for i in range(len(maps))]
        for kind in ("inner_blocks", "layer_blocks")
    )
    hidden, objectness = "rpn.head.conv.0.0", "rpn.head.cls_logits"
    ours = {f"{n}.{part}" for n in (*inner, *layer, hidden) for part in ("weight", "bias")}
    if ours != {n for n in state if n.startswith(("backbone.fpn.", "rpn.head.conv."))}:
        return None
    if sum(m.size for m in maps) + sum(state[name].size for name in ours) > MOST:
        return None

    def half(values: np.ndarray) -> Any:
        return pack.array(np.clip(values, -LARGEST, LARGEST), "f2")

    def conv(name: str) -> dict[str, Any]:
        weight = state[f"{name}.weight"]  # O, C, rows, columns -> O, C, taps
        weight = weight.reshape(*weight.shape[:2], -1)
        return {"weight": half(weight), "bias": pack.array(state[f"{name}.bias"], "f4")}

    return {
        "body": [half(m) for m in maps],  # H, W, C
        "inner": [conv(name) for name in inner],
        "layer": [conv(name) for name in layer],
        "hidden": conv(hidden),
        "objectness": conv(objectness),
    }
