"""Buffers reused from step to step.

A fresh large array costs more than the arithmetic done on it: the kernel hands out its pages one
fault at a time. So kernels take their outputs from a pool. A buffer is free again when nobody holds
an array on it, which Python's reference count tells: NumPy makes every view, and every view of a
view, hold the buffer itself. Nothing has to be given back by hand.

Not for arrays below 16 KiB (malloc is faster) and not for device memory.
"""

from __future__ import annotations

import sys
from math import prod

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 14
LIMIT = 1 << 31  # bytes of all buffers; beyond, idle ones are let go of
PAGE = 4096  # buffers begin on a page: vector loads then never straddle two cache lines
_IDLE = 3  # references to a free buffer: its entry, the loop variable, getrefcount's argument

_buffers: dict[int, list[tuple[np.ndarray, int]]] = {}  # by size: (buffer, where its page begins)
_total = 0


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array of any content, C-contiguous, as np.empty.

    Args:
        shape: as for np.empty. dtype: float32 by default.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    buffer, start = _buffer(_rounded(size))
    return buffer[start : start + size].view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array of zeros, C-contiguous, as np.zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def release(enough: int = LIMIT) -> None:
    """Let go of buffers that no array uses, largest first, until there is room for `enough` bytes
    below the limit."""
    global _total
    for size in sorted(_buffers, reverse=True):
        kept = []
        for buffer, start in _buffers[size]:
            if _total + enough > LIMIT and sys.getrefcount(buffer) <= _IDLE:
                _total -= size
            else:
                kept.append((buffer, start))
        _buffers[size] = kept


def _rounded(size: int) -> int:
    """Up to the next of four sizes an octave, so that nearly equal shapes share buffers."""
    step = 1 << max(size.bit_length() - 3, 12)
    return -(-size // step) * step


def _buffer(size: int) -> tuple[np.ndarray, int]:
    """The first idle buffer of this size, or of the next larger one up to twice as large, so that
    what one layer leaves serves another's shape; a new one where there is none."""
    global _total
    fitting = size
    while fitting <= 2 * size:
        for buffer, start in _buffers.get(fitting, ()):
            if sys.getrefcount(buffer) == _IDLE:
                return buffer, start
        fitting = _rounded(fitting + 1)
    if _total + size > LIMIT:
        release(size)
    buffer = np.empty(size + PAGE, np.uint8)
    start = -buffer.__array_interface__["data"][0] % PAGE
    _total += size
    _buffers.setdefault(size, []).append((buffer, start))
    return buffer, start
