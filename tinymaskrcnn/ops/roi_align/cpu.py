"""RoIAlign for the CPU: rows first, then columns.

Along each axis a roi's bins are lists of taps: pixels and their weights, every sample's two pixels
merged where samples share them (_find_taps). One row of bins is then a weighted sum of a few rows of the
map, over the columns the roi uses, and each bin a weighted sum of a few columns of that. In
channels-last both are long vector loops, and for a map of one channel, such as a ground-truth mask,
the first still is.
"""

import numpy as np
from numba import get_num_threads, prange

from ... import memory
from ...jit import kernel, serial
from ..exact import exact_serial


def roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Pool each roi (R, 5) of features (N, H, W, C) to a grid of bins: (R, h, w, C)."""
    output = memory.empty((len(rois), *output_size, features.shape[3]))
    if output.size:
        tables = _tables(rois, features.shape, output_size, spatial_scale, sampling_ratio, aligned)
        _pool(np.ascontiguousarray(features), rois[:, 0].astype(np.int64), *tables, output)
    return output


def roi_align_grad(grad, features_shape, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """The gradient of the features (N, H, W, C), from the output's gradient (R, h, w, C)."""
    gradient = memory.empty(features_shape)
    if gradient.size == 0 or len(rois) == 0:
        gradient.fill(0)
        return gradient
    tables = _tables(rois, features_shape, output_size, spatial_scale, sampling_ratio, aligned)
    order = np.argsort(rois[:, 0], kind="stable")
    bounds = np.searchsorted(rois[order, 0], np.arange(features_shape[0] + 1))
    parts = _channel_parts(features_shape[0], features_shape[3])
    _unpool(np.ascontiguousarray(grad), order, bounds, *tables, parts, gradient)
    return gradient


