"""The second stage: levels, RoIAlign, classes and boxes, masks, pasting, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ops.activations.reference import sigmoid
from ...ops.paste_masks.op import paste_masks
from ...tracing import Trace
from ..colours import DETECTION, DROPPED, HEAT, INK, LEVELS, MASK, POINT, PROPOSAL
from ..derived import Outcome
from .canvas import chart, draw_boxes, nothing, panels, plain, show_image, show_map
from .inputs import name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def roi_levels(t: Trace, pool: str = "detect.box_pool", image: int = 0) -> Figure:
    """The boxes that were cropped, each in the colour of the level it was cropped from."""
    rois, levels = t[f"{pool}.rois"], t[f"{pool}.levels"]
    figure, (axis,) = panels(1, size=5, titles=("level of each region",))
    show_image(axis, t, image, faded=0.3)
    own = rois[:, 0] == image
    for level in range(int(levels.max(initial=0)) + 1):
        chosen = rois[own & (levels == level), 1:]
        draw_boxes(axis, chosen, LEVELS[level], "-", 1)
        axis.plot([], [], color=LEVELS[level], label=f"level {level}: {len(chosen)}")
    axis.legend(fontsize=8, loc="upper right")
    return figure


def sampling_points(t: Trace, roi: int = 0, pool: str = "detect.box_pool") -> Figure:
    """Where RoIAlign samples for one region, on the grid of map cells, beside the crop."""
    image, *box = t[f"{pool}.rois"][roi]
    level = int(t[f"{pool}.levels"][roi])
    titles = (f"region {roi}: points on level {level}", "crop, mean of |values|")
    figure, (left, right) = panels(2, 2, 4, titles=titles)
    show_image(left, t, int(image), faded=0.2)
    columns, rows = np.meshgrid(t[f"{pool}.points_x"][roi], t[f"{pool}.points_y"][roi])
    draw_boxes(left, np.array([box]), PROPOSAL)
    left.plot(columns, rows, ".", ms=4, color=POINT, mec=INK, mew=0.3)
    stride = t["transform.batch"].shape[1] / t["backbone.pyramid"][level].shape[1]
    x1, y1, x2, y2 = box
    left.set(xlim=(x1 - 2 * stride, x2 + 2 * stride), ylim=(y2 + 2 * stride, y1 - 2 * stride))
    for line in np.arange(np.floor((x1 - 2 * stride) / stride), (x2 + 3 * stride) / stride):
        left.axvline((line + 0.5) * stride, color="white", lw=0.4)
    for line in np.arange(np.floor((y1 - 2 * stride) / stride), (y2 + 3 * stride) / stride):
        left.axhline((line + 0.5) * stride, color="white", lw=0.4)
    show_map(right, np.abs(t[f"{pool}.crops"][roi]).mean(axis=2), HEAT)
    return figure


def pooled_crops(
    t: Trace, roi: int = 0, channels: int = 8, pool: str = "detect.box_pool"
) -> Figure:
    """The first channels of one region's crop."""
    crop = t[f"{pool}.crops"][roi]
    shown = min(channels, crop.shape[2])
    figure, axes = panels(shown, size=1.6, titles=[f"channel {i}" for i in range(shown)])
    for channel, axis in enumerate(axes):
        show_map(axis, crop[:, :, channel], HEAT)
    return figure


def class_scores(t: Trace, classes: Sequence[str], count: int = 20, image: int = 0) -> Figure:
    """The probability of each class for the proposals that most probably show objects."""
    scores = t["detect.scores"][image]
    best = np.argsort(-scores[:, 1:].max(axis=1, initial=0), kind="stable")[:count]
    figure, axis = chart(1.5 + 0.45 * scores.shape[1], 1 + 0.22 * len(best))
    drawn = axis.imshow(scores[best], cmap=HEAT, vmin=0, vmax=1, aspect="auto")
    names = ["background", *(name_of(classes, k) for k in range(1, scores.shape[1]))]
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(best)), [f"proposal {i}" for i in best], fontsize=7)
    axis.grid(False)
    figure.colorbar(drawn, ax=axis, shrink=0.8)
    return figure


def all_proposals(
    t: Trace, classes: Sequence[str] = (), count: int = 200, image: int = 0
) -> Figure:
    """Proposals with the class that each was given; background is dotted and has no caption."""
    figure, (axis,) = panels(1, size=5, titles=("proposals and their classes",))
    show_image(axis, t, image, faded=0.2)
    boxes, scores = t["rpn.proposals"][image][:count], t["detect.scores"][image][:count]
    label = scores.argmax(axis=1)
    named = np.flatnonzero(label)
    draw_boxes(axis, boxes[label == 0], DROPPED, width=0.6, alpha=0.7)
    captions = [f"{name_of(classes, label[i])} {scores[i, label[i]]:.2f}" for i in named]
    draw_boxes(axis, boxes[named], PROPOSAL, width=1, captions=captions)
    return figure


