"""Detections against the ground truth of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluation.mistakes import Verdicts, average_precision, judge, precision_recall
from ...tracing import Trace
from ..colours import DETECTION, DROPPED, GROUND_TRUTH, INK
from .canvas import chart, draw_boxes, nothing, panels, show_picture
from .inputs import name_of
from .regions import found_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def verdicts_of(t: Trace, picture: int = 0) -> Verdicts:
    """Which detections of a picture are right; a trace of `evaluate_losses`."""
    found = found_in(t, picture)
    return judge(found["boxes"], found["labels"], t["transform.targets"][picture])


def truth_grid(t: Trace, classes: Sequence[str] = (), picture: int = 0) -> Figure:
    """IoU of every object with every detection; classes that agree in black, others in grey."""
    found, target = found_in(t, picture), t["transform.targets"][picture]
    iou = verdicts_of(t, picture).iou.T
    figure, axis = chart(1.6 + 0.5 * iou.shape[1], 1.2 + 0.36 * iou.shape[0])
    if iou.size == 0:
        nothing(axis, "no objects, or no detections")
        return figure
    axis.imshow(iou, cmap="Greens", vmin=0, vmax=1.4, aspect="auto")
    for g, i in np.argwhere(iou > 0.01):
        agree = target["labels"][g] == found["labels"][i]
        style: dict[str, Any] = {"color": INK, "weight": "bold"} if agree else {"color": DROPPED}
        axis.text(i, g, f"{iou[g, i]:.2f}", ha="center", va="center", fontsize=7, **style)
    names = zip(found["labels"], found["scores"], strict=True)
    labels = [f"{name_of(classes, k)} {s:.2f}" for k, s in names]
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    truth = [name_of(classes, k) for k in target["labels"]]
    axis.set_yticks(range(len(truth)), truth, fontsize=7)
    axis.set(xlabel="detections", ylabel="ground truth")
    axis.grid(False)
    return figure


def precision_recall_curve(t: Trace, picture: int = 0) -> Figure:
    """Precision over recall at IoU 0.5, all classes of the picture together."""
    figure, axis = chart(4, 3.4)
    scores = found_in(t, picture)["scores"]
    verdicts = verdicts_of(t, picture)
    counted = np.array([r != "crowd" for r in verdicts.reasons], bool)
    target = t["transform.targets"][picture]
    objects = len(target["labels"]) - int(np.sum(target.get("iscrowd", 0)))
    right = (verdicts.matches >= 0)[counted]
    recall, precision = precision_recall(scores[counted], right, objects)
    axis.step(np.r_[0, recall], np.r_[1, precision], where="post", color=DETECTION)
    ap = average_precision(scores[counted], right, objects)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05))
    axis.set_title(f"AP at IoU 0.5: {ap:.3f}, {objects} objects", fontsize=9, color=INK)
    return figure


def mistakes(t: Trace, classes: Sequence[str] = (), picture: int = 0) -> Figure:
    """False detections with the kind of their mistake, and objects that nothing found."""
    found, verdicts = found_in(t, picture), verdicts_of(t, picture)
    target = t["transform.targets"][picture]
    figure, (axis,) = panels(1, size=5, titles=("mistakes",))
    show_picture(axis, t, picture, faded=0.2)
    wrong = [i for i, reason in enumerate(verdicts.reasons) if reason not in ("right", "crowd")]
    captions = [
        f"{name_of(classes, found['labels'][i])} {found['scores'][i]:.2f}: {verdicts.reasons[i]}"
        for i in wrong
    ]
    draw_boxes(axis, found["boxes"][wrong], DETECTION, captions=captions)
    missed = np.setdiff1d(np.arange(len(target["labels"])), verdicts.matches)
    captions = [f"missed {name_of(classes, target['labels'][g])}" for g in missed]
    draw_boxes(axis, target["boxes"][missed], GROUND_TRUTH, captions=captions)
    return figure
