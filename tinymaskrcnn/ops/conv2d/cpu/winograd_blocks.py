"""Winograd convolution for 3x3 kernels with stride 1: transforms around a batch of matrix products.

A block of tiles goes through all three stages in one thread's own memory: n*n transformed inputs
per tile and channel; n*n matrix products with the transformed weight; the transform back, with
bias, residual and ReLU. Nothing of size n*n leaves the cache. See winograd.py for the mathematics,
and winograd_streamed.py for few tiles under a weight that is not kept.

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
from ...simd.emitter import LANES, PANEL, address
from ..winograd import winograd_size
from . import winograd_streamed as streamed
from .direct import zeros
from .geometry import Geometry
from .panels import pack
from .winograd_tiles import (
    find_inputs,
    find_outputs,
    spread,
    times_panel,
    transform_input,
    transform_output,
    transform_weights,
    whole_rows,
)

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


def suits(g: Geometry) -> bool:
    """Whether Winograd's filtering is on, can compute this convolution, and is faster."""
    images, height, width, _ = g.x
    outs, ins, _, _ = g.weight
    return (
        winograd_size() > 0
        and g.dense_3x3
        and ins % LANES == 0
        and outs % LANES == 0
        and images * height * width >= FEWEST_PIXELS
    )


def forward(g: Geometry, x, weight, bias, y, residual, relu, kept):
    """y = relu?(x * weight + bias + residual)."""
    if kept is None and streamed.suits(g):
        streamed.convolve(g, x, weight, False, bias, y, residual, relu)
        return
    size = winograd_size()
    transformed = derive(kept, ("winograd", size), lambda: transform_weight(pack(weight), size))
    convolve(g, x, transformed, bias, y, residual, relu)


def backward(g: Geometry, grad, weight, dx, total):
    """dx = grad * (the weight, turned by 180 degrees and transposed) + total (which may be dx
    itself)."""
    turned, no_bias = g.turned(), zeros(dx.shape[3])
    if streamed.suits(turned):
        streamed.convolve(turned, grad, weight, True, no_bias, dx, total, False)
        return
    panels = pack(weight, order=tuple(range(8, -1, -1)), swap=True)
    transformed = transform_weight(panels, winograd_size())
    convolve(turned, grad, transformed, no_bias, dx, total, False)


def transform_weight(panels, size):
    """Packed panels (P, 9, C, PANEL) -> G g G' of every kernel, (n*n, at least P*C*PANEL)."""
    count, _, ins, _ = panels.shape
    transformed = memory.empty(((size + 2) ** 2, spread(count * ins * PANEL)))
    _transform_weight(panels, size, transformed)
    return transformed


def convolve(g: Geometry, x, weight, bias, y, residual, relu):
    """y = relu?(x * weight + bias + residual); weight as from `transform_weight`."""
    size = winograd_size()
    tiling, blocks = _plan(g, size, get_num_threads())
    workers = min(get_num_threads(), blocks)
    scratch = memory.empty((workers, (size + 2) ** 2 * (tiling.v_pitch + tiling.m_pitch)))
    _convolve(
        x.reshape(-1),
        zeros(max(tiling.channels, PANEL)),
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


@lru_cache(maxsize=4096)
def _plan(g: Geometry, size, threads):
    """(Tiling, number of blocks) for a convolution."""
    images, out_h, out_w, outs = g.y
    tiles = images * -(-out_h // size) * -(-out_w // size)
    block = _block(tiles, threads)
    rows, panels = whole_rows(block), -(-outs // PANEL)
    pitches = spread(rows * g.x[3]), spread(rows * panels * PANEL)
    tiling = Tiling(size, *g.padding, *g.x, out_h, out_w, outs, block, rows, panels, *pitches)
    return tiling, -(-tiles // block)


def _block(tiles, threads):
    """How many tiles a block has, a number in BLOCK: chosen to fill the register tiles and to give
    all threads about equal work."""

    def work(block):
        rounds = -(-tiles // (block * threads))
        return rounds * (whole_rows(block) + 1)  # + 1 for reading the weight in every round

    return min(BLOCK, key=work)


@exact_kernel_from(1 << 16, lambda panels, size, transformed: transformed.size)
def _transform_weight(panels, size, transformed):
    """transformed[q, p, c] = (G g G')[q] for g = panels[p, :, c], LANES output channels at once."""
    count, _, ins, _ = panels.shape
    source, out, pitch = panels.reshape(-1), transformed.reshape(-1), transformed.shape[1]
    for p in prange(count):
        for c in range(ins):
            for j in range(0, PANEL, LANES):
                start, to = (p * 9 * ins + c) * PANEL + j, (p * ins + c) * PANEL + j
                transform_weights(size, source, start, ins * PANEL, out, to, pitch)


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
                find_inputs(g, first + t, address(x), address(zeros), table)
                for c in range(0, g.channels, LANES):
                    transform_input(g.size, table, 0, c, v, t * g.channels + c, g.v_pitch)
            _multiply(g, v, weight, m, zeros, count)
            for t in range(count):
                find_outputs(g, first + t, address(y), table)
                for c in range(0, g.outs, LANES):
                    transform_output(
                        g.size, m, t * g.panels * PANEL + c, g.m_pitch, table, 0, c, bias, c,
                        residual_at, add_residual, relu,
                    )  # fmt: skip


@serial
def _tiles(g, block):
    """(first tile, number of tiles) of a block."""
    down, across = (g.out_h + g.size - 1) // g.size, (g.out_w + g.size - 1) // g.size
    first = block * g.block
    return first, min(g.block, g.images * down * across - first)


@serial
def _multiply(g, v, weight, m, zeros, count):
    """m[q, t, :] = v[q, t, :] @ weight[q] for the n*n pixels q of the first `count` tiles t."""
    rows = address(v) + 4 * g.channels * np.arange(g.rows)
    targets = address(m) + 4 * g.panels * PANEL * np.arange(g.rows)
    flat, pitch = weight.reshape(-1), weight.shape[1]
    for q in range((g.size + 2) ** 2):
        for p in range(g.panels):
            times_panel(
                rows, count, g.channels, q * g.v_pitch,
                flat, q * pitch + p * g.channels * PANEL,
                targets, q * g.m_pitch + p * PANEL,
                zeros, g.outs - p * PANEL, False,
            )  # fmt: skip