def refined_proposals(t: Trace, count: int = 5, image: int = 0) -> Figure:
    """Proposals (dashed) and the boxes that the offsets of their class turn them into (solid)."""
    figure, (axis,) = panels(1, size=5, titles=("proposals (dashed), refined (solid)",))
    show_image(axis, t, image, faded=0.2)
    chosen = t["detect.kept"][image][:count]
    rows = t["detect.candidates.rows"][image][chosen]
    draw_boxes(axis, t["rpn.proposals"][image][rows], PROPOSAL, width=1)
    draw_boxes(axis, t["detect.candidates.clipped"][image][chosen], DETECTION, width=1.3)
    return figure


def filter_counts(t: Trace, image: int = 0) -> dict[str, int]:
    """The number of (proposal, class) pairs, and how many of them each filter removed."""
    scores, outcomes = t["detect.scores"][image], t["detect.candidates.outcomes"][image]
    return {
        "proposals": len(scores),
        "pairs of a proposal and a class": scores[:, 1:].size,
        "score too low": scores[:, 1:].size - len(outcomes),
        "too small": int((outcomes == Outcome.SMALL).sum()),
        "overlaps a better one of its class": int((outcomes == Outcome.OVERLAP).sum()),
        "not among the best": int((outcomes == Outcome.BEYOND_LIMIT).sum()),
        "detections": int((outcomes == Outcome.KEPT).sum()),
    }


def filter_rows(t: Trace, classes: Sequence[str] = (), image: int = 0) -> dict[str, Any]:
    """The proposals that pass the score threshold and are large enough, for each class.

    Returns:
        {class: (rows before NMS, rows that became detections)}.
    """
    rows, labels, outcomes = (
        t[f"detect.candidates.{name}"][image] for name in ("rows", "labels", "outcomes")
    )
    large = outcomes != Outcome.SMALL
    return {
        name_of(classes, k): (
            np.sort(rows[large & (labels == k)]).tolist(),
            np.sort(rows[(outcomes == Outcome.KEPT) & (labels == k)]).tolist(),
        )
        for k in np.unique(labels[large]).tolist()
    }


def candidate_outcomes(t: Trace, image: int = 0) -> Figure:
    """What became of the candidates above the score threshold: boxes, with counts beside them."""
    figure, (left, right) = panels(2, 2, 4.5, titles=("candidates", "counts"))
    show_image(left, t, image, faded=0.3)
    boxes, outcomes = (
        t["detect.candidates.clipped"][image],
        t["detect.candidates.outcomes"][image],
    )
    draw_boxes(left, boxes[outcomes != Outcome.KEPT], DROPPED, width=0.8)
    draw_boxes(left, boxes[outcomes == Outcome.KEPT], DETECTION)
    counts = dict(list(filter_counts(t, image).items())[2:])
    colours = [DETECTION if name == "detections" else DROPPED for name in counts]
    bars = right.barh(list(counts), list(counts.values()), color=colours)
    right.bar_label(bars, padding=3, fontsize=8)
    right.invert_yaxis()
    plain(right)
    return figure


def detections(t: Trace, classes: Sequence[str] = (), score: float = 0.5, image: int = 0) -> Figure:
    """The detections in pixels of the original image: boxes, classes, scores and masks."""
    figure, (axis,) = panels(1, size=5, titles=(f"detections from {score:g}",))
    show_image(axis, t, image)
    found = found_in(t, image)
    sure = np.flatnonzero(found["scores"] >= score)
    height, width = t["transform.sizes"][image]
    for i in sure:
        mode = t["detections.paste"][image]
        draw_mask(axis, found["masks"][i], found["boxes"][i], (height, width), mode)
    captions = [f"{name_of(classes, found['labels'][i])} {found['scores'][i]:.2f}" for i in sure]
    draw_boxes(axis, found["boxes"][sure], DETECTION, captions=captions)
    return figure


def mask_probabilities(
    t: Trace, classes: Sequence[str] = (), count: int = 8, image: int = 0
) -> Figure:
    """The 28x28 masks of the best detections, each for its own class."""
    found = found_in(t, image)
    shown = min(count, len(found["scores"]))
    figure, axes = panels(max(shown, 1), size=2)
    if shown == 0:
        nothing(axes[0], "no detections")
    for i in range(shown):
        show_map(axes[i], found["masks"][i], HEAT, vmin=0, vmax=1)
        title = f"{name_of(classes, found['labels'][i])} {found['scores'][i]:.2f}"
        axes[i].set_title(title, fontsize=8, color=INK)
    return figure


