"""What training uses: matching, sampling, targets, loss terms; and the samples of many passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...detection.box_coder import BoxCoder
from ...detection.matcher import BELOW, BETWEEN
from ...models.roi_heads import mask_goals as cut_masks
from ...ops.activations.reference import sigmoid
from ...ops.paste_masks.op import paste_masks, paste_masks_binary
from ...tracing import Trace
from ..colours import ANCHOR, DROPPED, GROUND_TRUTH, HEAT, INK, LOSSES, PROPOSAL
from .canvas import (
    chart,
    draw_boxes,
    keep_in_view,
    literal,
    nothing,
    panels,
    plain,
    show_image,
    show_map,
)
from .inputs import name_of, signed_limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # regions that are shown one by one


def anchor_matches(t: Trace, count: int = 100, image: int = 0) -> Figure:
    """Positive anchors (dotted) with the boxes they should become (solid), some background anchors,
    and some that are neither.
    """
    decisions, anchors = t["rpn.match.decisions"][image], t["rpn.anchors"]
    kinds = {
        "positive": np.flatnonzero(decisions >= 0),
        "background": np.flatnonzero(decisions == BELOW),
        "neither": np.flatnonzero(decisions == BETWEEN),
    }
    titles = [f"{name}: {len(which)}" for name, which in kinds.items()]
    figure, axes = panels(3, 3, 3.6, titles=titles)
    rng = np.random.default_rng(0)
    for axis, (name, which) in zip(axes, kinds.items(), strict=True):
        show_image(axis, t, image, faded=0.3)
        shown = which if len(which) <= count else np.sort(rng.choice(which, count, replace=False))
        colour = ANCHOR if name == "positive" else DROPPED
        draw_boxes(axis, anchors[shown], colour, width=0.8)
    draw_boxes(axes[0], t["transform.targets"][image]["boxes"], GROUND_TRUTH)
    keep_in_view(axes[0], anchors[kinds["positive"]])
    return figure


def sampled_anchors(t: Trace, image: int = 0) -> Figure:
    """The anchors that the losses use; the positive ones with the boxes of their targets."""
    indices, truth = (t[f"rpn.sample.{name}"][image] for name in ("indices", "is_object"))
    anchors = t["rpn.anchors"][indices]
    goals = BoxCoder().decode(t["rpn.sample.goals"][image], anchors[truth])[:, 0]
    titles = (f"{int(truth.sum())} objects and their targets", f"{int((~truth).sum())} background")
    figure, (left, right) = panels(2, 2, 4, titles=titles)
    for axis in (left, right):
        show_image(axis, t, image, faded=0.3)
    draw_boxes(left, anchors[truth], ANCHOR, width=0.9)
    draw_boxes(left, goals, GROUND_TRUTH, width=1)
    draw_boxes(right, anchors[~truth], DROPPED, width=0.7)
    return figure


def overlap_matrix(t: Trace, stage: str = "rpn", count: int = 40, image: int = 0) -> Figure:
    """IoU of every ground-truth box with the boxes that overlap it most.

    Args:
        stage: "rpn" for anchors, "roi" for proposals.
        count: boxes (columns).
    """
    iou = t[f"{stage}.match.iou"][image]
    figure, axis = chart(8, 1.2 + 0.3 * len(iou))
    if len(iou) == 0:
        nothing(axis, "no objects")
        return figure
    best = np.argsort(-iou.max(axis=0), kind="stable")[:count]
    best = best[np.argsort(iou[:, best].argmax(axis=0), kind="stable")]
    drawn = axis.imshow(iou[:, best], cmap=HEAT, vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(best)), [str(i) for i in best], rotation=90, fontsize=6)
    axis.set(yticks=range(len(iou)), xlabel="anchor" if stage == "rpn" else "candidate")
    axis.set_ylabel("ground truth")
    axis.grid(False)
    figure.colorbar(drawn, ax=axis, label="IoU")
    return figure


def sampled_regions(t: Trace, classes: Sequence[str] = (), image: int = 0) -> Figure:
    """The regions that the heads learn from: objects with classes and targets, and background."""
    boxes, labels, goals = (t[f"roi.sample.{n}"][image] for n in ("boxes", "labels", "goals"))
    truth = t["transform.targets"][image]["boxes"][t["roi.sample.matches"][image][labels > 0]]
    unique = len(np.unique(boxes, axis=0))
    share = (labels > 0).mean() if len(labels) else 0
    titles = (
        f"{int((labels > 0).sum())} objects ({share:.0%}), {unique} of {len(boxes)} unique",
        f"{int((labels == 0).sum())} background",
    )
    figure, (left, right) = panels(2, 2, 4, titles=titles)
    for axis in (left, right):
        show_image(axis, t, image, faded=0.3)
    captions = [name_of(classes, label) for label in labels[labels > 0]]
    draw_boxes(left, boxes[labels > 0], PROPOSAL, width=0.9, captions=captions)
    draw_boxes(left, truth, GROUND_TRUTH, width=1.2)
    draw_boxes(right, boxes[labels == 0], DROPPED, width=0.7)
    left.set_xlabel(f"largest target {np.abs(goals).max(initial=0):.2f}", fontsize=8)
    return figure


def mask_goals(t: Trace, count: int = SHOWN, image: int = 0) -> Figure:
    """Regions with the mask that each should have, the mask it has, and the loss of each pixel."""
    goals, logits, terms = t["roi.mask_goals"], t["roi.mask_logits"], t["roi.terms.mask"]
    rois = t["roi.mask_pool.rois"]
    own = np.flatnonzero(rois[:, 0] == image)[:count]
    figure, axes = panels(4 * max(len(own), 1), 4, 1.7)
    if len(own) == 0:
        nothing(axes[0], "no objects among the regions")
    for row, i in enumerate(own):
        region, goal, mask, loss = axes[4 * row : 4 * row + 4]
        show_image(region, t, image)
        x1, y1, x2, y2 = rois[i, 1:]
        region.set(xlim=(x1, max(x2, x1 + 1)), ylim=(max(y2, y1 + 1), y1), aspect="auto")
        show_map(goal, goals[i], "Greys_r", vmin=0, vmax=1)
        show_map(mask, sigmoid(logits[i]), HEAT, vmin=0, vmax=1)
        show_map(loss, terms[i] * terms[i].size, HEAT, vmin=0)
        titles = ("region", "goal", "probability", "loss")
        for axis, title in zip((region, goal, mask, loss), titles, strict=True):
            axis.set_title(f"{title} {i}", fontsize=7, color=INK)
    return figure


def mask_resolution(t: Trace, count: int = SHOWN, size: int = 28, image: int = 0) -> Figure:
    """What a mask of size x size can hold: each object's own mask, cut out of its box to that grid
    and pasted back. A network that predicts its targets exactly reaches this IoU.
    """
    target = t["transform.targets"][image]
    boxes, masks = target["boxes"][:count], target["masks"][:count]
    figure, axes = panels(3 * max(len(boxes), 1), 3, 1.9)
    if len(boxes) == 0:
        nothing(axes[0], "no objects")
        return figure
    small, ious = mask_round_trip(masks, boxes, size)
    back = paste_masks(small, boxes, *masks.shape[1:]) > 0.5
    for i, (row, (x1, y1, x2, y2)) in enumerate(zip(_rows(axes, 3), boxes, strict=True)):
        show_map(row[0], masks[i], "Greys_r", vmin=0, vmax=1)
        show_map(row[1], small[i], "Greys_r", vmin=0, vmax=1)
        show_map(row[2], back[i], "Greys_r", vmin=0, vmax=1)
        for axis in (row[0], row[2]):
            axis.set(xlim=(x1 - 2, x2 + 2), ylim=(y2 + 2, y1 - 2))
        titles = (f"object {i}", f"{size} x {size}", f"pasted back: IoU {ious[i]:.3f}")
        for axis, title in zip(row, titles, strict=True):
            axis.set_title(title, fontsize=7, color=INK)
    return figure


def mask_round_trip(masks: Any, boxes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut masks (G, H, W) out of their boxes (G, 4) to a grid (G, size, size), and paste them back.

    Returns:
        The grids, and the IoU (G,) of each pasted mask with the original.
    """
    small, ious = np.zeros((len(boxes), size, size), np.float32), np.zeros(len(boxes))
    for i, mask in enumerate(masks):  # one at a time: images may be large
        own = slice(i, i + 1)
        small[own] = cut_masks(masks[own], boxes[own], np.zeros(1), size)
        back = paste_masks_binary(small[own], boxes[own], *mask.shape)[0]
        ious[i] = (back & (mask > 0)).sum() / max((back | (mask > 0)).sum(), 1)
    return small, ious


