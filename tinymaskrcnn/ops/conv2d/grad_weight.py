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
from ..simd_outer import LEFT, OUTER_ROWS, copy_floats, outer_products
from . import grad_weight_winograd
from .winograd import winograd_size

BLOCK = 128  # pixels packed at a time: a panel of each operand stays in the first-level cache
PITCH = BLOCK + 1  # rows of a panel in memory; odd, see outer_products
MOST_ROWS = 768  # of the left operand in one task: packed, they stay in the second-level cache
MOST_CHANNELS = 256
MOST_PARTIAL = 1 << 21  # floats of partial sums
TASKS = 16  # aimed at: enough for eight threads

Plan = namedtuple(
    "Plan",
    "height width channels out_h out_w kernel_h kernel_w "
    "step_h step_w start_h start_w tap_h tap_w "  # tap s reads column out*step + start + s*tap
    "first_left lefts first_right rights right_pitch "  # channels that take part
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
    if (kernel_h, kernel_w) == (1, 1) and padding == (0, 0):
        return _one_by_one(grad, x[:, :: stride[0], :: stride[1]], weight_shape, groups)
    if winograd_size() == 4 and grad_weight_winograd.suits(
        grad.shape, weight_shape, stride, dilation, groups
    ):
        return grad_weight_winograd.grad_weight(grad, x, padding)
    dw = memory.empty(weight_shape)
    outs //= groups
    for group in range(groups):
        plan = _plan(
            x.shape, grad.shape, (kernel_h, kernel_w), stride, padding, dilation,
            (group * ins, ins), (group * outs, outs),
        )  # fmt: skip
        own = dw[group * outs : (group + 1) * outs]
        _sum_taps(_products(x, grad, plan), plan, own.reshape(outs, ins, kernel_h * kernel_w))
    return dw


def _one_by_one(grad, x, weight_shape, groups):
    """grad^T x, both taken as matrices of pixels and channels, for each group."""
    dw = memory.empty(weight_shape)
    outs, ins = weight_shape[0] // groups, weight_shape[1]
    x = np.ascontiguousarray(x[:, : grad.shape[1], : grad.shape[2]])
    for group in range(groups):
        plan = _plan(
            grad.shape, x.shape, (1, 1), (1, 1), (0, 0), (1, 1),
            (group * outs, outs), (group * ins, ins),
        )  # fmt: skip
        own = dw[group * outs : (group + 1) * outs]
        _sum_chunks(_products(grad, x, plan), plan, own.reshape(outs, ins))
    return dw


@lru_cache(maxsize=1024)
def _plan(picture_shape, right_shape, kernel, stride, padding, dilation, left, right):
    """How the work is cut up, from shapes alone.

    picture_shape (N, H, W, C): what the taps read. right_shape (N, outH, outW, K). left, right:
    (first, count) of the channels that take part.
    """
    images, height, width, channels = picture_shape
    _, out_h, out_w, right_pitch = right_shape
    kernel_h, kernel_w = kernel
    channel_block = min(left[1], MOST_CHANNELS)
    fits = kernel_h * kernel_w * channel_block <= MOST_ROWS
    kernel_rows = kernel_h if fits else 1
    row_groups = kernel_h // kernel_rows * -(-left[1] // channel_block)
    group_rows = _rounded(kernel_rows * kernel_w * channel_block, OUTER_ROWS)
    pixels = images * out_h * out_w
    most = max(1, MOST_PARTIAL // (row_groups * group_rows * right[1]))
    for column_block in (8 * PANEL, 4 * PANEL, 2 * PANEL, PANEL):
        blocks = row_groups * -(-right[1] // column_block)
        chunks = max(1, min(-(-TASKS // blocks), most, pixels // BLOCK))
        if chunks * blocks >= TASKS // 2:
            break
    chunk_pixels = -(-pixels // chunks)
    return Plan(
        height, width, channels, out_h, out_w, *kernel, *stride, -padding[0], -padding[1],
        *dilation, *left, *right, right_pitch, pixels, chunk_pixels, -(-pixels // chunk_pixels),
        kernel_rows, channel_block, row_groups, group_rows, column_block,
    )  # fmt: skip


def _rounded(count, multiple):
    return -(-count // multiple) * multiple


def _products(picture, right, plan):
    """Partial sums (chunks, row groups, panels of columns, rows of a group, PANEL)."""
    panels = -(-plan.rights // PANEL)
    partial = memory.empty((plan.chunks, plan.row_groups, panels, plan.group_rows, PANEL))
    row = _rounded(plan.group_rows, LEFT) + LANES
    scratch = memory.empty((get_num_threads(), row + (row + plan.column_block) * PITCH))
    _multiply(picture.reshape(-1), right.reshape(-1), plan, scratch, partial)
    return partial


@kernel
def _multiply(picture, right, plan, scratch, partial):
    """partial[chunk, group, panel, (r, s, c), j] = sum over the chunk's pixels of
    picture[the pixel that tap (r, s) reads, c] * right[pixel, panel*PANEL + j].

    A task is a chunk of pixels, a group of rows and a block of columns. It packs BLOCK pixels of
    both operands in its own scratch, which stays in the second-level cache, and multiplies.
    """
    panels = plan.column_block // PANEL
    column_blocks = (partial.shape[2] + panels - 1) // panels
    for task in prange(plan.chunks * plan.row_groups * column_blocks):
        chunk = task // (plan.row_groups * column_blocks)
        group = task // column_blocks % plan.row_groups
        panel = task % column_blocks * panels
        out = partial[chunk, group, panel : panel + panels].reshape(-1)
        _one_task(picture, right, plan, scratch[get_thread_id()], out, chunk, group, panel * PANEL)


@serial
def _one_task(picture, right, plan, scratch, out, chunk, group, column):
    """One chunk of pixels, BLOCK of them at a time."""
    channel_groups = (plan.lefts + plan.channel_block - 1) // plan.channel_block
    first_row = group // channel_groups * plan.kernel_rows
    channel = group % channel_groups * plan.channel_block
    channels = min(plan.channel_block, plan.lefts - channel)
    rows = plan.kernel_rows * plan.kernel_w * channels
    width = min(plan.column_block, plan.rights - column)
    left_at = (rows + LEFT - 1) // LEFT * LEFT + LANES
    right_at = left_at + (rows + LEFT - 1) // LEFT * LEFT * PITCH
    first, last = chunk * plan.chunk_pixels, min(plan.pixels, (chunk + 1) * plan.chunk_pixels)
    for start in range(first, last, BLOCK):
        depth = min(BLOCK, last - start)
        _pack_taps(picture, plan, start, depth, first_row, channel, channels, scratch, left_at)
        _pack_rows(right, plan, start, depth, column, width, scratch, right_at)
        outer_products(
            depth, PITCH, rows, scratch, left_at, width, scratch, right_at,
            out, plan.group_rows * PANEL, start - first,
        )  # fmt: skip


@serial
def _pack_taps(picture, plan, start, depth, first_row, channel, channels, scratch, left_at):
    """Panels of what the taps of `depth` pixels read; zeros outside the picture.

    A pixel's taps are gathered in one row, at the start of the scratch, which is then cut up.
    """
    run = plan.kernel_w * channels
    panels = (plan.kernel_rows * run + LEFT - 1) // LEFT
    joined = plan.tap_w == 1 and channels == plan.channels
    span = (plan.kernel_w - 1) * plan.tap_w
    scratch[: panels * LEFT + LANES] = 0
    for k in range(depth):
        line = (start + k) // plan.out_w
        image = line // plan.out_h
        top = (line - image * plan.out_h) * plan.step_h + plan.start_h
        left = (start + k - line * plan.out_w) * plan.step_w + plan.start_w
        for r in range(plan.kernel_rows):
            at = r * run
            y = top + (first_row + r) * plan.tap_h
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


@kernel
def _sum_chunks(partial, plan, out):
    """out[i, j] = sum over chunks, first to last, of partial[chunk, i, j], for a 1x1 kernel."""
    rows, columns = out.shape
    for i in prange(rows):
        group, row = i // plan.channel_block, i % plan.channel_block
        for panel in range(partial.shape[2]):
            first = panel * PANEL
            count = min(PANEL, columns - first)
            for j in range(count):
                out[i, first + j] = partial[0, group, panel, row, j]
            for chunk in range(1, plan.chunks):
                for j in range(count):
                    out[i, first + j] += partial[chunk, group, panel, row, j]


@kernel
def _sum_taps(partial, plan, dw):
    """dw[o, c, (r, s)] = sum over chunks, first to last, of partial[chunk, group, (r, s, c), o].

    Goes through a panel of output channels at a time, since they lie side by side in `partial`.
    """
    outs, ins, _ = dw.shape
    channel_groups = (ins + plan.channel_block - 1) // plan.channel_block
    for panel in prange(partial.shape[2]):
        first = panel * PANEL
        count = min(PANEL, outs - first)
        total = np.empty(PANEL, np.float32)
        for c in range(ins):
            inside, channel = c // plan.channel_block, c % plan.channel_block
            channels = min(plan.channel_block, ins - inside * plan.channel_block)
            for r in range(plan.kernel_h):
                group = r // plan.kernel_rows * channel_groups + inside
                for s in range(plan.kernel_w):
                    row = (r % plan.kernel_rows * plan.kernel_w + s) * channels + channel
                    total[:] = partial[0, group, panel, row]
                    for chunk in range(1, plan.chunks):
                        for j in range(PANEL):
                            total[j] += partial[chunk, group, panel, row, j]
                    for j in range(count):
                        dw[first + j, c, r * plan.kernel_w + s] = total[j]
