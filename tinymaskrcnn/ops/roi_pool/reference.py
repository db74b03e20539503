"""RoIPool in NumPy, one bin at a time."""

import numpy as np


def roi_pool(features, rois, output_size, spatial_scale):
    """The maximum over each bin of each roi, and its place.

    Args:
        features: (N, H, W, C).
        rois: (R, 5) image index, x1, y1, x2, y2, of the features' dtype.
        output_size: (h, w) bins.
        spatial_scale: map pixels per roi unit.

    Returns:
        output (R, h, w, C), zero where a bin is empty; argmax (R, h, w, C) int32: the pixel
        y * W + x of the (first) maximum, -1 where a bin is empty.
    """
    shape = (len(rois), *output_size, features.shape[3])
    output, argmax = np.zeros(shape, features.dtype), np.full(shape, -1, np.int32)
    for r, roi in enumerate(rois):
        image = features[int(roi[0])]
        ys = _bins(roi[2], roi[4], spatial_scale, output_size[0], image.shape[0])
        xs = _bins(roi[1], roi[3], spatial_scale, output_size[1], image.shape[1])
        for i, (y1, y2) in enumerate(ys):
            for j, (x1, x2) in enumerate(xs):
                if y1 < y2 and x1 < x2:
                    output[r, i, j], argmax[r, i, j] = _maximum(image, y1, y2, x1, x2)
    return output, argmax


def roi_pool_grad(grad, argmax, rois, features_shape):
    """The gradient of the features (N, H, W, C): each maximum's gradient goes to its pixel."""
    images, height, width, channels = features_shape
    gradient = np.zeros((images, height * width, channels), grad.dtype)
    chosen = argmax >= 0
    r, _, _, c = np.nonzero(chosen)
    np.add.at(gradient, (rois[r, 0].astype(np.int64), argmax[chosen], c), grad[chosen])
    return gradient.reshape(features_shape)


def _maximum(image, y1, y2, x1, x2):
    """The maximum (C,) over a window of image (H, W, C), and its place y * W + x (C,)."""
    window = image[y1:y2, x1:x2].reshape(-1, image.shape[2])  # (pixels, C)
    first = window.argmax(axis=0)
    rows, columns = np.divmod(first, x2 - x1)
    return window.max(axis=0), (y1 + rows) * image.shape[1] + x1 + columns


def _bins(start, end, spatial_scale, bins, extent):
    """Where each bin starts and ends, in whole pixels of the map: (bins, 2)."""
    dtype = start.dtype.type
    first, last = (_round(v * dtype(spatial_scale)) for v in (start, end))
    length = max(last - first + 1, 1)
    size = dtype(length) / dtype(bins)
    index = np.arange(bins, dtype=dtype)
    edges = np.stack((np.floor(index * size), np.ceil((index + 1) * size)), axis=1)
    return np.clip(edges.astype(np.int64) + first, 0, extent)


def _round(value):
    """Round to the nearest integer, halves away from zero, like C's round (NumPy's: to even)."""
    whole = np.trunc(value)
    return int(whole + np.sign(value) * (abs(value - whole) >= 0.5))
