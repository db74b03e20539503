"""Two answers to one image: outlines over each other, and bars of what each difference costs.

Both functions return a PIL image; the caller shows or saves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.colours import DETECTION, GROUND_TRUTH, PROPOSAL

from .figure import as_image, as_picture, bare, new_figure

SHARP = 8  # drawn pixels per pixel: outlines follow the pixels' edges
SERIES = (GROUND_TRUTH, PROPOSAL)


class Panel(NamedTuple):
    """A part of an image, and the masks of two answers in it.

    Args:
        image: (3, H, W) float 0..1. view: x1 y1 x2 y2 of the part.
        before, after: (n, H, W) bool.
    """

    image: np.ndarray
    view: Sequence[float]
    before: np.ndarray
    after: np.ndarray


@as_image
def two_answers(panels: Mapping[str, Panel], columns: int = 3, side: float = 2.8) -> Image.Image:
    """Parts of images under their titles, with the outlines of `before` in green and those of
    `after` dashed in vermilion.

    Args:
        columns: panels per row. side: of a panel, in inches.
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(side * columns, (side + 0.45) * rows)
    for i, (title, panel) in enumerate(panels.items()):
        axis = figure.add_subplot(rows, columns, i + 1)
        _, height, width = panel.image.shape
        shown = 0.25 + 0.75 * np.clip(panel.image, 0, 1).transpose(1, 2, 0)
        axis.imshow(shown, extent=(0, width, height, 0), interpolation="nearest")
        before, after = (_inside(masks, panel.view) for masks in (panel.before, panel.after))
        _outline(axis, *before, colors="white", linewidths=4.5)
        _outline(axis, *before, colors=GROUND_TRUTH, linewidths=2.6)
        _outline(axis, *after, colors=DETECTION, linewidths=1.7, linestyles=[(0, (4, 1.5))])
        x1, y1, x2, y2 = panel.view
        axis.set(xlim=(x1, x2), ylim=(y2, y1), xticks=[], yticks=[])
        axis.set_title(title, size=9.5)
        bare(axis)
    return as_picture(figure)


def _inside(masks: np.ndarray, view: Sequence[float]) -> tuple[np.ndarray, int, int]:
    """The masks that show in a view, cut to it, with x and y of where that begins."""
    x1, y1, x2, y2 = (max(int(v) + k, 0) for v, k in zip(view, (-2, -2, 2, 2), strict=True))
    cut = masks[:, y1:y2, x1:x2]
    return cut[cut.any(axis=(1, 2))], x1, y1


def _outline(axis: Any, masks: np.ndarray, left: int, top: int, **style: Any) -> None:
    for mask in masks:
        fine = np.pad(np.kron(mask, np.ones((SHARP, SHARP))), 1)  # closed at the edges of the image
        y, x = ((np.arange(side) - 0.5) / SHARP for side in fine.shape)
        axis.contour(x + left, y + top, fine, [0.5], **style)


@as_image
def cost_bars(
    names: Sequence[str], columns: Mapping[str, Mapping[str, Sequence[float]]], longest: float
) -> Image.Image:
    """Named rows of bars, in several columns, each with a scale of its own.

    Args:
        names: of the rows, the first on top.
        columns: by title: by the name of a series, a value per row.
        longest: bars below zero are cut here; their numbers are not.
    """
    figure = new_figure(3.1 + 2.2 * len(columns), 0.9 + 0.46 * len(names))
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    places = np.arange(len(names))
    for axis, (title, series) in zip(axes, columns.items(), strict=True):
        every = np.concatenate([np.asarray(values, float) for values in series.values()])
        low, high = np.clip([every.min(), every.max()], [-longest, 0], [0, np.inf])
        room = 0.28 * (high - low)
        axis.set(xlim=(low - (room if low < 0 else 0), high + room), xticks=[])
        for k, (name, values) in enumerate(series.items()):
            at = places + 0.36 * (k - (len(series) - 1) / 2)
            drawn = np.maximum(values, low)
            axis.barh(at, drawn, 0.32, color=SERIES[k], label=name)
            for y, end, value in zip(at, drawn, values, strict=True):
                text = "0" if value == 0 else f"{value:+.1f}" if low < 0 else f"{value:.2g}"
                gap = 0.03 * (high - low) * (1 if value >= 0 else -1)
                aligned = "left" if value >= 0 else "right"
                axis.text(end + gap, y, text, ha=aligned, va="center", size=8, color="0.3")
        axis.axvline(0, color="0.5", lw=0.8)
        axis.set_title(title, size=10)
        axis.tick_params(length=0)
        bare(axis)
    axes[0].set_yticks(places, names, size=9.5)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=2,
                  frameon=False, fontsize=9)  # fmt: skip
    return as_picture(figure)
