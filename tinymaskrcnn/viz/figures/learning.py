"""What training sees: matching, sampling, goals, loss terms; and the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit as sigmoid

from ...detection.box_coder import BoxCoder
from ...detection.matcher import BELOW, BETWEEN
from ...tracing import Trace
from ..colours import ANCHOR, DROPPED, GROUND_TRUTH, HEAT, INK, LOSSES, MASK, PROPOSAL
from .canvas import chart, draw_boxes, keep_in_view, nothing, panels, plain, show_map, show_picture
from .inputs import name_of, signed_limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # regions that are shown each by itself


def anchor_matches(t: Trace, count: int = 100, picture: int = 0) -> Figure:
    """Anchors that stand for an object (dotted) with the boxes they should become (solid); some
    background; some that are neither.
    """
    decisions, anchors = t["rpn.match.decisions"][picture], t["rpn.anchors"]
    kinds = {
        "positive": np.flatnonzero(decisions >= 0),
        "background": np.flatnonzero(decisions == BELOW),
        "neither": np.flatnonzero(decisions == BETWEEN),
    }
    titles = [f"{name}: {len(which)}" for name, which in kinds.items()]
    figure, axes = panels(3, 3, 3.6, titles=titles)
    rng = np.random.default_rng(0)
    for axis, (name, which) in zip(axes, kinds.items(), strict=True):
        show_picture(axis, t, picture, faded=0.3)
        shown = which if len(which) <= count else np.sort(rng.choice(which, count, replace=False))
        colour = ANCHOR if name == "positive" else DROPPED
        draw_boxes(axis, anchors[shown], colour, width=0.8)
    draw_boxes(axes[0], t["transform.targets"][picture]["boxes"], GROUND_TRUTH)
    keep_in_view(axes[0], anchors[kinds["positive"]])
    return figure


def sampled_anchors(t: Trace, picture: int = 0) -> Figure:
    """The anchors that the losses look at; objects with the boxes that their goals lead to."""
    indices, truth = (t[f"rpn.sample.{name}"][picture] for name in ("indices", "is_object"))
    anchors = t["rpn.anchors"][indices]
    goals = BoxCoder().decode(t["rpn.sample.goals"][picture], anchors[truth])[:, 0]
    titles = (f"{int(truth.sum())} objects and their goals", f"{int((~truth).sum())} background")
    figure, (left, right) = panels(2, 2, 4, titles=titles)
    for axis in (left, right):
        show_picture(axis, t, picture, faded=0.3)
    draw_boxes(left, anchors[truth], ANCHOR, width=0.9)
    draw_boxes(left, goals, GROUND_TRUTH, width=1)
    draw_boxes(right, anchors[~truth], DROPPED, width=0.7)
    return figure


def overlap_matrix(t: Trace, stage: str = "rpn", count: int = 40, picture: int = 0) -> Figure:
    """IoU of every ground-truth box with the boxes that overlap it most.

    Args:
        stage: "rpn" for anchors, "roi" for proposals. count: boxes (columns).
    """
    iou = t[f"{stage}.match.iou"][picture]
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


def sampled_regions(t: Trace, classes: Sequence[str] = (), picture: int = 0) -> Figure:
    """The regions that the heads learn from: objects with their classes and goals, background."""
    boxes, labels, goals = (t[f"roi.sample.{n}"][picture] for n in ("boxes", "labels", "goals"))
    truth = t["transform.targets"][picture]["boxes"][t["roi.sample.matches"][picture][labels > 0]]
    unique = len(np.unique(boxes, axis=0))
    share = (labels > 0).mean() if len(labels) else 0
    titles = (
        f"{int((labels > 0).sum())} objects ({share:.0%}), {unique} of {len(boxes)} unique",
        f"{int((labels == 0).sum())} background",
    )
    figure, (left, right) = panels(2, 2, 4, titles=titles)
    for axis in (left, right):
        show_picture(axis, t, picture, faded=0.3)
    captions = [name_of(classes, label) for label in labels[labels > 0]]
    draw_boxes(left, boxes[labels > 0], PROPOSAL, width=0.9, captions=captions)
    draw_boxes(left, truth, GROUND_TRUTH, width=1.2)
    draw_boxes(right, boxes[labels == 0], DROPPED, width=0.7)
    left.set_xlabel(f"largest goal {np.abs(goals).max(initial=0):.2f}", fontsize=8)
    return figure


def mask_goals(t: Trace, count: int = SHOWN) -> Figure:
    """Regions with the mask that each should get, what it got, and what each pixel costs."""
    goals, logits, terms = t["roi.mask_goals"], t["roi.mask_logits"], t["roi.terms.mask"]
    shown = min(count, len(goals))
    figure, axes = panels(3 * max(shown, 1), 3, 1.7)
    if shown == 0:
        nothing(axes[0], "no objects among the regions")
    for i in range(shown):
        row = axes[3 * i : 3 * i + 3]
        show_map(row[0], goals[i], "Greys_r", vmin=0, vmax=1)
        show_map(row[1], sigmoid(logits[i]), HEAT, vmin=0, vmax=1)
        show_map(row[2], terms[i] * terms[i].size, HEAT, vmin=0)
        for axis, title in zip(row, ("goal", "probability", "loss"), strict=True):
            axis.set_title(f"region {i}: {title}", fontsize=7, color=INK)
    return figure


def loss_terms(t: Trace) -> Figure:
    """What each anchor or region adds to the five losses, the largest first."""
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
    """The slope of one region's mask loss: where the mask should grow, and where shrink."""
    figure, (axis,) = panels(1, size=3.2, titles=(f"region {region}: probability - goal",))
    if region >= len(t["roi.mask_goals"]):
        nothing(axis, "no such region")
        return figure
    slope = sigmoid(t["roi.mask_logits"][region]) - t["roi.mask_goals"][region]
    limits = signed_limit(slope)
    figure.colorbar(show_map(axis, slope, **limits), ax=axis, shrink=0.8)  # type: ignore[arg-type]
    return figure


def weight_statistics(state: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """For each array its name, shape, least, largest, mean, standard deviation, and what is odd:
    "not finite", "all zero", "all equal", "large" (beyond 100 in size), else "".
    """
    return [_statistics(name, array) for name, array in state.items()]


def _statistics(name: str, array: np.ndarray) -> dict[str, Any]:
    values = np.asarray(array, np.float64)
    row: dict[str, Any] = {"name": name, "shape": list(array.shape), "odd": _oddity(values)}
    if values.size:
        figures = {"least": values.min(), "largest": values.max(), "mean": values.mean()}
        row |= {key: float(v) for key, v in {**figures, "std": values.std()}.items()}
    return row


def _oddity(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "not finite"
    if values.size and not values.any():
        return "all zero"
    if values.size > 1 and values.min() == values.max():
        return "all equal"
    return "large" if np.abs(values).max(initial=0) > 100 else ""


def weight_histograms(state: Mapping[str, np.ndarray], pattern: str = "weight") -> Figure:
    """A histogram of every array whose name ends with the pattern."""
    chosen = {name: a for name, a in state.items() if name.endswith(pattern) and a.ndim > 1}
    figure, axes = panels(max(len(chosen), 1), 4, 2.2)
    for axis, (name, array) in zip(axes, chosen.items(), strict=False):
        axis.hist(array.ravel(), bins=50, color=MASK)
        axis.set_title(name, fontsize=6, color=INK)
        axis.tick_params(labelsize=6)
        plain(axis)
    return figure
