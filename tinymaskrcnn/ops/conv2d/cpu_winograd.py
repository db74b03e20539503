"""Winograd convolution for 3x3 kernels of stride 1: transforms around a batch of matrix products.

A block of tiles goes through all three stages in one thread's own memory: n*n transformed inputs
of every tile and channel, n*n matrix products with the transformed weight, the transform back with
bias, residual and ReLU. Nothing of size n*n leaves the cache. See winograd.py for the mathematics.

The kernels are exact ones: their additions stand in the order that is written. Where the compiler
may choose another, it chooses once in the process that compiles a kernel and once more in the code
that it keeps, and the first run has other roundings than all later ones.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, prange

from ... import memory
from ...jit import exact_kernel, serial
from ..simd import LANES, PANEL, TILE_ROWS, address, row_tile
from ..simd_transforms import gather_transform, grid_transform, scatter_transform
from .cpu_weights import kept, pack
from .winograd import INPUT, OUTPUT, WEIGHT

_input_4, _input_2 = gather_transform(INPUT[4]), gather_transform(INPUT[2])
_output_4, _output_2 = scatter_transform(OUTPUT[4]), scatter_transform(OUTPUT[2])
_weight_4, _weight_2 = grid_transform(WEIGHT[4]), grid_transform(WEIGHT[2])

Tiling = namedtuple(
    "Tiling",
    [
        *("size", "top", "left"),  # m, and the padding
        *("images", "height", "width", "channels", "out_h", "out_w", "outs"),
        *("block", "panels"),  # tiles of a block, panels of the weight
        *("v_pitch", "m_pitch"),  # from one of the n*n pixels to the next in V and M
    ],
)


FEWEST_TILES = 16  # below that, transforming the weight costs more than it saves


def suits(x_shape, weight_shape, stride, dilation, groups, size) -> bool:
    """Whether F(size x size, 3 x 3) can compute this convolution, and gains by it."""
    images, height, width, _ = x_shape
    outs, ins, kernel_h, kernel_w = weight_shape
    return (
        size > 0
        and (kernel_h, kernel_w, *stride, *dilation, groups) == (3, 3, 1, 1, 1, 1, 1)
        and ins % LANES == 0
        and outs % LANES == 0
        and images * height * width >= FEWEST_TILES * size**2
    )


def forward(x, weight, bias, y, residual, relu, padding, size):
    """y = relu?(x * weight + bias + residual)."""
    form = kept(weight, ("winograd", size), lambda: transform_weight(pack(weight), size))
    convolve(x, form, bias, y, residual, relu, padding, size)


def backward(grad, weight, dx, total, padding, size):
    """dx = grad * the weight turned round and transposed, with the rest of the padding, + total,
    which may be dx itself."""
    panels = pack(weight, order=tuple(range(8, -1, -1)), swap=True)
    form = transform_weight(panels, size)
    around = 2 - padding[0], 2 - padding[1]
    convolve(grad, form, _nothing(dx.shape[3]), dx, total, False, around, size)


def transform_weight(panels, size):
    """panels (P, 9, C, PANEL) as packed -> G g G' of every kernel, (n*n, at least P*C*PANEL)."""
    count, _, ins, _ = panels.shape
    transformed = memory.empty(((size + 2) ** 2, _spread(count * ins * PANEL)))
    _transform_weight(panels, size, transformed)
    return transformed


def convolve(x, weight, bias, y, residual, relu, padding, size):
    """y = relu?(x * weight + bias + residual); weight as `transform_weight` makes it."""
    tiling, blocks = _plan(x.shape, y.shape, padding, size, get_num_threads())
    workers = min(get_num_threads(), blocks)
    scratch = memory.empty((workers, (size + 2) ** 2 * (tiling.v_pitch + tiling.m_pitch)))
    run = _convolve_4 if size == 4 else _convolve_2
    run(
        x.reshape(-1),
        _nothing(max(tiling.channels, PANEL)),
        weight,
        bias,
        y.reshape(-1),
        (y if residual is None else residual).reshape(-1),
        residual is not None,
        relu,
        tiling,
        blocks,
        scratch,
    )


@lru_cache(maxsize=1024)
def _nothing(count):
    return np.zeros(count, np.float32)


