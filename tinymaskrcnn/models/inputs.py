"""What a model accepts: pictures and targets, checked where they enter, with errors that say which
one is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..detection.boxes import Size
from ..errors import InputError

Target = dict[str, Any]


def check_image(image: Any, number: int, channels: int) -> np.ndarray:
    """The picture as float32 (C, H, W). `number` is its place in the batch, for the message.

    Raises:
        InputError: not an array of floats, or not of shape (channels, H, W).
    """
    image = np.asarray(image)
    if image.dtype.kind != "f":
        raise InputError(
            f"image {number}: expected floats in 0..1, got {image.dtype}; divide 8-bit by 255"
        )
    if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
        raise InputError(f"image {number}: expected shape ({channels}, H, W), got {image.shape}")
    return image.astype(np.float32, copy=False)


def check_target(target: Target, number: int, size: Size) -> Target:
    """The target with boxes as float32 (G, 4) and labels as int64 (G,); other entries
    as they are, but `iscrowd` as bool.

    Raises:
        InputError: an entry is missing, numbers of objects differ, masks are not of the picture's
            size, a label is not 1 or above, or a box is empty or not finite.
    """
    missing = [key for key in ("boxes", "labels", "masks") if key not in target]
    if missing:
        raise InputError(f"target {number}: no {', '.join(missing)}")
    boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
    count = len(boxes)
    labels, masks = np.asarray(target["labels"], np.int64), np.asarray(target["masks"])
    if count == 0:
        masks = masks.reshape(0, *size)
    if labels.shape != (count,) or masks.shape != (count, *size):
        raise InputError(
            f"target {number}: for {count} boxes expected labels ({count},) and masks "
            f"{(count, *size)}, got {labels.shape} and {masks.shape}"
        )
    if count and labels.min() < 1:
        raise InputError(f"target {number}: label {labels.min()}, expected 1 or above")
    wrong = ~((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1))
    if wrong.any():
        box = boxes[wrong][0].tolist()
        raise InputError(f"target {number}: box {box}, expected x1 < x2 and y1 < y2")
    checked = {**target, "boxes": boxes, "labels": labels, "masks": masks}
    if "iscrowd" in target:
        checked["iscrowd"] = np.asarray(target["iscrowd"], bool).reshape(count)
    return checked
