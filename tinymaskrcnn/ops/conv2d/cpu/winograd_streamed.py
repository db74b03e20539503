"""Winograd convolution for few tiles and a large weight: the weight streams through the cache.

G g G' is four times as large as g, 38 MB for 512 by 512 channels. If the weight changes with every
call, as in training, writing that to memory and reading it again takes longer than transforming it.
Here a thread packs and transforms a stretch of the weight in its own cache, multiplies it with all
tiles at once, and forgets it. winograd_blocks.py has the form for kept weights and for many tiles.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from .... import memory
from ....jit import exact_kernel, exact_serial, serial
from ...simd.emitter import LANES, PANEL, address
from ..winograd import winograd_size
from .direct import zeros
from .geometry import Geometry
from .panels import element_places, pack_stretch
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

DEPTH = 64  # input channels per stretch: its 36 transforms and the sums fit into the cache
MOST_OUTS = 256  # with more, the transformed tiles leave the cache

Stream = namedtuple(
    "Stream",
    "size top left "  # as in winograd_blocks.Tiling
    "images height width channels out_h out_w outs "
    "tiles rows panels depth "  # rows: the tiles rounded up
    "g_pitch u_pitch v_pitch m_pitch",  # distance between two of the 9 or 36 places
)


def suits(geometry: Geometry) -> bool:
    """Whether this form of F(4x4, 3x3) is faster if the weight is not kept: there must be few tiles
    compared with the output channels."""
    images, out_h, out_w, outs = geometry.y
    tiles = images * -(-out_h // 4) * -(-out_w // 4)
    return winograd_size() == 4 and 4 * tiles <= 3 * min(outs, MOST_OUTS)


def convolve(geometry: Geometry, x, weight, swap, bias, y, residual, relu):
    """y = relu?(x * weight + bias + residual); with `swap`, the weight is rotated by 180 degrees,
    and its inputs and outputs are exchanged."""
    outs, ins, _, _ = weight.shape
    g = _plan(geometry)
    order = tuple(range(8, -1, -1)) if swap else tuple(range(9))
    own = 9 * g.g_pitch + 36 * (g.u_pitch + g.m_pitch)
    _convolve(
        x.reshape(-1),
        zeros(max(g.channels, PANEL)),
        np.require(weight, np.float32, "CW").reshape(outs, 9 * ins),
        ins,
        swap,
        element_places(1 if swap else g.depth, g.g_pitch, order),
        bias,
        y.reshape(-1),
        (y if residual is None else residual).reshape(-1),
        residual is not None,
        relu,
        g,
        memory.empty((36, g.v_pitch)),
        memory.empty((get_num_threads(), own)),
    )


@lru_cache(maxsize=4096)
def _plan(geometry: Geometry):
    images, out_h, out_w, outs = geometry.y
    tiles = images * -(-out_h // 4) * -(-out_w // 4)
    rows, panels = whole_rows(tiles), -(-outs // PANEL)
    depth = min(DEPTH, geometry.x[3])
    stretches = -(-geometry.x[3] // depth)
    pitches = [depth * PANEL, depth * PANEL, stretches * depth * rows, rows * PANEL]
    shape = 4, *geometry.padding, *geometry.x, out_h, out_w, outs
    return Stream(*shape, tiles, rows, panels, depth, *map(spread, pitches))


@exact_kernel
def _convolve(
    x, zeros, weight, ins, swap, places, bias, y, residual, add_residual, relu, g, v, scratch
):
    """V = B' d B for every tile; then, for each panel of output channels,
    M[q] = V[q] @ (G g G')[q], and y = A' M A with bias, residual and ReLU.

    V[q] is stored stretch by stretch, row t at stretch*rows*depth + t*depth, so that the values of
    one product are in one piece. The shapes alone determine the order of every sum.
    """
    residual_at = (address(residual) - address(y)) // 4
    for item in prange(g.tiles):
        _transform_tile(g, np.int64(item), address(x), address(zeros), v)
    for item in prange(g.panels):
        p, own = np.int64(item), scratch[get_thread_id()]
        u = own[9 * g.g_pitch :]
        m = u[36 * g.u_pitch :]
        for first in range(0, g.channels, g.depth):
            _transform_weight(g, weight, ins, swap, p, first, places, own, u)
            _multiply(g, v, p, first, u, m, zeros)
        table = np.empty(16, np.int64)
        for t in range(g.tiles):
            find_outputs(g, t, address(y), table)
            for c in range(p * PANEL, min((p + 1) * PANEL, g.outs), LANES):
                transform_output(
                    4, m, t * PANEL + c - p * PANEL, g.m_pitch, table, 0, c, bias, c,
                    residual_at, add_residual, relu,
                )  # fmt: skip


@exact_serial
def _transform_tile(g, t, x, zeros, v):
    """Row t of every V[q]."""
    table = np.empty(36, np.int64)
    find_inputs(g, t, x, zeros, table)
    flat, pitch = v.reshape(-1), v.shape[1]
    for first in range(0, g.channels, g.depth):
        place = first * g.rows + t * g.depth
        for c in range(first, min(first + g.depth, g.channels), LANES):
            transform_input(4, table, 0, c, flat, place + c - first, pitch)


@exact_serial
def _transform_weight(g, weight, ins, swap, p, first, places, packed, u):
    """u[q, k] = (G g G')[q] of panel p for the input channels first + k, k < g.depth."""
    stop = min(first + g.depth, g.channels)
    for lane in range(0, PANEL, LANES):
        pack_stretch(weight, ins, 9, swap, p * PANEL + lane, first, stop, places, packed, lane)
        for k in range(stop - first):
            at = k * PANEL + lane
            transform_weights(4, packed, at, g.g_pitch, u, at, g.u_pitch)


@serial
def _multiply(g, v, p, first, u, m, zeros):
    """M[q] = (+= after the first stretch) V[q] @ u[q] for the input channels from `first` on."""
    depth, flat = min(g.depth, g.channels - first), v.reshape(-1)
    rows = address(flat) + 4 * g.depth * np.arange(g.rows)
    targets = address(m) + 4 * PANEL * np.arange(g.rows)
    for q in range(36):
        times_panel(
            rows, g.tiles, depth, q * g.v_pitch + first * g.rows, u, q * g.u_pitch,
            targets, q * g.m_pitch, zeros, g.outs - p * PANEL, first > 0,
        )  # fmt: skip
