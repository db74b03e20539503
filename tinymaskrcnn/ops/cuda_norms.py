"""The kernels that batch and group normalisation share on the GPU.

Maps are (S, P, C), samples by pixels by channels, and statistics are (S, G). For a batch norm there
is one sample, with one statistic per channel; for a group norm each image is a sample, with one
statistic per group of channels. Sums over pixels are column sums (cuda_sums.py); everything else is
one pass over the map.
"""

import numpy as np
from numba import float32

from ..gpu.array import GpuArray, empty
from ..gpu.launch import F1, F2, F3, F, I, blocks, cuda, kernel
from ..gpu.scalars import divided, square_root
from .cuda_sums import COLUMNS, ROWS, parts_of, sum_middle

STRETCH = 256  # pixels per part


def moments(x: GpuArray, groups: int) -> tuple[GpuArray, GpuArray]:
    """Mean and biased variance of x (S, P, C), each (S, groups). Squares are summed when the mean
    is known, so that float32 keeps its digits.
    """
    mean = _means(x, groups, x.shape[1])
    parts, stretch = parts_of(x.shape[1], STRETCH)
    partial = empty((x.shape[0], parts, x.shape[2]))
    _squares[_column_grid(partial)](x, mean, stretch, partial)
    return mean, _means(partial, groups, x.shape[1])


def normalise(
    x: GpuArray,
    mean: GpuArray,
    var: GpuArray,
    weight: GpuArray,
    bias: GpuArray,
    residual: GpuArray | None,
    eps: float,
    relu: bool,
) -> GpuArray:
    """relu?((x - mean) / sqrt(var + eps) * weight + bias + residual), (S, P, C)."""
    y = empty(x.shape)
    given = x if residual is None else residual.reshape(x.shape)
    flags = residual is not None, relu
    _normalise[blocks(y.size)](x, mean, var, weight, bias, given, eps, *flags, y)
    return y


def normalise_grad(
    grad: GpuArray,
    x: GpuArray,
    y: GpuArray | None,
    weight: GpuArray,
    mean: GpuArray,
    var: GpuArray,
    eps: float,
) -> tuple[GpuArray, GpuArray, GpuArray]:
    """Gradients of x (S, P, C), weight and bias (C,); give y only if a ReLU masks the gradient."""
    samples, pixels, channels = x.shape
    masked, y = y is not None, grad if y is None else y
    parts, stretch = parts_of(pixels, STRETCH)
    partial, products = empty((samples, parts, channels)), empty((samples, parts, channels))
    _grad_sums[_column_grid(partial)](
        grad, y, x, mean, var, eps, masked, stretch, partial, products
    )
    sums, products = sum_middle(partial), sum_middle(products)  # (S, C) each
    mean_sum, mean_product = empty(mean.shape), empty(mean.shape)
    _group_means[blocks(mean.size)](sums, products, weight, pixels, mean_sum, mean_product)
    dx = empty(x.shape)
    statistics = mean, var, weight, mean_sum, mean_product
    _grad_input[blocks(dx.size)](grad, y, x, *statistics, eps, masked, dx)
    of_channels = (a.reshape(1, samples, channels) for a in (products, sums))
    dweight, dbias = (sum_middle(a)[0] for a in of_channels)
    return dx, dweight, dbias


def _means(x: GpuArray, groups: int, pixels: int) -> GpuArray:
    """Means per group (S, groups) of x (S, P, C), which holds pixels or partial sums of `pixels`
    pixels.
    """
    samples, _, channels = x.shape
    size = channels // groups
    if size == 1:
        return sum_middle(x, max(pixels, 1))
    sums = sum_middle(x).reshape(samples * groups, size, 1)
    return sum_middle(sums, max(pixels * size, 1)).reshape(samples, groups)


