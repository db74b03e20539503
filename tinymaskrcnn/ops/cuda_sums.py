"""Sums along an axis on the GPU, for every op that needs them.

An array of any shape is viewed as (outer, n, inner) and summed over n. There are three kernels, for
three kinds of shapes. One thread or one block sums each cell of the result, in a fixed order, so
the same input always gives the same bits. No atomics.
"""

from numba import float32

from ..gpu.array import GpuArray, empty
from ..gpu.launch import F2, F3, I, blocks, cuda, device_function, kernel
from ..gpu.scalars import divided

THREADS = 256
COLUMNS, ROWS = 32, 8  # threads of a block that sums columns
GROUP = 16  # a block sums its values in two steps: 16 threads sum 16 values each, one sums those
LINE = 64  # values that one thread may sum alone
STRETCH = 2048  # values that one block sums
MOST_PARTS = 256


def sum_middle(x: GpuArray, count: int = 1) -> GpuArray:
    """(outer, n, inner) -> (outer, inner): sums over n, divided by `count`."""
    outer, n, inner = x.shape
    if n <= LINE or outer * inner >= 1 << 15:
        return _by_lines(x, count)
    return _by_lines(_by_rows(x.reshape(outer, n)) if inner == 1 else _by_columns(x), count)


def parts_of(n: int, stretch: int = STRETCH) -> tuple[int, int]:
    """How many parts to cut n values into, and how many values each part has."""
    parts = min(max(-(-n // stretch), 1), MOST_PARTS)
    return parts, max(-(-n // parts), 1)


def _by_lines(x: GpuArray, count: int) -> GpuArray:
    out = empty((x.shape[0], x.shape[2]))
    _lines[blocks(out.size)](x, count, out)
    return out


def _by_rows(x: GpuArray) -> GpuArray:
    parts, stretch = parts_of(x.shape[1])
    partial = empty((x.shape[0], parts))
    _rows[parts, x.shape[0]](x, stretch, partial)
    return partial.reshape(x.shape[0], parts, 1)


def _by_columns(x: GpuArray) -> GpuArray:
    outer, n, inner = x.shape
    parts, stretch = parts_of(n, 256)
    partial = empty((outer, parts, inner))
    _columns[-(-inner // COLUMNS), parts, outer](x, stretch, partial)
    return partial


@kernel(F3, I, F2)
def _lines(x, count, out):
    """out[o, i] = sum over n of x[o, n, i] / count: thread (o, i), which steps through n.

    Neighbouring threads have neighbouring i, so each step reads one stretch of memory.
    """
    inner = out.shape[1]
    for cell in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        o, i = cell // inner, cell % inner
        total = float32(0)
        for n in range(x.shape[1]):
            total += x[o, n, i]
        out[o, i] = divided(total, float32(count))


@device_function
def block_sum(value, sums, t):
    """The sum of the values of all THREADS threads, in thread 0; sums is shared memory for as many.

    16 threads sum 16 values each, then one thread sums theirs: two barriers; halving takes eight.
    """
    sums[t] = value
    cuda.syncthreads()
    total = float32(0)
    if t < GROUP:
        for i in range(GROUP):
            total += sums[i * GROUP + t]
        sums[t] = total  # only this thread has read cell t, so it may overwrite it
    cuda.syncthreads()
    total = float32(0)
    if t == 0:
        for i in range(GROUP):
            total += sums[i]
    return total


@kernel(F2, I, F2)
def _rows(x, stretch, partial):
    """partial[o, p] = sum of x[o] over the p-th stretch: block (p, o).

    Its threads step through the stretch side by side, each with its own sum; at the end these are
    summed.
    """
    sums = cuda.shared.array(THREADS, float32)
    t, p, o = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y
    total = float32(0)
    for i in range(p * stretch + t, min((p + 1) * stretch, x.shape[1]), THREADS):
        total += x[o, i]
    total = block_sum(total, sums, t)
    if t == 0:
        partial[o, p] = total


@kernel(F3, I, F3, threads=(COLUMNS, ROWS))
def _columns(x, stretch, partial):
    """partial[o, p, i] = sum of x[o, n, i] over the p-th stretch of n: block (i / 32, p, o).

    A row of 32 threads reads 32 neighbouring columns at once; the block's eight rows of threads
    share the stretch, and combine their sums in shared memory.
    """
    sums = cuda.shared.array((ROWS, COLUMNS), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    i, p, o = cuda.blockIdx.x * COLUMNS + tx, cuda.blockIdx.y, cuda.blockIdx.z
    total = float32(0)
    if i < x.shape[2]:
        for n in range(p * stretch + ty, min((p + 1) * stretch, x.shape[1]), ROWS):
            total += x[o, n, i]
    sums[ty, tx] = total
    cuda.syncthreads()
    if ty == 0 and i < x.shape[2]:
        total = float32(0)
        for row in range(ROWS):
            total += sums[row, tx]
        partial[o, p, i] = total
