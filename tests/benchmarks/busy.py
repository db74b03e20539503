"""How long a training step takes beside other programs. As many busy programs as there are cores
leave us half of the machine, so twice the time alone is fair."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter

from .case import Bound
from .harness import ROOT, Row, judged

BOUNDS = {"beside busy programs: training step tiny, of twice the time alone": Bound(1.3, 1.0)}
ROUNDS, SECONDS, SETTLE = (
    3,
    6.0,
    2.0,
)  # per round; the first two seconds are for choosing the number of threads


def rows(names: list[str]) -> Iterator[Row]:
    """The requested rows among BOUNDS, with both times."""
    for name in names:
        worker = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        pairs = [(_ask(worker), _beside(worker)) for _ in range(ROUNDS)]
        worker.communicate()
        alone, beside = (statistics.median(times) for times in zip(*pairs, strict=True))
        figure = statistics.median(b / (2 * a) for a, b in pairs)
        times = {"ours_ms": 1e3 * beside, "unit": f"alone {1e3 * alone:.0f} ms"}
        yield {"name": name, "figure": figure} | times | judged(figure, BOUNDS[name], smaller=True)


def _ask(worker: subprocess.Popen) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _beside(worker: subprocess.Popen) -> float:
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)]
    try:
        return _ask(worker)
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """For each line read: train for a while, and print the median seconds per step."""
    from .models import CASES

    run = CASES["training step tiny 128x128 B8"].sides["ours"]().run
    run()
    for _ in sys.stdin:
        times, start = [], perf_counter()
        while (before := perf_counter()) < start + SECONDS:
            run()
            if before > start + SETTLE:
                times.append(perf_counter() - before)
        print(statistics.median(times), flush=True)


if __name__ == "__main__":
    main()
