"""The first stage: anchors, objectness, offsets, and how they become proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...ops.activations.reference import sigmoid
from ...ops.box_iou.op import box_iou
from ...tracing import Trace
from ..colours import ANCHOR, DROPPED, HEAT, INK, LEVELS, PROPOSAL
from ..derived import Outcome
from .canvas import (
    chart,
    draw_boxes,
    draw_histogram,
    keep_in_view,
    panels,
    plain,
    show_image,
    show_map,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTCOMES = {
    Outcome.KEPT: "proposal",
    Outcome.SMALL: "too small",
    Outcome.LOW_SCORE: "score too low",
    Outcome.OVERLAP: "overlaps a better one",
    Outcome.BEYOND_LIMIT: "not among the best",
}


def centre_anchors(t: Trace, image: int = 0) -> Figure:
    """The anchors of the middle cell of each level, one colour per level."""
    figure, (axis,) = panels(1, size=5, titles=("anchors of each level's middle cell",))
    show_image(axis, t, image, faded=0.4)
    ends = np.cumsum(t["rpn.level_sizes"])
    shown = []
    for level, (start, end) in enumerate(zip(ends - t["rpn.level_sizes"], ends, strict=True)):
        _, rows, columns, _ = t["backbone.pyramid"][level].shape
        per_cell = (end - start) // (rows * columns)
        first = start + (rows // 2 * columns + columns // 2) * per_cell
        shown.append(t["rpn.anchors"][first : first + per_cell])
        draw_boxes(axis, shown[-1], LEVELS[level % len(LEVELS)], "-")
    keep_in_view(axis, *shown)
    return figure


def anchor_counts(t: Trace) -> Figure:
    """The number of anchors on each level."""
    figure, axis = chart(5, 2.6)
    sizes = t["rpn.level_sizes"]
    names = [f"level {i}" for i in range(len(sizes))]
    axis.bar_label(axis.bar(names, sizes, color=LEVELS[: len(sizes)]), fontsize=8)
    axis.set_title(f"{sum(sizes)} anchors", fontsize=9, color=INK)
    return figure


def objectness(t: Trace, image: int = 0) -> Figure:
    """The highest probability among each cell's anchors, for each level."""
    levels = len(t["rpn.level_sizes"])
    figure, axes = panels(levels, size=2.4)
    for level, axis in enumerate(axes):
        best = best_of_cells(t, level, image)
        drawn = show_map(axis, sigmoid(best), HEAT, vmin=0, vmax=1)
        axis.set_title(f"level {level}: to {sigmoid(best.max()):.2f}", fontsize=8)
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="objectness")
    return figure


def top_anchors(t: Trace, count: int = 100, image: int = 0) -> Figure:
    """The anchors with the best scores, where they lie before any offset."""
    figure, (axis,) = panels(1, size=5, titles=(f"the {count} best anchors",))
    show_image(axis, t, image, faded=0.2)
    best = best_rows(t, count, image)
    anchors = t["rpn.anchors"][t["rpn.top_k"][image, best]]
    draw_boxes(axis, anchors, ANCHOR, "-", 0.8)
    keep_in_view(axis, anchors)
    return figure


def refined_anchors(t: Trace, count: int = 50, clipped: bool = False, image: int = 0) -> Figure:
    """The best anchors (dotted) and the boxes that their offsets turn them into (solid).

    Args:
        clipped: show the boxes clipped to the image.
    """
    figure, (axis,) = panels(1, size=5, titles=("anchors (dotted), moved (solid)",))
    show_image(axis, t, image, faded=0.2)
    best = best_rows(t, count, image)
    anchors = t["rpn.anchors"][t["rpn.top_k"][image, best]]
    boxes = (t["rpn.clipped"] if clipped else t["rpn.moved"])[image][best]
    draw_boxes(axis, anchors, ANCHOR, width=0.7)
    draw_boxes(axis, boxes, PROPOSAL, "-", 1)
    keep_in_view(axis, anchors, boxes)
    return figure


def proposal_outcomes(t: Trace, image: int = 0) -> Figure:
    """How many of the best anchors each filter removed."""
    figure, axis = chart(6, 2.4)
    outcomes = t["rpn.outcomes"][image]
    counts = [int((outcomes == outcome).sum()) for outcome in OUTCOMES]
    colours = [PROPOSAL if outcome == Outcome.KEPT else DROPPED for outcome in OUTCOMES]
    bars = axis.barh(list(OUTCOMES.values()), counts, color=colours)
    axis.bar_label(bars, padding=3, fontsize=8)
    axis.invert_yaxis()
    total = len(t["rpn.anchors"])
    axis.set_title(f"{total} anchors, {len(outcomes)} by top-k", fontsize=9, color=INK)
    return figure


