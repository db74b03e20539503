"""Small functions on boxes: arrays whose last axis is x1, y1, x2, y2 in continuous pixels (a pixel
at column c covers c to c+1).

Not here: the IoU of all pairs of two sets of boxes (ops/box_iou) and NMS (ops/nms), which have
compiled forms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Size = tuple[int, int]  # height, width


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Areas (...) of boxes (..., 4), in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Clip boxes (..., 4) to an image of this height and width, into a new array."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def is_large_enough(boxes: np.ndarray, min_size: float) -> np.ndarray:
    """Whether both sides of each of boxes (..., 4) are at least `min_size` long, and not 0: (...)
    bool.
    """
    min_size = max(min_size, float(np.finfo(np.float32).smallest_subnormal))
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return (width >= min_size) & (height >= min_size)


def scale_boxes(boxes: np.ndarray, from_size: Size, to_size: Size) -> np.ndarray:
    """Scale boxes (N, 4) with their image, from `from_size` to `to_size`.

    The two ratios are rounded to float32 before they are used, as torchvision does.
    """
    y, x = np.array(to_size, np.float32) / np.array(from_size, np.float32)
    return boxes * np.array([x, y, x, y], boxes.dtype)


def intersection_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The area that boxes (..., 4) share with boxes (..., 4), which are broadcast."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.prod(np.maximum(high - low, 0), axis=-1)


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The IoU of boxes (..., 4) with boxes (..., 4), which are broadcast."""
    shared = intersection_area(a, b)
    return shared / np.maximum(box_area(a) + box_area(b) - shared, 1e-12)


def covered_shares(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The share of each box's area (N, 4) that each region (M, 4) covers: (N, M)."""
    shared = intersection_area(boxes[:, None], regions[None])  # N, M
    return shared / np.maximum(box_area(boxes), np.finfo(boxes.dtype).tiny)[:, None]


def covered_share(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """For each box (N, 4), the largest share of its area that one region (M, 4) covers: (N,), 0 if
    there are none.
    """
    largest = np.zeros(len(boxes), boxes.dtype)
    for region in regions:  # one at a time: all pairs may be too many
        np.maximum(largest, covered_shares(boxes, region[None])[:, 0], out=largest)
    return largest


def boxes_to_rois(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Stack one (n, 4) array per image to rois (R, 5): image index, x1, y1, x2, y2, in order."""
    index = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
    stacked = np.concatenate([np.reshape(b, (-1, 4)) for b in boxes])
    return np.column_stack([index, stacked]).astype(stacked.dtype)
