"""The gradient of a convolution's weight on the CPU.

Each kernel tap's gradient is a sum of outer products over all output pixels: what the tap read
there, times the gradient there. Three forms of it:

- 3x3, stride 1, padding 1: in Winograd's domain (grad_weight_winograd.py), where it pays;
- 1x1: one product, grad^T x;
- anything else: the product of a block of pixels with all their taps side by side.

The last two are one kernel. Pixels are cut into chunks by the shapes alone, every chunk is summed
in a fixed order by one thread, and so are the chunks: the result does not depend on the number of
threads.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from ... import memory
from ...jit import kernel, serial
from ..simd import LANES, PANEL
from ..simd_outer import LEFT, OUTER_ROWS, add_outer_products, copy_floats

BLOCK = 160  # pixels packed at a time: a panel of them stays in the first-level cache
PITCH = BLOCK + 1  # rows of a panel in memory; odd, see add_outer_products
MOST_ROWS = 768  # rows (taps x channels) of a block: they stay in the second-level cache
MOST_COLUMNS = 256
TASKS = 16

Plan = namedtuple(
    "Plan",
    "height width channels out_h out_w kernel_h kernel_w "
    "step_h step_w start_h start_w tap_h tap_w "  # picture pixel = out*step + start + tap number*tap
    "first_left lefts first_right rights right_pitch "  # channels of the two operands that take part
    "pixels chunk_pixels kernel_rows channel_block column_block group_rows columns",
)


def conv2d_grad_weight(grad, x, weight_shape, stride, padding, dilation, groups):
    """dw[o, c, r, s] = sum over all output pixels of grad[o] * (the pixel that tap (r, s) read)[c].

    grad (N, outH, outW, O), x (N, H, W, C) -> dw of shape `weight_shape` (O, C/groups, kH, kW).
    """
    outs, ins, kernel_h, kernel_w = weight_shape
    if grad.size == 0 or x.size == 0:
        return np.zeros(weight_shape, np.float32)
    grad, x = np.ascontiguousarray(grad), np.ascontiguousarray(x)
    if (kernel_h, kernel_w) == (1, 1) and padding == (0, 0):
        return _one_by_one(grad, x[:, :: stride[0], :: stride[1]], weight_shape, groups)
    dw = memory.empty(weight_shape)
    for group in range(groups):
        plan, groups_of_rows, chunks = _plan(
            x.shape, grad.shape, (kernel_h, kernel_w), stride, padding, dilation,
            (group * ins, ins), (group * (outs // groups), outs // groups),
        )  # fmt: skip
        partial = _products(x, grad, plan, groups_of_rows, chunks)
        own = dw[group * (outs // groups) : (group + 1) * (outs // groups)]
        _sum_taps(partial, plan, own.reshape(outs // groups, ins, kernel_h * kernel_w))
    return dw


def _one_by_one(grad, x, weight_shape, groups):
    """grad^T x, both taken as matrices of pixels and channels, for each group."""
    outs, ins = weight_shape[:2]
    x = np.ascontiguousarray(x[:, : grad.shape[1], : grad.shape[2]])
    parts = []
    for group in range(groups):
        plan, groups_of_rows, chunks = _plan(
            grad.shape, x.shape, (1, 1), (1, 1), (0, 0), (1, 1),
            (group * (outs // groups), outs // groups), (group * ins, ins),
        )  # fmt: skip
        partial = _products(grad, x, plan, groups_of_rows, chunks)
        parts.append(_sum_chunks(partial, outs // groups, ins))
    return (parts[0] if groups == 1 else np.concatenate(parts)).reshape(weight_shape)


@lru_cache(maxsize=1024)
def _plan(picture_shape, right_shape, kernel, stride, padding, dilation, left, right):
    """(Plan, groups of rows, chunks of pixels), from shapes alone.

    picture_shape (N, H, W, C): what the taps read. right_shape (N, outH, outW, K). left, right:
    (first, count) of the channels that take part.
    """
    images, height, width, channels = picture_shape
    _, out_h, out_w, pitch = right_shape
    kernel_h, kernel_w = kernel
    (first_left, lefts), (first_right, rights) = left, right
    channel_block = min(lefts, 256)
    kernel_rows = max(1, min(kernel_h, MOST_ROWS // (kernel_w * channel_block)))
    row_groups = -(-kernel_h // kernel_rows) * -(-lefts // channel_block)
    column_block = min(_rounded(rights, PANEL), MOST_COLUMNS)
    pixels = images * out_h * out_w
    blocks = row_groups * -(-rights // column_block)
    chunks = max(1, min(-(-TASKS // blocks), pixels // (2 * BLOCK)))
    chunk_pixels = -(-pixels // chunks)
    group_rows = kernel_rows * kernel_w * channel_block
    plan = Plan(
        height, width, channels, out_h, out_w, *kernel, *stride, -padding[0], -padding[1],
        *dilation, first_left, lefts, first_right, rights, pitch, pixels, chunk_pixels,
        kernel_rows, channel_block, column_block, _rounded(group_rows, OUTER_ROWS),
        _rounded(rights, PANEL),
    )  # fmt: skip
    return plan, row_groups, -(-pixels // chunk_pixels)


def _rounded(count, multiple):
    return -(-count // multiple) * multiple


def _products(picture, right, plan, row_groups, chunks):
    """Partial sums (chunks, row groups, rows of a group, columns) of the outer products."""
    partial = memory.empty((chunks, row_groups, plan.group_rows, plan.columns))
    row = _rounded(plan.group_rows, LEFT) + LANES
    scratch = memory.empty((get_num_threads(), row + (row + plan.column_block) * PITCH))
    _multiply(picture.reshape(-1), right.reshape(-1), plan, scratch, partial)
    return partial


@kernel
def _multiply(picture, right, plan, scratch, partial):
    """partial[chunk, group, (r, s, c), j] = sum over the chunk's pixels of
    picture[the pixel that tap (r, s) reads, c] * right[pixel, j].

    A task is a chunk of pixels, a group of rows and a block of columns. It packs BLOCK pixels of
    both operands in its own scratch, which stays in the second-level cache, and multiplies.
    """
    chunks, row_groups, _, columns = partial.shape
    column_blocks = (columns + plan.column_block - 1) // plan.column_block
    for task in prange(chunks * row_groups * column_blocks):
        chunk = task // (row_groups * column_blocks)
        group = task // column_blocks % row_groups
        column = task % column_blocks * plan.column_block
        _one_task(
            picture,
            right,
            plan,
            scratch[get_thread_id()],
            partial[chunk, group],
            chunk,
            group,
            column,
        )


@serial
def _one_task(picture, right, plan, scratch, out, chunk, group, column):
    """out[rows, column ...] of one chunk of pixels, BLOCK of them at a time."""
    columns = out.shape[1]
    width = min(plan.column_block, columns - column)
    out[:, column : column + width] = 0
    channel_groups = (plan.lefts + plan.channel_block - 1) // plan.channel_block
    first_row = group // channel_groups * plan.kernel_rows
    last_row = min(plan.kernel_h, first_row + plan.kernel_rows)
    channel = group % channel_groups * plan.channel_block
    channels = min(plan.channel_block, plan.lefts - channel)
    rows = (last_row - first_row) * plan.kernel_w * channels
    left_at = (rows + LEFT - 1) // LEFT * LEFT + LANES
    right_at = left_at + (rows + LEFT - 1) // LEFT * LEFT * PITCH
    first, last = chunk * plan.chunk_pixels, min(plan.pixels, (chunk + 1) * plan.chunk_pixels)
    for start in range(first, last, BLOCK):
        depth = min(BLOCK, last - start)
        _pack_taps(
            picture, plan, start, depth, first_row, last_row, channel, channels, scratch, left_at
        )
        _pack_rows(right, plan, start, depth, column, width, scratch, right_at)
        add_outer_products(
            depth, PITCH, rows, scratch, left_at, width, scratch, right_at,
            out.reshape(-1), column, columns,
        )  # fmt: skip


@serial
def _pack_taps(
    picture, plan, start, depth, first_row, last_row, channel, channels, scratch, left_at
):
    """Panels of what the taps of `depth` pixels read; zeros outside the picture.

    A pixel's taps are gathered in one row, at the start of the scratch, which is then cut up.
    """
    run = plan.kernel_w * channels
    panels = ((last_row - first_row) * run + LEFT - 1) // LEFT
    joined = plan.tap_w == 1 and channels == plan.channels
    span = (plan.kernel_w - 1) * plan.tap_w
    scratch[: panels * LEFT + LANES] = 0
    for k in range(depth):
        line = (start + k) // plan.out_w
        image = line // plan.out_h
        top = (line - image * plan.out_h) * plan.step_h + plan.start_h
        left = (start + k - line * plan.out_w) * plan.step_w + plan.start_w
        for r in range(first_row, last_row):
            at = (r - first_row) * run
            y = top + r * plan.tap_h
            row = (image * plan.height + y) * plan.width
            if y < 0 or y >= plan.height:
                scratch[at : at + run] = 0
            elif joined and left >= 0 and left + span < plan.width:
                copy_floats(picture, (row + left) * plan.channels, scratch, at, run)
            else:
                for s in range(plan.kernel_w):
                    x = left + s * plan.tap_w
                    if x < 0 or x >= plan.width:
                        scratch[at + s * channels : at + (s + 1) * channels] = 0
                    else:
                        source = (row + x) * plan.channels + plan.first_left + channel
                        copy_floats(picture, source, scratch, at + s * channels, channels)
        for p in range(panels):
            place = left_at + (p * PITCH + k) * LEFT
            copy_floats(scratch, p * LEFT, scratch, place, LEFT)


@serial
def _pack_rows(right, plan, start, depth, column, width, scratch, right_at):
    """Panels of `width` columns of `depth` rows; zeros beyond the last column."""
    for j in range(column, column + width, PANEL):
        count = min(PANEL, plan.rights - j)
        for k in range(depth):
            source = (start + k) * plan.right_pitch + plan.first_right + j
            place = right_at + (j - column) * PITCH + k * PANEL
            if count == PANEL:
                copy_floats(right, source, scratch, place, PANEL)
            else:
                scratch[place : place + PANEL] = 0
                copy_floats(right, source, scratch, place, count)


def _sum_chunks(partial, rows, columns):
    """The chunks' sum as a matrix (rows, columns), without what fills up the tiles."""
    chunks, groups, group_rows, padded = partial.shape
    if chunks == 1 and groups * group_rows == rows and padded == columns:
        return partial.reshape(rows, columns)
    out = memory.empty((rows, columns))
    _sum_matrices(partial.reshape(chunks, groups * group_rows, padded), out)
    return out