@lru_cache(maxsize=4096)
def _plan(x_shape, y_shape, padding, size, threads):
    """(Tiling, blocks): equal blocks that fill register tiles, as many for each thread."""
    images, out_h, out_w, outs = y_shape
    tiles = images * -(-out_h // size) * -(-out_w // size)
    target = 36 if x_shape[3] + outs <= 128 else 48  # V and M in, or near, 1 MB of cache
    blocks = max(1, round(tiles / (target * threads))) * threads
    block = -(-tiles // (blocks * TILE_ROWS)) * TILE_ROWS
    panels = -(-outs // PANEL)
    pitches = _spread(block * x_shape[3]), _spread(block * panels * PANEL)
    tiling = Tiling(size, *padding, *x_shape, out_h, out_w, outs, block, panels, *pitches)
    return tiling, -(-tiles // block)


def _spread(count):
    """count rounded up to an odd number of cache lines of 16 floats: the n*n places that a
    transform writes to at once would otherwise compete for one set of the cache."""
    return (-(-count // 16) | 1) * 16


@exact_kernel
def _transform_weight(panels, size, transformed):
    """transformed[q, p, c] = (G g G')[q] for g = panels[p, :, c], LANES output channels at once."""
    count, _, ins, _ = panels.shape
    source, out, pitch = panels.reshape(-1), transformed.reshape(-1), transformed.shape[1]
    for p in prange(count):
        for c in range(ins):
            for j in range(0, PANEL, LANES):
                start, to = (p * 9 * ins + c) * PANEL + j, (p * ins + c) * PANEL + j
                if size == 4:
                    _weight_4(source, start, ins * PANEL, out, to, pitch)
                else:
                    _weight_2(source, start, ins * PANEL, out, to, pitch)


@exact_kernel
def _convolve_4(x, zeros, weight, bias, y, residual, add_residual, relu, g, blocks, scratch):
    """For every block of tiles: V = B' d B, M[q] = V[q] @ weight[q], y = A' M A and what follows.

    Each worker has its own V and M, sized to stay in its cache; blocks go round the workers.
    """
    workers = len(scratch)
    residual_at = (address(residual) - address(y)) // 4
    for worker in prange(workers):
        v, m = scratch[worker], scratch[worker, 36 * g.v_pitch :]
        table = np.empty(36, np.int64)
        for block in range(worker, blocks, workers):
            first, count = _tiles(g, block)
            for t in range(count):
                _find_inputs(g, first + t, address(x), address(zeros), table)
                for c in range(0, g.channels, LANES):
                    _input_4(table, 0, c, v, t * g.channels + c, g.v_pitch)
            _multiply(g, v, weight, m, zeros, count)
            for t in range(count):
                _find_outputs(g, first + t, address(y), table)
                for c in range(0, g.outs, LANES):
                    _output_4(
                        m, t * g.panels * PANEL + c, g.m_pitch, table, 0, c, bias, c,
                        residual_at, add_residual, relu,
                    )  # fmt: skip


@exact_kernel
def _convolve_2(x, zeros, weight, bias, y, residual, add_residual, relu, g, blocks, scratch):
    """As `_convolve_4`, with tiles of 2x2 outputs."""
    workers = len(scratch)
    residual_at = (address(residual) - address(y)) // 4
    for worker in prange(workers):
        v, m = scratch[worker], scratch[worker, 16 * g.v_pitch :]
        table = np.empty(16, np.int64)
        for block in range(worker, blocks, workers):
            first, count = _tiles(g, block)
            for t in range(count):
                _find_inputs(g, first + t, address(x), address(zeros), table)
                for c in range(0, g.channels, LANES):
                    _input_2(table, 0, c, v, t * g.channels + c, g.v_pitch)
            _multiply(g, v, weight, m, zeros, count)
            for t in range(count):
                _find_outputs(g, first + t, address(y), table)
                for c in range(0, g.outs, LANES):
                    _output_2(
                        m, t * g.panels * PANEL + c, g.m_pitch, table, 0, c, bias, c,
                        residual_at, add_residual, relu,
                    )  # fmt: skip


@serial
def _tiles(g, block):
    """(first tile, number of tiles) of a block."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    first = block * g.block
    return first, min(g.block, g.images * down * across - first)


@serial
def _find_inputs(g, tile, x, zeros, table):
    """table[r*n + s]: address of the pixel that tile reads at (r, s); zeros outside the picture."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    n = tile // (down * across)
    top = (tile // across - n * down) * g.size - g.top
    left = tile % across * g.size - g.left
    reach = g.size + 2
    for r in range(reach):
        h = top + r
        row = x + 4 * (((n * g.height + h) * g.width + left) * g.channels)
        for s in range(reach):
            inside = h >= 0 and h < g.height and left + s >= 0 and left + s < g.width
            table[r * reach + s] = row + 4 * s * g.channels if inside else zeros


@serial
def _find_outputs(g, tile, y, table):
    """table[r*m + s]: address of the pixel that tile writes at (r, s), or its first one's."""
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
def _multiply(g, v, weight, m, zeros, count):
    """m[q, t, :] = v[q, t, :] @ weight[q] for the n*n pixels q of the first `count` tiles t."""
    tiles = (count + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    rows = address(v) + 4 * g.channels * np.arange(tiles)
    targets = address(m) + 4 * g.panels * PANEL * np.arange(tiles)
    flat, pitch = weight.reshape(-1), weight.shape[1]
    for q in range((g.size + 2) ** 2):
        for p in range(g.panels):
            for t in range(0, tiles, TILE_ROWS):
                row_tile(
                    rows, t, 1, g.channels, q * g.v_pitch,
                    flat, q * pitch + p * g.channels * PANEL,
                    targets, t, q * g.m_pitch + p * PANEL,
                    zeros, 0, g.outs - p * PANEL, 0, 0, 0,
                )  # fmt: skip
