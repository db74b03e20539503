"""Mask pasting for the CPU: bands of picture rows, split among the threads.

A row of the picture is first a row of the mask (two rows of it mixed), then stretched.
"""

import numpy as np
from numba import prange

from ... import memory
from ...jit import exact_serial, kernel, serial

_BAND = 64  # rows of a picture that one task fills


def paste_masks(probabilities, boxes, height, width):
    """Each mask (N, M, M) resized bilinearly to its box (N, 4), in an otherwise zero picture:
    (N, height, width) float32."""
    pictures = memory.empty((len(probabilities), height, width))
    if pictures.size:
        _paste(_padded(probabilities), _whole(boxes, probabilities.shape[1]), pictures)
    return pictures


def paste_masks_binary(probabilities, boxes, height, width, threshold):
    """paste_masks(...) > threshold: (N, height, width) bool."""
    pictures = memory.empty((len(probabilities), height, width), np.bool_)
    if pictures.size:
        whole = _whole(boxes, probabilities.shape[1])
        _paste_binary(_padded(probabilities), whole, np.float32(threshold), pictures)
    return pictures


def _padded(probabilities):
    return np.pad(probabilities, ((0, 0), (1, 1), (1, 1)))


def _whole(boxes, size):
    """The boxes enlarged about their centres for the padding, truncated toward zero: int64 (N, 4).

    In NumPy, since which pixel a coordinate falls in hangs on each rounding.
    """
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((size + 2) / max(size, 1))
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return corners.clip(-(2.0**31), 2.0**31).astype(np.int64)


@kernel
def _paste(masks, boxes, pictures):
    """pictures[n] = masks[n] stretched to its box, band by band."""
    bands = (pictures.shape[1] + _BAND - 1) // _BAND
    for task in prange(len(masks) * bands):
        n, top = task // bands, task % bands * _BAND
        picture = pictures[n, top : top + _BAND]
        left, right = _inside(boxes[n, 0], boxes[n, 2], pictures.shape[2])
        low, fraction = _stretch(boxes[n, 0], boxes[n, 2], left, right, masks.shape[2])
        mixed = np.empty(masks.shape[2] + 1, np.float32)
        for y in range(len(picture)):
            line = picture[y]
            line[:left] = 0
            line[right:] = 0
            if _mix_rows(masks[n], boxes[n, 1], boxes[n, 3], top + y, mixed):
                _stretch_row(mixed, low, fraction, line[left:right])
            else:
                line[left:right] = 0


@kernel
def _paste_binary(masks, boxes, threshold, pictures):
    """pictures[n] = (masks[n] stretched to its box) > threshold, band by band."""
    bands = (pictures.shape[1] + _BAND - 1) // _BAND
    for task in prange(len(masks) * bands):
        n, top = task // bands, task % bands * _BAND
        picture = pictures[n, top : top + _BAND]
        picture[:] = threshold < 0
        left, right = _inside(boxes[n, 0], boxes[n, 2], pictures.shape[2])
        low, fraction = _stretch(boxes[n, 0], boxes[n, 2], left, right, masks.shape[2])
        mixed = np.empty(masks.shape[2] + 1, np.float32)
        values = np.empty(right - left, np.float32)
        for y in range(len(picture)):
            if _mix_rows(masks[n], boxes[n, 1], boxes[n, 3], top + y, mixed):
                _stretch_row(mixed, low, fraction, values)
                line = picture[y, left:right]
                for x in range(right - left):
                    line[x] = values[x] > threshold


@serial
def _inside(start, stop, extent):
    """The pixels start .. stop, both inclusive, that lie in 0 .. extent - 1: first, last + 1."""
    first = min(max(start, 0), extent)
    return first, max(min(stop + 1, extent), first)


@exact_serial
def _source(pixel, start, stop, size):
    """Where a pixel of start .. stop falls among `size` mask pixels: index, fraction beyond it."""
    scale = np.float32(np.float32(size) / np.float32(max(stop - start + 1, 1)))
    place = (np.float32(pixel - start) + np.float32(0.5)) * scale - np.float32(0.5)
    place = max(place, np.float32(0))
    low = min(np.int64(place), size - 1)
    return low, place - np.float32(low)


@serial
def _stretch(start, stop, left, right, size):
    """_source of each pixel left .. right - 1."""
    low = np.empty(right - left, np.int64)
    fraction = np.empty(right - left, np.float32)
    for x in range(left, right):
        low[x - left], fraction[x - left] = _source(x, start, stop, size)
    return low, fraction


@serial
def _mix_rows(mask, start, stop, y, mixed):
    """The mask's row under picture row y, its last value twice; False where y is outside."""
    if y < start or y > stop:
        return False
    size = mask.shape[1]
    low, fraction = _source(y, start, stop, size)
    high = min(low + 1, size - 1)
    for k in range(size):
        mixed[k] = mask[low, k] * (np.float32(1) - fraction) + mask[high, k] * fraction
    mixed[size] = mixed[size - 1]
    return True


@serial
def _stretch_row(mixed, low, fraction, line):
    """line = mixed at low + fraction."""
    for x in range(len(line)):
        value = mixed[low[x]]
        line[x] = value + (mixed[low[x] + 1] - value) * fraction[x]
