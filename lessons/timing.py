"""Time a call, for the lessons that compare implementations."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any


def milliseconds(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> float:
    """How long the fastest of `repeats` calls took, after one more that may compile."""
    function(*arguments)
    times = []
    for _ in range(repeats):
        begun = perf_counter()
        function(*arguments)
        times.append(perf_counter() - begun)
    return 1000 * min(times)
