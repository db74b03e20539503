"""Which of detectron2's Mask R-CNNs a weight file is for, and the settings that give its answers.

A file says neither how images are prepared nor where the strides are: those stand in detectron2's
config. `detectron2_config` gives those of its model zoo (R-50 and R-101 with a pyramid: 1x, 3x,
LSJ, group norm, LVIS). Whatever else was trained needs its settings given beside the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..weights.detectron2 import from_detectron2, is_detectron2
from .resnet import DEPTHS

DIALECT: dict[str, Any] = {  # what detectron2's defaults are, in this package's settings
    "image_mean": [value / 255 for value in (123.675, 116.280, 103.530)],
    "image_std": [1 / 255] * 3,
    "resize": "pillow",
    "round_sides": True,
    "clip_detections": True,
    "paste": "exact",
    "round_anchors": False,
    "anchor_strides": [4, 8, 16, 32, 64],
    "roi_aligned": True,
    "roi_sampling_ratio": 0,
    "rpn_min_size": 0.0,
    "rpn_rank_by": "logit",
    "rpn_post_nms_top_n_train": 1000,
    "box_min_size": 0.0,
    "norm_eps": 1e-5,
    "stride_in_1x1": True,
}
LVIS = {"box_score_thresh": 1e-4, "box_detections_per_img": 300}
LVIS_CLASSES = (1230, 1203)  # versions 0.5 and 1
LSJ = {"min_size": 1024, "max_size": 1024}


def detectron2_config(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The config for `build`, guessed from the arrays' names and shapes.

    Args:
        state: with detectron2's names; see `weights.detectron2.is_detectron2`.

    Raises:
        WeightsError: it is no Mask R-CNN of a kind that this package has; says why.
    """
    assert is_detectron2(state)
    arrays = from_detectron2(state)
    score = arrays.get("roi_heads.box_predictor.cls_score.weight")
    if score is None:
        raise WeightsError("not a Mask R-CNN: detectron2's cls_score.weight is missing")
    if not any(name.startswith("roi_heads.mask_predictor.") for name in arrays):
        raise WeightsError("detectron2's Faster R-CNN is not supported: it has no mask head")
    config = {"num_classes": len(score), **DIALECT, **_architecture(state, arrays)}
    return config | (LVIS if len(score) - 1 in LVIS_CLASSES else {})


def _architecture(
    state: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The builder and the settings that the names tell."""
    depth, norm = _depth(arrays), _norm(state, arrays, "backbone.body.bn1.")
    assert norm is not None  # _depth has seen its convolution; a missing norm is reported as frozen
    config: dict[str, Any] = {"builder": f"maskrcnn_{depth}_fpn", "norm": norm}
    if norm == "group":
        config |= {"norm_groups": 32, "stride_in_1x1": False}
    parts = (
        "backbone.fpn.inner_blocks.0.1.",
        "roi_heads.box_head.0.1.",
        "roi_heads.mask_head.0.1.",
    )
    norms = {_norm(state, arrays, part) for part in parts}
    if norms == {None} and "roi_heads.box_head.fc7.weight" in arrays:
        return config
    if norms != {norm} or depth not in ("resnet50", "resnet101"):
        found = ", ".join(str(each) for each in sorted(norms, key=str))
        raise WeightsError(
            f"detectron2's {depth} with norm {norm} and, in pyramid and heads, {found} is not "
            "supported: expected no norm there, or the same one in each"
        )
    convs = len([name for name in arrays if re.match(r"rpn\.head\.conv\.\d+\.0\.weight", name)])
    config |= {"builder": f"maskrcnn_{depth}_fpn_v2", "rpn_convs": convs}
    return config | (LSJ if convs == 2 else {})


def _depth(arrays: Mapping[str, np.ndarray]) -> str:
    names = [re.match(r"backbone\.body\.layer(\d)\.(\d+)\.", name) for name in arrays]
    found = {(int(name[1]), int(name[2])) for name in names if name}
    blocks = tuple(len([1 for stage, _ in found if stage == i]) for i in (1, 2, 3, 4))
    shape = blocks, "backbone.body.layer1.0.conv3.weight" in arrays
    for depth, known in DEPTHS.items():
        if known == shape:
            return depth
    raise WeightsError(
        f"detectron2's ResNet of {blocks} blocks is not supported: expected {', '.join(DEPTHS)}"
    )


def _norm(
    state: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], name: str
) -> str | None:
    """The kind of a norm: group norms have no statistics, and only norms that learn count batches.
    Files of NumPy arrays may lack the count; LSJ's two convolutions then tell.
    """
    if f"{name}weight" not in arrays:
        return None
    if f"{name}running_var" not in arrays:
        return "group"
    counted = any(key.endswith("num_batches_tracked") for key in state)
    learns = counted or "roi_heads.box_head.0.1.running_var" in arrays
    return "batch" if learns else "frozen"
