"""From the image to the backbone's input, and from 28x28 masks to masks of the image: what
models/transform.py and ops/paste_masks do, as nodes.

A size is (2,) int64, height and width: an array where it is known, else a Value. The same
arithmetic works on both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from ..detection.boxes import Size
from ..models.transform import Transform, TransformConfig
from .graph import (
    DOUBLE,
    FLOAT,
    INT64,
    Graph,
    Value,
    cast,
    clipped,
    counted_to,
    floats,
    joined,
    spread,
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the image as given, after resizing, and with its padding.

    Args:
        room: how many times as many boxes there may be as the settings say, float64: more than 1
            for large images of a model with a fixed scale.
    """

    image: Any
    resized: Any
    padded: Any
    room: Any

    def limit(self, count: int) -> Any:
        """A limit of the settings for this image: a number, or a Value (1,)."""
        if isinstance(self.room, Value):
            g = self.room.graph
            return cast(g.Ceil(self.room * np.float64(count)), INT64)
        return ceil(self.room * count)


def sizes_of(g: Graph, transform: Transform, image: Value, fixed: Size | None) -> Sizes:
    """Sizes of an image (C, H, W), known if it has always the height and width `fixed`."""
    divisor = transform.config.size_divisor
    if fixed is None:
        size: Any = g.Shape(image)[1:3]
        resized: Any = resized_size(g, transform.config, size)
    else:
        size, resized = np.array(fixed), np.array(transform.resized_size(fixed))
    padded = (resized + (divisor - 1)) // divisor * divisor
    return Sizes(size, resized, padded, room_of(g, transform.config, resized))


def room_of(g: Graph, config: TransformConfig, resized: Any) -> Any:
    """How many times as large as min_size x max_size a resized image is, and at least 1."""
    if getattr(config, "scale", None) is None:
        return 1.0  # no image becomes larger
    area = np.float64(np.atleast_1d(config.min_size)[-1] * config.max_size)
    ratio = cast(resized[0:1] * resized[1:2], DOUBLE) / area
    if isinstance(ratio, Value):
        return g.Max(ratio, np.float64(1))
    return max(float(ratio[0]), 1.0)


def resized_size(g: Graph, config: TransformConfig, size: Value) -> Value:
    """As `Transform.resized_size`, in float64, for an image of any size."""
    sides = cast(size, DOUBLE)
    scale: float | None = getattr(config, "scale", None)
    if scale is not None:
        return g.Max(cast(g.Round(sides * np.float64(scale)), INT64), 1)
    # not ReduceMin and ReduceMax: after those, OpenVINO 2026.4 divides the wrong way round
    height, width = sides[0:1], sides[1:2]
    shorter, longer = np.float64(np.atleast_1d(config.min_size)[-1]), np.float64(config.max_size)
    if config.round_sides:
        least = g.Min(height, width)
        sides = g.Where(g.Equal(sides, least), shorter, shorter / least * sides)
        most = g.Max(sides[0:1], sides[1:2])
        sides = g.Where(most >= longer, sides * (longer / most), sides)
        return g.Max(cast(sides + np.float64(0.5), INT64), 1)
    ratio = g.Min(shorter / g.Min(height, width), longer / g.Max(height, width))
    return g.Max(cast(sides * ratio, INT64), 1)  # truncated


def prepare(g: Graph, config: TransformConfig, image: Value, sizes: Sizes) -> Value:
    """The backbone's input (1, C, H, W): normalised, resized, with zeros below and to the right."""
    if config.resize == "pillow":
        image = pillow_resized(g, image, sizes)
        sizes = replace(sizes, image=sizes.resized)
    colour = config.image_mean, config.image_std
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in colour)
    x = (image - mean) / std
    for axis in (1, 2) if config.resize == "linear" else ():
        x = stretched(g, x, axis, sizes.image[axis - 1], sizes.resized[axis - 1])
    return g.Pad(spread(x, 0), joined([0, 0, 0, 0, 0, 0], sizes.padded - sizes.resized), 0.0)


def pillow_resized(g: Graph, image: Value, sizes: Sizes) -> Value:
    """An image (C, H, W) in 0..1 resized as Pillow's BILINEAR does: in whole grey values, rounded
    after the rows and again after the columns. Two products of matrices, in float64, where they
    are exact: halves are frequent, and one grey level is seen in the scores.
    """
    half = np.float64(0.5)
    grey = cast(clipped(g.Round(image * 255.0), 0.0, 255.0), DOUBLE)
    rows = averaging(g, sizes.image[1], sizes.resized[1])
    grey = g.Floor(g.MatMul(grey, g.Transpose(rows, perm=[1, 0])) + half)
    columns = averaging(g, sizes.image[0], sizes.resized[0])
    return floats(g.Floor(g.MatMul(columns, grey) + half)) / 255.0


