"""Buffers reused from step to step.

A fresh large array costs more than the arithmetic done on it: the operating system hands out its
pages one fault at a time. So kernels take their outputs from a pool. Each array of the pool has its
own base object, which NumPy keeps alive for every view, and for every view of a view. When the base
dies, the buffer is free again. Nobody has to return it by hand.

Threads may share the pool: buffers go in and out by `append` and `pop` of lists, which are atomic.
So there is no lock that a dying array could wait for.

Not for arrays below 16 KiB (malloc is faster), and not for device memory (gpu/pool.py).
"""

from __future__ import annotations

import weakref
from math import prod
from pickle import PickleBuffer

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 14
LIMIT = 1 << 31  # bytes of all buffers; beyond this, idle ones are released
PAGE = 4096  # buffers begin on a page: vector loads then never straddle two cache lines


class _Loan(weakref.ref):
    """Marks a buffer as in use until its base, the object that this refers to, dies."""

    __slots__ = ("buffer",)
    buffer: memoryview


_idle: dict[int, list[memoryview]] = {}  # buffers by size
_loans: dict[int, _Loan] = {}  # by id; a weak reference calls back only if somebody holds it
_sizes: list[int] = []  # bytes of each buffer, idle or in use


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """A C-contiguous array with arbitrary content, like np.empty.

    Args:
        shape: as for np.empty.
        dtype: float32 by default.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    buffer = _take(_rounded(size))
    base = PickleBuffer(buffer)  # not an array or memoryview, which NumPy would look through
    loan = _Loan(base, _end)
    loan.buffer = buffer
    _loans[id(loan)] = loan
    return np.ndarray(shape, dtype, base)  # type: ignore[arg-type]


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """A C-contiguous array of zeros, like np.zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def held() -> int:
    """Bytes of all buffers, idle or in use."""
    return sum(_sizes)


def release(enough: int = LIMIT) -> None:
    """Release buffers that no array uses, largest first, until there is room for `enough` bytes
    below the limit."""
    for size in sorted(_idle, reverse=True):
        while held() + enough > LIMIT and _pop(size) is not None:
            _sizes.remove(size)


def _rounded(size: int) -> int:
    """Round up to one of four sizes per doubling, so that nearly equal shapes share buffers."""
    step = 1 << max(size.bit_length() - 3, 12)
    return -(-size // step) * step


def _take(size: int) -> memoryview:
    """The most recently used idle buffer of this size, or of a size up to twice as large, so that
    one layer's buffer serves another layer's shape. If there is none, a new buffer.
    """
    fitting = size
    while fitting <= 2 * size:
        buffer = _pop(fitting)
        if buffer is not None:
            return buffer
        fitting = _rounded(fitting + 1)
    if held() + size > LIMIT:
        release(size)
    pages = np.empty(size + PAGE, np.uint8)
    start = -pages.__array_interface__["data"][0] % PAGE
    _sizes.append(size)
    return pages.data[start : start + size]


def _pop(size: int) -> memoryview | None:
    idle = _idle.get(size)
    try:
        return idle.pop() if idle else None
    except IndexError:  # another thread was faster
        return None


def _end(loan: _Loan) -> None:
    """The base has died, so no array uses the buffer: make it idle."""
    del _loans[id(loan)]
    _idle.setdefault(len(loan.buffer), []).append(loan.buffer)
