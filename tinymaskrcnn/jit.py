"""Compile CPU kernels, and choose the threads that run them.

Any Python thread may run kernels. Without OpenMP and TBB, Numba's own threading layer (workqueue)
ends the process if two threads run kernels at once; here they wait for each other.

Not here: where compiled kernels are kept (kernel_cache.py), and how many threads are free
(threads.py).
"""

from __future__ import annotations

import functools
import os
import threading
import types
from collections.abc import Callable
from typing import Any

from . import threads
from .errors import InputError

# Without nnan and ninf: NaN and infinity must stay visible.
_FAST_MATH = {"contract", "reassoc", "arcp", "nsz"}

# How often idle threads look for work before they sleep: for about 0.3 ms, as long as most pauses
# between parallel regions. Waking a thread costs more than most regions take. But beside a busy
# program, a spinning thread takes the core from the very thread it waits for.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("NUMBA_NUM_THREADS", str(threads.granted()))

import numba  # noqa: E402
from numba.core.registry import CPUDispatcher  # noqa: E402

from . import kernel_cache  # noqa: E402

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


def kernel(function: Callable) -> Any:
    """Compile for all threads, which share the iterations of `prange` loops."""
    return _compiled(function, _FAST_MATH, parallel=True)


def serial(function: Callable) -> Any:
    """Compile for one thread: for small work, and for helpers called inside a kernel."""
    return _compiled(function, _FAST_MATH)


def kernel_from(least: int, size: Callable[..., int]) -> Callable:
    """Compile twice: as `kernel` for size(*arguments) >= least, as `serial` for less work.

    A parallel region costs 3 us if the threads spin, and 50 us if they sleep: one thread is done
    with small work before the others are awake, and need not wait for them beside other programs.
    """
    return _by_size(kernel, serial, least, size)


def exact_kernel_from(least: int, size: Callable[..., int]) -> Callable:
    """As `kernel_from`, with the roundings of `exact_kernel`."""
    return _by_size(exact_kernel, exact_serial, least, size)


def _by_size(parallel: Callable, alone: Callable, least: int, size: Callable[..., int]) -> Callable:
    def compiled(function: Callable) -> Any:
        twin = types.FunctionType(function.__code__, function.__globals__)
        twin.__module__ = function.__module__
        twin.__qualname__ = f"{function.__qualname__}_alone"  # the cache knows it by this name
        by_all, by_one = parallel(function), alone(twin)

        @functools.wraps(function)
        def run(*arguments: Any) -> Any:
            return (by_all if size(*arguments) >= least else by_one)(*arguments)

        return run

    return compiled


def exact_kernel(function: Callable) -> Any:
    """As `kernel`, but round to float32 exactly as the expression is written.

    Fast math fuses a product into a sum and divides by multiplying with a reciprocal, which changes
    the last bit. Use this where a rounding decides something: an IoU at the threshold, a tie of two
    anchors, the pixel that a sample falls into.
    """
    return _compiled(function, False, parallel=True)


def exact_serial(function: Callable) -> Any:
    """As `serial`, with the roundings of `exact_kernel`."""
    return _compiled(function, False)  # not None, with which a helper inherits its caller's


def _compiled(function: Callable, fastmath: Any, parallel: bool = False) -> Any:
    compiled = numba.njit(
        parallel=parallel, fastmath=fastmath, nogil=True, boundscheck=False, error_model="numpy"
    )(function)
    if not numba.config.DISABLE_JIT:
        compiled._cache = kernel_cache.KernelCache(function)
        if parallel:
            compiled.__class__ = _Parallel
    return compiled


class _Parallel(CPUDispatcher):
    """A kernel for all threads. The first call decides how all kernels are called from Python, so
    that later calls cost nothing if there is nothing to do.
    """


_one_at_a_time = threading.RLock()


def _first_call(self: _Parallel, *arguments: Any) -> Any:
    numba.get_num_threads()  # loads the threading layer
    queued = numba.threading_layer() == "workqueue"
    _Parallel.__call__ = _queued_call if queued else CPUDispatcher.__call__  # type: ignore
    return self(*arguments)


def _queued_call(self: _Parallel, *arguments: Any) -> Any:
    with _one_at_a_time:
        return CPUDispatcher.__call__(self, *arguments)


def _refused_call(self: _Parallel, *arguments: Any) -> Any:
    raise InputError(
        "this process was forked from one that had run kernels, and their threads (GNU OpenMP) do "
        "not survive that: start workers with multiprocessing.get_context('spawn'), or fork before "
        "the first kernel runs"
    )


def _after_fork() -> None:
    """Run in the child of a fork, which the first kernel would end otherwise."""
    global _one_at_a_time
    _one_at_a_time = threading.RLock()
    try:
        layer = numba.threading_layer()
    except ValueError:  # there were no threads
        return
    if layer == "omp":
        from numba.np.ufunc import omppool

        if omppool.openmp_vendor == "GNU":
            _Parallel.__call__ = _refused_call  # type: ignore[method-assign]


_Parallel.__call__ = _first_call  # type: ignore[method-assign]
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def max_threads() -> int:
    """How many threads this machine has for kernels."""
    return numba.config.NUMBA_NUM_THREADS


def threads_used() -> int:
    """How many threads kernels use now."""
    return numba.get_num_threads()


def set_threads(count: int) -> None:
    """Use this many threads from now on.

    Raises:
        InputError: the count is below 1 or above `max_threads()`.
    """
    if not 1 <= count <= max_threads():
        raise InputError(f"threads: expected 1 to {max_threads()}, got {count}")
    numba.set_num_threads(count)
    _pool.fixed = True
