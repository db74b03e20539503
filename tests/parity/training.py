"""A training step of the package from a given batch, and what is compared of it.

The samplers are made to take everything, so that nothing is left to chance, and the proposals are
given: no gradient flows through them, and one that differs by rounding may be another box.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.transform import ImageBatch
from tinymaskrcnn.tensor import Tensor

EVERYTHING = {  # settings of a model, of either package
    "rpn_batch_size_per_image": 10**6,
    "box_batch_size_per_image": 10**6,
    "rpn_positive_fraction": 0.5,
    "box_positive_fraction": 0.5,
}
Arrays = dict[str, np.ndarray]


def train_step(
    model: MaskRCNN,
    batch: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    targets: Sequence[dict[str, Any]],
    proposals: Sequence[np.ndarray],
) -> tuple[dict[str, float], Arrays]:
    """The five losses, and the gradient of every parameter that trains.

    Args:
        model: in training mode; all in the dtype of `batch`. batch: (N, H, W, C), with the sizes of
            the images in it. targets, proposals: in its pixels.
    """
    model.zero_grad()
    rng = np.random.default_rng(0)  # has nothing to choose
    images = ImageBatch(batch, list(sizes), list(sizes))
    features = model.backbone(Tensor(batch))
    output = model.rpn(images, features)
    output = replace(output, anchors=output.anchors.astype(batch.dtype))
    losses = model.rpn.losses(output, targets, rng)
    losses |= model.roi_heads.losses(features[:-1], proposals, images.sizes, targets, rng)
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


def to_double(model: MaskRCNN) -> None:
    """Make every parameter and statistic float64; the reference kernels then compute in it."""
    for module in model.modules():
        for name, part in vars(module).items():
            if isinstance(part, Tensor):
                part.data = part.data.astype(np.float64)
            elif name in module.buffers:
                setattr(module, name, part.astype(np.float64))
        module.parameters_changed()


def fingerprint(name: str, gradient: np.ndarray) -> np.ndarray:
    """Five numbers that stand for a gradient: its norm, and its products with four vectors of
    signs, each of which would change with the gradient by about as much as the norm.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    flat = gradient.astype(np.float64).ravel()
    signs = 2 * rng.integers(0, 2, (4, flat.size), dtype=np.int8) - 1
    return np.array([np.linalg.norm(flat), *(signs @ flat)])


def relative_differences(
    actual: Mapping[str, Any], expected: Mapping[str, Any]
) -> dict[str, float]:
    """|a - b| / |b| of each array.

    Raises:
        KeyError: one of the names is missing.
    """
    if actual.keys() != expected.keys():
        raise KeyError(f"names differ: {sorted(actual.keys() ^ expected.keys())}")
    return {
        name: float(np.linalg.norm(actual[name] - value) / max(np.linalg.norm(value), 1e-12))
        for name, value in expected.items()
    }
