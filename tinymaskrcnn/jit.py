"""How every CPU kernel is compiled: one decorator, one cache folder, one threading layer.

Compiled code is kept in $TINYMASKRCNN_CACHE, else $NUMBA_CACHE_DIR, else ~/.cache/tinymaskrcnn, in
a folder named after the sources that kernels of other files call into: Numba recompiles a kernel
when its own file changes, not when such a one does.
"""

from __future__ import annotations

import functools
import hashlib
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import threads

# Without nnan and ninf: NaN and infinity must stay visible.
_FAST_MATH = {"contract", "reassoc", "arcp", "nsz"}
_SHARED = ("simd*.py", "conv2d/winograd*.py", "conv2d/cpu_weights.py")  # in ops/


def _cache_folder() -> Path:
    given = os.environ.get("TINYMASKRCNN_CACHE") or os.environ.get("NUMBA_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    base = Path(given) if given else home / "tinymaskrcnn"
    ops = Path(__file__).parent / "ops"
    shared = [Path(__file__), *(file for names in _SHARED for file in sorted(ops.glob(names)))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in shared)).hexdigest()[:12]
    return base if base.name == digest else base / digest


CACHE_FOLDER = _cache_folder()
os.environ["NUMBA_CACHE_DIR"] = str(CACHE_FOLDER)  # Numba reads it when it is imported

# How often idle threads look for work before they sleep: for about 0.3 ms, as long as most pauses
# between parallel regions. Waking a thread costs more than most regions take, but one that spins
# beside a busy program keeps the core from the very thread that it waits for (README, Speed).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("NUMBA_NUM_THREADS", str(threads.granted()))

import numba  # noqa: E402

numba.config.CACHE_DIR = str(CACHE_FOLDER)
# A parallel region costs 3 us with omp, 65 with workqueue.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


def _threads_spin() -> bool:
    try:
        return numba.threading_layer() == "omp"
    except ValueError:  # nothing has run in parallel yet
        return False


_pool = threads.Pool(
    numba.config.NUMBA_NUM_THREADS, numba.get_num_threads, numba.set_num_threads, _threads_spin
)
threads.register(_pool)

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
}


def kernel(function: Callable) -> Any:
    """Compile for all threads: loops over `prange` are split among them."""
    return numba.njit(parallel=True, fastmath=_FAST_MATH, **_OPTIONS)(function)


def serial(function: Callable) -> Any:
    """Compile for one thread: for small work, and for helpers called inside a kernel."""
    return numba.njit(fastmath=_FAST_MATH, **_OPTIONS)(function)


def kernel_from(least: int, size: Callable[..., int]) -> Callable:
    """As `kernel` where size(*arguments) >= least; below, one thread does it, as `serial`.

    A parallel region costs 3 us where threads spin, and 50 where they sleep: small work is done
    before the others are awake, and beside other programs it does not wait for them.
    """
    return _by_size(kernel, serial, least, size)


def exact_kernel_from(least: int, size: Callable[..., int]) -> Callable:
    """As `kernel_from`, with every rounding as `exact_kernel` has it."""
    return _by_size(exact_kernel, exact_serial, least, size)


def _by_size(parallel: Callable, alone: Callable, least: int, size: Callable[..., int]) -> Callable:
    def compiled(function: Callable) -> Any:
        twin = types.FunctionType(function.__code__, function.__globals__)
        twin.__module__ = function.__module__
        twin.__qualname__ = f"{function.__qualname__}_alone"  # Numba's cache knows it by this name
        by_all, by_one = parallel(function), alone(twin)

        @functools.wraps(function)
        def run(*arguments: Any) -> Any:
            return (by_all if size(*arguments) >= least else by_one)(*arguments)

        return run

    return compiled


def exact_kernel(function: Callable) -> Any:
    """As `kernel`, with every float32 rounding of the expression as it is written.

    Fast math fuses a product into a sum and divides by multiplying with a reciprocal, which is off
    by the last bit. Where a rounding decides something (an IoU at the threshold, two anchors
    equally good, the pixel in which a sample falls) this takes its place.
    """
    return numba.njit(parallel=True, fastmath=False, **_OPTIONS)(function)


def exact_serial(function: Callable) -> Any:
    """As `serial`, with every rounding as written. False is said outright: a helper would inherit
    its caller's fast math.
    """
    return numba.njit(fastmath=False, **_OPTIONS)(function)


def max_threads() -> int:
    """How many threads this machine has for kernels."""
    return numba.config.NUMBA_NUM_THREADS


def set_threads(count: int) -> None:
    """Use this many threads. Raises ValueError below one or above what the machine has."""
    if not 1 <= count <= max_threads():
        raise ValueError(f"threads: expected 1 to {max_threads()}, got {count}")
    numba.set_num_threads(count)
    _pool.fixed = True


def cache_is_cold() -> bool:
    """Whether nothing has been compiled yet on this machine for this version."""
    return not CACHE_FOLDER.exists() or not any(CACHE_FOLDER.rglob("*.nbc"))
