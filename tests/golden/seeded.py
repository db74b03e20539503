"""Weights and images from a seed, by NumPy alone: the recording script and the tests make the
same ones, so that a model's weights need not be stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


def seeded_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of He's size for these names and shapes; norms are the identity."""
    return {key: _weight(key, shape, seed) for key, shape in shapes.items()}


def _weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        return np.float32(np.sqrt(6 / fan_in)) * (2 * rng.random(shape, np.float32) - 1)
    if key.endswith(("running_var", "weight")):
        return np.ones(shape, np.float32)
    if key.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    return np.float32(0.1) * (rng.random(shape, np.float32) - np.float32(0.5))


def seeded_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth blobs with edges between them, (3, height, width) float32 in 0..1, multiples of
    1/255.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((3, height, width))
    for _ in range(12):
        y, x, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(6, 40)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < size**2
        image[:, inside] = rng.uniform(0, 1, (3, 1))
        image += rng.uniform(-0.1, 0.1, (3, 1, 1)) * np.sin(rows / size + columns / 9)
    return (np.round(255 * image.clip(0, 1)) / 255).astype(np.float32)


def seeded_target(image: np.ndarray, classes: int, count: int, seed: int) -> dict:
    """Ellipses as objects: boxes (G, 4), labels (G,) from 1, masks (G, H, W)."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[1:]
    size = rng.uniform(0.2, 0.6, (count, 2)) * [width, height]
    corner = rng.uniform(0, 1, (count, 2)) * ([width, height] - size)
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    rows, columns = np.mgrid[:height, :width] + 0.5
    masks = [
        ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((rows - (y1 + y2) / 2) / (y2 - y1)) ** 2
        < 0.25
        for x1, y1, x2, y2 in boxes
    ]
    labels = rng.integers(1, classes, count)
    masks = np.array(masks, np.uint8).reshape(count, height, width)
    return {"boxes": boxes, "labels": labels, "masks": masks}


DETECTRON2 = {  # settings of the recorded model, whose image is of this height, width and seed
    "min_size": 160,
    "max_size": 200,
    "rpn_post_nms_top_n_test": 200,
    "box_detections_per_img": 30,
}
DETECTRON2_PICTURE = (150, 190, 3)


class Busy(NamedTuple):
    """What makes a detectron2 model with seeded weights busy: factors of its last layers' weights,
    and biases per class.
    """

    objectness: float = 1.0
    scores: float = 1.0
    deltas: float = 1.0
    masks: float = 1.0
    score_bias: np.ndarray | None = None
    mask_bias: np.ndarray | None = None


def detectron2_weights(
    shapes: Mapping[str, tuple[int, ...]], busy: Busy, seed: int = 0
) -> dict[str, np.ndarray]:
    """A calm detectron2 Mask R-CNN: each residual adds a third of its size, so that a rounding does
    not grow on its way through the body.
    """
    state = seeded_weights(shapes, seed)
    for key in state:
        if key.endswith("conv3.norm.weight"):
            state[key] *= np.float32(0.3)
    state["backbone.bottom_up.stem.conv1.norm.running_var"] *= np.float32(8000)  # of grey values
    factors = {
        "proposal_generator.rpn_head.objectness_logits": busy.objectness,
        "proposal_generator.rpn_head.anchor_deltas": 0.1,
        "roi_heads.box_predictor.cls_score": busy.scores,
        "roi_heads.box_predictor.bbox_pred": busy.deltas,
        "roi_heads.mask_head.predictor": busy.masks,
    }
    for layer, factor in factors.items():
        state[f"{layer}.weight"] *= np.float32(factor)
        state[f"{layer}.bias"] *= np.float32(0)
    if busy.score_bias is not None:
        state["roi_heads.box_predictor.cls_score.bias"] = busy.score_bias
    if busy.mask_bias is not None:
        state["roi_heads.mask_head.predictor.bias"] = busy.mask_bias
    return state
