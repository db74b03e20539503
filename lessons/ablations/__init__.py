"""Ablations: the model with one part replaced, trained on toy shapes, against the whole model.

`python -m lessons.ablations NAME` trains a variant and writes NAME.json here; `recorded` reads the
records that the lessons compare. The replacements are in variants.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def recorded(name: str) -> dict[str, Any]:
    """A variant's record: {"command", "settings", "runs": [{"seed", "bbox", "segm"}]}; bbox and
    segm hold AP, AP50 and AP75 on 200 held-back images, 0..1.
    """
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return record


def of_runs(name: str, kind: str, figure: str) -> list[float]:
    """One figure for each run of a record, in points (0..100), as papers print it.

    Args:
        name: the variant.
        kind: "bbox" or "segm".
        figure: "AP", "AP50" or "AP75".
    """
    return [100 * float(run[kind][figure]) for run in recorded(name)["runs"]]


def average(name: str, kind: str, figure: str) -> float:
    """The mean of `of_runs`."""
    figures = of_runs(name, kind, figure)
    return sum(figures) / len(figures)


def with_span(name: str, kind: str, figure: str) -> tuple[float, float, float]:
    """Mean, lowest and highest of `of_runs`."""
    figures = of_runs(name, kind, figure)
    return average(name, kind, figure), min(figures), max(figures)
