"""Answers to the exercises of lesson 18."""

import numpy as np

from lessons import load

run_grid = load("gpu_kernels").run_grid


def cells_of_thread(block, thread, blocks, threads, cells):
    return list(range(block * threads + thread, cells, blocks * threads))


def patch_pixel(m, k, shape, side, stride, padding):
    _, height, width, channels = shape
    rows, columns = ((size + 2 * padding - side) // stride + 1 for size in (height, width))
    picture, place = divmod(m, rows * columns)
    i, j = divmod(place, columns)
    tap, channel = divmod(k, channels)
    r, s = divmod(tap, side)
    h, w = i * stride + r - padding, j * stride + s - padding
    inside = 0 <= h < height and 0 <= w < width
    return (picture, h, w, channel) if inside else None


def resident_blocks(threads, registers, shared, limits):
    most_threads, all_registers, all_shared, most_blocks = limits
    lanes = -(-threads // 32) * 32
    fitting = [most_blocks, most_threads // lanes, all_registers // (registers * lanes)]
    if shared:
        fitting.append(all_shared // shared)
    return min(fitting)


def bank_turns(words):
    different = np.unique(words)
    return int(np.bincount(different % 32).max())


def tree_sum(values):
    def kernel(cuda, x, out):
        shared, t, left = cuda.shared.array(len(x), "float32"), cuda.threadIdx.x, len(x)
        shared[t] = x[t]
        yield
        while left > 1:
            half = -(-left // 2)
            if t + half < left:
                shared[t] = shared[t] + shared[t + half]
            left = half
            yield
        if t == 0:
            out[0] = shared[0]

    out = np.zeros(1, np.float32)
    faults, stretches = run_grid(kernel, (1,), (len(values),), values, out)
    return out[0], faults, stretches
