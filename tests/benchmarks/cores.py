"""What more cores would give, computed: `python -m tests.benchmarks.cores [MODEL ...]`.

A model runs with 1, 4, 8 and 16 threads, each in a process of its own, on however few cores there
are. Numba cuts each `prange` loop into one piece per thread, and we read how it cut: the largest
piece / the mean piece is the time that this loop takes on so many cores, over that of perfect
shares. Times come from the run with one thread, in processor time: each loop, and what is left to
Python, NumPy and serial kernels. Together with 3 us per loop for its barrier they give the time on
so many cores, if iterations of a loop cost the same, and memory and clock keep up, which they do
not: it is the most that the partition allows, not a forecast.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from time import process_time, thread_time
from typing import Any, NamedTuple

from .harness import ROOT

THREADS = (4, 8, 16)
BARRIER = 3.1e-6  # seconds
SHOWN = 0.01  # kernels with a smaller share of the time stand together
CASES = {
    "resnet50": ("inference, ResNet-50-FPN, 800x1066", "inference R50 800x1066"),
    "tiny": ("inference, small model, 256x256", "inference tiny 256x256"),
    "step": ("training step, small model, 8 images", "training step tiny 128x128 B8"),
}
_SIZES = ctypes.POINTER(ctypes.c_size_t)
_LAUNCH = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    _SIZES,
    _SIZES,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
)


class Loop(NamedTuple):
    """One `prange` loop that ran: its kernel, the largest and the mean piece, and seconds."""

    kernel: str
    largest: float
    mean: float
    seconds: float


class Recorder:
    """Records every loop: stands between compiled code and Numba's launcher."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm
        import numba
        from numba.core.registry import CPUDispatcher
        from numba.np.ufunc import omppool

        from tinymaskrcnn import jit

        numba.get_num_threads()
        assert numba.threading_layer() == "omp", "needs OpenMP"
        self.loops: list[Loop] = []
        self._running: list[tuple[Any, tuple]] = []
        self._real, self._mine = _LAUNCH(omppool.parallel_for), _LAUNCH(self._launch)
        address = ctypes.cast(self._mine, ctypes.c_void_p).value
        llvm.add_symbol("numba_parallel_for", address)  # before the first kernel is loaded

        def call(kernel: Any, *arguments: Any) -> Any:
            self._running.append((kernel, arguments))
            try:
                return CPUDispatcher.__call__(kernel, *arguments)
            finally:
                self._running.pop()

        jit._Parallel.__call__ = call  # type: ignore[method-assign]

    def _launch(self, function: Any, arguments: Any, sizes: Any, *rest: Any) -> None:
        pieces, axes = sizes[0], rest[0][0] // 16  # rest[0]: bytes from piece to piece, and so on
        bounds = ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_ssize_t))
        counts = []
        for piece in range(pieces):
            first = 2 * axes * piece
            count = 1
            for axis in range(axes):
                count *= bounds[first + axes + axis] - bounds[first + axis] + 1
            counts.append(max(count, 0))
        kernel, given = self._running[-1]
        start = thread_time()
        self._real(function, arguments, sizes, *rest)
        seconds = thread_time() - start
        largest, mean = shares(counts, items_of(kernel, given))
        self.loops.append(Loop(name_of(kernel), largest, mean, seconds))


