"""The gradient of a 3x3 convolution's weight in Winograd's domain: the adjoint of F(4x4, 3x3).

dw = G' (sum over tiles of (B' d B) * (A dy A')) G, where d is the 6x6 pixels that a tile reads and
dy the 4x4 gradients at its outputs: 36 products per tile where the direct sum has 144. See
../winograd.py for the matrices and the source.

A block of tiles is transformed into panels, then 36 products of panels are added to the sums. With
few channels the sums are small, and each thread does whole chunks of tiles in its own cache. With
many channels, all threads transform a block, then each multiplies some of the 36 places. Either
way, the shapes alone determine the order of every sum.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from .... import memory
from ....jit import kernel, serial
from ...simd.emitter import LANES, PANEL, address
from ...simd.outer import LEFT, OUTER_ROWS, outer_products
from ...simd.transforms import gather_transform, grid_transform, transpose_block
from ..winograd import INPUT, OUTPUT, WEIGHT, winograd_size
from .direct import zeros
from .geometry import Geometry
from .winograd_blocks import find_square

_transform_input = gather_transform({4: INPUT[4]})
_transform_grad = gather_transform({4: tuple(zip(*OUTPUT[4], strict=True))})
_transform_back = grid_transform({4: tuple(zip(*WEIGHT[4], strict=True))})

PRIVATE_SUMS = 1 << 18  # if the sums have no more floats, each chunk of tiles has its own sums
PRIVATE_FLOATS = 230_000  # for one thread's sums and transforms: its L2 cache
SHARED_FLOATS = 3 << 19  # for a block's transforms: a share of the last-level cache
MOST_TILES = 64  # per block
CHUNKS = 8
LEAST = 32  # tiles per chunk, unless there are fewer in all

Tiling = namedtuple(
    "Tiling",
    "top left height width channels out_h out_w outs tiles block pitch chunks chunk_tiles "
    "left_floats right_floats "  # for one of the 36 places of a block's transforms
    "rows columns row_blocks column_blocks "  # of dw: what one task sums
    "part_floats all_rows place_floats",  # floats per task; all rows, in whole tiles; per place
)


def suits(geometry: Geometry) -> bool:
    """Whether this gradient can be computed here, and is faster."""
    outs, ins, _, _ = geometry.weight
    images, out_h, out_w, _ = geometry.y
    return (
        winograd_size() == 4
        and geometry.dense_3x3
        and ins % LANES == 0
        and outs % LANES == 0
        and images * -(-out_h // 4) * -(-out_w // 4) >= 16
    )


def grad_weight(geometry: Geometry, grad, x):
    """grad (N, outH, outW, O), x (N, H, W, C), contiguous -> dw (O, C, 3, 3)."""
    g = _plan(geometry)
    dw = memory.empty((g.outs, g.channels, 3, 3))
    tasks, threads = g.row_blocks * g.column_blocks, get_num_threads()
    local = memory.empty((threads, 9 * g.rows * LANES))
    inputs = x.reshape(-1), grad.reshape(-1), zeros(max(g.channels, g.outs)), g
    out = np.arange(LANES) * (9 * g.channels), dw.reshape(-1)
    if g.chunks:
        sums = memory.empty((g.chunks, tasks, g.part_floats))
        scratch = memory.empty((threads, 36 * (g.left_floats + g.right_floats)))
        _sum_in_chunks(*inputs, scratch, sums)
        _join_chunks(g, sums, local, *out)
    else:
        once = g.tiles <= g.block
        sums = memory.empty((threads * g.part_floats if once else 36 * g.place_floats,))
        left, right = memory.empty((36, g.left_floats)), memory.empty((36, g.right_floats))
        _sum_together(*inputs, left, right, sums, local, *out)
    return dw


@lru_cache(maxsize=1024)
def _plan(geometry: Geometry):
    """How to divide the work, from shapes alone."""
    _, height, width, channels = geometry.x
    images, out_h, out_w, outs = geometry.y
    tiles = images * -(-out_h // 4) * -(-out_w // 4)
    sums = 36 * channels * outs
    chunks = chunk_tiles = 0
    if sums <= PRIVATE_SUMS:
        most = min(MOST_TILES, max(16, (PRIVATE_FLOATS - sums) // (36 * (channels + outs))))
        chunk_tiles = -(-tiles // min(CHUNKS, -(-tiles // LEAST)))
        chunks = -(-tiles // chunk_tiles)
        block = -(-chunk_tiles // -(-chunk_tiles // most))
    else:
        most = min(MOST_TILES, max(16, SHARED_FLOATS // (36 * (channels + outs))))
        block = -(-tiles // -(-tiles // most))
    side = 64 if min(channels, outs) > 64 else 32
    rows, columns = max(LEFT, side // LEFT * LEFT), max(PANEL, side // PANEL * PANEL)
    all_rows = -(-channels // OUTER_ROWS) * OUTER_ROWS
    pitch = block | 1  # odd: the panels of one row then do not compete in the cache
    return Tiling(
        *geometry.padding, height, width, channels, out_h, out_w, outs, tiles, block, pitch,
        chunks, chunk_tiles, -(-channels // LEFT) * LEFT * pitch, -(-outs // PANEL) * PANEL * pitch,
        rows, columns, -(-channels // rows), -(-outs // columns),
        36 * rows * columns, all_rows, -(-outs // PANEL) * PANEL * all_rows,
    )  # fmt: skip


@kernel
def _sum_in_chunks(x, grad, zeros, g, scratch, sums):
    """sums[chunk] = S[q, c, o] = sum over the chunk's tiles t of left[q, t, c] * right[q, t, o],
    where left and right are the transforms of a block of tiles."""
    for item in prange(g.chunks):
        chunk = np.int64(item)  # prange's index is unsigned: every helper would be compiled twice
        own = scratch[get_thread_id()]
        left = own[: 36 * g.left_floats].reshape(36, g.left_floats)
        right = own[36 * g.left_floats :].reshape(36, g.right_floats)
        start, stop = chunk * g.chunk_tiles, min(g.tiles, (chunk + 1) * g.chunk_tiles)
        for first in range(start, stop, g.block):
            count = min(g.block, stop - first)
            for t in range(count):
                _transform_tile(x, grad, zeros, g, first + t, t, left, right)
            for task in range(g.row_blocks * g.column_blocks):
                _multiply(g, task, count, left, right, sums[chunk, task], first - start)


@kernel
def _join_chunks(g, sums, local, places, dw):
    """dw[o, c] = G' (sum over chunks, first to last, of S[c, o]) G."""
    for item in prange(g.row_blocks * g.column_blocks):
        task = np.int64(item)
        total = sums[0, task]
        for chunk in range(1, g.chunks):
            for j in range(len(total)):
                total[j] += sums[chunk, task, j]
        pitches = g.rows * PANEL, 36 * g.rows * PANEL
        _finish(g, task, total, 0, *pitches, local[get_thread_id()], places, dw)


