"""Names of parameters: torchvision's present spelling, the one before its renaming, and the
backbone of a classification checkpoint.

torchvision wrapped the convolutions of the pyramid, the RPN head and the mask head into blocks of a
convolution and a norm, which added a number to their names. The files published in 2019 are older.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..errors import WeightsError
from .detectron2 import from_detectron2, is_detectron2

_OLD_SPELLINGS = (
    (re.compile(r"\b(inner_blocks|layer_blocks)\.(\d+)\.(weight|bias)$"), r"\1.\2.0.\3"),
    (re.compile(r"\brpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
)
_OLD_MASK_HEAD = re.compile(r"\bmask_head\.mask_fcn(\d)\.(weight|bias)$")  # counted from 1
_CLASSIFIERS = {"resnet": ("fc.", "linear."), "vgg16": ("classifier.",)}
_PREFIX = "backbone.body."


def canonical(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict in the present spelling, without `num_batches_tracked`.

    Args:
        state: arrays by name, in either spelling, or with detectron2's names and layouts; not
            changed.

    Raises:
        WeightsError: it has one parameter in both spellings, or is detectron2's and does not fit.
    """
    if is_detectron2(state):
        return from_detectron2(state)
    kept = [key for key in state if not key.endswith("num_batches_tracked")]
    renamed = {present_spelling(key): state[key] for key in kept}
    if len(renamed) < len(kept):
        twice = next(k for k in kept if present_spelling(k) != k and present_spelling(k) in state)
        raise WeightsError(f"{twice} and {present_spelling(twice)} are the same parameter")
    return renamed


def present_spelling(key: str) -> str:
    """One name in the present spelling: `inner_blocks.0.weight` becomes `inner_blocks.0.0.weight`,
    and `mask_head.mask_fcn1.bias` becomes `mask_head.0.0.bias`.
    """
    for old, new in _OLD_SPELLINGS:
        key = old.sub(new, key)
    return _OLD_MASK_HEAD.sub(lambda m: f"mask_head.{int(m[1]) - 1}.0.{m[2]}", key)


def backbone_state(state: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The backbone's part of an ImageNet classification or a detection checkpoint, for
    `model.backbone.body.load_state_dict`.

    Args:
        state: arrays by name, as torchvision's classifiers name them, or those of a detector, or of
            detectron2's `R-50.pkl` and the like.
        kind: "resnet" (any depth; `fc` is dropped) or "vgg16" (`classifier` is dropped).

    Raises:
        WeightsError: there is no such kind, the state has no such backbone, or its backbone has
            norms where the builder's has none.

    Example:
        model = tm.maskrcnn_resnet50_fpn(num_classes=3, norm_eps=1e-5)
        state = tm.backbone_state(tm.load_weights("resnet50-0676ba61.pth"), "resnet")
        model.backbone.body.load_state_dict(state)
    """
    if kind not in _CLASSIFIERS:
        raise WeightsError(f"no backbone {kind!r}: expected one of {', '.join(_CLASSIFIERS)}")
    if is_detectron2(state):
        state = from_detectron2(state)
    if any(key.startswith(_PREFIX) for key in state):
        state = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
    first = "conv1.weight" if kind == "resnet" else "features.0.weight"
    if first not in state:
        raise WeightsError(f"the weights hold no {kind} backbone: {first} is missing")
    if kind == "vgg16" and "features.1.running_mean" in state:
        raise WeightsError("the weights are of a vgg16 with batch norms: expected one without")
    return {k: v for k, v in canonical(state).items() if not k.startswith(_CLASSIFIERS[kind])}
