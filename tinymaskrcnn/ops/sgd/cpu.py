"""SGD's update, the sum of squares and the moving average in one pass over memory each.

NumPy writes a temporary for every operator: ten passes over the parameters instead of the five
(three read, two written) that the update needs. All of this is bound by memory bandwidth.
"""

import numpy as np
from numba import prange

from ...jit import kernel

BLOCK = 1 << 14  # fixed, so that sums are made in the same order at any number of threads


def sgd_step(
    parameter: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray,
    lr: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    factors = np.array([lr, momentum, weight_decay, grad_scale], np.float32)
    _sgd_step(parameter, np.ascontiguousarray(grad), velocity, factors)


def sum_of_squares(array: np.ndarray) -> float:
    return float(_sums_of_squares(np.ascontiguousarray(array)).sum())


def moving_average(average: np.ndarray, value: np.ndarray, share: float) -> None:
    _moving_average(average, value, np.float32(share))


@kernel
def _sgd_step(parameter, grad, velocity, factors):
    """d = scale * grad + decay * parameter; velocity = momentum * velocity + d; parameter -= lr *
    velocity.
    """
    lr, momentum, decay, scale = factors[0], factors[1], factors[2], factors[3]
    for i in prange(parameter.size):
        velocity[i] = momentum * velocity[i] + (scale * grad[i] + decay * parameter[i])
        parameter[i] -= lr * velocity[i]


@kernel
def _sums_of_squares(array):
    """Of each block of BLOCK elements, in float64: the square of a float32 can overflow float32."""
    blocks = (array.size + BLOCK - 1) // BLOCK
    sums = np.zeros(blocks, np.float64)
    for block in prange(blocks):
        total = 0.0
        for i in range(block * BLOCK, min(array.size, (block + 1) * BLOCK)):
            value = np.float64(array[i])
            total += value * value
        sums[block] = total
    return sums


@kernel
def _moving_average(average, value, share):
    for i in prange(average.size):
        average[i] += share * (value[i] - average[i])
