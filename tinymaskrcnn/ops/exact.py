"""Compilation of kernels whose float32 roundings must be those of the written expression.

The usual decorators (jit.py) let the compiler fuse a product into a sum and divide by multiplying
with a reciprocal: faster, and off by the last bit. Where a rounding decides something (an IoU at
the threshold, two anchors equally good, the pixel in which a sample falls) these take their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..jit import numba

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": False,  # said outright: a helper would inherit its caller's
}


def exact_kernel(function: Callable) -> Any:
    """Compile for all threads: loops over `prange` are split among them."""
    return numba.njit(parallel=True, **_OPTIONS)(function)


def exact_serial(function: Callable) -> Any:
    """Compile for one thread: for small work, and for helpers called inside a kernel."""
    return numba.njit(**_OPTIONS)(function)
