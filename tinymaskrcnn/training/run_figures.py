"""The figures of a run folder: the curve, and sample predictions beside the ground truth. If one of
them fails, training goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import reason
from ..files import mark, write_image
from ..viz.curves import training_curve
from ..viz.draw import PAIR, contact_sheet, draw_detections, draw_target, side_by_side
from .run_folder import read_rows

logger = logging.getLogger(__name__)
SHOWN = 8  # images of a sample sheet


@contextmanager
def log_errors(what: str) -> Iterator[None]:
    """Log an error of this context in one line, as the failure of `what`, and go on."""
    try:
        yield
    except Exception as problem:
        logger.warning("%s failed; training goes on: %s", what, reason(problem))


def draw_curve(run: Path) -> None:
    """Draw curve.png from metrics.jsonl and evaluations.jsonl."""
    rows = read_rows(run / "metrics.jsonl")
    if rows:
        training_curve(rows, run / "curve.png", read_rows(run / "evaluations.jsonl"))


def draw_samples(model: Any, dataset: Any, classes: list[str], path: Path) -> None:
    """Draw ground truth and prediction, side by side, for the first images of a data set."""
    path.parent.mkdir(exist_ok=True)
    pairs = []
    for i in range(min(SHOWN, len(dataset))):
        image, target = dataset[i]
        (detections,) = model.detect([image])
        truth = draw_target(image, target, classes)
        pairs.append(side_by_side(truth, draw_detections(image, detections, classes)))
    write_image(path, contact_sheet(pairs, columns=2, largest=PAIR), mark("train"))
