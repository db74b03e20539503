"""Resize and normalise on the CPU: rows, then columns, with blocks of output rows in parallel.

Each source row is normalised and stretched to the new width once, into one of two line buffers, and
then serves all output rows next to it. So an enlarged image needs fewer stretches than it has rows,
and blending the two lines is one vector loop.
"""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel, serial

_BLOCKS = 16  # of output rows; at most two lines per block are also made by another block


def resize_normalize(image, size, mean, std, out, rows, columns):
    """image (C, H, W), mean and std (C,) -> out (height, width, C), zero outside of `size`."""
    height, width = size
    blocks = min(_BLOCKS, height)
    lines = memory.empty((blocks, 2, width * len(image)))
    low_y, weight_y = _taps(height, rows)
    low_x, weight_x = _taps(width, columns)
    low_x = low_x.astype(np.uint32)
    _resize(image, low_y, weight_y, low_x, weight_x, mean, 1 / std, lines, out)


def _taps(count, axis):
    """For each new pixel, the old pixel before it, and the weight of the one after."""
    length, new_length, source, first = axis
    ratio = np.float32(length) / np.float32(new_length)
    place = np.float64(ratio) * (np.arange(first, first + count) + 0.5) - 0.5  # rounded once, as
    place = np.maximum(place, 0).astype(np.float32)  # by an FMA
    low = np.minimum(place.astype(np.int64), length - 1)
    return low - source, place - low.astype(np.float32)


@kernel
def _resize(image, low_y, weight_y, low_x, weight_x, mean, inverse_std, lines, out):
    """for each output row: out[i] = (1 - w) line[y] + w line[y + 1]; lines are made when needed.

    Even lines are in the first buffer, odd ones in the second. lines: (blocks, 2, width * C).
    """
    channels, source_height, _ = image.shape
    height, width = len(low_y), len(low_x)
    padded_height, padded_width, _ = out.shape
    flat = out.reshape(padded_height, padded_width * channels)
    blocks = lines.shape[0]
    for block in prange(blocks):
        held_even, held_odd = -1, -1
        for i in range(height * block // blocks, height * (block + 1) // blocks):
            first = low_y[i]
            last = min(first + 1, source_height - 1)
            for y in (first, last):
                held = held_odd if y & 1 else held_even
                if held != y:
                    _stretch(image, y, low_x, weight_x, mean, inverse_std, lines[block, y & 1])
                    if y & 1:
                        held_odd = y
                    else:
                        held_even = y
            _blend(lines[block, first & 1], lines[block, last & 1], weight_y[i], flat[i])
    for i in prange(padded_height):
        flat[i, (width if i < height else 0) * channels :] = 0


@serial
def _stretch(image, y, low_x, weight_x, mean, inverse_std, line):
    """Row y of the image, normalised, at the new width, channels last: (width * C,).

    Indices are unsigned, because Numba checks whether signed ones are negative.
    """
    channels, _, source_width = image.shape
    for c in range(channels):
        row, shift, scale = image[c, y], mean[c], inverse_std[c]
        for j in range(len(low_x)):
            low = low_x[j]
            a, b = row[low], row[min(low + np.uint32(1), np.uint32(source_width - 1))]
            value = a + (b - a) * weight_x[j]
            line[np.uint32(j * channels + c)] = (value - shift) * scale


@serial
def _blend(first, last, weight, row):
    """row[:n] = (1 - weight) first + weight last."""
    for j in range(len(first)):
        row[j] = first[j] * (1 - weight) + last[j] * weight
