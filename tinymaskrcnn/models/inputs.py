"""What a model accepts: images and targets, checked where they enter. Errors say which one is
wrong, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..detection.boxes import Size
from ..detection.cropped_masks import CroppedMasks
from ..errors import InputError
from ..settings import SCALE

Target = dict[str, Any]
"""The ground truth of one image: boxes (G, 4) float32 x1 y1 x2 y2 in pixels, labels (G,) int64 from
1, masks (G, H, W) uint8 or CroppedMasks, maybe `iscrowd` (G,) bool; other entries are kept. G may
be 0.

An image that was resized beforehand, such as a crop for training, says so by `scale`: how many of
its pixels it has per pixel of the original (default 1). A model that works at a fixed scale then
resizes it only by what is left, which is nothing if the loader has brought it to the model's scale.
"""


def check_images(images: Any, channels: int) -> list[np.ndarray]:
    """The images as float32 (C, H, W), each its own size.

    Raises:
        InputError: not a sequence of images, or an empty one, or an image that cannot be used.
    """
    if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str):
        raise InputError(f"images: expected a list of images, got {type(images).__name__}")
    if len(images) == 0:
        raise InputError("expected at least one image")
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise InputError(
            f"images: expected a list of images (C, H, W), got one array {images.shape}"
        )
    return [check_image(image, i, channels) for i, image in enumerate(images)]


def check_image(image: Any, number: int, channels: int) -> np.ndarray:
    """The image as float32 (C, H, W). `number` is its index in the batch, for the message.

    Raises:
        InputError: not an array of floats, not of shape (channels, H, W), or not finite.
    """
    image = np.asarray(image)
    if image.dtype.kind != "f":
        raise InputError(
            f"image {number}: expected floats in 0..1, got {image.dtype}; divide 8-bit by 255"
        )
    if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
        raise InputError(f"image {number}: expected shape ({channels}, H, W), got {image.shape}")
    if not np.isfinite(image).all():
        raise InputError(f"image {number}: expected finite numbers, got NaN or infinity")
    return image.astype(np.float32, copy=False)


def check_target(target: Any, number: int, size: Size) -> Target:
    """The target with boxes as float32 (G, 4), labels as int64 (G,), CroppedMasks, and `iscrowd` as
    bool; other entries are kept.

    Raises:
        InputError: not a dict, an entry is missing or has another shape, numbers of objects differ,
            masks are not of the image's size, a label is below 1, or a box is empty or not finite.
    """
    if not isinstance(target, dict):
        raise InputError(f"target {number}: expected a dict, got {type(target).__name__}")
    missing = [key for key in ("boxes", "labels", "masks") if key not in target]
    if missing:
        raise InputError(f"target {number}: no {', '.join(missing)}")
    boxes = _boxes(target["boxes"], f"target {number}")
    count = len(boxes)
    labels, masks = np.asarray(target["labels"]), target["masks"]
    if not isinstance(masks, CroppedMasks):
        masks = np.asarray(masks)
    if count == labels.size == masks.size == 0:  # empty lists have no types or shapes
        labels, masks = np.zeros(0, np.int64), masks.reshape(0, *size)
    if labels.shape != (count,) or masks.shape != (count, *size):
        raise InputError(
            f"target {number}: for {count} boxes expected labels ({count},) and masks "
            f"{(count, *size)}, got {labels.shape} and {masks.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"target {number}: expected whole numbers as labels, got {labels.dtype}")
    if count and labels.min() < 1:
        raise InputError(f"target {number}: label {labels.min()}, expected 1 or above")
    checked = {**target, "boxes": boxes, "labels": labels.astype(np.int64)}
    checked["masks"] = CroppedMasks.of(masks)
    if "iscrowd" in target:
        checked["iscrowd"] = _flags(target["iscrowd"], count, f"target {number}")
    return checked


def scale_of(target: Any, number: int) -> float:
    """A target's `scale`, 1 if it has none. Raises InputError for what is no scale."""
    scale = target.get("scale", 1.0) if isinstance(target, dict) else 1.0
    if not SCALE.holds(scale):
        raise InputError(f"target {number}: scale {scale!r}, expected {SCALE.description}")
    return float(scale)


def check_labels(targets: Sequence[Target], num_classes: int) -> None:
    """Raise InputError for a label that the model has no class for.

    Args:
        targets: as from `check_target`. num_classes: K, background included.
    """
    for number, target in enumerate(targets):
        highest = target["labels"].max(initial=0)
        if highest >= num_classes:
            raise InputError(
                f"target {number}: label {highest}, expected 1 to {num_classes - 1}: the model has "
                f"{num_classes} classes, background included"
            )


def _boxes(boxes: Any, where: str) -> np.ndarray:
    try:
        boxes = np.asarray(boxes, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: boxes are not numbers (G, 4): {error}") from None
    if boxes.shape == (0,):  # an empty list
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"{where}: expected boxes (G, 4), x1 y1 x2 y2, got shape {boxes.shape}")
    wrong = ~((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1))
    if wrong.any():
        raise InputError(
            f"{where}: box {boxes[wrong][0].tolist()}, expected x1 < x2 and y1 < y2, both finite"
        )
    return boxes


def _flags(values: Any, count: int, where: str) -> np.ndarray:
    flags = np.asarray(values, bool)
    if flags.shape != (count,) and flags.size != count:
        raise InputError(
            f"{where}: for {count} boxes expected iscrowd ({count},), got {flags.shape}"
        )
    return flags.reshape(count)
