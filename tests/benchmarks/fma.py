"""The two rates with which other figures are compared: fused multiply-adds from registers alone,
and the register tile with its operands in the L1 cache."""

import time

import numpy as np
from numba import prange

from lessons.peak import SUMS, burn_all
from tinymaskrcnn.jit import kernel
from tinymaskrcnn.ops.simd.emitter import LANES, PANEL, TILE_ROWS, address
from tinymaskrcnn.ops.simd.row_tile import row_tile

DEPTHS = 128, 256, 512  # of tiles whose operands stay in the L1 and L2 caches
FLOPS = 2 * LANES * SUMS  # per step of `burn`


def burn(threads, steps):
    """Do `steps` rounds of SUMS multiply-adds of vectors in each thread."""
    burn_all(steps, np.empty(threads, np.float32))


@kernel
def _tiles(count, depth, left, panel, bias, out):
    for thread in prange(len(out)):
        rows = address(left) + 4 * depth * np.arange(TILE_ROWS)
        targets = address(out[thread]) + 4 * PANEL * np.arange(TILE_ROWS)
        for _ in range(count):
            row_tile(rows, 0, 1, depth, 0, panel, 0, targets, 0, 0, bias, 0, PANEL, 0, 0, 0)


def tiles(threads, count, depth):
    """A function that computes `count` register tiles in each thread, always the same ones."""
    left, panel, bias, out = (
        _aligned(*shape)
        for shape in ((TILE_ROWS, depth), (depth * PANEL,), (PANEL,), (threads, TILE_ROWS, PANEL))
    )
    return lambda: _tiles(count, depth, left, panel, bias, out)


def _aligned(*shape):
    """Zeros that start on a cache line."""
    raw = np.zeros(4 * int(np.prod(shape)) + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 4 * int(np.prod(shape))].view(np.float32).reshape(shape)


def measure_peak(threads, seconds):
    """FLOP/s of independent fused multiply-adds on all threads: the best call within `seconds`."""
    steps = 100_000  # about a millisecond, so that starting the threads does not count
    return FLOPS * steps * threads / _shortest(lambda: burn(threads, steps), seconds)


def measure_tile(threads, seconds):
    """FLOP/s of the register tile at its best depth."""
    rates = []
    for depth in DEPTHS:
        count = 150_000 // depth
        flops = 2 * TILE_ROWS * PANEL * depth * count * threads
        rates.append(flops / _shortest(tiles(threads, count, depth), seconds))
    return max(rates)


def _shortest(call, seconds):
    """The time of the fastest of the calls that fit into `seconds`, after two warm-up calls."""
    call(), call()
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
