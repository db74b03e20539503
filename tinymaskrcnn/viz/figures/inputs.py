"""The input: the image as the network receives it, the ground truth, and the feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...tracing import Trace
from ..colours import CHANNELS, GROUND_TRUTH, HEAT, INK, SIGNED
from .canvas import (
    chart,
    draw_boxes,
    draw_histogram,
    literal,
    nothing,
    panels,
    plain,
    show_image,
    show_map,
    tag,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def network_input(t: Trace, image: int = 0) -> Figure:
    """An image of the batch with padding, normalisation undone, beside its normalised values."""
    figure, (left, right) = panels(2, size=3.6, titles=("network input", "normalised values"))
    values = t["transform.batch"][image]
    show_image(left, t, image)
    left.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0), facecolor="#dddddd")
    height, width = t["transform.sizes"][image]
    for channel in range(values.shape[2]):
        pixels = values[:height, :width, channel].ravel()
        draw_histogram(
            right,
            pixels,
            60,
            color=CHANNELS[channel % len(CHANNELS)],
            label=f"channel {channel}",
        )
    plain(right)
    right.legend(frameon=False, fontsize=8)
    return figure


def ground_truth(t: Trace, classes: Sequence[str] = (), image: int = 0) -> Figure:
    """The target's boxes over its masks, in pixels of the resized image."""
    target = t["transform.targets"][image]
    figure, (axis,) = panels(1, size=5, titles=("ground truth",))
    show_image(axis, t, image)
    for mask, (x1, y1, *_), label in zip(
        target["masks"], target["boxes"], target["labels"], strict=True
    ):
        axis.contour(
            np.arange(mask.shape[1]) + 0.5,
            np.arange(mask.shape[0]) + 0.5,
            mask,
            [0.5],
            colors=GROUND_TRUTH,
            linewidths=1,
        )
        tag(axis, x1, y1, name_of(classes, label), GROUND_TRUTH)
    draw_boxes(axis, target["boxes"], GROUND_TRUTH, width=1)
    return figure


def ground_truth_masks(t: Trace, classes: Sequence[str] = (), image: int = 0) -> Figure:
    """The mask of each object by itself."""
    target = t["transform.targets"][image]
    names = [name_of(classes, label) for label in target["labels"]]
    figure, axes = panels(max(len(names), 1), titles=names or ["no objects"])
    if not names:
        nothing(axes[0], "this image has no objects")
    for axis, mask in zip(axes, target["masks"], strict=False):
        show_map(axis, mask, "Greys_r", vmin=0, vmax=1)
    return figure


def class_counts(t: Trace, classes: Sequence[str]) -> Figure:
    """The number of objects of each class in the batch's targets."""
    counts = np.zeros(len(classes), int)
    for target in t["transform.targets"]:
        counts += np.bincount(target["labels"] - 1, minlength=len(classes))
    figure, axis = chart(5, 0.6 + 0.3 * len(classes))
    bars = axis.barh(classes, counts, color=GROUND_TRUTH)
    axis.bar_label(bars, padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("objects")
    return figure


def feature_maps(
    t: Trace, name: str = "backbone.pyramid", channels: int = 4, image: int = 0
) -> Figure:
    """The first channels of every level of one kind of map, and the mean size of all channels.

    Args:
        name: "backbone.body", "backbone.laterals", "backbone.merged", "backbone.pyramid" or
            "rpn.hidden".
    """
    levels = t[name]
    figure, axes = panels(len(levels) * (channels + 1), channels + 1, 1.9)
    for i, level in enumerate(levels):
        row = axes[i * (channels + 1) : (i + 1) * (channels + 1)]
        size = "x".join(map(str, level.shape[1:]))
        show_map(row[0], np.abs(level[image]).mean(axis=2), HEAT)
        row[0].set_title(f"level {i}: {size}, mean of |values|", fontsize=7, color=INK)
        for channel, axis in enumerate(row[1:]):
            if channel < level.shape[3]:
                show_map(axis, level[image, :, :, channel], HEAT)
            axis.set_title(f"channel {channel}", fontsize=7, color=INK)
    return figure


def gradient_maps(t: Trace, name: str = "backbone.pyramid", image: int = 0) -> Figure:
    """How strongly the loss asks each place of every level to change; needs `trace(gradients=True)`
    around `backward`.
    """
    gradients = t.gradient(name)
    figure, axes = panels(len(gradients), size=2.4)
    for i, (axis, gradient) in enumerate(zip(axes, gradients, strict=True)):
        if gradient is None:
            nothing(axis, "no gradient arrived here")
            continue
        size = np.sqrt((gradient[image].astype(np.float64) ** 2).sum(axis=2))
        show_map(axis, size, HEAT)
        axis.set_title(f"level {i}: |gradient| to {size.max():.1e}", fontsize=8, color=INK)
    return figure


def signed_limit(values: np.ndarray) -> dict[str, float | str]:
    """Settings for a map that is white at zero."""
    limit = float(np.abs(values).max(initial=0)) or 1.0
    return {"cmap": SIGNED, "vmin": -limit, "vmax": limit}


def name_of(classes: Sequence[str], label: int) -> str:
    """The name of a label, which is 1 or more."""
    return literal(classes[label - 1]) if 0 < label <= len(classes) else f"class {label}"
