"""Mask pasting in NumPy: two small matrices enlarge each mask to its box."""

import numpy as np


def paste_masks(probabilities, boxes, height, width):
    """Resize each mask (N, M, M) bilinearly to its box (N, 4), in an image that is zero elsewhere.

    Returns:
        (N, height, width), of the probabilities' dtype.
    """
    pictures = np.zeros((len(probabilities), height, width), probabilities.dtype)
    padded = np.pad(probabilities, ((0, 0), (1, 1), (1, 1)))
    size = padded.shape[1]
    for picture, mask, (x1, y1, x2, y2) in zip(pictures, padded, _whole(boxes, size), strict=True):
        top, bottom = max(y1, 0), min(y2 + 1, height)
        left, right = max(x1, 0), min(x2 + 1, width)
        if top < bottom and left < right:
            rows = _interpolation(size, max(y2 - y1 + 1, 1), top - y1, bottom - y1, mask.dtype)
            columns = _interpolation(size, max(x2 - x1 + 1, 1), left - x1, right - x1, mask.dtype)
            picture[top:bottom, left:right] = rows @ mask @ columns.T
    return pictures


def paste_masks_binary(probabilities, boxes, height, width, threshold):
    """paste_masks(...) > threshold: (N, height, width) bool."""
    return paste_masks(probabilities, boxes, height, width) > threshold


def _whole(boxes, padded_size):
    """The boxes, enlarged about their centres for the padding, truncated to ints: N lists of 4."""
    scale = boxes.dtype.type(padded_size / max(padded_size - 2, 1))
    half = (boxes[:, 2:] - boxes[:, :2]) * boxes.dtype.type(0.5) * scale
    centre = (boxes[:, 2:] + boxes[:, :2]) * boxes.dtype.type(0.5)
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return corners.clip(-(2.0**31), 2.0**31).astype(np.int64).tolist()


def _interpolation(size, length, start, stop, dtype):
    """Rows start .. stop - 1 of the (length, size) matrix that resizes bilinearly; pixel centres
    are at +0.5."""
    position = (np.arange(start, stop).astype(dtype) + dtype.type(0.5)) * dtype.type(size / length)
    position = np.maximum(position - dtype.type(0.5), 0)
    low = np.minimum(position.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    fraction = position - low.astype(dtype)
    matrix = np.zeros((stop - start, size), dtype)
    index = np.arange(stop - start)
    np.add.at(matrix, (index, low), 1 - fraction)
    np.add.at(matrix, (index, high), fraction)
    return matrix