def averaging(g: Graph, length: Any, new_length: Any) -> Any:
    """The weight of each pixel in each new pixel: (new_length, length) float64. Where it shrinks, a
    hat that is as wide as two new pixels; where it enlarges, as two old ones. Pillow has 22 bits
    for a weight.
    """
    ratio = cast(floats(length), DOUBLE) / cast(floats(new_length), DOUBLE)
    wide = g.Max(ratio, np.float64(1))
    centre = (cast(counted_to(new_length), DOUBLE) + np.float64(0.5)) * ratio
    pixel = cast(counted_to(length), DOUBLE) + np.float64(0.5)
    distance = g.Abs(spread(centre, 1) - pixel) / wide
    hat = g.Max(np.float64(1) - distance, np.float64(0))
    weight = hat / g.ReduceSum(hat, [1], keepdims=1)
    unit = np.float64(2**22)
    return g.Floor(weight * unit + np.float64(0.5)) / unit


def stretched(g: Graph, x: Value, axis: int, length: Any, new_length: Any) -> Value:
    """x (C, H, W) resized linearly along an axis: each new pixel blends the two around its place.
    Pixel centres are at +0.5, as in ops/resize_normalize.

    ONNX's Resize would do, but ONNX Runtime computes the places in float32 all the way. That alone
    changed 44 of 600 detections of two ResNet-50s with random weights.
    """
    ratio = cast(floats(length) / floats(new_length), DOUBLE)
    centre = cast(counted_to(new_length), DOUBLE) + np.float64(0.5)
    place = clipped(cast(ratio * centre - np.float64(0.5), FLOAT), 0.0, floats(length - 1))
    low = cast(place, INT64)
    high = clipped(low + 1, 0, length - 1)
    weight = place - floats(low)
    if axis == 1:
        weight = spread(weight, 1)  # H, 1
    return g.Gather(x, low, axis=axis) * (1.0 - weight) + g.Gather(x, high, axis=axis) * weight


def restore(config: TransformConfig, boxes: Value, sizes: Sizes) -> Value:
    """Boxes (n, 4) in pixels of the image instead of the resized one."""
    ratio = floats(sizes.image) / floats(sizes.resized)
    boxes = boxes * ratio[[1, 0, 1, 0]]
    return (
        clipped(boxes, 0.0, floats(sizes.image)[[1, 0, 1, 0]]) if config.clip_detections else boxes
    )


def paste(g: Graph, masks: Value, side: int, boxes: Value, size: Any, exact: bool = False) -> Value:
    """Masks (n, side, side) stretched to their boxes (n, 4), in images that are zero elsewhere:
    (n, 1, height, width).

    Interpolation is linear along each axis, so it is two products of matrices: rows @ mask @
    columns.
    """
    padded = g.Pad(masks, [0, 1, 1, 0, 1, 1], 0.0)
    x1, y1, x2, y2 = g.Split(boxes, axis=1, num_outputs=4, outputs=4)  # n, 1
    if exact:
        rows = exact_stretch(g, y1, y2, side + 2, size[0])
        columns = exact_stretch(g, x1, x2, side + 2, size[1])
        return spread(g.MatMul(g.MatMul(rows, padded), g.Transpose(columns, perm=[0, 2, 1])), 1)
    rows = stretch(g, *whole_pixels(g, y1, y2, side), side + 2, size[0])
    columns = stretch(g, *whole_pixels(g, x1, x2, side), side + 2, size[1])
    return spread(g.MatMul(g.MatMul(rows, padded), g.Transpose(columns, perm=[0, 2, 1])), 1)


def whole_pixels(g: Graph, low: Value, high: Value, side: int) -> tuple[Value, Value]:
    """The first and the last pixel (n, 1) of a box along one axis, with room for the padding."""
    half = (high - low) * 0.5 * ((side + 2) / side)
    centre = (high + low) * 0.5
    return floats(cast(centre - half, INT64)), floats(cast(centre + half, INT64))  # truncated


def stretch(g: Graph, first: Value, last: Value, side: int, count: Any) -> Value:
    """The weight of each of `side` mask pixels in each of `count` image pixels, of which first ..
    last (n, 1) are the box: (n, count, side), zero outside of the box.
    """
    pixel = floats(counted_to(count)) - first  # n, count
    length = g.Max(last - first + 1.0, 1.0)
    place = (pixel + 0.5) * (float(side) / length) - 0.5
    return blend(g, place, (pixel >= 0.0) & (pixel < length), side)


def exact_stretch(g: Graph, low: Value, high: Value, side: int, count: Any) -> Value:
    """As `stretch`, for boxes low .. high (n, 1) that are not made whole."""
    pixel = floats(counted_to(count))
    length = g.Max(high - low, 1e-6)
    place = (pixel + 0.5 - low) / length * (side - 2.0) + 0.5
    inside = (pixel >= g.Floor(low) - 1.0) & (pixel < g.Ceil(high) + 1.0) & (low < high)
    return blend(g, place, inside, side)


def blend(g: Graph, place: Value, inside: Value, side: int) -> Value:
    """The weight of each of `side` mask pixels at each place (n, count): (n, count, side)."""
    place = clipped(place, 0.0, side - 1.0)
    distance = g.Abs(spread(place, 2) - np.arange(side, dtype=np.float32))
    return g.Relu(1.0 - distance) * spread(floats(inside), 2)
