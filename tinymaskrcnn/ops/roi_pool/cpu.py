"""RoIPool on the CPU: the threads share the rois; loops over channels are vector code."""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel, serial


def roi_pool(features, rois, output_size, spatial_scale):
    """The maxima over the bins of each roi (R, 5) of features (N, H, W, C), and their pixels
    y * W + x, -1 for an empty bin: (R, h, w, C) float32 and int32."""
    shape = (len(rois), *output_size, features.shape[3])
    output, argmax = memory.empty(shape), memory.empty(shape, np.int32)
    if output.size:
        scaled = rois[:, 1:] * np.float32(spatial_scale)
        whole = np.trunc(scaled)
        corners = whole + np.sign(scaled) * (np.abs(scaled - whole) >= 0.5)  # like C's round
        corners = corners.astype(np.int64)
        ys = _bins(corners[:, 1], corners[:, 3], output_size[0], features.shape[1])
        xs = _bins(corners[:, 0], corners[:, 2], output_size[1], features.shape[2])
        images = rois[:, 0].astype(np.int64)
        _maxima(np.ascontiguousarray(features), images, ys, xs, output, argmax)
    return output, argmax


def roi_pool_grad(grad, argmax, rois, features_shape):
    """The gradient of the features (N, H, W, C): each maximum's gradient goes to its pixel."""
    gradient = memory.zeros(features_shape)
    if gradient.size:
        images = rois[:, 0].astype(np.int64)
        _scatter(np.ascontiguousarray(grad), argmax, images, gradient)
    return gradient


def _bins(first, last, bins, extent):
    """The edges of every roi's bins, in whole pixels: (R, bins, 2)."""
    size = np.maximum(last - first + 1, 1).astype(np.float32) / np.float32(bins)
    index = np.arange(bins, dtype=np.float32)
    edges = np.floor(index * size[:, None]), np.ceil((index + 1) * size[:, None])
    return np.clip(np.stack(edges, axis=2).astype(np.int64) + first[:, None, None], 0, extent)


@kernel
def _maxima(features, images, ys, xs, output, argmax):
    """For each bin: the maximum over its window, and its place."""
    for r in prange(len(output)):
        for i in range(output.shape[1]):
            for j in range(output.shape[2]):
                window = (ys[r, i, 0], ys[r, i, 1], xs[r, j, 0], xs[r, j, 1])
                _maximum(features[images[r]], window, output[r, i, j], argmax[r, i, j])


@serial
def _maximum(image, window, output, argmax):
    top, bottom, left, right = window
    argmax[:] = -1
    output[:] = 0
    for y in range(top, bottom):
        for x in range(left, right):
            pixel, place = image[y, x], np.int32(y * image.shape[1] + x)
            for c in range(len(output)):
                better = argmax[c] < 0 or pixel[c] > output[c]
                output[c] = pixel[c] if better else output[c]
                argmax[c] = place if better else argmax[c]


@serial
def _scatter(grad, argmax, images, gradient):
    """gradient[image, argmax, c] += grad, in the order of the rois."""
    channels = gradient.shape[3]
    for r in range(len(grad)):
        pixels = gradient[images[r]].reshape(-1, channels)
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                for c in range(channels):
                    if argmax[r, i, j, c] >= 0:
                        pixels[argmax[r, i, j, c], c] += grad[r, i, j, c]