def _channel_parts(images, channels):
    """Into how many parts to cut the channels, so that images x parts keep every thread busy."""
    threads = get_num_threads()
    return 1 if images % threads == 0 else max(1, min(threads, channels // 16))


def _tables(rois, features_shape, output_size, spatial_scale, sampling_ratio, aligned):
    """For every roi: taps along y (count, pixel, weight), the same along x, its runs of columns, and
    the greatest number of columns that any roi uses.

    Taps along x count in the roi's own columns. Positions are computed in float32, one operation at
    a time: the roundings are torchvision's.
    """
    corners = rois[:, 1:] * np.float32(spatial_scale) - np.float32(0.5 if aligned else 0)
    sizes = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sizes = np.maximum(sizes, np.float32(1))
    bin_sizes = sizes / np.array(output_size[::-1], np.float32)
    samples = np.full(sizes.shape, sampling_ratio)
    if sampling_ratio <= 0:
        samples = np.maximum(np.ceil(bin_sizes), 0).astype(np.int64)
    geometry = np.stack(
        (corners[:, :2], bin_sizes), axis=2
    )  # (R, 2 for x and y, start and bin size)
    count_y, row, weight_y = _axis_taps(geometry, samples, 1, output_size[0], features_shape[1])
    count_x, column, weight_x = _axis_taps(geometry, samples, 0, output_size[1], features_shape[2])
    runs = np.zeros((len(rois), column[0].size + 1, 2), np.int64)
    most = _number_columns(count_x, column, features_shape[2], runs)
    return count_y, row, weight_y, count_x, column, weight_x, runs, most


def _axis_taps(geometry, samples, axis, bins, extent):
    """The taps of every roi along one axis: count (R, bins), pixel and weight (R, bins, most)."""
    most = max(min(2 * int(samples[:, axis].max()), extent), 1)
    count = np.empty((len(geometry), bins), np.int64)
    pixel = np.empty((len(geometry), bins, most), np.int64)
    weight = np.empty((len(geometry), bins, most), np.float32)
    _find_taps(geometry, samples, axis, extent, count, pixel, weight)
    return count, pixel, weight


@exact_serial
def _find_taps(geometry, samples, axis, extent, count, pixel, weight):
    """For every roi and bin: the pixels its samples touch, each once, with their summed weights.

    A sample counts 1 / samples, and nothing where it lies outside -1 .. extent.
    """
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    for r in range(len(geometry)):
        start, bin_size, number = geometry[r, axis, 0], geometry[r, axis, 1], samples[r, axis]
        share = one / np.float32(max(number, 1))
        for p in range(count.shape[1]):
            bin_start = start + np.float32(p) * bin_size
            used = 0
            for s in range(number):
                position = bin_start + (np.float32(s) + half) * bin_size / np.float32(number)
                if position < -one or position > extent:
                    continue
                position = min(max(position, zero), np.float32(extent - 1))
                low = np.int64(position)
                fraction = position - np.float32(low)
                used = _add_tap(pixel[r, p], weight[r, p], used, low, share * (one - fraction))
                used = _add_tap(pixel[r, p], weight[r, p], used, low + 1, share * fraction)
            count[r, p] = used


@exact_serial
def _add_tap(pixel, weight, used, place, share):
    """Add to the list of `used` taps, merging with one at the same place: how many it holds now."""
    if share == 0:
        return used
    for t in range(used - 1, -1, -1):
        if pixel[t] == place:
            weight[t] += share
            return used
    pixel[used], weight[used] = place, share
    return used + 1


@serial
def _number_columns(count, column, width, runs):
    """Number each roi's columns 0, 1, ... from left to right, in place, and list their runs.

    runs[r]: pairs (start, stop) of neighbouring columns, ended by an empty one. Returns the greatest
    number of columns of a roi.
    """
    number = np.full(width, -1)
    most = 1
    for r in range(len(count)):
        left, right = width, -1
        for p in range(count.shape[1]):
            for t in range(count[r, p]):
                number[column[r, p, t]] = 0
                left, right = min(left, column[r, p, t]), max(right, column[r, p, t])
        used, run = 0, -1
        for x in range(left, right + 1):
            if number[x] < 0:
                continue
            if run < 0 or runs[r, run, 1] != x:
                run += 1
                runs[r, run, 0] = x
            runs[r, run, 1] = x + 1
            number[x] = used
            used += 1
        for p in range(count.shape[1]):
            for t in range(count[r, p]):
                column[r, p, t] = number[column[r, p, t]]
        number[left : right + 1] = -1
        most = max(most, used)
    return most


@kernel
def _pool(features, images, count_y, row, weight_y, count_x, column, weight_x, runs, most, output):
    """output[r, i, j] = sum over taps of weight_y * weight_x * features, row of bins by row of bins:
    the roi's columns of the map's rows summed into one line, then each bin from the line.
    """
    channels = features.shape[3]
    for r in prange(len(output)):
        picture = features[images[r]]
        line = np.empty((most, channels), np.float32)
        for i in range(output.shape[1]):
            if count_y[r, i] == 0:
                output[r, i] = 0
                continue
            _sum_rows(picture, row[r, i], weight_y[r, i], count_y[r, i], runs[r], line)
            for j in range(output.shape[2]):
                taps = count_x[r, j]
                _sum_columns(line, column[r, j], weight_x[r, j], taps, output[r, i, j])


@serial
def _sum_rows(picture, row, weight, count, runs, line):
    """line[columns] = sum of weight * picture[row, columns]; four rows at a time, which spares loads
    and stores of the line."""
    width, channels = picture.shape[1:]
    pixels, line = picture.reshape(-1), line.reshape(-1)
    for t in range(0, count, 4):
        b, c, d = min(t + 1, count - 1), min(t + 2, count - 1), min(t + 3, count - 1)
        weight_b = weight[b] if t + 1 < count else np.float32(0)
        weight_c = weight[c] if t + 2 < count else np.float32(0)
        weight_d = weight[d] if t + 3 < count else np.float32(0)
        done = 0
        for run in range(len(runs)):
            start, length = runs[run, 0] * channels, (runs[run, 1] - runs[run, 0]) * channels
            if length == 0:
                break
            _sum_four(
                line[done : done + length],
                _part(pixels, row[t] * width * channels + start, length),
                _part(pixels, row[b] * width * channels + start, length),
                _part(pixels, row[c] * width * channels + start, length),
                _part(pixels, row[d] * width * channels + start, length),
                (weight[t], weight_b, weight_c, weight_d),
                t > 0,
            )
            done += length


@serial
def _sum_columns(line, column, weight, count, output):
    """output = sum of weight * line[column], over the channels."""
    if len(output) == 1:
        total = np.float32(0)
        for t in range(count):
            total += weight[t] * line[column[t], 0]
        output[0] = total
        return
    if count == 0:
        output[:] = 0
    for t in range(0, count, 4):
        b, c, d = min(t + 1, count - 1), min(t + 2, count - 1), min(t + 3, count - 1)
        weight_b = weight[b] if t + 1 < count else np.float32(0)
        weight_c = weight[c] if t + 2 < count else np.float32(0)
        weight_d = weight[d] if t + 3 < count else np.float32(0)
        _sum_four(
            output,
            line[column[t]],
            line[column[b]],
            line[column[c]],
            line[column[d]],
            (weight[t], weight_b, weight_c, weight_d),
            t > 0,
        )


@serial
def _part(vector, start, length):
    return vector[start : start + length]


@serial
def _sum_four(output, a, b, c, d, weights, add):
    """output (+)= weights . (a, b, c, d)."""
    w, x, y, z = weights
    if add:
        for k in range(len(output)):
            output[k] += w * a[k] + x * b[k] + y * c[k] + z * d[k]
    else:
        for k in range(len(output)):
            output[k] = w * a[k] + x * b[k] + y * c[k] + z * d[k]


@kernel
def _unpool(
    grad,
    order,
    bounds,
    count_y,
    row,
    weight_y,
    count_x,
    column,
    weight_x,
    runs,
    most,
    parts,
    gradient,
):
    """_pool backwards. A task owns some channels of one image and goes through that image's rois in
    their order: no atomics, and the same sums for any number of threads.
    """
    channels = gradient.shape[3]
    for task in prange(len(gradient) * parts):
        image, part = task // parts, task % parts
        first, last = part * channels // parts, (part + 1) * channels // parts
        picture = gradient[image]
        picture[:, :, first:last] = 0
        line = np.empty((most, last - first), np.float32)
        for r in order[bounds[image] : bounds[image + 1]]:
            for i in range(grad.shape[1]):
                line[:] = 0
                for j in range(grad.shape[2]):
                    values = grad[r, i, j, first:last]
                    for t in range(count_x[r, j]):
                        _add(line[column[r, j, t]], values, weight_x[r, j, t])
                for t in range(count_y[r, i]):
                    _add_to_row(picture[row[r, i, t]], line, weight_y[r, i, t], runs[r], first)


@serial
def _add_to_row(row, line, weight, runs, first):
    """row[columns, first:] += weight * line: whole runs at once where the line has all channels."""
    channels, part = row.shape[1], line.shape[1]
    row, line = row.reshape(-1), line.reshape(-1)
    done = 0
    for start, stop in runs:
        if start == stop:
            break
        pieces, length = (
            (1, (stop - start) * channels) if part == channels else (stop - start, part)
        )
        for piece in range(pieces):
            place = (start + piece) * channels + first
            _add(row[place : place + length], line[done : done + length], weight)
            done += length


@serial
def _add(output, values, weight):
    for k in range(len(output)):
        output[k] += weight * values[k]
