"""Buffers reused from step to step.

A fresh large array costs more than the arithmetic done on it: the kernel hands out its pages one
fault at a time. So kernels take their outputs from a pool. Each array of the pool has a base of its
own, and NumPy makes every view, and every view of a view, keep that alive. When the base dies, the
buffer is free again. Nothing has to be given back by hand.

Threads may share the pool: buffers go in and out by `append` and `pop` of lists, which are atomic,
so there is no lock that a dying array could wait for.

Not for arrays below 16 KiB (malloc is faster) and not for device memory.
"""

from __future__ import annotations

import weakref
from math import prod
from pickle import PickleBuffer

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 14
LIMIT = 1 << 31  # bytes of all buffers; beyond, idle ones are let go of
PAGE = 4096  # buffers begin on a page: vector loads then never straddle two cache lines


class _Loan(weakref.ref):
    """A buffer in use, until the base that this refers to dies."""

    __slots__ = ("buffer",)
    buffer: memoryview


_idle: dict[int, list[memoryview]] = {}  # buffers by size
_loans: dict[int, _Loan] = {}  # by id; a weak reference calls back only while it is kept
_sizes: list[int] = []  # of all buffers, idle or not


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array of any content, C-contiguous, as np.empty.

    Args:
        shape: as for np.empty. dtype: float32 by default.
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
    """An array of zeros, C-contiguous, as np.zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def held() -> int:
    """Bytes of all buffers, idle or not."""
    return sum(_sizes)


def release(enough: int = LIMIT) -> None:
    """Let go of buffers that no array uses, largest first, until there is room for `enough` bytes
    below the limit."""
    for size in sorted(_idle, reverse=True):
        while held() + enough > LIMIT and _pop(size) is not None:
            _sizes.remove(size)


def _rounded(size: int) -> int:
    """Up to the next of four sizes an octave, so that nearly equal shapes share buffers."""
    step = 1 << max(size.bit_length() - 3, 12)
    return -(-size // step) * step


def _take(size: int) -> memoryview:
    """The idle buffer of this size that was used last, or one of the next larger size up to twice
    as large, so that what one layer leaves serves another's shape; a new one where there is none.
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
    """Its base has died: nobody holds an array on the buffer."""
    del _loans[id(loan)]
    _idle.setdefault(len(loan.buffer), []).append(loan.buffer)
