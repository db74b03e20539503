"""The updates of SGD and Muon, sums of squares and moving averages in NumPy. Arrays are (n,);
updates are in place.
"""

import numpy as np


def sgd_step(
    parameter: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray,
    lr: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """d = grad_scale * grad + weight_decay * parameter; velocity = momentum * velocity + d;
    parameter -= lr * velocity.
    """
    direction = grad * grad_scale + parameter * weight_decay
    velocity *= momentum
    velocity += direction
    parameter -= velocity * lr


def look_ahead(
    grad: np.ndarray, velocity: np.ndarray, momentum: float, grad_scale: float
) -> np.ndarray:
    """velocity = momentum * velocity + g with g = grad_scale * grad; returns g + momentum *
    velocity, Nesterov's direction, which looks one step ahead.
    """
    scaled = grad * grad_scale
    velocity *= momentum
    velocity += scaled
    return scaled + velocity * momentum


def descend(
    parameter: np.ndarray, direction: np.ndarray, lr: float, weight_decay: float, scale: float
) -> None:
    """parameter -= lr * (scale * direction + weight_decay * parameter)."""
    parameter -= lr * (direction * scale + parameter * weight_decay)


def sum_of_squares(array: np.ndarray) -> float:
    """Sum of array[i]^2, in float64."""
    wide = array.astype(np.float64)
    return float(wide @ wide)


def moving_average(average: np.ndarray, value: np.ndarray, share: float) -> None:
    """average += share * (value - average)."""
    average += (value - average) * share
