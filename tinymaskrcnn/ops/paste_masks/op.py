"""Masks of detections in the size of the image: plain arrays, no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...gpu.array import GpuArray, to_host
from ..arguments import as_boxes
from . import kernels, reference

MODES = ("pixels", "exact")


def paste_masks(
    probabilities: Any, boxes: Any, height: int, width: int, mode: str = "pixels"
) -> np.ndarray:
    """Resize each mask to its box, and put it into an image of zeros.

    Pad the mask by one pixel of zeros; enlarge its box by the same proportion about its centre, and
    truncate it to whole pixels, toward zero. Resize bilinearly, with pixel centres at +0.5. He et
    al. 2017, "Mask R-CNN", section 3.1; the arithmetic is that of torchvision's
    paste_masks_in_image.

    In mode "exact" no box is truncated: each pixel's centre is looked up in the mask where the box
    as it is puts it. The result ends one pixel outside the box, as in detectron2.

    Args:
        probabilities: (N, M, M) float32 in 0..1.
        boxes: (N, 4) x1 y1 x2 y2 in image pixels; parts outside the image are cut off.
        height, width: of the image, in pixels.
        mode: "pixels" or "exact".

    Returns:
        (N, height, width) float32 probabilities.

    Raises:
        ValueError: a shape or the mode is wrong, or a coordinate is not finite.
    """
    probabilities, boxes, exact = _checked(probabilities, boxes, mode)
    paste = kernels(probabilities).paste_masks
    return paste(probabilities, boxes, int(height), int(width), exact)


def paste_masks_binary(
    probabilities: Any,
    boxes: Any,
    height: int,
    width: int,
    threshold: float = 0.5,
    mode: str = "pixels",
) -> np.ndarray:
    """`paste_masks(...) > threshold`, without the float image in between. In mode "exact" it is
    `>= threshold`, as in detectron2.

    Args:
        probabilities, boxes, height, width, mode: as in `paste_masks`.
        threshold: a probability.

    Returns:
        (N, height, width) bool.

    Raises:
        ValueError: a shape or the mode is wrong, or a coordinate is not finite.
    """
    probabilities, boxes, exact = _checked(probabilities, boxes, mode)
    if exact and threshold > 0:  # above the number before it; elsewhere the image is zero
        threshold = float(np.nextafter(probabilities.dtype.type(threshold), -np.inf))
    return kernels(probabilities).paste_masks_binary(
        probabilities, boxes, int(height), int(width), float(threshold), exact
    )


def paste_boxes(boxes: Any, mask_size: int) -> np.ndarray:
    """The whole pixels that `paste_masks` resizes each padded mask to.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in image pixels.
        mask_size: M, before the padding.

    Returns:
        (N, 4) int64: first column, first row, last column, last row; may reach beyond the image.
    """
    return np.array(reference._whole(as_boxes(boxes), mask_size + 2), np.int64).reshape(-1, 4)


def _checked(probabilities: Any, boxes: Any, mode: str) -> tuple[np.ndarray, np.ndarray, bool]:
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    dtype = np.float64 if getattr(probabilities, "dtype", None) == np.float64 else np.float32
    if not isinstance(probabilities, GpuArray):
        probabilities = np.ascontiguousarray(probabilities, dtype=dtype)
    if probabilities.ndim != 3 or probabilities.shape[1] != probabilities.shape[2]:
        raise ValueError(f"probabilities: expected shape (N, M, M), got {probabilities.shape}")
    boxes = as_boxes(to_host(boxes)).astype(dtype, copy=False)
    if len(boxes) != len(probabilities):
        raise ValueError(f"{len(probabilities)} masks, but {len(boxes)} boxes")
    bad = ~np.isfinite(boxes).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"boxes[{row}]: expected finite numbers, got {boxes[row].tolist()}")
    return probabilities, boxes, mode == "exact"
