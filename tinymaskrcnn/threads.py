"""How many threads the kernels use: all the machine has, but fewer while other programs need it.

A parallel region ends with its slowest thread. Beside a busy program one thread gets half a core,
and all others wait for it; with one thread fewer, nobody waits. So once a second the model checks
how long its threads have queued for a core, and how long cores have been idle. Results do not
depend on the number of threads, so it may change at any time.

This needs Linux's /proc. On other systems the number stays as it is.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

logger = logging.getLogger(__name__)

SECONDS = 1.0  # between two checks
_QUEUED = 0.1  # seconds of queueing per second that mean we are short of a core
_IDLE = 0.7  # of a core: enough to try one more thread


def granted() -> int:
    """How many cores this process may use: those it is bound to, limited by the quota of its
    control group (a container started with --cpus)."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(bound or 1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # the file does not exist, or says "max"
        return bound or 1


def fitting(threads: int, most: int, queued: float, idle: float) -> int:
    """The number of threads for the next second.

    Args:
        threads: how many are in use now.
        most: how many there are.
        queued: seconds per second for which this process's threads, together, waited for a core.
        idle: how many cores had nothing to do.
    """
    if queued > _QUEUED:
        return max(1, threads - max(1, round(queued)))
    if idle > _IDLE:
        return min(most, threads + round(idle))
    return threads


class Pool:
    """The threads of the kernels.

    Args:
        most: how many there are.
        get, put: read and set how many are used; as in Numba, each Python thread has its own
            number.
        spins: whether waiting threads keep their cores busy. OpenMP's do. Others sleep or take over
            work; using fewer of them gains nothing.

    Attributes:
        fixed: whether somebody has set the number; then it stays.
    """

    def __init__(
        self,
        most: int,
        get: Callable[[], int],
        put: Callable[[int], None],
        spins: Callable[[], bool],
    ) -> None:
        self.most, self.get, self.put, self.spins = most, get, put, spins
        self.fixed = False
        self._own = threading.local()

    def adapt(self) -> None:
        """Use as many threads as the machine has cores free; checks at most once a second."""
        now, own = perf_counter(), self._own
        if self.fixed or now - getattr(own, "looked", -math.inf) < SECONDS or not self.spins():
            return
        threads, seen = self.get(), _times()
        before, own.seen = getattr(own, "seen", None), seen
        elapsed, own.looked = now - getattr(own, "looked", now), now
        chosen, own.chosen = getattr(own, "chosen", self.most), threads
        if seen is None or before is None or threads != chosen:
            return
        queued, idle = (max(0.0, t - s) / elapsed for t, s in zip(seen, before, strict=True))
        own.chosen = fitting(threads, self.most, queued, idle)
        if own.chosen != threads:
            self.put(own.chosen)
            logger.debug("using %d of %d threads", own.chosen, self.most)


_pool: Pool | None = None


def register(pool: Pool) -> None:
    """Set the pool that `adapt` adjusts; the kernels do this when they are loaded."""
    global _pool
    _pool = pool


def adapt() -> None:
    """Let the kernels, if any are loaded, use the cores that are free."""
    if _pool is not None:
        _pool.adapt()


def _times() -> tuple[float, float] | None:
    """How many seconds this process's threads have queued for a core so far, and how many seconds
    its cores have been idle; None if the system does not say."""
    try:
        queued = 0
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/schedstat", encoding="ascii") as file:
                queued += int(file.read().split()[1])
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        idle = 0
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *counts = line.split()
                if name in cores:
                    idle += int(counts[3]) + int(counts[4])  # idle, and waiting for a disk
        return queued * 1e-9, idle / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None
