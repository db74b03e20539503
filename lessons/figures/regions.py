"""Figures of cropping: regions in the colours of their levels, and what RoIAlign and RoIPool read
from a map for the same region.

Every function returns a PIL image. Not here: figures of a trace (the package's viz/figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.ops.roi_pool.reference import _bins
from tinymaskrcnn.viz.colours import INK, LEVELS, POINT, PROPOSAL
from tinymaskrcnn.viz.derived import sampling_points

from .figure import as_image, as_picture, bare, new_figure


@as_image
def regions_by_level(
    image: np.ndarray, boxes: np.ndarray, levels: np.ndarray, names: Sequence[str]
) -> Image.Image:
    """An image with boxes, each in the colour of the level from which it is cropped.

    Args:
        image: (3, H, W) float 0..1.
        boxes: (n, 4) in its pixels.
        levels: (n,) the index of each box's level.
        names: of the levels.
    """
    from matplotlib.patches import Rectangle

    height, width = image.shape[1:]
    figure = new_figure(6.6, 5.0 * height / width)
    axis = figure.subplots()
    axis.imshow(image.transpose(1, 2, 0), extent=(0, width, height, 0), interpolation="nearest")
    for level, name in enumerate(names):
        chosen = boxes[levels == level]
        for x1, y1, x2, y2 in chosen:
            frame = (x1, y1), x2 - x1, y2 - y1
            axis.add_patch(Rectangle(*frame, fill=False, ec=LEVELS[level], lw=1.6))
        axis.plot([], [], color=LEVELS[level], lw=2.5, label=f"{name}: {len(chosen)}")
    axis.set(xticks=[], yticks=[])
    bare(axis)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return as_picture(figure)


@as_image
def two_poolings(
    values: np.ndarray, region: Sequence[float], bins: int, samples: int
) -> Image.Image:
    """One region on a map, as RoIAlign (`aligned`) reads it and as RoIPool does. Cells are drawn as
    squares around their numbers, which are the coordinates of their centres.

    Args:
        values: (H, W).
        region: x1 y1 x2 y2, in cells from the map's edge.
        bins: per side.
        samples: RoIAlign's samples per bin along each axis.
    """
    low, high = np.array(region, np.float32).reshape(2, 2)
    ones = np.ones(2, np.float32)
    columns, rows = sampling_points(low - 0.5, high - 0.5, ones, bins, samples)
    rounded = [
        _bins(low[axis], high[axis], 1, bins, values.shape[1 - axis]).tolist() for axis in (1, 0)
    ]
    region = [v - 0.5 for v in region]
    x1, y1, x2, y2 = region
    view = np.floor([x1, y1]) - 1.5, np.ceil([x2, y2]) + 1.5
    across, down = view[1] - view[0]
    figure = new_figure(9.2, 4.6 * down / across + 0.5)
    left, right = figure.subplots(1, 2)
    for axis, title in ((left, "RoIAlign: samples, in bins"), (right, "RoIPool: whole cells")):
        axis.imshow(values, cmap="gray", interpolation="nearest", alpha=0.85)
        axis.set_xticks(np.arange(values.shape[1]))
        axis.set_yticks(np.arange(values.shape[0]))
        axis.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="white", lw=0.5)
        axis.tick_params(which="both", length=0, labelsize=8, colors="0.4")
        bare(axis)
        axis.set_title(title, size=11, color=INK)
        axis.set(xlim=(view[0][0], view[1][0]), ylim=(view[1][1], view[0][1]))
        _frame(axis, region, PROPOSAL, "--", 2.4)
    _add_bins(left, region, bins)
    across_all, down_all = np.meshgrid(columns, rows)
    left.plot(across_all.ravel(), down_all.ravel(), "o", ms=4.5, color=POINT, mec=INK, mew=0.6)
    for i, (top, bottom) in enumerate(rounded[0]):
        for j, (first, last) in enumerate(rounded[1]):
            shift = 0.05 + 0.06 * ((i + j) % 2)  # bins that share cells stay visible
            box = (first - 0.5 + shift, top - 0.5 + shift, last - 0.5 - shift, bottom - 0.5 - shift)
            _frame(right, box, POINT if (i + j) % 2 else LEVELS[2], "-", 1.6)
    return as_picture(figure)


def _add_bins(axis: Any, region: Sequence[float], bins: int) -> None:
    x1, y1, x2, y2 = region
    for share in np.arange(1, bins) / bins:
        axis.plot([x1 + share * (x2 - x1)] * 2, [y1, y2], color=PROPOSAL, lw=1)
        axis.plot([x1, x2], [y1 + share * (y2 - y1)] * 2, color=PROPOSAL, lw=1)


def _frame(axis: Any, box: Sequence[float], colour: str, style: str, width: float) -> None:
    x1, y1, x2, y2 = box
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], style, color=colour, lw=width)
