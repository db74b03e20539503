"""Matrix products on the GPU: C = relu?(A B + bias), for matrices anywhere in memory.

There are two kernels. `teaching` is the textbook's: a block of 16x16 threads, each with one cell of
C, and two tiles in shared memory. `tiled` does the same with 4x4 cells per thread, so each value
that a thread reads from shared memory serves four multiplications instead of one. Use it whenever
C is large enough to fill its tiles.

A matrix is given by a flat array and the distances between neighbours, (batch, row, column) steps,
so transposing costs nothing.
"""

from numba import float32

from ..gpu.array import GpuArray, empty
from ..gpu.launch import F1, I, cuda, device_function, kernel, tuple_of

TILE = 16
WIDE, DEPTH, SIDE = 64, 16, 4  # a block has WIDE x WIDE cells of C, a thread SIDE x SIDE
PITCH = WIDE + 1  # between a tile's rows in shared memory: columns then lie in different banks
LOADS = WIDE * DEPTH // 256  # values of a tile that each thread loads


def product(
    a: GpuArray,
    b: GpuArray,
    size: tuple[int, int, int],
    a_steps: tuple[int, int, int],
    b_steps: tuple[int, int, int],
    batch: int = 1,
    bias: GpuArray | None = None,
    relu: bool = False,
) -> GpuArray:
    """c[z, i, j] = relu?(bias[j] + sum over k of a[z, i, k] * b[z, k, j]), as (batch, m, n).

    Args:
        a, b: the two arrays, of any shape.
        size: m, n, depth.
        a_steps, b_steps: distances between neighbouring matrices, rows and columns, in cells.
        batch: how many matrices.
        bias: (n,) or None.
        relu: whether to apply ReLU.
    """
    m, n, _ = size
    c = empty((batch, m, n))
    wide = min(m, n) > TILE
    run, side = (_tiled, WIDE) if wide else (_teaching, TILE)
    grid = -(-n // side), -(-m // side), batch
    given = c.flat if bias is None else bias
    run[grid](a.flat, b.flat, given, c.flat, size, a_steps, b_steps, bias is not None, relu)
    return c


_TYPES = (F1, F1, F1, F1, tuple_of(3), tuple_of(3), tuple_of(3), I, I)


@kernel(*_TYPES, threads=(TILE, TILE), registers=64)
def _teaching(a, b, bias, c, size, a_steps, b_steps, with_bias, relu):
    """c[z, i, j] by thread (j % 16, i % 16) of block (j / 16, i / 16, z).

    The block walks along k, 16 at a time. Each thread loads one value of A and one of B into shared
    memory. After the barrier all 256 threads use them, each value 16 times, so global memory is
    read only a sixteenth as often. The second barrier keeps a fast thread from overwriting what a
    slow one still reads.
    """
    tile_a = cuda.shared.array((TILE, TILE), float32)
    tile_b = cuda.shared.array((TILE, TILE), float32)
    tx, ty, z = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    j, i = cuda.blockIdx.x * TILE + tx, cuda.blockIdx.y * TILE + ty
    m, n, depth = size
    row, column = z * a_steps[0] + i * a_steps[1], z * b_steps[0] + j * b_steps[2]
    total = float32(0)
    for start in range(0, depth, TILE):
        ka, kb = start + tx, start + ty
        tile_a[ty, tx] = a[row + ka * a_steps[2]] if i < m and ka < depth else float32(0)
        tile_b[ty, tx] = b[column + kb * b_steps[1]] if j < n and kb < depth else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += tile_a[ty, k] * tile_b[k, tx]
        cuda.syncthreads()
    if i < m and j < n:
        if with_bias:
            total += bias[j]
        c[(z * m + i) * n + j] = float32(0) if relu and total <= float32(0) else total


@device_function
def multiply_tiles(tile_a, tile_b, ty, tx, of_a, sums):
    """sums[p, q] += tile_a[k, ty + 16 p] * tile_b[k, tx + 16 q] over all k of the tiles (DEPTH,
    PITCH); of_a has room for SIDE values. There are no barriers here: the caller needs one before
    and one after.
    """
    for k in range(DEPTH):
        for p in range(SIDE):
            of_a[p] = tile_a[k, ty + p * TILE]
        for q in range(SIDE):
            of_b = tile_b[k, tx + q * TILE]
            for p in range(SIDE):
                sums[p, q] += of_a[p] * of_b


@kernel(*_TYPES, threads=(TILE, TILE), registers=128)
def _tiled(a, b, bias, c, size, a_steps, b_steps, with_bias, relu):
    """c[z, i, j] by thread (j % 16, i % 16) of block (j / 64, i / 64, z).

    A thread keeps the 16 cells i, i + 16, ... by j, j + 16, ... in registers. For each k it reads
    four values of A's tile and four of B's, and multiplies each with each: 16 multiplications for
    eight reads of shared memory, where `teaching` needs two reads for one. A tile is loaded along
    its contiguous axis, so that neighbouring threads read neighbouring values.
    """
    tile_a = cuda.shared.array((DEPTH, PITCH), float32)
    tile_b = cuda.shared.array((DEPTH, PITCH), float32)
    sums = cuda.local.array((SIDE, SIDE), float32)
    of_a = cuda.local.array(SIDE, float32)
    tx, ty, z = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    left, top, t = cuda.blockIdx.x * WIDE, cuda.blockIdx.y * WIDE, ty * TILE + tx
    m, n, depth = size
    for p in range(SIDE):
        for q in range(SIDE):
            sums[p, q] = float32(0)
    for start in range(0, depth, DEPTH):
        for load in range(LOADS):
            e = load * 256 + t
            i, k = (e // DEPTH, e % DEPTH) if a_steps[2] == 1 else (e % WIDE, e // WIDE)
            inside = top + i < m and start + k < depth
            place = z * a_steps[0] + (top + i) * a_steps[1] + (start + k) * a_steps[2]
            tile_a[k, i] = a[place] if inside else float32(0)
            j, k = (e // DEPTH, e % DEPTH) if b_steps[1] == 1 else (e % WIDE, e // WIDE)
            inside = left + j < n and start + k < depth
            place = z * b_steps[0] + (start + k) * b_steps[1] + (left + j) * b_steps[2]
            tile_b[k, j] = b[place] if inside else float32(0)
        cuda.syncthreads()
        multiply_tiles(tile_a, tile_b, ty, tx, of_a, sums)
        cuda.syncthreads()
    for p in range(SIDE):
        for q in range(SIDE):
            i, j = top + ty + p * TILE, left + tx + q * TILE
            if i < m and j < n:
                total = sums[p, q] + bias[j] if with_bias else sums[p, q]
                place = (z * m + i) * n + j
                c[place] = float32(0) if relu and total <= float32(0) else total
