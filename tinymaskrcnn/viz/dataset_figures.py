"""Figures of a whole data set: classes, sizes, objects per image, how well anchors cover its boxes,
and what augmentation does to an image.

The charts take plain numbers, and draw on `axis` if one is given; `check-data` puts them on its
contact sheet.

Not here: images of the set with its issues (data_sheet.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .colours import ANCHOR, GROUND_TRUTH, INK, MASK, QUIET
from .draw import COLOURS, draw_target
from .figures.canvas import chart, literal, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_BARS, MOST_BARS = 5, 12
SMALL, LARGE = 32, 96  # COCO's size limits: square roots of an object's area, in pixels


def class_histogram(counts: Mapping[str, int], axis: Axes | None = None) -> Figure:
    """The most frequent classes, with the longest bar on top, in the colours of the contact sheet.

    Args:
        counts: objects per class, in label order.
    """
    figure, axis = _axis(axis, 5, 0.8 + 0.26 * min(len(counts), MOST_BARS))
    labels = {name: label for label, name in enumerate(counts)}
    shown = sorted(counts, key=lambda name: -counts[name])[:MOST_BARS]
    colours = [[part / 255 for part in COLOURS[labels[n] % len(COLOURS)]] for n in shown]
    names = [literal(name if len(name) <= 24 else f"{name[:22]}…") for name in shown]
    places = np.arange(len(shown))
    bars = axis.barh(places, [counts[name] for name in shown], color=colours, height=0.7)
    axis.set_yticks(places, names)
    axis.bar_label(bars, padding=3, fontsize=9, color=QUIET)
    axis.set_ylim(max(len(shown), LEAST_BARS) - 0.5, -0.5)
    axis.margins(x=0.15)
    hidden = len(counts) - len(shown)
    _head(axis, "objects" + (f" ({hidden} more classes)" if hidden else ""))
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.grid(False)
    axis.tick_params(left=False, bottom=False, labelbottom=False)
    return figure


def box_sizes(sides: np.ndarray, anchors: Sequence[float], axis: Axes | None = None) -> Figure:
    """The sizes of boxes as the model sees them, and of its anchors.

    Args:
        sides: (G,) square roots of the boxes' areas, in the model's pixels.
        anchors: the anchor sizes.
    """
    figure, axis = _axis(axis, 6, 2.7)
    low = min([*anchors, *sides[:1]]) if len(sides) == 0 else min(sides.min(), min(anchors))
    _sizes(axis, sides, low, max(max(anchors), sides.max(initial=1.0)), GROUND_TRUTH)
    _lines(axis, {f"{size:g}": size for size in anchors}, ANCHOR)
    _head(axis, "box sizes (square root of area) in the model's pixels, with its anchors")
    axis.set_ylabel("boxes")
    return figure


def mask_sizes(sides: np.ndarray, axis: Axes | None = None) -> Figure:
    """The sizes of masks in the images' own pixels, with COCO's limits for small and large.

    Args:
        sides: (G,) square roots of the masks' areas.
    """
    figure, axis = _axis(axis, 5, 2.7)
    low, high = (sides.min(), sides.max()) if len(sides) else (1, LARGE)
    _sizes(axis, sides, min(low, SMALL), max(high, LARGE), MASK)
    _lines(axis, {"medium from 32": SMALL, "large from 96": LARGE}, QUIET)
    _head(axis, "mask sizes (square root of area) in pixels")
    axis.set_ylabel("objects")
    return figure


def objects_per_image(counts: np.ndarray, axis: Axes | None = None) -> Figure:
    """How many images have how many objects.

    Args:
        counts: (N,) objects in each image.
    """
    figure, axis = _axis(axis, 5, 2.7)
    counts = np.asarray(counts, int)
    width = max(1, -(-int(counts.max(initial=0) + 1) // 40))
    edges = np.arange(0, counts.max(initial=0) + width + 1, width) - 0.5
    axis.hist(counts, edges.tolist(), color=GROUND_TRUTH, rwidth=0.9)
    title = "objects per image"
    if len(counts):
        title += f": {counts.mean():.1f} on average, {(counts == 0).sum()} without"
    _head(axis, title)
    axis.set_ylabel("images")
    axis.locator_params(axis="y", integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def anchor_coverage(overlaps: np.ndarray, axis: Axes | None = None) -> Figure:
    """For each IoU, the share of boxes that some anchor overlaps at least that much; dotted lines
    show from where an anchor counts as positive.

    Args:
        overlaps: (G,) IoU of each box with its best anchor, from `anchor_fit.best_overlaps`.
    """
    figure, axis = _axis(axis, 5, 2.7)
    ious = np.linspace(0, 1, 101)
    best = np.sort(np.asarray(overlaps, float))
    shares = 1 - np.searchsorted(best, ious) / max(len(best), 1)
    axis.plot(ious, shares, color=ANCHOR, lw=2)
    for iou in (0.5, 0.7):
        axis.axvline(iou, color=QUIET, lw=0.8, ls=":")
        if len(best):
            text = f"{(best >= iou).mean():.0%}"
            axis.annotate(text, (iou, 1), (3, -3), textcoords="offset points", va="top", fontsize=9)
    axis.set(xlim=(0, 1), ylim=(0, 1.04), ylabel="share of boxes")
    _head(axis, "IoU of each box with its best anchor, at least")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def augmentations(
    image: np.ndarray,
    target: Mapping[str, Any],
    augmentation: Callable[..., tuple[np.ndarray, Any]],
    classes: Sequence[str] = (),
    count: int = 8,
    seed: int = 0,
) -> Figure:
    """An image with its objects as it is, and `count - 1` times as training may see it.

    Args:
        image: (C, H, W) float32 in 0..1.
        target: its objects.
        augmentation: `datasets.Augmentation`, or any function of (image, target, generator) that
            returns a new pair.
    """
    rng = np.random.default_rng(seed)
    titles = ["as it is", *(f"augmented, {i}" for i in range(1, count))]
    figure, axes = panels(count, size=2.6, titles=titles)
    for i, axis in enumerate(axes):
        given = image, dict(target)
        shown, objects = given if i == 0 else augmentation(*given, rng)
        axis.imshow(np.asarray(draw_target(shown, objects, classes)))
        axis.set(xticks=[], yticks=[])
    return figure


def _axis(axis: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The given axes with their figure, or new ones."""
    if axis is None:
        return chart(width, height)
    return axis.figure, axis  # type: ignore[return-value]


def _head(axis: Axes, title: str) -> None:
    axis.set_title(title, loc="left", size=10, color=INK)


def _sizes(axis: Axes, sides: np.ndarray, low: float, high: float, colour: str) -> None:
    """A histogram over a logarithmic axis."""
    edges = np.geomspace(max(low, 0.5) / 1.15, high * 1.15, 41)
    axis.hist(np.clip(sides, edges[0], edges[-1]), edges.tolist(), color=colour)
    axis.set_xscale("log")
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if low <= t <= high]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.locator_params(axis="y", integer=True)
    axis.minorticks_off()
    axis.grid(False)
    axis.spines[["top", "right"]].set_visible(False)


def _lines(axis: Axes, places: Mapping[str, float], colour: str) -> None:
    """Vertical lines with their names beside them, at the top."""
    for name, x in places.items():
        axis.axvline(x, color=colour, lw=1.6)
        axis.annotate(
            name,
            (x, 1),
            (3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=INK,
        )