def _column_grid(partial: GpuArray) -> tuple[int, int, int]:
    return -(-partial.shape[2] // COLUMNS), partial.shape[1], partial.shape[0]


@kernel(F3, F2, I, F3, threads=(COLUMNS, ROWS))
def _squares(x, mean, stretch, partial):
    """partial[s, p, c] = sum of (x[s, i, c] - mean)^2 over part p: block (c / 32, p, s), like
    `columns`.
    """
    sums = cuda.shared.array((ROWS, COLUMNS), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    c, p, s = cuda.blockIdx.x * COLUMNS + tx, cuda.blockIdx.y, cuda.blockIdx.z
    total = float32(0)
    if c < x.shape[2]:
        centre = mean[s, c // (x.shape[2] // mean.shape[1])]
        for i in range(p * stretch + ty, min((p + 1) * stretch, x.shape[1]), ROWS):
            difference = x[s, i, c] - centre
            total += difference * difference
    sums[ty, tx] = total
    cuda.syncthreads()
    if ty == 0 and c < x.shape[2]:
        total = float32(0)
        for row in range(ROWS):
            total += sums[row, tx]
        partial[s, p, c] = total


@kernel(F3, F2, F2, F1, F1, F3, F, I, I, F3, registers=64)
def _normalise(x, mean, var, weight, bias, residual, eps, with_residual, relu, y):
    """y[s, i, c], one thread per cell: one read and one write of the map, whatever is fused in."""
    pixels, channels = x.shape[1], x.shape[2]
    size = channels // mean.shape[1]
    for cell in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        pixel, c = cell // channels, cell % channels
        s, i = pixel // pixels, pixel % pixels
        g = c // size
        scale = divided(weight[c], square_root(var[s, g] + eps))
        value = (x[s, i, c] - mean[s, g]) * scale + bias[c]
        if with_residual:
            value += residual[s, i, c]
        y[s, i, c] = float32(0) if relu and value <= float32(0) else value


@kernel(F3, F3, F3, F2, F2, F, I, I, F3, F3, threads=(COLUMNS, ROWS), registers=64)
def _grad_sums(grad, y, x, mean, var, eps, masked, stretch, partial, products):
    """Sums of grad, and of grad times the normalised x, over part p: block (c / 32, p, s), like
    `columns`.
    """
    sums = cuda.shared.array((ROWS, COLUMNS), float32)
    sums_of_products = cuda.shared.array((ROWS, COLUMNS), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    c, p, s = cuda.blockIdx.x * COLUMNS + tx, cuda.blockIdx.y, cuda.blockIdx.z
    total, product = float32(0), float32(0)
    if c < x.shape[2]:
        g = c // (x.shape[2] // mean.shape[1])
        centre, scale = mean[s, g], divided(float32(1), square_root(var[s, g] + eps))
        for i in range(p * stretch + ty, min((p + 1) * stretch, x.shape[1]), ROWS):
            value = grad[s, i, c]
            if masked and y[s, i, c] <= float32(0):
                value = float32(0)
            total += value
            product += value * ((x[s, i, c] - centre) * scale)
    sums[ty, tx] = total
    sums_of_products[ty, tx] = product
    cuda.syncthreads()
    if ty == 0 and c < x.shape[2]:
        total, product = float32(0), float32(0)
        for row in range(ROWS):
            total += sums[row, tx]
            product += sums_of_products[row, tx]
        partial[s, p, c] = total
        products[s, p, c] = product


@kernel(F2, F2, F1, I, F2, F2, registers=80)
def _group_means(sums, products, weight, pixels, mean_sum, mean_product):
    """Means per group of the normalised x's gradient, and of the two's product: thread (s, g)."""
    groups = mean_sum.shape[1]
    size = sums.shape[1] // groups
    for cell in range(cuda.grid(1), mean_sum.size, cuda.gridsize(1)):
        s, g = cell // groups, cell % groups
        total, product = float32(0), float32(0)
        for c in range(g * size, (g + 1) * size):
            total += sums[s, c] * weight[c]
            product += products[s, c] * weight[c]
        count = float32(pixels) * float32(size)
        mean_sum[s, g] = divided(total, count)
        mean_product[s, g] = divided(product, count)


@kernel(F3, F3, F3, F2, F2, F1, F2, F2, F, I, F3, registers=80)
def _grad_input(grad, y, x, mean, var, weight, mean_sum, mean_product, eps, masked, dx):
    """dx = (grad weight - mean_sum - normalised mean_product) / std: one thread per cell.

    The statistics depend on x too; that is why two means are subtracted.
    """
    pixels, channels = x.shape[1], x.shape[2]
    size = channels // mean.shape[1]
    for cell in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        pixel, c = cell // channels, cell % channels
        s, i = pixel // pixels, pixel % pixels
        g = c // size
        value = grad[s, i, c]
        if masked and y[s, i, c] <= float32(0):
            value = float32(0)
        scale = divided(float32(1), square_root(var[s, g] + eps))
        normalised = (x[s, i, c] - mean[s, g]) * scale
        value = value * weight[c] - mean_sum[s, g] - normalised * mean_product[s, g]
        dx[s, i, c] = value * scale


def as_samples(x: GpuArray) -> GpuArray:
    """Each image is a sample: (N, H * W, C)."""
    return x.reshape(len(x), int(np.prod(x.shape[1:3])), x.shape[3])


def as_one_sample(x: GpuArray) -> GpuArray:
    """The whole batch is one sample: (1, N * H * W, C)."""
    return x.reshape(1, int(np.prod(x.shape[:3])), x.shape[3])
