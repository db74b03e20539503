"""The gradient of a convolution's weight on the CPU.

Each kernel tap's gradient is a sum of outer products over all output pixels: what the tap read
there, times the gradient there. There are four forms:

- 3x3, stride 1: in Winograd's domain (grad_weight_winograd.py), if that is faster;
- maps with few channels: line by line, without a copy of the gradients (few_channels.py);
- 1x1, stride 1: one product, grad^T x;
- anything else: the product of a block of pixels with all their taps side by side.

The last two share one kernel. The shapes alone determine how pixels are cut into chunks. One thread
sums each chunk in a fixed order, and the chunks are summed in order too, so the result does not
depend on the number of threads.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from .... import memory
from ....jit import kernel, kernel_from, serial
from ...simd.emitter import LANES, PANEL
from ...simd.outer import LEFT, OUTER_ROWS, copy_floats, outer_products
from . import few_channels, grad_weight_winograd
from .geometry import Geometry

BLOCK = 128  # pixels packed at a time: a panel of each operand stays in the L1 cache
PITCH = BLOCK + 1  # rows of a panel in memory; odd, see outer_products
MOST_ROWS = 768  # of the left operand per task: packed, they stay in the L2 cache
MOST_CHANNELS = 256
MOST_PARTIAL = 1 << 21  # floats of partial sums
TASKS = 8  # the aim: enough for that many threads
SUM_CHANNELS = 32  # a thread adds up the chunks of this many channels at a time
ONE, NONE = (1, 1), (0, 0)

Plan = namedtuple(
    "Plan",
    "height width channels out_h out_w kernel_h kernel_w "
    "step_h step_w start_h start_w tap_h tap_w "  # tap s reads column out*step + start + s*tap
    "first_left lefts first_right rights right_pitch "  # the channels involved
    "whole "  # whether the pixels are simply the rows of a matrix
    "pixels chunk_pixels chunks kernel_rows channel_block row_groups group_rows column_block",
)


def conv2d_grad_weight(grad, x, weight_shape, stride, padding, dilation, groups):
    """dw[o, c, r, s] = sum over all output pixels of grad[o] * (the pixel that tap (r, s) read)[c].

    grad (N, outH, outW, O), x (N, H, W, C) -> dw of shape `weight_shape` (O, C/groups, kH, kW).
    """
    outs, ins, kernel_h, kernel_w = weight_shape
    if grad.size == 0 or x.size == 0:
        return np.zeros(weight_shape, np.float32)
    grad, x = (np.require(array, np.float32, "CW") for array in (grad, x))
    geometry = Geometry(x.shape, weight_shape, grad.shape, stride, padding, dilation, groups)
    if grad_weight_winograd.suits(geometry):
        return grad_weight_winograd.grad_weight(geometry, grad, x)
    if outs % LANES == 0 and few_channels.suits(geometry):
        return few_channels.grad_weight(geometry, grad, x)
    dw = memory.empty(weight_shape)
    outs //= groups
    for group in range(groups):
        channels, gradients = (group * ins, ins), (group * outs, outs)
        own = dw[group * outs : (group + 1) * outs].reshape(-1)
        if (kernel_h, kernel_w, *stride, *padding) == (1, 1, 1, 1, 0, 0):
            plan = _plan(grad.shape, x.shape, ONE, ONE, NONE, ONE, gradients, channels)
            _multiply(grad, x, plan, own, False)
        else:
            kernel_size = kernel_h, kernel_w
            plan = _plan(
                x.shape, grad.shape, kernel_size, stride, padding, dilation, channels, gradients
            )
            _multiply(x, grad, plan, own, True)
    return dw


@lru_cache(maxsize=1024)
def _plan(image_shape, right_shape, kernel, stride, padding, dilation, left, right):
    """How to divide the work, from shapes alone.

    Args:
        image_shape: (N, H, W, C) of the array that the taps read.
        right_shape: (N, outH, outW, K) of the other one.
        left, right: (first, count) of the channels involved.
    """
    images, height, width, channels = image_shape
    _, out_h, out_w, right_pitch = right_shape
    kernel_h, kernel_w = kernel
    channel_block = min(left[1], MOST_CHANNELS)
    fits = kernel_h * kernel_w * channel_block <= MOST_ROWS
    kernel_rows = kernel_h if fits else 1
    row_groups = kernel_h // kernel_rows * -(-left[1] // channel_block)
    group_rows = _rounded(kernel_rows * kernel_w * channel_block, OUTER_ROWS)
    pixels = images * out_h * out_w
    whole = (*kernel, *stride, *padding) == (1, 1, 1, 1, 0, 0)
    most = max(1, MOST_PARTIAL // (row_groups * group_rows * right[1]))
    for column_panels in (16, 8, 4, 2, 1):
        column_blocks = -(-right[1] // (column_panels * PANEL))
        blocks = row_groups * column_blocks
        chunks = max(1, min(TASKS // blocks, most, pixels // BLOCK))
        if chunks * blocks >= TASKS // 2:
            break
    column_block = _rounded(-(-right[1] // column_blocks), PANEL)
    chunk_pixels = -(-pixels // chunks)
    return Plan(
        height, width, channels, out_h, out_w, *kernel, *stride, -padding[0], -padding[1],
        *dilation, *left, *right, right_pitch, whole,
        pixels, chunk_pixels, -(-pixels // chunk_pixels),
        kernel_rows, channel_block, row_groups, group_rows, column_block,
    )  # fmt: skip


def _rounded(count, multiple):
    return -(-count // multiple) * multiple


def _multiply(maps, right, plan, dw, taps_last):
    """Write the sums of outer products that `plan` describes to the flat dw; see `_places`."""
    panel_size = plan.group_rows * PANEL
    straight = plan.chunks == 1 and not taps_last
    if straight:
        size = get_num_threads() * plan.column_block // PANEL
    else:
        size = plan.chunks * plan.row_groups * -(-plan.rights // PANEL)
    partial = memory.empty((size * panel_size,))
    row = _rounded(plan.group_rows, LEFT) + LANES
    scratch = memory.empty((get_num_threads(), row + (row + plan.column_block) * PITCH))
    flat = maps.reshape(-1), right.reshape(-1)
    _sum_products(*flat, plan, scratch, partial, straight, dw)
    if not straight:
        taps = plan.kernel_h * plan.kernel_w
        step = taps * plan.lefts if taps_last else 1
        places, together = _places(plan, taps_last), taps * SUM_CHANNELS
        _sum_chunks(partial, plan.chunks, panel_size, *places, together, step, plan.rights, dw)


@kernel
def _sum_products(maps, right, plan, scratch, partial, straight, dw):
    """partial[chunk, group, panel, (r, s, c), j] = sum over the chunk's pixels of
    maps[the pixel that tap (r, s) reads, c] * right[pixel, panel*PANEL + j].

    A task is a chunk of pixels, a group of rows and a block of columns. It packs BLOCK pixels of
    both operands into its own scratch memory, which stays in the L2 cache, and multiplies them. If
    `straight`, its sums are final: a thread has room for one task's sums only, and copies them to
    dw.
    """
    column_blocks = (plan.rights + plan.column_block - 1) // plan.column_block
    for item in prange(plan.chunks * plan.row_groups * column_blocks):
        # prange's index is unsigned: every helper would be compiled twice
        task, own = np.int64(item), np.int64(get_thread_id())
        column = task % column_blocks * plan.column_block
        panel = task // column_blocks * ((plan.rights + PANEL - 1) // PANEL) + column // PANEL
        if straight:
            panel = own * plan.column_block // PANEL
        sums_at = panel * plan.group_rows * PANEL
        _one_task(maps, right, plan, scratch[own], partial, sums_at, task, column_blocks)
        if straight:
            _copy_sums(plan, partial, sums_at, task, column_blocks, dw)


@serial
def _copy_sums(plan, partial, sums_at, task, column_blocks, dw):
    """dw[c, j] = the sums of one task, for a 1x1 kernel."""
    channel = task // column_blocks * plan.channel_block
    column = task % column_blocks * plan.column_block
    width = min(plan.column_block, plan.rights - column)
    for i in range(min(plan.channel_block, plan.lefts - channel)):
        for j in range(0, width, PANEL):
            source = sums_at + (j // PANEL * plan.group_rows + i) * PANEL
            target = (channel + i) * plan.rights + column + j
            _copy_exactly(partial, source, dw, target, min(PANEL, width - j))


@serial
def _copy_exactly(source, source_at, target, target_at, count):
    """`copy_floats`, but without writing beyond `count`, where other threads may write."""
    whole = count - count % LANES
    copy_floats(source, source_at, target, target_at, whole)
    for j in range(whole, count):
        target[target_at + j] = source[source_at + j]


@serial
def _one_task(maps, right, plan, scratch, partial, sums_at, task, column_blocks):
    """One chunk of pixels, BLOCK of them at a time."""
    chunk = task // (plan.row_groups * column_blocks)
    group = task // column_blocks % plan.row_groups
    column = task % column_blocks * plan.column_block
    channel_groups = (plan.lefts + plan.channel_block - 1) // plan.channel_block
    first_row = group // channel_groups * plan.kernel_rows
    channel = group % channel_groups * plan.channel_block
    channels = min(plan.channel_block, plan.lefts - channel)
    rows = plan.kernel_rows * plan.kernel_w * channels
    width = min(plan.column_block, plan.rights - column)
    left_at = (rows + LEFT - 1) // LEFT * LEFT + LANES
    right_at = left_at + (rows + LEFT - 1) // LEFT * LEFT * PITCH
    first, last = chunk * plan.chunk_pixels, min(plan.pixels, (chunk + 1) * plan.chunk_pixels)
    first_left = plan.first_left + channel
    for start in range(first, last, BLOCK):
        depth = min(BLOCK, last - start)
        if plan.whole:
            source = start * plan.channels + first_left
            _pack_rows(maps, source, plan.channels, depth, channels, LEFT, scratch, left_at)
        else:
            _pack_taps(maps, plan, start, depth, first_row, channel, channels, scratch, left_at)
        source = start * plan.right_pitch + plan.first_right + column
        _pack_rows(right, source, plan.right_pitch, depth, width, PANEL, scratch, right_at)
        outer_products(
            depth, PITCH, rows, scratch, left_at, width, scratch, right_at,
            partial, sums_at, plan.group_rows * PANEL, start - first,
        )  # fmt: skip


@serial
def _pack_taps(maps, plan, start, depth, first_row, channel, channels, scratch, left_at):
    """Pack what the taps of `depth` pixels read into panels; zeros outside the map.

    A pixel's taps are gathered into one row, at the start of the scratch memory, which is then cut
    into panels.
    """
    run = plan.kernel_w * channels
    panels = (plan.kernel_rows * run + LEFT - 1) // LEFT
    joined = plan.tap_w == 1 and channels == plan.channels
    span = (plan.kernel_w - 1) * plan.tap_w
    scratch[: panels * LEFT + LANES] = 0
    line = start // plan.out_w
    image, i, j = line // plan.out_h, line % plan.out_h, start % plan.out_w
    for k in range(depth):
        left = j * plan.step_w + plan.start_w
        for r in range(plan.kernel_rows):
            at = r * run
            y = i * plan.step_h + plan.start_h + (first_row + r) * plan.tap_h
            row = (image * plan.height + y) * plan.width
            if y < 0 or y >= plan.height:
                scratch[at : at + run] = 0
            elif joined and left >= 0 and left + span < plan.width:
                copy_floats(maps, (row + left) * plan.channels, scratch, at, run)
            else:
                for s in range(plan.kernel_w):
                    x = left + s * plan.tap_w
                    if x < 0 or x >= plan.width:
                        scratch[at + s * channels : at + (s + 1) * channels] = 0
                    else:
                        source = (row + x) * plan.channels + plan.first_left + channel
                        copy_floats(maps, source, scratch, at + s * channels, channels)
        for p in range(panels):
            place = left_at + (p * PITCH + k) * LEFT
            copy_floats(scratch, p * LEFT, scratch, place, LEFT)
        j += 1
        if j == plan.out_w:
            i, j = i + 1, 0
            if i == plan.out_h:
                image, i = image + 1, 0


@serial
def _pack_rows(source, first, pitch, depth, columns, width, target, target_at):
    """Pack `depth` rows, `pitch` apart, into panels `width` floats wide; zeros beyond the last
    column."""
    for k in range(depth):
        for j in range(0, columns, width):
            place = target_at + j * PITCH + k * width
            count = min(width, columns - j)
            if count < width:
                target[place : place + width] = 0
            copy_floats(source, first + k * pitch + j, target, place, count)


@lru_cache(maxsize=1024)
def _places(plan, taps_last):
    """For each row (r, s, c) of the sums: where it starts in one chunk of `partial`, and where in
    the weight. With `taps_last`, the weight's rows end in (c, r, s); else its kernel is 1x1.

    Rows are in the order in which they are copied: SUM_CHANNELS channels of every tap, then the
    next SUM_CHANNELS.
    """
    taps = plan.kernel_h * plan.kernel_w
    tap, c = np.divmod(np.arange(taps * plan.lefts), plan.lefts)
    order = np.lexsort((c, tap, c // SUM_CHANNELS))
    tap, c = tap[order], c[order]
    r, s = np.divmod(tap, plan.kernel_w)
    block, within = np.divmod(c, plan.channel_block)
    width = np.minimum(plan.channel_block, plan.lefts - block * plan.channel_block)
    group = r // plan.kernel_rows * -(-plan.lefts // plan.channel_block) + block
    row = (r % plan.kernel_rows * plan.kernel_w + s) * width + within
    sources = (group * -(-plan.rights // PANEL) * plan.group_rows + row) * PANEL
    return sources, c * taps + tap if taps_last else c * plan.rights


@kernel_from(1 << 16, lambda partial, *_: partial.size)
def _sum_chunks(partial, chunks, panel_size, sources, targets, together, step, columns, dw):
    """dw[targets[i] + j*step] = sum over chunks, first to last, of row i, column j of `partial`.

    A thread takes `together` rows at a time, which it writes to neighbouring places.
    """
    rows, size = len(sources), len(partial) // chunks
    for block in prange((rows + together - 1) // together):
        total = np.empty(PANEL, np.float32)
        for column in range(0, columns, PANEL):
            count = min(PANEL, columns - column)
            for i in range(block * together, min(rows, (block + 1) * together)):
                source = sources[i] + column // PANEL * panel_size
                for j in range(PANEL):
                    total[j] = partial[source + j]
                for chunk in range(1, chunks):
                    for j in range(PANEL):
                        total[j] += partial[source + chunk * size + j]
                target = targets[i] + column * step
                if step == 1:
                    _copy_exactly(total, 0, dw, target, count)
                else:
                    for j in range(count):
                        dw[target + j * step] = total[j]
