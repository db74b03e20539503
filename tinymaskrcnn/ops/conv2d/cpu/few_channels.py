"""Convolutions of maps with few channels, such as the images that a network's first layer reads.

A row of the kernel times three channels is a short stretch of neighbouring floats: too short for
the general kernels, whose tables and packed panels would cost more than the sums. This form works
on one output line at a time. It copies the input lines under it, with a border of zeros, so that
they stay in the L1 cache.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from .... import memory
from ....jit import kernel, serial
from ...derive import derive
from ...simd.emitter import LANES, PANEL, TILE_ROWS, address
from ...simd.outer import LINE_HEIGHTS, copy_floats, line_tile
from ...simd.row_tile import row_tile
from .geometry import Geometry
from .panels import pack

FEW = 16  # fewer channels than this are few
CHUNKS = 16  # of output lines, each with its own sums: enough for that many threads
BLOCK = 128  # pixels of a line: their gradients stay in the L1 cache
TALLEST = LINE_HEIGHTS[-1]

Lines = namedtuple(
    "Lines",
    "height width channels out_h out_w outs kernel_h step_h step_w top left tap_h "
    "stretch "  # floats under one row of the kernel
    "lines line_floats chunks",
)


def suits(geometry: Geometry) -> bool:
    """Whether this convolution has few channels and can be computed here."""
    few = geometry.x[3] < FEW and geometry.weight[3] > 1
    return geometry.groups == 1 and few and geometry.dilation[1] == 1


def forward(geometry: Geometry, x, weight, bias, y, residual, relu, kept):
    """y = relu?(x * weight + bias + residual)."""
    g = _plan(geometry)
    if g.lines * g.out_w == 0:
        return
    threads = get_num_threads()
    panels = derive(kept, ("panels", 0), lambda: pack(weight))
    places = np.empty((threads, g.kernel_h + 1, -(-g.out_w // TILE_ROWS) * TILE_ROWS), np.int64)
    _convolve(
        x.reshape(-1),
        panels.reshape(len(panels), -1),
        bias,
        y.reshape(-1),
        (y if residual is None else residual).reshape(-1),
        residual is not None,
        relu,
        g,
        min(g.lines, 4 * threads),
        memory.empty((threads, g.kernel_h, g.line_floats)),
        places,
    )


def grad_weight(geometry: Geometry, grad, x):
    """grad (N, outH, outW, O), x (N, H, W, C), contiguous -> dw (O, C, kH, kW)."""
    outs, channels, kernel_h, kernel_w = geometry.weight
    g = _plan(geometry)
    rows = -(-g.stretch // 3) * 3
    sums = np.zeros((g.chunks, kernel_h, rows, outs), np.float32)
    lines = np.empty((get_num_threads(), g.line_floats), np.float32)
    _sum_lines(x.reshape(-1), grad.reshape(-1), g, lines, sums.reshape(g.chunks, -1))
    taps = sums.sum(axis=0)[:, : g.stretch].reshape(kernel_h, kernel_w, channels, outs)
    dw = memory.empty(geometry.weight)
    dw[...] = taps.transpose(3, 2, 0, 1)
    return dw


@lru_cache(maxsize=1024)
def _plan(geometry: Geometry):
    _, height, width, channels = geometry.x
    images, out_h, out_w, outs = geometry.y
    _, _, kernel_h, kernel_w = geometry.weight
    stride, padding, dilation, _ = geometry[3:]
    stretch, lines = kernel_w * channels, images * out_h
    read = (out_w - 1) * stride[1] * channels + stretch + TALLEST
    floats = max(read, (width + padding[1]) * channels + LANES)
    return Lines(
        height, width, channels, out_h, out_w, outs, kernel_h, *stride, *padding, dilation[0],
        stretch, lines, floats, min(CHUNKS, lines),
    )  # fmt: skip


@kernel
def _convolve(x, panels, bias, y, residual, add_residual, relu, g, chunks, scratch, places):
    """y[line, pixel, o] = relu?(bias[o] + residual[line, pixel, o] + sum over kernel rows r and
    i < stretch of (what row r reads there)[i] * panels[o, r, i]).

    The pixels of every line read the same places of the thread's copies, so a chunk of lines needs
    only one table of addresses.
    """
    size, residual_at = g.kernel_h * TILE_ROWS, (address(residual) - address(y)) // 4
    for item in prange(chunks):
        chunk = np.int64(item)  # prange's index is unsigned: every helper would be compiled twice
        copies, own = scratch[get_thread_id()], places[get_thread_id()].reshape(-1)
        copies[:] = 0
        targets = _locate(g, address(copies), address(y), own)
        for o in range(chunk * g.lines // chunks, (chunk + 1) * g.lines // chunks):
            for r in range(g.kernel_h):
                if not _copy_line(x, g, o, r, copies[r]):
                    copies[r] = 0
            for tile in range((g.out_w + TILE_ROWS - 1) // TILE_ROWS):
                for p in range(len(panels)):
                    row_tile(
                        own, tile * size, g.kernel_h, g.stretch, 0, panels[p], 0,
                        own, targets + tile * TILE_ROWS, o * g.out_w * g.outs + p * PANEL,
                        bias, p * PANEL, g.outs - p * PANEL, residual_at, add_residual, relu,
                    )  # fmt: skip


@serial
def _locate(g, copies, y, places):
    """The byte addresses that a line's pixels read, places[tile, kernel row, pixel], and after them
    those that the first line's pixels write. The last pixel is repeated to fill its tile.

    Returns:
        where the addresses to write begin.
    """
    targets = len(places) // (g.kernel_h + 1) * g.kernel_h
    for i in range(len(places) - targets):
        pixel = min(i, g.out_w - 1)
        places[targets + i] = y + 4 * pixel * g.outs
        for r in range(g.kernel_h):
            at = i // TILE_ROWS * g.kernel_h * TILE_ROWS + r * TILE_ROWS + i % TILE_ROWS
            places[at] = copies + 4 * (r * g.line_floats + pixel * g.step_w * g.channels)
    return targets


@kernel
def _sum_lines(x, grad, g, scratch, sums):
    """sums[chunk, r, i, o] = sum over the output pixels of the chunk's lines of
    x[what row r of the kernel reads there, i] * grad[pixel, o].

    A line's sums are in registers. The shapes alone determine the chunks, and so the order of every
    sum.
    """
    for item in prange(g.chunks):
        chunk = np.int64(item)
        line, total = scratch[get_thread_id()], sums[chunk]
        line[:] = 0
        for o in range(chunk * g.lines // g.chunks, (chunk + 1) * g.lines // g.chunks):
            for r in range(g.kernel_h):
                if _copy_line(x, g, o, r, line):
                    _add_line(line, grad, g, o, r, total)


@serial
def _copy_line(x, g, o, r, line):
    """Copy what row r of the kernel reads for output line o, to line[0] and on. Returns False if
    that is outside the map. The border is already zero."""
    y = o % g.out_h * g.step_h - g.top + r * g.tap_h
    if y < 0 or y >= g.height:
        return False
    row = (o // g.out_h * g.height + y) * g.width * g.channels
    copy_floats(x, row, line, g.left * g.channels, g.width * g.channels)
    return True


@serial
def _add_line(line, grad, g, o, r, total):
    """total[r, i, j] += sum over the line's pixels of line[pixel*step + i] * grad[o, pixel, j]."""
    pitch, rows = g.step_w * g.channels, (g.stretch + 2) // 3 * 3
    for start in range(0, g.out_w, BLOCK):
        depth = min(BLOCK, g.out_w - start)
        for j in range(0, g.outs, PANEL):
            for i in range(0, g.stretch, TALLEST):
                line_tile(
                    depth, min(TALLEST, g.stretch - i), line, start * pitch + i, pitch,
                    grad, (o * g.out_w + start) * g.outs + j, g.outs, g.outs - j,
                    total, (r * rows + i) * g.outs + j, g.outs,
                )  # fmt: skip
