"""Measure this machine's two limits: multiply-adds per second from registers alone, and bytes per
second between memory and processor.

No kernel can be faster than both allow (the roofline of Williams, Waterman and Patterson 2009).
"""

import time
from collections.abc import Callable

import numba
import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from tinymaskrcnn.jit import kernel, serial
from tinymaskrcnn.ops.simd.emitter import INT, LANES, TILE_ROWS, Emitter

SUMS = 2 * TILE_ROWS  # independent sums: none waits for another
STEPS = 200_000
MEGABYTE = 1 << 20


def multiply_add_rate() -> float:
    """Float32 operations per second, all threads together; a multiply-add counts as two."""
    threads = numba.get_num_threads()
    out = np.empty(threads, np.float32)
    seconds = best_time(lambda: burn_all(STEPS, out), 30)
    return 2 * LANES * SUMS * STEPS * threads / seconds


def memory_rate(megabytes: int = 64) -> float:
    """Bytes per second that all threads together read and write, with arrays larger than caches."""
    source = np.ones(megabytes * MEGABYTE // 4, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_time(lambda: _copy(source, target))


def best_time(function: Callable[[], object], calls: int = 5) -> float:
    """Seconds of the fastest of `calls` calls, after one more that may compile."""
    function()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@intrinsic
def _multiply_adds(typing, steps):
    """SUMS independent sums of vectors; each step adds one product to each sum."""

    def code(context, builder, signature, args):
        emit = Emitter(builder)
        factor, term = emit.constant(0.999), emit.constant(0.001)
        sums = emit.loop(
            INT(0), args[0], 1, [emit.constant(i) for i in range(SUMS)],
            lambda _, values: [emit.multiply_add(value, factor, term) for value in values],
        )  # fmt: skip
        total = sums[0]
        for other in sums[1:]:
            total = builder.fadd(total, other)
        return builder.extract_element(total, INT(0))

    return types.float32(types.intp), code


@serial
def _burn(steps):
    return _multiply_adds(steps)


@kernel
def burn_all(steps, out):
    for thread in prange(len(out)):
        out[thread] = _burn(steps)


@kernel
def _copy(source, target):
    for i in prange(len(source)):
        target[i] = source[i]
