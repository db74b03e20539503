"""The updates of SGD and Muon on the GPU: one pass over memory each, one thread per value."""

import numpy as np
from numba import float32

from ...gpu.array import GpuArray, empty
from ...gpu.launch import F1, F, blocks, cuda, kernel
from ..cuda_sums import THREADS, block_sum

LARGE, SMALL = 2.0**64, 2.0**-64


def sgd_step(
    parameter: GpuArray,
    grad: GpuArray,
    velocity: GpuArray,
    lr: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    factors = lr, momentum, weight_decay, grad_scale
    _sgd_step[blocks(parameter.size)](parameter, grad, velocity, *factors)


def look_ahead(grad: GpuArray, velocity: GpuArray, momentum: float, grad_scale: float) -> GpuArray:
    direction = empty(grad.shape)
    _look_ahead[blocks(grad.size)](grad, velocity, momentum, grad_scale, direction)
    return direction


def descend(
    parameter: GpuArray, direction: GpuArray, lr: float, weight_decay: float, scale: float
) -> None:
    _descend[blocks(parameter.size)](parameter, direction, 1 - lr * weight_decay, lr * scale)


def sum_of_squares(array: GpuArray) -> float:
    """Sum each block in float32 on the device, and the blocks in float64 on the host. If a square
    overflows float32, sum again with all values scaled down.
    """
    total = _sum_of_squares(array, 1.0)
    if np.isinf(total):
        return _sum_of_squares(array, SMALL) * LARGE**2
    return total


def moving_average(average: GpuArray, value: GpuArray, share: float) -> None:
    _moving_average[blocks(average.size)](average, value, share)


def _sum_of_squares(array: GpuArray, scale: float) -> float:
    if array.size == 0:
        return 0.0
    partial = empty(blocks(array.size, 16 * THREADS))
    _squares[partial.size](array.flat, scale, partial)
    return float(partial.numpy().sum(dtype=np.float64))


@kernel(F1, F1, F1, F, F, F, F)
def _sgd_step(parameter, grad, velocity, lr, momentum, decay, scale):
    """velocity = momentum * velocity + (scale * grad + decay * parameter); parameter -= lr *
    velocity: thread i, i + all threads, ...
    """
    for i in range(cuda.grid(1), parameter.size, cuda.gridsize(1)):
        velocity[i] = momentum * velocity[i] + (scale * grad[i] + decay * parameter[i])
        parameter[i] -= lr * velocity[i]


@kernel(F1, F1, F, F, F1)
def _look_ahead(grad, velocity, momentum, scale, direction):
    """velocity = momentum * velocity + g, direction = g + momentum * velocity, with g = scale *
    grad: thread i, i + all threads, ...
    """
    for i in range(cuda.grid(1), grad.size, cuda.gridsize(1)):
        scaled = scale * grad[i]
        velocity[i] = momentum * velocity[i] + scaled
        direction[i] = scaled + momentum * velocity[i]


@kernel(F1, F1, F, F)
def _descend(parameter, direction, keep, step):
    """parameter = keep * parameter - step * direction: thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), parameter.size, cuda.gridsize(1)):
        parameter[i] = keep * parameter[i] - step * direction[i]


@kernel(F1, F, F1)
def _squares(array, scale, partial):
    """partial[b] = sum of (scale * array[i])^2 over block b's values; all blocks step through the
    array together.
    """
    sums = cuda.shared.array(THREADS, float32)
    t, total = cuda.threadIdx.x, float32(0)
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        value = scale * array[i]
        total += value * value
    total = block_sum(total, sums, t)
    if t == 0:
        partial[cuda.blockIdx.x] = total


@kernel(F1, F1, F)
def _moving_average(average, value, share):
    """average += share * (value - average): thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), average.size, cuda.gridsize(1)):
        average[i] += share * (value[i] - average[i])
