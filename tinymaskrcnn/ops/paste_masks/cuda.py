"""Mask pasting on the GPU: one thread per pixel of each full-size mask."""

import numpy as np
from numba import float32, int32

from ...gpu.array import empty, to_device, to_host
from ...gpu.launch import B3, F3, I2, F, blocks, cuda, device_function, kernel
from ...gpu.scalars import product


def paste_masks(probabilities, boxes, height, width, exact=False):
    pasted = empty((len(probabilities), height, width))
    whole, lines = map(to_device, _places(to_host(boxes), probabilities.shape[1], exact))
    _paste[blocks(pasted.size)](probabilities, whole, lines, pasted)
    return pasted


def paste_masks_binary(probabilities, boxes, height, width, threshold, exact=False):
    pasted = empty((len(probabilities), height, width), np.bool_)
    whole, lines = map(to_device, _places(to_host(boxes), probabilities.shape[1], exact))
    _paste_binary[blocks(pasted.size)](probabilities, whole, lines, threshold, pasted)
    return pasted


def _places(boxes, size, exact):
    """The pixels of each box, first and last (N, 4) int32, and along x and y the three numbers that
    lead from a pixel to its place in the padded mask (see _source): (N, 2, 3) float32.
    """
    lines = np.empty((len(boxes), 2, 3), np.float32)
    if not exact:
        whole = _whole(boxes, size + 2)
        lengths = np.maximum(whole[:, 2:] - whole[:, :2] + 1, 1).astype(np.float32)
        lines[..., 0], lines[..., 2] = 0.5, -0.5
        lines[..., 1] = np.float32(size + 2) / lengths
        return whole, lines
    limit, low, high = 2.0**29, boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    first = np.floor(low).clip(-limit, limit) - 1
    last = np.where(
        (high > low).all(axis=1)[:, None], np.ceil(high).clip(-limit, limit), -limit - 2
    )
    lines[..., 0], lines[..., 2] = first + 0.5 - low, 0.5
    lines[..., 1] = (size / np.maximum(high - low, 1e-30)).clip(0, 1e30)
    return np.concatenate((first, last), axis=1).astype(np.int32), lines


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
def _source(place, first, lines, n, axis, size):
    """Along one axis: the two rows of the padded mask that a pixel lies between, and the second
    one's weight.
    """
    position = product(float32(place - first) + lines[n, axis, 0], lines[n, axis, 1])
    position = min(max(position + lines[n, axis, 2], float32(0)), float32(size))
    low = min(int32(position), int32(size - 1))
    return low, min(int32(low + 1), int32(size - 1)), position - float32(low)


@device_function
def _padded(mask, n, y, x):
    """The mask with a border of zeros."""
    if y < 1 or x < 1 or y > mask.shape[1] or x > mask.shape[2]:
        return float32(0)
    return mask[n, y - 1, x - 1]


@device_function
def _value(masks, boxes, lines, n, y, x):
    """The probability at pixel (y, x) of image n, 0 outside the box."""
    x1, y1, x2, y2 = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
    if y < y1 or y > y2 or x < x1 or x > x2:
        return float32(0)
    top, bottom, down = _source(y, y1, lines, n, 1, masks.shape[1] + 2)
    left, right, along = _source(x, x1, lines, n, 0, masks.shape[2] + 2)
    up, back = float32(1) - down, float32(1) - along
    above = _padded(masks, n, top, left) * up + _padded(masks, n, bottom, left) * down
    beside = _padded(masks, n, top, right) * up + _padded(masks, n, bottom, right) * down
    return above * back + beside * along


@kernel(F3, I2, F3, F3, registers=80)
def _paste(masks, boxes, lines, pasted):
    """pasted[n, y, x] = the mask's probability there: one thread per pixel."""
    height, width = pasted.shape[1], pasted.shape[2]
    for cell in range(cuda.grid(1), pasted.size, cuda.gridsize(1)):
        row, x = cell // width, cell % width
        n, y = row // height, row % height
        pasted[n, y, x] = _value(masks, boxes, lines, n, y, x)


@kernel(F3, I2, F3, F, B3, registers=80)
def _paste_binary(masks, boxes, lines, threshold, pasted):
    """pasted[n, y, x] = whether the probability exceeds the threshold: one thread per pixel."""
    height, width = pasted.shape[1], pasted.shape[2]
    for cell in range(cuda.grid(1), pasted.size, cuda.gridsize(1)):
        row, x = cell // width, cell % width
        n, y = row // height, row % height
        pasted[n, y, x] = _value(masks, boxes, lines, n, y, x) > threshold