def pasted_masks(t: Trace, classes: Sequence[str] = (), count: int = 8, image: int = 0) -> Figure:
    """The same masks, each pasted into the whole (resized) image, before thresholding."""
    found = found_in(t, image)
    shown = min(count, len(found["scores"]))
    figure, axes = panels(max(shown, 1), size=2)
    if shown == 0:
        nothing(axes[0], "no detections")
        return figure
    mode = t["detections.paste"][image]
    height, width = t["transform.sizes"][image]
    pasted = paste_masks(found["masks"][:shown], found["boxes"][:shown], height, width, mode)
    for i in range(shown):
        show_map(axes[i], pasted[i], HEAT, vmin=0, vmax=1)
        title = f"{name_of(classes, found['labels'][i])}: {(pasted[i] > 0.5).sum()} pixels"
        axes[i].set_title(title, fontsize=8, color=INK)
    return figure


def class_masks(t: Trace, classes: Sequence[str] = (), detection: int = 0) -> Figure:
    """The masks of all classes for one detection: the network predicts all, and one is used."""
    logits = t["detect.mask_logits"][detection]
    count = logits.shape[2]
    names = ["background (unused)", *(name_of(classes, k) for k in range(1, count))]
    figure, axes = panels(count, 8, 1.5, titles=names)
    for k, axis in enumerate(axes):
        show_map(axis, sigmoid(logits[:, :, k]), HEAT, vmin=0, vmax=1)
    return figure


def pasting(t: Trace, detection: int = 0, image: int = 0) -> Figure:
    """How pasting rounds one box: the box itself (solid), and the whole pixels that its mask,
    padded by one, is resized to (dashed).
    """
    figure, (axis,) = panels(1, size=5, titles=("box, and the pixels that its mask fills",))
    if detection >= len(t["detections.boxes"][image]):
        nothing(axis, "no such detection")
        return figure
    if t["detections.paste"][image] == "exact":
        nothing(axis, "this model pastes exactly: nothing is rounded")
        return figure
    box = t["detections.boxes"][image][detection]
    x1, y1, x2, y2 = t["detections.paste_boxes"][image][detection]
    draw_boxes(axis, box[None], DETECTION)
    draw_boxes(axis, np.array([[x1, y1, x2 + 1, y2 + 1]]), MASK, "--")
    margin = 2 + max(x2 - x1, y2 - y1) // 10
    axis.set(xlim=(x1 - margin, x2 + margin + 1), ylim=(y2 + margin + 1, y1 - margin))
    axis.set_aspect("equal")
    axis.grid(alpha=0.3)
    moved = np.array([x1, y1, x2 + 1, y2 + 1]) - _grown(
        box, t["detect.mask_probabilities"].shape[1]
    )
    axis.set_xlabel(f"moved by rounding: {np.round(moved, 2).tolist()} pixels", fontsize=8)
    return figure


def _grown(box: np.ndarray, size: int) -> np.ndarray:
    """The box enlarged for a mask padded by one on each side, not yet rounded."""
    half = (box[2:] - box[:2]) / 2 * (size + 2) / size
    centre = (box[2:] + box[:2]) / 2
    return np.concatenate([centre - half, centre + half])


def found_in(t: Trace, image: int = 0) -> dict[str, np.ndarray]:
    """The boxes in pixels of the resized image, the labels, scores and masks of one image."""
    kept = t["detect.kept"][image]
    rows, labels = (t[f"detect.candidates.{n}"][image][kept] for n in ("rows", "labels"))
    start = sum(len(other) for other in t["detect.kept"][:image])
    return {
        "boxes": t["detect.candidates.clipped"][image][kept],
        "labels": labels,
        "scores": t["detect.scores"][image][rows, labels],
        "masks": t["detect.mask_probabilities"][start : start + len(kept)],
    }


def draw_mask(
    axis: Any, probabilities: np.ndarray, box: np.ndarray, size: tuple[int, int], mode: str
) -> None:
    """Draw the part of a mask (28, 28) above one half, pasted into an image of this size."""
    (pasted,) = paste_masks(probabilities[None], box[None], *size, mode)
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    if pasted.max() > 0.5:
        axis.contourf(x, y, pasted, [0.5, 1.1], colors=[MASK], alpha=0.4)
        axis.contour(x, y, pasted, [0.5], colors=[MASK], linewidths=1)
