"""Records trace.json: every name that a trace of a small model holds, in training and in inference,
with the form of its value and the sum of its absolute values.

Pages, figures and lessons read these names. To add some on purpose:

    python -m tests.golden.record_trace
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tinymaskrcnn as tm

FILE = Path(__file__).with_name("trace.json")
SETTINGS = {
    "min_size": 64,
    "max_size": 64,
    "box_score_thresh": 0.26,
    "rpn_post_nms_top_n_test": 30,
    "box_detections_per_img": 5,
}


def traces() -> dict[str, tm.Trace]:
    """A training step, and losses and detections in inference, of two images; by NumPy alone."""
    data = tm.ToyShapes(2, size=64, min_objects=2, max_objects=3)
    images, targets = (list(part) for part in zip(*(data[i] for i in range(2)), strict=True))
    model = tm.maskrcnn_tiny(**SETTINGS)
    with tm.use("reference"):
        with tm.trace() as inference:
            model.eval().evaluate_losses(images, targets, np.random.default_rng(0))
        with tm.trace() as training:
            model.train().losses(images, targets, np.random.default_rng(0))
        return {"training": training, "inference": inference}


def summaries(t: tm.Trace) -> dict[str, list[Any]]:
    """By name the form of each value and its size."""
    return {name: [form(t[name]), float(f"{size(t[name]):.6g}")] for name in sorted(t)}


def form(value: Any) -> Any:
    """Shape and dtype of arrays, in lists and dicts too; of anything else its type."""
    if isinstance(value, Mapping):
        return {key: form(part) for key, part in value.items()}
    if isinstance(value, list):
        return [form(part) for part in value]
    if hasattr(value, "shape"):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__


def size(value: Any) -> float:
    """The sum of all absolute values; the length of a text."""
    if isinstance(value, Mapping):
        return sum(map(size, value.values()))
    if isinstance(value, list):
        return sum(map(size, value))
    if isinstance(value, str):
        return float(len(value))
    return float(np.abs(np.asarray(value, np.float64)).sum())


def main() -> None:
    recorded = {when: summaries(t) for when, t in traces().items()}
    lines = (
        f"{json.dumps(when)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
        + "\n}"
        for when, rows in recorded.items()
    )
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
