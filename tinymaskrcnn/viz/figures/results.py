"""Detections compared with the ground truth of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluation.detection_errors import (
    ImageErrors,
    average_precision,
    crowds_of,
    judge_target,
    overlaps,
    precision_recall,
)
from ...evaluation.error_counts import SCORE
from ...tracing import Trace
from ..colours import DETECTION, ERRORS, HEAT, INK, MISSED, PAPER
from .canvas import chart, draw_boxes, nothing, panels, show_image
from .inputs import name_of
from .regions import found_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def errors_of(t: Trace, image: int = 0, score: float = 0.0) -> ImageErrors:
    """Which detections of an image are right or wrong, judged by their boxes, and what was missed.

    Args:
        t: a trace of `evaluate_losses`.
        score: ignore detections below this score.
    """
    found = found_in(t, image)
    target = t["transform.targets"][image]
    return judge_target(found["boxes"], found["labels"], found["scores"], target, score)


def scored_detections(t: Trace, image: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """What AP is computed from.

    Returns:
        The scores (n,) of the detections outside crowds, best first; whether each is right (n,);
        and the number of objects to find.
    """
    found, errors = found_in(t, image), errors_of(t, image)
    count = len(found["scores"])
    right = np.isin(np.arange(count), list(errors.found.values()))
    judged = ~np.isin(np.arange(count), errors.ignored)
    objects = int((~crowds_of(t["transform.targets"][image])).sum())
    return found["scores"][judged], right[judged], objects


def truth_grid(t: Trace, classes: Sequence[str] = (), image: int = 0) -> Figure:
    """IoU of every object with every detection; bold where the classes agree."""
    found, target = found_in(t, image), t["transform.targets"][image]
    iou = overlaps(found["boxes"], target).T
    figure, axis = chart(1.6 + 0.5 * iou.shape[1], 1.2 + 0.36 * iou.shape[0])
    if iou.size == 0:
        nothing(axis, "no objects, or no detections")
        return figure
    axis.imshow(iou, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
    for g, i in np.argwhere(iou > 0.01):
        agree = target["labels"][g] == found["labels"][i]
        ink, weight = (PAPER if iou[g, i] < 0.6 else INK), ("bold" if agree else "light")
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "weight": weight}
        axis.text(i, g, f"{iou[g, i]:.2f}", color=ink, **style)
    names = zip(found["labels"], found["scores"], strict=True)
    labels = [f"{name_of(classes, k)} {s:.2f}" for k, s in names]
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    truth = [name_of(classes, k) for k in target["labels"]]
    axis.set_yticks(range(len(truth)), truth, fontsize=7)
    axis.set(xlabel="detections", ylabel="ground truth")
    axis.grid(False)
    return figure


def precision_recall_curve(t: Trace, image: int = 0) -> Figure:
    """Precision over recall at IoU 0.5, for all classes of the image together."""
    figure, axis = chart(4, 3.4)
    scores, right, objects = scored_detections(t, image)
    recall, precision = precision_recall(scores, right, objects)
    axis.step(np.r_[0, recall], np.r_[1, precision], where="post", color=DETECTION)
    ap = average_precision(scores, right, objects)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05))
    axis.set_title(f"AP at IoU 0.5: {ap:.3f}, {objects} objects", fontsize=9, color=INK)
    return figure


def mistakes(t: Trace, classes: Sequence[str] = (), score: float = SCORE, image: int = 0) -> Figure:
    """Wrong detections in the colour of their kind, and missed objects with the reason."""
    found, errors = found_in(t, image), errors_of(t, image, score)
    target = t["transform.targets"][image]
    title = f"{len(errors.wrong)} wrong, {len(errors.missed)} missed, {len(errors.found)} right"
    figure, (axis,) = panels(1, size=5, titles=(title,))
    show_image(axis, t, image, faded=0.2)
    for wrong in reversed(errors.wrong):
        i = wrong.detection
        name = name_of(classes, found["labels"][i])
        captions = [f"{name} {found['scores'][i]:.2f}: {wrong.kind}"]
        draw_boxes(axis, found["boxes"][i : i + 1], ERRORS[wrong.kind], "-", captions=captions)
    missed = [miss.truth for miss in errors.missed]
    captions = [
        f"{name_of(classes, target['labels'][miss.truth])} missed: {miss.reason}"
        for miss in errors.missed
    ]
    draw_boxes(axis, target["boxes"][missed], MISSED, captions=captions)
    return figure
