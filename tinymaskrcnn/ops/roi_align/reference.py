"""RoIAlign in NumPy: two matrix products per roi.

The samples of a roi lie on a grid, and bilinear interpolation is separable. So everything a roi
does along y (sampling, interpolating, averaging over a bin's samples) is one matrix, everything
along x is another, and RoIAlign is output = weights_y @ map @ weights_x.T for every channel. The
backward pass is the same two products transposed. Clarity comes before speed: the matrices are
mostly zeros.
"""

import numpy as np


def roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Pool each roi to a grid of bins, each the mean of bilinear samples.

    Args:
        features: (N, H, W, C).
        rois: (R, 5) image index, x1, y1, x2, y2, of the features' dtype.
        output_size: (h, w) bins.
        spatial_scale: map pixels per roi unit.
        sampling_ratio: samples per bin along each axis; <= 0: ceil(bin size).
        aligned: whether to shift by half a pixel.

    Returns:
        (R, h, w, C).
    """
    output = np.zeros((len(rois), *output_size, features.shape[3]), features.dtype)
    for r, roi in enumerate(rois):
        weights_y, weights_x = _weights(
            roi, features.shape, output_size, spatial_scale, sampling_ratio, aligned
        )
        rows = np.tensordot(weights_y, features[int(roi[0])], 1)  # (h, W, C)
        output[r] = np.einsum("jx,ixc->ijc", weights_x, rows)
    return output


def roi_align_grad(
    grad, features_shape, rois, output_size, spatial_scale, sampling_ratio, aligned, total=None
):
    """The gradient of the features (N, H, W, C), from the output's gradient (R, h, w, C). If there
    is a total, it is added to that, in place.
    """
    gradient = np.zeros(features_shape, grad.dtype) if total is None else total
    for r, roi in enumerate(rois):
        weights_y, weights_x = _weights(
            roi, features_shape, output_size, spatial_scale, sampling_ratio, aligned
        )
        rows = np.einsum("jx,ijc->ixc", weights_x, grad[r])  # (h, W, C)
        gradient[int(roi[0])] += np.tensordot(weights_y.T, rows, 1)
    return gradient


def _weights(roi, features_shape, output_size, spatial_scale, sampling_ratio, aligned):
    """The roi's two matrices: along y (h, H) and along x (w, W)."""
    dtype = roi.dtype.type
    start_and_end = roi[1:] * dtype(spatial_scale) - dtype(0.5 if aligned else 0)
    x1, y1, x2, y2 = start_and_end
    width, height = x2 - x1, y2 - y1
    if not aligned:  # torchvision: a roi is at least one pixel, unless `aligned`
        width, height = max(width, dtype(1)), max(height, dtype(1))
    return (
        _axis_weights(y1, height, output_size[0], sampling_ratio, features_shape[1]),
        _axis_weights(x1, width, output_size[1], sampling_ratio, features_shape[2]),
    )


def _axis_weights(start, length, bins, sampling_ratio, extent):
    """The weight of each of `extent` pixels in each of `bins` bins: (bins, extent)."""
    dtype = start.dtype
    bin_size = length / dtype.type(bins)
    samples = sampling_ratio if sampling_ratio > 0 else max(int(np.ceil(bin_size)), 0)
    weights = np.zeros((bins, extent), dtype)
    if samples == 0:  # a roi of negative size, adaptive sampling: no samples, zero output
        return weights
    offsets = (np.arange(samples, dtype=dtype) + dtype.type(0.5)) * bin_size / dtype.type(samples)
    position = start + np.arange(bins, dtype=dtype)[:, None] * bin_size + offsets  # (bins, samples)
    inside = (position >= -1) & (position <= extent)
    position = np.clip(position, 0, extent - 1)
    low = position.astype(np.int64)
    high = np.minimum(low + 1, extent - 1)
    fraction = position - low.astype(dtype)
    share = inside.astype(dtype) / dtype.type(samples)
    bin_index = np.arange(bins)[:, None]
    np.add.at(weights, (bin_index, low), share * (1 - fraction))
    np.add.at(weights, (bin_index, high), share * fraction)
    return weights