def _rows(axes: Sequence[Any], columns: int) -> list[Sequence[Any]]:
    return [axes[i : i + columns] for i in range(0, len(axes), columns)]


def loss_terms(t: Trace) -> Figure:
    """What each anchor or region adds to the five losses, largest first."""
    terms = {
        "loss_objectness": np.concatenate(t["rpn.terms.objectness"]),
        "loss_rpn_box_reg": np.concatenate(t["rpn.terms.box"]),
        "loss_classifier": t["roi.terms.classifier"],
        "loss_box_reg": t["roi.terms.box"],
        "loss_mask": t["roi.terms.mask"].sum(axis=(1, 2)),
    }
    figure, axes = panels(5, 3, 2.8)
    for axis, (name, values) in zip(axes, terms.items(), strict=True):
        axis.bar(range(len(values)), np.sort(values)[::-1], width=1, color=LOSSES[name])
        axis.set_title(f"{name} {float(t['losses'][name]):.4f}", fontsize=8, color=INK)
        plain(axis)
    return figure


def mask_loss(t: Trace, region: int = 0) -> Figure:
    """The gradient of one region's mask loss: where the mask should grow or shrink."""
    figure, (axis,) = panels(1, size=3.2, titles=(f"region {region}: probability - goal",))
    if region >= len(t["roi.mask_goals"]):
        nothing(axis, "no such region")
        return figure
    slope = sigmoid(t["roi.mask_logits"][region]) - t["roi.mask_goals"][region]
    limits = signed_limit(slope)
    figure.colorbar(show_map(axis, slope, **limits), ax=axis, shrink=0.8)  # type: ignore[arg-type]
    return figure


