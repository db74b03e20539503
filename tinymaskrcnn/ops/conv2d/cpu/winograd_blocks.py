"""Winograd convolution for 3x3 kernels with stride 1: transforms around a batch of matrix products.

A block of tiles goes through all three stages in one thread's own memory: n*n transformed inputs
per tile and channel; n*n matrix products with the transformed weight; the transform back, with
bias, residual and ReLU. Nothing of size n*n leaves the cache. The mathematics is in ../winograd.py.

The kernels are exact: additions are done in the order written. If the compiler may choose the
order, it chooses once in the process that compiles a kernel and again for the code that it saves.
The first run would then round differently from all later ones.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, prange

from .... import memory
from ....jit import exact_kernel, exact_kernel_from, serial
from ...derive import derive
from ...simd.emitter import HALF_ROWS, LANES, PANEL, TILE_ROWS, address
from ...simd.row_tile import half_tile, row_tile
from ...simd.transforms import gather_transform, grid_transform, scatter_transform
from ..winograd import INPUT, OUTPUT, WEIGHT, winograd_size
from .direct import zeros
from .geometry import Geometry
from .panels import pack

_transform_input = gather_transform(INPUT)
_transform_output = scatter_transform(OUTPUT)
_transform_kernel = grid_transform(WEIGHT)

Tiling = namedtuple(
    "Tiling",
    [
        *("size", "top", "left"),  # m, and the padding
        *("images", "height", "width", "channels", "out_h", "out_w", "outs"),
        *("block", "rows", "panels"),  # tiles per block, the same rounded up, panels of the weight
        *("v_pitch", "m_pitch"),  # distance between two of the n*n pixels in V and in M
    ],
)


BLOCK = range(42, 23, -1)  # tiles per block: V and M then take about 1 MB of cache
FEWEST_PIXELS = 64  # below that, transforming the weight costs more than it saves


def suits(geometry: Geometry) -> bool:
    """Whether Winograd's filtering is on, can compute this convolution, and is faster."""
    images, height, width, _ = geometry.x
    outs, ins, _, _ = geometry.weight
    return (
        winograd_size() > 0
        and geometry.dense_3x3
        and ins % LANES == 0
        and outs % LANES == 0
        and images * height * width >= FEWEST_PIXELS
    )


def forward(geometry: Geometry, x, weight, bias, y, residual, relu, kept, turn=False):
    """y = relu?(x * weight + bias + residual). With `turn`, the weight is first turned by 180
    degrees, and its inputs and outputs are exchanged."""
    size, threads = winograd_size(), get_num_threads()
    transformed = derive(kept, ("winograd", size), lambda: _transform(weight, size, turn))
    tiling, blocks = _plan(geometry, size, threads)
    places, workers = (size + 2) ** 2, min(threads, blocks)
    _convolve(
        x.reshape(-1),
        zeros(max(tiling.channels, PANEL)),
        transformed,
        bias,
        y.reshape(-1),
        (y if residual is None else residual).reshape(-1),
        residual is not None,
        relu,
        tiling,
        blocks,
        memory.empty((workers, places * (tiling.v_pitch + tiling.m_pitch))),
    )


def backward(geometry: Geometry, grad, weight, dx, total):
    """dx = the gradient of the input + total (which may be dx itself)."""
    forward(geometry.turned(), grad, weight, zeros(dx.shape[3]), dx, total, False, None, turn=True)


def _transform(weight, size, turn):
    """weight (O, C, 3, 3) -> G g G' of every kernel, (n*n, at least P*C*PANEL)."""
    panels = pack(weight, tuple(range(8, -1, -1)), swap=True) if turn else pack(weight)
    count, _, ins, _ = panels.shape
    transformed = memory.empty(((size + 2) ** 2, _spread(count * ins * PANEL)))
    _transform_panels(panels, size, transformed)
    return transformed


