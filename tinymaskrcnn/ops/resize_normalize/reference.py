"""Resize and normalise in NumPy: first the colours, then the rows, then the columns."""

import numpy as np


def resize_normalize(image, size, mean, std, out, rows, columns):
    """image (C, H, W), mean and std (C,) -> out (height, width, C), zero outside of `size`."""
    height, width = size
    normalized = (image - mean[:, None, None]) / std[:, None, None]
    low, high, weight = _taps(image.shape[1], height, rows)
    lines = _mix(normalized[:, low], normalized[:, high], weight[:, None])  # C, height, W
    low, high, weight = _taps(image.shape[2], width, columns)
    resized = _mix(lines[:, :, low], lines[:, :, high], weight)  # C, height, width
    out.fill(0)
    out[:height, :width] = resized.transpose(1, 2, 0)


def _mix(a, b, weight):
    return a * (1 - weight) + b * weight


def _taps(given, count, axis):
    """For each new pixel, the two old pixels it lies between, and the second one's weight."""
    length, new_length, source, first = axis
    ratio = np.float32(length) / np.float32(new_length)
    place = np.float64(ratio) * (np.arange(first, first + count) + 0.5) - 0.5  # rounded only once
    place = np.maximum(place, 0).astype(np.float32)
    low = np.minimum(place.astype(np.int64), length - 1)
    weight = place - low.astype(np.float32)
    return low - source, np.minimum(low - source + 1, given - 1), weight
