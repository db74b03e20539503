"""The process in which one program runs its side of the cases: `python -m tests.benchmarks.worker
SIDE THREADS`.

It reads one JSON request per line and answers with one line. The harness stops this process
(SIGSTOP) between requests, so that threads of two programs never compete.
"""

from __future__ import annotations

import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import CASES
from .case import Mismatch, Timed

SHORT = 0.5  # seconds; after a stop, a shorter call runs once untimed
PEAK_SECONDS = 0.03


class Worker:
    """Answers requests; keeps the last prepared case."""

    def __init__(self, side: str, threads: int) -> None:
        self.side, self.threads = side, threads
        self.timed: Timed | None = None
        limit_threads(side, threads)

    def prepare(self, case: str, file: str) -> dict[str, Any]:
        """Make the case's call, run it twice, and write its result to a file."""
        self.timed = None
        gc.collect()
        chosen = CASES[case]
        if self.side == "ours" and chosen.check:
            chosen.check()
        self.timed = timed = chosen.sides[self.side]()
        flops = chosen.flops
        if self.side == "ours" and flops is None:
            from .flops import count_flops

            output, flops = count_flops(timed.run)
        else:
            output = timed.run()
        np.savez(file, *timed.arrays(output))
        del output
        timed.run()
        return {"flops": flops, "bytes": chosen.bytes}

    def time(self, seconds: float) -> dict[str, Any]:
        """The median time of calls that together take at least `seconds`; at least one call."""
        assert self.timed is not None
        run, times = self.timed.run, [float("inf")]
        cpu = time.process_time()
        start = time.perf_counter()
        run()
        if (first := time.perf_counter() - start) >= SHORT:
            times = [first]
        while sum(t for t in times if t < float("inf")) < seconds or times == [float("inf")]:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        median = statistics.median(t for t in times if t < float("inf"))
        peak = self.peak() if self.side == "ours" else None
        return {"seconds": median, "peak": peak, "cpu": time.process_time() - cpu}

    def peak(self, seconds: float = PEAK_SECONDS) -> float:
        """FLOP/s of fused multiply-adds."""
        from .fma import measure_peak

        return measure_peak(self.threads, seconds)

    def tile(self, seconds: float) -> float:
        """FLOP/s of the register tile."""
        from .fma import measure_tile

        return measure_tile(self.threads, seconds)

    def memory(self) -> dict[str, float]:
        """The largest resident set so far, in MiB; NaN if the system does not say."""
        try:
            import resource
        except ModuleNotFoundError:  # Windows
            return {"mb": math.nan}
        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}


def limit_threads(side: str, threads: int) -> None:
    """Make every library in this process use `threads` threads."""
    if side == "ours":
        from tinymaskrcnn.jit import set_threads

        set_threads(threads)
    elif side in ("torch", "channels_last"):
        import torch

        torch.set_num_threads(threads)


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request: its result, or what is missing or differs."""
    method: Callable[..., Any] = getattr(worker, request.pop("do"))
    try:
        return {"ok": method(**request)}
    except ModuleNotFoundError as problem:
        return {"missing": problem.name}
    except Mismatch as problem:
        return {"mismatch": str(problem)}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output that libraries print must not look like a reply
    side, threads = sys.argv[1], int(sys.argv[2])
    try:
        worker = Worker(side, threads)
    except ModuleNotFoundError as problem:
        print(json.dumps({"missing": problem.name}), file=replies, flush=True)
        return
    print(json.dumps({"ok": os.getpid()}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(worker, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
