"""SGD's update, the sum of squares and the moving average in one pass over memory each.

NumPy writes a temporary for every operator: ten passes over the parameters instead of the five
(three read, two written) that the update needs. Bound by memory, which one core nearly fills, and
called for many small arrays, which threads would only slow down: hence one thread.
"""

import numpy as np

from ...jit import serial


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
    return float(_sum_of_squares(np.ascontiguousarray(array)))


def moving_average(average: np.ndarray, value: np.ndarray, share: float) -> None:
    _moving_average(average, value, np.float32(share))


@serial
def _sgd_step(parameter, grad, velocity, factors):
    """d = scale * grad + decay * parameter; velocity = momentum * velocity + d; parameter -= lr *
    velocity.
    """
    lr, momentum, decay, scale = factors[0], factors[1], factors[2], factors[3]
    for i in range(parameter.size):
        velocity[i] = momentum * velocity[i] + (scale * grad[i] + decay * parameter[i])
        parameter[i] -= lr * velocity[i]


@serial
def _sum_of_squares(array):
    """In float64: the square of a float32 can overflow float32."""
    total = 0.0
    for i in range(array.size):
        value = np.float64(array[i])
        total += value * value
    return total


@serial
def _moving_average(average, value, share):
    for i in range(average.size):
        average[i] += share * (value[i] - average[i])