def sample_statistics(traces: Sequence[Trace]) -> list[dict[str, Any]]:
    """What the region sampler chose in each image of the training passes.

    Returns:
        For each image: the number of `regions`, how many boxes among them are `unique`, the `share`
        of objects, and the regions per class, `classes`.
    """
    rows = []
    for t in traces:
        for boxes, labels in zip(t["roi.sample.boxes"], t["roi.sample.labels"], strict=True):
            names, counts = np.unique(labels, return_counts=True)
            rows.append(
                {
                    "regions": len(labels),
                    "unique": len(np.unique(boxes, axis=0)),
                    "share": float((labels > 0).mean()) if len(labels) else 0.0,
                    "classes": dict(zip(names.tolist(), counts.tolist(), strict=True)),
                }
            )
    return rows


def sampled_shares(traces: Sequence[Trace], classes: Sequence[str] = ()) -> Figure:
    """The sampler's choices: the share of objects per image, and the regions per class."""
    figure, (left, right) = panels(2, 2, 3.6, titles=("share of objects", "regions by class"))
    rows = sample_statistics(traces)
    if not rows:
        nothing(left, "no training pass")
        return figure
    left.bar(range(len(rows)), [row["share"] for row in rows], color=PROPOSAL)
    unique, regions = (sum(row[name] for row in rows) for name in ("unique", "regions"))
    left.set(xlabel=f"image ({unique} of {regions} boxes unique)", ylim=(0, 1))
    totals: dict[int, int] = {}
    for row in rows:
        for label, count in row["classes"].items():
            totals[label] = totals.get(label, 0) + count
    called = [literal(name) for name in classes]
    names = [called[k - 1] if 0 < k <= len(called) else f"class {k}" for k in sorted(totals)]
    names[0] = "background" if 0 in totals else names[0]
    bars = right.barh(names, [totals[k] for k in sorted(totals)], color=PROPOSAL)
    right.bar_label(bars, padding=3, fontsize=8)
    right.invert_yaxis()
    return figure
