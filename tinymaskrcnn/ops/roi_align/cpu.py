"""RoIAlign on the CPU: rows first, then columns.

Along each axis a bin is a list of taps: pixels with weights. Samples that share a pixel share a tap
(_find_taps). A row of bins is then a weighted sum of a few rows of the map, over the columns that
the roi uses, and each bin is a weighted sum of a few columns of that. With channels last, both are
vector loops; with a single channel, as in a ground-truth mask, only the first is.
"""

import numpy as np
from numba import get_num_threads, prange

from ... import memory
from ...jit import exact_serial, kernel, serial


def roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Pool each roi (R, 5) of features (N, H, W, C) to a grid of bins: (R, h, w, C)."""
    output = memory.empty((len(rois), *output_size, features.shape[3]))
    if output.size:
        tables = _tables(rois, features.shape, output_size, spatial_scale, sampling_ratio, aligned)
        _pool(np.ascontiguousarray(features), rois[:, 0].astype(np.int64), *tables, output)
    return output


def roi_align_grad(
    grad, features_shape, rois, output_size, spatial_scale, sampling_ratio, aligned, total=None
):
    """The gradient of the features (N, H, W, C), from the output's gradient (R, h, w, C). If there
    is a total, it is added to that, in place."""
    gradient = memory.empty(features_shape) if total is None else total
    if gradient.size == 0 or len(rois) == 0:
        if total is None:
            gradient.fill(0)
        return gradient
    tables = _tables(rois, features_shape, output_size, spatial_scale, sampling_ratio, aligned)
    order = np.argsort(rois[:, 0], kind="stable")
    bounds = np.searchsorted(rois[order, 0], np.arange(features_shape[0] + 1))
    parts = _channel_parts(features_shape[0], features_shape[3])
    clear = total is None
    _unpool(np.ascontiguousarray(grad), order, bounds, *tables, parts, clear, gradient)
    return gradient


def _channel_parts(images, channels):
    """How many parts to cut the channels into, so that images x parts keep every thread busy."""
    threads = get_num_threads()
    return 1 if images % threads == 0 else max(1, min(threads, channels // 16))


def _tables(rois, features_shape, output_size, spatial_scale, sampling_ratio, aligned):
    """For every roi: its taps along y (see _axis_taps) and along x, and its runs of columns; also
    the largest number of columns that any roi uses.

    Taps along x are numbered by the roi's own columns (see _number_columns). Positions are computed
    in float32, one operation at a time, so they round as torchvision's do.
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
    fours_y, row, weight_y = _axis_taps(geometry, samples, 1, output_size[0], features_shape[1])
    fours_x, column, weight_x = _axis_taps(geometry, samples, 0, output_size[1], features_shape[2])
    runs = np.zeros((len(rois), column[0].size + 1, 2), np.int64)
    most = _number_columns(4 * fours_x, column, features_shape[2], runs)
    return fours_y, row, weight_y, fours_x, column, weight_x, runs, most


