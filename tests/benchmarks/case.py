"""What a benchmark is: a computation by name, the programs that can do it, and the bounds that the
ratio of their times has to keep.

Nothing here or in the modules of cases imports the package, torch or any other program at its top:
every side's process loads its own only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Arrays = Sequence[np.ndarray]


class Bound(NamedTuple):
    """What a figure has to reach, and what it should."""

    must: float
    aim: float


def as_arrays(output: Any) -> Arrays:
    return output if isinstance(output, tuple | list) else (output,)


class Timed(NamedTuple):
    """Something to time.

    Attributes:
        run: what is timed. arrays: from what `run` returns, the arrays that every side must agree
            on, in the package's layout; never timed.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], Arrays] = as_arrays


def largest_difference(ours: Arrays, theirs: Arrays) -> float:
    """The largest difference of two lists of arrays, as a share of each array's largest value."""
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
        sides: makes the Timed of each program: "ours" and peers; run in that program's process.
        bounds: of the ratio their time / ours, by peer; "fastest" for the fastest of them.
        check: compares ours with the package's reference kernels and raises Mismatch; what can be
            believed where there is no peer.
        differs, tolerance: a number that tells how far two sides' arrays are apart, and how far
            they may be.
        flops, bytes: arithmetic, or memory that has to be touched, of one run; flops None to count
            the sums of products that our side's kernels do (direct ones, whatever it does).
        alone: the case has processes of its own, so that their peak memory is its own.
        memory: bound of our peak memory / the first peer's; smaller is better.
        of_limit: bound of time / (flops / peak); smaller is better.
        threads: of all sides, where it is not the run's.
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
    """Two programs disagree, so neither's time means anything."""


def require_close(name: str, actual: Arrays, expected: Arrays, tolerance: float) -> None:
    """Raises Mismatch where arrays are further apart than a share of their largest value."""
    difference = largest_difference(as_arrays(actual), as_arrays(expected))
    if not difference <= tolerance:
        raise Mismatch(f"{name}: off by {difference:.1e} of the largest value")
