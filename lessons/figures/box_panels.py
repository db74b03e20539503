"""Many boxes on images, with lines thin enough to tell them apart: one image per panel, with layers
of boxes.

Not here: a few boxes with captions on one image (diagrams.boxes_on_picture).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.viz import colours
from tinymaskrcnn.viz.colours import Colour, rgb

from .figure import as_image, as_picture, new_figure

# the colours in tinymaskrcnn/viz/colours.py, as numbers
DROPPED = rgb(colours.DROPPED)
LEVELS = tuple(map(rgb, colours.LEVELS))


@dataclass(frozen=True)
class Layer:
    """Boxes and points of one kind.

    Args:
        boxes: (N, 4) in the image's pixels.
        colour: of the lines.
        style: of the lines, as in matplotlib.
        width: of the lines, in points.
        points: (M, 2) x y, drawn as dots of the same colour.
        captions: one per box, at its upper left corner.
    """

    boxes: np.ndarray
    colour: Colour
    style: str = "-"
    width: float = 1.2
    points: np.ndarray | None = None
    captions: Sequence[str] = ()


@as_image
def box_panels(
    panels: Mapping[str, tuple[np.ndarray, Sequence[Layer]]],
    columns: int = 3,
    side: float = 3.0,
    faded: float = 0.35,
    outside: float = 0.0,
) -> Image.Image:
    """Images side by side, with boxes on them.

    Args:
        panels: by title: the image (C, H, W), float 0..1, and its layers, the first at the bottom.
        columns: panels per row.
        side: width of a panel in inches.
        faded: how much white to mix into the images, so that the boxes stand out.
        outside: how many pixels to show around the images.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    _, height, width = next(iter(panels.values()))[0].shape
    tall = side * (height + 2 * outside) / (width + 2 * outside)
    figure = new_figure(side * columns, (tall + 0.3) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, (image, layers)) in zip(axes, panels.items(), strict=False):
        _draw_picture(axis, image, faded, outside)
        for layer in layers:
            _draw_layer(axis, layer)
        axis.set_title(title, size=9.5)
    return as_picture(figure)


def _draw_picture(axis: Any, image: np.ndarray, faded: float, outside: float) -> None:
    _, height, width = image.shape
    pixels = np.clip(image[:3] if len(image) >= 3 else image[:1].repeat(3, 0), 0, 1)
    shown = pixels.transpose(1, 2, 0) * (1 - faded) + faded  # C, H, W -> H, W, C
    axis.imshow(shown, extent=(0, width, height, 0), interpolation="nearest")
    axis.set(xlim=(-outside, width + outside), ylim=(height + outside, -outside))
    axis.set(xticks=[], yticks=[])
    axis.spines[["top", "right", "bottom", "left"]].set_color("0.7")


def _draw_layer(axis: Any, layer: Layer) -> None:
    from matplotlib.collections import LineCollection

    colour = tuple(c / 255 for c in layer.colour)
    boxes = np.asarray(layer.boxes, float).reshape(-1, 4)
    outlines = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]]  # N, 5 corners, x y
    lines = LineCollection(
        list(outlines), colors=[colour], linestyles=layer.style, linewidths=layer.width
    )
    axis.add_collection(lines, autolim=False)
    if layer.points is not None:
        x, y = np.asarray(layer.points, float).T
        axis.plot(x, y, ".", ms=2.2, color=colour, clip_on=True)
    paper = {"facecolor": colour, "edgecolor": "none", "pad": 1.0, "alpha": 0.9}
    for (x1, y1, _, _), caption in zip(boxes, layer.captions, strict=False):
        if caption:
            axis.text(x1, y1, caption, size=7, color="white", bbox=paper, va="bottom", clip_on=True)


@as_image
def dots(groups: Mapping[str, tuple[np.ndarray, Colour]], title: str = "") -> Image.Image:
    """Points (N, 2) x y, y downwards: by name, each group in its colour, the first as rings."""
    figure = new_figure(4.2, 4.2)
    axis = figure.subplots()
    for i, (name, (places, colour)) in enumerate(groups.items()):
        x, y = np.asarray(places, float).T
        share = tuple(c / 255 for c in colour)
        axis.plot(x, y, "x" if i else "o", ms=11 - 4 * i, mfc="none", color=share, label=name)
    axis.invert_yaxis()
    axis.set_aspect("equal", "datalim")
    axis.grid(color="0.9")
    axis.legend(frameon=False, fontsize=9)
    axis.set_title(title, size=10)
    return as_picture(figure)
