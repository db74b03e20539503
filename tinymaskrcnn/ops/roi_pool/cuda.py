"""RoIPool on the GPU: one thread per output value; back, one per input value.

The bins' edges, in whole pixels, are computed on the host: a few numbers per roi.
"""

import numpy as np
from numba import float32, int32

from ...gpu.array import empty, to_device, to_host
from ...gpu.launch import F4, I1, I3, I4, blocks, cuda, kernel
from ...gpu.scalars import place_of


def roi_pool(features, rois, output_size, spatial_scale):
    shape = (len(rois), *output_size, features.shape[3])
    output, argmax = empty(shape), empty(shape, np.int32)
    rois = to_host(rois)
    scaled = rois[:, 1:] * np.float32(spatial_scale)
    whole = np.trunc(scaled)
    corners = (whole + np.sign(scaled) * (np.abs(scaled - whole) >= 0.5)).astype(np.int64)
    ys = _bins(corners[:, 1], corners[:, 3], output_size[0], features.shape[1])
    xs = _bins(corners[:, 0], corners[:, 2], output_size[1], features.shape[2])
    arrays = _images(rois), to_device(ys), to_device(xs)
    _maxima[blocks(output.size)](features, *arrays, output, argmax)
    return output, argmax


def roi_pool_grad(grad, argmax, rois, features_shape):
    gradient = empty(features_shape)
    argmax, images = to_device(argmax, np.int32), _images(to_host(rois))
    _gather[blocks(gradient.size)](grad, argmax, images, gradient)
    return gradient


def _images(rois):
    return to_device(rois[:, 0].astype(np.int32))


def _bins(first, last, bins, extent):
    """The edges of every roi's bins, in whole pixels: (R, bins, 2)."""
    size = np.maximum(last - first + 1, 1).astype(np.float32) / np.float32(bins)
    index = np.arange(bins, dtype=np.float32)
    edges = np.floor(index * size[:, None]), np.ceil((index + 1) * size[:, None])
    return np.clip(np.stack(edges, axis=2).astype(np.int64) + first[:, None, None], 0, extent)


@kernel(F4, I1, I3, I3, F4, I4, registers=80)
def _maxima(features, images, ys, xs, output, argmax):
    """output[r, i, j, c] = maximum over bin (i, j), argmax = its pixel: one thread per cell.

    An empty bin gives 0 and -1.
    """
    width = features.shape[2]
    for cell in range(cuda.grid(1), output.size, cuda.gridsize(1)):
        r, i, j, c = place_of(cell, output.shape[1], output.shape[2], output.shape[3])
        best, place = float32(0), int32(-1)
        for y in range(ys[r, i, 0], ys[r, i, 1]):
            for x in range(xs[r, j, 0], xs[r, j, 1]):
                value = features[images[r], y, x, c]
                if place < 0 or value > best:
                    best, place = value, int32(y * width + x)
        output[r, i, j, c] = best
        argmax[r, i, j, c] = place


@kernel(F4, I4, I1, F4, registers=80)
def _gather(grad, argmax, images, gradient):
    """gradient[n, h, w, c] = sum of grad over bins whose maximum it was: one thread per cell."""
    height, width = gradient.shape[1], gradient.shape[2]
    for cell in range(cuda.grid(1), gradient.size, cuda.gridsize(1)):
        n, h, w, c = place_of(cell, height, width, gradient.shape[3])
        total, place = float32(0), h * width + w
        for r in range(grad.shape[0]):
            if images[r] == n:
                for i in range(grad.shape[1]):
                    for j in range(grad.shape[2]):
                        if argmax[r, i, j, c] == place:
                            total += grad[r, i, j, c]
        gradient[n, h, w, c] = total
