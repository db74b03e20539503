"""Mask pasting in NumPy: two small matrices enlarge each mask to its box."""

import numpy as np


def paste_masks(probabilities, boxes, height, width, exact=False):
    """Resize each mask (N, M, M) bilinearly to its box (N, 4), in an image that is zero elsewhere.

    Args:
        exact: whether to use the boxes as they are, instead of in whole pixels.

    Returns:
        (N, height, width), of the probabilities' dtype.
    """
    pasted = np.zeros((len(probabilities), height, width), probabilities.dtype)
    padded = np.pad(probabilities, ((0, 0), (1, 1), (1, 1)))
    if exact:
        for canvas, mask, (x1, y1, x2, y2) in zip(pasted, padded, boxes, strict=True):
            if x2 > x1 and y2 > y1:
                rows, place_y = _exact_places(y1, y2, height, len(mask))
                columns, place_x = _exact_places(x1, x2, width, len(mask))
                canvas[rows, columns] = (
                    _blend(place_y, len(mask)) @ mask @ _blend(place_x, len(mask)).T
                )
        return pasted
    size = padded.shape[1]
    for canvas, mask, (x1, y1, x2, y2) in zip(pasted, padded, _whole(boxes, size), strict=True):
        top, bottom = max(y1, 0), min(y2 + 1, height)
        left, right = max(x1, 0), min(x2 + 1, width)
        if top < bottom and left < right:
            rows = _places(size, max(y2 - y1 + 1, 1), top - y1, bottom - y1, mask.dtype)
            columns = _places(size, max(x2 - x1 + 1, 1), left - x1, right - x1, mask.dtype)
            canvas[top:bottom, left:right] = _blend(rows, size) @ mask @ _blend(columns, size).T
    return pasted


def paste_masks_binary(probabilities, boxes, height, width, threshold, exact=False):
    """paste_masks(...) > threshold: (N, height, width) bool."""
    return paste_masks(probabilities, boxes, height, width, exact) > threshold


def _whole(boxes, padded_size):
    """The boxes, enlarged about their centres for the padding, truncated to ints: N lists of 4."""
    scale = boxes.dtype.type(padded_size / max(padded_size - 2, 1))
    half = (boxes[:, 2:] - boxes[:, :2]) * boxes.dtype.type(0.5) * scale
    centre = (boxes[:, 2:] + boxes[:, :2]) * boxes.dtype.type(0.5)
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return corners.clip(-(2.0**31), 2.0**31).astype(np.int64).tolist()


def _exact_places(first, last, extent, size):
    """The pixels of an axis at which a box first .. last may show (at most one outside), and their
    places among the `size` pixels of its padded mask.
    """
    start, stop = max(np.floor(first) - 1, 0), min(np.ceil(last) + 1, extent)
    pixel = np.arange(int(start), int(max(start, stop)))
    share = (pixel + 0.5 - float(first)) / (float(last) - float(first))
    position = np.clip(share * (size - 2) + 0.5, 0, size - 1)
    return slice(int(start), int(max(start, stop))), position.astype(first.dtype)


def _places(size, length, start, stop, dtype):
    """Where pixels start .. stop - 1 of `length` fall among `size`; pixel centres are at +0.5."""
    position = (np.arange(start, stop).astype(dtype) + dtype.type(0.5)) * dtype.type(size / length)
    return np.maximum(position - dtype.type(0.5), 0)


def _blend(position, size):
    """The matrix (n, size) that interpolates linearly at n positions."""
    dtype = position.dtype
    low = np.minimum(position.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    fraction = position - low.astype(dtype)
    matrix = np.zeros((len(position), size), dtype)
    index = np.arange(len(position))
    np.add.at(matrix, (index, low), 1 - fraction)
    np.add.at(matrix, (index, high), fraction)
    return matrix
