"""What a benchmark is: a named computation, the programs that can do it, and bounds on the ratio of
their times.

Neither this module nor the modules of cases import the package, torch or any other program at the
top: each side's process loads only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Arrays = Sequence[np.ndarray]


class Bound(NamedTuple):
    """The value that a figure must reach, and the value that it should reach."""

    must: float
    aim: float


def as_arrays(output: Any) -> Arrays:
    return output if isinstance(output, tuple | list) else (output,)


class Timed(NamedTuple):
    """Something to time.

    Attributes:
        run: the call to time.
        arrays: takes what `run` returns, and returns the arrays on which all sides must agree, in
            the package's layout; never timed.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], Arrays] = as_arrays


def largest_difference(ours: Arrays, theirs: Arrays) -> float:
    """The largest difference between arrays, each as a share of the array's largest value."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return float("inf")
    shares = [0.0]
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        shares.append(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30))
    worst = float(np.max(shares))  # NaN if there is one, unlike max()
    return worst if np.isfinite(worst) else float("inf")


@dataclass(frozen=True)
class Case:
    """One computation.

    Attributes:
        sides: makes each program's Timed, for "ours" and the peers; runs in that program's process.
        bounds: for the ratio their time / ours, by peer; "fastest" for the fastest peer.
        check: compares ours with the package's reference kernels and raises Mismatch; without a
            peer, this is why the result can be trusted.
        differs, tolerance: how to measure the difference between two sides' arrays, and how large
            it may be.
        flops, bytes: the arithmetic of one run, or the memory that it must touch; flops None: count
            the sums of products of our side's kernels (as direct ones, whatever they do).
        alone: whether the case has its own processes, so that their peak memory is its own.
        memory: bound for our peak memory / the first peer's; smaller is better.
        of_limit: bound for time / (flops / peak); smaller is better.
        threads: of all sides, if not as in the settings.
    """

    sides: Mapping[str, Callable[[], Timed]]
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    check: Callable[[], None] | None = None
    differs: Callable[[Arrays, Arrays], float] = largest_difference
    tolerance: float = 1e-4
    flops: float | None = 0.0
    bytes: float = 0.0
    alone: bool = False
    memory: Bound | None = None
    of_limit: Bound | None = None
    threads: int | None = None

    @property
    def peers(self) -> list[str]:
        return [side for side in self.sides if side != "ours"]


class Mismatch(Exception):
    """Two programs disagree, so neither one's time means anything."""


def require_close(name: str, actual: Arrays, expected: Arrays, tolerance: float) -> None:
    """Check that arrays differ by at most `tolerance` times their largest value.

    Raises:
        Mismatch: they differ by more.
    """
    difference = largest_difference(as_arrays(actual), as_arrays(expected))
    if not difference <= tolerance:
        raise Mismatch(f"{name}: off by {difference:.1e} of the largest value")
