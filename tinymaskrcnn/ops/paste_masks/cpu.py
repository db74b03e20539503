"""Mask pasting on the CPU: the threads share bands of image rows.

To make a row of the image, blend two rows of the mask, then stretch the result: between two
neighbours in the mask, the image's values lie on a straight line. But most of an image is outside
the box, and most of the time goes into writing zeros to memory. So a row is made in the L1 cache,
where most of it stays zero, and copied from there past the other caches (simd/streams.py).
"""

import numpy as np
from numba import prange

from ... import memory
from ...jit import exact_serial, kernel, serial
from ..simd.emitter import LANES
from ..simd.streams import VECTOR, finish_streams, ramp, stream_row

_BAND = 64  # rows of an image that one task fills


def paste_masks(probabilities, boxes, height, width, exact=False):
    """Resize each mask (N, M, M) bilinearly to its box (N, 4), in an image that is zero elsewhere:
    (N, height, width) float32."""
    pasted = memory.empty((len(probabilities), height, width))
    if pasted.size:
        places, out = _places(boxes, probabilities.shape[1], exact), pasted.reshape(-1)
        _paste(_padded(probabilities), *places, height, out.view(np.uint8))
    return pasted


def paste_masks_binary(probabilities, boxes, height, width, threshold, exact=False):
    """paste_masks(...) > threshold: (N, height, width) bool."""
    pasted = memory.empty((len(probabilities), height, width), np.bool_)
    if pasted.size:
        places, out = _places(boxes, probabilities.shape[1], exact), pasted.reshape(-1)
        threshold = np.float32(threshold)
        _paste_binary(_padded(probabilities), *places, threshold, height, out.view(np.uint8))
    return pasted


def _padded(probabilities):
    return np.pad(probabilities, ((0, 0), (1, 1), (1, 1)))


def _places(boxes, size, exact):
    """The pixels of each box, first and last (N, 4) int64, and along x and y the three numbers that
    lead from a pixel to its place in the padded mask (see _source): (N, 2, 3) float32.
    """
    lines = np.empty((len(boxes), 2, 3), np.float32)
    if not exact:
        whole = _whole(boxes, size)
        lengths = np.maximum(whole[:, 2:] - whole[:, :2] + 1, 1).astype(np.float32)
        lines[..., 0], lines[..., 2] = 0.5, -0.5
        lines[..., 1] = np.float32(size + 2) / lengths
        return whole, lines
    first = np.floor(boxes[:, :2]).clip(-(2.0**31), 2.0**31).astype(np.int64) - 1
    last = np.ceil(boxes[:, 2:]).clip(-(2.0**31), 2.0**31).astype(np.int64)
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    last[(sides <= 0).any(axis=1)] = np.iinfo(np.int32).min  # no pixels
    lines[..., 0], lines[..., 2] = first + 0.5 - boxes[:, :2].astype(np.float64), 0.5
    lines[..., 1] = (size / np.maximum(sides, 1e-30)).clip(0, 1e30)
    return np.concatenate((first, last), axis=1), lines


def _whole(boxes, size):
    """The boxes, enlarged about their centres for the padding, truncated toward zero: int64 (N, 4).

    In NumPy, since each rounding can decide which pixel a coordinate falls in.
    """
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((size + 2) / max(size, 1))
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return corners.clip(-(2.0**31), 2.0**31).astype(np.int64)


