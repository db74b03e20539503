"""RoIAlign on the GPU: one thread per output value; back, one per input value.

Bilinear interpolation is separable: along one axis, a bin is a weighted sum of a few pixels. The
forward pass goes through a bin's samples. The gradient does not scatter them back, which would need
atomics and give different bits in every run. Instead, each pixel computes its weight in each bin of
every roi that reaches it: first by row, then, for the rows that matter, by column.
"""

from numba import float32, int32

from ...gpu.array import empty, to_device
from ...gpu.launch import F2, F4, F, I, blocks, cuda, device_function, kernel
from ...gpu.scalars import divided, place_of, product
from ..basic.cuda import accumulate


def roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned):
    output = empty((len(rois), *output_size, features.shape[3]))
    settings = spatial_scale, sampling_ratio, aligned
    _pool[blocks(output.size)](features, to_device(rois), *settings, output)
    return output


def roi_align_grad(
    grad, features_shape, rois, output_size, spatial_scale, sampling_ratio, aligned, total=None
):
    gradient = empty(features_shape)
    settings = spatial_scale, sampling_ratio, aligned
    _pool_grad[blocks(gradient.size)](grad, to_device(rois), *settings, gradient)
    return gradient if total is None else accumulate(total, gradient)


@device_function
def _bins(first, last, scale, aligned, bins, ratio):
    """Along one axis: the start of the first bin, the size of a bin, and its number of samples."""
    shift = float32(0.5) if aligned else float32(0)
    start = product(first, scale) - shift
    length = product(last, scale) - shift - start
    if not aligned:
        length = max(length, float32(1))
    size = divided(length, float32(bins))
    samples = int32(ratio)
    if ratio <= 0:
        samples = int32(size)
        if float32(samples) < size:
            samples = int32(samples + 1)
    return start, size, max(samples, int32(0))


@device_function
def _position(start, size, samples, bin_, sample):
    """Where a sample of a bin lies, in pixels of the map."""
    offset = divided(product(float32(sample) + float32(0.5), size), float32(samples))
    return start + product(float32(bin_), size) + offset


@device_function
def _neighbours(position, extent):
    """The two pixels that a sample lies between, the second one's weight, and whether the sample
    counts: it does not if it is more than one pixel outside the map.
    """
    inside = position >= float32(-1) and position <= float32(extent)
    position = min(max(position, float32(0)), float32(extent - 1))
    low = int32(position)
    high = min(int32(low + 1), int32(extent - 1))
    return low, high, position - float32(low), inside


@device_function
def _share(start, size, samples, bin_, pixel, extent):
    """The weight of one pixel in one bin, along one axis."""
    total = float32(0)
    for sample in range(samples):
        position = _position(start, size, samples, bin_, sample)
        low, high, fraction, inside = _neighbours(position, extent)
        if inside:
            if low == pixel:
                total += float32(1) - fraction
            if high == pixel:
                total += fraction
    return divided(total, float32(samples))


@kernel(F4, F2, F, I, I, F4, registers=128)
def _pool(features, rois, scale, ratio, aligned, output):
    """output[r, i, j, c] = mean of the samples in bin (i, j) of roi r: one thread per cell.

    Neighbouring threads have neighbouring channels of the same bin, so they take the same branches
    and read neighbouring values.
    """
    height, width = features.shape[1], features.shape[2]
    for cell in range(cuda.grid(1), output.size, cuda.gridsize(1)):
        r, i, j, c = place_of(cell, output.shape[1], output.shape[2], output.shape[3])
        image = int32(rois[r, 0])
        top, size_y, rows = _bins(rois[r, 2], rois[r, 4], scale, aligned, output.shape[1], ratio)
        left, size_x, columns = _bins(
            rois[r, 1], rois[r, 3], scale, aligned, output.shape[2], ratio
        )
        total = float32(0)
        for sy in range(rows):
            h, h2, down, inside_y = _neighbours(_position(top, size_y, rows, i, sy), height)
            for sx in range(columns):
                w, w2, right, inside_x = _neighbours(_position(left, size_x, columns, j, sx), width)
                if inside_y and inside_x:
                    above = features[image, h, w, c] * (float32(1) - right)
                    above += features[image, h, w2, c] * right
                    below = features[image, h2, w, c] * (float32(1) - right)
                    below += features[image, h2, w2, c] * right
                    total += above * (float32(1) - down) + below * down
        count = rows * columns
        output[r, i, j, c] = divided(total, float32(count)) if count > 0 else float32(0)


@kernel(F4, F2, F, I, I, F4, registers=128)
def _pool_grad(grad, rois, scale, ratio, aligned, gradient):
    """gradient[n, h, w, c] = sum over rois r and bins (i, j) of share_y * share_x * grad[r, i, j,
    c]: one thread per cell.

    Most rois do not reach a pixel and are skipped at once. With 32 channels or more, all threads of
    a warp have the same pixel and so skip the same rois.
    """
    height, width = gradient.shape[1], gradient.shape[2]
    bins_y, bins_x = grad.shape[1], grad.shape[2]
    for cell in range(cuda.grid(1), gradient.size, cuda.gridsize(1)):
        n, h, w, c = place_of(cell, height, width, gradient.shape[3])
        total = float32(0)
        for r in range(rois.shape[0]):
            if int32(rois[r, 0]) == n:
                top, size_y, rows = _bins(rois[r, 2], rois[r, 4], scale, aligned, bins_y, ratio)
                left, size_x, columns = _bins(rois[r, 1], rois[r, 3], scale, aligned, bins_x, ratio)
                if _reaches(top, size_y, bins_y, h, height) and _reaches(
                    left, size_x, bins_x, w, width
                ):
                    for i in range(bins_y if rows > 0 and columns > 0 else 0):
                        of_row = _share(top, size_y, rows, i, h, height)
                        if of_row > float32(0):
                            for j in range(bins_x):
                                share = of_row * _share(left, size_x, columns, j, w, width)
                                total += share * grad[r, i, j, c]
        gradient[n, h, w, c] = total


@device_function
def _reaches(start, size, bins, pixel, extent):
    """Whether a sample can lie within one pixel of this pixel, or, at the border, beyond it."""
    end = start + product(size, float32(bins))
    low, high = min(start, end), max(start, end)
    below = high > float32(pixel) - float32(1) or pixel == 0
    above = low < float32(pixel) + float32(1) or pixel == extent - 1
    return below and above
