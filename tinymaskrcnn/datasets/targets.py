"""The target of one image: a dict. Every array has one entry per object.

boxes     (G, 4) float32   x1, y1, x2, y2 in pixels; a mask's box reaches to its last column + 1
labels    (G,) int64       1..K; 0 is the background and never occurs
masks     (G, H, W) uint8  0 or 1, the visible part: an array, or CroppedMasks, which act like one
area      (G,) float32     in pixels; COCO's small, medium and large depend on it
iscrowd   (G,) bool        a region of many objects: neither a positive nor a negative
image_id  int              the only entry that is not per object
"""

from typing import Any

import numpy as np

from ..detection.cropped_masks import CroppedMasks
from ..models.inputs import Target


def target_from_masks(masks: Any, labels: np.ndarray, image_id: int) -> Target:
    """A target of ordinary objects whose boxes and areas come from their masks (G, H, W)."""
    masks = CroppedMasks.of(masks)
    return {
        "boxes": masks.boxes(),
        "labels": np.asarray(labels, np.int64),
        "masks": masks.astype(np.uint8),
        "area": masks.areas(),
        "iscrowd": np.zeros(len(masks), bool),
        "image_id": image_id,
    }


def select_objects(target: Target, keep: np.ndarray) -> Target:
    """The target with only the objects that `keep` (bool (G,) or indices) selects."""
    return {
        name: value[keep] if isinstance(value, np.ndarray | CroppedMasks) else value
        for name, value in target.items()
    }


def with_masks(target: Target, masks: Any, min_pixels: int = 1) -> Target:
    """The target with new masks: boxes and areas follow, and objects that vanish are dropped.

    An object vanishes when fewer than `min_pixels` of its pixels are left.
    """
    moved = target_from_masks(masks, target["labels"], target.get("image_id", 0))
    return select_objects({**target, **moved, **crowd_flags(target)}, moved["area"] >= min_pixels)


def crowd_flags(target: Target) -> Target:
    """The target's `iscrowd` entry; all False if a hand-made target has none."""
    return {"iscrowd": target.get("iscrowd", np.zeros(len(target["labels"]), bool))}
