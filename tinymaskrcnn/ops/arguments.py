"""Check the arguments that several ops accept (pairs, boxes, rois) and bring them into one form.

The ops' implementations trust arguments that passed these checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..gpu.array import GpuArray, to_host


def as_pair(value: Any, name: str, least: int | None = None) -> tuple[int, int]:
    """A height and a width, from a pair or from one number for both.

    Args:
        value: whole numbers, Python's or NumPy's.
        name: the setting's name, for the message.
        least: the smallest number allowed; None if the caller checks the range.

    Raises:
        ValueError: not one or two whole numbers, or one is too small.
    """
    if type(value) is int and (least is None or value >= least):
        return value, value  # nearly always; the rest takes ten times as long
    pair: tuple[Any, ...] = tuple(np.atleast_1d(value)) * (2 if np.ndim(value) == 0 else 1)
    whole = len(pair) == 2 and all(isinstance(v, int | np.integer | np.floating) for v in pair)
    if not whole or any(
        not float(v).is_integer() or (least is not None and v < least) for v in pair
    ):
        limit = "" if least is None else f" >= {least}"
        raise ValueError(f"{name}: expected a whole number{limit} or a pair (h, w), got {value!r}")
    return int(pair[0]), int(pair[1])


def output_size(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> tuple[int, int]:
    """How many places a sliding window has, (down, across), rounded down; below 1 if it does not
    fit. All arguments are (h, w) pairs in pixels; `padding` is added on each side.
    """
    height = (size[0] + 2 * padding[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (size[1] + 2 * padding[1] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    return height, width


def as_boxes(boxes: Any, name: str = "boxes") -> np.ndarray:
    """Boxes as a contiguous (N, 4) array. Float64 arrays and device arrays keep their type;
    anything else becomes float32.

    Raises:
        ValueError: the shape is not (N, 4).
    """
    boxes = _as_float(boxes)
    if boxes.size == 0 and boxes.ndim == 1:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name}: expected shape (N, 4), x1 y1 x2 y2, got {boxes.shape}")
    return boxes


def as_scores(scores: Any, boxes: np.ndarray) -> np.ndarray:
    """One number per box, contiguous (N,), in the boxes' dtype.

    Raises:
        ValueError: the shape is not (N,).
    """
    if not isinstance(scores, GpuArray):
        scores = np.ascontiguousarray(scores, dtype=boxes.dtype)
    _check_one_per_box(scores, boxes, "scores")
    return scores


def as_labels(labels: Any, boxes: np.ndarray) -> np.ndarray:
    """One whole number per box, contiguous (N,) int64.

    Raises:
        ValueError: the shape is not (N,), or the type not an integer.
    """
    labels = np.asarray(labels)
    _check_one_per_box(labels, boxes, "labels")
    if labels.size and labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected integers, got {labels.dtype}")
    return np.ascontiguousarray(labels, dtype=np.int64)


def as_rois(rois: Any, features: np.ndarray) -> np.ndarray:
    """Rois as a contiguous (R, 5) array of the features' dtype: image index, x1, y1, x2, y2.

    Args:
        rois: such an array, or a list (or tuple) of one (n, 4) array of boxes per image.
        features: (N, H, W, C).

    Raises:
        ValueError: a shape is wrong, an image index is not a whole number in 0 .. N - 1, or a
            coordinate is not finite.
    """
    if features.ndim != 4:
        raise ValueError(f"features: expected shape (N, H, W, C), got {features.shape}")
    if isinstance(rois, list | tuple):
        rois = _from_list(rois, len(features))
    rois = np.ascontiguousarray(to_host(rois), dtype=features.dtype)
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(
            "rois: expected shape (R, 5), image index x1 y1 x2 y2, or a list of one (n, 4) array "
            f"per image, got shape {rois.shape}"
        )
    _check_finite(rois)
    _check_indices(rois[:, 0], len(features))
    return rois


def check_channels_last(features: np.ndarray, rois: np.ndarray, spatial_scale: float) -> None:
    """Find out whether `features` were given channels-first, (N, C, H, W).

    That is certain enough if all rois lie inside the map read as (N, C, H, W), while most of their
    centres lie outside the map read as (N, H, W, C).

    Raises:
        ValueError: the features must be channels-first.
    """
    _, height, width, channels = features.shape
    if not len(rois) or width < 2:
        return
    corners = rois[:, 1:] * spatial_scale
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    outside = (centres > (width, height)).any(axis=1)
    fits = (corners >= 0).all() and (corners <= (channels, width) * 2).all()
    if fits and outside.mean() > 0.5:
        raise ValueError(
            f"features of shape {features.shape} look channels-first: expected (N, H, W, C), but "
            f"most rois lie outside a map of height {height} and width {width}; they all fit "
            f"height {width} and width {channels}"
        )


def check_one_place(**arrays: Any) -> None:
    """Check that all arrays are on the host, or all on the device.

    Raises:
        InputError: some are on the host, others on the device.
    """
    if len({isinstance(array, GpuArray) for array in arrays.values()}) > 1:
        places = ", ".join(
            f"{name} {array.shape} on {'cuda' if isinstance(array, GpuArray) else 'cpu'}"
            for name, array in arrays.items()
        )
        raise InputError(f"arrays on different devices: {places}; move them with to_device")


def _as_float(values: Any) -> Any:
    if isinstance(values, GpuArray):
        return values
    dtype = np.float64 if getattr(values, "dtype", None) == np.float64 else np.float32
    return np.ascontiguousarray(values, dtype=dtype)


def _check_one_per_box(values: np.ndarray, boxes: np.ndarray, name: str) -> None:
    if values.shape != (len(boxes),):
        raise ValueError(f"{name}: expected one per box, shape ({len(boxes)},), got {values.shape}")


def _from_list(boxes: list[Any] | tuple[Any, ...], images: int) -> np.ndarray:
    if len(boxes) != images:
        raise ValueError(
            f"rois: expected one array of boxes per image, {images} of them, got {len(boxes)}"
        )
    checked = [as_boxes(b, f"rois[{i}]") for i, b in enumerate(boxes)]
    if not checked:
        return np.zeros((0, 5), np.float32)
    index = np.repeat(np.arange(images), [len(b) for b in checked])
    return np.column_stack((index, np.concatenate(checked)))


def _check_finite(rois: np.ndarray) -> None:
    bad = ~np.isfinite(rois).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"rois[{row}]: expected finite numbers, got {rois[row].tolist()}")


def _check_indices(index: np.ndarray, images: int) -> None:
    bad = (index < 0) | (index >= images) | (index != np.floor(index))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"rois[{row}]: image index {index[row]:g}, expected 0 to {images - 1}: "
            f"the features have {images} images"
        )
