"""The basic operations on the CPU: NumPy's own compiled loops and BLAS, written into reused
buffers.

A Numba loop would not beat a NumPy ufunc on contiguous arrays: memory bounds both. NumPy lacks the
reuse of pages (memory.py), and a fast scatter when no place is hit twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import memory


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.add(a, b, out=_output(a, b))


def subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.subtract(a, b, out=_output(a, b))


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.multiply(a, b, out=_output(a, b))


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=_output(a, b))


def negative(a: np.ndarray) -> np.ndarray:
    return np.negative(a, out=_output(a, a))


def power(a: np.ndarray, exponent: float) -> np.ndarray:
    return np.power(a, exponent, out=_output(a, a))


def exp(a: np.ndarray) -> np.ndarray:
    return np.exp(a, out=_output(a, a))


def log(a: np.ndarray) -> np.ndarray:
    return np.log(a, out=_output(a, a))


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape[-1] == 1:  # an outer product: four times faster as one pass than through BLAS
        return multiply(a, b)
    return np.matmul(a, b)


def sum(a: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
    return np.asarray(np.add.reduce(a, axis=axis, keepdims=keepdims))


def max_with_index(a: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    where = np.argmax(a, axis=axis, keepdims=True)
    return np.maximum.reduce(a, axis=axis, keepdims=True), where


def max_grad(grad: np.ndarray, where: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    out = memory.zeros(shape, grad.dtype)
    np.put_along_axis(out, where, grad, axis)
    return out


def index(a: np.ndarray, where: Any) -> np.ndarray:
    if not _lists_rows(where, a):
        return a[where]
    rows = memory.empty((len(where), *a.shape[1:]), a.dtype)
    return np.take(a, where, axis=0, out=rows, mode="wrap")


def index_grad(grad: np.ndarray, where: Any, shape: tuple[int, ...]) -> np.ndarray:
    out = memory.zeros(shape, grad.dtype)
    if _hits_once(where):
        out[where] = grad
    else:
        np.add.at(out, where, grad)
    return out


def concat(arrays: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    shape = list(arrays[0].shape)
    shape[axis] = int(np.add.reduce([a.shape[axis] for a in arrays]))
    return np.concatenate(
        arrays, axis=axis, out=memory.empty(tuple(shape), np.result_type(*arrays))
    )


def split(a: np.ndarray, ends: np.ndarray, axis: int) -> list[np.ndarray]:
    return np.split(a, ends, axis=axis)


def transpose(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return a.transpose(axes)


def broadcast_to(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(a, shape)


def put_rows(parts: tuple[np.ndarray, ...], places: Sequence[np.ndarray]) -> np.ndarray:
    rows = int(np.add.reduce([len(part) for part in parts]))
    ordered = memory.empty((rows, *parts[0].shape[1:]), parts[0].dtype)
    for part, place in zip(parts, places, strict=True):
        ordered[place] = part
    return ordered


def copy(a: np.ndarray) -> np.ndarray:
    return a.copy()


def accumulate(total: np.ndarray, a: np.ndarray) -> np.ndarray:
    total += a
    return total


def _output(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return memory.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))


def _lists_rows(where: Any, a: np.ndarray) -> bool:
    """Whether an index is an array of integers, all of them rows of `a`."""
    if not isinstance(where, np.ndarray) or where.ndim != 1 or where.dtype.kind != "i":
        return False
    return where.size > 0 and -len(a) <= where.min() and where.max() < len(a)


def _hits_once(where: Any) -> bool:
    """Whether an index surely selects no element twice: slices and integers, a mask, or one
    ascending array of integers.
    """
    parts = where if isinstance(where, tuple) else (where,)
    arrays = [p for p in parts if isinstance(p, (np.ndarray, list))]
    if not arrays:
        return True
    if len(arrays) > 1:
        return False
    array = np.asarray(arrays[0])
    return array.dtype == bool or bool(
        array.ndim == 1 and np.all(array[1:] > array[:-1]) and (array.size == 0 or array[0] >= 0)
    )
