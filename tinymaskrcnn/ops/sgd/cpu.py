"""The updates of SGD and Muon, sums of squares and moving averages in one pass over memory each.

NumPy writes a temporary array for every operator: ten passes over the parameters instead of the
five (three reads, two writes) that the update needs. One thread does the work: the limit is memory
bandwidth, which one core nearly exhausts, and for the many small arrays more threads would only be
slower.
"""

import numpy as np

from ... import memory
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


def look_ahead(
    grad: np.ndarray, velocity: np.ndarray, momentum: float, grad_scale: float
) -> np.ndarray:
    direction = memory.empty(grad.shape)
    factors = np.array([momentum, grad_scale], np.float32)
    _look_ahead(np.ascontiguousarray(grad), velocity, factors, direction)
    return direction


def descend(
    parameter: np.ndarray, direction: np.ndarray, lr: float, weight_decay: float, scale: float
) -> None:
    factors = np.array([1 - lr * weight_decay, lr * scale], np.float32)
    _descend(parameter, np.ascontiguousarray(direction), factors)


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
def _look_ahead(grad, velocity, factors, direction):
    momentum, scale = factors[0], factors[1]
    for i in range(grad.size):
        scaled = scale * grad[i]
        velocity[i] = momentum * velocity[i] + scaled
        direction[i] = scaled + momentum * velocity[i]


@serial
def _descend(parameter, direction, factors):
    """parameter = (1 - lr * decay) * parameter - lr * scale * direction."""
    keep, step = factors[0], factors[1]
    for i in range(parameter.size):
        parameter[i] = keep * parameter[i] - step * direction[i]


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
