"""The pictures of a run folder: its curve, and predictions beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..viz.curves import training_curve
from ..viz.draw import contact_sheet, draw_detections, draw_target, side_by_side
from .run_folder import read_rows

SHOWN = 8  # pictures of a sample sheet


def draw_curve(run: Path) -> None:
    """curve.png from metrics.jsonl and evaluations.jsonl."""
    rows = read_rows(run / "metrics.jsonl")
    if rows:
        training_curve(rows, run / "curve.png", read_rows(run / "evaluations.jsonl"))


def draw_samples(model: Any, dataset: Any, classes: list[str], path: Path) -> None:
    """Truth and prediction of the first pictures of a data set, side by side."""
    path.parent.mkdir(exist_ok=True)
    pairs = []
    for i in range(min(SHOWN, len(dataset))):
        image, target = dataset[i]
        (detections,) = model.detect([image])
        truth = draw_target(image, target, classes)
        pairs.append(side_by_side(truth, draw_detections(image, detections, classes)))
    contact_sheet(pairs, columns=2).save(path)
