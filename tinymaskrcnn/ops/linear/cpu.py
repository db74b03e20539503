"""The fully connected layer on the CPU, built from convolution's register tiles.

Same names, arguments and results as reference.py, for float32. It does not use NumPy's product:
two thread pools on the same cores would get in each other's way.

The special difficulty is depth: the first layer of a box head sums over 12544 features, and the
weight of such a layer does not fit into a cache. So the sums are cut into stretches of DEPTH.
"""

import numpy as np
from numba import prange

from ... import memory
from ...jit import kernel
from ..conv2d.cpu import conv2d_grad_output, conv2d_grad_weight
from ..conv2d.cpu.panels import pack
from ..derive import derive
from ..simd.emitter import PANEL, TILE_ROWS, address
from ..simd.row_tile import row_tile

DEPTH = 512  # of a panel, so that it stays in the L2 cache while the rows pass
BLOCK_TILES = 16  # register tiles of rows that share a panel
SPLITS = 8  # parts of the columns, for different threads


def linear(x, weight, bias, relu, kept=None):
    panels = derive(kept, "linear", lambda: pack(weight[:, :, None, None]))
    return _product(x, panels, len(weight), bias, relu)


def linear_grad_output(grad, y, relu):
    masked, dbias = conv2d_grad_output(grad[None, None], y[None, None] if relu else None, relu)
    return masked[0, 0], dbias


def linear_grad_input(grad, weight):
    return _product(grad, pack(weight[:, :, None, None], swap=True), weight.shape[1], None, False)


def linear_grad_weight(grad, x):
    shape = grad.shape[1], x.shape[1], 1, 1
    one, none = (1, 1), (0, 0)
    return conv2d_grad_weight(grad[None, None], x[None, None], shape, one, none, one, 1)[..., 0, 0]


def _product(x, panels, outs, bias, relu):
    """relu?(x @ weight + bias) for x (M, K) and a weight packed as (P, 1, K, PANEL)."""
    y = memory.empty((len(x), outs))
    biases = np.zeros(2 * outs, np.float32)  # the layer's, then zeros for sums that continue
    if bias is not None:
        biases[:outs] = bias
    _multiply(np.require(x, np.float32, "CW"), panels.reshape(len(panels), -1), biases, relu, y)
    return y


@kernel
def _multiply(x, panels, biases, relu, y):
    """y[m, o] = relu?(bias[o] + sum over k of x[m, k] * panels[o // PANEL, k, o % PANEL]).

    A task is a block of rows and a part of the columns. A stretch of a panel stays in the cache
    while the block's rows pass, and a stretch of the rows while the panels pass.
    """
    rows, depth = x.shape
    outs = y.shape[1]
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    blocks = (tiles + BLOCK_TILES - 1) // BLOCK_TILES
    splits = min(SPLITS, len(panels))
    for task in prange(blocks * splits):
        block, split = task // splits, task % splits
        first, last = block * tiles // blocks, (block + 1) * tiles // blocks
        row = np.minimum(np.arange(first * TILE_ROWS, last * TILE_ROWS), rows - 1)
        sources, targets = address(x) + 4 * depth * row, address(y) + 4 * outs * row
        for start in range(0, max(depth, 1), DEPTH):
            stretch = min(DEPTH, depth - start)
            more = start + DEPTH < depth
            for p in range(split * len(panels) // splits, (split + 1) * len(panels) // splits):
                for tile in range(last - first):
                    row_tile(
                        sources, tile * TILE_ROWS, 1, stretch, start,
                        panels[p], start * PANEL,
                        targets, tile * TILE_ROWS, p * PANEL,
                        biases, p * PANEL + outs * (start > 0), outs - p * PANEL,
                        0, start > 0, relu and not more,
                    )  # fmt: skip
