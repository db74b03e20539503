"""Resize and normalise an image in one pass, and find the source pixels of its resized masks: plain
arrays, no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...gpu.array import GpuArray
from . import kernels


class Axis(NamedTuple):
    """Where a window of an image lies on one axis, before and after a resize of the whole image.

    Args:
        length, new_length: of the whole image. source: the first old pixel that is given.
        first: the first new pixel that is wanted.
    """

    length: int
    new_length: int
    source: int
    first: int


def window(length: int, new_length: int, first: int, count: int) -> tuple[Axis, slice]:
    """The axis of a window of `count` new pixels from `first` on, and the old pixels it needs."""
    ratio = length / new_length
    start = min(max(int((first + 0.5) * ratio - 0.5) - 1, 0), length - 1)
    stop = min(int((first + count) * ratio) + 3, length)
    return Axis(length, new_length, start, first), slice(start, stop)


def resize_normalize(
    image: np.ndarray,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    out: np.ndarray,
    rows: Axis | None = None,
    columns: Axis | None = None,
) -> None:
    """(image - mean) / std, resized to `size`, into the top left corner of `out`; zero elsewhere.

    Bilinear with pixel centres at +0.5, without antialiasing, as in torchvision's detection
    transform: output pixel i is read at max((i + 0.5) * in / out - 0.5, 0), ratio in float32.

    Args:
        image: (C, H, W) float32.
        size: height and width after the resize.
        mean, std: one number per channel.
        out: (height, width, C) float32, contiguous, at least as large as `size`; overwritten.
        rows, columns: for a window of a larger image, from `window`: `image` and `size` are then
            those of the window, and the result equals that part of the whole image's.

    Raises:
        ValueError: a shape does not fit.
    """
    channels = image.shape[0] if image.ndim == 3 else -1
    if len(mean) != channels or len(std) != channels or 0 in image.shape:
        raise ValueError(
            f"resize_normalize: expected an image (C, H, W) of {len(mean)} channels, each with "
            f"a mean and a std, got shape {image.shape} and {len(std)} of std"
        )
    if out.shape[2:] != (channels,) or out.shape[0] < size[0] or out.shape[1] < size[1]:
        raise ValueError(
            f"resize_normalize: {size} with {channels} channels does not fit in {out.shape}"
        )
    image = image if isinstance(image, GpuArray) else np.ascontiguousarray(image)
    colour = np.array(mean, image.dtype), np.array(std, image.dtype)
    rows = rows or Axis(image.shape[1], size[0], 0, 0)
    columns = columns or Axis(image.shape[2], size[1], 0, 0)
    kernels(image).resize_normalize(image, size, *colour, out, rows, columns)


def nearest_pixels(length: int, new_length: int) -> np.ndarray:
    """The source of each pixel along an axis when masks are resized by nearest neighbour: for pixel
    i, floor(i * length / new_length), with the ratio in float32. (new_length,) int64, ascending.
    """
    ratio = np.float32(length) / np.float32(new_length)
    place = (ratio * np.arange(new_length, dtype=np.float32)).astype(np.int64)
    return np.minimum(place, length - 1)