def _axis_taps(geometry, samples, axis, bins, extent):
    """Every roi's taps along one axis: the number of groups of four (R, bins), and the taps' pixels
    and weights (R, bins, most).

    Loops take four taps at a time, which saves loads and stores of the sum.
    """
    most = -(-max(min(2 * int(samples[:, axis].max()), extent), 1) // 4) * 4
    fours = np.empty((len(geometry), bins), np.int64)
    pixel = np.empty((len(geometry), bins, most), np.int64)
    weight = np.empty((len(geometry), bins, most), np.float32)
    _find_taps(geometry, samples, axis, extent, fours, pixel, weight)
    return fours, pixel, weight


@exact_serial
def _find_taps(geometry, samples, axis, extent, fours, pixel, weight):
    """For every roi and bin: each pixel that its samples touch, once, with its summed weight.

    A sample has weight 1 / samples, or 0 if it lies outside -1 .. extent.
    """
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    for r in range(len(geometry)):
        start, bin_size, number = geometry[r, axis, 0], geometry[r, axis, 1], samples[r, axis]
        share = one / np.float32(max(number, 1))
        for p in range(fours.shape[1]):
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
            fours[r, p] = (used + 3) // 4
            for t in range(used, 4 * fours[r, p]):
                pixel[r, p, t], weight[r, p, t] = pixel[r, p, used - 1], zero


@exact_serial
def _add_tap(pixel, weight, used, place, share):
    """Add a tap to a list of `used` taps, or merge it with one at the same place. Returns how many
    the list holds now.
    """
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

    runs[r]: pairs (start, stop) of neighbouring columns; an empty pair ends the list. Returns the
    largest number of columns that any roi has.
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
def _pool(features, images, fours_y, row, weight_y, fours_x, column, weight_x, runs, most, output):
    """output[r, i, j] = sum over taps of weight_y * weight_x * features, one row of bins at a time:
    a few rows of the map, over the roi's columns, are summed into one line; each bin is then summed
    from the line.

    Vectors are given by unsigned places in flat arrays. Slices would count references, atomically;
    a signed place might count from the end, and then a loop does not become vector code.
    """
    height, width, channels = features.shape[1:]
    pixels, bins = features.reshape(-1), output.reshape(-1)
    for r in prange(len(output)):
        line = np.empty(most * channels, np.float32)
        image = images[r] * height * width
        for i in range(output.shape[1]):
            place = (r * output.shape[1] + i) * output.shape[2] * channels
            if fours_y[r, i] == 0:
                bins[place : place + output.shape[2] * channels] = 0
                continue
            _sum_rows(pixels, image, width, channels, row, weight_y, fours_y, runs, r, i, line)
            _sum_columns(line, channels, column, weight_x, fours_x, r, bins, place)


@serial
def _sum_rows(pixels, image, width, channels, row, weight, fours, runs, r, i, line):
    """line = weighted sum of the map's rows under row i of roi r's bins, over the roi's columns."""
    done = np.uint64(0)
    for run in range(runs.shape[1]):
        start, stop = runs[r, run, 0], runs[r, run, 1]
        if start == stop:
            break
        length = np.uint64((stop - start) * channels)
        for t in range(0, 4 * fours[r, i], 4):
            a = np.uint64((image + row[r, i, t] * width + start) * channels)
            b = np.uint64((image + row[r, i, t + 1] * width + start) * channels)
            c = np.uint64((image + row[r, i, t + 2] * width + start) * channels)
            d = np.uint64((image + row[r, i, t + 3] * width + start) * channels)
            wa, wb = weight[r, i, t], weight[r, i, t + 1]
            wc, wd = weight[r, i, t + 2], weight[r, i, t + 3]
            if t == 0:
                for k in range(length):
                    line[done + k] = (
                        wa * pixels[a + k]
                        + wb * pixels[b + k]
                        + wc * pixels[c + k]
                        + wd * pixels[d + k]
                    )
            else:
                for k in range(length):
                    line[done + k] += (
                        wa * pixels[a + k]
                        + wb * pixels[b + k]
                        + wc * pixels[c + k]
                        + wd * pixels[d + k]
                    )
        done += length


@serial
def _sum_columns(line, channels, column, weight, fours, r, bins, place):
    """bins[place:] = for each bin of the row, the weighted sum of the line's columns under it."""
    length = np.uint64(channels)
    for j in range(fours.shape[1]):
        here = np.uint64(place + j * channels)
        if channels == 1 or fours[r, j] == 0:
            for k in range(length):
                bins[here + k] = 0
        for t in range(0, 4 * fours[r, j], 4):
            a = np.uint64(column[r, j, t] * channels)
            b = np.uint64(column[r, j, t + 1] * channels)
            c = np.uint64(column[r, j, t + 2] * channels)
            d = np.uint64(column[r, j, t + 3] * channels)
            wa, wb = weight[r, j, t], weight[r, j, t + 1]
            wc, wd = weight[r, j, t + 2], weight[r, j, t + 3]
            if channels == 1:
                bins[here] += wa * line[a] + wb * line[b] + wc * line[c] + wd * line[d]
            elif t == 0:
                for k in range(length):
                    bins[here + k] = (
                        wa * line[a + k] + wb * line[b + k] + wc * line[c + k] + wd * line[d + k]
                    )
            else:
                for k in range(length):
                    bins[here + k] += (
                        wa * line[a + k] + wb * line[b + k] + wc * line[c + k] + wd * line[d + k]
                    )


@kernel
def _unpool(
    grad,
    order,
    bounds,
    fours_y,
    row,
    weight_y,
    fours_x,
    column,
    weight_x,
    runs,
    most,
    parts,
    clear,
    gradient,
):
    """The transpose of _pool. A task owns some channels of one image and goes through that image's
    rois in order: no atomics, and the same sums for any number of threads.
    """
    height, width, channels = gradient.shape[1:]
    slopes, pixels = grad.reshape(-1), gradient.reshape(-1)
    for task in prange(len(gradient) * parts):
        image, part = task // parts, task % parts
        first, last = part * channels // parts, (part + 1) * channels // parts
        if clear:
            gradient[image, :, :, first:last] = 0
        line = np.empty(most * (last - first), np.float32)
        for q in range(bounds[image], bounds[image + 1]):
            r = order[q]
            for i in range(grad.shape[1]):
                line[:] = 0
                for j in range(grad.shape[2]):
                    place = ((r * grad.shape[1] + i) * grad.shape[2] + j) * channels + first
                    for t in range(4 * fours_x[r, j]):
                        start = column[r, j, t] * (last - first)
                        _add(line, start, slopes, place, last - first, weight_x[r, j, t])
                for t in range(4 * fours_y[r, i]):
                    place = (image * height + row[r, i, t]) * width * channels + first
                    _add_row(
                        pixels, place, channels, line, last - first, weight_y[r, i, t], runs, r
                    )


@serial
def _add_row(pixels, place, channels, line, part, weight, runs, r):
    """pixels[place:] += weight * line, over the roi's columns; whole runs at once if the line has
    all channels."""
    done = 0
    for run in range(runs.shape[1]):
        start, stop = runs[r, run, 0], runs[r, run, 1]
        if start == stop:
            break
        if part == channels:
            _add(pixels, place + start * channels, line, done, (stop - start) * channels, weight)
        else:
            for x in range(stop - start):
                here = place + (start + x) * channels
                _add(pixels, here, line, done + x * part, part, weight)
        done += (stop - start) * part


@serial
def _add(output, place, source, start, length, weight):
    """output[place:] += weight * source[start:]."""
    place, start = np.uint64(place), np.uint64(start)
    for k in range(np.uint64(length)):
        output[place + k] += weight * source[start + k]
