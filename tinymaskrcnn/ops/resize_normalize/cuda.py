"""Resize and normalise an image on the GPU: one thread per value of the result."""

import numpy as np
from numba import float32, int32

from ...gpu.array import to_device
from ...gpu.launch import F1, F3, I1, blocks, cuda, kernel


def resize_normalize(image, size, mean, std, out, rows, columns):
    taps = *_taps(size[0], rows), *_taps(size[1], columns)
    arrays = to_device(image), to_device(mean), to_device(std), *taps
    _resize[blocks(out.size)](*arrays, out)


def _taps(count, axis):
    """For each new pixel, the lower of the two old pixels it lies between, and the other's weight.
    In float64, since a rounding can decide which two these are.
    """
    length, new_length, source, first = axis
    ratio = np.float32(length) / np.float32(new_length)
    place = np.float64(ratio) * (np.arange(first, first + count) + 0.5) - 0.5
    place = np.maximum(place, 0).astype(np.float32)
    low = np.minimum(place.astype(np.int64), length - 1)
    return to_device(low - source), to_device(place - low.astype(np.float32))


@kernel(F3, F1, F1, I1, F1, I1, F1, F3, registers=64)
def _resize(image, mean, std, rows, down, columns, right, out):
    """out[i, j, c] = the blend of four pixels of image[c], normalised: one thread per cell."""
    _, width, channels = out.shape
    for cell in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        pixel, c = cell // channels, cell % channels
        i, j = pixel // width, pixel % width
        value = float32(0)
        if i < rows.size and j < columns.size:
            h, w = rows[i], columns[j]
            h2, w2 = min(int32(h + 1), image.shape[1] - 1), min(int32(w + 1), image.shape[2] - 1)
            up, left = float32(1) - down[i], float32(1) - right[j]
            above = image[c, h, w] * up + image[c, h2, w] * down[i]
            beside = image[c, h, w2] * up + image[c, h2, w2] * down[i]
            value = (above * left + beside * right[j] - mean[c]) / std[c]
        out[i, j, c] = value