@kernel
def _sum_matrices(partial, out):
    """out[i, j] = sum over chunks, first to last, of partial[chunk, i, j]."""
    rows, columns = out.shape
    for i in prange(rows):
        out[i] = partial[0, i, :columns]
        for chunk in range(1, len(partial)):
            for j in range(columns):
                out[i, j] += partial[chunk, i, j]


@kernel
def _sum_taps(partial, plan, dw):
    """dw[o, c, (r, s)] = sum over chunks, first to last, of partial[chunk, group, (r, s, c), o].

    Goes through LANES output channels at a time, since they lie side by side in `partial`.
    """
    outs, ins, _ = dw.shape
    channel_groups = (ins + plan.channel_block - 1) // plan.channel_block
    for block in prange((outs + LANES - 1) // LANES):
        first = block * LANES
        count = min(LANES, outs - first)
        total = np.empty(LANES, np.float32)
        for c in range(ins):
            inside, channel = c // plan.channel_block, c % plan.channel_block
            channels = min(plan.channel_block, ins - inside * plan.channel_block)
            for r in range(plan.kernel_h):
                group = r // plan.kernel_rows * channel_groups + inside
                for s in range(plan.kernel_w):
                    row = (r % plan.kernel_rows * plan.kernel_w + s) * channels + channel
                    total[:] = 0
                    for chunk in range(len(partial)):
                        for j in range(LANES):
                            total[j] += partial[chunk, group, row, first + j]
                    for j in range(count):
                        dw[first + j, c, r * plan.kernel_w + s] = total[j]
