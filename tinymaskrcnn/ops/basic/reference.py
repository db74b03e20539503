"""Elementwise arithmetic, reductions, matmul and indexing in NumPy. Two operands broadcast as
NumPy's do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


def subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a - b


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a * b


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b


def negative(a: np.ndarray) -> np.ndarray:
    return -a


def power(a: np.ndarray, exponent: float) -> np.ndarray:
    return a**exponent


def exp(a: np.ndarray) -> np.ndarray:
    return np.exp(a)


def log(a: np.ndarray) -> np.ndarray:
    return np.log(a)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b


def sum(a: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
    return np.asarray(a.sum(axis=axis, keepdims=keepdims))


def max_with_index(a: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The maximum along an axis and its index (the first of equal maxima); in both, that axis keeps
    length 1.
    """
    where = np.expand_dims(a.argmax(axis=axis), axis)
    return np.take_along_axis(a, where, axis), where


def max_grad(grad: np.ndarray, where: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Give the gradient to the element that was the maximum. In `grad` and `where` that axis has
    length 1.
    """
    out = np.zeros(shape, grad.dtype)
    np.put_along_axis(out, where, grad, axis)
    return out


def index(a: np.ndarray, where: Any) -> np.ndarray:
    return a[where]


def index_grad(grad: np.ndarray, where: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give each selected element its gradient, or their sum if it was selected several times."""
    out = np.zeros(shape, grad.dtype)
    np.add.at(out, where, grad)
    return out


def concat(arrays: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    return np.concatenate(arrays, axis=axis)


def split(a: np.ndarray, ends: np.ndarray, axis: int) -> list[np.ndarray]:
    """Cut an array along an axis, before each of `ends`."""
    return np.split(a, ends, axis=axis)


def transpose(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return a.transpose(axes)


def broadcast_to(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(a, shape)


def put_rows(parts: tuple[np.ndarray, ...], places: Sequence[np.ndarray]) -> np.ndarray:
    """Put row i of each part into row place[i] of the result. Together the places are all rows."""
    rows = np.concatenate(parts)
    ordered = np.empty_like(rows)
    ordered[np.concatenate(places)] = rows
    return ordered


def copy(a: np.ndarray) -> np.ndarray:
    return a.copy()


def accumulate(total: np.ndarray, a: np.ndarray) -> np.ndarray:
    """total += a. Returns the total."""
    total += a
    return total
