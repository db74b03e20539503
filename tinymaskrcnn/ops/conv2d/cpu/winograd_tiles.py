"""The parts that both forms of Winograd's convolution share: the emitted transforms, the addresses
of a tile's pixels, and the product of tiles with one panel of a transformed weight.

winograd_blocks.py transforms the whole weight first (or keeps it) and multiplies block after block
of tiles with it; winograd_streamed.py transforms the weight piece by piece and multiplies each
piece with all tiles.
"""

from ....jit import serial
from ...simd.emitter import HALF_ROWS, TILE_ROWS
from ...simd.row_tile import half_tile, row_tile
from ...simd.transforms import gather_transform, grid_transform, scatter_transform
from ..winograd import INPUT, OUTPUT, WEIGHT

transform_input = gather_transform(INPUT)
transform_output = scatter_transform(OUTPUT)
transform_weights = grid_transform(WEIGHT)


def whole_rows(count):
    """count rounded up to whole register tiles plus at most one half tile."""
    whole = (count + TILE_ROWS - HALF_ROWS - 1) // TILE_ROWS * TILE_ROWS
    return whole + HALF_ROWS * (whole < count)


def spread(count):
    """count rounded up to an odd number of cache lines of 16 floats. Otherwise the n*n places that
    a transform writes at once would compete for one set of the cache."""
    return (-(-count // 16) | 1) * 16


@serial
def find_inputs(g, tile, x, zeros, table):
    """table[r*n + s]: address of the pixel that tile reads at (r, s); of zeros outside the map."""
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
def find_outputs(g, tile, y, table):
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
def times_panel(
    rows, count, depth, shift, panel, panel_at, targets, target_shift, zeros, columns, add
):
    """targets[t] = (or +=, with add) rows[t] @ panel for t < count rounded up by `whole_rows`."""
    whole = (count + TILE_ROWS - HALF_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for t in range(0, whole, TILE_ROWS):
        row_tile(
            rows, t, 1, depth, shift, panel, panel_at, targets, t, target_shift,
            zeros, 0, columns, 0, add, 0,
        )  # fmt: skip
    if whole < count:
        half_tile(
            rows, whole, 1, depth, shift, panel, panel_at, targets, whole, target_shift,
            zeros, 0, columns, 0, add, 0,
        )  # fmt: skip