@lru_cache(maxsize=4096)
def _plan(geometry: Geometry, size, threads):
    """(Tiling, number of blocks) for a convolution."""
    images, out_h, out_w, outs = geometry.y
    tiles = images * -(-out_h // size) * -(-out_w // size)
    block = _block(tiles, threads)
    rows, panels = _whole_rows(block), -(-outs // PANEL)
    pitches = _spread(rows * geometry.x[3]), _spread(rows * panels * PANEL)
    tiling = Tiling(
        size, *geometry.padding, *geometry.x, out_h, out_w, outs, block, rows, panels, *pitches
    )
    return tiling, -(-tiles // block)


def _block(tiles, threads):
    """How many tiles a block has, a number in BLOCK: chosen to fill the register tiles and to give
    all threads about equal work."""

    def work(block):
        rounds = -(-tiles // (block * threads))
        return rounds * (_whole_rows(block) + 1)  # + 1 for reading the weight in every round

    return min(BLOCK, key=work)


def _whole_rows(count):
    """count rounded up to whole register tiles plus at most one half tile."""
    whole = (count + TILE_ROWS - HALF_ROWS - 1) // TILE_ROWS * TILE_ROWS
    return whole + HALF_ROWS * (whole < count)


def _spread(count):
    """count rounded up to an odd number of cache lines of 16 floats. Otherwise the n*n places that
    a transform writes at once would compete for one set of the cache."""
    return (-(-count // 16) | 1) * 16


@exact_kernel_from(1 << 16, lambda panels, size, transformed: transformed.size)
def _transform_panels(panels, size, transformed):
    """transformed[q, p, c] = (G g G')[q] for g = panels[p, :, c], LANES output channels at once."""
    count, _, ins, _ = panels.shape
    source, out, pitch = panels.reshape(-1), transformed.reshape(-1), transformed.shape[1]
    for p in prange(count):
        for c in range(ins):
            for j in range(0, PANEL, LANES):
                start, to = (p * 9 * ins + c) * PANEL + j, (p * ins + c) * PANEL + j
                _transform_kernel(size, source, start, ins * PANEL, out, to, pitch)


@exact_kernel
def _convolve(x, zeros, weight, bias, y, residual, add_residual, relu, g, blocks, scratch):
    """For each block of tiles: V = B' d B, M[q] = V[q] @ weight[q], y = A' M A with bias, residual
    and ReLU.

    Each worker has its own V and M, small enough to stay in its cache; the workers take blocks in
    turn.
    """
    workers, places = len(scratch), (g.size + 2) ** 2
    residual_at = (address(residual) - address(y)) // 4
    for worker in prange(workers):
        v, m = scratch[worker], scratch[worker, places * g.v_pitch :]
        table = np.empty(places, np.int64)
        for block in range(worker, blocks, workers):
            first, count = _tiles(g, block)
            for t in range(count):
                _find_inputs(g, first + t, address(x), address(zeros), table)
                for c in range(0, g.channels, LANES):
                    _transform_input(g.size, table, 0, c, v, t * g.channels + c, g.v_pitch)
            _multiply(g, v, weight, m, zeros, count)
            for t in range(count):
                _find_outputs(g, first + t, address(y), table)
                for c in range(0, g.outs, LANES):
                    _transform_output(
                        g.size, m, t * g.panels * PANEL + c, g.m_pitch, table, 0, c, bias, c,
                        residual_at, add_residual, relu,
                    )  # fmt: skip


@serial
def _find_inputs(g, tile, x, zeros, table):
    """The addresses of the pixels that a tile reads."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    n = tile // (down * across)
    top = (tile // across - n * down) * g.size - g.top
    left = tile % across * g.size - g.left
    image = x + 4 * n * g.height * g.width * g.channels
    find_square(image, zeros, top, left, g.height, g.width, g.channels, g.size + 2, table)


@serial
def find_square(image, zeros, top, left, height, width, channels, size, table):
    """table[r*size + s]: address of pixel (top + r, left + s); of zeros outside the map."""
    for r in range(size):
        h = top + r
        row = image + 4 * (h * width + left) * channels
        for s in range(size):
            inside = h >= 0 and h < height and left + s >= 0 and left + s < width
            table[r * size + s] = row + 4 * s * channels if inside else zeros


@serial
def _find_outputs(g, tile, y, table):
    """table[r*m + s]: address of the pixel that the tile writes at (r, s); of its first pixel if
    that is outside the map."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    n = tile // (down * across)
    top = (tile // across - n * down) * g.size
    left = tile % across * g.size
    for r in range(g.size):
        row = y + 4 * (((n * g.out_h + top + r) * g.out_w + left) * g.outs)
        for s in range(g.size):
            inside = top + r < g.out_h and left + s < g.out_w
            table[r * g.size + s] = row + 4 * s * g.outs if inside else table[0]


@serial
def _tiles(g, block):
    """(first tile, number of tiles) of a block."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    first = block * g.block
    return first, min(g.block, g.images * down * across - first)


@serial
def _multiply(g, v, weight, m, zeros, count):
    """m[q, t, :] = v[q, t, :] @ weight[q] for the n*n pixels q of the first `count` tiles t, and of
    as many more as fill the last register tile."""
    rows = address(v) + 4 * g.channels * np.arange(g.rows)
    targets = address(m) + 4 * g.panels * PANEL * np.arange(g.rows)
    flat, pitch = weight.reshape(-1), weight.shape[1]
    whole = (count + TILE_ROWS - HALF_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for q in range((g.size + 2) ** 2):
        for p in range(g.panels):
            panel, target = q * pitch + p * g.channels * PANEL, q * g.m_pitch + p * PANEL
            for t in range(0, whole, TILE_ROWS):
                row_tile(
                    rows, t, 1, g.channels, q * g.v_pitch, flat, panel, targets, t, target,
                    zeros, 0, g.outs - p * PANEL, 0, 0, 0,
                )  # fmt: skip
            if whole < count:
                half_tile(
                    rows, whole, 1, g.channels, q * g.v_pitch, flat, panel, targets, whole, target,
                    zeros, 0, g.outs - p * PANEL, 0, 0, 0,
                )  # fmt: skip
