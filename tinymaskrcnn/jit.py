"""How every CPU kernel is compiled, and by which threads it runs. Compiled code is kept by
kernel_cache.py.

Any Python thread may run kernels. Where the threading layer is Numba's own (workqueue: neither
OpenMP nor TBB is installed), which ends the process when two threads run at once, they wait for
each other.
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
# between parallel regions. Waking a thread costs more than most regions take, but one that spins
# beside a busy program keeps the core from the very thread that it waits for (README, Speed).
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
    """Compile for all threads: loops over `prange` are split among them."""
    return _compiled(function, _FAST_MATH, parallel=True)


def serial(function: Callable) -> Any:
    """Compile for one thread: for small work, and for helpers called inside a kernel."""
    return _compiled(function, _FAST_MATH)


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
        twin.__qualname__ = f"{function.__qualname__}_alone"  # the cache knows it by this name
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
    return _compiled(function, False, parallel=True)


def exact_serial(function: Callable) -> Any:
    """As `serial`, with every rounding as written. False is said outright: a helper would inherit
    its caller's fast math.
    """
    return _compiled(function, False)


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
    """A kernel for all threads. What a call from Python does is decided for all of them at once, so
    that it costs nothing where there is nothing to do.
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
    """In the child. Without this the first kernel would end it."""
    global _one_at_a_time
    _one_at_a_time = threading.RLock()
    try:
        layer = numba.threading_layer()
    except ValueError:  # no threads were there
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
    """How many threads kernels use at present."""
    return numba.get_num_threads()


def set_threads(count: int) -> None:
    """Use this many threads. Raises InputError below one or above what the machine has."""
    if not 1 <= count <= max_threads():
        raise InputError(f"threads: expected 1 to {max_threads()}, got {count}")
    numba.set_num_threads(count)
    _pool.fixed = True