@kernel
def _paste(masks, boxes, lines, height, out):
    """pasted[n] = masks[n] stretched to its box, band by band; `out` is their bytes."""
    bands, pitch = (height + _BAND - 1) // _BAND, len(out) // (len(masks) * height)
    for item in prange(len(masks) * bands):
        task = np.int64(item)  # prange's index is unsigned: every helper would be compiled twice
        n, top = task // bands, task % bands * _BAND
        bottom = min(top + _BAND, height)
        begin, end = _inside(boxes[n, 1], boxes[n, 3], top, bottom)
        left, right = _inside(boxes[n, 0], boxes[n, 2], 0, pitch // 4 if begin < end else 0)
        runs, fraction = _stretch(boxes[n, 0], lines[n, 0], left, right, masks.shape[2])
        mask, mixed = masks[n], np.empty(masks.shape[2] + 1, np.float32)
        row, kept = np.zeros(LANES + pitch // 4 + LANES, np.float32), 0
        line = row.view(np.uint8)[: VECTOR + pitch]
        for y in range(top, bottom):
            if y >= begin and y < end:
                _mix_rows(mask, boxes[n, 1], lines[n, 1], y, mixed)
                _stretch_row(mixed, runs, fraction, row, LANES + left)
                row[LANES + right : LANES + right + LANES] = 0  # the last run's whole vector
            elif y == end:
                row[LANES:] = 0
            kept = stream_row(line, kept, out, (n * height + y) * pitch, y == bottom - 1)
        finish_streams()


@kernel
def _paste_binary(masks, boxes, lines, threshold, height, out):
    """pasted[n] = (masks[n] stretched to its box) > threshold, band by band."""
    bands, width = (height + _BAND - 1) // _BAND, len(out) // (len(masks) * height)
    for item in prange(len(masks) * bands):
        task = np.int64(item)
        n, top = task // bands, task % bands * _BAND
        bottom = min(top + _BAND, height)
        begin, end = _inside(boxes[n, 1], boxes[n, 3], top, bottom)
        left, right = _inside(boxes[n, 0], boxes[n, 2], 0, width if begin < end else 0)
        runs, fraction = _stretch(boxes[n, 0], lines[n, 0], left, right, masks.shape[2])
        mask, mixed = masks[n], np.empty(masks.shape[2] + 1, np.float32)
        row, kept = np.empty(right - left + LANES, np.float32), 0
        line = np.full(VECTOR + width, threshold < 0, np.uint8)
        inside = line[VECTOR + left : VECTOR + right]
        for y in range(top, bottom):
            if y >= begin and y < end:
                _mix_rows(mask, boxes[n, 1], lines[n, 1], y, mixed)
                _stretch_row(mixed, runs, fraction, row, 0)
                for x in range(right - left):
                    inside[x] = row[x] > threshold
            elif y == end:
                line[VECTOR:] = threshold < 0
            kept = stream_row(line, kept, out, (n * height + y) * width, y == bottom - 1)
        finish_streams()


@serial
def _inside(start, stop, low, high):
    """The pixels start .. stop, both inclusive, that lie in low .. high - 1: first, last + 1."""
    first = min(max(start, low), high)
    return first, max(min(stop + 1, high), first)


@exact_serial
def _source(pixel, start, line, size):
    """Where a pixel of a box that begins at `start` falls among `size` mask pixels: the index of
    the one before it, and the fraction beyond that.
    """
    place = (np.float32(pixel - start) + line[0]) * line[1] + line[2]
    place = min(max(place, np.float32(0)), np.float32(size))
    low = min(np.int64(place), size - 1)
    return low, place - np.float32(low)


@serial
def _stretch(start, line, left, right, size):
    """`_source` of the pixels left .. right - 1. The pixels that fall in one mask pixel are a run.
    Returns each run's start, counted from `left` (and, last, the end of all), and the fractions.
    """
    runs = np.full(size + 1, right - left)
    fraction = np.zeros(right - left + LANES, np.float32)
    for x in range(right - left - 1, -1, -1):
        low, fraction[x] = _source(left + x, start, line, size)
        runs[low] = x
    for k in range(size - 1, -1, -1):
        runs[k] = min(runs[k], runs[k + 1])
    return runs, fraction


@serial
def _mix_rows(mask, start, line, y, mixed):
    """The mask's row under image row y, with its last value twice."""
    size = mask.shape[1]
    low, fraction = _source(y, start, line, size)
    high = min(low + 1, size - 1)
    for k in range(size):
        mixed[k] = mask[low, k] * (np.float32(1) - fraction) + mask[high, k] * fraction
    mixed[size] = mixed[size - 1]


@serial
def _stretch_row(mixed, runs, fraction, row, at):
    """row[at + x] = mixed, interpolated at x's place, run by run, each up to a whole vector."""
    for k in range(len(runs) - 1):
        count = runs[k + 1] - runs[k]
        ramp(mixed[k], mixed[k + 1] - mixed[k], fraction, runs[k], count, row, at + runs[k])