def proposal_stages(t: Trace, count: int = 60, image: int = 0) -> Figure:
    """The best boxes of every stage side by side: moved, clipped, after NMS, final."""
    rows = best_rows(t, count, image)
    survivors = np.isin(t["rpn.outcomes"][image], (Outcome.KEPT, Outcome.BEYOND_LIMIT))
    after_nms = rows[survivors[rows]]
    final = t["rpn.proposals"][image]
    stages = {
        f"moved: best {len(rows)}": t["rpn.moved"][image][rows],
        "clipped": t["rpn.clipped"][image][rows],
        f"of these after NMS: {len(after_nms)}": t["rpn.clipped"][image][after_nms],
        f"all {len(final)} proposals": final,
    }
    figure, axes = panels(4, 2, 3.4, titles=list(stages))
    for axis, boxes in zip(axes, stages.values(), strict=True):
        show_image(axis, t, image, faded=0.3)
        draw_boxes(axis, boxes, PROPOSAL, "-", 0.8)
    keep_in_view(axes[0], t["rpn.moved"][image][rows])
    return figure


def delta_histograms(t: Trace, image: int = 0) -> Figure:
    """The four offsets of the best anchors."""
    figure, axes = panels(4, titles=("dx", "dy", "dw", "dh"))
    chosen = t["rpn.deltas"][image, t["rpn.top_k"][image]]
    for axis, values in zip(axes, chosen.T, strict=True):
        draw_histogram(axis, values, 40, fill=True, color=ANCHOR)
        plain(axis)
    return figure


def proposal_corners(t: Trace, image: int = 0) -> Figure:
    """The upper left and lower right corners of all moved boxes, before clipping."""
    figure, (axis,) = panels(1, size=5, titles=("corners of the moved boxes",))
    show_image(axis, t, image, faded=0.5)
    x1, y1, x2, y2 = t["rpn.moved"][image].T
    axis.plot(x1, y1, "o", ms=2, color=ANCHOR, label="upper left", clip_on=True)
    axis.plot(x2, y2, "x", ms=3, color=PROPOSAL, label="lower right", clip_on=True)
    axis.legend(fontsize=8, loc="upper right")
    return figure


def recalls(t: Trace, threshold: float = 0.7, image: int = 0) -> dict[str, float]:
    """The share of ground-truth boxes that some box of each stage overlaps by `threshold` or more.

    The stages are all anchors, moved boxes and proposals; NaN if there is no ground truth.
    """
    truth = t["transform.targets"][image]["boxes"]
    stages = {
        "anchors": t["rpn.anchors"],
        "moved": t["rpn.clipped"][image],
        "proposals": t["rpn.proposals"][image],
    }
    if len(truth) == 0:
        return dict.fromkeys(stages, float("nan"))
    return {
        name: float((box_iou(truth, boxes).max(axis=1, initial=0) >= threshold).mean())
        for name, boxes in stages.items()
    }


def proposal_recall(t: Trace, image: int = 0) -> Figure:
    """Recall of anchors, moved boxes and proposals at every overlap threshold."""
    figure, axis = chart()
    thresholds = np.linspace(0.3, 0.95, 27)
    lines = [recalls(t, threshold, image) for threshold in thresholds]
    for name, colour in (("anchors", ANCHOR), ("moved", DROPPED), ("proposals", PROPOSAL)):
        axis.plot(thresholds, [line[name] for line in lines], color=colour, label=name)
    axis.axvline(0.7, color=DROPPED, lw=0.8, ls=":")
    axis.set(xlabel="IoU", ylabel="recall", ylim=(-0.03, 1.03))
    axis.legend(frameon=False, fontsize=8)
    return figure


def best_of_cells(t: Trace, level: int, image: int = 0) -> np.ndarray:
    """The largest logit among each cell's anchors, for one level: (H, W)."""
    ends = np.cumsum(t["rpn.level_sizes"])
    logits = np.split(t["rpn.objectness"][image], ends[:-1])[level]
    _, rows, columns, _ = t["backbone.pyramid"][level].shape
    return logits.reshape(rows, columns, -1).max(axis=2)  # (H W A,) -> H, W, A -> H, W


def best_rows(t: Trace, count: int, image: int) -> np.ndarray:
    """The rows with the best scores among all levels' top anchors."""
    return np.argsort(-t["rpn.scores"][image], kind="stable")[:count]
