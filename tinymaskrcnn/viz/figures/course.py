"""One image at several moments of training: how anchors, proposals and masks improve.

Not here: the curves of the losses (viz/curves.py), and the page with a slider (viz/report).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...ops.activations.reference import sigmoid
from ...tracing import Trace
from ..colours import ANCHOR, DETECTION, GROUND_TRUTH, HEAT, INK, PROPOSAL
from .canvas import draw_boxes, panels, show_image, show_map
from .inputs import name_of
from .proposals import best_of_cells, best_rows
from .regions import draw_mask, found_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("objectness", "best anchors, moved", "proposals", "detections")


def training_course(
    traces: Mapping[int, Trace],
    classes: Sequence[str] = (),
    level: int = 1,
    count: int = 20,
    score: float = 0.5,
    image: int = 0,
) -> Figure:
    """One row per moment: the objectness of one level, the best anchors (dotted) and the boxes made
    of them (dashed), the proposals, and the detections with their masks.

    Args:
        traces: of the same image, by the number of training steps so far.
        count: how many anchors are shown.
    """
    figure, axes = panels(len(COLUMNS) * len(traces), len(COLUMNS), 2.5)
    for i, (step, t) in enumerate(traces.items()):
        row = axes[len(COLUMNS) * i : len(COLUMNS) * (i + 1)]
        show_map(row[0], sigmoid(best_of_cells(t, level, image)), HEAT, vmin=0, vmax=1)
        for axis in row[1:]:
            show_image(axis, t, image, faded=0.3)
        best = best_rows(t, count, image)
        draw_boxes(row[1], t["rpn.anchors"][t["rpn.top_k"][image, best]], ANCHOR, width=0.9)
        draw_boxes(row[1], t["rpn.moved"][image][best], PROPOSAL, width=0.9)
        draw_boxes(row[2], t["rpn.proposals"][image], PROPOSAL, width=0.7)
        found = found_in(t, image)
        sure = np.flatnonzero(found["scores"] >= score)
        for k in sure:
            place = t["transform.sizes"][image], t["detections.paste"][image]
            draw_mask(row[3], found["masks"][k], found["boxes"][k], *place)
        names = [f"{name_of(classes, found['labels'][k])} {found['scores'][k]:.2f}" for k in sure]
        draw_boxes(row[3], found["boxes"][sure], DETECTION, captions=names)
        if "transform.targets" in t:
            truth = t["transform.targets"][image]["boxes"]
            for axis in row[1:3]:
                draw_boxes(axis, truth, GROUND_TRUTH, width=1)
        for axis, name in zip(row, COLUMNS, strict=True):
            axis.set_title(f"{step} steps: {name}", fontsize=7.5, color=INK)
    return figure
