"""What calls of tracing cost while no trace is open: how many calls one prediction of the shipped
small model makes, and how long each kind takes, compared with the whole prediction.

python -m tests.benchmarks.tracing_cost
"""

from __future__ import annotations

import timeit
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn import tracing
from tinymaskrcnn.models.pretrained import load_model

PICTURE = Path(__file__).parents[2] / "data/shapes/shapes_022.png"
CALLS = {
    "record": "tracing.record('name', a=1, b=2, c=3)",
    "recording": "tracing.recording()",
}
REPEATS, LOOPS = 9, 20_000


def calls_of(run: Callable[[], Any]) -> Counter[str]:
    """How often `run` calls each of tracing's functions."""
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **parts: Any) -> Any:
            counts[name] += 1
            return function(*args, **parts)

        return call

    before = {name: getattr(tracing, name) for name in CALLS}
    try:
        for name, function in before.items():
            setattr(tracing, name, counted(name, function))
        run()
    finally:
        for name, function in before.items():
            setattr(tracing, name, function)
    return counts


def main() -> None:
    model = load_model("shapes")
    image = tm.read_image(PICTURE)
    counts = calls_of(lambda: model.detect([image]))
    with tm.trace() as t:
        model.detect([image])
    assert min(counts[name] for name in CALLS) > 0 and len(t) > counts["record"]
    whole = np.median(timeit.repeat(lambda: model.detect([image]), number=1, repeat=50)) * 1e6
    total = 0.0
    for name, code in CALLS.items():
        times = timeit.repeat(code, globals={"tracing": tracing}, number=LOOPS, repeat=REPEATS)
        each = float(np.median(times)) / LOOPS * 1e6
        total += counts[name] * each
        print(f"{name:10} {counts[name]:3} calls of {1e3 * each:5.0f} ns")
    print(f"together {total:.1f} us of a prediction's {whole / 1e3:.1f} ms: {total / whole:.3%}")


if __name__ == "__main__":
    main()
