"""Mask pasting on the GPU: one thread per pixel of each full-size mask."""

import numpy as np
from numba import float32, int32

from ...gpu.array import empty, to_device, to_host
from ...gpu.launch import B3, F3, I2, F, blocks, cuda, device_function, kernel
from ...gpu.scalars import divided, product


def paste_masks(probabilities, boxes, height, width):
    pictures = empty((len(probabilities), height, width))
    places = to_device(_whole(to_host(boxes), probabilities.shape[1] + 2))
    _paste[blocks(pictures.size)](probabilities, places, pictures)
    return pictures


def paste_masks_binary(probabilities, boxes, height, width, threshold):
    pictures = empty((len(probabilities), height, width), np.bool_)
    places = to_device(_whole(to_host(boxes), probabilities.shape[1] + 2))
    _paste_binary[blocks(pictures.size)](probabilities, places, threshold, pictures)
    return pictures


def _whole(boxes, padded_size):
    """The boxes, enlarged about their centres for the padding, in whole pixels: (N, 4) int32.

    Clipped to half a billion pixels, so that every length fits in int32; images are smaller.
    """
    scale = np.float32(padded_size / max(padded_size - 2, 1))
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * scale
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return corners.clip(-(2.0**29), 2.0**29).astype(np.int32)


@device_function
def _source(place, first, last, size):
    """Along one axis: the two rows of the padded mask that a pixel lies between, and the second
    one's weight.
    """
    length = max(last - first + 1, 1)
    scale = divided(float32(size), float32(length))
    position = max(product(float32(place - first) + float32(0.5), scale) - float32(0.5), float32(0))
    low = min(int32(position), int32(size - 1))
    return low, min(int32(low + 1), int32(size - 1)), position - float32(low)


@device_function
def _padded(mask, n, y, x):
    """The mask with a border of zeros."""
    if y < 1 or x < 1 or y > mask.shape[1] or x > mask.shape[2]:
        return float32(0)
    return mask[n, y - 1, x - 1]


@device_function
def _value(masks, boxes, n, y, x):
    """The probability at pixel (y, x) of image n, 0 outside the box."""
    x1, y1, x2, y2 = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
    if y < y1 or y > y2 or x < x1 or x > x2:
        return float32(0)
    top, bottom, down = _source(y, y1, y2, masks.shape[1] + 2)
    left, right, along = _source(x, x1, x2, masks.shape[2] + 2)
    up, back = float32(1) - down, float32(1) - along
    above = _padded(masks, n, top, left) * up + _padded(masks, n, bottom, left) * down
    beside = _padded(masks, n, top, right) * up + _padded(masks, n, bottom, right) * down
    return above * back + beside * along


@kernel(F3, I2, F3, registers=80)
def _paste(masks, boxes, pictures):
    """pictures[n, y, x] = the mask's probability there: one thread per pixel."""
    height, width = pictures.shape[1], pictures.shape[2]
    for cell in range(cuda.grid(1), pictures.size, cuda.gridsize(1)):
        row, x = cell // width, cell % width
        n, y = row // height, row % height
        pictures[n, y, x] = _value(masks, boxes, n, y, x)


@kernel(F3, I2, F, B3, registers=80)
def _paste_binary(masks, boxes, threshold, pictures):
    """pictures[n, y, x] = whether the probability exceeds the threshold: one thread per pixel."""
    height, width = pictures.shape[1], pictures.shape[2]
    for cell in range(cuda.grid(1), pictures.size, cuda.gridsize(1)):
        row, x = cell // width, cell % width
        n, y = row // height, row % height
        pictures[n, y, x] = _value(masks, boxes, n, y, x) > threshold
