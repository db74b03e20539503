"""The gradient of a 3x3 convolution's weight in Winograd's domain: the adjoint of F(4x4, 3x3).

dw = G' (sum over tiles of (B' d B) * (A dy A')) G, where d are the 6x6 pixels that a tile reads and
dy the 4x4 gradients at its outputs: 36 products a tile where the direct sum has 144. See
winograd.py for the matrices and the source.

For a block of tiles all transforms are written in panels, then 36 products of panels are added up,
each part of the result by one thread and in the order of the tiles, then, after the last block, the
sums are transformed back while they are still in the cache.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from ... import memory
from ...jit import kernel, serial
from ..simd import LANES, PANEL, address
from ..simd_outer import LEFT, outer_products
from ..simd_transforms import gather_transform, grid_transform
from .winograd import INPUT, OUTPUT, WEIGHT

_transform_input = gather_transform(INPUT[4])
_transform_grad = gather_transform(tuple(zip(*OUTPUT[4], strict=True)))
_transform_back = grid_transform(tuple(zip(*WEIGHT[4], strict=True)))

MOST_TILES = 128  # of a block: a panel of each operand stays in the first-level cache
MOST_FLOATS = 1 << 21  # of a block's transforms: they stay in the last-level cache

Tiling = namedtuple(
    "Tiling",
    "top left height width channels out_h out_w outs tiles block pitch "
    "rows columns row_blocks column_blocks",  # of dw: what one task sums
)


def suits(grad_shape, weight_shape, stride, dilation, groups) -> bool:
    """Whether this gradient can be computed here, and gains by it."""
    outs, ins, kernel_h, kernel_w = weight_shape
    images, out_h, out_w, _ = grad_shape
    return (
        (kernel_h, kernel_w, *stride, *dilation, groups) == (3, 3, 1, 1, 1, 1, 1)
        and ins % LANES == 0
        and outs % LANES == 0
        and images * -(-out_h // 4) * -(-out_w // 4) >= 16
    )


def grad_weight(grad, x, padding):
    """grad (N, outH, outW, O), x (N, H, W, C), contiguous -> dw (O, C, 3, 3)."""
    plan = _plan(x.shape, grad.shape, padding)
    dw = memory.empty((plan.outs, plan.channels, 3, 3))
    tasks = plan.row_blocks * plan.column_blocks
    once = plan.tiles <= plan.block  # then sums need no place of their own between blocks
    sums = memory.empty((get_num_threads() if once else tasks, 36 * plan.rows * plan.columns))
    row_panels, column_panels = -(-plan.channels // LEFT), -(-plan.outs // PANEL)
    left = memory.empty((36, row_panels * plan.pitch * LEFT))
    right = memory.empty((36, column_panels * plan.pitch * PANEL))
    local = memory.empty((get_num_threads(), 9 * plan.rows * LANES))
    zeros = _zeros(max(plan.channels, plan.outs))
    _sum_tiles(x.reshape(-1), grad.reshape(-1), zeros, plan, left, right, sums, local, dw)
    return dw


@lru_cache(maxsize=64)
def _zeros(count):
    return np.zeros(count, np.float32)


@lru_cache(maxsize=1024)
def _plan(x_shape, grad_shape, padding):
    """How the work is cut up, from shapes alone."""
    _, height, width, channels = x_shape
    images, out_h, out_w, outs = grad_shape
    tiles = images * -(-out_h // 4) * -(-out_w // 4)
    most = min(MOST_TILES, max(32, MOST_FLOATS // (36 * (channels + outs))))
    block = -(-tiles // -(-tiles // most))
    rows = 64 if min(channels, outs) > 64 else 32
    rows, columns = max(LEFT, rows // LEFT * LEFT), max(PANEL, rows // PANEL * PANEL)
    return Tiling(
        *padding, height, width, channels, out_h, out_w, outs, tiles, block, block | 1,
        rows, columns, -(-channels // rows), -(-outs // columns),
    )  # fmt: skip


@kernel
def _sum_tiles(x, grad, zeros, g, left, right, sums, local, dw):
    """dw[o, c] = G' S[c, o] G, S[q, c, o] = sum over tiles t of left[q, t, c] * right[q, t, o].

    left and right are the transforms of one block of tiles, in panels, odd numbers of rows apart;
    the first loop over `prange` fills them, the second multiplies.
    """
    for first in range(0, g.tiles, g.block):
        count = min(g.block, g.tiles - first)
        for t in prange(count):
            _transform_tile(x, grad, zeros, g, first + t, t, left, right)
        for task in prange(g.row_blocks * g.column_blocks):
            own = get_thread_id()
            part = sums[task] if len(sums) == g.row_blocks * g.column_blocks else sums[own]
            _multiply(g, task, count, first, left, right, part)
            if first + count == g.tiles:
                _finish(g, task, part, local[own], dw)


@serial
def _transform_tile(x, grad, zeros, g, tile, t, left, right):
    """Row t of every panel: B' d B and A dy A' of one tile."""
    down, across = (g.out_h + 3) // 4, (g.out_w + 3) // 4
    image = tile // (down * across)
    top, start = (tile // across - image * down) * 4, tile % across * 4
    table = np.empty(36, np.int64)
    nothing = address(zeros)
    flat, pitch = left.reshape(-1), left.shape[1]
    base = address(x) + 4 * image * g.height * g.width * g.channels
    _find(base, nothing, top - g.top, start - g.left, g.height, g.width, g.channels, 6, table)
    for c in range(0, g.channels, LANES):
        place = (c // LEFT * g.pitch + t) * LEFT + c % LEFT
        _transform_input(table, 0, c, flat, place, pitch)
    flat, pitch = right.reshape(-1), right.shape[1]
    base = address(grad) + 4 * image * g.out_h * g.out_w * g.outs
    _find(base, nothing, top, start, g.out_h, g.out_w, g.outs, 4, table)
    for c in range(0, g.outs, LANES):
        place = (c // PANEL * g.pitch + t) * PANEL + c % PANEL
        _transform_grad(table, 0, c, flat, place, pitch)


@serial
def _find(base, nothing, top, left, height, width, channels, size, table):
    """table[r*size + s]: address of pixel (top + r, left + s); of zeros outside the picture."""
    for r in range(size):
        for s in range(size):
            y, x = top + r, left + s
            inside = y >= 0 and y < height and x >= 0 and x < width
            table[r * size + s] = base + 4 * (y * width + x) * channels if inside else nothing


@serial
def _multiply(g, task, count, first, left, right, sums):
    """sums[panel, q, row, j] = or += the products of a block of rows and a block of columns."""
    row, column = task // g.column_blocks * g.rows, task % g.column_blocks * g.columns
    rows, columns = min(g.rows, g.channels - row), min(g.columns, g.outs - column)
    for q in range(36):
        outer_products(
            count, g.pitch, rows, left[q], row * g.pitch, columns, right[q], column * g.pitch,
            sums[q * g.rows * PANEL :], 36 * g.rows * PANEL, first,
        )  # fmt: skip


@serial
def _finish(g, task, sums, local, dw):
    """dw[o, c] = G' S[c, o] G for a block of rows c and of columns o."""
    row, column = task // g.column_blocks * g.rows, task % g.column_blocks * g.columns
    rows, columns = min(g.rows, g.channels - row), min(g.columns, g.outs - column)
    flat = dw.reshape(-1)
    for j in range(0, columns, LANES):
        for i in range(rows):
            source = j // PANEL * 36 * g.rows * PANEL + i * PANEL + j % PANEL
            _transform_back(sums, source, g.rows * PANEL, local, i * 9 * LANES, LANES)
        for lane in range(LANES):
            start = ((column + j + lane) * g.channels + row) * 9
            for i in range(rows * 9):
                flat[start + i] = local[i * LANES + lane]