@kernel
def _sum_together(x, grad, zeros, g, left, right, sums, local, places, dw):
    """As `_sum_in_chunks` and `_join_chunks`, for sums larger than a thread's cache. Threads share
    the tiles of a block, then the 36 places of its transforms. All rows of a place are multiplied
    with all its columns: a thread reads them once from the shared cache and then has them in its
    own.

    If there is only one block, threads share the parts of dw instead. A part's sums, over all
    places, are transformed back while they are in the cache, so they need no other memory.
    """
    once, place = g.tiles <= g.block, g.place_floats
    shares = 0 if once else 36 * g.row_blocks  # a condition in prange(...) would make it serial
    for first in range(0, g.tiles, g.block):
        count = min(g.block, g.tiles - first)
        for item in prange(count):
            t = np.int64(item)
            _transform_tile(x, grad, zeros, g, first + t, t, left, right)
        for item in prange(shares):
            q, row = np.int64(item) // g.row_blocks, np.int64(item) % g.row_blocks * g.rows
            outer_products(
                count, g.pitch, min(g.rows, g.channels - row), left[q], row * g.pitch,
                g.outs, right[q], 0, sums, q * place + row * PANEL, g.all_rows * PANEL, first,
            )  # fmt: skip
    for item in prange(g.row_blocks * g.column_blocks):
        task, own = np.int64(item), get_thread_id()
        if once:
            part = sums[own * g.part_floats : (own + 1) * g.part_floats]
            _multiply(g, task, g.tiles, left, right, part, 0)
            _finish(g, task, part, 0, g.rows * PANEL, 36 * g.rows * PANEL, local[own], places, dw)
        else:
            row, column = task // g.column_blocks * g.rows, task % g.column_blocks * g.columns
            start = (column // PANEL * g.all_rows + row) * PANEL
            _finish(g, task, sums, start, place, g.all_rows * PANEL, local[own], places, dw)


@serial
def _transform_tile(x, grad, zeros, g, tile, t, left, right):
    """Write row t of every panel: B' d B and A dy A' of one tile."""
    down, across = (g.out_h + 3) // 4, (g.out_w + 3) // 4
    image = tile // (down * across)
    top, start = (tile // across - image * down) * 4, tile % across * 4
    table = np.empty(36, np.int64)
    nothing = address(zeros)
    flat, pitch = left.reshape(-1), left.shape[1]
    base = address(x) + 4 * image * g.height * g.width * g.channels
    find_square(base, nothing, top - g.top, start - g.left, g.height, g.width, g.channels, 6, table)
    for c in range(0, g.channels, LANES):
        place = (c // LEFT * g.pitch + t) * LEFT + c % LEFT
        _transform_input(4, table, 0, c, flat, place, pitch)
    flat, pitch = right.reshape(-1), right.shape[1]
    base = address(grad) + 4 * image * g.out_h * g.out_w * g.outs
    find_square(base, nothing, top, start, g.out_h, g.out_w, g.outs, 4, table)
    for c in range(0, g.outs, LANES):
        place = (c // PANEL * g.pitch + t) * PANEL + c % PANEL
        _transform_grad(4, table, 0, c, flat, place, pitch)


@serial
def _multiply(g, task, count, left, right, sums, add):
    """sums[panel, q, row, j] = (or +=, with add) the products of a block of rows and of columns."""
    row, column = task // g.column_blocks * g.rows, task % g.column_blocks * g.columns
    rows, columns = min(g.rows, g.channels - row), min(g.columns, g.outs - column)
    for q in range(36):
        outer_products(
            count, g.pitch, rows, left[q], row * g.pitch, columns, right[q], column * g.pitch,
            sums, q * g.rows * PANEL, 36 * g.rows * PANEL, add,
        )  # fmt: skip


@serial
def _finish(g, task, sums, start, pitch, panel_pitch, local, places, dw):
    """dw[o, c] = G' S[c, o] G for a block of rows c and of columns o, whose sums begin at `start`.
    Two of the 36 places are `pitch` floats apart, two panels of columns `panel_pitch`.

    The transform leaves output channels side by side; dw needs them 9*C apart.
    """
    row, column = task // g.column_blocks * g.rows, task % g.column_blocks * g.columns
    rows, columns = min(g.rows, g.channels - row), min(g.columns, g.outs - column)
    for j in range(0, columns, LANES):
        for i in range(rows):
            source = start + j // PANEL * panel_pitch + i * PANEL + j % PANEL
            _transform_back(4, sums, source, pitch, local, i * 9 * LANES, LANES)
        for i in range(0, rows * 9, LANES):
            place = ((column + j) * g.channels + row) * 9 + i
            transpose_block(local, i * LANES, LANES, LANES, LANES, dw, place, places, 0)
