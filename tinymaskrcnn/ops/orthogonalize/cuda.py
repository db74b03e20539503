"""The Newton-Schulz iteration on the GPU, on all matrices at once.

A step of the iteration is (a + b G + c G^2) x with G = x x'. With M = b G + c G G it is a x + M x:
three products, of which the first two are small. A single matrix would fill few of a GPU's
processors. And there are dozens of matrices, with 15 products each: launched one by one, they would
make the GPU wait for Python. So all matrices lie one after another in one array, and a launch makes
one product for each matrix. A table tells every block of threads its tile and its matrix.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numba import float32

from ...gpu.array import GpuArray, empty, to_device
from ...gpu.launch import F1, I2, F, I, cuda, kernel
from ...gpu.scalars import divided, square_root
from ..basic.cuda import transpose
from ..basic.cuda_moves import arrange, steps_of
from ..cuda_gemm import DEPTH, LOADS, PITCH, SIDE, TILE, WIDE, multiply_tiles
from ..cuda_sums import THREADS, block_sum
from .reference import FACTORS, SMALLEST_NORM

STRETCHES = 16  # blocks that together scale one matrix


def orthogonalize(matrices: Sequence[GpuArray]) -> list[GpuArray]:
    if not matrices:
        return []
    tall = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    shapes = tuple((min(matrix.shape), max(matrix.shape)) for matrix in matrices)
    starts, squares, spans, tables = _plan(shapes)
    x, gram, square = _packed(matrices, starts), empty(squares), empty(squares)
    of_gram, of_square, of_x = _tiles_on_device(tables)
    _products[len(of_gram)](x, x, gram, gram, of_gram, True, 1.0, 0.0)
    _normalise[STRETCHES, len(spans)](x, gram, to_device(spans))
    spare = empty(x.size)
    for a, b, c in FACTORS:
        _products[len(of_gram)](x, x, gram, gram, of_gram, True, 1.0, 0.0)
        _products[len(of_square)](gram, gram, gram, square, of_square, False, c, b)
        _products[len(of_x)](square, x, x, spare, of_x, False, 1.0, a)
        x, spare = spare, x
    results = [x[starts[i] : starts[i + 1]].reshape(shape) for i, shape in enumerate(shapes)]
    return [transpose(y, (1, 0)) if high else y for y, high in zip(results, tall, strict=True)]


def _packed(matrices, starts):
    """All matrices one after another, with the tall ones transposed."""
    x = empty(starts[-1])
    for matrix, start, stop in zip(matrices, starts, starts[1:], strict=False):
        shape, steps = matrix.shape, steps_of(matrix.shape)
        if shape[0] > shape[1]:
            shape, steps = shape[::-1], steps[::-1]
        arrange(matrix, shape, steps, 0, x[start:stop])
    return x


def _tiles_on_device(tables):
    """The three tables, copied to the device in one piece."""
    together, ends = to_device(np.concatenate(tables)), np.cumsum([len(t) for t in tables])
    return [together[int(end - len(t)) : int(end)] for t, end in zip(tables, ends, strict=True)]


@lru_cache(maxsize=16)
def _plan(shapes):
    """For wide matrices (m, n) of these shapes: where each starts and the last ends; the cells of
    all (m, m) matrices; rows for `normalise`; and the tiles of the products x x', (m, m) @ (m, m)
    and (m, m) @ (m, n).
    """
    m, n = np.array(shapes, np.int32).T
    starts = np.concatenate([[0], np.cumsum(m * n)])
    squares = np.concatenate([[0], np.cumsum(m * m)])
    x, g = starts[:-1], squares[:-1]
    spans = np.stack([starts[:-1], starts[1:], g, m], axis=1)
    tables = _tiles(m, m, n, x, x, g), _tiles(m, m, m, g, g, g), _tiles(m, n, m, g, x, x)
    return [int(start) for start in starts], int(squares[-1]), spans, tables


def _tiles(rows, columns, depths, *places):
    """One row for each tile of each product: rows, columns, depth; the starts of a, b and c; the
    tile's first row and column.
    """
    found = []
    for matrix in zip(rows, columns, depths, *places, strict=True):
        tops, lefts = range(0, matrix[0], WIDE), range(0, matrix[1], WIDE)
        found += [(*matrix, top, left) for top in tops for left in lefts]
    return np.array(found, np.int32).reshape(-1, 8)


@kernel(F1, F1, F1, F1, I2, I, F, F, threads=(TILE, TILE), registers=128)
def _products(a, b, d, c, tiles, turned, scale, slope):
    """c = scale * a b + slope * d for every matrix, with b' for b if `turned`. Block i makes the
    tile in row i of `tiles`, as `tiled` in ops/cuda_gemm.py does; d is laid out like c.
    """
    tile_a = cuda.shared.array((DEPTH, PITCH), float32)
    tile_b = cuda.shared.array((DEPTH, PITCH), float32)
    sums = cuda.local.array((SIDE, SIDE), float32)
    of_a = cuda.local.array(SIDE, float32)
    tx, ty, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
    t = ty * TILE + tx
    m, n, depth = tiles[block, 0], tiles[block, 1], tiles[block, 2]
    at_a, at_b, at_c = tiles[block, 3], tiles[block, 4], tiles[block, 5]
    top, left = tiles[block, 6], tiles[block, 7]
    for p in range(SIDE):
        for q in range(SIDE):
            sums[p, q] = float32(0)
    for start in range(0, depth, DEPTH):
        for load in range(LOADS):
            e = load * THREADS + t
            i, k = top + e // DEPTH, start + e % DEPTH
            tile_a[e % DEPTH, e // DEPTH] = (
                a[at_a + i * depth + k] if i < m and k < depth else float32(0)
            )
            j, k = (e // DEPTH, e % DEPTH) if turned else (e % WIDE, e // WIDE)
            inside = left + j < n and start + k < depth
            place = (left + j) * depth + start + k if turned else (start + k) * n + left + j
            tile_b[k, j] = b[at_b + place] if inside else float32(0)
        cuda.syncthreads()
        multiply_tiles(tile_a, tile_b, ty, tx, of_a, sums)
        cuda.syncthreads()
    for p in range(SIDE):
        for q in range(SIDE):
            i, j = top + ty + p * TILE, left + tx + q * TILE
            if i < m and j < n:
                place = at_c + i * n + j
                total = scale * sums[p, q]
                c[place] = total + slope * d[place] if slope != float32(0) else total


@kernel(F1, F1, I2)
def _normalise(x, gram, spans):
    """x[start:stop] / norm for every matrix. Blocks (., i) do row i of `spans`: start, stop, and
    the start and number of rows of the Gram matrix, whose trace is the norm squared.
    """
    sums = cuda.shared.array(THREADS, float32)
    t, i = cuda.threadIdx.x, cuda.blockIdx.y
    start, stop, at, m = spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3]
    trace = float32(0)
    for row in range(t, m, THREADS):
        trace += gram[at + row * m + row]
    trace = block_sum(trace, sums, t)
    if t == 0:
        sums[0] = max(square_root(trace), float32(SMALLEST_NORM))
    cuda.syncthreads()
    for e in range(start + cuda.grid(1), stop, cuda.gridsize(1)):
        x[e] = divided(x[e], sums[0])
