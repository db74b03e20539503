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

SMALL = 1 << 14
LIMIT = 1 << 30  # bytes of free buffers kept before the pool lets go of them
_IDLE = 3  # references to a free buffer: the list, the loop variable, getrefcount's argument

_buffers: dict[int, list[np.ndarray]] = {}
_total = 0


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """An array of any content, C-contiguous, as np.empty.

    Args:
        shape: as for np.empty. dtype: float32 by default.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return _buffer(_rounded(size))[:size].view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """An array of zeros, C-contiguous, as np.zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def release() -> None:
    """Let go of every buffer that no array uses."""
    global _total
    for size, buffers in _buffers.items():
        used = [buffer for buffer in buffers if sys.getrefcount(buffer) > _IDLE]
        _total -= size * (len(buffers) - len(used))
        _buffers[size] = used


def _rounded(size: int) -> int:
    """Up to the next of four sizes an octave, so that nearly equal shapes share buffers."""
    step = 1 << max(size.bit_length() - 3, 12)
    return -(-size // step) * step


def _buffer(size: int) -> np.ndarray:
    global _total
    same = _buffers.setdefault(size, [])
    for buffer in same:
        if sys.getrefcount(buffer) == _IDLE:
            return buffer
    if _total + size > LIMIT:
        release()
    buffer = np.empty(size, np.uint8)
    _total += size
    _buffers[size].append(buffer)
    return buffer
