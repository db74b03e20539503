"""Convolution on the GPU as an implicit matrix product.

A convolution is the product of a matrix of patches, with one row per output pixel and one column
per tap and channel, and the weights. For a 3x3 kernel that matrix is nine times as large as the
map, so it is never stored: a block gathers the 64 x 16 piece that it needs into shared memory, and
from there on it is a matrix product like any other (ops/cuda_gemm.py).

One kernel, `gather`, does the forward pass, the gradient of the input, and the transposed
convolution; they differ in which input pixel a tap reads (`Reading`). The weight's gradient is the
transposed product, whose sum runs over all pixels of all images. Different blocks sum parts of it,
and the parts are added in order. No atomics: equal inputs give equal bits.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, int32, uint32

from ...gpu.array import GpuArray, empty
from ...gpu.launch import F1, F3, F4, I, blocks, cuda, device_function, kernel, tuple_of
from ..activations.cuda import relu_grad
from ..arguments import output_size
from ..basic.cuda import transpose
from ..cuda_gemm import DEPTH, LOADS, PITCH, SIDE, TILE, WIDE, multiply_tiles
from ..cuda_sums import LINE, sum_middle
from ..derive import derive

MOST_BLOCKS = 528  # for the weight's gradient: four per processor of a large GPU
SHORTEST = 4 * DEPTH  # the fewest pixels that a part sums


class Reading(NamedTuple):
    """Which input pixel an output pixel reads through tap (r, s), along each axis:

    (pixel * step + r * tap + offset) / divide; none if that is not a whole number or is outside.
    """

    kernel_w: int
    step_y: int
    step_x: int
    tap_y: int
    tap_x: int
    offset_y: int
    offset_x: int
    divide_y: int
    divide_x: int


def conv2d(x, weight, bias, residual, stride, padding, dilation, groups, relu, kept=None):
    grid = output_size(x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    y = empty((len(x), *grid, len(weight)))
    reading = forward_reading(weight.shape[3], stride, padding, dilation)
    packed = derive(kept, ("packed", groups), lambda: pack_forward(weight, groups))
    gather(x, packed, bias, residual, y, reading, relu)
    return y


def conv2d_grad_output(grad, y, relu):
    masked = relu_grad(grad, y) if relu else grad
    channels = grad.shape[3]
    return masked, sum_middle(masked.reshape(1, grad.size // channels, channels))[0]


def conv2d_grad_input(grad, weight, input_shape, stride, padding, dilation, groups, total=None):
    dx = empty(input_shape) if total is None else total
    reading = backward_reading(weight.shape[3], stride, padding, dilation)
    gather(grad, pack_backward(weight, groups), None, total, dx, reading, False)
    return dx


def conv2d_grad_weight(grad, x, weight_shape, stride, padding, dilation, groups):
    outs, ins, kernel_h, kernel_w = weight_shape
    depth, width = kernel_h * kernel_w * ins, outs // groups
    tiles = -(-width // WIDE), -(-depth // WIDE), groups
    pixels = grad.size // outs
    parts, stretch = _parts(pixels, tiles[0] * tiles[1] * groups)
    partial = empty((parts, groups, depth, width))
    reading = forward_reading(kernel_w, stride, padding, dilation)
    _grad_weight[tiles[0], tiles[1], groups * parts](grad, x, partial, reading, stretch)
    if parts > LINE:
        total = sum_middle(partial.reshape(1, parts, groups * depth * width))
        partial = total.reshape(1, groups, depth, width)
    dw = empty((groups, width, ins, kernel_h * kernel_w))
    _add_parts[blocks(dw.size)](partial, dw)
    return dw.reshape(weight_shape)


def gather(
    x: GpuArray,
    packed: GpuArray,
    bias: GpuArray | None,
    residual: GpuArray | None,
    y: GpuArray,
    reading: Reading,
    relu: bool,
) -> None:
    """Compute y (N, H, W, O) from x and weights packed as (groups, taps * ins, outs)."""
    groups, _, outs = packed.shape
    grid = -(-outs // WIDE), -(-(y.size // max(y.shape[3], 1)) // WIDE), groups
    given = packed.flat if bias is None else bias, y if residual is None else residual
    flags = bias is not None, residual is not None, relu
    _gather[grid](x, packed, *given, y, tuple(reading), *flags)


def forward_reading(kernel_w, stride, padding, dilation) -> Reading:
    return Reading(kernel_w, *stride, *dilation, -padding[0], -padding[1], 1, 1)


def backward_reading(kernel_w, stride, padding, dilation) -> Reading:
    """Seen from the input: which output pixel read this input pixel through a tap."""
    return Reading(kernel_w, 1, 1, -dilation[0], -dilation[1], *padding, *stride)


def pack_forward(weight, groups):
    """(O, C, kH, kW) -> (groups, kH * kW * C, O per group)."""
    grouped = _grouped(weight, groups)
    outs, ins, taps = grouped.shape[1:]
    return transpose(grouped, (0, 3, 2, 1)).reshape(groups, taps * ins, outs)


def pack_backward(weight, groups):
    """(O, C, kH, kW) -> (groups, kH * kW * O per group, C)."""
    grouped = _grouped(weight, groups)
    outs, ins, taps = grouped.shape[1:]
    return transpose(grouped, (0, 3, 1, 2)).reshape(groups, taps * outs, ins)


def _grouped(weight, groups):
    outs, ins, kernel_h, kernel_w = weight.shape
    return weight.reshape(groups, outs // groups, ins, kernel_h * kernel_w)


def _parts(pixels: int, tiles: int) -> tuple[int, int]:
    """How many parts to cut the pixels into, enough to fill a GPU, and how many pixels each has."""
    wanted = min(MOST_BLOCKS // tiles, pixels // SHORTEST)
    stretch = -(-max(pixels, 1) // max(wanted, 1))
    return -(-max(pixels, 1) // stretch), stretch


@device_function
def _pixel(x, n, h, w, c, divide_y, divide_x):
    """x[n, h / divide, w / divide, c], or 0 if there is no such pixel."""
    if n < 0 or h < 0 or w < 0:
        return float32(0)
    if divide_y > 1 or divide_x > 1:
        whole_h, whole_w = (
            uint32(uint32(h) // uint32(divide_y)),
            uint32(uint32(w) // uint32(divide_x)),
        )
        if int32(whole_h) * divide_y != h or int32(whole_w) * divide_x != w:
            return float32(0)
        h, w = int32(whole_h), int32(whole_w)
    if h >= x.shape[1] or w >= x.shape[2]:
        return float32(0)
    return x[n, h, w, c]


@kernel(F4, F3, F1, F4, F4, tuple_of(9), I, I, I, threads=(TILE, TILE), registers=128)
def _gather(x, weight, bias, residual, y, reading, with_bias, with_residual, relu):
    """y[m, o] = relu?(bias[o] + residual[m, o] + sum over taps and channels of pixel * weight).

    Output pixels m are the product's rows, channels o its columns. In block (o / 64, m / 64,
    group), thread (tx, ty) keeps the cells m = ty, ty + 16, ... by o = tx, tx + 16, ... in
    registers. The sum runs over k = tap * channels + channel, 16 at a time. Each thread gathers the
    values of four pixels for one k, so neighbouring threads read neighbouring channels; the places
    of its four pixels are computed once, before the loop.
    """
    tile_x = cuda.shared.array((DEPTH, PITCH), float32)
    tile_w = cuda.shared.array((DEPTH, PITCH), float32)
    sums = cuda.local.array((SIDE, SIDE), float32)
    of_x = cuda.local.array(SIDE, float32)
    image = cuda.local.array(LOADS, int32)
    first_y = cuda.local.array(LOADS, int32)
    first_x = cuda.local.array(LOADS, int32)
    kernel_w, step_y, step_x, tap_y, tap_x, offset_y, offset_x, divide_y, divide_x = reading
    tx, ty, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
    left, top, t = cuda.blockIdx.x * WIDE, cuda.blockIdx.y * WIDE, ty * TILE + tx
    height, width = y.shape[1], y.shape[2]
    pixels = y.shape[0] * height * width
    depth, outs = weight.shape[1], weight.shape[2]
    ins = x.shape[3] // weight.shape[0]
    own_k, own_m = t % DEPTH, t // DEPTH
    for load in range(LOADS):
        m = uint32(top + own_m + load * TILE)
        line = uint32(m // uint32(width))
        n = uint32(line // uint32(height))
        image[load] = int32(n) if int32(m) < pixels else int32(-1)
        first_y[load] = int32(line - uint32(n * uint32(height))) * step_y + offset_y
        first_x[load] = int32(m - uint32(line * uint32(width))) * step_x + offset_x
    for p in range(SIDE):
        for q in range(SIDE):
            sums[p, q] = float32(0)
    for start in range(0, depth, DEPTH):
        k = start + own_k
        tap = uint32(uint32(k) // uint32(ins))
        channel = k - int32(tap) * ins
        r = int32(uint32(tap // uint32(kernel_w)))
        s = int32(tap) - r * kernel_w
        for load in range(LOADS):
            n = image[load] if k < depth else int32(-1)
            h, w = first_y[load] + r * tap_y, first_x[load] + s * tap_x
            value = _pixel(x, n, h, w, group * ins + channel, divide_y, divide_x)
            tile_x[own_k, own_m + load * TILE] = value
        for load in range(LOADS):
            e = load * 256 + t
            j, row = e % WIDE, e // WIDE
            inside = left + j < outs and start + row < depth
            tile_w[row, j] = weight[group, start + row, left + j] if inside else float32(0)
        cuda.syncthreads()
        multiply_tiles(tile_x, tile_w, ty, tx, of_x, sums)
        cuda.syncthreads()
    for p in range(SIDE):
        m = uint32(top + ty + p * TILE)
        line = uint32(m // uint32(width))
        n = uint32(line // uint32(height))
        i, j = int32(line - uint32(n * uint32(height))), int32(m - uint32(line * uint32(width)))
        for q in range(SIDE):
            o = left + tx + q * TILE
            if int32(m) < pixels and o < outs:
                total, c = sums[p, q], group * outs + o
                if with_bias:
                    total += bias[c]
                if with_residual:
                    total += residual[int32(n), i, j, c]
                y[int32(n), i, j, c] = float32(0) if relu and total <= float32(0) else total


@kernel(F4, F4, F4, tuple_of(9), I, threads=(TILE, TILE), registers=128)
def _grad_weight(grad, x, partial, reading, stretch):
    """partial[part, group, k, o] = sum over the part's pixels m of patch[m, k] * grad[m, o].

    Rows are k = tap * channels + channel, columns are output channels; block (o / 64, k / 64, group
    and part). As in `gather`, but the sum runs over pixels, 16 at a time: a thread keeps its k, and
    so its tap and channel, and moves on through the pixels.
    """
    tile_x = cuda.shared.array((DEPTH, PITCH), float32)
    tile_g = cuda.shared.array((DEPTH, PITCH), float32)
    sums = cuda.local.array((SIDE, SIDE), float32)
    of_x = cuda.local.array(SIDE, float32)
    kernel_w, step_y, step_x, tap_y, tap_x, offset_y, offset_x, _, _ = reading
    groups, depth, outs = partial.shape[1], partial.shape[2], partial.shape[3]
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    part = int32(uint32(uint32(cuda.blockIdx.z) // uint32(groups)))
    group = cuda.blockIdx.z - part * groups
    left, top, t = cuda.blockIdx.x * WIDE, cuda.blockIdx.y * WIDE, ty * TILE + tx
    height, width = grad.shape[1], grad.shape[2]
    ins = x.shape[3] // groups
    own, row = t % WIDE, t // WIDE
    tap = uint32(uint32(top + own) // uint32(ins))
    channel = group * ins + top + own - int32(tap) * ins
    r = int32(uint32(tap // uint32(kernel_w)))
    s = int32(tap) - r * kernel_w
    for p in range(SIDE):
        for q in range(SIDE):
            sums[p, q] = float32(0)
    last = min((part + 1) * stretch, grad.shape[0] * height * width)
    for start in range(part * stretch, last, DEPTH):
        for load in range(LOADS):
            deep = row + load * (DEPTH // LOADS)
            m = uint32(start + deep)
            line = uint32(m // uint32(width))
            n = uint32(line // uint32(height))
            i, j = int32(line - uint32(n * uint32(height))), int32(m - uint32(line * uint32(width)))
            inside = int32(m) < last
            image = int32(n) if inside and top + own < depth else int32(-1)
            h, w = i * step_y + r * tap_y + offset_y, j * step_x + s * tap_x + offset_x
            tile_x[deep, own] = _pixel(x, image, h, w, channel, 1, 1)
            inside = inside and left + own < outs
            tile_g[deep, own] = (
                grad[int32(n), i, j, group * outs + left + own] if inside else float32(0)
            )
        cuda.syncthreads()
        multiply_tiles(tile_x, tile_g, ty, tx, of_x, sums)
        cuda.syncthreads()
    for p in range(SIDE):
        for q in range(SIDE):
            k, o = top + ty + p * TILE, left + tx + q * TILE
            if k < depth and o < outs:
                partial[part, group, k, o] = sums[p, q]


@kernel(F4, F4, registers=64)
def _add_parts(partial, dw):
    """dw[g, o, c, tap] = sum over parts of partial[part, g, tap * channels + c, o]: one thread per
    cell. Neighbouring threads read neighbours in `partial`, where most reads are.
    """
    depth, width, ins = partial.shape[2], partial.shape[3], dw.shape[2]
    for cell in range(cuda.grid(1), dw.size, cuda.gridsize(1)):
        row, o = cell // width, cell % width
        g, k = row // depth, row % depth
        total = float32(0)
        for part in range(partial.shape[0]):
            total += partial[part, g, k, o]
        dw[g, o, k % ins, k // ins] = total
