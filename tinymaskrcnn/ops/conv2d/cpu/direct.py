"""Convolution as a matrix product whose rows are found through a table of addresses.

Each output pixel is a row of the product, each kernel tap a stretch of its columns. Nothing is
copied into columns ("im2col"): for each block of pixels, a table holds the address that each tap
reads, and a tap outside the map reads zeros. So one kernel serves any kernel size, stride, padding
and dilation, and, with the steps of input and output exchanged, the gradient of the input.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from .... import memory
from ....jit import kernel, serial
from ...derive import derive
from ...simd.emitter import PANEL, TILE_ROWS, address, copy_row
from ...simd.row_tile import row_tile
from .geometry import Geometry
from .panels import pack

CACHED_WEIGHT = 160_000  # floats of weight that stay in the L2 cache beside the pixels
LONG = 1024  # a sum of this many products is long

Grid = namedtuple(
    "Grid",
    [
        *("images", "height", "width", "channels"),  # the array that is read
        *("first_channel", "depth", "step_h", "step_w"),  # the part of it that is read
        *("grid_h", "grid_w"),  # pixels to compute
        *("out_height", "out_width", "out_channels"),  # the array that is written
        *("start_h", "start_w", "out_step_h", "out_step_w", "first_out", "outs"),  # where in it
        *("first_tap", "all_taps"),  # the taps in the packed weight
    ],
)

Schedule = namedtuple("Schedule", "blocks splits panels_together taps_together copy_pitch")


def suits(geometry: Geometry) -> bool:
    """Always: this form computes every convolution."""
    return True


def forward(geometry: Geometry, x, weight, bias, y, residual, relu, kept):
    """y = relu?(x * weight + bias + residual), group by group."""
    for group, part in enumerate(_parts(weight, geometry.groups)):
        plan = forward_plan(geometry, group)
        panels = derive(kept, ("panels", group), lambda part=part: pack(part))
        convolve(x, panels, bias, y, residual, relu, *plan)


def backward(geometry: Geometry, grad, weight, dx, total):
    """dx = the gradient of the input + total (which may be dx itself): a convolution for each group
    and each remainder of the stride."""
    for group, part in enumerate(_parts(weight, geometry.groups)):
        order, plans = backward_plans(geometry, group)
        panels = pack(part, order=order, swap=True)
        for plan in plans:
            if total is not dx or len(plan[1]):  # otherwise there is nothing to add
                convolve(grad, panels, zeros(dx.shape[3]), dx, total, False, *plan)


def _parts(weight, groups):
    outs = weight.shape[0] // groups
    return [weight[g * outs : (g + 1) * outs] for g in range(groups)] if groups > 1 else [weight]


def convolve(x, panels, bias, y, residual, relu, grid, tap_rows, tap_columns):
    """Compute the pixels of y that `grid` describes; panels as from `panels.pack`."""
    pixels = grid.images * grid.grid_h * grid.grid_w
    if pixels == 0:
        return
    schedule = _schedule(pixels, grid, len(panels), len(tap_rows), get_num_threads())
    _convolve(
        x.reshape(-1),
        zeros(max(grid.depth, PANEL)),
        panels.reshape(-1),
        bias,
        y.reshape(-1),
        (y if residual is None else residual).reshape(-1),
        residual is not None,
        relu,
        grid,
        tap_rows,
        tap_columns,
        schedule,
        memory.empty((get_num_threads(), _scratch_size(pixels, schedule))),
    )


def _scratch_size(pixels, schedule):
    """Floats needed for the copies of one block."""
    tiles = -(-pixels // TILE_ROWS)
    return (tiles // schedule.blocks + 1) * TILE_ROWS * schedule.copy_pitch


@lru_cache(maxsize=4096)
def _schedule(pixels, grid, panels, taps, threads):
    """The order of the work.

    - Blocks are of equal size, and each thread gets as many as the others. They are larger if the
      sums are long, since each block reads the whole weight.
    - With few pixels, the panels are split too.
    - If the whole weight stays in the cache, all panels pass over one tile. Otherwise all tiles of
      a block pass under one panel, with so few taps at a time that their inputs stay in the cache.
    - Pixels that are a multiple of 4 KiB apart would share one set of the L1 cache: they are
      copied.
    """
    tiles, length = -(-pixels // TILE_ROWS), taps * grid.depth
    splits = min(panels, threads) if tiles < 2 * threads else 1
    blocks = -(-tiles // (16 if length >= LONG else 4))
    if splits == 1:
        blocks = min(tiles, -(-blocks // threads) * threads)
    together = panels if length * panels * PANEL <= CACHED_WEIGHT else 1
    taps_together = max(1, LONG // grid.depth)
    crowded = grid.step_w * grid.channels % 1024 == 0 and panels > 2
    copy_pitch = min(taps, taps_together) * grid.depth + 16 if crowded else 0
    return Schedule(blocks, splits, together, taps_together, copy_pitch)


@lru_cache(maxsize=1024)
def zeros(count: int) -> np.ndarray:
    """`count` float32 zeros; do not write to them."""
    return np.zeros(count, np.float32)


@kernel
def _convolve(
    x, zeros, panels, bias, y, residual, add_residual, relu, g, tap_rows, tap_columns, plan, scratch
):
    """y[pixel, o] = relu?(bias[o] + residual[pixel, o] + sum over taps t and k < depth of
    x[pixel*step + tap t, first_channel + k] * panels[o, t, k]) for all pixels of g's grid.

    A block of pixels and its table of addresses stay in the cache while all panels pass. Threads
    take blocks, or parts of the panels if there are few pixels. If a sum is long, only a few taps
    are done at a time, and each time their sum is added to y.
    """
    taps = len(tap_rows)
    pixels = g.images * g.grid_h * g.grid_w
    tiles = (pixels + TILE_ROWS - 1) // TILE_ROWS
    panel_count = (g.outs + PANEL - 1) // PANEL
    panel_size = g.all_taps * g.depth * PANEL
    residual_at = (address(residual) - address(y)) // 4
    for item in prange(plan.blocks * plan.splits):
        block, split = item // plan.splits, item % plan.splits
        first, last = block * tiles // plan.blocks, (block + 1) * tiles // plan.blocks
        rows = np.empty((last - first) * taps * TILE_ROWS, np.int64)
        targets = np.empty((last - first) * TILE_ROWS, np.int64)
        _locate(
            g, address(x), address(zeros), address(y), tap_rows, tap_columns,
            first * TILE_ROWS, pixels, rows, targets,
        )  # fmt: skip
        start, stop = split * panel_count // plan.splits, (split + 1) * panel_count // plan.splits
        for tap in range(0, max(taps, 1), plan.taps_together):
            some = min(plan.taps_together, taps - tap)
            if plan.copy_pitch:
                _copy(rows, taps, tap, some, g, address(scratch[get_thread_id()]), plan.copy_pitch)
            shift = 0 if plan.copy_pitch else g.first_channel
            begins, ends = tap == 0, tap + some >= taps
            for first_panel in range(start, stop, plan.panels_together):
                for tile in range(last - first):
                    for p in range(first_panel, min(first_panel + plan.panels_together, stop)):
                        row_tile(
                            rows, (tile * taps + tap) * TILE_ROWS, some, g.depth, shift,
                            panels, p * panel_size + (g.first_tap + tap) * g.depth * PANEL,
                            targets, tile * TILE_ROWS, g.first_out + p * PANEL,
                            bias if begins else zeros,
                            g.first_out + p * PANEL if begins else 0,
                            g.outs - p * PANEL,
                            residual_at if begins else 0,
                            add_residual if begins else True,
                            relu and ends,
                        )  # fmt: skip


@serial
def _copy(rows, taps, tap, some, g, scratch, pitch):
    """Copy what rows[tile, tap : tap + some, row] point to, and make them point to the copies."""
    for tile in range(len(rows) // (taps * TILE_ROWS)):
        for t in range(some):
            for i in range(TILE_ROWS):
                at = (tile * taps + tap + t) * TILE_ROWS + i
                target = scratch + 4 * ((tile * TILE_ROWS + i) * pitch + t * g.depth)
                copy_row(rows[at] + 4 * g.first_channel, target, g.depth)
                rows[at] = target


@serial
def _locate(g, x, zeros, y, tap_rows, tap_columns, first, pixels, rows, targets):
    """The addresses that pixels first, first + 1, ... read at every tap, and those they write:
    rows[tile, tap, row] and targets[tile, row]. The last pixel is repeated to fill its tile.
    """
    taps = len(tap_rows)
    n = first // (g.grid_h * g.grid_w)
    a = first // g.grid_w - n * g.grid_h
    b = first % g.grid_w
    for i in range(len(targets)):
        h, w = g.start_h + a * g.out_step_h, g.start_w + b * g.out_step_w
        targets[i] = y + 4 * (((n * g.out_height + h) * g.out_width + w) * g.out_channels)
        at = (i // TILE_ROWS) * taps * TILE_ROWS + i % TILE_ROWS
        for t in range(taps):
            h, w = a * g.step_h + tap_rows[t], b * g.step_w + tap_columns[t]
            inside = h >= 0 and h < g.height and w >= 0 and w < g.width
            address = x + 4 * (((n * g.height + h) * g.width + w) * g.channels)
            rows[at + t * TILE_ROWS] = address if inside else zeros - 4 * g.first_channel
        if first + i + 1 < pixels:
            b += 1
            if b == g.grid_w:
                a, b = a + 1, 0
                if a == g.grid_h:
                    n, a = n + 1, 0


@lru_cache(maxsize=4096)
def forward_plan(geometry: Geometry, group: int):
    """(Grid, tap rows, tap columns) for one group's convolution.

    Output pixel (a, b) reads input pixel (a*stride + tap row, b*stride + tap column).
    """
    _, out_h, out_w, outs = geometry.y
    _, ins, kernel_h, kernel_w = geometry.weight
    group_outs = outs // geometry.groups
    grid = Grid(
        *geometry.x, group * ins, ins, *geometry.stride, out_h, out_w, out_h, out_w, outs,
        0, 0, 1, 1, group * group_outs, group_outs, 0, kernel_h * kernel_w,
    )  # fmt: skip
    rows = np.repeat(np.arange(kernel_h) * geometry.dilation[0] - geometry.padding[0], kernel_w)
    columns = np.tile(np.arange(kernel_w) * geometry.dilation[1] - geometry.padding[1], kernel_h)
    return grid, rows, columns


@lru_cache(maxsize=1024)
def backward_plans(geometry: Geometry, group: int):
    """(order of the taps, [(Grid, tap rows, tap columns), ...]) for the gradient of the input.

    Input pixels h with equal h % stride form a grid. It reads the output's gradient at unit steps,
    through the same few taps: those with (h + padding - r*dilation) % stride = 0. So there is one
    convolution per remainder; the taps are packed in the order of their use.
    """
    _, height, width, channels = geometry.x
    outs, ins, kernel_h, kernel_w = geometry.weight
    stride, padding, dilation, groups = geometry[3:]
    group_outs = outs // groups
    order, plans = [], []
    for start_h in range(min(stride[0], height)):
        for start_w in range(min(stride[1], width)):
            down = _aligned(start_h + padding[0], kernel_h, stride[0], dilation[0])
            right = _aligned(start_w + padding[1], kernel_w, stride[1], dilation[1])
            grid = Grid(
                *geometry.y, group * group_outs, group_outs, 1, 1,
                -(-(height - start_h) // stride[0]), -(-(width - start_w) // stride[1]),
                height, width, channels, start_h, start_w, *stride, group * ins, ins,
                len(order), kernel_h * kernel_w,
            )  # fmt: skip
            rows = np.array([row for _, row in down for _ in right], np.int64)
            columns = np.array([column for _ in down for _, column in right], np.int64)
            order += [r * kernel_w + s for r, _ in down for s, _ in right]
            plans.append((grid, rows, columns))
    unused = set(range(kernel_h * kernel_w)) - set(order)  # some, if the map is below the stride
    return (*order, *unused), plans


def _aligned(start, kernel, stride, dilation):
    """[(tap, row that it reads)]: the taps r for which start - r*dilation is on the stride."""
    return [
        (r, (start - r * dilation) // stride)
        for r in range(kernel)
        if (start - r * dilation) % stride == 0
    ]