def shares(counts: list[int], items: int | None) -> tuple[float, float]:
    """The largest and the mean piece of a loop; of `items` that the iterations take in turn, if the
    loop is one over workers.
    """
    if items is not None and max(counts) == 1:
        return float(-(-items // len(counts))), items / len(counts)
    return float(max(counts)), sum(counts) / len(counts)


def items_of(kernel: Any, arguments: tuple) -> int | None:
    """How many items the workers of a kernel share out: its argument `blocks`, if it has a number
    of that name.
    """
    names = kernel.py_func.__code__.co_varnames
    found = dict(zip(names, arguments, strict=False)).get("blocks")
    return found if isinstance(found, int) else None


def name_of(kernel: Any) -> str:
    module = kernel.py_func.__module__.partition("ops.")[2]
    return f"{module}.{kernel.py_func.__name__}"


def record(case: str) -> dict[str, Any]:
    """The loops of one call of a case, in order, and its seconds, in this process."""
    recorder = Recorder()
    from .models import CASES as MODELS

    run = MODELS[CASES[case][1]].sides["ours"]().run
    run()
    recorder.loops.clear()
    start = process_time()
    run()
    return {"seconds": process_time() - start, "loops": recorder.loops}


def in_a_process(case: str, threads: int) -> dict[str, Any]:
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    limits = dict.fromkeys(names, str(threads)) | {"GOMP_SPINCOUNT": "0"}
    code = [sys.executable, "-m", "tests.benchmarks.cores", "--record", case]
    done = subprocess.run(
        code, cwd=ROOT, env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"loops": [Loop(*loop) for loop in found["loops"]]}


def table(case: str, measure: Callable[[str, int], dict[str, Any]] = in_a_process) -> Iterator[str]:
    """The rows of one case: per kernel its share of the time, how many loops, and the largest /
    the mean piece with each number of threads.
    """
    alone = measure(case, 1)
    by_kernel = grouped(alone["loops"])
    cut = {threads: grouped(measure(case, threads)["loops"]) for threads in THREADS}
    total, inside = alone["seconds"], sum(loop.seconds for loop in alone["loops"])
    heads = " | ".join(f"{threads} threads" for threads in THREADS)
    yield f"| {CASES[case][0]} | share of the time | loops | {heads} |"
    yield "|---" * (3 + len(THREADS)) + "|"
    seconds = {name: sum(loop.seconds for loop in loops) for name, loops in by_kernel.items()}
    spent = dict.fromkeys(THREADS, total - inside + BARRIER * len(alone["loops"]))
    others: list[str] = []
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        factors = {t: unevenness(by_kernel[name], cut[t].get(name, [])) for t in THREADS}
        for t in THREADS:
            spent[t] += seconds[name] * factors[t] / t
        if seconds[name] < SHOWN * total:
            others.append(name)
            continue
        cells = " | ".join(f"{factors[t]:.2f}" for t in THREADS)
        share = seconds[name] / total
        yield f"| `{name}` | {share:.1%} | {len(by_kernel[name])} | {cells} |"
    rest, count = sum(seconds[n] for n in others), sum(len(by_kernel[n]) for n in others)
    blanks = " | ".join("" for _ in THREADS)
    yield f"| {len(others)} more kernels | {rest / total:.1%} | {count} | {blanks} |"
    yield f"| serial: Python, NumPy, small kernels | {1 - inside / total:.1%} | | {blanks} |"
    best = " | ".join(f"{total / ((total - inside) + inside / t):.1f}" for t in THREADS)
    yield f"| times as fast by Amdahl's law | | | {best} |"
    gained = " | ".join(f"{total / spent[t]:.1f}" for t in THREADS)
    yield f"| with these pieces and barriers | | {len(alone['loops'])} | {gained} |"


def grouped(loops: list[Loop]) -> dict[str, list[Loop]]:
    found: dict[str, list[Loop]] = defaultdict(list)
    for loop in loops:
        found[loop.kernel].append(loop)
    return found


def unevenness(alone: list[Loop], cut: list[Loop]) -> float:
    """The largest / the mean piece over a kernel's loops, weighted by their time on one thread; the
    plain mean if the kernel's loops are others with more threads.
    """
    ratios = [loop.largest / loop.mean if loop.mean else 1.0 for loop in cut]
    weights = [loop.seconds for loop in alone]
    if not ratios:
        return 1.0
    if len(ratios) != len(weights) or not sum(weights):
        return sum(ratios) / len(ratios)
    return sum(r * w for r, w in zip(ratios, weights, strict=True)) / sum(weights)


def main() -> None:
    if sys.argv[1:2] == ["--record"]:
        print(json.dumps(record(sys.argv[2])))
        return
    names = sys.argv[1:] or list(CASES)
    if unknown := set(names) - set(CASES):
        raise SystemExit(f"no model {', '.join(unknown)}; expected {', '.join(CASES)}")
    for case in names:
        print("\n".join(table(case)), flush=True)


if __name__ == "__main__":
    main()
