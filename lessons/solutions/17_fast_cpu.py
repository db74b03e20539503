"""Answers to the exercises of lesson 17."""

from itertools import pairwise

import numpy as np


def conv_operations(shape, weight_shape, stride, padding):
    count, height, width, channels = shape
    outs, _, k, taps_across = weight_shape
    rows = (height + 2 * padding - k) // stride + 1
    columns = (width + 2 * padding - taps_across) // stride + 1
    return 2 * count * rows * columns * outs * channels * k * taps_across


def attainable(operations, moved, peak, bandwidth):
    seconds = max(operations / peak, moved / bandwidth)
    return operations / seconds


def thread_ranges(rows, threads):
    edges = [t * rows // threads for t in range(threads + 1)]
    return list(pairwise(edges))


def box_means(image, radius):
    side = 2 * radius + 1
    down = np.cumsum(np.pad(image, ((1, 0), (0, 0))), axis=0)
    strips = down[side:] - down[:-side]
    across = np.cumsum(np.pad(strips, ((0, 0), (1, 0))), axis=1)
    return (across[:, side:] - across[:, :-side]) / side**2


def winograd_pair(d, u):
    a = (d[0] - d[2]) * u[0]
    b = (d[1] + d[2]) * u[1]
    c = (d[2] - d[1]) * u[2]
    e = (d[1] - d[3]) * u[3]
    return a + b + c, b - c - e
