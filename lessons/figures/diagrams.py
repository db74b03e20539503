"""Diagrams of small things: boxes on a grid of pixels, tables of numbers as heat maps, and boxes on
images in the colours of their roles.

Every function returns a PIL image; the caller shows or saves it. Not here: instances with masks
(tinymaskrcnn/viz/draw.py), curves, rows of images and graphs (plots.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tinymaskrcnn.viz import colours
from tinymaskrcnn.viz.colours import HEAT, Colour, rgb
from tinymaskrcnn.viz.draw import INK, draw_objects, enlarged, enlargement

from .figure import as_image, as_picture, bare, new_figure

# the colours of tinymaskrcnn/viz/colours.py, as PIL and NumPy want them
GROUND_TRUTH, ANCHOR, PROPOSAL, DETECTION, OVERLAP = map(
    rgb, (colours.GROUND_TRUTH, colours.ANCHOR, colours.PROPOSAL, colours.DETECTION, colours.MASK)
)
Group = tuple[np.ndarray, Colour, Sequence[str]]


def boxes_on_picture(image: np.ndarray, *groups: Group) -> Image.Image:
    """An image, enlarged if it is small, with groups of boxes on it.

    Args:
        image: (C, H, W) float 0..1, or (H, W, 3) uint8.
        groups: boxes (N, 4) in its pixels, their colour, and one caption per box ("" for none).
    """
    height, width = image.shape[:2] if image.dtype == np.uint8 else image.shape[1:]
    scale = enlargement((height, width))
    boxes = np.concatenate([np.reshape(b, (-1, 4)) for b, _, _ in groups]) * scale
    captions = [text for _, _, texts in groups for text in texts]
    colours = [colour for _, colour, texts in groups for _ in texts]
    no_masks = np.zeros((len(boxes), 1, 1), bool)
    picture = enlarged(image, scale)
    draw, width = ImageDraw.Draw(picture), max(2, round(min(picture.size) / 140))
    for box, colour in zip(boxes, colours, strict=True):
        frame = box + np.array([-1, -1, 1, 1])
        draw.rectangle(frame.tolist(), outline=INK, width=width + 2)  # every colour on every ground
        draw.rectangle(box.tolist(), outline=colour, width=width)
    return draw_objects(picture, boxes, no_masks, captions, colours)


@as_image
def boxes_on_grid(
    panels: Sequence[Mapping[str, tuple[Sequence[float], Colour]]],
    titles: Sequence[str],
    shaded: Sequence[Sequence[float] | None] | None = None,
    shade: Colour = OVERLAP,
    pixels: np.ndarray | None = None,
) -> Image.Image:
    """Boxes on a grid of unit pixels, y downwards; panels side by side on one scale.

    Args:
        panels: for each panel, its boxes by name: ((x1, y1, x2, y2), colour).
        titles: one per panel.
        shaded: for each panel, a box to fill with `shade`, or None.
        shade: a colour.
        pixels: (H, W) bool, the pixels to fill with grey in all panels.
    """
    from matplotlib.patches import Rectangle

    every = np.array([box for panel in panels for box, _ in panel.values()], float)
    low, high = np.floor(every[:, :2].min(0)) - 1, np.ceil(every[:, 2:].max(0)) + 1
    across = (high - low)[0] / (high - low)[1]
    figure, axes = _axes(len(panels), min(9.0, 3.4 * len(panels) * max(1.0, across)), across)
    for i, (axis, panel, title) in enumerate(zip(axes, panels, titles, strict=True)):
        if shaded is not None and shaded[i] is not None:
            _add_box(axis, Rectangle, shaded[i], shade, fill=0.55)
        for y, x in np.argwhere(pixels) if pixels is not None else ():
            axis.add_patch(Rectangle((x, y), 1, 1, fc="0.75", ec="0.85"))
        for number, (name, (box, colour)) in enumerate(panel.items()):
            _add_box(axis, Rectangle, box, colour, fill=0.12)
            _name_box(axis, name, box, colour, number)
        axis.set_xlim(low[0], high[0])
        axis.set_ylim(high[1], low[1])
        axis.set_xticks(np.arange(low[0], high[0] + 1))
        axis.set_yticks(np.arange(low[1], high[1] + 1))
        axis.set_aspect("equal")
        axis.grid(color="0.88", lw=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=8, colors="0.4")
        bare(axis)
        axis.set_title(title, size=11)
    return as_picture(figure)


@as_image
def number_tables(
    tables: Mapping[str, np.ndarray],
    form: str = "{:.2f}",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    numbers: bool = True,
) -> Image.Image:
    """Tables as heat maps, side by side, each cell with its number.

    Args:
        tables: by title: array (H, W), or (W,) for one row.
        form: the format of the numbers.
        rows, columns: names along the sides.
        numbers: whether to write the numbers (not for large tables).
    """
    arrays = {k: np.atleast_2d(np.asarray(v, float)) for k, v in tables.items()}
    finite = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays.values()] + [np.zeros(1)])
    low, high = finite.min(), max(finite.max(), finite.min() + 1e-9)
    widths, heights = ([a.shape[axis] for a in arrays.values()] for axis in (1, 0))
    cell = min(0.62, 9.0 / sum(widths))
    margin = 0.3 + 0.07 * max(map(len, rows or [""]))
    panels = [
        max(cell * width, 0.085 * len(title)) for width, title in zip(widths, arrays, strict=True)
    ]
    figure = new_figure(sum(panels) + margin * len(panels), cell * max(heights) + 0.75)
    axes = figure.subplots(1, len(arrays), squeeze=False, width_ratios=panels)[0]
    for axis, (title, array) in zip(axes, arrays.items(), strict=True):
        axis.imshow(array, cmap=HEAT, vmin=low, vmax=high)
        axis.set_anchor("N")
        if numbers:
            _write_numbers(axis, array, form, (low, high))
        names = (columns, rows)
        for side, given, count in zip("xy", names, array.shape[::-1], strict=True):
            ticks: Any = np.arange(count) if given is not None or count <= 12 else []
            axis.set(**{f"{side}ticks": ticks})
            if given is not None:
                axis.set(**{f"{side}ticklabels": given})
                if side == "x" and max(map(len, given)) > 5:
                    axis.tick_params("x", labelrotation=30)
        axis.tick_params(length=0, labelsize=8, colors="0.4")
        bare(axis)
        axis.set_title(title, size=11)
    return as_picture(figure)


def _axes(count: int, width: float, across: float) -> tuple[Any, Any]:
    """A figure and its row of axes; an axis is `across` times as wide as high."""
    figure = new_figure(width, max(1.2, width / count / across + 0.45))
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _add_box(axis: Any, shape: Any, box: Any, colour: Colour, fill: float) -> None:
    x1, y1, x2, y2 = box
    rgb = tuple(c / 255 for c in colour)
    frame = shape((x1, y1), x2 - x1, y2 - y1, ec=(*rgb, 1), fc=(*rgb, fill), lw=2)
    axis.add_patch(frame)


def _name_box(axis: Any, name: str, box: Sequence[float], colour: Colour, corner: int) -> None:
    """Write the name into a corner of the box; each box of a panel uses another corner."""
    right, bottom = ((0, 0), (1, 1), (1, 0), (0, 1))[corner % 4]
    x, y = (box[2] - 0.1 if right else box[0] + 0.1), (box[3] - 0.1 if bottom else box[1] + 0.1)
    sides: dict[str, Any] = {
        "ha": "right" if right else "left",
        "va": "bottom" if bottom else "top",
    }
    axis.text(x, y, name, color=_dark(colour), size=11, **sides)


def _dark(colour: Colour) -> tuple[float, ...]:
    return tuple(c / 255 * 0.65 for c in colour)


def _write_numbers(axis: Any, array: np.ndarray, form: str, limits: tuple[float, float]) -> None:
    middle = (limits[0] + limits[1]) / 2
    size = float(np.clip(60 / max(array.shape), 6, 11))
    for (i, j), value in np.ndenumerate(array):
        ink = "white" if value < middle else "black"
        axis.text(j, i, form.format(value), ha="center", va="center", color=ink, size=size)
