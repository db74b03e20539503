"""Sums along an axis on the GPU, for every op that needs them.

An array of any shape is looked at as (outer, n, inner), and n is summed. Three kernels for three
kinds of shapes; each cell of a result is summed by one thread or one block in a fixed order, so
that the same input always gives the same bits. No atomics.
"""

from numba import float32

from ..gpu.array import GpuArray, empty
from ..gpu.launch import F2, F3, I, blocks, cuda, device_function, kernel
from ..gpu.scalars import divided

THREADS = 256
COLUMNS, ROWS = 32, 8  # threads of a block that sums columns
GROUP = 16  # threads * threads of a block's two steps of summing
LINE = 64  # values that one thread may sum alone
STRETCH = 2048  # values that one block sums
MOST_PARTS = 256


def sum_middle(x: GpuArray, count: int = 1) -> GpuArray:
    """(outer, n, inner) -> (outer, inner), the sums divided by `count`."""
    outer, n, inner = x.shape
    if n <= LINE or outer * inner >= 1 << 15:
        return _by_lines(x, count)
    return _by_lines(_by_rows(x.reshape(outer, n)) if inner == 1 else _by_columns(x), count)


def parts_of(n: int, stretch: int = STRETCH) -> tuple[int, int]:
    """Into how many parts n values are cut, and how many values a part has."""
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
    """out[o, i] = sum over n of x[o, n, i], by count: thread (o, i), which steps through n.

    Neighbouring threads have neighbouring i, so that each step reads one stretch of memory.
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
    """The sum of all THREADS threads' values, on thread 0; sums is shared memory for as many.

    16 threads sum 16 values each, and one sums theirs: two barriers, where halving takes eight.
    """
    sums[t] = value
    cuda.syncthreads()
    total = float32(0)
    if t < GROUP:
        for i in range(GROUP):
            total += sums[i * GROUP + t]
        sums[t] = total  # of the cells that it has just read, so nobody else waits for it
    cuda.syncthreads()
    total = float32(0)
    if t == 0:
        for i in range(GROUP):
            total += sums[i]
    return total


@kernel(F2, I, F2)
def _rows(x, stretch, partial):
    """partial[o, p] = sum of x[o] over the p-th stretch: block (p, o).

    Its threads step through the stretch side by side, each with a sum of its own; these are summed
    at the end.
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
    share out the stretch, and their sums meet in shared memory.
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
